//! The procedural data set: needs no file and no network, and is hard enough that methods differ.
//!
//! A class is a pair of a texture and the shape that it fills. Position, size, tilt, colours, contrast, the texture's
//! own tilt, phase and period, the background (a gradient under a weak texture of any kind), flat distracting shapes
//! and noise are all drawn independently of the class: neither colour nor mean nor frequency alone tells it, and every
//! class looks the same mirrored.
//!
//! Most images are clear, so that a short training gets off chance: texture first, then shape. The others lie behind a
//! haze, of which the densest leaves nothing to see, so that a long training keeps something to learn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use super::random::{Purpose, below, between, stream};
use super::{Geometry, Images, Splits};

/// Shapes: ring, triangle, disc, cross, square. The first two are told apart soonest: ten classes have no others.
const SHAPES: usize = 5;
/// Kinds of texture: upright stripes, level stripes, checks, dots, rings.
const KINDS: usize = 5;
/// Standard deviation of an image's noise, in pixel values.
const NOISE: (f32, f32) = (2.0, 8.0);
/// Amplitude of the object's texture, in pixel values.
const CONTRAST: (f32, f32) = (60.0, 110.0);
/// Sum over the channels by which the object's colour is off the background's at least.
const APART: f32 = 120.0;
/// Sine of the largest tilt: stripes stay nearer to their own direction than to the other.
const TILT: f32 = 0.2;
/// Densities of haze, each over one image in twenty: the most that is left of the contrast.
const HAZE: [f32; 3] = [0.25, 0.0625, 0.015625];

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Shape and number of classes.
    pub geometry: Geometry,
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Other seeds give other images of the same classes.
    pub seed: u64,
}

impl Synthetic {
    /// The default sizes, 10,000 and 2,000 images.
    pub fn new(geometry: Geometry) -> Self {
        Self { geometry, train: 10_000, test: 2_000, seed: 0 }
    }

    /// Both splits; classes are balanced. The same bits on every machine that has IEEE arithmetic.
    pub fn generate(&self) -> Splits {
        Splits { train: self.split(0, self.train), test: self.split(1, self.test), remark: None, remarks: vec![] }
    }

    fn split(&self, split: u64, count: usize) -> Images {
        let Geometry { shape: (c, h, w), classes } = self.geometry;
        let mut pixels = vec![0; count * c * h * w];
        pixels.par_chunks_exact_mut(c * h * w).enumerate().for_each(|(index, image)| {
            let mut rng = stream(Purpose::Synthetic, self.seed, split, index as u64);
            render(index % classes, self.geometry, &mut rng, image);
        });
        Images { pixels, labels: (0..count).map(|index| (index % classes) as u16).collect(), shape: (c, h, w) }
    }
}

/// A shape at a place. Coordinates are relative to the centre, turned, and divided by the radius.
struct Figure {
    shape: usize,
    center: (f32, f32),
    radius: f32,
    turn: (f32, f32),
}

impl Figure {
    /// `radius` in pixels; the centre leaves at least `inside` times the radius to the border.
    fn draw(shape: usize, radius: f32, inside: f32, (h, w): (usize, usize), rng: &mut ChaCha8Rng) -> Self {
        let margin = inside * radius;
        let mut along = |size: usize| between(rng, margin.min(size as f32 / 2.0), size as f32 - margin);
        let center = (along(w), along(h));
        Self { shape, center, radius, turn: tilt(rng) }
    }

    /// How far inside the shape a pixel is: 1 inside, 0 outside, between on the edge.
    fn coverage(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = ((x - self.center.0) / self.radius, (y - self.center.1) / self.radius);
        let (u, v) = (dx * self.turn.0 + dy * self.turn.1, dy * self.turn.0 - dx * self.turn.1);
        let bar = |u: f32, v: f32| (0.32 - u.abs()).min(1.0 - v.abs());
        // Sizes chosen so that all shapes cover about the same area.
        let depth = match self.shape {
            0 => 0.22 - (length(u, v) - 0.78).abs(),
            1 => 0.52 - v.max(0.866 * u - 0.5 * v).max(-0.866 * u - 0.5 * v),
            2 => 0.8 - length(u, v),
            3 => bar(u, v).max(bar(v, u)),
            _ => 0.7 - u.abs().max(v.abs()),
        };
        (depth * self.radius + 0.5).clamp(0.0, 1.0)
    }
}

/// A pattern with values in [-1, 1].
struct Texture {
    kind: usize,
    turn: (f32, f32),
    phase: (f32, f32),
    period: f32,
}

