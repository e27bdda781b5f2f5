//! Data sets in their publishers' own files: SVHN, STL-10, and arrays as MedMNIST has them.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use harness::config::DatasetConfig;
use harness::data::{self, DataRoots, Dataset, Images, load_from};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::data_formats::{assert_says, gz, images};

fn load(source: &Path, keys: &str) -> Result<Dataset> {
    let roots = DataRoots {
        home: None,
        base_url: "http://127.0.0.1:1".into(),
        downloads: "/nonexistent".into(),
        cache: "/nonexistent".into(),
    };
    let head = format!("sources = [{:?}, 'synthetic']\n", source.display().to_string());
    load_from(&toml::from_str(&(head + keys))?, &roots)
}

fn error(source: &Path, keys: &str) -> String {
    match load(source, keys) {
        Ok(data) => panic!("{} was read as {:?}", source.display(), data.provenance),
        Err(error) => format!("{error:#}"),
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/published").join(name)
}

/// Damages that have to be errors which name the file: cut anywhere, or longer.
fn cut_anywhere(path: &Path, source: &Path, keys: &str, say: &str) -> Result<()> {
    let whole = fs::read(path)?;
    for length in [0, 1, 8, whole.len() / 3, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
        fs::write(path, &whole[..length])?;
        assert_says(&error(source, keys), &[say]);
    }
    Ok(fs::write(path, whole)?)
}

/// One damaged bit: an error, or data all the same, but never a panic.
fn flip_anywhere(path: &Path, source: &Path, keys: &str) -> Result<()> {
    let whole = fs::read(path)?;
    for at in (0..whole.len()).step_by((whole.len() / 200).max(1)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(path, &flipped)?;
        let _ = load(source, keys);
    }
    Ok(fs::write(path, whole)?)
}

const SVHN: &str = "name = 'svhn'";

/// Ten digits, compressed or not: X is 32 x 32 x 3 x 10 in MATLAB's order.
fn matlab(path: &Path, set: &Images, shape: [i32; 4], labels: &[f64]) -> Result<()> {
    let element = |kind: u32, data: &[u8]| {
        let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let matrix = |class: u8, shape: &[i32], name: &[u8], kind: u32, data: &[u8]| {
        let shape: Vec<u8> = shape.iter().flat_map(|side| side.to_le_bytes()).collect();
        let parts =
            [element(6, &[class, 0, 0, 0, 0, 0, 0, 0]), element(5, &shape), element(1, name), element(kind, data)];
        element(14, &parts.concat())
    };
    let (_, h, w) = set.shape;
    let mut pixels = set.pixels.clone();
    for (plane, out) in set.pixels.chunks_exact(h * w).zip(pixels.chunks_exact_mut(h * w)) {
        (0..h * w).for_each(|at| out[at] = plane[at % h * w + at / h]);
    }
    let labels: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let mut file = b"MATLAB 5.0 MAT-file, made by a test".to_vec();
    file.resize(124, b' ');
    file.extend([0, 1, b'I', b'M']);
    file.extend(matrix(9, &shape, b"X", 2, &pixels));
    let count = (labels.len() / 8) as i32;
    // A name of up to four letters lies within its tag.
    let mut y = matrix(6, &[count, 1], b"ylong", 9, &labels);
    let at = y.windows(5).position(|part| part == b"ylong").unwrap_or_default() - 8;
    y.splice(at..at + 16, [1, 0, 1, 0, b'y', 0, 0, 0]);
    let length = (y.len() - 8) as u32;
    y[4..8].copy_from_slice(&length.to_le_bytes());
    file.extend(y);
    Ok(fs::write(path, file)?)
}

#[test]
fn svhn_is_read_as_scipy_and_matlab_write_it() -> Result<()> {
    // As the script that made them: channel c of pixel (y, x) of image n is n * 20 + y * 3 + x * 2 + c * 60.
    let pixel = |at: usize| (at / 3072 * 20 + at / 32 % 32 * 3 + at % 32 * 2 + at / 1024 % 3 * 60) as u8;
    let expected = Images { pixels: (0..4 * 3072).map(pixel).collect(), labels: vec![1, 0, 9, 2], shape: (3, 32, 32) };
    for name in ["svhn.mat", "svhn-plain.mat"] {
        assert_eq!(data::svhn::read(&golden(name))?.train, expected, "{name}");
    }
    let dir = tempfile::tempdir()?;
    let (train, test) = (images(20, (3, 32, 32), 10, 0), images(10, (3, 32, 32), 10, 3));
    for (name, set) in [("train_32x32.mat", &train), ("test_32x32.mat", &test)] {
        let labels: Vec<f64> =
            set.labels.iter().map(|&label| if label == 0 { 10.0 } else { f64::from(label) }).collect();
        matlab(&dir.path().join(name), set, [32, 32, 3, labels.len() as i32], &labels)?;
    }
    fs::write(dir.path().join("extra_32x32.mat"), "not read")?;
    let data = load(dir.path(), SVHN)?;
    assert_eq!((data.train.resident(), data.test.resident()), (Some(&train), Some(&test)));
    assert_eq!(data.provenance.label, "SVHN (20 + 10 images)");
    assert_says(&data.provenance.remarks.join("\n"), &["`extra_32x32.mat` is not read"]);
    let flips = |keys: &str| {
        let config: DatasetConfig = toml::from_str(keys).unwrap();
        data::Transform::of(&config, (3, 32, 32)).told()
    };
    assert_says(&flips(SVHN), &["random crops (4 pixels of padding), no flips"]);
    assert_says(&flips("name = 'svhn'\nflip = true"), &["and random flips"]);
    assert_says(&flips("name = 'stl10'"), &["random crops (12 pixels of padding) and random flips"]);
    assert_says(&flips("name = 'cifar10'"), &["random crops (4 pixels of padding) and random flips"]);
    Ok(())
}

#[test]
fn a_damaged_svhn_is_an_error_that_names_the_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let set = images(20, (3, 32, 32), 10, 0);
    let labels: Vec<f64> = set.labels.iter().map(|&label| f64::from(label.max(1))).collect();
    let (path, test) = (dir.path().join("train_32x32.mat"), dir.path().join("test_32x32.mat"));
    matlab(&test, &set, [32, 32, 3, 20], &labels)?;
    assert_says(&error(dir.path(), SVHN), &["train_32x32.mat", "missing"]);
    let mut wrong = labels.clone();
    wrong[3] = 11.0;
    matlab(&path, &set, [32, 32, 3, 20], &wrong)?;
    assert_says(&error(dir.path(), SVHN), &["train_32x32.mat", "image 3 has label 11", "1 to 10"]);
    wrong[3] = 1.5;
    matlab(&path, &set, [32, 32, 3, 20], &wrong)?;
    assert_says(&error(dir.path(), SVHN), &["holds 1.5", "whole numbers"]);
    matlab(&path, &set, [64, 16, 3, 20], &labels)?;
    assert_says(&error(dir.path(), SVHN), &["[64, 16, 3, 20]", "[32, 32, 3, N]"]);
    matlab(&path, &set, [32, 32, 3, i32::MAX], &labels)?;
    assert_says(&error(dir.path(), SVHN), &["2147483647", "has 61440 numbers"]);
    fs::write(&path, [&b"MATLAB 7.3 MAT-file"[..], &[0; 200]].concat())?;
    assert_says(&error(dir.path(), SVHN), &["7.3", "save -v7"]);
    for name in ["svhn.mat", "svhn-plain.mat"] {
        fs::copy(golden(name), &path)?;
        cut_anywhere(&path, dir.path(), SVHN, "train_32x32.mat")?;
        flip_anywhere(&path, dir.path(), SVHN)?;
    }
    Ok(())
}

/// STL-10's order: each channel column by column, labels from 1.
fn stl(set: &Images) -> (Vec<u8>, Vec<u8>) {
    let mut pixels = set.pixels.clone();
    for (plane, out) in set.pixels.chunks_exact(96 * 96).zip(pixels.chunks_exact_mut(96 * 96)) {
        (0..96 * 96).for_each(|at| out[at] = plane[at % 96 * 96 + at / 96]);
    }
    (pixels, set.labels.iter().map(|&label| label as u8 + 1).collect())
}

#[test]
fn stl10_is_read_from_folder_and_archive() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (train, test) = (images(20, (3, 96, 96), 10, 0), images(10, (3, 96, 96), 10, 3));
    let folder = dir.path().join("stl10_binary");
    fs::create_dir(&folder)?;
    let mut archive = tar::Builder::new(Vec::new());
    for (split, set) in [("train", &train), ("test", &test)] {
        let (pixels, labels) = stl(set);
        for (name, bytes) in [(format!("{split}_X.bin"), pixels), (format!("{split}_y.bin"), labels)] {
            fs::write(folder.join(&name), &bytes)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            archive.append_data(&mut header, format!("stl10_binary/{name}"), &bytes[..])?;
        }
    }
    let keys = "name = 'stl10'";
    let data = load(dir.path(), keys)?;
    assert_eq!((data.train.resident(), data.test.resident()), (Some(&train), Some(&test)));
    let packed = dir.path().join("packed");
    fs::create_dir(&packed)?;
    let path = packed.join("stl10_binary.tar.gz");
    fs::write(&path, gz(&archive.into_inner()?)?)?;
    let from_archive = load(&packed, keys)?;
    assert_eq!(from_archive.provenance.fingerprint, data.provenance.fingerprint);
    assert_eq!(load(&path, keys)?.provenance.fingerprint, data.provenance.fingerprint);
    cut_anywhere(&path, &packed, keys, "stl10_binary.tar.gz")?;

    cut_anywhere(&folder.join("train_X.bin"), dir.path(), keys, "train_X.bin and train_y.bin")?;
    fs::write(folder.join("test_y.bin"), [1, 2, 3, 4, 5, 6, 7, 8, 9, 0])?;
    assert_says(&error(dir.path(), keys), &["test_y.bin", "image 9 has label 0", "1 to 10"]);
    fs::remove_file(folder.join("test_y.bin"))?;
    assert_says(&error(dir.path(), keys), &["test_y.bin: missing"]);
    let shared = format!("{keys}\ntest_share = 0.2");
    assert_says(&error(&path, &shared), &["has a test split", "dataset.test_share"]);
    Ok(())
}

