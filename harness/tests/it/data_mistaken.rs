//! Files that are something else than they are called, and images that cannot be decoded or have to be converted.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use harness::data;
use image::{DynamicImage, ImageFormat, RgbImage};
use zip::CompressionMethod;

use crate::data_formats::{CIFAR, assert_says, encode, gz, images, write_parquet};
use crate::data_layouts::{error, load, remarks};
use crate::data_releases::{npy, npz};

const PAGES: [&[u8]; 4] =
    [b"<!DOCTYPE html><html>Sign in</html>", b"\xef\xbb\xbf<html>", b"<!-- saved --> <html>", b"\n\n<head></head>"];

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().context("no parent")?)?;
    Ok(fs::write(path, bytes)?)
}

#[test]
fn a_file_of_another_format_is_called_what_it_is_wherever_it_lies() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut others: Vec<(Vec<u8>, &str)> = PAGES.iter().map(|page| (page.repeat(20), "a web page")).collect();
    others.extend([
        (b"{\"message\": \"Not Found\"}".repeat(20), "JSON"),
        (b"BZh91AY&SY".repeat(60), "bzip2"),
        (b"\xfd7zXZ\0\0\x04".repeat(60), "xz"),
        (b"7z\xbc\xaf\x27\x1c\0\x04".repeat(60), "a 7z archive"),
    ]);
    let places = [
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("cifar10", "cifar-10-batches-bin/data_batch_1.bin"),
        ("stl10", "stl10_binary.tar.gz"),
        ("stl10", "stl10_binary/train_y.bin"),
        ("fashion-mnist", "train-images-idx3-ubyte.gz"),
        ("fashion-mnist", "train-images-idx3-ubyte"),
        ("svhn", "train_32x32.mat"),
        ("images", "some.npz"),
        ("cifar10", "train.parquet"),
        ("images", "train/a/0.png"),
    ];
    for (index, (bytes, kind)) in others.iter().enumerate() {
        for (number, (name, place)) in places.iter().enumerate() {
            let root = dir.path().join(format!("{index}-{number}"));
            write(&root.join(place), bytes)?;
            // What would be missed first is there.
            match *name {
                "cifar10" if place.contains("batch_1") => (2..=5)
                    .map(|batch| format!("cifar-10-batches-bin/data_batch_{batch}.bin"))
                    .chain(["cifar-10-batches-bin/test_batch.bin".into()])
                    .try_for_each(|file| write(&root.join(file), b""))?,
                "stl10" if place.ends_with("bin") => ["train_X.bin", "test_X.bin", "test_y.bin"]
                    .iter()
                    .try_for_each(|file| write(&root.join("stl10_binary").join(file), b"0"))?,
                "fashion-mnist" => write(&root.join("train-labels-idx1-ubyte"), b"0")?,
                _ => {}
            }
            let text = error(&root, &format!("name = '{name}'"));
            assert_says(&text, &[kind]);
            assert!(!text.contains("damaged") && !text.contains("truncated"), "{name} {place}: {text}");
        }
    }
    // Packed once more, or as the source itself.
    let inside = dir.path().join("inside.tar.gz");
    fs::write(&inside, gz(&PAGES[0].repeat(20))?)?;
    assert_says(&error(&inside, "name = 'cifar10'"), &["unpacked", "a web page"]);
    for (file, bytes, kind) in [
        ("a.zip", &b"PK\x03\x04 and so on"[..], "a zip archive"),
        ("a.npy", b"\x93NUMPY\x01\0", "an array of numpy (.npy)"),
    ] {
        let path = dir.path().join(file);
        fs::write(&path, bytes)?;
        assert_says(&error(&path, "name = 'images'"), &[&format!("no Images found here ({kind})")]);
        assert_says(&error(&path, "name = 'cifar10'"), &[kind]);
        // What only asks for the size says the same.
        let config = toml::from_str(&format!("sources = [{:?}]\nname = 'images'", path.display().to_string()))?;
        let asked = data::geometry(&config).map(|_| ()).expect_err("an error");
        assert_says(&format!("{asked:#}"), &[&format!("no Images found here ({kind})")]);
    }
    Ok(())
}

