//! Damaged data and folders that cannot be written, through the binary: one clear error, exit code 2, no panic, nothing left
//! behind.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use harness::config::DatasetConfig;
use harness::data::{Geometry, parquet};
use image::ImageFormat;
use tempfile::TempDir;

use crate::cli_errors::{assert_refused, command, refused};
use crate::data_formats::{CIFAR, FASHION, gz, idx, images, parquet_folder, records};

/// An experiment on that data, in a folder with an empty `out` in it. Synthetic data must not stand in for damaged files.
fn workshop(dataset: &str, source: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let text = format!(
        "name = 'x'\n[dataset]\nname = '{dataset}'\nsources = ['{source}', 'synthetic:20+10']\n[backbone]\n\
         name = 'resnet20'\n[recipe]\nepochs = 1\nbatch = 8\n[protocol]\nvalidation = 4\n[method]\nname = 'vanilla'\n"
    );
    fs::write(folder.path().join("x.toml"), text).unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Runs the experiment once for each damaged version of `file`, which is then whole again.
fn assert_damage_is_refused(folder: &Path, file: &str, damaged: impl IntoIterator<Item = Vec<u8>>) {
    let path = folder.join(file);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let whole = fs::read(&path).unwrap();
    let before = names(folder);
    for bytes in damaged {
        assert!(bytes != whole);
        fs::write(&path, bytes).unwrap();
        let message = refused(folder, &["x.toml", "--output", "out"], &[&name]);
        assert_eq!(message.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{message}");
        assert_eq!(names(folder), before, "{message}");
        assert!(names(&folder.join("out")).is_empty(), "{message}");
    }
    fs::write(path, whole).unwrap();
}

fn cut(whole: &[u8], lengths: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    lengths.into_iter().map(|length| whole[..length].to_vec()).collect()
}

fn flipped(whole: &[u8], places: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    let flip = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x40;
        bytes
    };
    places.into_iter().map(flip).collect()
}

#[test]
fn a_damaged_archive_of_cifar_binary() {
    let folder = workshop("cifar10", "cifar.tar.gz");
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for batch in 1..=5 {
        let bytes = records(&images(10, CIFAR, 10, batch), false);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/data_batch_{batch}.bin"), &bytes[..]).unwrap();
    }
    let whole = tar.into_inner().unwrap().finish().unwrap();
    fs::write(folder.path().join("cifar.tar.gz"), &whole).unwrap();
    let n = whole.len();
    assert_damage_is_refused(folder.path(), "cifar.tar.gz", cut(&whole, [0, 5, n / 3, n - 9, n - 1]));
    assert_damage_is_refused(folder.path(), "cifar.tar.gz", flipped(&whole, [0, 1, n / 4, n / 2, n - 6, n - 2]));
    // Cut and flipped are told from what is merely another file.
    fs::write(folder.path().join("cifar.tar.gz"), &whole[..n / 2]).unwrap();
    refused(folder.path(), &["x.toml"], &["truncated or damaged archive"]);
    fs::write(folder.path().join("cifar.tar.gz"), &whole).unwrap();
    refused(folder.path(), &["x.toml"], &["data_batch_1.bin", "30730 bytes", "30730000"]);
}

#[test]
fn damaged_parquet() {
    let folder = workshop("cifar10", "data");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    parquet_folder(&data, ImageFormat::Png).unwrap();
    let file = "data/train-00000-of-00001.parquet";
    let whole = fs::read(folder.path().join(file)).unwrap();
    let n = whole.len();
    assert_damage_is_refused(folder.path(), file, cut(&whole, [0, 3, 11, n / 2, n - 9, n - 1]));
    // The first magic, an image, the footer's length, the last magic.
    assert_damage_is_refused(folder.path(), file, flipped(&whole, [1, n / 2, n - 7, n - 5, n - 1]));
    let run = command(folder.path()).args(["x.toml", "--output", "out"]).output().unwrap();
    assert!(run.status.success(), "whole again: {}", String::from_utf8_lossy(&run.stderr));
}

/// In some places the library that reads Parquet panics. Nobody is to see that.
#[test]
fn a_footer_that_makes_the_reader_panic() {
    let folder = workshop("cifar10", "data");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    parquet_folder(&data, ImageFormat::Png).unwrap();
    let path = data.join("train-00000-of-00001.parquet");
    let whole = fs::read(&path).unwrap();
    let tail = whole.len() - 8;
    let footer = u32::from_le_bytes(whole[tail..tail + 4].try_into().unwrap()) as usize;
    let shards = parquet::layout::find(&data, "cifar10").unwrap().unwrap();
    let panics = |at: &usize| {
        fs::write(&path, &flipped(&whole, [*at])[0]).unwrap();
        parquet::read(&shards, &["label"], &Geometry { shape: CIFAR, classes: 10 }, &DatasetConfig::default())
            .is_err_and(|error| format!("{error:#}").contains("could not make sense of it"))
    };
    let at = (tail - footer..tail).find(panics).expect("a bit that matters so much");
    refused(folder.path(), &["x.toml"], &["train-00000-of-00001.parquet", "could not make sense of it"]);
    assert!(!folder.path().join("reports").exists(), "byte {at}");
}

#[test]
fn damaged_idx() {
    let folder = workshop("fashion-mnist", "data");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for split in ["train", "t10k"] {
        let (pixels, labels) = idx(&images(30, FASHION, 10, 0));
        fs::write(data.join(format!("{split}-images-idx3-ubyte.gz")), gz(&pixels).unwrap()).unwrap();
        fs::write(data.join(format!("{split}-labels-idx1-ubyte")), labels).unwrap();
    }
    let labels = fs::read(data.join("train-labels-idx1-ubyte")).unwrap();
    let n = labels.len();
    let damaged = cut(&labels, [0, 3, 7, n - 1]).into_iter().chain(flipped(&labels, [0, 3, 4, 7, n - 1]));
    assert_damage_is_refused(folder.path(), "data/train-labels-idx1-ubyte", damaged);
    let packed = fs::read(data.join("train-images-idx3-ubyte.gz")).unwrap();
    let n = packed.len();
    let damaged = cut(&packed, [0, 5, n / 2, n - 1]).into_iter().chain(flipped(&packed, [0, n / 2, n - 7]));
    assert_damage_is_refused(folder.path(), "data/train-images-idx3-ubyte.gz", damaged);
    let run = command(folder.path()).args(["x.toml", "--output", "out"]).output().unwrap();
    assert!(run.status.success(), "whole again: {}", String::from_utf8_lossy(&run.stderr));
}

/// Places where no user can make a folder, not even root.
#[test]
fn an_output_that_can_be_no_folder() {
    let folder = workshop("synthetic", "synthetic:20+10");
    fs::File::create(folder.path().join("file")).unwrap().write_all(b"mine").unwrap();
    let mut outputs = vec!["file", "file/below", "file/far/below"];
    if cfg!(target_os = "linux") {
        outputs.extend(["/proc/results", "/dev/null/results"]);
    }
    for output in outputs {
        refused(folder.path(), &["x.toml", "--output", output], &[&format!("output {output}: ")]);
    }
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"mine");
    assert_eq!(names(folder.path()), ["file", "out", "x.toml"]);
}

/// Root may write anywhere: then someone else runs it.
#[cfg(unix)]
#[test]
fn an_output_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;
    let folder = workshop("synthetic", "synthetic:20+10");
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let may_write_anywhere = fs::write(locked.join("probe"), "").is_ok();
    if may_write_anywhere {
        fs::remove_file(locked.join("probe")).unwrap();
    }
    for (output, says) in [("locked", "cannot be written"), ("locked/below", "cannot be made")] {
        let mut command = command(folder.path());
        if may_write_anywhere {
            command.uid(NOBODY).gid(NOBODY);
        }
        match command.args(["x.toml", "--output", output]).output() {
            Err(error) if may_write_anywhere => {
                println!("skipped: nobody else may run {}: {error}", env!("CARGO_BIN_EXE_harness"));
                return;
            }
            run => assert_refused(run.unwrap(), output, &[output, says]),
        };
        assert!(names(&locked).is_empty());
    }
}
