//! Every format, written here and read back; and everything that can be wrong with it.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use harness::config::DatasetConfig;
use harness::data::{DataRoots, Dataset, Images, load_from};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use polars::prelude::{Column, DataFrame, IntoSeries, NamedFrom, ParquetWriter, Series, StructChunked};

/// `n` images with all `classes` in turn; smooth, so that JPEG changes little.
pub fn images(n: usize, shape: (usize, usize, usize), classes: usize, salt: usize) -> Images {
    let (c, h, w) = shape;
    let pixel = |i: usize| {
        let (image, channel, y, x) = (i / (c * h * w), i / (h * w) % c, i / w % h, i % w);
        ((image * 17 + channel * 60 + y * 3 + x * 2 + salt) % 256) as u8
    };
    Images {
        pixels: (0..n * c * h * w).map(pixel).collect(),
        labels: (0..n).map(|i| ((i * 7 + salt) % classes) as u16).collect(),
        shape,
    }
}

pub const CIFAR: (usize, usize, usize) = (3, 32, 32);

fn config(name: &str, source: &Path) -> DatasetConfig {
    DatasetConfig {
        name: name.into(),
        sources: vec![source.display().to_string(), "synthetic".into()],
        ..DatasetConfig::default()
    }
}

/// Nothing but what the test names: no folder of data sets, no server.
fn nowhere() -> DataRoots {
    DataRoots {
        home: None,
        base_url: "http://127.0.0.1:1".into(),
        downloads: "/nonexistent".into(),
        cache: "/nonexistent".into(),
    }
}

fn load(name: &str, source: &Path) -> Result<Dataset> {
    load_from(&config(name, source), &nowhere())
}

/// Both splits as they lie in memory, and the number of classes.
fn splits(data: &Dataset) -> (Images, Images, usize) {
    let [train, test] = [&data.train, &data.test].map(|set| set.resident().expect("in memory").clone());
    (train, test, data.geometry.classes)
}

/// The whole error, causes included; panics if there is none (`synthetic` must never stand in for a damaged file).
pub fn error(name: &str, source: &Path) -> String {
    match load(name, source) {
        Ok(dataset) => panic!("{name} was read as {:?}", dataset.provenance),
        Err(error) => format!("{error:#}"),
    }
}

#[track_caller]
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

