//! Checkpoint files: what is written is read, bit for bit; what is damaged is never used; an instant without a whole
//! checkpoint does not exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use harness::train::{Checkpoint, Checkpoints, EpochLog, Evaluation, Progress, Tally};
use tempfile::TempDir;

const KEY: &str = "0123456789abcdef";

fn tensors(names: &[&str], values: usize) -> Result<BTreeMap<String, Tensor>> {
    let awkward = [f32::from_bits(0x7fc0_1234), f32::NEG_INFINITY, -0.0, f32::from_bits(1), 1.1];
    let values: Vec<f32> = awkward.into_iter().cycle().take(values).collect();
    names.iter().map(|name| Ok(((*name).to_owned(), Tensor::new(values.as_slice(), &Device::Cpu)?))).collect()
}

/// A checkpoint at this step, with tensors of so many values.
fn checkpoint(step: usize, values: usize) -> Result<Checkpoint> {
    let log = EpochLog {
        epoch: 1,
        phase: "train".into(),
        lr: 0.1,
        train_loss: f64::from_bits(0x7ff8_0000_0000_0777),
        train_accuracy: 1.0 / 3.0,
        ..EpochLog::default()
    };
    let progress = Progress {
        phase: "finetune".into(),
        epoch: 2,
        tally: Tally { steps: step, images: 8 * step, correct: 5, loss: 0.1 + 0.2, seconds: 1.5 },
        history: vec![log; 2],
        validation: Some(Evaluation { top1: 0.5, top5: 0.9, loss: f64::NAN }),
        seconds: 12.25,
    };
    let momentum = tensors(&["conv.weight"], values)?;
    let mut weights = tensors(&["bn.running_mean", "conv.weight"], values)?;
    weights.insert("scalar".into(), Tensor::new(2.5f32, &Device::Cpu)?);
    weights.insert("cube".into(), Tensor::arange(0f32, 24.0, &Device::Cpu)?.reshape((2, 3, 4))?);
    Ok(Checkpoint {
        key: KEY.into(),
        kernels: vec!["avx2".into(), "é".into()],
        origins: vec!["here".into()],
        progress,
        weights,
        momentum,
    })
}

fn bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    checkpoint.write(&mut bytes)?;
    Ok(bytes)
}

fn refused(bytes: &[u8]) -> Result<String> {
    Ok(format!("{:#}", Checkpoint::read(bytes).err().context("a checkpoint that is none was read")?))
}

fn step(checkpoint: Option<&Checkpoint>) -> Option<usize> {
    checkpoint.map(|checkpoint| checkpoint.progress.tally.steps)
}

#[test]
fn every_bit_comes_back() -> Result<()> {
    let first = checkpoint(3, 40_000)?;
    let again = Checkpoint::read(&bytes(&first)?)?;
    assert!(bytes(&first)? == bytes(&again)?, "read and written again, it is another");
    let bits = |tensor: &Tensor| -> Result<Vec<u32>> {
        Ok(tensor.flatten_all()?.to_vec1::<f32>()?.iter().map(|value| value.to_bits()).collect())
    };
    assert_eq!(again.weights.len(), 4);
    for (name, tensor) in &first.weights {
        assert_eq!(again.weights[name].dims(), tensor.dims());
        assert_eq!(bits(&again.weights[name])?, bits(tensor)?, "{name}");
    }
    assert_eq!(again.momentum["conv.weight"].dims(), [40_000]);
    assert_eq!((&again.key, &again.kernels, &again.origins), (&first.key, &first.kernels, &first.origins));
    let (a, b) = (&again.progress, &first.progress);
    assert_eq!((&a.phase, a.epoch, a.tally, a.seconds), (&b.phase, b.epoch, b.tally, b.seconds));
    assert_eq!(a.history[1].train_loss.to_bits(), b.history[1].train_loss.to_bits(), "the NaN's payload too");
    assert_eq!(a.history[1].train_accuracy, 1.0 / 3.0);
    Ok(())
}

#[test]
fn cut_short_anywhere_or_with_any_bit_flipped_it_is_refused() -> Result<()> {
    let good = bytes(&checkpoint(3, 5)?)?;
    for length in 0..good.len() {
        refused(&good[..length])?;
    }
    let mut longer = good.clone();
    longer.push(0);
    refused(&longer)?;
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1 << (position % 8);
        refused(&bad)?;
    }
    assert!(refused(&good[..good.len() - 1])?.contains("checksum"));
    assert!(refused(b"something else")?.contains("no checkpoint"));
    let other = String::from_utf8_lossy(&good[..20]).replace(" 2", " 3");
    assert!(refused(other.as_bytes())?.contains("another format than 2"), "{other}");
    Ok(())
}

