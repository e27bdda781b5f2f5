//! Which training images are trained on, and which only validate.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::random::{Purpose, shuffle, stream};

/// Indices into the training images; both ascending, without overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Trained on.
    pub train: Vec<usize>,
    /// Held back for every decision.
    pub validation: Vec<usize>,
}

/// Carves `validation` images off those that have `labels`, and keeps `subset` of the rest (0: all) for training.
///
/// Each class gives its share of both, so a balanced data set stays balanced. The choice depends on the labels alone,
/// never on a trial's seed, and validation does not depend on `subset`: every trial is judged on the same images.
///
/// # Errors
/// More images asked for than there are.
pub fn split(labels: &[u16], classes: usize, validation: usize, subset: usize) -> Result<Partition> {
    let n = labels.len();
    ensure!(
        validation < n,
        "protocol.validation = {validation}, but there are {n} training images: at most {} can validate",
        n.saturating_sub(1)
    );
    let rest = n - validation;
    ensure!(
        subset <= rest,
        "recipe.subset = {subset}, but validation ({validation} of {n} images) leaves {rest} to train on"
    );
    let mut by_class = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        ensure!(usize::from(label) < classes, "image {index} has label {label}, and there are {classes} classes");
        by_class[usize::from(label)].push(index);
    }
    // In the order of a fixed shuffle, as files may be sorted by something that matters.
    for (class, members) in by_class.iter_mut().enumerate() {
        shuffle(members, &mut stream(Purpose::Split, 0, 0, class as u64));
    }
    let validation = take(&mut by_class, validation);
    let train = take(&mut by_class, if subset == 0 { rest } else { subset });
    Ok(Partition { train, validation })
}

/// The fewest and the most of some counts, in words: `500`, or `12 to 40`.
pub fn range(counts: &[usize]) -> String {
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
        (least, _) => least.copied().unwrap_or(0).to_string(),
    }
}

/// Draws `share` of each class, by a fixed seed: indices of what is left and of what was drawn, both ascending. At least one of a class
/// is drawn, and at least one is left.
pub(super) fn draw_test(labels: &[u16], share: f64) -> (Vec<usize>, Vec<usize>) {
    let mut by_class = BTreeMap::<u16, Vec<usize>>::new();
    labels.iter().enumerate().for_each(|(index, &label)| by_class.entry(label).or_default().push(index));
    let mut is_drawn = vec![false; labels.len()];
    for (class, members) in by_class {
        let count = (members.len() as f64 * share).round() as usize;
        let count = count.max(1).min(members.len().saturating_sub(1));
        let mut order: Vec<usize> = (0..members.len()).collect();
        // Another stream than that of the validation images.
        shuffle(&mut order, &mut stream(Purpose::Split, 1, 0, u64::from(class)));
        order[..count].iter().for_each(|&place| is_drawn[members[place]] = true);
    }
    (0..labels.len()).partition(|&index| !is_drawn[index])
}

/// What is said of a test split that was drawn.
pub(super) fn share_remark(share: f64) -> String {
    format!("the test split is {} % of each class, drawn by a fixed seed", 100.0 * share)
}

/// Removes `count` of the members: from each class its share, rounded down, and one more where most was rounded off.
fn take(by_class: &mut [Vec<usize>], count: usize) -> Vec<usize> {
    let total: usize = by_class.iter().map(Vec::len).sum();
    let mut shares: Vec<usize> = by_class.iter().map(|members| members.len() * count / total.max(1)).collect();
    let mut order: Vec<usize> = (0..by_class.len()).collect();
    order.sort_by_key(|&class| std::cmp::Reverse(by_class[class].len() * count % total.max(1)));
    let missing = count - shares.iter().sum::<usize>();
    order[..missing].iter().for_each(|&class| shares[class] += 1);
    let mut taken: Vec<usize> = by_class
        .iter_mut()
        .zip(shares)
        .flat_map(|(members, share)| members.drain(..share).collect::<Vec<_>>())
        .collect();
    taken.sort_unstable();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(labels: &[u16], indices: &[usize], classes: usize) -> Vec<usize> {
        (0..classes).map(|c| indices.iter().filter(|&&i| usize::from(labels[i]) == c).count()).collect()
    }

    #[test]
    fn a_balanced_set_stays_balanced() -> Result<()> {
        let set = Vec::from_iter((0..600).map(|i| (i % 10) as u16));
        let a = split(&set, 10, 100, 200)?;
        assert_eq!(counts(&set, &a.validation, 10), [10; 10]);
        assert_eq!(counts(&set, &a.train, 10), [20; 10]);
        let b = split(&set, 10, 100, 0)?;
        assert_eq!(a.validation, b.validation, "validation does not depend on the subset");
        let mut all = [b.train, b.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..600).collect::<Vec<_>>());
        // Not simply the first images of each class.
        assert!(a.validation.iter().any(|&i| i >= 300));
        Ok(())
    }

    #[test]
    fn an_odd_count_is_off_by_one_at_most() -> Result<()> {
        let set = Vec::from_iter((0..600).map(|i| (i % 10) as u16));
        let split = split(&set, 10, 37, 123)?;
        assert_eq!((split.validation.len(), split.train.len()), (37, 123));
        assert!(counts(&set, &split.validation, 10).iter().all(|n| [3, 4].contains(n)));
        assert!(counts(&set, &split.train, 10).iter().all(|n| [12, 13].contains(n)));
        Ok(())
    }

    #[test]
    fn unequal_classes_give_by_their_size() -> Result<()> {
        let set = Vec::from_iter((0..100).map(|i| u16::from(i >= 90)));
        let split = split(&set, 2, 20, 40)?;
        assert_eq!(counts(&set, &split.validation, 2), [18, 2]);
        assert_eq!(counts(&set, &split.train, 2), [36, 4]);
        Ok(())
    }

    #[test]
    fn too_many_is_an_error_that_says_how_many_there_are() {
        let set = vec![0; 50];
        let text = split(&set, 1, 50, 0).unwrap_err().to_string();
        assert!(text.contains("validation = 50") && text.contains("at most 49"), "{text}");
        let text = split(&set, 1, 10, 41).unwrap_err().to_string();
        assert!(text.contains("subset = 41") && text.contains("leaves 40"), "{text}");
        let text = split(&[0, 7], 5, 1, 0).unwrap_err().to_string();
        assert!(text.contains("label 7") && text.contains("5 classes"), "{text}");
    }
}