pub fn encode(image: &[u8], (c, h, w): (usize, usize, usize), format: ImageFormat) -> Result<Vec<u8>> {
    let interleaved = (0..h * w).flat_map(|i| (0..c).map(move |ch| image[ch * h * w + i])).collect();
    let wrong = "the buffer has another size";
    let image: DynamicImage = match c {
        1 => GrayImage::from_raw(w as u32, h as u32, interleaved).context(wrong)?.into(),
        _ => RgbImage::from_raw(w as u32, h as u32, interleaved).context(wrong)?.into(),
    };
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

pub fn write_parquet(path: &Path, encoded: &[Vec<u8>], labels: &[i64], columns: (&str, &str)) -> Result<()> {
    let bytes = Series::new("bytes".into(), encoded.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let names = Series::new("path".into(), (0..encoded.len()).map(|i| format!("{i}.png")).collect::<Vec<_>>());
    let image = StructChunked::from_series(columns.0.into(), encoded.len(), [bytes, names].iter())?.into_series();
    let label = Series::new(columns.1.into(), labels);
    let mut frame = DataFrame::new(encoded.len(), vec![Column::from(image), Column::from(label)])?;
    ParquetWriter::new(File::create(path)?).finish(&mut frame)?;
    Ok(())
}

pub fn parquet_split(
    folder: &Path,
    file: &str,
    images: &Images,
    format: ImageFormat,
    columns: (&str, &str),
) -> Result<()> {
    let encoded =
        (0..images.len()).map(|i| encode(images.image(i), images.shape, format)).collect::<Result<Vec<_>>>()?;
    let labels: Vec<i64> = images.labels.iter().map(|&label| i64::from(label)).collect();
    write_parquet(&folder.join(file), &encoded, &labels, columns)
}

pub fn parquet_folder(folder: &Path, format: ImageFormat) -> Result<(Images, Images)> {
    let (train, test) = (images(40, CIFAR, 10, 0), images(12, CIFAR, 10, 5));
    parquet_split(folder, "train-00000-of-00001.parquet", &train, format, ("img", "label"))?;
    parquet_split(folder, "test-00000-of-00001.parquet", &test, format, ("img", "label"))?;
    Ok((train, test))
}

#[test]
fn parquet_with_png_comes_back_exactly() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (train, test) = parquet_folder(dir.path(), ImageFormat::Png)?;
    let data = load("cifar10", dir.path())?;
    assert_eq!(splits(&data), (train, test, 10));
    assert_eq!(data.provenance.label, "CIFAR-10 (40 + 12 images)");
    assert_eq!(data.provenance.source, dir.path().display().to_string());
    assert!(!data.provenance.synthetic);
    Ok(())
}

#[test]
fn parquet_with_jpeg_is_close_and_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (train, _) = parquet_folder(dir.path(), ImageFormat::Jpeg)?;
    let data = load("cifar10", dir.path())?;
    assert_eq!(data.provenance.label, "CIFAR-10 (JPEG copy, 40 + 12 images)");
    let (read, ..) = splits(&data);
    assert_eq!(read.labels, train.labels);
    let error: u64 = read.pixels.iter().zip(&train.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let mean = error as f64 / train.pixels.len() as f64;
    assert!(mean < 8.0 && mean > 0.0, "{mean}");
    Ok(())
}

#[test]
fn parquet_in_several_shards_with_other_column_names() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("cifar100");
    fs::create_dir(&folder)?;
    let train = images(200, CIFAR, 100, 0);
    let half = |range: std::ops::Range<usize>| Images {
        pixels: train.pixels[range.start * 3072..range.end * 3072].to_vec(),
        labels: train.labels[range].to_vec(),
        shape: CIFAR,
    };
    let columns = ("image", "fine_label");
    parquet_split(&folder, "train-00001-of-00002.parquet", &half(120..200), ImageFormat::Png, columns)?;
    parquet_split(&folder, "train-00000-of-00002.parquet", &half(0..120), ImageFormat::Png, columns)?;
    parquet_split(&folder, "test.parquet", &half(0..7), ImageFormat::Png, columns)?;
    let data = load("cifar100", dir.path())?;
    let (read, test, classes) = splits(&data);
    assert_eq!((read, test.len(), classes), (train, 7, 100));

    assert_says(&error("cifar10", &folder), &["train-00000-of-00002.parquet", "row 2 has label 14", "0 to 9"]);
    fs::remove_file(folder.join("train-00000-of-00002.parquet"))?;
    assert_says(&error("cifar100", dir.path()), &["train-00001-of-00002", "promises 2 files, 1 found"]);
    Ok(())
}

