//! From an image as it is stored to what the network sees: resized, cropped, mirrored, normalised.
//!
//! What is random is a function of (seed, epoch, image), so that any number of workers makes the same bits, and a training that
//! goes on goes on with them.

pub mod pad;
mod random_resized;
mod resize;

use anyhow::{Result, bail, ensure};
use rand_chacha::rand_core::Rng;
use serde::Serialize;

use super::decode::Picture;
use super::random::{Purpose, stream};
use super::registry;
use crate::config::{Crop, DatasetConfig, FlipOrder, ImageSize};
use pad::{Augmentation, PADDING};
use random_resized::draw;
use resize::{centre, crop, resize};

/// The size of an image over the side to which it is resized before its centre is cut out: 224 / 256.
const CENTRE: f64 = 0.875;

/// What is done to the images of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// `(c, h, w)` of what the network sees.
    shape: (usize, usize, usize),
    crop: Crop,
    /// Whether training images are cut at random.
    random: bool,
    flip: bool,
    flip_order: FlipOrder,
    /// Of random crops.
    padding: usize,
}

/// What decides the random part of a training image.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The trial's seed.
    pub seed: u64,
    /// The epoch, counted from 1.
    pub epoch: usize,
}

impl Transform {
    /// What `config` asks for, to images of `shape`.
    pub fn of(config: &DatasetConfig, shape: (usize, usize, usize)) -> Self {
        let crop = config.crop.unwrap_or_else(|| default_crop(config));
        let random = config.augment && matches!(crop, Crop::RandomResized | Crop::Pad);
        let padding = registry::find(&config.name).map_or(PADDING, |info| info.padding);
        let flip = config.augment && config.flip.unwrap_or(default_flip(config));
        Self { shape, crop, random, flip, flip_order: config.flip_order.unwrap_or(FlipOrder::Random), padding }
    }

