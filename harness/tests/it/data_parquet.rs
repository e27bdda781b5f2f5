//! Parquet as the Hugging Face hub lays it out, and images of any size in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;
use harness::config::DatasetConfig;
use harness::data::{self, DataRoots, Dataset, load_from};
use image::ImageFormat;
use polars::prelude::{Column, DataFrame, DataType, NamedFrom, ParquetWriter, Series};

use crate::data_formats::{CIFAR, assert_says, encode, images, parquet_split};

/// A source, and a folder that is the cache.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("data").join(name)
    }

    fn split(&self, file: &str, count: usize, salt: usize) -> Result<()> {
        let path = self.path(file);
        let folder = path.parent().unwrap();
        fs::create_dir_all(folder)?;
        let file = path.file_name().unwrap().to_str().unwrap();
        parquet_split(folder, file, &images(count, CIFAR, 10, salt), ImageFormat::Png, ("img", "label"))
    }

    fn config(&self, source: &str, keys: &str) -> DatasetConfig {
        let source = self.path(source).display().to_string();
        toml::from_str(&format!("sources = [{source:?}]\n{keys}")).expect("a configuration")
    }

    /// This place, and nowhere else.
    fn roots(&self) -> DataRoots {
        DataRoots {
            home: None,
            base_url: "http://127.0.0.1:1".into(),
            downloads: "/nonexistent".into(),
            cache: self.dir.path().join("cache"),
        }
    }

    fn load(&self, source: &str, keys: &str) -> Result<Dataset> {
        load_from(&self.config(source, keys), &self.roots())
    }

    fn error(&self, source: &str, keys: &str) -> String {
        format!("{:#}", self.load(source, keys).expect_err("an error"))
    }
}

const CIFAR10: &str = "name = 'cifar10'";

fn sizes(data: &Dataset) -> (usize, usize) {
    (data.train.len(), data.test.len())
}

#[test]
fn the_hub_s_layouts_are_found_in_a_clone() -> Result<()> {
    let layouts = [
        ["data/train-00000-of-00001-0123456789abcdef.parquet", "data/test-00000-of-00001-fedcba.parquet"],
        ["plain_text/train/0000.parquet", "plain_text/test/0000.parquet"],
        ["cifar10/train/0000.parquet", "cifar10/test/0000.parquet"],
        ["snapshots/aaaa/data/train-00000-of-00001.parquet", "snapshots/aaaa/data/test-00000-of-00001.parquet"],
        ["train.parquet", "test.parquet"],
    ];
    for [train, test] in layouts {
        let place = Place::new()?;
        place.split(train, 40, 0)?;
        place.split(test, 12, 5)?;
        fs::write(place.path("README.md"), "# a card")?;
        fs::create_dir_all(place.path(".git/lfs"))?;
        let data = place.load("", CIFAR10)?;
        assert_eq!(data.train.resident(), Some(&images(40, CIFAR, 10, 0)), "{train}");
        assert_eq!(data.test.resident(), Some(&images(12, CIFAR, 10, 5)), "{test}");
        let counts = data::counts::labels_from(&place.config("", CIFAR10), &place.roots())?
            .expect("it is there")
            .counts(10, 0)?;
        assert_eq!((counts.train, counts.validation), (vec![3; 10], vec![1; 10]), "{train}");
        assert_eq!(counts.test.iter().sum::<usize>(), 12);
    }
    Ok(())
}

#[test]
fn shards_are_read_in_the_order_of_their_numbers() -> Result<()> {
    let place = Place::new()?;
    for shard in 0..12 {
        place.split(&format!("train-{shard}-of-12-abc{shard}.parquet"), 10, shard)?;
    }
    place.split("validation-00000-of-00001.parquet", 10, 3)?;
    let data = place.load("", CIFAR10)?;
    let expected: Vec<u8> = (0..12).flat_map(|shard| images(10, CIFAR, 10, shard).pixels).collect();
    assert!(data.train.resident().is_some_and(|images| images.pixels == expected));
    assert_says(&data.provenance.remarks.join("\n"), &["the test split is `validation`"]);
    place.split("train-5-of-12-other.parquet", 10, 5)?;
    assert_says(&place.error("", CIFAR10), &["promises 12 files, 13 found"]);
    Ok(())
}

