//! What a tree of sources holds, as a number: `build.rs` bakes in that of the tree it builds, and the stamp compares.
//!
//! This file is compiled into the build script too, and uses nothing but the standard library.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// The crates that the harness is built from.
pub const CRATES: [&str; 4] = ["conv-core", "compconv", "baselines", "harness"];

/// Everything below `root` that a build reads, in order: what pins versions, and each crate's manifest, build script and
/// sources. Where the crates are not beside each other, those that are.
///
/// # Errors
/// A tree that cannot be read.
pub fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![root.join("Cargo.toml"), root.join("Cargo.lock")];
    for dir in CRATES.map(|name| root.join(name)) {
        found.extend([dir.join("Cargo.toml"), dir.join("build.rs")]);
        if dir.is_dir() {
            add_sources(&dir.join("src"), &mut found)?;
        }
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

/// Rust and TOML: the rest are snapshots of tests, and what editors leave.
fn add_sources(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            add_sources(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "rs" || ending == "toml") {
            found.push(path);
        }
    }
    Ok(())
}

/// A hash over the names and contents of [`files`], in 16 hex digits. The same for every tree with the same sources,
/// wherever it lies; comparable among programs of one compiler.
///
/// # Errors
/// A tree that cannot be read.
pub fn digest(root: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    for path in files(root)? {
        let name: Vec<_> = path.strip_prefix(root).unwrap_or(&path).iter().collect();
        (name, fs::read(&path)?).hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}
