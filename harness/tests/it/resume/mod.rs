//! A trial that is stopped or killed anywhere and goes on from its checkpoint ends with the bits of one that was left alone.

mod workshop;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use harness::run::TrialOptions;
use harness::train::{Checkpoint, Interrupted};

use workshop::{Bench, Fate, Outcome, Watcher, Workshop};

fn flip_a_bit(path: &PathBuf) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    Ok(fs::write(path, bytes)?)
}

/// Stops the trial at every question it asks, one attempt for each, and lets it go on, on other numbers of threads.
fn stopped_anywhere(label: &str, questions: usize) -> Result<()> {
    stopped_anywhere_in(&Workshop::new()?, label, questions)
}

fn stopped_anywhere_in(workshop: &Workshop, label: &str, questions: usize) -> Result<()> {
    let bench = workshop.bench(label, "whole")?;
    let (whole, watcher) = bench.finished(1)?;
    assert_eq!((watcher.asked, watcher.resumed.len()), (questions, 0));
    for at in 0..questions {
        let bench = workshop.bench(label, &format!("stopped{at}"))?;
        bench.stopped(Fate::Stop(at), 1 + at % 2)?;
        let (outcome, watcher) = bench.finished(1 + at % 3)?;
        assert!(outcome == whole, "{label} stopped at question {at}: {outcome:?}\nand not\n{whole:?}");
        assert!(watcher.warnings.is_empty(), "{:?}", watcher.warnings);
        // Three steps, a batch of validation, where there is one, and the epoch itself are the questions of each epoch.
        let config = &bench.trial.frozen().config;
        let of_epoch = 4 + usize::from(config.validation > 0);
        assert_eq!(watcher.resumed.len(), ((at + 1) / of_epoch).min(config.recipe.epochs), "{at}");
    }
    Ok(())
}

#[test]
fn vanilla_stopped_anywhere() -> Result<()> {
    stopped_anywhere("vanilla", 17)
}

#[test]
fn compconv_stopped_anywhere() -> Result<()> {
    stopped_anywhere("compconv", 17)
}

#[test]
fn pruned_stopped_anywhere_before_and_after_the_cut() -> Result<()> {
    stopped_anywhere("pruned", 17)
}

#[test]
fn without_validation_stopped_anywhere() -> Result<()> {
    let workshop = Workshop::with(&["protocol.validation=0", "recipe.subset=30"].map(str::to_owned))?;
    stopped_anywhere_in(&workshop, "vanilla", 14)?;
    stopped_anywhere_in(&workshop, "pruned", 14)
}

/// With Adam, whose second moments and steps are part of where a training stands.
#[test]
fn from_given_weights_stopped_anywhere() -> Result<()> {
    let first = Workshop::new()?;
    let bench = first.bench("vanilla", "given")?;
    bench.finished(2)?;
    let given = bench.file("weights.safetensors");
    let rates = ["recipe.optimizer=adamw", "recipe.lr=0.001", "recipe.finetune_lr=0.001"];
    let file = format!("init.file={}", given.display());
    let workshop = Workshop::with(&[&[file], &rates.map(str::to_owned)[..]].concat())?;
    let (begun, _) = workshop.bench("vanilla", "first")?.finished(2)?;
    let (afresh, _) = first.bench("vanilla", "afresh")?.finished(2)?;
    assert_ne!(begun.epochs[0].train_loss, afresh.epochs[0].train_loss);
    stopped_anywhere_in(&workshop, "vanilla", 17)?;
    // What is given is cut at once.
    stopped_anywhere_in(&workshop, "pruned", 17)
}

#[test]
fn in_bf16_stopped_anywhere() -> Result<()> {
    let workshop = Workshop::with(&["recipe.precision=bf16", "recipe.kernels=own"].map(str::to_owned))?;
    stopped_anywhere_in(&workshop, "vanilla", 17)?;
    stopped_anywhere_in(&workshop, "pruned", 17)
}

