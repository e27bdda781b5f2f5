//! What changed between two run folders.

use std::fs;

use crate::support::{folder, harness};

const FILE: &str = r#"
name = "tiny"
[dataset]
name = "synthetic"
sources = ["synthetic:200+50"]
[backbone]
name = "resnet20"
[recipe]
epochs = 1
batch = 20
subset = 60
[protocol]
seeds = [0, 1]
validation = 40
[run]
threads = 1
keep_weights = false
measure_rounds = 2
measure_batch = 8
[[grid]]
method.name = ["vanilla", "ghost"]
"#;

#[test]
fn what_changed_is_told_and_what_did_not_is_the_same_to_the_bit() {
    let dir = folder(FILE);
    let run = |output: &str, more: &[&str]| {
        let done = harness(dir.path(), &[&["x.toml", "--progress", "none", "--output", output], more].concat());
        assert_eq!(done.code, 0, "{}", done.err);
    };
    run("old", &[]);
    run("again", &["--set", "protocol.seeds=[1, 0, 2]"]);
    let told = harness(dir.path(), &["diff", "old", "again"]);
    assert_eq!(told.code, 0, "{}", told.err);
    for part in [
        "# From old to again",
        "- **Settings in both**: 2; costs changed in 0.",
        "- **Repeated to the bit**: 4 of 4 trials",
        "of 2 settings with seeds for a verdict (paired by seed, Holm's correction for all of a table): 0 better, 0 worse, 2 not told apart.",
        "0.00 [0.00, 0.00], not distinguishable (1.0000)",
        "**Left out**: 2 trials whose seed the other folder lacks.",
        "| b1 (ms) | batch (ms) |",
        "**Times** were measured at different times of day",
    ] {
        assert!(told.out.contains(part), "{part} in\n{}", told.out);
    }

    // Another method, another option, another recipe: what compares is compared.
    run("wider", &["--set", "method.name=[\"vanilla\", \"ghost\", \"thin\"]"]);
    let told = harness(dir.path(), &["diff", "old", "wider"]).out;
    assert!(told.contains("**Only in wider**: thin") && told.contains("4 of 4 trials"), "{told}");
    run("warmer", &["--set", "recipe.lr=0.2", "--set", "run.measure=false"]);
    let told = harness(dir.path(), &["diff", "old", "warmer"]).out;
    for part in
        ["**Not made alike**", "recipe.lr is 0.1 and 0.2", "0 of 4 trials", "**Times**: not measured in both folders."]
    {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    assert!(!told.contains("with seeds for a verdict"), "no difference is drawn from another recipe: {told}");

    // Costs that a width changes.
    run("costs", &["--set", "recipe.epochs=0"]);
    run("thin", &["--set", "recipe.epochs=0", "--set", "backbone.width=0.5"]);
    let told = harness(dir.path(), &["diff", "costs", "thin"]).out;
    assert!(told.contains("costs changed in") && told.contains(" → "), "{told}");
    assert!(told.contains("Nothing was trained") || !told.contains("top-1 (%)"), "{told}");

    // Nothing in common, and somebody's own folder.
    let apart = harness(dir.path(), &["diff", "old", "costs"]);
    assert!(apart.code == 2 && apart.err.contains("no network on the same data in common"), "{}", apart.err);
    let taken = harness(dir.path(), &["diff", "old", "again", "--output", "old"]);
    assert!(taken.code == 2 && taken.err.contains("nothing was touched"), "{}", taken.err);
}

#[test]
fn a_diff_is_a_page_with_tables() {
    let dir = folder(FILE);
    for output in ["old", "new"] {
        let more = ["--set", "recipe.epochs=0", "--set", "dataset.name=\"cifar10\""];
        let done = harness(dir.path(), &[&["x.toml", "--progress", "none", "--output", output], &more[..]].concat());
        assert_eq!(done.code, 0, "{}", done.err);
    }
    for _ in 0..2 {
        let written = harness(dir.path(), &["diff", "old", "new", "--output", "both"]);
        assert_eq!(written.code, 0, "{}", written.err);
        let named: Vec<&str> = written.out.lines().collect();
        assert!(named.contains(&"both/index.html") && named.contains(&"both/tables/diff-1.tex"), "{named:?}");
    }
    let page = fs::read_to_string(dir.path().join("both/index.html")).unwrap();
    assert!(page.contains("<h1>From old to new</h1>") && page.contains("<td>ghost</td>"), "{page}");
    assert!(!page.contains("{{") && !page.contains("<script"), "{page}");
    let table = fs::read_to_string(dir.path().join("both/tables/diff-1.csv")).unwrap();
    assert!(table.starts_with("label,params_old,params_new,macs_old,macs_new,same_trials,common_trials"), "{table}");
}
