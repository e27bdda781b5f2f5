//! Functions of single values, as every family of kernels calls them: plain Rust without a branch, which the compiler turns
//! into vectors of the instruction set that the caller is compiled for.

/// A function of each value by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `min(max(x, 0), 6)`, with gradient 0 at both ends. What is not a number stays, and lets its gradient pass.
    Relu6,
}

impl Map {
    #[inline(always)]
    pub(crate) fn apply(self, x: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + exp(-x)),
            Self::Relu6 => {
                let x = if x < 0.0 { 0.0 } else { x };
                if x > 6.0 { 6.0 } else { x }
            }
        }
    }

    /// The gradient of its input, from its output and that one's gradient. Where a value was clipped it is 0, whatever comes
    /// from behind.
    #[inline(always)]
    pub(crate) fn gradient(self, y: f32, dy: f32) -> f32 {
        match self {
            Self::Sigmoid => dy * (y * (1.0 - y)),
            Self::Relu6 => {
                if y <= 0.0 || y >= 6.0 {
                    0.0
                } else {
                    dy
                }
            }
        }
    }
}

/// What a crossed gate lets pass of a value, from the value's share, the sigmoid of its gate. A share that is not a number
/// is above no threshold, and stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Crossing {
    pub(crate) threshold: f32,
}

impl Crossing {
    /// What the value is multiplied with for its own channel.
    #[inline(always)]
    pub(crate) fn own(self, share: f32) -> f32 {
        if share > self.threshold { 1.0 } else { share }
    }

    /// For the channel that it is crossed with. The product is made even of 0, so that an infinity leaves its trace.
    #[inline(always)]
    pub(crate) fn other(self, share: f32) -> f32 {
        if share > self.threshold { 0.0 } else { share }
    }

    /// The gradient of the gate, from that of both factors together: 0 where they are constant, whatever comes from behind.
    #[inline(always)]
    pub(crate) fn gradient(self, share: f32, factors: f32) -> f32 {
        if share > self.threshold { 0.0 } else { Map::Sigmoid.gradient(share, factors) }
    }
}

/// `e^x` to within two units in the last place; 0 and infinity where f32 ends, NaN of NaN.
///
/// By `x = n ln 2 + r` it is `2^n e^r`, with a polynomial for `e^r` (its Taylor series: `|r| < 0.35`).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding it leaves no bits behind the point: the sum's last bits are the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    // The largest multiple of 2^-10 below ln 2 and the rest: `n` times the first one is exact.
    const LN_2: [f32; 2] = [709.0 / 1024.0, 7.643_680_6e-4];
    // Beyond, the result is 0 or infinite; NaN is neither.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let mut sum = 1.0 / 5040.0;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + factor;
    }
    // Two halves of 2^n, as the whole may be no ordinary number where the product is one.
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32).wrapping_shl(23));
    sum * power(half) * power(n.wrapping_sub(half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference;

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place_from_end_to_end() {
        let mut worst = 0.0f64;
        for step in 0..=2_000_000 {
            let x = -104.5 + 194.0 * step as f32 / 2e6;
            let (got, want) = (exp(x), f64::from(x).exp());
            if want > f64::from(f32::MAX) {
                // The last value before may round up.
                assert!(got == f32::INFINITY || f64::from(got) / want > 1.0 - 3e-7, "{x}: {got}");
                continue;
            }
            // The distance to the next value, which below the smallest ordinary one does not shrink any more.
            let unit = (want * 2f64.powi(-23)).max(2f64.powi(-149));
            worst = worst.max((f64::from(got) - want).abs() / unit);
        }
        assert!(worst < 2.0, "{worst} units");
    }

    #[test]
    fn exp_ends_in_zero_and_infinity_and_keeps_nan() {
        assert_eq!([0.0, -0.0].map(exp), [1.0; 2]);
        assert_eq!([f32::NEG_INFINITY, f32::MIN, -200.0, -104.0].map(exp), [0.0; 4]);
        assert_eq!([f32::INFINITY, f32::MAX, 200.0, 89.0].map(exp), [f32::INFINITY; 4]);
        assert!(
            [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(u32::MAX)].map(exp)[..]
                .iter()
                .all(|y| y.is_nan())
        );
    }

    #[test]
    fn maps_and_their_gradients_are_those_of_the_scalar_twins() {
        let special =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5, 0.500_000_06, 0.0, -0.0, 6.0, 5.999_999_5, 100.0, -100.0];
        let values: Vec<f32> =
            crate::normal_stream(1, "map", 500).into_iter().map(|x| 4.0 * x as f32).chain(special).collect();
        for map in [Map::Sigmoid, Map::Relu6] {
            for (at, &x) in values.iter().enumerate() {
                let dy = values[(at * 7 + 3) % values.len()];
                let y = map.apply(x);
                let got = [y, map.gradient(y, dy)];
                let want = reference::map(map, x, dy);
                reference::Special::Same.assert(|| format!("{map:?} of {x}, gradient {dy}"), &got, &want);
            }
        }
    }
}
