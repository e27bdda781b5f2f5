//! Errors in an experiment file: where they are, what was found there and what would be accepted.

use std::fmt;

use super::hints;

/// What is wrong with one key, not yet where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The problem in one line, naming the key.
    pub what: String,
    /// What stands there; empty where nothing does.
    pub found: String,
    /// What would be accepted.
    pub accepted: String,
    /// The nearest accepted spelling, or what to do.
    pub help: Option<String>,
}

impl Complaint {
    /// A complaint without help.
    pub fn new(what: impl Into<String>, found: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { what: what.into(), found: found.into(), accepted: accepted.into(), help: None }
    }

    /// The same with advice.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// A name that is not among `accepted`, with the nearest one that is.
    pub fn unknown(kind: &str, found: &str, accepted: &[&str]) -> Self {
        let list = if accepted.is_empty() { "none".to_string() } else { accepted.join(", ") };
        let complaint = Self::new(format!("unknown {kind} `{found}`"), format!("`{found}`"), list);
        match nearest(found, accepted) {
            Some(name) => complaint.help(format!("did you mean `{name}`?")),
            None => complaint,
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.found.is_empty() {
            write!(f, "\n  found:    {}", self.found)?;
        }
        if !self.accepted.is_empty() {
            write!(f, "\n  accepted: {}", self.accepted)?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  help:     {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Complaint {}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A line of the file, counted from 1.
    Line(usize),
    /// A line of a file that it includes.
    Included {
        /// Which of them: an index into the files that its document includes.
        file: usize,
        /// Counted from 1.
        line: usize,
    },
    /// An option of the command line, e.g. `--set recipe.epochs=0`.
    Option(String),
    /// The file as a whole: something is missing.
    File,
}

/// A [`Complaint`] with its place. Commands that end with one exit with code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentError {
    /// The file, as the user named it.
    pub file: String,
    /// Where in it, or on the command line.
    pub at: At,
    /// That line of the file, as it stands there.
    pub source_line: Option<String>,
    /// What is wrong.
    pub complaint: Box<Complaint>,
}

impl fmt::Display for ExperimentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Line(line) | At::Included { line, .. } => write!(f, "{}:{line}: ", self.file)?,
            At::Option(option) => write!(f, "{option}: ")?,
            At::File => write!(f, "{}: ", self.file)?,
        }
        let complaint = self.complaint.to_string();
        let (what, details) = complaint.split_once('\n').unwrap_or((&complaint, ""));
        f.write_str(what)?;
        if let (At::Line(line), Some(text)) = (&self.at, &self.source_line) {
            // A line of data can be longer than a screen.
            let shown: String = text.trim_end().chars().take(100).collect();
            write!(f, "\n  {line:>4} | {shown}")?;
        }
        if details.is_empty() { Ok(()) } else { write!(f, "\n{details}") }
    }
}

impl std::error::Error for ExperimentError {}

/// An error with its causes, without the backtraces that candle writes into its messages where `RUST_BACKTRACE` is set.
pub fn explain(error: &anyhow::Error) -> String {
    fn plain(error: &candle_core::Error) -> String {
        match error {
            candle_core::Error::WithBacktrace { inner, .. } => plain(inner),
            candle_core::Error::Context { inner, context } => format!("{context}: {}", plain(inner)),
            other => other.to_string(),
        }
    }
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let candle = cause.downcast_ref::<candle_core::Error>();
        parts.push(candle.map_or_else(|| cause.to_string(), plain));
        // Its own causes are in its message already.
        if candle.is_some() {
            break;
        }
    }
    // Damaged files give their bytes to messages; a terminal would obey them.
    parts.join(": ").chars().filter(|c| *c == '\n' || !(c.is_control() || *c == char::REPLACEMENT_CHARACTER)).collect()
}

/// The accepted name that is the same in another spelling ([`hints`]), or else the nearest to `name` by edit distance, if it is near
/// enough to be a slip. For dotted names also by the last part, so that a key in the wrong section is found.
pub fn nearest<'a>(name: &str, accepted: &[&'a str]) -> Option<&'a str> {
    if let Some(same) = accepted.iter().find(|accepted| hints::same_name(name, accepted)) {
        return Some(same);
    }
    let last = |s: &'a str| s.rsplit('.').next().unwrap_or(s);
    let (distance, best) = accepted
        .iter()
        .map(|candidate| {
            let whole = strsim::damerau_levenshtein(name, candidate);
            let misplaced = name.rsplit('.').next() == Some(last(candidate)) && name != *candidate;
            (if misplaced { whole.min(1) } else { whole }, whole, *candidate)
        })
        // A slip is likelier than another section, and how a network is trained meant more often than how settings are tuned.
        .min_by_key(|(distance, whole, candidate)| (*distance, candidate.starts_with("tune."), *whole))
        .map(|(distance, _, best)| (distance, best))?;
    (distance <= (name.rsplit('.').next().unwrap_or(name).len() / 3).max(1)).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_takes_slips_and_misplaced_keys_but_not_strangers() {
        assert_eq!(nearest("dept", &["c0", "depth", "tail"]), Some("depth"));
        assert_eq!(nearest("recipe.epcohs", &["recipe.epochs", "recipe.lr"]), Some("recipe.epochs"));
        assert_eq!(nearest("protocol.epochs", &["recipe.epochs", "protocol.seeds"]), Some("recipe.epochs"));
        assert_eq!(nearest("methd.name", &["name", "backbone.name", "method.name"]), Some("method.name"));
        assert_eq!(nearest("frobnicate", &["c0", "depth"]), None);
        assert_eq!(nearest("recipe.learning_rate", &["recipe.epochs", "recipe.lr"]), Some("recipe.lr"));
        assert_eq!(nearest("ResNet-20", &["resnet18", "resnet20"]), Some("resnet20"));
        assert_eq!(nearest("epochs", &["tune.epochs", "recipe.epochs"]), Some("recipe.epochs"));
        assert_eq!(nearest("recipe.warmup", &["recipe.epochs", "recipe.warmup_epochs"]), Some("recipe.warmup_epochs"));
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn explanations_keep_causes_and_drop_backtraces() {
        let inner = candle_core::Error::Msg("too small".into());
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let candle = candle_core::Error::WithBacktrace { inner: Box::new(inner), backtrace };
        assert!(candle.to_string().contains('\n'), "candle writes the backtrace");
        let error = anyhow::Error::from(candle).context("layer1");
        assert_eq!(explain(&error), "layer1: too small");
        assert_eq!(explain(&anyhow::anyhow!("a.tar:\n\u{1b}[2J\u{fffd}name\0")), "a.tar:\n[2Jname");
    }

    #[test]
    fn an_error_names_file_line_and_remedy() {
        let error = ExperimentError {
            file: "a.toml".into(),
            at: At::Line(3),
            source_line: Some("method.dept = 1".into()),
            complaint: Box::new(Complaint::unknown("option of compconv", "dept", &["c0", "depth"])),
        };
        insta::assert_snapshot!(error, @r"
        a.toml:3: unknown option of compconv `dept`
             3 | method.dept = 1
          found:    `dept`
          accepted: c0, depth
          help:     did you mean `depth`?
        ");
    }
}
