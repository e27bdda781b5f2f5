//! What readers return, and what is checked of it.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::split::{draw_test, share_remark};
use super::{Geometry, ImageSet, Images};

/// What a format's reader returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// Training split.
    pub train: Images,
    /// Test split.
    pub test: Images,
    /// What captions have to say about this copy of the data.
    pub remark: Option<&'static str>,
    /// What a reader has to know of them.
    pub remarks: Vec<String>,
}

/// Both splits, wherever their images lie.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Training split.
    pub train: ImageSet,
    /// Test split; empty where there is none.
    pub test: ImageSet,
    /// What a reader has to know of them.
    pub remarks: Vec<String>,
}

impl Splits {
    /// The same, with `share` of each class of the training images as test split where that is set. They are from `path`.
    ///
    /// # Errors
    /// A share where there is a test split.
    pub(super) fn shared(mut self, share: Option<f64>, path: &Path) -> Result<Self> {
        let Some(share) = share else { return Ok(self) };
        ensure!(
            self.test.is_empty(),
            "{}: has a test split, and dataset.test_share is for data without one\n  accepted: one of the two",
            path.display()
        );
        let (rest, drawn) = draw_test(&self.train.labels, share);
        (self.train, self.test) = (self.train.subset(&rest), self.train.subset(&drawn));
        self.remarks.push(share_remark(share));
        Ok(self)
    }
}

impl From<Splits> for Contents {
    fn from(Splits { train, test, remark: _, remarks }: Splits) -> Self {
        Self { train: train.into(), test: test.into(), remarks }
    }
}

/// What no reader checks: that there are training images, of all classes. Test images there may be none, which a run that asks for
/// them refuses.
pub(super) fn check(contents: &Contents, geometry: &Geometry) -> Result<()> {
    ensure!(!contents.train.is_empty(), "a split without images");
    let mut seen = vec![false; geometry.classes];
    for &label in contents.train.labels() {
        let class = seen.get_mut(usize::from(label));
        *class.with_context(|| format!("class {label} of a training image, where there are {}", geometry.classes))? =
            true;
    }
    if let Some(missing) = seen.iter().position(|seen| !seen) {
        let count = seen.iter().filter(|seen| **seen).count();
        anyhow::bail!(
            "{count} of {} classes have training images, class {missing} for one has none: is it this data set?",
            geometry.classes
        );
    }
    Ok(())
}

/// blake3 over shape, labels and pixels of all splits; over labels and the contents of their files where they stay encoded.
pub(super) fn fingerprint(splits: &[&ImageSet]) -> String {
    let mut hasher = blake3::Hasher::new();
    for images in splits {
        let (c, h, w) = images.resident().map_or((0, 0, 0), |images| images.shape);
        for number in [images.len(), c, h, w] {
            hasher.update(&(number as u64).to_le_bytes());
        }
        let labels: Vec<u8> = images.labels().iter().flat_map(|label| label.to_le_bytes()).collect();
        hasher.update(&labels);
        match images {
            ImageSet::Resident(images) => hasher.update(&images.pixels),
            ImageSet::Encoded(photographs) => hasher.update(photographs.hashes().as_flattened()),
        };
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_sees_pixels_labels_shape_and_the_split() {
        let images = |pixels: &[u8], labels: &[u16], shape| -> ImageSet {
            Images { pixels: pixels.to_vec(), labels: labels.to_vec(), shape }.into()
        };
        let a = images(&[1, 2, 3, 4], &[0, 1], (1, 1, 2));
        let variants = [
            fingerprint(&[&a, &a]),
            fingerprint(&[&images(&[1, 2, 3, 5], &[0, 1], (1, 1, 2)), &a]),
            fingerprint(&[&images(&[1, 2, 3, 4], &[1, 0], (1, 1, 2)), &a]),
            fingerprint(&[&images(&[1, 2, 3, 4], &[0, 1], (1, 2, 1)), &a]),
            fingerprint(&[&a]),
        ];
        let distinct: std::collections::HashSet<_> = variants.iter().collect();
        assert_eq!(distinct.len(), variants.len());
        assert_eq!(fingerprint(&[&a, &a]), variants[0]);
    }
}
