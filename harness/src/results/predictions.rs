//! What a trial's finished network made of every test image, so that anyone can compare two trials image by image.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use polars::prelude::{Column, DataFrame, ParquetWriter};

use super::{Outcome, RunFolder, TrialRecord};
use crate::data::parquet::read_frame;
use crate::files::{read, write_atomic};
use crate::train::Prediction;

pub(super) const PREDICTIONS: &str = "predictions.parquet";

impl RunFolder {
    /// Writes a trial's `predictions.parquet`, a row an image in the order of the test split: whose it is, `image` (its place there),
    /// `label`, `guess` and `rank` as in [`Prediction`], `loss`. Trials whose data has one fingerprint have the same order.
    ///
    /// # Errors
    /// A file that cannot be written; names it.
    pub fn save_predictions(&self, key: &str, predictions: &[Prediction]) -> Result<()> {
        self.make_trial_dir(key)?;
        let path = self.trial_dir(key).join(PREDICTIONS);
        let whole = |of: fn(&Prediction) -> Option<u32>| predictions.iter().map(of).collect::<Vec<_>>();
        let columns = vec![
            Column::new("experiment".into(), vec![self.name(); predictions.len()]),
            Column::new("key".into(), vec![key; predictions.len()]),
            Column::new("image".into(), (0..predictions.len() as u32).collect::<Vec<_>>()),
            Column::new("label".into(), whole(|image| Some(image.label))),
            Column::new("guess".into(), whole(|image| image.guess)),
            Column::new("rank".into(), whole(|image| image.rank)),
            Column::new("loss".into(), predictions.iter().map(|image| image.loss).collect::<Vec<_>>()),
        ];
        let mut frame = DataFrame::new(predictions.len(), columns).context("predictions as a frame")?;
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(&mut frame).context("predictions as Parquet")?;
        write_atomic(&path, &bytes)
    }

    /// What [`RunFolder::save_predictions`] wrote; none of a trial that did not read the test split, or was made before
    /// predictions were kept.
    ///
    /// # Errors
    /// A file that is there and is no such table; names it.
    pub fn predictions(&self, key: &str) -> Result<Option<Vec<Prediction>>> {
        let path = self.trial_dir(key).join(PREDICTIONS);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let parse = || -> Result<Vec<Prediction>> {
            let frame = read_frame(Cursor::new(bytes))?;
            let whole = |name: &str| -> Result<Vec<Option<u32>>> { Ok(frame.column(name)?.u32()?.iter().collect()) };
            let (images, labels, guesses, ranks) = (whole("image")?, whole("label")?, whole("guess")?, whole("rank")?);
            let losses: Vec<Option<f64>> = frame.column("loss")?.f64()?.iter().collect();
            let mut predictions = Vec::with_capacity(images.len());
            for (at, image) in images.into_iter().enumerate() {
                ensure!(image == u32::try_from(at).ok(), "row {at} is of image {image:?}");
                let (label, loss) = labels[at].zip(losses[at]).with_context(|| format!("row {at} has a gap"))?;
                predictions.push(Prediction { label, guess: guesses[at], rank: ranks[at], loss });
            }
            Ok(predictions)
        };
        parse().map(Some).with_context(|| format!("{}: is no table of predictions", path.display()))
    }
}

impl RunFolder {
    /// Fills in how many test images there were, where a result is older than the line that says so and kept its predictions.
    ///
    /// # Errors
    /// As [`RunFolder::predictions`].
    pub fn count_test_images(&self, records: &mut [TrialRecord]) -> Result<()> {
        for record in records {
            let Outcome::Trained(measures) = &mut record.outcome else { continue };
            if measures.test.is_some() && measures.test_images.is_none() {
                measures.test_images = self.predictions(&record.trial.key)?.map(|images| images.len());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&dir.path().join("x"), "x", "").unwrap();
        let predictions = [
            Prediction { label: 3, guess: Some(1), rank: Some(2), loss: 0.25 },
            Prediction { label: 0, guess: None, rank: None, loss: 1e300 },
        ];
        assert_eq!(folder.predictions("key").unwrap(), None);
        folder.save_predictions("key", &predictions).unwrap();
        assert_eq!(folder.predictions("key").unwrap().unwrap(), predictions);
        std::fs::write(folder.trial_dir("key").join(PREDICTIONS), "no table").unwrap();
        let error = format!("{:#}", folder.predictions("key").unwrap_err());
        assert!(error.contains("predictions.parquet: is no table of predictions"), "{error}");
    }
}
