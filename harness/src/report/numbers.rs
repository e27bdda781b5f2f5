//! How numbers are written, wherever a report writes one.

use crate::statistics::Interval;

/// So many decimals; what rounds to 0 has no sign.
pub fn decimals(value: f64, count: usize) -> String {
    unsigned_zero(format!("{value:.count$}"))
}

/// `+1.20`, `-1.20`, `0.00`: a difference.
pub fn difference(value: f64) -> String {
    unsigned_zero(format!("{value:+.2}"))
}

/// A 0 without a sign, whichever it had.
fn unsigned_zero(text: String) -> String {
    let is_zero = !text.contains(|c: char| c.is_ascii_digit() && c != '0' || c.is_alphabetic());
    match text.strip_prefix(['-', '+']) {
        Some(digits) if is_zero => digits.to_owned(),
        _ => text,
    }
}

/// `[-2.10, -0.30]`, ends of a difference.
pub fn signed(Interval { low, high }: Interval) -> String {
    format!("[{}, {}]", difference(low), difference(high))
}

/// `[62.10, 62.90]`.
pub fn unsigned(Interval { low, high }: Interval) -> String {
    format!("[{}, {}]", decimals(low, 2), decimals(high, 2))
}

/// Three digits.
pub fn three_digits(value: f64) -> String {
    let count = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    decimals(value, count)
}

/// A count in four digits: `272.5k`, `40.55M`, `4.089G`.
pub fn quantity(count: u64) -> String {
    let (value, unit) = match count {
        0..1_000 => return count.to_string(),
        1_000..1_000_000 => (count as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => (count as f64 / 1e6, "M"),
        _ => (count as f64 / 1e9, "G"),
    };
    let decimals = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{value:.decimals$}{unit}")
}

/// `34.1 %`
pub fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

/// `20.00M` as `20M`.
pub fn trim(quantity: &str) -> String {
    let unit = quantity.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = &quantity[..quantity.len() - unit.len()];
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{unit}")
}

/// `45,000`
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|three| str::from_utf8(three).ok()).collect();
    groups.join(",")
}

/// Below this, p has no digits among four.
const SMALL_P: f64 = 1e-4;

/// `0.0312`, or that it is too small for four decimals.
pub fn p_value(p: f64) -> String {
    if p < SMALL_P { "< 0.0001".into() } else { format!("{p:.4}") }
}

/// `p = 0.0312`, or `p < 0.0001`.
pub fn p_equals(p: f64) -> String {
    if p < SMALL_P { format!("p {}", p_value(p)) } else { format!("p = {}", p_value(p)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_sign_and_what_is_no_number_stays() {
        assert_eq!([-0.004, 0.004, -0.0, -0.006, 1.2].map(difference), ["0.00", "0.00", "0.00", "-0.01", "+1.20"]);
        assert_eq!([-0.4, 0.0, -10.0].map(|value| decimals(value, 0)), ["0", "0", "-10"]);
        assert_eq!([f64::NAN, f64::NEG_INFINITY].map(difference), ["NaN", "-inf"]);
        assert_eq!(signed(Interval { low: -0.001, high: 0.25 }), "[0.00, +0.25]");
    }

    #[test]
    fn counts_have_four_digits_and_say_their_unit() {
        let written = [0, 999, 1_000, 272_474, 40_551_040, 999_949, 4_089_184_256].map(quantity);
        assert_eq!(written, ["0", "999", "1.000k", "272.5k", "40.55M", "999.9k", "4.089G"]);
        assert_eq!(["20.00M", "1.500k", "100", "4G"].map(trim), ["20M", "1.5k", "100", "4G"]);
        assert_eq!([0, 999, 45_000, 1_234_567].map(thousands), ["0", "999", "45,000", "1,234,567"]);
    }
}
