//! What a report says of measured costs, from fabricated ones.

use harness::report;
use harness::report::aggregate::groups;
use harness::results::{Measured, MeasuredNetwork, MeasuredTraining, MeasuredUse, TrialRecord};

use crate::report::{compared, costs, folder, study};

fn used(ms: f64, rounds: [f64; 2], macs: u64) -> MeasuredUse {
    MeasuredUse {
        ms: [ms, 1.1 * ms, 1.5 * ms],
        times: 100,
        rounds_ms: rounds.map(|round| round * ms).to_vec(),
        energy_mj: None,
        memory_analytic_mib: Some(20.0),
        memory_measured_mib: Some(21.0),
        macs_executed: macs,
        multiplications_executed: macs / 2,
        off_engine: None,
        layers_ms: vec![("conv1".into(), 0.5 * ms), ("other".into(), 0.1 * ms)],
    }
}

/// Of `study`, all but its last network.
fn measured(records: &[TrialRecord]) -> Measured {
    let mut networks: Vec<MeasuredNetwork> = Vec::new();
    for record in records {
        let label = &record.trial.label;
        if let Some(known) = networks.iter_mut().find(|known| known.label == *label) {
            known.trials.push(record.trial.key.clone());
            continue;
        }
        let macs = record.network.cost.macs;
        networks.push(MeasuredNetwork {
            signature: label.clone(),
            label: label.clone(),
            trials: vec![record.trial.key.clone()],
            vanilla: "vanilla".into(),
            images: 128,
            macs,
            one: Some(used(macs as f64 * 2e-8, [1.0, 1.02], macs)),
            many: Some(used(macs as f64 * 1e-6, [1.0, 1.02], macs)),
            problem: None,
        });
    }
    networks.pop();
    let trials = records.iter().map(|record| record.trial.key.clone()).collect();
    Measured {
        environment: records[0].environment.clone(),
        rounds: 2,
        pinned: true,
        reference: "vanilla".into(),
        ends: vec![[1.0, 1.02]; 2],
        networks,
        trainings: vec![MeasuredTraining {
            signature: "t".into(),
            trials,
            images: 128,
            memory_analytic_mib: Some(100.0),
            memory_measured_mib: Some(150.0),
        }],
    }
}

#[test]
fn latency_stands_beside_what_macs_promise_and_says_who_measured_it() {
    let records = study(&[0, 1]);
    let mut measured = measured(&records);
    let text = |measured: &Measured| {
        let mut groups = groups(&records);
        groups[0].measured = Some(measured);
        compared(&groups[0])
    };
    let page = text(&measured);
    let line = |page: &str, label: &str| -> String {
        let mut lines = page.lines().filter(|line| line.starts_with(&format!("| {label} |")));
        lines.next().unwrap_or_else(|| panic!("{label} has a row")).to_owned()
    };
    assert!(
        page.lines().next().unwrap().ends_with("| Speed-up by MACs | b1 (ms) | b128 (ms) | Memory (MiB) |"),
        "{page}"
    );
    assert!(line(&page, "vanilla").ends_with("| 1.00× | 0.81 (1.00×) | 40.6 (1.00×) | 21.0 |"), "{page}");
    assert!(line(&page, "ghost ratio=2").ends_with("| 1.91× | 0.42 (1.91×) | 21.2 (1.91×) | 21.0 |"), "{page}");
    assert!(line(&page, "compconv c0=32").ends_with("| – | – | – | – |"), "{page}");
    for part in [
        "- **Measured** (b1, b128, Memory): median inference of 1 image and of 128, ",
        " 2 rounds, each time in a fresh process, kept to its processors.",
        "- **Measured with** commit ",
        "- **Not measured**: compconv c0=32. `harness measure` ",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    for absent in ["not quiet", "machine changed", "§", "Counted is not executed"] {
        assert!(!page.contains(absent), "{absent}\n{page}");
    }

    let ghost = measured.networks.iter_mut().find(|network| network.label == "ghost ratio=2").unwrap();
    let one = ghost.one.as_mut().unwrap();
    one.rounds_ms = vec![0.4, 0.5];
    one.macs_executed = 30_000_000;
    ghost.many.as_mut().unwrap().off_engine = Some("a custom operation is part of it".into());
    measured.ends[1] = [1.0, 1.3];
    let page = text(&measured);
    assert!(line(&page, "ghost ratio=2").ends_with("| 0.42 (1.91×) ‡ | 21.2 (1.91×) § | 21.0 |"), "{page}");
    for part in [
        "- **‡ The machine was not quiet**: the rounds of such a time differ by more than 10 %",
        "- **The machine changed**: in 1 of 2 rounds ",
        "- **§ Not on the engine**: ghost ratio=2 inferred operation by operation (a custom operation is part of it).",
        "- **Counted is not executed**: ghost ratio=2 was counted 21.20M MACs, and executed 30.00M.",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn the_page_has_a_table_of_all_that_was_measured_also_where_nothing_was_trained() {
    for trained in [true, false] {
        let mut records = study(&[0]);
        if !trained {
            costs(&mut records);
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(&dir.path().join("x"), &records);
        let mut measured = measured(&records);
        if !trained {
            measured.trainings.clear();
        }
        folder.save_measured(&measured).unwrap();
        report::write(&folder).unwrap();
        let page = std::fs::read_to_string(folder.root().join("README.md")).unwrap();
        let (_, section) = page.split_once("### Measured costs\n\n").unwrap();
        let vanilla = section.lines().find(|line| line.starts_with("| vanilla |")).unwrap();
        let training = if trained { " **100 / 150** |" } else { "" };
        let expected = format!(
            "| vanilla | 0.81 | 0.89 | 1.22 | +2 % | 40.6 | 44.6 | 60.8 | +2 % | 40.55M | 20.28M | 20.0 / 21.0 | 20.0 / 21.0 |{training}"
        );
        assert_eq!(vanilla, expected);
        assert!(section.contains("This machine exposes no energy counter."), "{section}");
    }
}