    /// `(c, h, w)` of what the network sees.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.shape
    }

    /// Whether stored images of `shape` are neither resized nor converted, so that they can be taken as they lie in memory.
    pub(super) fn keeps(&self, shape: (usize, usize, usize)) -> bool {
        let whole = matches!(self.crop, Crop::Pad | Crop::None);
        shape == self.shape && whole
    }

    /// What is drawn for image `index` of stored images that are [kept](Self::keeps).
    pub(super) fn augmentation(&self, draw: Option<Draw>, index: usize) -> Augmentation {
        let Some(draw) = draw else { return Augmentation::NONE };
        let all = Augmentation::draw(self.padding, draw.seed, draw.epoch, index);
        let still = if self.random { all } else { Augmentation::NONE };
        Augmentation { flip: self.flips(draw, index, all.flip), ..still }
    }

    /// Whether image `index` is mirrored, of which `drawn` is what this epoch's draw says.
    fn flips(&self, Draw { seed, epoch }: Draw, index: usize, drawn: bool) -> bool {
        let of_order = || match self.flip_order {
            FlipOrder::Random => drawn,
            FlipOrder::Alternating => {
                let first = stream(Purpose::Flip, seed, 0, index as u64).next_u32() & 1 == 1;
                first == (epoch % 2 == 1)
            }
        };
        self.flip && of_order()
    }

    /// Writes a training image (where there is a `draw`), or else one of an evaluation, normalised, to `out` as `[c, h, w]`.
    ///
    /// # Errors
    /// None for pictures that are what their shape says.
    pub(super) fn apply(
        &self,
        picture: &Picture,
        draw_of: Option<Draw>,
        index: usize,
        table: &[[f32; 256]],
        out: &mut [f32],
    ) -> Result<()> {
        let (c, h, w) = self.shape;
        let (_, height, width) = picture.shape;
        let (sized, augmentation) = match draw_of {
            Some(of @ Draw { seed, epoch }) if self.random && self.crop == Crop::RandomResized => {
                let mut rng = stream(Purpose::Augment, seed, epoch as u64, index as u64);
                let part = draw(&mut rng, (height, width));
                let flip = self.flips(of, index, rng.next_u32() & 1 == 1);
                (resize(&crop(picture, part), (h, w))?, Augmentation { flip, ..Augmentation::NONE })
            }
            _ => (self.sized(picture)?, self.augmentation(draw_of, index)),
        };
        let mut planes = vec![0; c * h * w];
        sized.with_channels(c).planes(&mut planes);
        augmentation.apply(&planes, (h, w), table, out);
        Ok(())
    }

    /// An image at the network's size, as an evaluation sees it: `[c, h, w]`.
    ///
    /// # Errors
    /// None for pictures that are what their shape says.
    pub(super) fn evaluated(&self, picture: &Picture) -> Result<Vec<u8>> {
        let (c, h, w) = self.shape;
        let mut planes = vec![0; c * h * w];
        self.sized(picture)?.with_channels(c).planes(&mut planes);
        Ok(planes)
    }

    fn sized(&self, picture: &Picture) -> Result<Picture> {
        let (_, h, w) = self.shape;
        let share = match self.crop {
            Crop::None => return resize(picture, (h, w)),
            Crop::Pad => 1.0,
            Crop::RandomResized | Crop::ResizeAndCrop => CENTRE,
        };
        // The side that is the shorter one, measured in the network's, gets its length; the other follows, rounded down.
        let (_, height, width) = picture.shape;
        let long = |side: usize| ((side as f64 / share).round() as usize).max(side);
        let (least_h, least_w) = (long(h), long(w));
        let covered = if height * least_w <= width * least_h {
            (least_h, (width * least_h / height).max(w))
        } else {
            ((height * least_w / width).max(h), least_w)
        };
        let resized = resize(picture, covered)?;
        Ok(crop(&resized, centre(covered, (h, w))))
    }

    /// What is done, in words: to training images, and to those that are judged.
    pub fn told(&self) -> String {
        let (training, judged) = self.words();
        let flip = match self.flip_order {
            _ if !self.flip => ", no flips",
            FlipOrder::Random => " and random flips",
            FlipOrder::Alternating => " and flips of each in turns",
        };
        format!("training on {training}{flip}; evaluation on {judged}")
    }

    /// What is done, in words, to images that are judged.
    pub fn judged(&self) -> String {
        self.words().1
    }

    fn words(&self) -> (String, String) {
        let (_, h, w) = self.shape;
        let share = |side: usize| (side as f64 / CENTRE).round() as usize;
        let centre = if h == w {
            format!("shorter side to {}, centre of {h} x {w}", share(h))
        } else {
            format!("resized to cover {} x {}, centre of {h} x {w}", share(h), share(w))
        };
        match self.crop {
            Crop::RandomResized if self.random => {
                ("random resized crops (8 to 100 % of the area, aspects 3:4 to 4:3)".to_owned(), centre)
            }
            Crop::RandomResized | Crop::ResizeAndCrop => (centre.clone(), centre),
            Crop::Pad if self.random => (format!("random crops ({} pixels of padding)", self.padding), self.covered()),
            Crop::Pad => (self.covered(), self.covered()),
            Crop::None => {
                let whole = format!("whole images, squeezed to {h} x {w} where they are not");
                (whole.clone(), whole)
            }
        }
    }

    fn covered(&self) -> String {
        let (_, h, w) = self.shape;
        format!("images resized to cover {h} x {w} where they do not have that size, and their centre")
    }
}

/// How images come to their size where nobody says it: photographs as the literature has it, small images as CIFAR's.
fn default_crop(config: &DatasetConfig) -> Crop {
    let photographs = registry::find(&config.name).is_some_and(|info| {
        // A folder whose images have one size, and are taken as they are, may hold anything.
        info.published.is_some() || info.geometry.is_none() && config.size.is_some()
    });
    if photographs { Crop::RandomResized } else { Crop::Pad }
}

/// Whether training images are mirrored where nobody says it.
fn default_flip(config: &DatasetConfig) -> bool {
    registry::find(&config.name).is_none_or(|info| info.flip)
}

/// What an absent `dataset.flip` counts as in a trial's identity: MNIST was mirrored once, and those trials are not what they would be
/// now.
fn counted_flip(config: &DatasetConfig) -> bool {
    config.name == "mnist" || default_flip(config)
}

