//! Experiment files: any text is an experiment or an error that says where.
#![no_main]

use harness::experiment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = experiment::skim(text, 200);
});