impl Texture {
    fn draw(kind: usize, period: f32, rng: &mut ChaCha8Rng) -> Self {
        Self { kind, turn: tilt(rng), phase: (between(rng, 0.0, 1.0), between(rng, 0.0, 1.0)), period }
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        // A triangle wave, cheaper than a sine.
        let wave = |t: f32| 4.0 * (t - t.floor() - 0.5).abs() - 1.0;
        let (x, y) = (x / self.period, y / self.period);
        let (u, v) =
            (x * self.turn.0 + y * self.turn.1 + self.phase.0, y * self.turn.0 - x * self.turn.1 + self.phase.1);
        let value = match self.kind {
            0 => wave(u),
            1 => wave(v),
            2 => 2.0 * wave(u) * wave(v),
            3 => wave(u) + wave(v) - 0.3,
            _ => wave(length(u, v)),
        };
        (2.0 * value).clamp(-1.0, 1.0)
    }
}

/// Not `f32::hypot`, which differs between machines.
fn length(u: f32, v: f32) -> f32 {
    (u * u + v * v).sqrt()
}

/// A unit vector near (1, 0).
fn tilt(rng: &mut ChaCha8Rng) -> (f32, f32) {
    let sine = between(rng, -TILT, TILT);
    ((1.0 - sine * sine).sqrt(), sine)
}

/// A unit vector; drawn by rejection, as trigonometric functions differ between machines.
fn direction(rng: &mut ChaCha8Rng) -> (f32, f32) {
    loop {
        let (x, y) = (between(rng, -1.0, 1.0), between(rng, -1.0, 1.0));
        let norm = length(x, y);
        if (0.1..=1.0).contains(&norm) {
            return (x / norm, y / norm);
        }
    }
}

/// A random colour; neither black nor white.
fn colour(rng: &mut ChaCha8Rng) -> [f32; 3] {
    std::array::from_fn(|_| between(rng, 40.0, 215.0))
}

/// What is left of an image's contrast: all of it, in most.
fn visibility(rng: &mut ChaCha8Rng) -> f32 {
    let (lot, share) = (below(rng, 20), between(rng, 0.5, 1.0));
    HAZE.get(lot).map_or(1.0, |most| most * share)
}

fn render(class: usize, geometry: Geometry, rng: &mut ChaCha8Rng, image: &mut [u8]) {
    let (_, h, w) = geometry.shape;
    let unit = h.min(w) as f32 / 32.0;
    // Up to 25 classes, kinds tell the textures apart; beyond that, periods too.
    let (kind, shape) = (class % KINDS, class / KINDS % SHAPES);
    let levels = geometry.classes.div_ceil(SHAPES * KINDS).max(1);
    let level = (class / (KINDS * SHAPES)) as f32;
    let (low, high) = (3.0 * unit, 5.0 * unit);
    let step = (high - low) / levels as f32;
    let period = |level: f32, rng: &mut ChaCha8Rng| low + step * (level + between(rng, 0.0, 1.0));

    let object_radius = between(rng, 12.0, 14.0) * unit;
    let object = Figure::draw(shape, object_radius, 1.0, (h, w), rng);
    let pattern = Texture::draw(kind, period(level, rng), rng);
    let (bright, mean) = (between(rng, CONTRAST.0, CONTRAST.1), colour(rng));
    let tint: [f32; 3] = std::array::from_fn(|_| between(rng, 0.4, 1.0));

    let kinds = geometry.classes.min(KINDS);
    let (back_kind, back_level) = (below(rng, kinds), below(rng, levels) as f32);
    let back_pattern = Texture::draw(back_kind, period(back_level, rng), rng);
    let back = loop {
        let back = colour(rng);
        if back.iter().zip(mean).map(|(back, mean)| (back - mean).abs()).sum::<f32>() >= APART {
            break back;
        }
    };
    let (slope, weak, noisy) = (direction(rng), between(rng, 0.0, 8.0), between(rng, NOISE.0, NOISE.1));
    let slope = (slope.0 * 1.5 / unit, slope.1 * 1.5 / unit);
    let clutter: [(Figure, [f32; 3]); 3] = std::array::from_fn(|_| {
        let (shape, radius) = (below(rng, SHAPES), between(rng, 1.5, 3.0) * unit);
        (Figure::draw(shape, radius, 0.0, (h, w), rng), colour(rng))
    });

    let (haze, visible) = (colour(rng), visibility(rng));

    let mut noise = [0u8; 12];
    for y in 0..h {
        for x in 0..w {
            let (fx, fy) = (x as f32, y as f32);
            let shade = slope.0 * (fx - w as f32 / 2.0) + slope.1 * (fy - h as f32 / 2.0);
            let mut value = back.map(|b| b + shade + weak * back_pattern.at(fx, fy));
            // Two distractors lie behind the object, one before it.
            for (i, (figure, flat)) in clutter.iter().enumerate() {
                if i == 2 {
                    let cover = object.coverage(fx, fy);
                    if cover > 0.0 {
                        let wave = bright * pattern.at(fx, fy);
                        blend(&mut value, cover, std::array::from_fn(|c| mean[c] + tint[c] * wave));
                    }
                }
                let cover = figure.coverage(fx, fy);
                if cover > 0.0 {
                    blend(&mut value, cover, *flat);
                }
            }
            blend(&mut value, 1.0 - visible, haze);
            rng.fill_bytes(&mut noise);
            let channels = image.chunks_exact_mut(h * w).zip(value).zip(noise.chunks_exact(4));
            for ((plane, value), noise) in channels {
                // The sum of four bytes is nearly normal: mean 510, standard deviation 147.8.
                let normal = noise.iter().map(|&n| f32::from(n)).sum::<f32>() - 510.0;
                plane[y * w + x] = (value + normal * (noisy / 147.8)).clamp(0.0, 255.0) as u8;
            }
        }
    }
}

