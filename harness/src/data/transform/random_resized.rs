//! The part of a photograph that a training image is made of: torchvision's `RandomResizedCrop`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::resize::{Region, centre};
use crate::data::random::below;

/// Shares of the image's area that a part may have.
const AREA: (f64, f64) = (0.08, 1.0);
/// Width over height that it may have.
const ASPECT: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Draws before the centre is taken.
const DRAWS: usize = 10;

/// A part of an image of `(height, width)`.
pub(super) fn draw(rng: &mut ChaCha8Rng, (height, width): (usize, usize)) -> Region {
    let area = (height * width) as f64;
    for _ in 0..DRAWS {
        let part = area * between(rng, AREA);
        // Of as much as of its inverse: uniform in the logarithm. `libm` has the same bits everywhere.
        let aspect = libm::exp(between(rng, (libm::log(ASPECT.0), libm::log(ASPECT.1))));
        let [w, h] = [part * aspect, part / aspect].map(|square| libm::round(libm::sqrt(square)) as usize);
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let (top, left) = (below(rng, height - h + 1), below(rng, width - w + 1));
            return Region { top, left, height: h, width: w };
        }
    }
    // Images so long that no draw fits: all of them, or the centre in the nearest accepted aspect.
    let aspect = width as f64 / height as f64;
    let (w, h) = if aspect < ASPECT.0 {
        (width, libm::round(width as f64 / ASPECT.0) as usize)
    } else if aspect > ASPECT.1 {
        (libm::round(height as f64 * ASPECT.1) as usize, height)
    } else {
        (width, height)
    };
    centre((height, width), (h.clamp(1, height), w.clamp(1, width)))
}

/// Uniform in `[low, high)`, in 53 bits.
fn between(rng: &mut ChaCha8Rng, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * ((rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, stream};

    #[test]
    fn parts_lie_in_the_image_and_have_the_areas_and_aspects_that_are_promised() {
        let (height, width) = (375, 500);
        let (mut least, mut most) = (f64::MAX, 0.0f64);
        for index in 0..4000 {
            let part = draw(&mut stream(Purpose::Augment, 0, 0, index), (height, width));
            assert!(part.top + part.height <= height && part.left + part.width <= width, "{part:?}");
            let aspect = part.width as f64 / part.height as f64;
            assert!((0.74..1.35).contains(&aspect), "{part:?}");
            let share = (part.width * part.height) as f64 / (height * width) as f64;
            (least, most) = (least.min(share), most.max(share));
        }
        assert!((0.078..0.1).contains(&least) && most > 0.9, "{least} {most}");
    }

    #[test]
    fn an_image_of_any_sides_has_a_part() {
        for sides in [(1, 1), (1, 900), (900, 1), (2, 3), (20, 400)] {
            for index in 0..50 {
                let part = draw(&mut stream(Purpose::Augment, 1, 2, index), sides);
                assert!(part.height >= 1 && part.width >= 1, "{part:?}");
                assert!(part.top + part.height <= sides.0 && part.left + part.width <= sides.1, "{part:?} {sides:?}");
            }
        }
    }
}
