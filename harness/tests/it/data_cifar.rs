//! CIFAR's own releases: binary and Python, as folders and archives.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use harness::data::{Images, cifar};

use crate::data_formats::{CIFAR, assert_says, error, images, records};

/// A release as the real ones, with ten records a file.
const SMALL10: cifar::Release = cifar::Release { records: (10, 10), ..cifar::CIFAR10 };
const SMALL100: cifar::Release = cifar::Release { records: (10, 10), ..cifar::CIFAR100 };

fn cifar10_files() -> Vec<(&'static str, Images)> {
    let names = SMALL10.train.iter().copied().chain([SMALL10.test]);
    names.enumerate().map(|(i, name)| (name, images(10, CIFAR, 10, i))).collect()
}

#[test]
fn cifar_binary_folder_and_archive_come_back_exactly() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("any.tar.gz");
    let mut tar = tar::Builder::new(GzEncoder::new(File::create(&archive)?, Compression::fast()));
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    // In the archive, the test batch comes first and a file of no interest last.
    for (name, images) in cifar10_files().into_iter().rev().chain([("readme.html", images(1, CIFAR, 10, 0))]) {
        let bytes = records(&images, false);
        let name = format!("{name}.bin");
        fs::write(dir.path().join(&name), &bytes)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &bytes[..])?;
    }
    for (_, images) in &cifar10_files()[..5] {
        pixels.extend_from_slice(&images.pixels);
        labels.extend_from_slice(&images.labels);
    }
    tar.into_inner()?.finish()?;
    for path in [dir.path(), &archive] {
        let splits = SMALL10.read(path)?;
        assert_eq!(splits.train, Images { pixels: pixels.clone(), labels: labels.clone(), shape: CIFAR });
        assert_eq!(splits.test, cifar10_files()[5].1);
    }

    let whole = fs::read(&archive)?;
    for length in [40, whole.len() / 3, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        fs::write(&archive, &whole[..length])?;
        let text = format!("{:#}", SMALL10.read(&archive).unwrap_err());
        assert_says(&text, &["any.tar.gz", "truncated or damaged"]);
    }
    for at in [3, whole.len() / 4, whole.len() / 2, whole.len() - 6] {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&archive, &flipped)?;
        assert_says(&format!("{:#}", SMALL10.read(&archive).unwrap_err()), &["any.tar.gz"]);
    }
    Ok(())
}

#[test]
fn cifar100_binary_takes_the_fine_label() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (train, test) = (images(10, CIFAR, 100, 3), images(10, CIFAR, 100, 8));
    fs::write(dir.path().join("train.bin"), records(&train, true))?;
    fs::write(dir.path().join("test.bin"), records(&test, true))?;
    let splits = SMALL100.read(dir.path())?;
    assert_eq!((splits.train, splits.test), (train, test));
    Ok(())
}

#[test]
fn damaged_cifar_binary_is_an_error_that_names_the_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (name, images) in cifar10_files() {
        fs::write(dir.path().join(format!("{name}.bin")), records(&images, false))?;
    }
    let path = dir.path().join("data_batch_3.bin");
    let whole = fs::read(&path)?;
    let refused = || format!("{:#}", SMALL10.read(dir.path()).unwrap_err());
    // Also where a record ends: the release has a fixed number of them.
    for length in [0, 1, 3072, 3073, whole.len() - 3073, whole.len() - 1] {
        fs::write(&path, &whole[..length])?;
        assert_says(&refused(), &["data_batch_3.bin", &length.to_string(), "30730", "truncated"]);
    }
    fs::write(&path, [&whole[..], &[0]].concat())?;
    assert_says(&refused(), &["data_batch_3.bin", "30731"]);
    let mut flipped = whole.clone();
    flipped[4 * 3073] ^= 0x20;
    fs::write(&path, &flipped)?;
    assert_says(&refused(), &["data_batch_3.bin", "record 4 has label", "0 to 9"]);
    fs::remove_file(&path)?;
    assert_says(&refused(), &["data_batch_3.bin", "missing"]);
    // Through `load`, a small file is not the real release, and synthetic data does not stand in for it.
    assert_says(&error("cifar10", dir.path()), &["data_batch_1.bin", "30730 bytes", "30730000"]);
    Ok(())
}