fn blend(value: &mut [f32; 3], cover: f32, over: [f32; 3]) {
    value.iter_mut().zip(over).for_each(|(v, o)| *v += cover * (o - *v));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(geometry: Geometry, seed: u64) -> Splits {
        Synthetic { geometry, train: 400, test: 100, seed }.generate()
    }

    const CIFAR: Geometry = Geometry { shape: (3, 32, 32), classes: 10 };

    #[test]
    fn seeded_balanced_and_without_repetition() {
        let (a, b, c) = (small(CIFAR, 0), small(CIFAR, 0), small(CIFAR, 1));
        assert_eq!((&a.train, &a.test), (&b.train, &b.test));
        assert_ne!(a.train.pixels, c.train.pixels);
        for class in 0..10 {
            assert_eq!(a.train.labels.iter().filter(|&&l| l == class).count(), 40);
        }
        let distinct: std::collections::HashSet<_> =
            (0..400).map(|i| a.train.image(i)).chain((0..100).map(|i| a.test.image(i))).collect();
        assert_eq!(distinct.len(), 500);
    }

    /// Results are kept under the fingerprint of their data: who draws it differently means to, and changes this line.
    #[test]
    fn the_images_are_the_same_on_every_machine() {
        let Splits { train, test, .. } = small(CIFAR, 0);
        assert_eq!(super::super::fingerprint(&[&train.into(), &test.into()])[..16], *"fc29902904497a5e");
    }

    #[test]
    fn fits_other_geometries() {
        for geometry in [Geometry { shape: (1, 28, 28), classes: 10 }, Geometry { shape: (3, 32, 32), classes: 100 }] {
            let splits = small(geometry, 0);
            assert_eq!(splits.train.shape, geometry.shape);
            assert_eq!(splits.train.labels.iter().max(), Some(&(geometry.classes as u16 - 1)));
        }
    }

    /// The mean colour of an image, and its mean difference to the next pixel, do not give the class away: the nearest
    /// class mean over these features is right hardly more often than chance.
    #[test]
    fn colour_and_brightness_do_not_tell_the_class() {
        let data = Synthetic { geometry: CIFAR, train: 2000, test: 500, seed: 0 }.generate();
        let features = |image: &[u8]| -> [f32; 4] {
            let mean = |i: usize| image[i * 1024..][..1024].iter().map(|&v| f32::from(v)).sum::<f32>() / 1024.0;
            let rough: f32 = image.windows(2).map(|p| (f32::from(p[0]) - f32::from(p[1])).abs()).sum();
            [mean(0), mean(1), mean(2), rough / 3072.0]
        };
        let mut centers = [[0.0f32; 4]; 10];
        for i in 0..2000 {
            let f = features(data.train.image(i));
            centers[usize::from(data.train.labels[i])].iter_mut().zip(f).for_each(|(c, f)| *c += f / 200.0);
        }
        let distance = |a: &[f32; 4], b: &[f32; 4]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let right = (0..500)
            .filter(|&i| {
                let f = features(data.test.image(i));
                let nearest = (0..10).min_by(|&a, &b| distance(&centers[a], &f).total_cmp(&distance(&centers[b], &f)));
                nearest == Some(usize::from(data.test.labels[i]))
            })
            .count();
        assert!(right < 125, "{right} of 500 right, chance is 50");
    }
}