#[test]
fn one_file_is_training_images_and_a_share_of_them_may_be_the_test_split() -> Result<()> {
    let place = Place::new()?;
    place.split("mine.parquet", 50, 0)?;
    assert_eq!(sizes(&place.load("mine.parquet", CIFAR10)?), (50, 0));
    assert_eq!(sizes(&place.load("", CIFAR10)?), (50, 0), "the folder of one file that names no split");
    let shared = place.load("mine.parquet", "name = 'cifar10'\ntest_share = 0.2")?;
    assert_eq!(sizes(&shared), (40, 10));
    let mut classes = shared.test.labels().to_vec();
    classes.sort_unstable();
    assert_eq!(classes, (0..10).collect::<Vec<_>>());
    assert_says(&shared.provenance.remarks.join("\n"), &["20 % of each class"]);
    place.split("split/train.parquet", 20, 0)?;
    place.split("split/test.parquet", 20, 0)?;
    assert_says(&place.error("split", "name = 'cifar10'\ntest_share = 0.2"), &["a test split", "dataset.test_share"]);
    Ok(())
}

#[test]
fn what_is_ambiguous_or_not_there_is_said() -> Result<()> {
    let place = Place::new()?;
    place.split("one/train.parquet", 20, 0)?;
    place.split("two/train.parquet", 20, 0)?;
    assert_says(&place.error("", CIFAR10), &["several data sets", "one, two", "the folder of one of them"]);
    place.split("cifar10/train.parquet", 30, 0)?;
    assert_eq!(place.load("", CIFAR10)?.train.len(), 30, "the one of that name");
    fs::write(place.path("one/train.parquet"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")?;
    assert_says(&place.error("one", CIFAR10), &["one/train.parquet", "Git LFS", "git lfs pull"]);
    Ok(())
}

#[test]
fn a_table_beside_folders_of_images_is_none_of_them() -> Result<()> {
    let place = Place::new()?;
    for class in ["a", "b"] {
        fs::create_dir_all(place.path("photos").join(class))?;
        image::RgbImage::new(8, 8).save(place.path("photos").join(class).join("1.png"))?;
    }
    place.split("photos/metadata.parquet", 10, 0)?;
    let data = place.load("photos", "name = 'images'")?;
    assert_eq!((data.geometry.shape, data.geometry.classes), ((3, 8, 8), 2));
    Ok(())
}

/// Writes columns beside ten images of each class.
fn table(path: &Path, image_names: &[&str], others: Vec<Series>) -> Result<()> {
    let set = images(20, CIFAR, 10, 0);
    let encoded: Vec<Vec<u8>> =
        (0..20).map(|index| encode(set.image(index), CIFAR, ImageFormat::Png)).collect::<Result<_>>()?;
    let bytes = |name: &&str| Series::new((*name).into(), encoded.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let columns: Vec<Column> = others.into_iter().chain(image_names.iter().map(bytes)).map(Column::from).collect();
    fs::create_dir_all(path.parent().unwrap())?;
    ParquetWriter::new(File::create(path)?).finish(&mut DataFrame::new(20, columns)?)?;
    Ok(())
}

fn labels(name: &str) -> Series {
    let labels: Vec<i64> = images(20, CIFAR, 10, 0).labels.iter().map(|&label| i64::from(label)).collect();
    Series::new(name.into(), labels)
}

#[test]
fn columns_are_found_by_what_they_hold_and_are_called() -> Result<()> {
    use DataType::{Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    let place = Place::new()?;
    let path = place.path("train.parquet");
    let load = || place.load("", CIFAR10);
    for width in [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64] {
        table(&path, &["picture"], vec![labels("target").cast(&width)?])?;
        assert_eq!(load()?.train.resident(), Some(&images(20, CIFAR, 10, 0)), "{width:?}");
    }
    let other = |name: &str| labels(name).cast(&UInt8).unwrap();
    table(&path, &["thumbnail", "image"], vec![other("width"), labels("label"), other("coarse_label")])?;
    assert_eq!(load()?.train.len(), 20, "`label` is what CIFAR-10's is called");
    table(&path, &["image", "img"], vec![labels("label")])?;
    assert_says(&place.error("", CIFAR10), &["train.parquet", "several columns could be the images: image, img"]);
    table(&path, &["image"], vec![labels("target"), labels("class")])?;
    assert_says(&place.error("", CIFAR10), &["several columns could be the classes: target, class"]);
    let text = Series::new("label".into(), vec!["cat"; 20]);
    table(&path, &["image"], vec![text])?;
    assert_says(&place.error("", CIFAR10), &["`label` holds text, where whole numbers are expected"]);
    table(&path, &["image"], vec![Series::new("label".into(), vec![0.5; 20])])?;
    assert_says(&place.error("", CIFAR10), &["`label` holds fractions"]);
    table(&path, &["image"], vec![labels("id")])?;
    assert_says(
        &place.error("", CIFAR10),
        &["no label column: found id (whole numbers), image (bytes)", "expected label"],
    );
    table(&path, &[], vec![labels("label")])?;
    assert_says(&place.error("", CIFAR10), &["no image column: found label (whole numbers)"]);
    Ok(())
}

/// A file as the hub writes it, with columns of many kinds, where the images have different sizes.
fn hub() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/published/hub.parquet")).unwrap()
}

#[test]
fn images_of_any_size_come_from_parquet_as_from_folders() -> Result<()> {
    let place = Place::new()?;
    fs::create_dir_all(place.path("data"))?;
    for split in ["train", "test"] {
        fs::write(place.path(&format!("data/{split}-00000-of-00001.parquet")), hub())?;
    }
    assert_says(&place.error("", "name = 'images'"), &["5 sizes", "train-00000-of-00001.parquet row", "dataset.size"]);
    let keys = "name = 'images'\nsize = 8\ncrop = 'none'";
    let data = place.load("", keys)?;
    assert_eq!((data.geometry.shape, data.geometry.classes, sizes(&data)), ((3, 8, 8), 2, (5, 5)));
    assert_eq!(data.train.labels(), [1, 0, 1, 0, 1]);
    let config = place.config("", keys);

    // The same as the same files in a folder, pixel by pixel, kept in memory or not.
    let folder = place.dir.path().join("folder");
    for split in ["train", "test"] {
        for row in 0..5 {
            let class = ["night", "day"][usize::from(data.train.labels()[row])];
            fs::create_dir_all(folder.join(split).join(class))?;
            let pixel = |at: u32, channel: u32, y: u32, x: u32| ((at * 20 + y * 3 + x * 2 + channel * 60) % 256) as u8;
            let image = image::RgbImage::from_fn(12, 8 + row as u32, |x, y| {
                image::Rgb([0, 1, 2].map(|channel| pixel(row as u32, channel, y, x)))
            });
            image.save(folder.join(split).join(class).join(format!("{row}.png")))?;
        }
    }
    let seen = |data: &Dataset| -> Result<Vec<Vec<f32>>> {
        let transform = data::Transform::of(&config, data.geometry.shape);
        let norm = data::Normalization { mean: vec![0.0; 3], std: vec![1.0; 3], of: String::new() };
        let loader = data::Loader::eval(data.train.clone(), (0..5).collect(), (transform, &norm), 1, 2);
        let mut images = loader.map(|batch| Ok(batch?.images.flatten_all()?.to_vec1()?)).collect::<Result<Vec<_>>>()?;
        images.sort_by(|a: &Vec<f32>, b| a.partial_cmp(b).unwrap());
        Ok(images)
    };
    let from_folder = place.load("../folder", keys)?;
    assert_eq!(seen(&data)?, seen(&from_folder)?);
    let streamed = place.load("", &format!("{keys}\nmemory = '1B'"))?;
    assert_eq!((seen(&streamed)?, &streamed.provenance), (seen(&data)?, &data.provenance));

    // What one process has read is what others get.
    let path = place.dir.path().join("decoded");
    data::decoded::write(&path, &streamed)?;
    let back = data::decoded::read(&path, &streamed.provenance, &config).expect("the same");
    assert_eq!(seen(&back)?, seen(&data)?);
    Ok(())
}

#[test]
fn classes_without_names_are_numbers_and_images_of_one_size_need_no_other() -> Result<()> {
    let place = Place::new()?;
    let from_one = labels("label") + 1;
    table(&place.path("train.parquet"), &["image"], vec![from_one.clone()])?;
    table(&place.path("test.parquet"), &["image"], vec![Series::new("label".into(), vec![-1i64; 20])])?;
    table(&place.path("validation.parquet"), &["image"], vec![from_one])?;
    let data = place.load("", "name = 'images'")?;
    assert_eq!((data.geometry.shape, data.geometry.classes), (CIFAR, 10));
    assert_eq!(data.train.resident(), Some(&images(20, CIFAR, 10, 0)));
    let told = data.provenance.remarks.join("\n");
    assert_says(&told, &["`test` have no labels", "the test split is `validation`", "called by their numbers"]);
    table(&place.path("validation.parquet"), &["image"], vec![labels("label")])?;
    assert_says(&place.error("", "name = 'images'"), &["validation.parquet row", "label 0", "no training image has"]);
    Ok(())
}

#[test]
fn a_broken_image_in_parquet_is_named_or_left_out() -> Result<()> {
    let place = Place::new()?;
    let mut bytes: Vec<Option<Vec<u8>>> = Vec::new();
    let set = images(20, CIFAR, 10, 0);
    for index in 0..20 {
        bytes.push(Some(encode(set.image(index), CIFAR, ImageFormat::Png)?));
    }
    bytes[7] = None;
    bytes[9] = bytes[9].take().map(|bytes| bytes[..bytes.len() / 2].to_vec());
    let image = Series::new("image".into(), bytes.iter().map(Option::as_deref).collect::<Vec<_>>());
    fs::create_dir_all(place.path(""))?;
    let columns = vec![Column::from(image), Column::from(labels("label"))];
    ParquetWriter::new(File::create(place.path("train.parquet"))?).finish(&mut DataFrame::new(20, columns)?)?;
    assert_says(&place.error("", CIFAR10), &["train.parquet", "row 7", "no bytes"]);
    assert_says(&place.error("", "name = 'images'\nsize = 16"), &["train.parquet row 7", "on_bad_image = \"skip\""]);
    let data = place.load("", "name = 'images'\nsize = 16\non_bad_image = 'skip'")?;
    assert_eq!(data.train.len(), 18);
    assert_says(&data.provenance.remarks.join("\n"), &["2 of 20 images could not be decoded", "train.parquet row 7"]);
    Ok(())
}

#[test]
fn any_damage_of_a_hub_file_is_an_error_or_none() -> Result<()> {
    let place = Place::new()?;
    fs::create_dir_all(place.path(""))?;
    let path = place.path("train.parquet");
    let whole = hub();
    let keys = "name = 'images'\nsize = 8";
    for at in (4..whole.len()).step_by(whole.len() / 150) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped)?;
        if let Err(error) = place.load("", keys) {
            assert_says(&format!("{error:#}"), &["train.parquet"]);
        }
        fs::write(&path, &whole[..at])?;
        assert_says(&place.error("", keys), &["train.parquet", "Parquet file"]);
    }
    Ok(())
}
