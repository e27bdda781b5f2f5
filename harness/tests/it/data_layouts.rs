//! Folders and files as other people call them: which data set, which split, which class.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use harness::config::DatasetConfig;
use harness::data::{DataRoots, Dataset, load_from};
use image::{ImageFormat, RgbImage};

use crate::data_formats::{CIFAR, assert_says, images, parquet_split};

pub fn load(root: &Path, keys: &str) -> Result<Dataset> {
    let config: DatasetConfig = toml::from_str(&format!("sources = [{:?}]\n{keys}", root.display().to_string()))?;
    let roots = DataRoots {
        home: None,
        base_url: "http://127.0.0.1:1".into(),
        downloads: "/nonexistent".into(),
        cache: root.with_extension("cache"),
    };
    load_from(&config, &roots)
}

pub fn error(root: &Path, keys: &str) -> String {
    format!("{:#}", load(root, keys).expect_err("an error"))
}

pub fn remarks(root: &Path, keys: &str) -> Result<String> {
    Ok(load(root, keys)?.provenance.remarks.join("\n"))
}

/// Writes a small image, whose shade is its own.
pub fn image(path: &Path, shade: u8) -> Result<()> {
    fs::create_dir_all(path.parent().context("no parent")?)?;
    Ok(RgbImage::from_pixel(8, 8, image::Rgb([shade, 255 - shade, 7])).save_with_format(path, ImageFormat::Png)?)
}

const IMAGES: &str = "name = 'images'";

/// IDX files of both splits, all of one shade.
fn idx(folder: &Path, shade: u8) -> Result<()> {
    fs::create_dir_all(folder)?;
    for split in ["train", "t10k"] {
        let pixels = [&[0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0, 28][..], &[shade; 10 * 28 * 28]].concat();
        fs::write(folder.join(format!("{split}-images-idx3-ubyte")), pixels)?;
        let labels = [&[0, 0, 8, 1, 0, 0, 0, 10][..], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]].concat();
        fs::write(folder.join(format!("{split}-labels-idx1-ubyte")), labels)?;
    }
    Ok(())
}

#[test]
fn torchvision_s_folders_are_each_of_their_own_data_set() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("tv");
    let shade = |path: &Path, name: &str| -> Result<u8> {
        let data = load(path, &format!("name = '{name}'"))?;
        Ok(data.train.resident().context("in memory")?.pixels[0])
    };
    idx(&root.join("FashionMNIST/raw"), 200)?;
    assert_says(&error(&root, "name = 'mnist'"), &["no MNIST found here (FashionMNIST)"]);
    assert_says(
        &error(&root.join("FashionMNIST"), "name = 'mnist'"),
        &["FashionMNIST/raw", "is fashion-mnist by its name"],
    );
    idx(&root.join("MNIST/raw"), 50)?;
    assert_eq!((shade(&root, "mnist")?, shade(&root, "fashion-mnist")?), (50, 200));
    assert_eq!(shade(&root.join("MNIST/raw"), "mnist")?, 50);
    fs::rename(root.join("FashionMNIST"), root.join("renamed"))?;
    assert_says(&error(&root, "name = 'fashion-mnist'"), &["no Fashion-MNIST found here (MNIST, renamed)"]);
    assert_eq!(shade(&root.join("renamed"), "fashion-mnist")?, 200);
    Ok(())
}

#[test]
fn a_file_of_labels_is_read_in_one_way_as_a_whole() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("set");
    let labels = |text: &str| -> Result<Vec<u16>> {
        fs::write(root.join("val.txt"), text)?;
        Ok(load(&root, IMAGES)?.test.labels().to_vec())
    };
    let wrong = |text: &str| -> Result<String> {
        fs::write(root.join("val.txt"), text)?;
        Ok(error(&root, IMAGES))
    };
    for class in ["1", "2", "3"] {
        image(&root.join("train").join(class).join("0.png"), 9)?;
    }
    for name in ["a", "b", "c"] {
        image(&root.join("val").join(format!("{name}.png")), 9)?;
    }
    // No folder is called 0, so that all are numbers; no number is 3, so that all are names.
    assert_eq!(labels("a.png 0\nb.png 1\nc.png 2\n")?, [0, 1, 2]);
    assert_eq!(labels("a.png 3\nb.png 1\nc.png 2\n")?, [2, 0, 1]);
    assert_says(
        &wrong("a.png 1\nb.png 1\nc.png 2\n")?,
        &["val.txt:1", "`1` is the name", "`2`", "`# names` or `# numbers`"],
    );
    assert_eq!(labels("# names\na.png 1\nb.png 1\nc.png 2\n")?, [0, 0, 1]);
    assert_eq!(labels("# numbers\na.png 1\nb.png 1\nc.png 2\n")?, [1, 1, 2]);
    assert_says(&wrong("a.png 3\nb.png 0\nc.png 2\n")?, &["line 2 has", "`0`", "line 1 a", "`3`", "in all lines"]);
    assert_says(&wrong("a.png 1\nb.png 7\nc.png 2\n")?, &["val.txt:2", "class `7`", "1 to 3", "0 to 2"]);
    // Both readings are the same one.
    for class in ["1", "2", "3"] {
        fs::rename(root.join("train").join(class), root.join("train").join((class.parse::<u8>()? - 1).to_string()))?;
    }
    assert_eq!(labels("a.png 2\nb.png 1\nc.png 1\n")?, [2, 1, 1]);
    Ok(())
}

