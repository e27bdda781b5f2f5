//! `[dataset]`: which images, and how they come to the size that a network sees.

use conv_core::options::{INSIDE, Kind, Literal, OptionType};
use conv_core::{choice, options};
use serde::{Deserialize, Serialize};

use super::quantity::{SIZE, Size};

options! {
    /// `[dataset]`.
    DatasetConfig = "dataset", "the images" {
        /// The data.
        name: String = String::new(), Kind::Text, column = Some("dataset");
        /// Where it may come from, tried in order: folders or files, download, synthetic; []: data/NAME, then these two.
        sources: Vec<String> = vec![], Kind::List(&Kind::Text), column = None;
        /// Whether training images are cropped and mirrored at random, as `crop` and `flip` say.
        augment: bool = true, Kind::Flag;
        /// Side of the images that the network sees, or [height, width]; when absent: that of the files, where all have one.
        size: Option<ImageSize> = None, Kind::OneOrList(&SIDE), column = Some("image_size");
        /// How an image comes to its size; at random from 4 pixels of padding, 12 for stl10 (pad) or from a part of it (random_resized) while
        /// training; when absent: pad, and random_resized for photographs.
        crop: Option<Crop> = None, Kind::Choice(Crop::names);
        /// Whether training images are mirrored at random; true when absent, but false for svhn and mnist.
        flip: Option<bool> = None, Kind::Flag;
        /// Which are mirrored: drawn for every epoch, or for the first and then each one's other way every other epoch; random when absent.
        flip_order: Option<FlipOrder> = None, Kind::Choice(FlipOrder::names);
        /// Channels: 1 (grey) or 3 (RGB); when absent: those of the files, 3 unless all are grey.
        channels: Option<usize> = None, Kind::Integer(1, 3);
        /// For a folder without test images: the share of each class that becomes them.
        test_share: Option<f64> = None, INSIDE;
        /// What an image that cannot be decoded does: an error that names it, or it is left out and counted; error when absent.
        on_bad_image: Option<OnBadImage> = None, Kind::Choice(OnBadImage::names);
        /// Decoded images that take no more than this are kept in memory, others are decoded as they are needed; 2GiB when absent.
        memory: Option<Size> = None, SIZE, column = None;
    }
}

/// Sides of images. Larger ones are slips.
const SIDE: Kind = Kind::Integer(1, 8192);

/// The size of the images that a network sees: one side, or height and width.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageSize {
    /// As high as wide.
    Square(usize),
    /// Height and width.
    Sides(Vec<usize>),
}

impl OptionType for ImageSize {
    fn literal(&self) -> Literal<'_> {
        match self {
            Self::Square(side) => side.literal(),
            Self::Sides(sides) => sides.literal(),
        }
    }
}

choice! {
    /// How an image comes to the size that the network sees.
    Crop {
        /// Training: a random part of it (8 to 100 % of its area, 3:4 to 4:3), resized; evaluation: as `resize_and_crop`.
        RandomResized = "random_resized",
        /// Its shorter side resized to size / 0.875, and the centre of that.
        ResizeAndCrop = "resize_and_crop",
        /// Its shorter side resized to the size, and the centre of that; training: a random crop of it in 4 pixels of padding.
        Pad = "pad",
        /// The whole image, squeezed to the size.
        None = "none",
    }
}

choice! {
    /// How it is decided which training images are mirrored.
    FlipOrder {
        /// Drawn for every image in every epoch.
        Random = "random",
        /// Drawn for every image once; then in turns, so that two epochs see both sides of each (Jordan 2024, section 3.6).
        Alternating = "alternating",
    }
}

choice! {
    /// What an image that cannot be decoded does.
    OnBadImage {
        /// Ends the run with an error that names it.
        Error = "error",
        /// Is left out and counted.
        Skip = "skip",
    }
}
