//! Published rows beside what was run here.

use std::fs;
use std::process::Command;

use harness::report::aggregate::groups;
use harness::report::published;
use harness::results::TrialRecord;
use harness::train::Evaluation;

use crate::report::{costs, measures, trial};

/// A trial of ResNet-56 that got `percent` of the test images right.
fn resnet56(label: &str, seed: u64, (macs, params): (u64, u64), percent: f64) -> TrialRecord {
    let mut record = trial(label, seed, macs, params, 0.9);
    record.trial.config.backbone.name = "resnet56".into();
    measures(&mut record).test = Some(Evaluation { top1: percent / 100.0, top5: 1.0, loss: 1.0 });
    record
}

const VANILLA: (u64, u64) = (125_485_696, 853_018);
const GHOST: (u64, u64) = (65_286_784, 438_154);

fn beside(records: &[TrialRecord]) -> String {
    published::section(&groups(records)[0], "x").unwrap().body()
}

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
    }
}

#[test]
fn published_rows_stand_beside_real_networks_of_that_name_only() {
    let mut record = trial("vanilla", 0, 97_174_144, 658_586, 0.9);
    record.trial.config.backbone.name = "resnet44".into();
    assert!(
        published::section(&groups(&[record.clone()])[0], "x").is_none(),
        "nothing is published about ResNet-44 here"
    );
    record.trial.config.backbone.name = "resnet56".into();
    let text = beside(&[record.clone()]);
    assert!(text.contains("| Ghost-ResNet-56 (s = 2) (published) | 0.43M | 63M | 92.7 | -0.30 | – |"), "{text}");
    assert!(text.contains("Not measured here"));
    record.trial.config.dataset.name = "cifar100".into();
    assert!(published::section(&groups(&[record.clone()])[0], "x").is_none());
    record.trial.config.dataset.name = "cifar10".into();
    record.trial.data.synthetic = true;
    assert!(published::section(&groups(&[record])[0], "x").is_none());
}

#[test]
fn published_top5_has_a_column_where_a_paper_prints_it() {
    let mut record = resnet56("vanilla", 0, VANILLA, 90.0);
    assert!(!beside(&[record.clone()]).contains("Top-5"));
    record = trial("vanilla", 0, 4_089_184_256, 25_557_032, 0.7);
    (record.trial.config.backbone.name, record.trial.config.dataset.name) = ("resnet50".into(), "imagenet".into());
    assert_lines(
        &beside(&[record]),
        &[
            "| Method | Params | MACs | Top-1 (%) | Δ to its baseline | Top-5 (%) | Here | MACs here | Costs | Top-1 here (%) | Here less published | Agreement |",
            "| ResNet-50 (published) | 25.6M | 4.1G | 75.3 | – | 92.2 | vanilla | 4.089G | exact | 70.00 | -5.30 | one seed |",
            "| NISP-50-B (published) | 14.4M | 2.3G | – | – | 90.8 | – | – | – | – | – | – |",
            "| Ghost (s = 2) (published) | 13.0M | 2.2G | 75.0 | -0.30 | 92.3 | – | – | – | – | – | – |",
            "| MetaPruning (published) | – | 1.0G | 73.4 | -1.90 | – | – | – | – | – | – | – |",
        ],
    );
}