#[test]
fn damaged_parquet_is_an_error_that_names_the_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (train, _) = parquet_folder(dir.path(), ImageFormat::Png)?;
    let path = dir.path().join("train-00000-of-00001.parquet");
    let whole = fs::read(&path)?;
    for length in [0, 3, 8, 11, 12, whole.len() / 3, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        fs::write(&path, &whole[..length])?;
        assert_says(&error("cifar10", dir.path()), &["train-00000-of-00001.parquet", "Parquet file"]);
    }
    let flip = |at: usize, bit: u8| -> Result<()> {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        Ok(fs::write(&path, &flipped)?)
    };
    // In the footer's length and the last magic.
    for at in [whole.len() - 7, whole.len() - 5, whole.len() - 1] {
        flip(at, 4)?;
        assert_says(&error("cifar10", dir.path()), &["train-00000-of-00001.parquet", "Parquet file"]);
    }
    // Anywhere in the footer: not all of it matters, but what is read is either refused or right.
    let tail = whole.len() - 8;
    let footer = u32::from_le_bytes(whole[tail..tail + 4].try_into()?) as usize;
    let mut refused = 0;
    for at in (tail - footer..tail).step_by(5) {
        flip(at, (at % 8) as u8)?;
        match load("cifar10", dir.path()) {
            Ok(data) => assert_eq!(splits(&data).0, train, "flipped byte {at}"),
            Err(error) => {
                refused += 1;
                assert_says(&format!("{error:#}"), &["train-00000-of-00001.parquet"]);
            }
        }
    }
    assert!(refused > 10, "{refused}");
    fs::write(&path, &whole)?;
    load("cifar10", dir.path())?;
    fs::remove_file(&path)?;
    assert_says(&error("cifar10", dir.path()), &["no train-*.parquet"]);
    Ok(())
}

#[test]
fn wrong_rows_in_parquet_are_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (train, _) = parquet_folder(dir.path(), ImageFormat::Png)?;
    let path = dir.path().join("train-00000-of-00001.parquet");
    let good = encode(train.image(0), CIFAR, ImageFormat::Png)?;
    let jpeg = encode(train.image(0), CIFAR, ImageFormat::Jpeg)?;
    let small = images(1, (3, 28, 32), 10, 0);
    let small = encode(&small.pixels, small.shape, ImageFormat::Png)?;
    let mut flipped = good.clone();
    flipped[good.len() - 20] ^= 0x10;
    let cases: [(Vec<u8>, i64, &[&str]); 9] = [
        (good.clone(), 10, &["row 2 has label 10", "0 to 9"]),
        (good.clone(), -1, &["row 2 has label -1"]),
        (small, 0, &["row 2", "28 x 32 pixels", "32 x 32 are expected"]),
        (good[..good.len() / 2].to_vec(), 0, &["row 2", "damaged"]),
        (flipped, 0, &["row 2", "damaged"]),
        (jpeg[..jpeg.len() - 40].to_vec(), 0, &["row 2", "truncated"]),
        (b"GIF89a".to_vec(), 0, &["row 2", "damaged"]),
        (b"no image".to_vec(), 0, &["row 2", "not PNG, JPEG"]),
        (vec![], 0, &["row 2", "not PNG, JPEG"]),
    ];
    for (bytes, label, says) in cases {
        write_parquet(&path, &[good.clone(), good.clone(), bytes], &[0, 1, label], ("img", "label"))?;
        let text = error("cifar10", dir.path());
        assert_says(&text, &["train-00000-of-00001.parquet"]);
        assert_says(&text, says);
    }
    write_parquet(&path, &vec![good; 9], &(0..9).collect::<Vec<_>>(), ("img", "label"))?;
    assert_says(&error("cifar10", dir.path()), &["9 of 10 classes", "class 9"]);
    Ok(())
}

pub fn records(images: &Images, coarse: bool) -> Vec<u8> {
    let record = |i: usize| {
        let label = images.labels[i] as u8;
        let labels = if coarse { vec![label / 5, label] } else { vec![label] };
        [&labels, images.image(i)].concat()
    };
    (0..images.len()).flat_map(record).collect()
}

pub fn idx(images: &Images) -> (Vec<u8>, Vec<u8>) {
    let be = |n: usize| (n as u32).to_be_bytes();
    let (_, h, w) = images.shape;
    let pixels = [&[0, 0, 8, 3], &be(images.len())[..], &be(h), &be(w), &images.pixels].concat();
    let labels: Vec<u8> = images.labels.iter().map(|&label| label as u8).collect();
    (pixels, [&[0, 0, 8, 1], &be(labels.len())[..], &labels].concat())
}

