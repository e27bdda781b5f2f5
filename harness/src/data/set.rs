//! Images of one split, wherever they lie: decoded in memory, or as files that are decoded when they are needed.

use std::sync::Arc;

use anyhow::Result;

use super::Images;
use super::decode::Picture;
use super::photographs::Photographs;
use super::transform::{Draw, Transform};

/// Images of one split.
#[derive(Clone, Debug)]
pub enum ImageSet {
    /// All of one size, as bytes in memory.
    Resident(Arc<Images>),
    /// Of any size, encoded.
    Encoded(Arc<Photographs>),
}

impl From<Images> for ImageSet {
    fn from(images: Images) -> Self {
        Self::Resident(Arc::new(images))
    }
}

impl From<Photographs> for ImageSet {
    fn from(photographs: Photographs) -> Self {
        Self::Encoded(Arc::new(photographs))
    }
}

impl ImageSet {
    /// Class of each image, below the data set's number of classes.
    pub fn labels(&self) -> &[u16] {
        match self {
            Self::Resident(images) => &images.labels,
            Self::Encoded(photographs) => photographs.labels(),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels().is_empty()
    }

    /// The images in memory, if they lie there.
    pub fn resident(&self) -> Option<&Images> {
        match self {
            Self::Resident(images) => Some(images),
            Self::Encoded(_) => None,
        }
    }

    /// Whether making a batch takes more than copying: it is done on all threads then.
    pub(super) fn is_work(&self, transform: &Transform) -> bool {
        self.resident().is_none_or(|images| !transform.keeps(images.shape))
    }

    /// Writes image `index` as the network sees it, for training with what is drawn or for an evaluation, to `out`.
    ///
    /// # Errors
    /// A file that cannot be read or decoded, or has changed; names it.
    pub(super) fn write(
        &self,
        transform: &Transform,
        draw: Option<Draw>,
        index: usize,
        table: &[[f32; 256]],
        out: &mut [f32],
    ) -> Result<()> {
        match self {
            Self::Resident(images) if transform.keeps(images.shape) => {
                let (_, h, w) = images.shape;
                transform.augmentation(draw, index).apply(images.image(index), (h, w), table, out);
                Ok(())
            }
            _ => transform.apply(self.picture(index)?.as_ref(), draw, index, table, out),
        }
    }

    /// Image `index` as an evaluation sees it, before it is normalised: `[c, h, w]`.
    ///
    /// # Errors
    /// As of [`ImageSet::write`].
    pub(super) fn evaluated(&self, transform: &Transform, index: usize) -> Result<Vec<u8>> {
        match self {
            Self::Resident(images) if transform.keeps(images.shape) => Ok(images.image(index).to_vec()),
            _ => transform.evaluated(self.picture(index)?.as_ref()),
        }
    }

    fn picture(&self, index: usize) -> Result<Arc<Picture>> {
        match self {
            Self::Resident(images) => {
                let (c, h, w) = images.shape;
                let planes = images.image(index);
                let pixels =
                    (0..h * w).flat_map(|at| (0..c).map(move |channel| planes[channel * h * w + at])).collect();
                Ok(Arc::new(Picture { pixels, shape: images.shape }))
            }
            Self::Encoded(photographs) => photographs.picture(index),
        }
    }
}
