//! The stamp that every result carries: where and with what it was made.

mod environment;
mod sources;

use serde::{Deserialize, Serialize};

/// Where and with what a result was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Commit of the source tree, or `unknown`.
    pub commit: String,
    /// Whether the binary may not be that commit's, most often because tracked files outside `reports/` differed from it.
    pub dirty: bool,
    /// Hash of how the sources differ from the commit; empty where they do not, or nothing tells.
    #[serde(default)]
    pub diff: String,
    /// Hash of the `Cargo.lock` that the binary was built with: the versions of everything beneath it.
    #[serde(default)]
    pub lock: String,
    /// Cargo features that it was built with, separated by blanks.
    #[serde(default)]
    pub features: String,
    /// Processor model.
    pub cpu: String,
    /// Threads used.
    pub threads: usize,
    /// Trials that the sweep let run at once, this one among them; none where nobody knows, and in results that were made before
    /// this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<usize>,
    /// Operating system and architecture.
    pub os: String,
    /// rustc that built the harness.
    pub rustc: String,
    /// Version of the harness.
    pub harness: String,
    /// Version of candle.
    pub candle: String,
    /// Kernel path, e.g. `avx512`; `candle` where candle's own operations computed.
    pub kernels: String,
    /// Why training ran operation by operation and not on the engine, many times slower; empty where it ran on the engine,
    /// and in results that were made before this was written down.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub off_engine: String,
}