pub fn gz(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

pub const FASHION: (usize, usize, usize) = (1, 28, 28);

#[test]
fn idx_plain_and_gzipped_come_back_exactly() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (train, test) = (images(30, FASHION, 10, 0), images(10, FASHION, 10, 4));
    let (pixels, labels) = idx(&train);
    fs::write(dir.path().join("train-images-idx3-ubyte.gz"), gz(&pixels)?)?;
    fs::write(dir.path().join("train-labels-idx1-ubyte"), labels)?;
    let (pixels, labels) = idx(&test);
    fs::write(dir.path().join("t10k-images.idx3-ubyte"), pixels)?;
    fs::write(dir.path().join("t10k-labels-idx1-ubyte.gz"), gz(&labels)?)?;
    let data = load("fashion-mnist", dir.path())?;
    assert_eq!(splits(&data), (train, test, 10));
    assert_eq!(data.provenance.label, "Fashion-MNIST (30 + 10 images)");
    Ok(())
}

#[test]
fn damaged_idx_is_an_error_that_names_the_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let set = images(30, FASHION, 10, 0);
    let (pixels, labels) = idx(&set);
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes);
    write("t10k-images-idx3-ubyte", &pixels)?;
    write("t10k-labels-idx1-ubyte", &labels)?;
    assert_says(&error("fashion-mnist", dir.path()), &["no train-images-idx3-ubyte"]);
    write("train-labels-idx1-ubyte", &labels)?;
    let refused = || error("fashion-mnist", dir.path());
    for length in [0, 3, 15, 16, 1000, pixels.len() - 1] {
        write("train-images-idx3-ubyte", &pixels[..length])?;
        assert_says(&refused(), &["train-images-idx3-ubyte", "truncated"]);
    }
    // The magic, the number of images, their height (one bit each).
    for at in [0, 2, 3, 4, 7, 11] {
        let mut flipped = pixels.clone();
        flipped[at] ^= 0x40;
        write("train-images-idx3-ubyte", &flipped)?;
        assert_says(&refused(), &["train-images-idx3-ubyte"]);
    }
    let (other, _) = idx(&images(30, (1, 14, 56), 10, 0));
    write("train-images-idx3-ubyte", &other)?;
    assert_says(&refused(), &["train-images-idx3-ubyte", "14 x 56", "28 x 28"]);
    write("train-images-idx3-ubyte", &pixels)?;

    let mut flipped = labels.clone();
    flipped[8 + 5] |= 0x40;
    write("train-labels-idx1-ubyte", &flipped)?;
    assert_says(&refused(), &["train-labels-idx1-ubyte", "image 5 has label", "0 to 9"]);
    let (_, fewer) = idx(&images(29, FASHION, 10, 0));
    write("train-labels-idx1-ubyte", &fewer)?;
    assert_says(&refused(), &["train-labels-idx1-ubyte", "29 labels for the 30 images"]);
    write("train-labels-idx1-ubyte", &labels)?;

    fs::remove_file(dir.path().join("train-images-idx3-ubyte"))?;
    let packed = gz(&pixels)?;
    for length in [0, 5, packed.len() / 2, packed.len() - 1] {
        write("train-images-idx3-ubyte.gz", &packed[..length])?;
        assert_says(&refused(), &["train-images-idx3-ubyte.gz", "truncated or damaged .gz"]);
    }
    for at in [0, packed.len() / 2, packed.len() - 7] {
        let mut flipped = packed.clone();
        flipped[at] ^= 1;
        write("train-images-idx3-ubyte.gz", &flipped)?;
        assert_says(&refused(), &["train-images-idx3-ubyte.gz"]);
    }
    Ok(())
}

fn write_image(path: &Path, image: &[u8], shape: (usize, usize, usize), format: ImageFormat) -> Result<()> {
    fs::create_dir_all(path.parent().context("no parent")?)?;
    Ok(fs::write(path, encode(image, shape, format)?)?)
}