#[test]
fn an_archive_that_a_browser_has_numbered_is_found() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_cksum();
    archive.append_data(&mut header, "stl10_binary/train_y.bin", &[1u8, 2, 3][..])?;
    fs::write(dir.path().join("stl10_binary (2).tar.gz"), gz(&archive.into_inner()?)?)?;
    assert_says(&error(dir.path(), "name = 'stl10'"), &["stl10_binary (2).tar.gz", "train_X.bin: missing"]);
    Ok(())
}

#[test]
fn classes_of_arrays_have_to_be_numbers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("text.npz");
    let images = npy("|u1", "2, 8, 8", &[0; 128]);
    let labels = npy("<U1", "2,", &[97, 0, 0, 0, 98, 0, 0, 0]);
    npz(&path, CompressionMethod::Stored, &[("train_images", images), ("train_labels", labels)])?;
    let text = error(&path, "name = 'images'");
    assert_says(&text, &["text.npz", "train_labels", "text", "numbers"]);
    Ok(())
}

/// A folder of ten classes with images of MNIST's size, in colour.
fn digits(root: &Path, shade: [u8; 3]) -> Result<()> {
    for (split, count) in [("train", 2), ("test", 1)] {
        for class in 0..10 {
            for index in 0..count {
                let image: DynamicImage = RgbImage::from_pixel(28, 28, image::Rgb(shade)).into();
                let path = root.join(format!("{split}/{class}/{index}.png"));
                fs::create_dir_all(path.parent().context("no parent")?)?;
                image.save_with_format(path, ImageFormat::Png)?;
            }
        }
    }
    Ok(())
}

#[test]
fn digits_in_colour_become_grey_unless_colours_are_asked_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("digits");
    type First = (Vec<u8>, (usize, usize, usize), String);
    let first = |keys: &str| -> Result<First> {
        let data = load(&root, &format!("name = 'mnist'\n{keys}"))?;
        let images = data.train.resident().context("in memory")?;
        let pixels = images.image(0).iter().step_by(28 * 28).copied().collect();
        Ok((pixels, data.geometry.shape, data.provenance.remarks.join("\n")))
    };
    digits(&root, [200, 100, 50])?;
    let converted = "converted of 30 images: 30 in colour to grey";
    for keys in ["", "channels = 1"] {
        let (pixels, shape, told) = first(keys)?;
        // As Pillow's convert("L").
        assert_eq!((pixels, shape), (vec![124], (1, 28, 28)));
        assert_says(&told, &[converted]);
    }
    let (pixels, shape, told) = first("channels = 3")?;
    assert_eq!((pixels, shape), (vec![200, 100, 50], (3, 28, 28)));
    assert!(!told.contains("converted"), "{told}");
    // What is grey stays what it is: the same pixels are kept, whatever is asked for.
    for class in 0..10 {
        for name in ["train/{}/0.png", "train/{}/1.png", "test/{}/0.png"] {
            image::GrayImage::from_pixel(28, 28, image::Luma([9]))
                .save(root.join(name.replace("{}", &class.to_string())))?;
        }
    }
    assert_eq!(first("channels = 3")?.0, [9]);
    assert_says(&first("channels = 3")?.2, &["30 grey to RGB"]);
    Ok(())
}

/// CIFAR-10's shape in Parquet: ten training images of each class, of which `change` makes others, and ten test images.
fn parquet(root: &Path, change: impl Fn(&mut Vec<Vec<u8>>)) -> Result<()> {
    fs::create_dir_all(root)?;
    for (name, count) in [("train", 100), ("test", 10)] {
        let set = images(count, CIFAR, 10, 0);
        let mut encoded =
            (0..count).map(|index| encode(set.image(index), CIFAR, ImageFormat::Png)).collect::<Result<Vec<_>>>()?;
        if name == "train" {
            change(&mut encoded);
        }
        let labels: Vec<i64> = set.labels.iter().map(|&label| label.into()).collect();
        write_parquet(&root.join(format!("{name}.parquet")), &encoded, &labels, ("img", "label"))?;
    }
    Ok(())
}

