//! Bakes in what only the build knows: the compiler, candle's version, where the sources are and what they hold. The commit is
//! asked for at run time (see `stamp::environment`), so that a commit alone rebuilds nothing.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

#[path = "src/stamp/sources.rs"]
mod sources;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../Cargo.toml");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    for name in sources::CRATES {
        for part in ["Cargo.toml", "build.rs", "src"] {
            // A path that is not there would make every build a new one.
            let path = Path::new("..").join(name).join(part);
            if path.exists() {
                println!("cargo:rerun-if-changed={}", path.display());
            }
        }
    }

    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo:rustc-env=HARNESS_RUSTC={}", known(version));

    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    println!("cargo:rustc-env=HARNESS_CANDLE={}", known(locked(&lock, "candle-core")));
    let root = root.canonicalize().unwrap_or(root);
    println!("cargo:rustc-env=HARNESS_SOURCES={}", root.display());
    println!("cargo:rustc-env=HARNESS_DIGEST={}", known(sources::digest(&root).ok()));
}

/// Version of a package in a lock file.
fn locked(lock: &str, package: &str) -> Option<String> {
    let start = lock.find(&format!("name = \"{package}\"\n"))?;
    let line = lock[start..].lines().nth(1)?;
    Some(line.strip_prefix("version = \"")?.strip_suffix('"')?.to_owned())
}

fn known(value: Option<String>) -> String {
    value.filter(|value| !value.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