/// `(height, width)` of `dataset.size`.
///
/// # Errors
/// Neither one number nor two.
pub(super) fn sides(config: &DatasetConfig) -> Result<Option<(usize, usize)>> {
    Ok(match &config.size {
        None => None,
        Some(ImageSize::Square(side)) => Some((*side, *side)),
        Some(ImageSize::Sides(sides)) => match sides[..] {
            [height, width] => Some((height, width)),
            _ => bail!("dataset.size = {sides:?}; accepted: one side, or [height, width]"),
        },
    })
}

/// `dataset.channels`.
///
/// # Errors
/// Neither 1 nor 3.
pub(super) fn channels(config: &DatasetConfig) -> Result<Option<usize>> {
    if let Some(channels) = config.channels {
        ensure!([1, 3].contains(&channels), "dataset.channels = {channels}; accepted: 1 (grey) or 3 (RGB)");
    }
    Ok(config.channels)
}

/// What of `[dataset]` decides a result beside its name and `augment`; none where nothing is set, or only what is the default:
/// such trials are those that they were before there were these keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deviations {
    size: Option<(usize, usize)>,
    crop: Option<Crop>,
    flip: Option<bool>,
    /// A key that is younger than results that have the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    flip_order: Option<FlipOrder>,
    channels: Option<usize>,
    test_share: Option<f64>,
}

