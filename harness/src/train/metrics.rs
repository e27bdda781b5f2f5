//! Loss and accuracy over whole splits.

use anyhow::{Result, ensure};
use conv_core::{Backend, Network};

use super::Evaluation;
use crate::data::Batch;

/// Loss and accuracy of `network`, not training, over `batches`, computed by `backend`.
///
/// Each image counts once, whatever the batches' sizes. With fewer than five classes `top5` means top-`classes`, that is 1.
///
/// # Errors
/// No images; a batch that cannot be read; a label that the network has no class for.
pub fn evaluate(
    network: &Network,
    backend: Backend,
    batches: impl IntoIterator<Item = Result<Batch>>,
) -> Result<Evaluation> {
    let (mut tally, mut inference) = (Tally::default(), network.inference(backend));
    for batch in batches {
        let batch = batch?;
        let logits = inference.forward(&batch.images)?.to_vec2()?;
        tally.add(&logits, &batch.labels.to_vec1()?)?;
    }
    tally.evaluation()
}

/// Sums over the images seen so far.
#[derive(Default)]
struct Tally {
    images: usize,
    top1: usize,
    top5: usize,
    loss: f64,
}

impl Tally {
    /// `logits`: a row an image, a column a class.
    fn add(&mut self, logits: &[Vec<f32>], labels: &[u32]) -> Result<()> {
        ensure!(logits.len() == labels.len(), "{} rows of logits for {} labels", logits.len(), labels.len());
        for (row, &label) in logits.iter().zip(labels) {
            let label = label as usize;
            ensure!(
                label < row.len(),
                "an image is of class {label}; the network knows classes 0 to {}",
                row.len() - 1
            );
            let rank = rank(row, label);
            self.images += 1;
            self.top1 += usize::from(rank < 1);
            self.top5 += usize::from(rank < 5);
            self.loss += cross_entropy(row, label);
        }
        Ok(())
    }

    fn evaluation(&self) -> Result<Evaluation> {
        ensure!(self.images > 0, "no images to evaluate on");
        let images = self.images as f64;
        Ok(Evaluation { top1: self.top1 as f64 / images, top5: self.top5 as f64 / images, loss: self.loss / images })
    }
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

    fn of(logits: &[Vec<f32>], labels: &[u32]) -> Evaluation {
        let mut tally = Tally::default();
        tally.add(logits, labels).unwrap();
        tally.evaluation().unwrap()
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
        let error = Tally::default().add(&[vec![0.0, 1.0]], &[2]).unwrap_err().to_string();
        assert!(error.contains("class 2") && error.contains("0 to 1"), "{error}");
        assert!(Tally::default().evaluation().is_err());
    }
}
