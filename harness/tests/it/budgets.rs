//! `[budget]`, as a user types it.

use super::support::{folder, harness};

const FILE: &str = "name = 'b'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[recipe]\nepochs = 0\n\
    [budget]\nmacs = [0.5, 0.25]\n[[grid]]\nmethod.name = ['vanilla', 'ghost', 'thin', 'depthwise']\n";

#[test]
fn plan_shows_budgets_and_what_cannot_meet_them() {
    let folder = folder(FILE);
    let plan = harness(folder.path(), &["plan", "x.toml"]);
    assert_eq!((plan.code, plan.err.as_str()), (0, ""));
    let found = |label: &str| plan.out.lines().find(|line| line.starts_with(label));
    let line = |label: &str| found(label).unwrap_or_else(|| panic!("{}", plan.out));
    assert!(line("trial ").contains("budget mismatch"), "{}", plan.out);
    assert!(!line("vanilla ").contains("macs") && line("ghost ratio=5 ").contains("macs 0.25"), "{}", plan.out);
    assert!(line("depthwise ").contains("macs 0.25"), "{}", plan.out);
    for part in ["2 budgets: fewer than 5 points make no curve", "cannot reach 50 % of vanilla's MACs, nearest is 1"] {
        assert!(plan.out.contains(part), "{part} in {}", plan.out);
    }
    let csv =
        harness(folder.path(), &["plan", "x.toml", "--format", "csv", "--set", "budget.macs=[0.3]", "--only", "ghost"]);
    let lines: Vec<&str> = csv.out.lines().collect();
    assert!(lines[0].contains(",budget,budget_mismatch,"), "{}", lines[0]);
    assert!(lines.len() == 2 && lines[1].contains(",macs 0.3,"), "{}", csv.out);
    let json = harness(folder.path(), &["plan", "x.toml", "--format", "json"]).out;
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(rows[0]["budget"].is_null() && rows[1]["budget"] == "macs 0.5" && rows[1]["budget_mismatch"].is_number());
}

#[test]
fn scaled_counts_are_multiples_of_the_divisor_so_that_modules_part_them_as_they_mean_to() {
    let text = FILE
        .replace("'vanilla', 'ghost', 'thin', 'depthwise'", "'compconv'")
        .replace("[budget]", "[budget]\nfit = 'width'");
    let folder = folder(&text);
    let plan = |sets: &[&str]| {
        let sets = [&["plan", "x.toml", "--set", "method.depth=2", "--set", "method.c0=1"], sets].concat();
        let plan = harness(folder.path(), &sets);
        assert_eq!(plan.code, 0, "{}", plan.err);
        plan.out
    };
    let (odd, even) = (plan(&[]), plan(&["--set", "backbone.divisor=2"]));
    assert!(odd.contains("shuffle off") && !even.contains("shuffle off"), "{odd}{even}");
    assert!(!even.contains("cannot reach"), "{even}");
}

