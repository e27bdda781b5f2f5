//! `[run]`: how trials are executed. Nothing in it changes a result, and none of it counts for a trial's identity.

use std::fmt;
use std::time::Duration;

use conv_core::options;
use conv_core::options::{Kind, at_least};

use super::resolve::section;
use super::sweep::Document;
use crate::config::quantity::{SIZE, text_form};
pub use crate::config::quantity::{Size, bytes};

/// More threads to compute on are a slip.
pub const MOST_THREADS: i64 = 1024;

const COUNT: Kind = Kind::Integer(1, MOST_THREADS);
const ROUNDS: Kind = Kind::Integer(1, 1000);
const TIME: Kind = Kind::Form(
    |text| duration(text).is_some(),
    "a time, e.g. \"90s\", \"30min\", \"6h\", \"02:00:00\", \"1-12:00:00\"",
);
const POLICY: Kind =
    Kind::Form(|text| on_failure(text).is_some(), "\"continue\", \"stop\" or \"retry(N)\" with N from 1 to 100");

options! {
    /// `[run]`.
    #[derive(Eq)]
    RunSettings = "run", "how trials are executed" {
        /// Threads that compute, of each trial; changes no result.
        threads: Option<usize> = None, COUNT;
        /// Trials that run at once, each in a process of its own.
        jobs: usize = 1, COUNT;
        /// Most memory a trial may hold; beyond it, it fails.
        memory: Option<Size> = None, SIZE;
        /// Most time an attempt at a trial may take; beyond it, it fails.
        time_limit: Option<Time> = None, TIME;
        /// Time between checkpoints, from which an interrupted trial goes on.
        checkpoint_every: Time = Time(Duration::from_secs(60)), TIME;
        /// What a failed trial does to the others.
        on_failure: OnFailure = OnFailure::Continue, POLICY;
        /// Whether each finished trial keeps its network's weights, which take far more room than all else of it.
        keep_weights: bool = true, Kind::Flag;
        /// Whether what networks cost to run is measured once all trials are over; where it is not said, if any trial trains.
        measure: Option<bool> = None, Kind::Flag;
        /// Rounds in which every network is measured once, by a process of its own.
        measure_rounds: usize = 5, ROUNDS;
        /// Images of a measured batch; those of a training step where it is not said.
        measure_batch: Option<usize> = None, at_least(1);
    }
}

impl RunSettings {
    /// Those of a document whose values have been checked; what is not set has its default.
    ///
    /// # Errors
    /// None where every value has been checked.
    pub fn of(document: &Document) -> anyhow::Result<Self> {
        section(&document.base, "run.")
    }
}

/// What happens to the sweep when a trial fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The others go on; the failure is a row of the results.
    Continue,
    /// Nothing more is started; trials that run are stopped after a checkpoint.
    Stop,
    /// The trial is tried again, so many times at most, from its last checkpoint; then as `Continue`.
    Retry(u32),
}

/// A time, as files write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue => f.write_str("continue"),
            Self::Stop => f.write_str("stop"),
            Self::Retry(times) => write!(f, "retry({times})"),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

text_form! {
    OnFailure, on_failure;
    Time, |text| duration(text).map(Time);
}

/// `90s`, `30min`, `6h`, `2d`, sums such as `1h30min`, and `02:00:00`, `1-12:00:00` or `1-12` as Slurm has them; more than nothing.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.contains([':', '-']) {
        return clock(rest).filter(|time| *time > Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|&n| n > 0)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let seconds = match &tail[..letters] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = tail[letters..].trim_start();
    }
    (total > Duration::ZERO).then_some(total)
}

/// `HH:MM:SS`, `MM:SS`, or either after `DAYS-`; `DAYS-HOURS`.
fn clock(text: &str) -> Option<Duration> {
    let whole = |part: &str| part.chars().all(|c| c.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten();
    let (days, rest) = text.split_once('-').map_or((Some(0), text), |(days, rest)| (whole(days), rest));
    let parts: Vec<u64> = rest.split(':').map(whole).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match parts[..] {
        [hours, minutes, seconds] => (hours, minutes, seconds),
        [minutes, seconds] => (0, minutes, seconds),
        [hours] if text.contains('-') => (hours, 0, 0),
        _ => return None,
    };
    // Only the first of them may count beyond its unit.
    let fits = seconds < 60 && (minutes < 60 || parts.len() == 2);
    let all = days?.checked_mul(86_400)?.checked_add(hours.checked_mul(3_600)?)?;
    fits.then(|| all.checked_add(minutes * 60 + seconds).map(Duration::from_secs)).flatten()
}

/// `continue`, `stop`, `retry(n)` with n from 1 to 100.
pub fn on_failure(text: &str) -> Option<OnFailure> {
    match text.trim() {
        "continue" => Some(OnFailure::Continue),
        "stop" => Some(OnFailure::Stop),
        other => {
            let times = other.strip_prefix("retry(")?.strip_suffix(')')?.trim().parse().ok()?;
            (1..=100).contains(&times).then_some(OnFailure::Retry(times))
        }
    }
}

#[cfg(test)]
mod tests {
    use conv_core::options::Described;

    use super::*;

    #[test]
    fn times_and_policies_as_people_write_them() {
        let seconds = |text: &str| duration(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("6h"), Some(21600.0));
        assert_eq!(seconds("1h30min"), Some(5400.0));
        assert_eq!(seconds("1.5 h"), None, "a blank between number and unit");
        assert_eq!(seconds("250ms"), Some(0.25));
        for refused in ["", "6", "h", "0s", "6 parsecs", "-1s", "1e400h", ".s", "9999999999999999999999d"] {
            assert_eq!(duration(refused), None, "{refused}");
        }
        assert_eq!(
            ["02:00:00", "1-12:00:00", "90:00", "00:30", "1-12"].map(seconds),
            [7200.0, 129600.0, 5400.0, 30.0, 129600.0].map(Some)
        );
        for refused in
            ["00:00", "1:2:3:4", "02:60:00", "02:00:61", "-1:00", "1-", ":", "a:00", "99999999999999999999:00:00"]
        {
            assert_eq!(duration(refused), None, "{refused}");
        }
        assert_eq!(on_failure("retry( 3 )"), Some(OnFailure::Retry(3)));
        assert_eq!(on_failure("retry(0)"), None);
        assert_eq!(on_failure("retry"), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        let settings = RunSettings {
            memory: bytes("1.3GiB").map(Size),
            time_limit: duration("250ms").map(Time),
            on_failure: OnFailure::Retry(3),
            ..RunSettings::default()
        };
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<RunSettings>(&text).unwrap(), settings, "{text}");
        settings.check_options().unwrap();
    }
}