const SKIP: &str = "name = 'cifar10'\non_bad_image = 'skip'";

#[test]
fn conversions_are_counted_of_parquet_and_arrays_too() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("cifar");
    let grey = encode(&[7; 32 * 32], (1, 32, 32), ImageFormat::Png)?;
    parquet(&root, |encoded| encoded[5].clone_from(&grey))?;
    assert_says(&remarks(&root, "name = 'cifar10'")?, &["converted of 110 images: 1 grey to RGB"]);
    assert_says(
        &remarks(&root, "name = 'cifar10'\nchannels = 1")?,
        &["converted of 110 images: 109 in colour to grey"],
    );
    let data = load(&root, "name = 'cifar10'\nchannels = 1")?;
    assert_eq!((data.geometry.shape, data.train.resident().map(|images| images.shape)), ((1, 32, 32), Some(CIFAR)));
    let path = dir.path().join("arrays.npz");
    let arrays = [("train_images", npy("|u1", "2, 8, 8, 3", &[3; 384])), ("train_labels", npy("|u1", "2,", &[0, 1]))];
    npz(&path, CompressionMethod::Stored, &arrays)?;
    let told = remarks(&path, "name = 'images'\nchannels = 1\non_bad_image = 'skip'")?;
    assert_says(&told, &["converted of 2 images: 2 in colour to grey", "dataset.on_bad_image does not apply"]);
    Ok(())
}

#[test]
fn a_bad_image_of_a_named_set_is_left_out_and_counted_where_that_is_asked_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("cifar");
    let whole = images(100, CIFAR, 10, 0);
    parquet(&root, |encoded| {
        encoded[4].truncate(200);
        encoded[50] = vec![];
    })?;
    assert_says(&error(&root, "name = 'cifar10'"), &["row 4", "damaged", "dataset.on_bad_image = \"skip\""]);
    let data = load(&root, SKIP)?;
    let kept: Vec<usize> = (0..100).filter(|index| ![4, 50].contains(index)).collect();
    let pixels: Vec<u8> = kept.iter().flat_map(|&index| whole.image(index)).copied().collect();
    let train = data.train.resident().context("in memory")?;
    assert!(train.pixels == pixels, "the others are what they were");
    assert_eq!(train.labels, kept.iter().map(|&index| whole.labels[index]).collect::<Vec<_>>());
    assert_says(&data.provenance.remarks.join("\n"), &["2 of 110 images could not be decoded", "row 4"]);
    let config = toml::from_str(&format!("sources = [{:?}]\nname = 'cifar10'", root.display().to_string()))?;
    assert_says(&data::examine(&config)?.join("\n"), &["2 of a sample of 60", "train.parquet row 4"]);

    parquet(&root, |encoded| {
        for (image, _) in encoded.iter_mut().zip(&whole.labels).filter(|(_, label)| **label == 3) {
            image.truncate(200);
        }
    })?;
    assert_says(&error(&root, SKIP), &["class 3: none of its 10 training images"]);
    // Another size is another data set, and no bad image.
    let small = encode(&[7; 3 * 28 * 28], (3, 28, 28), ImageFormat::Png)?;
    parquet(&root, |encoded| encoded[5].clone_from(&small))?;
    assert_says(&error(&root, SKIP), &["row 5", "28 x 28", "32 x 32 are expected"]);

    let root = dir.path().join("digits");
    digits(&root, [9, 9, 9])?;
    fs::write(root.join("train/4/0.png"), b"no image")?;
    assert_says(&error(&root, "name = 'mnist'"), &["train/4/0.png", "dataset.on_bad_image = \"skip\""]);
    assert_eq!(load(&root, "name = 'mnist'\non_bad_image = 'skip'")?.train.len(), 19);
    fs::write(root.join("train/4/1.png"), b"no image")?;
    for keys in ["name = 'mnist'\n", "name = 'images'\nsize = 16\n", "name = 'images'\n"] {
        let text = error(&root, &format!("{keys}on_bad_image = 'skip'"));
        assert_says(&text, &["class `4`: none of its 2 training images could be decoded", "train/4/0.png"]);
    }
    Ok(())
}
