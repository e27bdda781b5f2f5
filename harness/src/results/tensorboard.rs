//! Learning curves as TensorBoard reads them: a file of events a trial.
//!
//! A file is records one after the other: length, checksum of the length, an `Event` message, its checksum. Events carry a scalar
//! each, by epoch.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::RunFolder;
use crate::files::write_atomic;
use crate::protobuf::Message;
use crate::train::EpochLog;

/// TensorBoard takes a file for one of events by a part of its name.
const EVENTS: &str = "events.out.tfevents.harness";

/// A scalar's name, and where it is in an epoch's log.
type Scalar = (&'static str, fn(&EpochLog) -> Option<f64>);

/// The scalars of an epoch; what stands before the slash is their group.
const SCALARS: [Scalar; 6] = [
    ("loss/train", |epoch| Some(epoch.train_loss)),
    ("loss/validation", |epoch| epoch.validation_loss),
    ("accuracy/train", |epoch| Some(epoch.train_accuracy)),
    ("accuracy/validation", |epoch| epoch.validation_accuracy),
    ("recipe/lr", |epoch| Some(epoch.lr)),
    ("speed/images_per_second", |epoch| Some(epoch.images_per_second)),
];

/// Writes the epochs of every trial that has some, finished or not, below `to`: a folder each, called by label, seed and the beginning of
/// the key. Their number.
///
/// # Errors
/// Epochs that cannot be read; files that cannot be written; no epochs at all.
pub fn write_events(folder: &RunFolder, to: &Path) -> Result<usize> {
    let names = folder.names()?;
    let mut written = 0;
    for key in folder.keys()? {
        let epochs = folder.epochs(&key)?;
        if epochs.is_empty() {
            continue;
        }
        let frozen = folder.frozen(&key)?;
        let label = names.get(&key).map_or(&frozen.label, |names| &names.label);
        let dir = to.join(run_name(label, frozen.config.seed, &key));
        fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
        write_atomic(&dir.join(EVENTS), &events(&epochs))?;
        written += 1;
    }
    ensure!(written > 0, "{}: no trial has finished an epoch yet", folder.root().display());
    Ok(written)
}

/// A folder's name that every file system takes.
fn run_name(label: &str, seed: u64, key: &str) -> PathBuf {
    let safe = |letter: char| if letter.is_alphanumeric() || " =.,+-_*".contains(letter) { letter } else { '_' };
    let label: String = label.chars().take(120).map(safe).collect();
    PathBuf::from(format!("{} seed={seed} {}", label.trim_start_matches('.'), key.get(..8).unwrap_or(key)))
}

/// The bytes of a file. Its clock starts at 0 with the training: only epochs know how long they took.
fn events(epochs: &[EpochLog]) -> Vec<u8> {
    let mut bytes = record(Message::new().double(1, 0.0).text(3, "brain.Event:2"));
    let mut seconds = 0.0;
    for epoch in epochs {
        seconds += epoch.seconds;
        for (tag, value) in SCALARS {
            let Some(value) = value(epoch) else { continue };
            let scalar = Message::new().text(1, tag).float(2, value as f32);
            let event = Message::new().double(1, seconds).int(2, epoch.epoch as i64);
            bytes.extend(record(event.message(5, &Message::new().message(1, &scalar))));
        }
    }
    bytes
}

fn record(event: Message) -> Vec<u8> {
    let event = event.into_bytes();
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), &event, &masked(&event).to_le_bytes()].concat()
}

/// CRC-32C, turned and moved: a checksum of bytes that hold checksums would be a weak one.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial, bit by bit: a file is a few kilobytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720, appendix B.4.
    #[test]
    fn checksums_are_as_published() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn a_file_is_records_that_follow_each_other() {
        let validated = EpochLog { validation_loss: Some(0.5), validation_accuracy: Some(0.75), ..EpochLog::default() };
        // What was not validated has no scalars of it.
        let epochs = [EpochLog { epoch: 1, seconds: 1.5, ..validated }, EpochLog { epoch: 2, ..EpochLog::default() }];
        let bytes = events(&epochs);
        let (mut rest, mut records) = (&bytes[..], 0);
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let count = u64::from_le_bytes(*length) as usize;
            assert_eq!(after[..4], masked(length).to_le_bytes());
            let event = &after[4..4 + count];
            assert_eq!(after[4 + count..8 + count], masked(event).to_le_bytes());
            rest = &after[8 + count..];
            records += 1;
        }
        assert_eq!((records, rest.len()), (1 + SCALARS.len() + 4, 0));
    }

    #[test]
    fn any_label_is_a_folder() {
        let name = run_name("../ghost ratio=2 /x\\y", 3, "0123456789abcdef");
        assert_eq!(name, Path::new("_ghost ratio=2 _x_y seed=3 01234567"));
    }
}
