//! Taking the stamp.

use std::path::{Path, PathBuf};
use std::process::Command;

use sysinfo::{CpuRefreshKind, RefreshKind, System};

use super::{Environment, sources};

/// Where the sources were that this binary was built from.
const SOURCES: &str = env!("HARNESS_SOURCES");
/// Their [`sources::digest`].
const DIGEST: &str = env!("HARNESS_DIGEST");

impl Environment {
    /// The stamp of results that this process makes on `threads` threads.
    ///
    /// What counts is the source the binary was built from, wherever it runs: the commit is that of a tree that holds the
    /// very sources it was built from, asked for now. Without such a tree, or where it is in no repository, the commit is
    /// `unknown`: the tree was edited, removed, or replaced by another checkout. `dirty` says that the binary may differ
    /// from the commit: tracked files outside `reports/` differ, or a source is not tracked.
    pub fn capture(threads: usize) -> Self {
        let tree = tree(&candidates(), DIGEST);
        let (commit, dirty) = tree.as_deref().map_or_else(unknown, commit);
        Self {
            commit,
            dirty,
            diff: tree.as_deref().map_or_else(String::new, diff),
            lock: lock(),
            features: features(),
            cpu: cpu(),
            threads,
            jobs: None,
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
            _ if self.commit == "unknown" => "an unknown commit".to_owned(),
            (false, _) => format!("commit {commit}"),
            (true, "") => format!("commit {commit} (with uncommitted changes)"),
            (true, diff) => format!("commit {commit} (with uncommitted changes {diff})"),
        }
    }

    /// What computes, apart from its settings: build and processor.
    pub fn origin(&self) -> String {
        format!("{} on {}", self.build(), self.cpu)
    }

    /// The stamp of results that these kernels compute.
    pub fn computed_by(&self, kernels: String) -> Self {
        Self { kernels, ..self.clone() }
    }
}

/// Trees that this binary may have been built from: those it lies in, and where the build was. A copy of a tree with its
/// `target` is asked before the original.
fn candidates() -> Vec<PathBuf> {
    let executable = std::env::current_exe().unwrap_or_default();
    let around = executable.ancestors().skip(1).filter(|dir| dir.join("Cargo.lock").is_file());
    around.map(Path::to_owned).chain([PathBuf::from(SOURCES)]).collect()
}

/// The first of the trees that holds the sources with this digest. Whichever it is, its commit is true of the binary.
fn tree(candidates: &[PathBuf], digest: &str) -> Option<PathBuf> {
    candidates.iter().find(|root| sources::digest(root).is_ok_and(|found| found == digest)).cloned()
}

fn unknown() -> (String, bool) {
    ("unknown".to_owned(), true)
}

/// Commit of the tree at `root`, and whether its sources may differ from it.
fn commit(root: &Path) -> (String, bool) {
    // A source tree inside somebody else's repository has no commit of its own.
    let tracked = git(root, &["ls-files", "--error-unmatch", "Cargo.toml"]).is_some();
    let Some(commit) = git(root, &["rev-parse", "HEAD"]).filter(|_| tracked) else {
        return unknown();
    };
    let status = git(root, &["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)reports"]);
    let clean = status.is_some_and(|changes| changes.is_empty());
    (commit, !clean || !all_tracked(root))
}