/// With an average of the weights, which is judged at the end of each epoch and takes their place at the end of each phase.
#[test]
fn averaged_stopped_anywhere() -> Result<()> {
    let average = ["recipe.average=0.8", "dataset.flip_order=alternating", "recipe.schedule=linear"];
    let workshop = Workshop::with(&average.map(str::to_owned))?;
    stopped_anywhere_in(&workshop, "vanilla", 17)?;
    stopped_anywhere_in(&workshop, "pruned", 17)?;
    // It is no other training: what is left differs, not what was lost on the way.
    let (averaged, _) = workshop.bench("vanilla", "averaged")?.finished(2)?;
    let last = Workshop::with(&average[1..].iter().map(|&set| set.to_owned()).collect::<Vec<_>>())?;
    let (last, _) = last.bench("vanilla", "last")?.finished(2)?;
    let losses = |outcome: &Outcome| outcome.epochs.iter().map(|epoch| epoch.train_loss).collect::<Vec<_>>();
    assert_eq!(losses(&averaged), losses(&last));
    assert_ne!(averaged.epochs[1].validation_loss, last.epochs[1].validation_loss);
    assert_ne!(averaged.weights, last.weights);
    Ok(())
}

#[test]
fn pruned_and_never_tuned_stopped_anywhere() -> Result<()> {
    stopped_anywhere("pruned ratio=0.3", 18)
}

#[test]
fn factored_stopped_anywhere_before_and_after_it() -> Result<()> {
    stopped_anywhere("lowrank", 17)
}

#[test]
fn masked_stopped_anywhere_before_and_after_it() -> Result<()> {
    stopped_anywhere("magnitude", 17)
}

#[test]
fn masked_twice_stopped_anywhere() -> Result<()> {
    stopped_anywhere("magnitude ratio=0.9", 17)
}

#[test]
fn masks_hold_to_the_end_and_the_base_is_shared() -> Result<()> {
    let workshop = Workshop::new()?;
    let (pruned, _) = workshop.bench("pruned", "masked")?.finished(2)?;
    for label in ["magnitude", "lowrank"] {
        let bench = workshop.bench(label, "masked")?;
        let (outcome, watcher) = bench.finished(2)?;
        assert_eq!(watcher.resumed.len(), 2, "{label} begins with what pruning has trained");
        assert_eq!(outcome.measures.base, pruned.measures.base);
    }
    let (outcome, _) = workshop.bench("magnitude ratio=0.9", "masked")?.finished(2)?;
    let network = &outcome.record.network;
    let weights = candle_core::safetensors::load_buffer(&outcome.weights, &candle_core::Device::Cpu)?;
    let (mut zeros, mut ranked) = (0, 0);
    for (name, tensor) in weights.iter().filter(|(name, tensor)| name.starts_with("layer") && tensor.rank() == 4) {
        let gone = tensor.flatten_all()?.to_vec1::<f32>()?.iter().filter(|&&value| value == 0.0).count() as u64;
        ensure!(gone > 0, "{name}");
        (zeros, ranked) = (zeros + gone, ranked + tensor.elem_count() as u64);
    }
    // floor(n (1 - 0.9)) stay, after two steps as after one.
    assert_eq!(zeros, ranked - ranked / 10);
    assert_eq!(network.params_nonzero, Some(network.cost.params - zeros));
    ensure!(network.macs_nonzero.is_some_and(|macs| macs < network.cost.macs), "{network:?}");
    let (vanilla, _) = workshop.bench("vanilla", "masked")?.finished(2)?;
    assert_eq!((network.cost, vanilla.record.network.params_nonzero), (vanilla.record.network.cost, None));
    Ok(())
}

/// Two cuts by gradients, with an epoch after each: a cut asks before each batch that it takes gradients of.
#[test]
fn several_cuts_stopped_anywhere() -> Result<()> {
    let workshop = Workshop::new()?;
    let label = "pruned criterion=taylor";
    let bench = workshop.bench(label, "whole")?;
    let (whole, watcher) = bench.finished(1)?;
    assert_eq!(watcher.asked, 15 + 2 * 3 + 2);
    let phases: Vec<&str> = whole.epochs.iter().map(|epoch| epoch.phase.as_str()).collect();
    assert_eq!(phases, ["train", "finetune", "finetune"]);
    let planned = bench.trial.phases()?;
    assert_eq!((planned.whole, &*planned.finetune), (1, &[1, 1][..]));
    for at in 0..watcher.asked {
        let bench = workshop.bench(label, &format!("stopped{at}"))?;
        bench.stopped(Fate::Stop(at), 1 + at % 2)?;
        let (outcome, watcher) = bench.finished(1 + at % 3)?;
        assert!(outcome == whole, "stopped at question {at}: {outcome:?}\nand not\n{whole:?}");
        assert!(watcher.warnings.is_empty(), "{:?}", watcher.warnings);
    }
    Ok(())
}

