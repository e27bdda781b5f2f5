//! Trials in bfloat16: what they say of themselves, and what they are compared with.

use std::collections::BTreeSet;
use std::fs;

use polars::prelude::{ParquetReader, SerReader};

use crate::support;

const EXPERIMENT: &str = "name = 'small'\n[dataset]\nname = 'synthetic'\nsources = ['synthetic:90+60']\n[backbone]\n\
    name = 'resnet20'\n[recipe]\nepochs = 2\nbatch = 8\n[protocol]\nvalidation = 10\nseeds = [0, 1]\n\
    controls = []\n[run]\nmeasure_rounds = 1\n[[grid]]\nrecipe.precision = ['f32', 'bf16']\n\
    method.name = ['vanilla', 'ghost', 'pruned']\nrecipe.finetune_epochs = 1\n";

#[test]
fn rows_say_their_precision_and_are_compared_within_it() {
    let folder = support::folder(EXPERIMENT);
    let run = support::harness(folder.path(), &["x.toml", "--progress", "plain"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let output = folder.path().join("reports/small");
    let results = ParquetReader::new(fs::File::open(output.join("results.parquet")).unwrap()).finish().unwrap();
    let text = |title: &str| results.column(title).unwrap().str().unwrap().clone();
    let half = conv_core::kernel_path_in(conv_core::Precision::Bf16).unwrap();
    let (precisions, kernels) = (text("precision"), text("kernels"));
    let mut rows = 0;
    for (precision, kernels) in precisions.iter().zip(kernels.iter()) {
        let expected = if precision == Some("bf16") { half } else { conv_core::kernel_path() };
        assert_eq!(kernels, Some(expected), "{precision:?}");
        rows += usize::from(precision == Some("bf16"));
    }
    assert_eq!((rows, results.height()), (6, 12));
    // A table for each, with its own vanilla and its own times.
    let readme = fs::read_to_string(output.join("README.md")).unwrap();
    let (other, single) = readme.split_once("\n## ").and_then(|(_, text)| text.split_once("\n## ")).unwrap();
    let said = "values and weights in bfloat16";
    assert!(other.contains(said) != single.contains(said), "{readme}");
    for table in [other, single] {
        let row = |start: &str| table.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{table}"));
        assert!(row("| vanilla").contains("100.0 %"), "{table}");
        assert!(!row("| ghost").contains("| – | – |"), "{table}");
    }
    // Each has a plan of its own: one image of bf16 is computed as a block of 16.
    let planned = results.column("infer_b1_memory_analytic_mib").unwrap().f64().unwrap();
    let of = |wanted: &str| {
        let places = precisions.iter().zip(planned.iter()).filter(move |(precision, _)| *precision == Some(wanted));
        places.filter_map(|(_, planned)| planned).map(f64::to_bits).collect::<BTreeSet<_>>()
    };
    assert!(of("f32").len() == 3 && of("bf16").len() == 3 && of("f32").is_disjoint(&of("bf16")), "{results}");
    let latency = |precision: &str| {
        let places = precisions.iter().enumerate().filter(move |(_, found)| *found == Some(precision));
        let times = results.column("infer_b1_ms_p50").unwrap().f64().unwrap();
        places.filter_map(|(at, _)| times.get(at)).map(f64::to_bits).collect::<BTreeSet<_>>()
    };
    let (f32_times, half_times) = (latency("f32"), latency("bf16"));
    assert!(f32_times.len() == 3 && half_times.len() == 3 && f32_times.is_disjoint(&half_times), "{results}");
}