#[test]
fn a_valid_checksum_over_nonsense_is_no_panic_either() -> Result<()> {
    let good = bytes(&checkpoint(3, 5)?)?;
    let body = &good[..good.len() - 32];
    let signed = |body: &[u8]| [body, blake3::hash(body).as_bytes()].concat();
    Checkpoint::read(&signed(body))?;
    for position in 21..body.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = body.to_vec();
            bad[position] = value;
            let _ = Checkpoint::read(&signed(&bad));
        }
        refused(&signed(&body[..position]))?;
    }
    Ok(())
}

#[test]
fn the_previous_is_kept_until_the_next_is_whole() -> Result<()> {
    let dir = TempDir::new()?;
    let mut place = Checkpoints::new(dir.path());
    assert!(matches!(place.load(KEY), (None, None)), "an empty folder is nothing to warn of");
    for step in 1..=3 {
        place.save(&checkpoint(step, 5)?)?;
    }
    let read = |path: &Path| -> Result<Option<usize>> { Ok(step(Some(&Checkpoint::read(&fs::read(path)?)?))) };
    assert_eq!((read(&place.newest())?, read(&place.previous())?), (Some(3), Some(2)));

    // The two instants of a save at which power may be lost: while the new one is written, and between the renames.
    fs::write(dir.path().join(".writing-checkpointXyZ"), "half of o")?;
    let (found, warning) = Checkpoints::new(dir.path()).load(KEY);
    assert_eq!((step(found.as_ref()), warning), (Some(3), None));
    assert_eq!(fs::read_dir(dir.path())?.count(), 2, "what was half written is cleared away");
    fs::rename(place.newest(), place.previous())?;
    let mut after = Checkpoints::new(dir.path());
    let (found, warning) = after.load(KEY);
    assert_eq!(step(found.as_ref()), Some(3));
    assert!(warning.is_some_and(|text| text.contains("missing") && text.contains("epoch 2, step 3")));
    after.save(&checkpoint(4, 5)?)?;
    assert_eq!((read(&after.newest())?, read(&after.previous())?), (Some(4), Some(3)));

    after.remove()?;
    assert_eq!(fs::read_dir(dir.path())?.count(), 0);
    after.remove()?;
    Ok(())
}

#[test]
fn a_bad_one_never_takes_the_place_of_a_good_one() -> Result<()> {
    let dir = TempDir::new()?;
    let mut place = Checkpoints::new(dir.path());
    place.save(&checkpoint(1, 5)?)?;
    place.save(&checkpoint(2, 5)?)?;
    fs::write(place.newest(), "rubbish")?;
    let mut place = Checkpoints::new(dir.path());
    let (found, warning) = place.load(KEY);
    assert_eq!(step(found.as_ref()), Some(1));
    let warning = warning.context("a warning")?;
    let path = place.newest().display().to_string();
    assert!(warning.starts_with(&path) && warning.contains("epoch 2, step 1"), "{warning}");
    place.save(&checkpoint(3, 5)?)?;
    let previous = Checkpoint::read(&fs::read(place.previous())?)?;
    assert_eq!(step(Some(&previous)), Some(1), "the rubbish was replaced, not the checkpoint that was used");

    // Someone else's file, and both bad.
    let (found, warning) = Checkpoints::new(dir.path()).load("another");
    assert!(found.is_none());
    let warning = warning.context("a warning")?;
    let foreign = format!("belongs to trial {KEY}, not to another");
    assert_eq!(warning.matches(&foreign).count(), 2, "{warning}");
    assert!(warning.ends_with("starts afresh"), "{warning}");
    Ok(())
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file_and_costs_nothing() -> Result<()> {
    let dir = TempDir::new()?;
    let disk = dir.path().join("disk");
    fs::create_dir(&disk)?;
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a small disk cannot be mounted here (it takes root)");
        return Ok(());
    }
    let test = || -> Result<()> {
        let mut place = Checkpoints::new(&disk);
        place.save(&checkpoint(1, 5)?)?;
        place.save(&checkpoint(2, 5)?)?;
        let error = place.save(&checkpoint(3, 40_000)?).err().context("half a megabyte fits into 64 KiB")?;
        let text = format!("{error:#}");
        assert!(text.starts_with(&place.newest().display().to_string()) && text.contains("No space"), "{text}");
        let full = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(full, Some(std::io::ErrorKind::StorageFull));
        assert_eq!(fs::read_dir(&disk)?.count(), 2, "what could not be finished is gone");
        let (found, warning) = Checkpoints::new(&disk).load(KEY);
        assert_eq!((step(found.as_ref()), warning), (Some(2), None));
        place.save(&checkpoint(4, 5)?)?;
        assert_eq!(step(Checkpoints::new(&disk).load(KEY).0.as_ref()), Some(4), "it goes on once there is room");
        Ok(())
    };
    let result = test();
    Command::new("umount").arg(&disk).status()?;
    result
}
