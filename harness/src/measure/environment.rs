//! The stamp that every result carries.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use conv_core::Backend;
use sysinfo::{CpuRefreshKind, RefreshKind, System};

use super::Environment;

/// Where the sources were that this binary was built from.
const SOURCES: &str = env!("HARNESS_SOURCES");

impl Environment {
    /// The stamp of results that this process makes on `threads` threads.
    ///
    /// What counts is the source the binary was built from, wherever it runs: the commit is that of the source tree it was
    /// built in, asked for now. `dirty` says that the binary may not be that commit's: tracked files outside `reports/`
    /// differ, a source file is newer than the binary, or there is no repository to ask (then the commit is `unknown`).
    pub fn capture(threads: usize) -> Self {
        let (commit, dirty) = source(Path::new(SOURCES));
        Self {
            commit,
            dirty,
            diff: diff(Path::new(SOURCES)),
            lock: lock(),
            features: features(),
            cpu: cpu(),
            threads,
            os: format!("{} {}", System::long_os_version().unwrap_or_default(), std::env::consts::ARCH)
                .trim()
                .to_owned(),
            rustc: env!("HARNESS_RUSTC").to_owned(),
            harness: env!("CARGO_PKG_VERSION").to_owned(),
            candle: env!("HARNESS_CANDLE").to_owned(),
            kernels: conv_core::kernel_path().to_owned(),
            off_engine: String::new(),
        }
    }

    /// What was built, from which sources: `commit 0123456789ab`, with what differs from it.
    pub fn build(&self) -> String {
        let commit: String = self.commit.chars().take(12).collect();
        match (self.dirty, self.diff.as_str()) {
            (false, _) => format!("commit {commit}"),
            (true, "") => format!("commit {commit} (with uncommitted changes)"),
            (true, diff) => format!("commit {commit} (with uncommitted changes {diff})"),
        }
    }

    /// What computes, apart from its settings: build and processor.
    pub fn origin(&self) -> String {
        format!("{} on {}", self.build(), self.cpu)
    }

    /// The stamp of results that `backend` computes.
    pub fn computed_by(&self, backend: Backend) -> Self {
        let name = match backend {
            Backend::Engine { winograd: true } => conv_core::kernel_path().to_owned(),
            Backend::Engine { winograd: false } => format!("{} direct", conv_core::kernel_path()),
            Backend::Candle => "candle".to_owned(),
        };
        Self { kernels: name, ..self.clone() }
    }
}

/// Commit of the tree at `root`, and whether the running binary may differ from it.
fn source(root: &Path) -> (String, bool) {
    // A source tree inside somebody else's repository has no commit of its own.
    let tracked = git(root, &["ls-files", "--error-unmatch", "Cargo.toml"]).is_some();
    let Some(commit) = git(root, &["rev-parse", "HEAD"]).filter(|_| tracked) else {
        return ("unknown".to_owned(), true);
    };
    let status = git(root, &["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)reports"]);
    let clean = status.is_some_and(|changes| changes.is_empty());
    (commit, !clean || stale(root))
}

/// Hash of what tracked files outside of `reports/` have that the commit has not: 16 hex digits, or empty.
fn diff(root: &Path) -> String {
    match git(root, &["diff", "HEAD", "--binary", "--", ".", ":(exclude)reports"]) {
        Some(changes) if !changes.is_empty() => blake3::hash(changes.as_bytes()).to_hex()[..16].to_owned(),
        _ => String::new(),
    }
}

/// 16 hex digits.
fn lock() -> String {
    blake3::hash(include_bytes!("../../../Cargo.lock")).to_hex()[..16].to_owned()
}

fn features() -> String {
    let built = [("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))];
    built.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// What git prints, trimmed; none if it fails or is not there.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    // Read only: not even the index is refreshed, so that a run and a commit never wait for one another.
    let output = Command::new("git").arg("--no-optional-locks").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a source file of any crate changed after this binary was built.
fn stale(root: &Path) -> bool {
    let built = std::env::current_exe().and_then(fs::metadata).and_then(|meta| meta.modified());
    let Ok(built) = built else { return true };
    ["conv-core", "compconv", "baselines", "harness"].iter().any(|name| newer(&root.join(name).join("src"), built))
}

fn newer(path: &Path, than: SystemTime) -> bool {
    let Ok(meta) = fs::metadata(path) else { return true };
    if !meta.is_dir() {
        return meta.modified().map_or(true, |modified| modified > than);
    }
    fs::read_dir(path).map_or(true, |entries| entries.flatten().any(|entry| newer(&entry.path(), than)))
}

fn cpu() -> String {
    let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
    let brand = system.ok().and_then(|system| system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()));
    brand.filter(|brand| !brand.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_says_something() {
        let stamp = Environment::capture(3);
        assert_eq!(stamp.threads, 3);
        assert!(stamp.rustc.starts_with("rustc 1."), "{}", stamp.rustc);
        assert!(stamp.candle.starts_with("0."), "{}", stamp.candle);
        assert!(stamp.os.contains(std::env::consts::ARCH) && stamp.os.len() > 8, "{}", stamp.os);
        assert!(!stamp.cpu.is_empty() && !stamp.kernels.is_empty());
        assert!(stamp.commit == "unknown" || stamp.commit.len() == 40, "{}", stamp.commit);
    }

    #[test]
    fn commit_and_dirty_flag_follow_the_tree() {
        let Ok(dir) = tempfile::tempdir() else { return };
        let root = dir.path();
        assert_eq!(source(root), ("unknown".to_owned(), true));

        let run = |arguments: &[&str]| git(root, arguments).is_some();
        if !run(&["init", "--quiet"]) {
            eprintln!("skipped: no git on this machine");
            return;
        }
        for name in ["conv-core", "compconv", "baselines", "harness"] {
            fs::create_dir_all(root.join(name).join("src")).unwrap();
        }
        fs::create_dir(root.join("reports")).unwrap();
        for name in ["Cargo.toml", "reports/a.md", "harness/src/lib.rs"] {
            fs::write(root.join(name), "1").unwrap();
        }
        assert_eq!(source(root).0, "unknown", "a tree that git does not track has no commit");
        assert!(run(&["add", "-A"]));
        assert!(run(&["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "x"]));

        // Files of just now are newer than this test's binary; make them old, as a checkout before a build is.
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let age =
            |name: &str| fs::File::options().write(true).open(root.join(name)).unwrap().set_modified(old).unwrap();
        let (commit, dirty) = source(root);
        assert!(commit.len() == 40 && dirty, "a source newer than the binary is not what it was built from");
        age("harness/src/lib.rs");
        assert_eq!(source(root), (commit.clone(), false));
        assert_eq!(diff(root), "");

        fs::write(root.join("reports/a.md"), "2").unwrap();
        fs::write(root.join("untracked"), "2").unwrap();
        assert_eq!(source(root), (commit.clone(), false), "reports and untracked files do not count");
        fs::write(root.join("Cargo.toml"), "2").unwrap();
        assert_eq!(source(root), (commit, true));
        let first = diff(root);
        fs::write(root.join("Cargo.toml"), "3").unwrap();
        assert!(first.len() == 16 && diff(root) != first, "other changes, another hash");
    }
}
