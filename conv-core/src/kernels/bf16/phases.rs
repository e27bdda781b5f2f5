//! A convolution as what its destinations read: forward it is one regular pattern, and the inputs' gradient, a convolution of the
//! outputs', is one for each phase of the stride.

use std::ops::Range;

use crate::kernels::taps::{Axis, Progression};

/// One dimension of destinations that lie evenly apart and all meet the same taps, padding included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    /// The kernel's tap at each of a destination's sources, which are neighbours.
    pub(super) taps: Vec<usize>,
    /// The first source of the first destination; it may be padding.
    pub(super) origin: isize,
    /// From the first source of a destination to that of the next.
    pub(super) step: usize,
    /// The destinations: the first, how far apart they are and how many.
    pub(super) first: usize,
    pub(super) apart: usize,
    pub(super) count: usize,
}

impl Phase {
    /// From inputs to outputs.
    pub(super) fn forward(axis: Axis) -> Vec<Self> {
        let Axis { output, kernel, stride, padding, .. } = axis;
        let (taps, origin) = ((0..kernel).collect(), -(padding as isize));
        vec![Self { taps, origin, step: stride, first: 0, apart: 1, count: output }]
    }

    /// From outputs' gradients to inputs'.
    pub(super) fn backward(axis: Axis) -> Vec<Self> {
        let Axis { input, kernel, stride, padding, .. } = axis;
        let of_phase = |first: usize| {
            // Tap `k` of input `i` meets output `(i + padding - k) / stride`: the last tap the first output.
            let remainder = (first + padding) % stride;
            let taps: Vec<usize> = (remainder..kernel).step_by(stride).rev().collect();
            let origin = ((first + padding - remainder) / stride) as isize - taps.len().saturating_sub(1) as isize;
            Self { taps, origin, step: 1, first, apart: stride, count: (input - first).div_ceil(stride) }
        };
        (0..stride.min(input)).map(of_phase).collect()
    }

    /// Sources that so many destinations read, those of the padding included.
    pub(super) fn sources(&self, destinations: usize) -> usize {
        destinations.saturating_sub(1) * self.step + self.taps.len()
    }

    /// Of so many sources those that exist where there are `size` of them, counted from the origin.
    pub(super) fn existing(&self, sources: usize, size: usize) -> Range<usize> {
        Progression { start: self.origin, step: 1 }.existing(sources, size)
    }

    pub(super) fn destination(&self, at: usize) -> usize {
        self.first + at * self.apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Every destination is in one phase, and meets what the definition says, in both directions.
        #[test]
        fn phases_are_the_definition(input in 1usize..9, kernel in 1usize..6, stride in 1usize..5, padding in 0usize..6) {
            prop_assume!(input + 2 * padding >= kernel);
            let output = (input + 2 * padding - kernel) / stride + 1;
            let axis = Axis { input, output, kernel, stride, padding };
            let pairs: Vec<_> = (0..output).flat_map(|o| axis.taps(o).map(move |k| (o, k))).collect();
            let forward = pairs.iter().map(|&(o, k)| (o, k, axis.inputs(k).index(o)));
            let backward = forward.clone().map(|(o, k, i)| (i, k, o)).collect::<Vec<_>>();
            let all = [
                (Phase::forward(axis), output, input, forward.collect::<Vec<_>>()),
                (Phase::backward(axis), input, output, backward),
            ];
            for (phases, to, from, mut want) in all {
                let (mut seen, mut got) = (Vec::new(), Vec::new());
                for phase in &phases {
                    let exists = phase.existing(phase.sources(phase.count), from);
                    for at in 0..phase.count {
                        seen.push(phase.destination(at));
                        for (place, &tap) in phase.taps.iter().enumerate() {
                            let source = at * phase.step + place;
                            if exists.contains(&source) {
                                got.push((phase.destination(at), tap, (phase.origin + source as isize) as usize));
                            }
                        }
                    }
                }
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..to).collect::<Vec<_>>());
                got.sort_unstable();
                want.sort_unstable();
                prop_assert_eq!(got, want);
            }
        }
    }
}
