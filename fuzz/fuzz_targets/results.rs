//! What a run folder may hold: any bytes in the place of any file are a result or an error, never a panic; and never a
//! result where a checksum says otherwise.
#![no_main]

use std::fs;

use harness::data::hush_caught_panics;
use harness::results::{RunFolder, TrialState, verify};
use harness::train::{Checkpoint, Checkpoints};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "0123456789abcdef";
const FILES: [&str; 11] = [
    "result.json",
    "failed.json",
    "trial.json",
    "epochs.jsonl",
    "checksums",
    "checkpoint",
    "../../trials.json",
    "../../harness.json",
    "predictions.parquet",
    "../../measured/measured.json",
    "../../measured/checksums",
];

fuzz_target!(init: hush_caught_panics(), |input: (u8, &[u8])| {
    let (which, bytes) = input;
    let name = FILES[usize::from(which) % FILES.len()];
    let _ = Checkpoint::read(bytes);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let Ok(folder) = RunFolder::create(dir.path(), "x", "name = \"x\"\n") else { return };
    let trial = folder.trial_dir(KEY);
    fs::create_dir_all(&trial).expect("a folder");
    fs::create_dir_all(dir.path().join("measured")).expect("a folder");
    fs::write(trial.join(name), bytes).expect("a file");
    let _ = RunFolder::open(dir.path());
    let state = folder.state(KEY);
    assert!(!matches!(state, Ok(TrialState::Done(_))), "a result without checksums");
    let _ = (folder.collected(), folder.epochs(KEY), folder.frozen(KEY), folder.names(), folder.predictions(KEY));
    let _ = verify::verify(&folder);
    assert!(!matches!(folder.measured(), Ok(Some(_))), "measures without checksums");
    assert!(Checkpoints::new(&trial).load(KEY).0.is_none(), "nobody guesses a checksum");
});
