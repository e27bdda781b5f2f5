//! Student's t, central and not, by the incomplete beta function and by quadrature.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2};

use libm::{erfc, lgamma};

/// Probability of |T| > |`t`| with `freedom` > 0 degrees of freedom. NaN stays NaN.
pub fn two_sided(t: f64, freedom: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    let square = t * t;
    let whole = freedom + square;
    incomplete_beta(freedom / whole, square / whole, 0.5 * freedom, 0.5)
}

/// The t that |T| exceeds with probability `alpha`, 0 < `alpha` < 1.
pub fn critical(alpha: f64, freedom: f64) -> f64 {
    let above = |t: f64| two_sided(t, freedom) > alpha;
    let mut high = 1.0;
    while above(high) {
        high *= 2.0;
    }
    bisect(0.0, high, above)
}

/// Probability that noncentral T with `freedom` > 0 and noncentrality `shift` exceeds `t` >= 0: that of Z + `shift` > `t` S,
/// where Z is normal and S the root of a chi square over its degrees of freedom, integrated over S.
pub fn noncentral_above(t: f64, freedom: f64, shift: f64) -> f64 {
    noncentral_above_with(t, freedom, shift, 0.0)
}

/// The same where S counts as `least` where it is smaller.
pub fn noncentral_above_with(t: f64, freedom: f64, shift: f64, least: f64) -> f64 {
    let log_scale = LN_2 + 0.5 * freedom * (0.5 * freedom).ln() - lgamma(0.5 * freedom);
    let density = |s: f64| match s {
        0.0 if freedom > 1.0 => 0.0,
        0.0 => log_scale.exp(),
        _ => (log_scale + (freedom - 1.0) * s.ln() - 0.5 * freedom * s * s).exp(),
    };
    // Beyond these ends nothing is left that a double could hold beside the rest: S has a spread of at most 1 / sqrt(freedom).
    let spread = 1.0 / freedom.sqrt();
    let low = (1.0 - 9.0 * spread).max(0.0);
    let high = (1.0 + 9.0 * spread).min(if t > 0.0 { (shift + 9.0).max(0.0) / t } else { f64::INFINITY });
    if high <= low {
        return 0.0;
    }
    simpson(&|s| density(s) * normal_below(shift - t * s.max(least)), low, high)
}