#[test]
fn candles_kernels_stopped_anywhere() -> Result<()> {
    stopped_anywhere("vanilla epochs=1", 7)
}

#[test]
fn stopped_again_and_again() -> Result<()> {
    let workshop = Workshop::new()?;
    for label in ["pruned", "compconv"] {
        let (whole, _) = workshop.bench(label, "whole")?.finished(2)?;
        let bench = workshop.bench(label, "again")?;
        // Three questions an attempt: enough to get through validation or test, never through an epoch.
        let mut attempts = 1;
        while let (Err(error), _) = bench.attempt(Fate::Stop(2), 1 + attempts % 2)? {
            assert!(error.downcast_ref::<Interrupted>().is_some(), "{error:?}");
            attempts += 1;
            assert!(attempts < 20, "no attempt gets anywhere");
        }
        assert!(attempts > 4);
        assert!(bench.outcome()? == whole, "{label} in {attempts} attempts");
    }
    Ok(())
}

#[test]
fn killed_without_warning() -> Result<()> {
    let workshop = Workshop::new()?;
    for label in ["vanilla", "pruned"] {
        let (whole, _) = workshop.bench(label, "whole")?.finished(2)?;
        for (every, at) in [(100, 2), (3, 5), (2, 6), (5, 9), (4, 11), (7, 13), (100, 14), (100, 16)] {
            let bench = workshop.bench(label, &format!("killed{every}-{at}"))?;
            bench.stopped(Fate::Kill(every, at), 1)?;
            // What the end of a process may leave: half a line of the log, half a checkpoint.
            let log = fs::read_to_string(bench.file("epochs.jsonl")).unwrap_or_default();
            fs::write(bench.file("epochs.jsonl"), log + "{\"epoch\": 9, \"pha")?;
            fs::write(bench.file(".writing-checkpoint123"), "half")?;
            assert!(bench.finished(2)?.0 == whole, "{label} killed at {at}, checkpoints every {every}");
        }
    }
    Ok(())
}

#[test]
fn damaged_checkpoints_cost_time_and_change_nothing() -> Result<()> {
    let workshop = Workshop::new()?;
    let (whole, _) = workshop.bench("pruned", "whole")?.finished(2)?;
    // Two checkpoints: of the end of training, before the cut, and of the fine-tuning.
    let damaged = |name: &str| -> Result<Bench<'_>> {
        let bench = workshop.bench("pruned", name)?;
        bench.stopped(Fate::Stop(1), 2)?;
        bench.stopped(Fate::Stop(9), 2)?;
        flip_a_bit(&bench.checkpoints().newest())?;
        Ok(bench)
    };
    let bench = damaged("newest")?;
    let (outcome, watcher) = bench.finished(2)?;
    assert!(outcome == whole);
    let [warning] = &watcher.warnings[..] else { anyhow::bail!("{:?}", watcher.warnings) };
    let path = bench.checkpoints().newest().display().to_string();
    assert!(warning.starts_with(&path) && warning.contains("checksum"), "{warning}");

    let bench = damaged("both")?;
    flip_a_bit(&bench.checkpoints().previous())?;
    // What other trials could begin with, this one could too.
    fs::remove_dir_all(bench.folder.root().join("bases"))?;
    let (outcome, watcher) = bench.finished(2)?;
    assert!(outcome == whole && watcher.resumed.is_empty());
    assert!(watcher.warnings.len() == 1 && watcher.warnings[0].ends_with("starts afresh"), "{:?}", watcher.warnings);

    // Another trial's, under this one's name.
    let bench = damaged("foreign")?;
    let other = workshop.bench("vanilla", "other")?;
    other.stopped(Fate::Stop(7), 2)?;
    for path in [bench.checkpoints().newest(), bench.checkpoints().previous()] {
        fs::copy(other.checkpoints().newest(), path)?;
    }
    let (outcome, watcher) = bench.finished(2)?;
    assert!(outcome == whole && watcher.warnings[0].contains(&other.key), "{:?}", watcher.warnings);
    Ok(())
}

