//! What a sweep will be able to see, before anything of it is trained.

use std::path::Path;

use crate::report::aggregate::{groups, spread_of_differences};
use crate::results::RunFolder;
use crate::statistics::{FALSE_VERDICTS, POWER, detectable, detectable_together};

/// Beyond so many settings nobody reads a table of all pairs.
const MOST_SETTINGS: usize = 100;

/// How the difference of two methods varies between seeds, in points of top-1.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Sample standard deviation.
    pub points: f64,
    /// Where it is known from.
    pub from: String,
}

impl Spread {
    /// As `--spread` states it.
    pub fn stated(points: f64) -> Self {
        Self { points, from: "as stated".into() }
    }

    /// Of the results that a run folder has; none where there is no such folder, or no two seeds of it.
    ///
    /// # Errors
    /// Results that cannot be read.
    pub fn found(folder: &Path) -> anyhow::Result<Option<Self>> {
        if !folder.is_dir() || RunFolder::has_tries_alone(folder) {
            return Ok(None);
        }
        let trials = RunFolder::open(folder)?.collected()?;
        let spread = spread_of_differences(&groups(&trials.done));
        Ok(spread.map(|(points, differences)| Self {
            points,
            from: format!("that of {differences} differences to vanilla in {}", folder.display()),
        }))
    }
}

/// What `seeds` of each of so many `settings` will tell apart, in a sentence or two, a line each.
pub fn sentence(seeds: usize, settings: usize, spread: Option<&Spread>) -> String {
    if seeds < 2 {
        return "one seed tells no two settings apart: a verdict needs two at least (protocol.seeds)".into();
    }
    let points = spread.map_or(1.0, |spread| spread.points);
    let alone = detectable(seeds, points, POWER, FALSE_VERDICTS).unwrap_or(f64::INFINITY);
    let unit = if spread.is_some() { "points" } else { "times the spread of a difference between seeds" };
    let from = match spread {
        Some(Spread { points, from }) => {
            format!("at a spread of the difference of {points:.2} points between seeds, {from}")
        }
        None => "no result tells that spread; --spread POINTS states one".into(),
    };
    let mut text = format!("{seeds} seeds see {:.2} {unit} at 80 % power, of a pair by itself ({from})", alone);
    if (3..=MOST_SETTINGS).contains(&settings) {
        let pairs = settings * (settings - 1) / 2;
        text += &format!(
            "\nand {:.2} {unit} at worst, where all {pairs} pairs of {settings} settings stand in one table",
            detectable_together(seeds, settings, points, POWER, FALSE_VERDICTS).unwrap_or(f64::INFINITY)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_what_seeds_can_see() {
        let spread = Spread::stated(0.3);
        // 3.264 and 11.550 spreads: see the tests of `detectable`.
        assert_eq!(
            sentence(3, 2, Some(&spread)),
            "3 seeds see 0.98 points at 80 % power, of a pair by itself (at a spread of the difference of 0.30 points between seeds, \
             as stated)"
        );
        assert!(
            sentence(2, 2, None)
                .starts_with("2 seeds see 11.55 times the spread of a difference between seeds at 80 % power")
        );
        assert!(sentence(2, 2, None).contains("--spread POINTS"));
        assert!(sentence(1, 2, Some(&spread)).starts_with("one seed tells no two settings apart"));
    }

    #[test]
    fn a_table_of_many_pairs_sees_less() {
        let text = sentence(3, 4, Some(&Spread::stated(1.0)));
        // See the tests of `detectable_together`.
        assert!(
            text.contains("3.26 points")
                && text.contains("\nand 3.12 points at worst, where all 6 pairs of 4 settings"),
            "{text}"
        );
        assert!(!sentence(3, MOST_SETTINGS + 1, None).contains("at worst"));
    }
}
