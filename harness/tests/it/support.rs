//! What tests of whole processes share.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// What a command came to.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs the harness in a folder, as a user types it.
pub fn harness(folder: &Path, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_harness")).current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder with an experiment `x.toml`.
pub fn folder(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("x.toml"), text).unwrap();
    folder
}

/// `count` values in [-1, 1): SplitMix64 seeded with FNV-1a of the name, the top 24 bits of each output; as `values` of the scripts in `goldens`.
pub fn uniform(name: &str, count: usize) -> Vec<f64> {
    let fnv = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325, fnv);
    let value = |index: u64| {
        let z = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    (1..=count as u64).map(value).collect()
}

/// All that a process printed.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Sends a signal, by name, to a process, if it is still there.
pub fn signal(name: &str, process: u32) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
}

/// Processes that this one has started.
pub fn children(process: u32) -> Vec<u32> {
    let listed = Command::new("pgrep").arg("-P").arg(process.to_string()).output().unwrap();
    String::from_utf8_lossy(&listed.stdout).lines().filter_map(|line| line.parse().ok()).collect()
}

/// Columns that depend on the clock, or on what else ran.
const TIMES: [&str; 3] = ["seconds", "images_per_second", "jobs"];

/// A table of results without the columns that depend on the clock, or on what else ran.
pub fn without_times(csv: &str) -> String {
    let mut lines = csv.lines().map(split);
    let head = lines.next().unwrap_or_default();
    let keep = |cells: &[String]| -> String {
        let kept = cells.iter().zip(&head).filter(|(_, title)| !TIMES.contains(&title.as_str()));
        kept.map(|(cell, _)| cell.as_str()).collect::<Vec<_>>().join(",") + "\n"
    };
    keep(&head) + &lines.map(|cells| keep(&cells)).collect::<String>()
}

/// Cells of a line of CSV in which quotes may hold commas.
fn split(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}