#[test]
fn lines_without_an_image_are_counted_and_contradictions_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("set");
    image(&root.join("train/ice cream/0.png"), 9)?;
    image(&root.join("train/cat/0.png"), 9)?;
    image(&root.join("val/my 0.png"), 9)?;
    image(&root.join("val/0.png"), 9)?;
    let file = root.join("val/val_annotations.txt");
    for text in [
        "my 0.png\tice cream\t3 4\n0.png\tcat\n",
        "\u{feff}my 0.png ice cream\n\n0 cat 7\n",
        "my 0.png,1\r\n0.png,0\r\n",
    ] {
        fs::write(&file, text)?;
        assert_eq!(load(&root, IMAGES)?.test.labels(), [0, 1], "{text}");
        let remarks = remarks(&root, IMAGES)?;
        assert!(!remarks.contains("passed over") && !remarks.contains("about no image"), "{remarks}");
    }
    fs::write(&file, "my 0.png 1\n0.png 0\ngone.png 1\ngone too.png 0\n0.png 0\n")?;
    assert_says(&remarks(&root, IMAGES)?, &["2 lines of `val/val_annotations.txt` are about no image in `val`"]);
    fs::write(&file, "my 0.png 1\n0.png 0\n0.png 1\n")?;
    assert_says(&error(&root, IMAGES), &["val_annotations.txt:3", "val/0.png", "line 2 says something else"]);
    fs::write(&file, "my 0.png 1\n")?;
    assert_says(&error(&root, IMAGES), &["no line for the image val/0.png"]);
    Ok(())
}

#[test]
fn folders_of_splits_are_known_in_any_case() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (index, (train, test)) in
        [("train", "Test"), ("Train", "VAL"), ("training", "testing"), ("TRAIN", "dev"), ("train", "Validation")]
            .iter()
            .enumerate()
    {
        let root = dir.path().join(index.to_string());
        for class in ["a", "b"] {
            image(&root.join(train).join(class).join("0.png"), 1)?;
            image(&root.join(test).join(class).join("0.png"), 2)?;
        }
        image(&root.join("unlabeled/0.png"), 3)?;
        let data = load(&root, IMAGES)?;
        assert_eq!((data.train.len(), data.test.len()), (2, 2), "{train} {test}");
        let told = data.provenance.remarks.join("\n");
        assert_says(
            &told,
            &[&format!("the test split is `{test}`"), &format!("beside `{train}`, and not read: `unlabeled`")],
        );
        assert_says(&error(&root, "name = 'images'\ntest_share = 0.5"), &[test, "dataset.test_share"]);
        // Without training images it is no class of them.
        fs::rename(root.join(train), root.join("other"))?;
        image(&root.join("other/0.png"), 1)?;
        image(&root.join(test).join("0.png"), 1)?;
        assert_says(&error(&root, "name = 'images'\ntest_share = 0.5"), &[test, "is called as a split"]);
    }
    Ok(())
}

#[test]
fn an_empty_test_folder_of_a_class_is_as_one_that_is_not_there() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("set");
    for class in ["a", "b"] {
        image(&root.join("train").join(class).join("0.png"), 1)?;
        fs::create_dir_all(root.join("test").join(class))?;
    }
    assert_says(&error(&root, IMAGES), &["set/test: no image in any of its folders"]);
    image(&root.join("test/a/0.png"), 1)?;
    let missing = "class `b` has no test images";
    assert_says(&remarks(&root, IMAGES)?, &[missing]);
    fs::remove_dir(root.join("test/b"))?;
    assert_says(&remarks(&root, IMAGES)?, &[missing]);
    Ok(())
}

#[test]
fn a_parquet_file_that_says_test_is_never_trained_on() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let names = [
        ("cifar_train.parquet", "cifar_test.parquet"),
        ("Train.parquet", "Test.parquet"),
        ("x-training.parquet", "x-VAL.parquet"),
        ("Train/0.parquet", "Dev/0.parquet"),
    ];
    for (index, (train, test)) in names.into_iter().enumerate() {
        let root = dir.path().join(index.to_string());
        let write = |file: &str, count: usize| {
            let path = root.join(file);
            let folder = path.parent().context("no parent")?;
            fs::create_dir_all(folder)?;
            let name = path.file_name().and_then(|name| name.to_str()).context("no name")?;
            parquet_split(folder, name, &images(count, CIFAR, 10, 0), ImageFormat::Png, ("img", "label"))
        };
        write(train, 20)?;
        write(test, 10)?;
        write("extra.parquet", 10)?;
        for set in ["cifar10", "images"] {
            let data = load(&root, &format!("name = '{set}'"))?;
            assert_eq!((data.train.len(), data.test.len()), (20, 10), "{train} {test}");
            assert_says(&data.provenance.remarks.join("\n"), &["Parquet files that are not read: `extra.parquet`"]);
            assert_says(&error(&root, &format!("name = '{set}'\ntest_share = 0.2")), &["a test split"]);
        }
        if index == 0 {
            write("other_train.parquet", 10)?;
            assert_says(&error(&root, "name = 'cifar10'"), &["other_train.parquet", "of one data set?"]);
        }
    }
    // A test split alone is none to train on either.
    let root = dir.path().join("alone");
    fs::create_dir_all(&root)?;
    parquet_split(&root, "my_test.parquet", &images(10, CIFAR, 10, 0), ImageFormat::Png, ("img", "label"))?;
    assert_says(&error(&root, "name = 'cifar10'"), &["no train-*.parquet", "test split is"]);
    Ok(())
}
