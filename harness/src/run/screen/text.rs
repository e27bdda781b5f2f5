//! Numbers and foreign text, as a terminal may show them.

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A time, to the second below an hour.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// A time in few letters, for columns.
pub fn brief(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

/// Text of foreign origin without anything that a terminal would obey: control characters other than line ends, and
/// characters that turn the direction of writing.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => clean.push(c),
            '\t' => clean.push_str("    "),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// [`clean`] text in one line.
pub fn one_line(text: &str) -> String {
    clean(text).split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration(59.4), "59 s");
        assert_eq!(duration(60.0), "1 min 0 s");
        assert_eq!(duration(10_925.0), "3 h 2 min");
        assert_eq!([0.4, 59.4, 61.0, 10_925.0, 180_000.0].map(brief), ["0 s", "59 s", "1 min", "3 h 2 min", "2 d 2 h"]);
        // Whatever a broken clock or a broken file says is a number all the same.
        assert_eq!([f64::NAN, -3.0].map(duration), ["0 s", "0 s"]);
        assert!(!brief(f64::INFINITY).is_empty());
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(clean("a\x1b[2Jb\u{9b}31m\u{202e}c\r\u{7}\td\ne"), "a[2Jb31mc    d\ne");
        assert_eq!(one_line(" out of memory\n\n  at step 3\r\n"), "out of memory at step 3");
    }
}