/// 93.2 +- 4.303 * 0.2 / 1.732 over three seeds: 92.70 to 93.70. Ghost's row is disputed whatever comes of it.
#[test]
fn accuracies_are_inside_or_outside_of_the_interval_over_seeds() {
    let mut records: Vec<TrialRecord> =
        (0..).zip([93.0, 93.2, 93.4]).map(|(seed, percent)| resnet56("vanilla", seed, VANILLA, percent)).collect();
    records.extend((0..).zip([92.0, 92.1]).map(|(seed, percent)| resnet56("ghost ratio=2", seed, GHOST, percent)));
    // A ratio of its own, and one with an exception by layer: neither is the network of that row.
    records.push(resnet56("ghost ratio=3", 0, GHOST, 92.7));
    let text = beside(&records);
    assert_lines(
        &text,
        &[
            "| ResNet-56 (published) | 0.85M | 125M | 93.0 | – | vanilla | 125.5M | exact | 93.20 [92.70, 93.70] | +0.20 | inside |",
            "| ResNet-56 (published) | 0.86M | 126.84M | 93.27 | – | vanilla | 125.5M | MACs -1.1 %, params -0.8 % | 93.20 [92.70, \
             93.70] | -0.07 | disputed |",
            "| CP-ResNet-56 (published) | – | 63M | 92.0 | -1.00 | – | – | – | – | – | – |",
            "| Ghost-ResNet-56 (s = 2) (published) | 0.43M | 63M | 92.7 | -0.30 | ghost ratio=2 (every convolution but the stem) | 65.29M \
             | MACs +3.6 %, params +1.9 % | 92.05 [91.41, 92.69] | -0.65 | disputed |",
            "- **Disputed** (Ghost-ResNet-56 (s = 2)): the count leaves out the cheap operations.",
            "- **Disputed** (HRank): HRank's own issue 16 doubts the counts after pruning.",
        ],
    );
    assert!(!text.contains("ghost ratio=3"), "{text}");
    // Further off: 93.0 is outside of what is here.
    for record in records.iter_mut().filter(|record| record.trial.label == "vanilla") {
        measures(record).test.as_mut().unwrap().top1 -= 0.01;
    }
    assert!(beside(&records).contains("| 92.20 [91.70, 92.70] | -0.80 | outside |"), "{}", beside(&records));
    // Validation images are not what papers report.
    records.iter_mut().for_each(|record| measures(record).test = None);
    assert!(beside(&records).contains("| vanilla | 125.5M | exact | – | – | – |"), "{}", beside(&records));
}

#[test]
fn costs_alone_are_inside_where_they_are_exact() {
    let mut records = [resnet56("vanilla", 0, VANILLA, 0.0), resnet56("ghost", 0, GHOST, 0.0)];
    costs(&mut records);
    assert_lines(
        &beside(&records),
        &[
            "| ResNet-56 (published) | 0.85M | 125M | 93.0 | – | vanilla | 125.5M | exact | inside |",
            "| Ghost-ResNet-56 (s = 2) (published) | 0.43M | 63M | 92.7 | -0.30 | ghost (every convolution but the stem) | 65.29M | MACs \
             +3.6 %, params +1.9 % | disputed |",
        ],
    );
    records[0].network.cost.macs += 2_000_000;
    assert!(beside(&records).contains("| MACs +2.0 %, params exact | outside |"), "{}", beside(&records));
}

/// SCConv's table under each of its two readings, as the experiment on it makes them.
#[test]
fn both_readings_of_a_disputed_table_stand_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/resnet56_places.toml");
    let run = Command::new(env!("CARGO_BIN_EXE_harness"))
        .current_dir(dir.path())
        .args([file, "--output", "places", "--progress", "plain"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let page = fs::read_to_string(dir.path().join("places/README.md")).unwrap();
    let (_, table) = page.split_once("*published:* SCConv").unwrap();
    let (table, _) = table.split_once("*published:*").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    let cells =
        |line: &str| -> Vec<String> { line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect() };
    let here: Vec<Vec<String>> = rows.iter().map(|row| cells(row)).collect();
    let of = |name: &str| -> Vec<&str> {
        let found = here.iter().filter(|row| row[5].starts_with(name));
        found.inspect(|row| assert_eq!(row[8], "disputed", "{row:?}")).map(|row| row[6].as_str()).collect()
    };
    assert_eq!((of("vanilla"), of("ghost")), (vec!["125.5M"], vec!["94.80M", "65.29M"]), "{table}");
    assert_eq!((of("spconv"), of("scconv")), (vec!["84.79M", "45.60M"], vec!["74.61M", "27.51M"]), "{table}");
    assert_eq!(of("tied"), ["93.64M", "62.96M"], "{table}");
    assert!(
        here.iter().any(|row| row[0] == "SlimConv (published)" && row[5] == "–" && row[8] == "disputed"),
        "{table}"
    );
    assert!(table.contains(
        "- **Disputed** (ResNet-56, SPConv, Ghost (s = 2), SlimConv, TiedConv, SCConv): the paper does not say"
    ));
}