/// Where `holds`, true below a point and false above it, turns; to the last bit that matters.
pub fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    while high - low > 1e-14 * high {
        let middle = 0.5 * (low + high);
        if holds(middle) { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// Probability that a standard normal exceeds `z`.
pub fn normal_tail(z: f64) -> f64 {
    normal_below(-z)
}

/// Normal distribution function.
fn normal_below(z: f64) -> f64 {
    0.5 * erfc(-z * FRAC_1_SQRT_2)
}

/// Derivative of the logarithm of the gamma function, at `x` > 0: by its recurrence to where the asymptotic series is exact.
pub fn digamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 25.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = square * (1.0 / 12.0 - square * (1.0 / 120.0 - square * (1.0 / 252.0 - square / 240.0)));
    shift + x.ln() - 0.5 / x - series
}

/// Derivative of [`digamma`], at `x` > 0.
pub fn trigamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 25.0 {
        shift += 1.0 / (x * x);
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = square * (1.0 / 6.0 - square * (1.0 / 30.0 - square * (1.0 / 42.0 - square / 30.0)));
    shift + 1.0 / x + 0.5 * square + series / x
}

/// The x > 0 at which [`trigamma`], which falls, is `y` > 0.
pub fn trigamma_inverse(y: f64) -> f64 {
    let above = |x: f64| trigamma(x) > y;
    let mut high = 1.0;
    while above(high) {
        high *= 2.0;
    }
    bisect(0.0, high, above)
}

/// Regularized incomplete beta function at `x`, given with `y` = 1 - `x` so that neither is rounded; continued fraction by
/// Lentz's method (Abramowitz and Stegun, 26.5.8).
fn incomplete_beta(x: f64, y: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || y <= 0.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges fast on this side only; the other one is its mirror image.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(y, x, b, a);
    }
    let front = (lgamma(a + b) - lgamma(a) - lgamma(b) + a * x.ln() + b * y.ln()).exp() / a;
    let away_from_0 = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away_from_0(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..=1000 {
        let k = f64::from(m);
        let even = k * (b - k) * x / ((a + 2.0 * k - 1.0) * (a + 2.0 * k));
        let odd = -(a + k) * (a + b + k) * x / ((a + 2.0 * k) * (a + 2.0 * k + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_0(1.0 + term * d);
            c = away_from_0(1.0 + term / c);
            factor *= d * c;
        }
        fraction *= factor;
        if (factor - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// Adaptive Simpson's rule over 32 panels, each halved until its halves agree with it.
fn simpson(f: &dyn Fn(f64) -> f64, low: f64, high: f64) -> f64 {
    const PANELS: u32 = 32;
    let at = |panel: u32| low + (high - low) * f64::from(panel) / f64::from(PANELS);
    (0..PANELS)
        .map(|panel| {
            let (a, b) = (at(panel), at(panel + 1));
            let ends = [f(a), f(0.5 * (a + b)), f(b)];
            halves(f, (a, b), ends, (b - a) / 6.0 * (ends[0] + 4.0 * ends[1] + ends[2]), 30)
        })
        .sum()
}

fn halves(f: &dyn Fn(f64) -> f64, (a, b): (f64, f64), [fa, fm, fb]: [f64; 3], whole: f64, depth: u32) -> f64 {
    let middle = 0.5 * (a + b);
    let (left, right) = (f(0.5 * (a + middle)), f(0.5 * (middle + b)));
    let first = (b - a) / 12.0 * (fa + 4.0 * left + fm);
    let second = (b - a) / 12.0 * (fm + 4.0 * right + fb);
    let error = first + second - whole;
    if depth == 0 || error.abs() < 1e-12 {
        return first + second + error / 15.0;
    }
    halves(f, (a, middle), [fa, left, fm], first, depth - 1)
        + halves(f, (middle, b), [fm, right, fb], second, depth - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f64, expected: f64, relative: f64) {
        assert!((found - expected).abs() <= relative * expected.abs(), "{found} is not {expected}");
    }

    /// Against SciPy 1.17 (`2 * t.sf`, `t.isf`).
    #[test]
    fn student_t_is_scipys() {
        let tails = [
            (2.0, 4.0, 0.11611652351681556),
            (40.0, 2.0, 0.0006244146721847406),
            (0.1, 7.0, 0.9231480596047924),
            (5.5, 19.0, 2.6350028586908895e-05),
            (0.001, 2.0, 0.9992928933955901),
        ];
        for (t, freedom, p) in tails {
            assert_close(two_sided(t, freedom), p, 1e-12);
            assert_close(two_sided(-t, freedom), p, 1e-12);
        }
        let ends = [
            (0.05, 1.0, 12.706204736174694),
            (0.05, 2.0, 4.302652729749462),
            (0.05, 3.0, 3.1824463052837078),
            (0.05, 11.0, 2.200985160091639),
            (0.05, 120.0, 1.9799304050824402),
            (0.05, 1000.0, 1.9623390808264083),
            (0.05 / 78.0, 2.0, 39.47784391665521),
            (0.05 / 78.0, 1.0, 993.1265092531635),
        ];
        for (alpha, freedom, t) in ends {
            assert_close(critical(alpha, freedom), t, 1e-9);
        }
        assert_eq!((two_sided(0.0, 3.0), two_sided(f64::INFINITY, 3.0)), (1.0, 0.0));
        assert!(two_sided(f64::NAN, 3.0).is_nan());
    }

    /// Against SciPy 1.17 (`nct.sf`).
    #[test]
    fn noncentral_t_is_scipys() {
        let tails = [
            (2.0, 4.0, 1.0, 0.23543254617567572),
            (4.302652729911275, 2.0, 5.0, 0.719180535332435),
            (12.706204736432095, 1.0, 16.0, 0.7906466469119414),
            (2.093, 19.0, 2.2, 0.5510045763565561),
            (39.5, 2.0, 60.0, 0.9002421182692798),
            (2.0, 100.0, 2.0, 0.5019855412129549),
            (2.0, 999.0, 3.0, 0.841223896883973),
        ];
        for (t, freedom, shift, p) in tails {
            assert_close(noncentral_above(t, freedom, shift), p, 1e-8);
        }
    }

    /// Against SciPy 1.17 (`polygamma`).
    #[test]
    fn derivatives_of_the_gamma_function_are_scipys() {
        let known = [
            (0.5, -1.9635100260214235, 4.934802200544679),
            (1.0, -0.5772156649015329, 1.6449340668482264),
            (2.5, 0.7031566406452432, 0.4903577561002349),
            (40.0, 3.6763273740348428, 0.025315103841291032),
        ];
        for (x, first, second) in known {
            assert_close(digamma(x), first, 1e-12);
            assert_close(trigamma(x), second, 1e-12);
            assert_close(trigamma_inverse(second), x, 1e-9);
        }
    }

    #[test]
    fn without_a_shift_noncentral_t_is_students() {
        for freedom in [1.0, 2.0, 5.0, 40.0, 10_000.0] {
            for t in [0.0, 0.3, 2.0, 13.0] {
                let above = noncentral_above(t, freedom, 0.0);
                assert!((above - 0.5 * two_sided(t, freedom)).abs() < 1e-9, "t = {t}, {freedom} degrees: {above}");
            }
        }
    }
}