/// Whether git knows every file that a build reads.
fn all_tracked(root: &Path) -> bool {
    let Some(list) = git(root, &["ls-files", "-z", "--others"]) else { return false };
    let others: Vec<PathBuf> = list.split('\0').map(|name| root.join(name)).collect();
    sources::files(root).is_ok_and(|files| !files.iter().any(|file| others.contains(file)))
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
    let mut command = Command::new("git");
    // Where this was started by git, as by a hook of another repository, they name that one.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    let output = command.arg("--no-optional-locks").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cpu() -> String {
    let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
    let brand = system.ok().and_then(|system| system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()));
    brand.filter(|brand| !brand.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    /// A tree with sources, and the repository it is in.
    fn checkout(root: &Path) -> Option<String> {
        for name in sources::CRATES {
            fs::create_dir_all(root.join(name).join("src")).unwrap();
            fs::write(root.join(name).join("Cargo.toml"), name).unwrap();
        }
        fs::create_dir(root.join("reports")).unwrap();
        for name in ["Cargo.toml", "Cargo.lock", "reports/a.md", "harness/src/lib.rs"] {
            fs::write(root.join(name), "1").unwrap();
        }
        assert_eq!(commit(root), unknown(), "a tree that git does not track has no commit");
        git(root, &["init", "--quiet"])?;
        assert_eq!(commit(root), unknown());
        record(root);
        Some(sources::digest(root).unwrap())
    }

    fn record(root: &Path) {
        git(root, &["add", "-A"]).unwrap();
        git(root, &["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "x"]).unwrap();
    }

    #[test]
    fn commit_and_dirty_flag_follow_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let Some(digest) = checkout(root) else {
            eprintln!("skipped: no git on this machine");
            return;
        };
        let (first, dirty) = commit(root);
        assert!(first.len() == 40 && !dirty);
        assert_eq!(diff(root), "");
        fs::write(root.join("reports/a.md"), "2").unwrap();
        fs::write(root.join("untracked"), "2").unwrap();
        fs::write(root.join("harness/src/test.snap"), "2").unwrap();
        assert_eq!(commit(root), (first.clone(), false), "reports and files that no build reads do not count");
        assert_eq!(sources::digest(root).unwrap(), digest);
        fs::write(root.join("harness/src/new.rs"), "2").unwrap();
        assert_eq!(
            commit(root),
            (first.clone(), true),
            "a source that is not tracked is in the binary, not in the commit"
        );
        fs::write(root.join(".gitignore"), "new.rs").unwrap();
        assert!(commit(root).1, "nor is one that is ignored");
        fs::remove_file(root.join("harness/src/new.rs")).unwrap();
        fs::write(root.join("Cargo.toml"), "2").unwrap();
        assert_eq!(commit(root), (first, true));
        let changes = diff(root);
        fs::write(root.join("Cargo.toml"), "3").unwrap();
        assert!(changes.len() == 16 && diff(root) != changes, "other changes, another hash");
    }

    #[test]
    fn only_a_tree_with_the_sources_of_the_build_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let [old, copy] = ["old", "copy"].map(|name| dir.path().join(name));
        fs::create_dir(&old).unwrap();
        let Some(digest) = checkout(&old) else {
            eprintln!("skipped: no git on this machine");
            return;
        };
        let copied = Command::new("cp").arg("-r").args([&old, &copy]).status().unwrap();
        assert!(copied.success());
        let candidates = [copy.clone(), old.clone()];
        let asked = || tree(&candidates, &digest);
        assert_eq!(asked(), Some(copy.clone()), "a binary in a copy is the copy's");

        // The copy goes on and is not built: its commits are not the binary's, the old tree's still is.
        fs::write(copy.join("conv-core/src/lib.rs"), "2").unwrap();
        assert_eq!(asked(), Some(old.clone()));
        record(&copy);
        assert_eq!(asked(), Some(old.clone()));
        // The old tree goes on as well: nobody knows any more.
        fs::write(old.join("harness/src/lib.rs"), "2").unwrap();
        assert_eq!(asked(), None);
        record(&old);
        assert_eq!(asked(), None);
        // What was built is there again, under another commit, which has the same sources.
        fs::write(old.join("harness/src/lib.rs"), "1").unwrap();
        record(&old);
        assert_eq!(asked(), Some(old.clone()));
        assert!(!commit(&old).1);
        // A file more, or one by another name, is another source.
        fs::write(old.join("compconv/src/lib.rs"), "").unwrap();
        assert_eq!(asked(), None);
        fs::remove_dir_all(&old).unwrap();
        assert_eq!(asked(), None, "a tree that is gone says nothing");
    }

    #[test]
    fn this_build_knows_its_sources() {
        // Unless somebody edits them while the tests run.
        assert_eq!(DIGEST.len(), 16);
        assert!(candidates().contains(&PathBuf::from(SOURCES)));
    }
}