/// A batch as Python 2 pickled it, in the protocol that the releases are in: an array of bytes and a list of labels.
fn pickled(images: &Images, key: &str) -> Vec<u8> {
    let text = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let number = |n: usize| [b"J", &(n as i32).to_le_bytes()[..]].concat();
    let size = images.pixels.len() / images.len();
    let mut out = b"\x80\x02}q\x01(".to_vec();
    out.extend(text("batch_label"));
    out.extend(text("training batch 1 of 5"));
    out.extend(text("data"));
    out.extend(b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04(K\x01");
    out.extend([number(images.len()), number(size), b"\x86cnumpy\ndtype\nq\x05".to_vec()].concat());
    out.extend(b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    out.extend((images.pixels.len() as u32).to_le_bytes());
    out.extend(&images.pixels);
    out.extend(b"tb");
    out.extend(text(key));
    out.extend(b"]q\x06(");
    images.labels.iter().for_each(|label| out.extend([b'K', *label as u8]));
    out.extend(b"eu.");
    out
}

#[test]
fn cifar_as_torchvision_leaves_it_is_read_wherever_it_lies() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("torch");
    let folder = root.join("cifar-10-batches-py");
    fs::create_dir_all(&folder)?;
    let mut tar = tar::Builder::new(Vec::new());
    for (name, images) in cifar10_files() {
        let bytes = pickled(&images, "labels");
        fs::write(folder.join(name), &bytes)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-py/{name}"), &bytes[..])?;
    }
    fs::write(folder.join("batches.meta"), "not looked at")?;
    let plain = tar.into_inner()?;
    let (train, test): (Vec<Images>, Vec<Images>) = {
        let mut all: Vec<Images> = cifar10_files().into_iter().map(|(_, images)| images).collect();
        let test = all.split_off(5);
        (all, test)
    };
    let check = |path: &Path| -> Result<()> {
        let splits = SMALL10.read(path)?;
        let labels: Vec<u16> = train.iter().flat_map(|images| images.labels.clone()).collect();
        assert_eq!((splits.train.labels, &splits.test), (labels, &test[0]), "{}", path.display());
        assert!(splits.train.pixels == train.iter().flat_map(|images| images.pixels.clone()).collect::<Vec<_>>());
        Ok(())
    };
    check(&folder)?;
    // The archive: under any name, packed or not.
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut gz, &plain)?;
    for (name, bytes) in [("a (1).tar.gz", gz.finish()?), ("b.tar", plain.clone()), ("c", plain)] {
        fs::write(dir.path().join(name), bytes)?;
        check(&dir.path().join(name))?;
    }
    // Through `load` these few images are not the release, in each of these places.
    for source in [&root, &folder, &dir.path().join("c")] {
        assert_says(&error("cifar10", source), &["data_batch_1", "[10, 3072]", "[10000, 3072]", "not this release"]);
    }
    fs::copy(dir.path().join("b.tar"), root.join("cifar-10-python (2).tar"))?;
    fs::remove_dir_all(&folder)?;
    assert_says(&error("cifar10", &root), &["cifar-10-python (2).tar", "not this release"]);
    // CIFAR-100 has other names for its classes.
    let fine = dir.path().join("fine");
    fs::create_dir(&fine)?;
    let (train, test) = (images(10, CIFAR, 100, 3), images(10, CIFAR, 100, 8));
    for (name, images) in [("train", &train), ("test", &test)] {
        fs::write(fine.join(name), pickled(images, "fine_labels"))?;
    }
    let splits = SMALL100.read(&fine)?;
    assert_eq!((splits.train, splits.test), (train, test));
    Ok(())
}

#[test]
fn what_is_no_batch_or_no_archive_is_said_for_what_it_is() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (name, images) in cifar10_files() {
        fs::write(dir.path().join(name), pickled(&images, "labels"))?;
    }
    let path = dir.path().join("data_batch_3");
    let refused = || format!("{:#}", SMALL10.read(dir.path()).unwrap_err());
    let whole = fs::read(&path)?;
    fs::write(&path, &whole[..whole.len() / 2])?;
    assert_says(&refused(), &["data_batch_3", "cut short"]);
    fs::write(&path, b"cposix\nsystem\n(S'echo hacked'\ntR.")?;
    assert_says(&refused(), &["data_batch_3", "`posix.system`", "without running anything"]);
    fs::write(&path, pickled(&images(10, CIFAR, 10, 2), "coarse_labels"))?;
    assert_says(&refused(), &["data_batch_3", "without `labels`"]);
    let mut wrong = images(10, CIFAR, 10, 2);
    wrong.labels[4] = 17;
    fs::write(&path, pickled(&wrong, "labels"))?;
    assert_says(&refused(), &["data_batch_3", "record 4 has label 17", "0 to 9"]);
    for (content, says) in [
        (&b"<!DOCTYPE html><html>Quota exceeded</html>"[..], "a web page"),
        (b"PK\x03\x04", "a zip archive"),
        (b"", "empty"),
        (b"hello", "neither gzip nor tar"),
    ] {
        let archive = dir.path().join("cifar-10-python.tar.gz");
        fs::write(&archive, content)?;
        assert_says(&error("cifar10", &archive), &["cifar-10-python.tar.gz", says]);
    }
    Ok(())
}