#[test]
fn another_build_goes_on_and_the_row_says_so() -> Result<()> {
    let workshop = Workshop::new()?;
    let bench = workshop.bench("vanilla", "build")?;
    let here = workshop.environment.origin();
    bench.stopped_elsewhere(|checkpoint| {
        assert_eq!(checkpoint.origins, std::slice::from_ref(&here));
        checkpoint.origins = vec!["commit 0123456789ab on an abacus".into()];
    })?;
    let record = bench.attempt(Fate::Undisturbed, 2)?.0?;
    let said = format!("computed in turn by commit 0123456789ab on an abacus; {here}");
    assert!(record.network.remarks.contains(&said), "{:?}", record.network.remarks);
    Ok(())
}

#[test]
fn another_kernel_path_is_refused_or_marked() -> Result<()> {
    let workshop = Workshop::new()?;
    let bench = workshop.bench("vanilla", "path")?;
    let here = conv_core::kernel_path();
    bench.stopped_elsewhere(|checkpoint| {
        assert_eq!(checkpoint.kernels, [here]);
        checkpoint.kernels = vec!["abacus".into()];
    })?;

    let log = fs::read(bench.file("epochs.jsonl"))?;
    let error = bench.attempt(Fate::Undisturbed, 2)?.0.err().context("another path is refused")?.to_string();
    for part in ["`abacus`", here, "--allow-path-change"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(fs::read(bench.file("epochs.jsonl"))?, log, "nothing was touched");

    let allowed = TrialOptions { allow_path_change: true, ..TrialOptions::default() };
    let (stopped, _) = bench.attempt_with(Fate::Stop(2), 2, allowed)?;
    assert!(stopped.is_err_and(|error| error.downcast_ref::<Interrupted>().is_some()));
    // From here on it is this machine's path that goes on: nothing to allow, but what happened is not forgotten.
    let record = bench.attempt(Fate::Undisturbed, 2)?.0?;
    let both = format!("abacus, then {here}");
    assert_eq!(record.environment.kernels, both);
    assert!(
        record.network.remarks.contains(&format!("resumed on another kernel path: {both}")),
        "{:?}",
        record.network.remarks
    );
    Ok(())
}

#[test]
fn trials_that_begin_the_same_way_share_what_they_compress() -> Result<()> {
    let workshop = Workshop::new()?;
    let finished = |label: &str, folder: &str| -> Result<_> {
        let bench = workshop.bench(label, folder)?;
        let (outcome, Watcher { resumed, asked, warnings, .. }) = bench.finished(2)?;
        Ok((outcome, (resumed.len(), asked), warnings))
    };
    let base = |outcome: &Outcome| outcome.measures.base.clone().context("a base");
    let (first, course, _) = finished("pruned", "shared")?;
    assert_eq!(course, (0, 17));
    let file = workshop.dir.path().join("shared/bases").join(base(&first)?).join("checkpoint");
    let left = fs::read(&file)?;

    // Two epochs of three are there already.
    let (second, course, _) = finished("pruned ratio=0.7", "shared")?;
    assert_eq!(course, (2, 7));
    let (alone, course, _) = finished("pruned ratio=0.7", "alone")?;
    assert_eq!(course, (0, 17));
    assert!(second == alone, "{second:?}\nand not\n{alone:?}");
    assert_eq!(base(&second)?, base(&first)?);
    assert!(second.epochs[..2] == first.epochs[..2] && second.weights != first.weights);

    // A damaged one is made anew.
    flip_a_bit(&file)?;
    let (third, course, warnings) = finished("pruned criterion=random", "shared")?;
    assert_eq!(course, (0, 17));
    assert!(warnings.len() == 1 && warnings[0].contains("checksum"), "{warnings:?}");
    assert!(third == finished("pruned criterion=random", "shared2")?.0);
    let whole = Checkpoint::read(&left)?;
    let again = Checkpoint::read(&fs::read(&file)?)?;
    let values = |checkpoint: &Checkpoint| -> Result<Vec<Vec<f32>>> {
        checkpoint.weights.values().map(|tensor| Ok(tensor.flatten_all()?.to_vec1()?)).collect()
    };
    assert_eq!(values(&again)?, values(&whole)?);
    assert!(again.momentum.is_empty());

    // A penalty makes another one, and so does another number of epochs before the cut.
    let (slimmed, (resumed, _), _) = finished("pruned criterion=slimming", "shared")?;
    assert!(resumed == 0 && base(&slimmed)? != base(&first)?);
    assert_ne!(slimmed.epochs[1].train_loss, first.epochs[1].train_loss);
    assert_ne!(base(&finished("pruned criterion=taylor", "shared")?.0)?, base(&first)?);
    assert_eq!(finished("vanilla", "shared")?.0.measures.base, None);
    Ok(())
}

#[test]
fn a_base_is_waited_for_and_a_stop_is_heard_meanwhile() -> Result<()> {
    let workshop = Workshop::new()?;
    let (first, _) = workshop.bench("pruned", "waiting")?.finished(2)?;
    let dir = workshop.dir.path().join("waiting/bases").join(first.measures.base.as_deref().context("a base")?);
    let held = fs::File::open(dir.join("lock"))?;
    held.lock()?;
    let bench = workshop.bench("pruned ratio=0.7", "waiting")?;
    let watcher = bench.stopped(Fate::Stop(1), 2)?;
    assert!(watcher.warnings.len() == 1 && watcher.warnings[0].contains("another trial is training"));
    drop(held);
    assert_eq!(bench.finished(2)?.1.resumed.len(), 2);
    Ok(())
}

#[test]
fn controls_train_what_is_left_from_fresh_weights() -> Result<()> {
    let workshop = Workshop::new()?;
    let (kept, _) = workshop.bench("pruned", "controls")?.finished(2)?;
    let phases = |outcome: &Outcome| outcome.epochs.iter().map(|epoch| epoch.phase.clone()).collect::<Vec<_>>();
    let (scratch, _) = workshop.bench("pruned weights=scratch", "controls")?.finished(2)?;
    assert_eq!(scratch.record.network.cost, kept.record.network.cost);
    assert_eq!(
        (phases(&scratch), scratch.measures.epochs, &scratch.measures.base),
        (vec!["train".into(); 3], 3, &None)
    );

    // Two epochs of the whole network and one of what is left, in epochs of that.
    let (compute, _) = workshop.bench("pruned weights=scratch_compute", "controls")?.finished(2)?;
    let [whole, left] = ["vanilla", "pruned"].map(|label| -> Result<f64> {
        Ok(workshop.bench(label, "controls")?.finished(2)?.0.record.network.cost.macs as f64)
    });
    let (whole, left) = (whole?, left?);
    assert_eq!(compute.measures.epochs, ((2.0 * whole + left) / left).round() as usize);
    assert_eq!(phases(&compute), vec!["train".to_owned(); compute.measures.epochs]);

    let label = "pruned ranking=global weights=scratch";
    let bench = workshop.bench(label, "controls")?;
    bench.stopped(Fate::Stop(11), 2)?;
    let (global, watcher) = bench.finished(2)?;
    // Two of the base, which was there, and two of its own.
    assert_eq!(watcher.resumed.len(), 4);
    assert_eq!(phases(&global), ["train", "train", "scratch", "scratch", "scratch"]);
    // Those that are thrown away are not counted.
    assert_eq!((global.measures.epochs, global.measures.base), (3, kept.measures.base));
    assert!(global.record.network.remarks.iter().any(|remark| remark.starts_with("global ranking")));
    let costs = fs::read_to_string(bench.file("costs.csv"))?;
    let total = costs.lines().last().unwrap_or_default().to_owned();
    let cost = global.record.network.cost;
    assert_eq!(total, format!("total,{},{},{},,", cost.params, cost.macs, cost.activations));
    assert_ne!(cost, kept.record.network.cost);
    Ok(())
}