#[test]
fn another_choice_of_the_knob_is_tried_where_the_nearest_one_cannot_be_narrowed() {
    // A part so small that it comes near by itself leaves too few channels of a narrower network.
    let text = FILE.replace("'vanilla', 'ghost', 'thin', 'depthwise'", "'spconv'");
    let folder = folder(&text.replace("[0.5, 0.25]", "[0.125]\nfit = 'width'"));
    let plan = harness(folder.path(), &["plan", "x.toml"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    assert!(!plan.out.contains("cannot reach"), "{}", plan.out);
}

#[test]
fn results_and_report_carry_budgets_and_a_run_goes_on_with_the_same_trials() {
    let folder = folder(FILE);
    let run = harness(folder.path(), &["x.toml"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let root = folder.path().join("reports/b");
    let csv = std::fs::read_to_string(root.join("results.csv")).unwrap();
    let head: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    assert!(head.contains(&"budget") && head.contains(&"budget_mismatch") && head.contains(&"backbone_width"));
    assert!(csv.contains(",macs 0.25,") && csv.contains("ghost ratio=5"), "{csv}");
    let report = std::fs::read_to_string(root.join("README.md")).unwrap();
    for part in
        ["| Budget |", "| macs 0.25 |", "- depthwise: cannot reach 50 % of vanilla's MACs, nearest is", "**Budgets**"]
    {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert!(!report.contains("Unfinished"), "{report}");
    let again = harness(folder.path(), &["reports/b/experiment.toml", "--output", "reports/b"]);
    assert!(again.code == 0 && again.out.contains("0 trained, 6 done before"), "{}{}", again.out, again.err);
    // Names follow the latest run: the same networks under other budgets.
    let sets = ["x.toml", "--set", "budget.macs=[0.51, 0.25]", "--set", "method.name=ghost"];
    let other = harness(folder.path(), &sets);
    assert!(other.code == 0 && other.out.contains("0 trained, 2 done before"), "{}{}", other.out, other.err);
    let report = std::fs::read_to_string(root.join("README.md")).unwrap();
    let row = report.lines().find(|line| line.starts_with("| ghost ratio=2 ")).unwrap();
    assert!(row.contains("| macs 0.51 |"), "{row}");
}

#[test]
fn latency_is_measured_once_and_kept() {
    let text = FILE.replace("macs = [0.5, 0.25]", "latency = [0.7]").replace(", 'thin', 'depthwise'", ", 'thin'");
    let folder = folder(&text);
    let plan = harness(folder.path(), &["plan", "x.toml"]);
    assert!(
        plan.code == 0 && plan.out.contains("times of inference were measured just now"),
        "{}{}",
        plan.out,
        plan.err
    );
    let run = harness(folder.path(), &["x.toml"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let root = folder.path().join("reports/b");
    let kept = std::fs::read_to_string(root.join("latencies.json")).unwrap();
    assert!(kept.contains("ghost ratio=") && kept.contains("thin width="), "{kept}");
    let again = harness(folder.path(), &["x.toml"]);
    assert!(again.code == 0 && again.out.contains("0 trained, 3 done before"), "{}{}", again.out, again.err);
    assert_eq!(std::fs::read_to_string(root.join("latencies.json")).unwrap(), kept);
    let plan = harness(folder.path(), &["plan", "x.toml"]);
    assert!(plan.out.contains("latency 0.7") && !plan.out.contains("measured just now"), "{}", plan.out);
    let report = harness(folder.path(), &["report", "reports/b"]);
    assert_eq!((report.code, report.err.as_str()), (0, ""), "the kept times tell which trials there are");
    let cost = harness(folder.path(), &["cost", "x.toml"]);
    assert!(cost.code == 2 && cost.err.contains("measured by `harness plan` and by runs only"), "{}", cost.err);
}

#[test]
fn controls_are_planned_trained_and_reported_under_what_they_control() {
    let text = "name = 'b'\n[dataset]\nname = 'synthetic'\nsources = ['synthetic:200+50']\n[backbone]\nname = 'resnet20'\n\
        [recipe]\nepochs = 2\nbatch = 20\nsubset = 40\nfinetune_epochs = 1\n[protocol]\nvalidation = 20\n\
        controls = ['thin']\n[run]\nthreads = 1\n[[grid]]\nmethod.name = ['vanilla', 'pruned', 'ghost']\n";
    let folder = folder(text);
    let plan = harness(folder.path(), &["plan", "x.toml"]);
    assert!(
        plan.out.contains("control of") && plan.out.contains("1 trial is a control of pruned ones"),
        "{}",
        plan.out
    );
    let csv = harness(folder.path(), &["plan", "x.toml", "--format", "csv"]).out;
    let last = csv.lines().last().unwrap();
    assert!(last.starts_with("thin width=") && last.contains(",pruned,"), "{csv}");
    let run = harness(folder.path(), &["x.toml", "--progress", "plain"]);
    assert!(run.code == 0 && run.out.contains("4 trained"), "{}{}", run.out, run.err);
    let root = folder.path().join("reports/b");
    assert!(std::fs::read_to_string(root.join("results.csv")).unwrap().contains(",control_of,"));
    let report = std::fs::read_to_string(root.join("README.md")).unwrap();
    let rows: Vec<&str> = report.lines().filter(|line| line.starts_with("| ")).collect();
    let pruned = rows.iter().position(|row| row.starts_with("| pruned ")).unwrap();
    assert!(rows[pruned + 1].starts_with("| thin width=") && rows[pruned + 1].contains("| pruned |"), "{report}");
    assert!(rows[0].contains("| Control of |") && report.contains("**Controls** stand under"), "{report}");
    assert!(!report.contains("Unfinished"), "{report}");
}
