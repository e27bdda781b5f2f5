//! Random filters, the control that shows what a criterion is worth: drawn by the trial's seed and the name of the first layer,
//! and by the number of filters, so that later cuts draw anew. Draws of all layers have one distribution, and are comparable.

use conv_core::normal_stream;

use crate::pruning::Coupling;

pub(super) fn scores(seed: u64, coupling: &Coupling) -> Vec<f64> {
    let filters = coupling.filters();
    normal_stream(seed, &format!("{} random, {filters} filters", coupling.name()), filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_by_seed_layer_and_cut_alone() {
        let draw = |seed, name: &str, filters| scores(seed, &Coupling::plain(name, &[], filters, 1, 1));
        let first = draw(0, "a", 8);
        assert_eq!(draw(0, "a", 8), first);
        for other in [draw(1, "a", 8), draw(0, "b", 8)] {
            assert!(other.iter().zip(&first).all(|(a, b)| a != b));
        }
        assert_ne!(draw(0, "a", 4), first[..4]);
    }
}