/// An array as numpy writes it.
pub fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    [&b"\x93NUMPY\x01\x00"[..], &(dict.len() as u16).to_le_bytes(), dict.as_bytes(), data].concat()
}

pub fn npz(path: &Path, method: CompressionMethod, arrays: &[(&str, Vec<u8>)]) -> Result<()> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default().compression_method(method))?;
        zip.write_all(bytes)?;
    }
    Ok(fs::write(path, zip.finish()?.into_inner())?)
}

/// Pixels with the channels last.
fn interleaved(set: &Images) -> Vec<u8> {
    let (c, h, w) = set.shape;
    let image = |image: &[u8]| (0..h * w * c).map(|at| image[at % c * h * w + at / c]).collect::<Vec<_>>();
    (0..set.len()).flat_map(|index| image(set.image(index))).collect()
}

const IMAGES: &str = "name = 'images'";

#[test]
fn arrays_of_every_form_are_images() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("pathmnist.npz");
    for (shape, method) in [
        ((1, 28, 28), CompressionMethod::Stored),
        ((3, 28, 20), CompressionMethod::Deflated),
        ((1, 5, 7), CompressionMethod::Deflated),
    ] {
        let (train, test) = (images(18, shape, 9, 0), images(9, shape, 9, 2));
        let (c, h, w) = shape;
        let sides = |count| if c == 1 { format!("{count}, {h}, {w}") } else { format!("{count}, {h}, {w}, {c}") };
        let bytes = |set: &Images| set.labels.iter().map(|&label| label as u8).collect::<Vec<_>>();
        let wide =
            |set: &Images| set.labels.iter().flat_map(|&label| i64::from(label).to_le_bytes()).collect::<Vec<_>>();
        npz(
            &path,
            method,
            &[
                ("train_images", npy("|u1", &sides(18), &interleaved(&train))),
                ("val_images", npy("|u1", &sides(9), &interleaved(&test))),
                ("test_images", npy("|u1", &sides(9), &interleaved(&test))),
                ("train_labels", npy("|u1", "18, 1", &bytes(&train))),
                ("val_labels", npy("|u1", "9, 1", &bytes(&test))),
                ("test_labels", npy("<i8", "9,", &wide(&test))),
            ],
        )?;
        for source in [path.as_path(), dir.path()] {
            let data = load(source, IMAGES)?;
            assert_eq!((data.train.resident(), data.test.resident()), (Some(&train), Some(&test)));
            assert_eq!((data.geometry.shape, data.geometry.classes), (shape, 9));
            assert_says(&data.provenance.remarks.join("\n"), &["`val_images` are not read"]);
        }
        let sized = load(&path, "name = 'images'\nsize = 16\nchannels = 3")?;
        assert_eq!(sized.geometry.shape, (3, 16, 16));
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_arrays_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("x.npz");
    let set = images(10, (1, 8, 8), 5, 0);
    let labels: Vec<u8> = set.labels.iter().map(|&label| label as u8).collect();
    let good = || {
        vec![
            ("train_images", npy("|u1", "10, 8, 8", &set.pixels)),
            ("train_labels", npy("|u1", "10,", &labels)),
            ("test_images", npy("|u1", "10, 8, 8", &set.pixels)),
            ("test_labels", npy("|u1", "10,", &labels)),
        ]
    };
    let with = |place: usize, array: Vec<u8>, method| -> Result<String> {
        let mut arrays = good();
        arrays[place].1 = array;
        npz(&path, method, &arrays)?;
        Ok(error(&path, IMAGES))
    };
    let stored = CompressionMethod::Stored;
    let cases: [(usize, Vec<u8>, &[&str]); 9] = [
        (0, npy("<f4", "10, 8, 8", &[0; 2560]), &["`train_images`", "`f4`", "uint8"]),
        (0, npy("|u1", "10, 64", &set.pixels), &["`train_images`", "[10, 64]", "N x H x W"]),
        (0, npy("|u1", "11, 8, 8", &set.pixels), &["`train_images`", "640 bytes", "promises 704"]),
        (0, npy("|u1", "9, 8, 8", &set.pixels), &["`train_images`", "at least 577 bytes", "promises 576"]),
        (0, npy("|u1", "18446744073709551615, 8, 8", &set.pixels), &["`train_images`", "dataset.memory"]),
        (0, npy("|u1", "900000000, 8, 8", &set.pixels), &["`train_images`", "[900000000, 8, 8]", "dataset.memory"]),
        (1, npy("|u1", "5, 2", &labels), &["`train_labels`", "[5, 2]", "one class an image"]),
        (1, npy("<i8", "1,", &(-1i64).to_le_bytes()), &["image 0 has label -1"]),
        (3, npy("|u1", "10,", &[7; 10]), &["test image 0 has label 7", "0 to 4"]),
    ];
    for (place, array, says) in cases {
        let text = with(place, array, stored)?;
        assert_says(&text, &["x.npz"]);
        assert_says(&text, says);
    }
    // A megabyte of nothing takes a thousand bytes: no more of it is unpacked than its header promises.
    let bomb = npy("|u1", "10, 8, 8", &vec![0; 1 << 24]);
    assert_says(&with(0, bomb, CompressionMethod::Deflated)?, &["at least 641 bytes", "promises 640"]);
    npz(&path, stored, &good()[1..])?;
    assert_says(&error(&path, IMAGES), &["no training images", "train_labels.npy", "train_images"]);
    for method in [stored, CompressionMethod::Deflated] {
        npz(&path, method, &good())?;
        cut_anywhere(&path, &path, IMAGES, "x.npz")?;
        flip_anywhere(&path, &path, IMAGES)?;
    }
    fs::copy(&path, dir.path().join("y.npz"))?;
    assert_says(&error(dir.path(), IMAGES), &["several .npz files: x.npz, y.npz"]);
    ensure!(File::open(&path).is_ok(), "left as it was");
    Ok(())
}
