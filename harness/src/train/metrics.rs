//! What a network makes of every image of a split, and the loss and accuracy that this comes to.

use anyhow::{Result, ensure};
use conv_core::Network;

use super::Evaluation;
use crate::config::Recipe;
use crate::data::Batch;

/// What a network made of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The class that the image is of.
    pub label: u32,
    /// The first guess; of equal guesses the lower class. None where a logit is not a number.
    pub guess: Option<u32>,
    /// Classes guessed before the image's own: 0 where the guess is right. None where its logit is not a number.
    pub rank: Option<u32>,
    /// Cross-entropy, without smoothing.
    pub loss: f64,
}

/// What `network`, not training, makes of every image of `batches`, in their order, computed as by its `recipe`.
///
/// # Errors
/// What the recipe's precision cannot compute. A batch that cannot be read; a label that the network has no class for.
pub fn predict(
    network: &Network,
    recipe: &Recipe,
    batches: impl IntoIterator<Item = Result<Batch>>,
) -> Result<Vec<Prediction>> {
    let (mut predictions, mut inference) = (Vec::new(), recipe.inference(network)?);
    for batch in batches {
        let batch = batch?;
        let logits = inference.forward(&batch.images)?.to_vec2()?;
        add(&mut predictions, &logits, &batch.labels.to_vec1()?)?;
    }
    Ok(predictions)
}

/// Loss and accuracy of `network`, not training, over `batches`, computed as by its `recipe`.
///
/// # Errors
/// No images; those of [`predict`].
pub fn evaluate(
    network: &Network,
    recipe: &Recipe,
    batches: impl IntoIterator<Item = Result<Batch>>,
) -> Result<Evaluation> {
    Evaluation::of(&predict(network, recipe, batches)?)
}

/// `logits`: a row an image, a column a class.
fn add(predictions: &mut Vec<Prediction>, logits: &[Vec<f32>], labels: &[u32]) -> Result<()> {
    ensure!(logits.len() == labels.len(), "{} rows of logits for {} labels", logits.len(), labels.len());
    for (row, &label) in logits.iter().zip(labels) {
        let class = label as usize;
        ensure!(class < row.len(), "an image is of class {label}; the network knows classes 0 to {}", row.len() - 1);
        predictions.push(Prediction {
            label,
            guess: guess(row),
            rank: u32::try_from(rank(row, class)).ok(),
            loss: cross_entropy(row, class),
        });
    }
    Ok(())
}

impl Evaluation {
    /// Of all images of a split. Each counts once, whatever the batches' sizes. With fewer than five classes `top5` means
    /// top-`classes`, that is 1.
    ///
    /// # Errors
    /// No images.
    pub fn of(predictions: &[Prediction]) -> Result<Self> {
        ensure!(!predictions.is_empty(), "no images to evaluate on");
        let images = predictions.len() as f64;
        let before = |most: u32| predictions.iter().filter(|image| image.rank.is_some_and(|rank| rank < most)).count();
        let loss: f64 = predictions.iter().map(|image| image.loss).sum();
        Ok(Self { top1: before(1) as f64 / images, top5: before(5) as f64 / images, loss: loss / images })
    }
}

/// The class of the largest logit, of equal ones the lower; none where a logit is not a number.
fn guess(logits: &[f32]) -> Option<u32> {
    let mut best = 0;
    for (class, &logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return None;
        }
        if logit > logits[best] {
            best = class;
        }
    }
    Some(best as u32)
}

/// Number of classes guessed before `label`; of equal guesses the lower class comes first. A guess that is not a number
/// never counts as right: everything comes before it.
pub(super) fn rank(logits: &[f32], label: usize) -> usize {
    let mine = logits[label];
    if mine.is_nan() {
        return usize::MAX;
    }
    let after = |class: usize, guess: f32| guess < mine || guess == mine && class >= label;
    logits.iter().enumerate().filter(|&(class, &guess)| !after(class, guess)).count()
}

/// `log(sum(exp(logits))) - logits[label]`, in `f64` and safe for large logits.
fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    sum.ln() + f64::from(largest) - f64::from(logits[label])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(logits: &[Vec<f32>], labels: &[u32]) -> Vec<Prediction> {
        let mut predictions = Vec::new();
        add(&mut predictions, logits, labels).unwrap();
        predictions
    }

    fn of(logits: &[Vec<f32>], labels: &[u32]) -> Evaluation {
        Evaluation::of(&predictions(logits, labels)).unwrap()
    }

    #[test]
    fn a_guess_is_right_exactly_where_the_rank_is_0() {
        let rows = [vec![0.5, 2.0, 2.0], vec![3.0, 3.0, 1.0], vec![f32::NAN, 2.0, 1.0], vec![f32::INFINITY, 0.0, 0.0]];
        for label in 0..3 {
            for (image, guess) in predictions(&rows, &[label; 4]).iter().zip([Some(1), Some(0), None, Some(0)]) {
                assert_eq!(image.guess, guess);
                assert_eq!(image.guess == Some(label), image.rank == Some(0), "{image:?}");
            }
        }
    }

    #[test]
    fn ranks_and_losses_by_hand() {
        let logits = [vec![0.0, 5.0, 4.0, 3.0, 2.0, 1.0], vec![6.0, 5.0, 4.0, 3.0, 2.0, 1.0]];
        let found = of(&logits, &[0, 0]); // the first is last of six, the second first
        assert_eq!((found.top1, found.top5), (0.5, 0.5));
        let found = of(&logits, &[5, 4]); // fifth and fifth
        assert_eq!((found.top1, found.top5), (0.0, 1.0));
        // Two equal logits: each half, whatever their size.
        let found = of(&[vec![1000.0, 1000.0]], &[1]);
        assert!((found.loss - 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn fewer_classes_than_five() {
        assert_eq!(of(&[vec![3.0, 2.0, 1.0]], &[2]).top5, 1.0);
    }

    #[test]
    fn ties_go_to_the_lower_class_and_nan_is_never_right() {
        assert_eq!(rank(&[1.0, 1.0, 1.0], 0), 0);
        assert_eq!(rank(&[1.0, 1.0, 1.0], 2), 2);
        assert_eq!(rank(&[f32::NAN, 1.0], 1), 1);
        let nan = of(&[vec![f32::NAN; 2]], &[0]);
        assert_eq!((nan.top1, nan.top5), (0.0, 0.0));
        assert!(nan.loss.is_nan());
    }

    #[test]
    fn refuses_what_it_cannot_judge() {
        let error = add(&mut Vec::new(), &[vec![0.0, 1.0]], &[2]).unwrap_err().to_string();
        assert!(error.contains("class 2") && error.contains("0 to 1"), "{error}");
        assert!(Evaluation::of(&[]).is_err());
    }
}
