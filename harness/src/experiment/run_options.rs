//! `[run]`: how trials are executed. Nothing in it changes a result, and none of it counts for a trial's identity.

use std::time::Duration;

use super::sweep::Document;

/// What happens to the sweep when a trial fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The others go on; the failure is a row of the results.
    #[default]
    Continue,
    /// Nothing more is started; trials that run are stopped after a checkpoint.
    Stop,
    /// The trial is tried again, so many times at most, from its last checkpoint; then as `Continue`.
    Retry(u32),
}

/// `[run]`, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSettings {
    /// Threads that compute, of each trial; none: those of the machine, shared among the jobs.
    pub threads: Option<usize>,
    /// Trials that run at once.
    pub jobs: usize,
    /// Most memory that a trial may hold, bytes.
    pub memory: Option<u64>,
    /// Most time that one attempt at a trial may take.
    pub time_limit: Option<Duration>,
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
    /// What happens when a trial fails.
    pub on_failure: OnFailure,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            threads: None,
            jobs: 1,
            memory: None,
            time_limit: None,
            checkpoint_every: Duration::from_secs(60),
            on_failure: OnFailure::Continue,
        }
    }
}

impl RunSettings {
    /// The settings of a document whose values have been checked; what is not set, or would not pass, is the default.
    pub fn of(document: &Document) -> Self {
        let default = Self::default();
        let count = |key: &str| document.get(key).and_then(|entry| usize::try_from(entry.value.as_integer()?).ok());
        let text = |key: &str| document.get(key).and_then(|entry| entry.value.as_str());
        Self {
            threads: count("run.threads"),
            jobs: count("run.jobs").unwrap_or(default.jobs),
            memory: text("run.memory").and_then(bytes),
            time_limit: text("run.time_limit").and_then(duration),
            checkpoint_every: text("run.checkpoint_every").and_then(duration).unwrap_or(default.checkpoint_every),
            on_failure: text("run.on_failure").and_then(on_failure).unwrap_or(default.on_failure),
        }
    }
}

/// `90s`, `30min`, `6h`, `2d`, and sums such as `1h30min`; more than nothing.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
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

/// `500MiB`, `4GiB`, `2GB`: bytes; more than nothing.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1048576.0,
        "GiB" => 1073741824.0,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * factor;
    (1.0..1e18).contains(&value).then_some(value as u64)
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
    use super::*;

    #[test]
    fn times_sizes_and_policies_as_people_write_them() {
        let seconds = |text: &str| duration(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("6h"), Some(21600.0));
        assert_eq!(seconds("1h30min"), Some(5400.0));
        assert_eq!(seconds("1.5 h"), None, "a blank between number and unit");
        assert_eq!(seconds("250ms"), Some(0.25));
        for refused in ["", "6", "h", "0s", "6 parsecs", "-1s", "1e400h", ".s", "9999999999999999999999d"] {
            assert_eq!(duration(refused), None, "{refused}");
        }
        assert_eq!(bytes("1.5GiB"), Some(3 << 29));
        assert_eq!(bytes("500 MB"), Some(500_000_000));
        for refused in ["", "4", "GiB", "0MB", "-4GiB", "4gib", "1e30GB"] {
            assert_eq!(bytes(refused), None, "{refused}");
        }
        assert_eq!(on_failure("retry( 3 )"), Some(OnFailure::Retry(3)));
        assert_eq!(on_failure("retry(0)"), None);
        assert_eq!(on_failure("retry"), None);
    }
}