impl Deviations {
    /// Those of a configuration.
    pub fn of(config: &DatasetConfig) -> Option<Self> {
        let deviations = Self {
            size: sides(config).ok().flatten(),
            crop: config.crop.filter(|crop| *crop != default_crop(config)),
            // Where nothing is random, it is not looked at.
            flip: config
                .flip
                .or_else(|| config.augment.then(|| default_flip(config)))
                .filter(|flip| *flip != counted_flip(config)),
            flip_order: config.flip_order.filter(|order| {
                // Without flips there is none.
                *order != FlipOrder::Random && config.augment && config.flip.unwrap_or(default_flip(config))
            }),
            channels: config.channels,
            test_share: config.test_share,
        };
        let none = Self { size: None, crop: None, flip: None, flip_order: None, channels: None, test_share: None };
        (deviations != none).then_some(deviations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Normalization;

    fn picture((c, h, w): (usize, usize, usize)) -> Picture {
        Picture { pixels: (0..c * h * w).map(|i| (i * 37 % 253) as u8).collect(), shape: (c, h, w) }
    }

    fn config(text: &str) -> DatasetConfig {
        toml::from_str(&format!("name = 'images'\n{text}")).unwrap()
    }

    #[test]
    fn images_of_any_size_come_to_the_network_s() {
        let norm = Normalization { mean: vec![0.5; 3], std: vec![0.25; 3], of: String::new() };
        for crop in ["random_resized", "resize_and_crop", "pad", "none"] {
            for size in ["16", "[12, 20]", "1"] {
                let config = config(&format!("crop = '{crop}'\nsize = {size}"));
                let (h, w) = sides(&config).unwrap().unwrap();
                let transform = Transform::of(&config, (3, h, w));
                for shape in [(3, 40, 30), (1, 9, 100), (3, 1, 1), (1, h, w), (3, h + 1, w)] {
                    for draw in [None, Some(Draw { seed: 3, epoch: 1 })] {
                        let mut out = vec![f32::NAN; 3 * h * w];
                        transform.apply(&picture(shape), draw, 7, &norm.table(), &mut out).unwrap();
                        assert!(out.iter().all(|value| value.is_finite()), "{crop} {size} {shape:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_part_can_be_switched_off_by_itself() {
        let norm = Normalization { mean: vec![0.0; 3], std: vec![1.0; 3], of: String::new() };
        let seen = |text: &str| {
            let transform = Transform::of(&config(&format!("size = 16\n{text}")), (3, 16, 16));
            let one = |index| {
                let mut out = vec![0.0; 3 * 256];
                let draw = Some(Draw { seed: 0, epoch: 1 });
                transform.apply(&picture((3, 24, 31)), draw, index, &norm.table(), &mut out).unwrap();
                out.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
            };
            (0..40).map(one).collect::<std::collections::HashSet<_>>().len()
        };
        assert_eq!(seen("augment = false"), 1);
        assert_eq!(seen("crop = 'none'\nflip = false"), 1);
        assert_eq!(seen("crop = 'none'"), 2);
        assert_eq!(seen("crop = 'resize_and_crop'"), 2);
        assert!(seen("crop = 'pad'\nflip = false") > 15);
        assert!(seen("flip = false") > 30);
    }

    #[test]
    fn flips_in_turns_show_both_sides_every_two_epochs() {
        for (crop, size) in [("pad", ""), ("random_resized", "size = 16")] {
            let with = |order: &str| {
                let config = config(&format!("crop = '{crop}'\n{size}\nflip_order = '{order}'"));
                let transform = Transform::of(&config, (1, 16, 16));
                // Dark on the left, bright on the right: what is cut of it still tells its side.
                let image =
                    Picture { pixels: (0..16 * 16).map(|at| (at % 16 * 16) as u8).collect(), shape: (1, 16, 16) };
                let mirrored = move |seed, epoch, index| {
                    let norm = Normalization { mean: vec![0.0], std: vec![1.0], of: String::new() };
                    let mut out = vec![0.0; 16 * 16];
                    transform.apply(&image, Some(Draw { seed, epoch }), index, &norm.table(), &mut out).unwrap();
                    out.chunks(16).any(|row| row[7] > row[8])
                };
                (1..=6)
                    .map(|epoch| (0..200).map(|index| mirrored(5, epoch, index)).collect::<Vec<_>>())
                    .collect::<Vec<_>>()
            };
            let epochs = with("alternating");
            let count = epochs[0].iter().filter(|&&mirrored| mirrored).count();
            assert!((70..130).contains(&count), "{crop}: {count} of 200");
            for pair in epochs.windows(2) {
                assert!(pair[0].iter().zip(&pair[1]).all(|(one, other)| one != other), "{crop}");
            }
            let random = with("random");
            assert_ne!(random[0], random[2], "{crop}");
        }
    }

    #[test]
    fn only_what_is_not_the_default_counts() {
        assert_eq!(Deviations::of(&config("")), None);
        assert_eq!(Deviations::of(&config("crop = 'pad'\nflip = true\nmemory = '1GiB'\non_bad_image = 'skip'")), None);
        let of = |text: &str| Deviations::of(&config(text)).unwrap();
        assert_eq!(Deviations::of(&config("flip_order = 'random'")), None);
        assert_eq!(of("flip = false\nflip_order = 'alternating'"), of("flip = false"));
        assert!(!serde_json::to_string(&of("flip = false")).unwrap().contains("flip_order"));
        assert_eq!(of("size = 64"), of("size = [64, 64]"));
        assert_eq!(of("size = 64"), of("size = 64\ncrop = 'random_resized'"));
        let alternating = "flip_order = 'alternating'";
        let all = [
            "size = 64",
            "size = 32",
            "crop = 'none'",
            "flip = false",
            alternating,
            "channels = 1",
            "test_share = 0.2",
        ];
        let all: Vec<_> = all.iter().map(|text| serde_json::to_string(&of(text)).unwrap()).collect();
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
    }

    #[test]
    fn mnist_is_not_mirrored_and_its_mirrored_trials_keep_their_keys() {
        let of = |name: &str, keys: &str| {
            let config: DatasetConfig = toml::from_str(&format!("name = '{name}'\n{keys}")).unwrap();
            (Transform::of(&config, (1, 28, 28)).flip, Deviations::of(&config))
        };
        let not_mirrored = |name| of(name, "flip = false").1;
        assert_eq!(of("mnist", "flip = true"), (true, None));
        assert_eq!(of("mnist", ""), (false, not_mirrored("mnist")));
        assert!(not_mirrored("mnist").is_some());
        assert_eq!(of("mnist", "augment = false"), (false, None));
        assert_eq!(of("fashion-mnist", ""), (true, None));
        assert_eq!(of("svhn", ""), (false, None));
        assert!(of("svhn", "flip = true").1.is_some());
    }
}