#[test]
fn image_folders_come_back_in_the_order_of_their_names() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("pets");
    let shape = (3, 10, 14);
    let set = images(4, shape, 2, 0);
    let files = ["train/cat/1.png", "train/cat/2.PNG", "train/dog/0.png", "val/dog/9.png"];
    for (i, file) in files.iter().enumerate() {
        write_image(&root.join(file), set.image(i), shape, ImageFormat::Png)?;
    }
    fs::write(root.join("train/cat/notes.txt"), "no image")?;
    fs::write(root.join("train/.DS_Store"), "hidden")?;
    let data = load("images", &root)?;
    let (train, test, classes) = splits(&data);
    assert_eq!(train.pixels, set.pixels[..3 * 420]);
    assert_eq!((train.labels, test.labels), (vec![0, 0, 1], vec![1]));
    assert_eq!((test.pixels, train.shape, classes), (set.image(3).to_vec(), shape, 2));
    let remarks = data.provenance.remarks.join("\n");
    assert_says(
        &remarks,
        &["the test split is `val`", "class `cat` has no test images", "1 files or folders", "train/cat/notes.txt"],
    );
    assert_eq!(data.provenance.label, "pets (2 classes)");
    let geometry = harness::data::geometry(&config("images", &root))?;
    assert_eq!((geometry.shape, geometry.classes), (shape, 2));
    Ok(())
}

#[test]
fn wrong_image_folders_are_errors_that_name_the_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let shape = (3, 8, 8);
    let (set, big) = (images(6, shape, 2, 0), images(1, (3, 8, 9), 2, 0));
    let write = |file: &str, i| write_image(&dir.path().join(file), set.image(i), shape, ImageFormat::Png);
    write("train/a/0.png", 0)?;
    let untested = load("images", dir.path())?;
    assert!(untested.test.is_empty() && untested.train.len() == 1);
    write("test/a/0.png", 2)?;
    write("train/b/1.png", 1)?;
    load("images", dir.path())?;

    for name in ["z", "m"] {
        write_image(&dir.path().join(format!("train/b/{name}.png")), &big.pixels, big.shape, ImageFormat::Png)?;
    }
    assert_says(&error("images", dir.path()), &["dataset.sources", "b/m.png", "8 x 9", "8 x 8", "dataset.size"]);
    ["z", "m"].iter().try_for_each(|name| fs::remove_file(dir.path().join(format!("train/b/{name}.png"))))?;
    let bytes = encode(set.image(0), shape, ImageFormat::Jpeg)?;
    fs::write(dir.path().join("train/b/b.jpg"), &bytes[..bytes.len() / 2])?;
    assert_says(&error("images", dir.path()), &["b/b.jpg", "truncated"]);
    fs::remove_file(dir.path().join("train/b/b.jpg"))?;

    write("test/c/0.png", 3)?;
    assert_says(&error("images", dir.path()), &["test/c", "`train` does not have", "a, b"]);
    fs::remove_dir_all(dir.path().join("test/c"))?;
    fs::create_dir(dir.path().join("train/d"))?;
    assert_says(&error("images", dir.path()), &["train/d", "no image"]);
    fs::remove_dir(dir.path().join("train/d"))?;

    let gray = images(1, (1, 8, 8), 2, 0);
    write_image(&dir.path().join("train/b/gray.png"), &gray.pixels, gray.shape, ImageFormat::Png)?;
    let data = load("images", dir.path())?;
    assert_eq!(splits(&data).0.image(2), [&gray.pixels[..]; 3].concat(), "grey fills all planes of an RGB set");
    // Whichever comes first: one image in colour makes all of them coloured.
    write_image(&dir.path().join("train/a/0.png"), &gray.pixels, gray.shape, ImageFormat::Png)?;
    assert_eq!(load("images", dir.path())?.geometry.shape, shape);
    assert_says(&error("cifar10", dir.path()), &["2 class folders", "CIFAR-10 has 10"]);
    Ok(())
}
