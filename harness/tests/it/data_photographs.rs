//! Folders of photographs: images of many sizes, modes and formats, laid out as people have them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use harness::config::DatasetConfig;
use harness::data::{self, DataRoots, Dataset, Draw, ImageSet, Loader, Normalization, Transform, load_from};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};

use crate::data_formats::assert_says;

fn config(root: &Path, keys: &str) -> DatasetConfig {
    let head = format!("name = 'images'\nsources = [{:?}]\n", root.display().to_string());
    toml::from_str(&(head + keys)).expect("a configuration")
}

fn load(root: &Path, keys: &str) -> Result<Dataset> {
    let roots = DataRoots {
        home: None,
        base_url: "http://127.0.0.1:1".into(),
        downloads: "/nonexistent".into(),
        cache: "/nonexistent".into(),
    };
    load_from(&config(root, keys), &roots)
}

fn error(root: &Path, keys: &str) -> String {
    format!("{:#}", load(root, keys).expect_err("an error"))
}

/// A picture of these sides; `salt` makes it another one.
fn photo(height: u32, width: u32, salt: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([x * 7 + salt * 31, y * 5, x + y + salt].map(|v| v as u8)))
        .into()
}

fn save(path: &Path, image: &DynamicImage, format: ImageFormat) -> Result<()> {
    fs::create_dir_all(path.parent().context("no parent")?)?;
    Ok(image.save_with_format(path, format)?)
}

/// Two classes of photographs, no two of one size, in every format that can be written.
fn photographs(root: &Path) -> Result<()> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    for (split, count) in [("train", 8), ("val", 3)] {
        for index in 0..2 * count {
            let (ending, format) =
                [("png", Png), ("jpg", Jpeg), ("webp", WebP), ("bmp", Bmp), ("tiff", Tiff), ("gif", Gif)][index % 6];
            let class = ["cat", "dog"][index % 2];
            let image = photo(20 + index as u32 * 3, 50 - index as u32, index as u32);
            save(&root.join(format!("{split}/{class}/{index}.{ending}")), &image, format)?;
        }
    }
    Ok(())
}

type Seen = Vec<(Vec<f32>, Vec<u32>)>;

fn seen(loader: Loader) -> Result<Seen> {
    let batch = |batch: data::Batch| Ok((batch.images.flatten_all()?.to_vec1()?, batch.labels.to_vec1()?));
    loader.map(|one| batch(one?)).collect()
}

fn epoch(set: &Dataset, config: &DatasetConfig, first: usize, workers: usize) -> Result<Seen> {
    let indices: Vec<usize> = (0..set.train.len()).collect();
    let transform = Transform::of(config, set.geometry.shape);
    let norm = Normalization::for_training(&config.name, &set.train, &indices, &transform)?;
    let draw = Draw { seed: 3, epoch: 1 };
    seen(Loader::train(set.train.clone(), indices, (transform, &norm), 3, draw, first, workers))
}

#[test]
fn photographs_of_many_sizes_and_formats_are_a_data_set_once_a_size_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    photographs(dir.path())?;
    assert_says(&error(dir.path(), ""), &["dataset.sources", "16 sizes", "20 x 50", "dataset.size = 64"]);
    let data = load(dir.path(), "size = [24, 32]")?;
    assert_eq!((data.geometry.shape, data.geometry.classes), ((3, 24, 32), 2));
    assert_eq!((data.train.len(), data.test.len()), (16, 6));
    assert_says(&data.provenance.remarks.join("\n"), &["the test split is `val`"]);

    // The same bits for any number of workers, kept in memory or not, from any batch on.
    let keys = "size = [24, 32]\nmemory = '1B'";
    let config = config(dir.path(), keys);
    let streamed = load(dir.path(), keys)?;
    assert_eq!(streamed.provenance.fingerprint, data.provenance.fingerprint);
    let whole = epoch(&data, &config, 0, 1)?;
    assert_eq!(whole.len(), 5, "the batch of one is left out");
    assert_eq!(whole, epoch(&streamed, &config, 0, 3)?);
    assert_eq!(whole[2..], epoch(&streamed, &config, 2, 2)?);
    assert_eq!(whole, epoch(&data, &config, 0, 2)?, "what was kept is what was decoded");
    Ok(())
}

#[test]
fn a_photograph_that_changes_under_way_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    photographs(dir.path())?;
    let keys = "size = 16\nmemory = '1B'";
    let data = load(dir.path(), keys)?;
    save(&dir.path().join("train/dog/3.bmp"), &photo(9, 9, 9), ImageFormat::Bmp)?;
    let text = format!("{:#}", epoch(&data, &config(dir.path(), keys), 0, 2).err().context("an error")?);
    assert_says(&text, &["train/dog/3.bmp", "has changed"]);
    assert_ne!(load(dir.path(), keys)?.provenance.fingerprint, data.provenance.fingerprint);
    Ok(())
}

#[test]
fn colour_modes_are_converted_and_counted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path();
    let grey: DynamicImage = GrayImage::from_fn(20, 30, |x, y| image::Luma([(x + y) as u8])).into();
    let clear: DynamicImage = RgbaImage::from_pixel(25, 25, image::Rgba([10, 20, 30, 0])).into();
    save(&root.join("train/a/1.png"), &grey, ImageFormat::Png)?;
    save(&root.join("train/a/2.png"), &clear, ImageFormat::Png)?;
    save(&root.join("train/b/1.png"), &photo(12, 19, 0), ImageFormat::Png)?;
    save(&root.join("test/a/1.png"), &DynamicImage::from(photo(9, 8, 1).into_rgb16()), ImageFormat::Png)?;
    save(&root.join("test/b/1.png"), &photo(9, 9, 1), ImageFormat::Png)?;
    // By content, not by its name.
    save(&root.join("train/b/2.png"), &photo(40, 30, 2), ImageFormat::Jpeg)?;
    let data = load(root, "size = 8")?;
    assert_eq!(data.geometry.shape, (3, 8, 8));
    let told = data.provenance.remarks.join("\n");
    assert_says(&told, &["converted of 6 images: 1 grey to RGB", "1 with alpha", "1 of more than 8 bits"]);
    let grey = load(root, "size = 8\nchannels = 1")?;
    assert_eq!(grey.geometry.shape, (1, 8, 8));
    assert_says(&grey.provenance.remarks.join("\n"), &["5 in colour to grey"]);
    assert_says(&error(root, "size = 8\nchannels = 2"), &["dataset.channels = 2", "1 (grey) or 3"]);
    fs::remove_dir_all(root.join("train"))?;
    fs::remove_dir_all(root.join("test"))?;
    for (split, side) in [("train", 9), ("test", 10)] {
        save(&root.join(split).join("a/1.png"), &photo(side, side, 0).into_luma8().into(), ImageFormat::Png)?;
    }
    assert_eq!(load(root, "size = 4")?.geometry.shape, (1, 4, 4), "all are grey");
    Ok(())
}

#[test]
fn a_broken_image_is_named_or_left_out_and_counted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    photographs(dir.path())?;
    let path = dir.path().join("train/dog/1.jpg");
    let whole = fs::read(&path)?;
    fs::write(&path, &whole[..whole.len() - 30])?;
    assert_says(&error(dir.path(), "size = 16"), &["train/dog/1.jpg", "truncated", "dataset.on_bad_image = \"skip\""]);
    let data = load(dir.path(), "size = 16\non_bad_image = 'skip'")?;
    assert_eq!(data.train.len(), 15);
    assert_says(&data.provenance.remarks.join("\n"), &["1 of 22 images could not be decoded", "train/dog/1.jpg"]);
    let lines = data::examine(&config(dir.path(), "size = 16"))?.join("\n");
    assert_says(&lines, &["2 classes, 16 training images (8 a class), 6 test images", "1 of a sample of 22", "1.jpg"]);
    Ok(())
}

#[test]
fn folders_as_people_lay_them_out() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let image = |path: &str, salt| save(&dir.path().join(path), &photo(8, 8, salt), ImageFormat::Png);
    let labels = |set: &ImageSet| set.labels().to_vec();

    // As Tiny ImageNet: images in a folder of their own, validation flat with a file of labels, test without.
    for class in ["n01", "n02"] {
        (0..3).try_for_each(|salt| image(&format!("tiny/train/{class}/images/{class}_{salt}.png"), salt))?;
        fs::write(dir.path().join(format!("tiny/train/{class}/{class}_boxes.txt")), "n01_0.png 0 0 8 8")?;
    }
    image("tiny/val/images/val_0.png", 7)?;
    image("tiny/val/images/val_1.png", 8)?;
    image("tiny/test/images/test_0.png", 9)?;
    let tiny = dir.path().join("tiny");
    fs::write(tiny.join("val/val_annotations.txt"), "val_1.png\tn01\t0\t0\t8\t8\nval_0.png\tn02\t0\t0\t8\t8\n")?;
    let data = load(&tiny, "")?;
    assert_eq!((labels(&data.train), labels(&data.test)), (vec![0, 0, 0, 1, 1, 1], vec![1, 0]));
    assert_says(
        &data.provenance.remarks.join("\n"),
        &["`test` have no labels", "val/val_annotations.txt", "passed over"],
    );
    fs::write(tiny.join("val/val_annotations.txt"), "val_1.png\tn01\nval_0.png\tn07\n")?;
    assert_says(&error(&tiny, ""), &["val_annotations.txt:2", "`n07`", "n01 to n02", "0 to 1"]);
    fs::remove_file(tiny.join("val/val_annotations.txt"))?;
    // As ILSVRC's editions: numbers in the order of the classes, or the classes' names in a table with a head.
    fs::write(tiny.join("val.txt"), "val_0.png 1\nval_1.png 0\n")?;
    assert_eq!(labels(&load(&tiny, "")?.test), [1, 0]);
    fs::remove_file(tiny.join("val.txt"))?;
    fs::write(tiny.join("LOC_val_solution.csv"), "ImageId,PredictionString\nval_1,n02 1 2 3 4\nval_0,n01 1 2 3 4\n")?;
    assert_eq!(labels(&load(&tiny, "")?.test), [0, 1]);
    fs::remove_file(tiny.join("LOC_val_solution.csv"))?;
    assert_says(&error(&tiny, ""), &["no folders of their classes", "val_annotations.txt", "LOC_val_solution.csv"]);

    // Classes and nothing else: a share of each is test, the same every time.
    for class in ["x", "y"] {
        (0..10).try_for_each(|salt| image(&format!("flat/{class}/{salt}.png"), salt))?;
    }
    let flat = dir.path().join("flat");
    assert!(load(&flat, "")?.test.is_empty());
    let data = load(&flat, "test_share = 0.3")?;
    assert_eq!((data.train.len(), data.test.len()), (14, 6));
    assert_eq!(data.test.labels().iter().filter(|label| **label == 0).count(), 3);
    assert_eq!(load(&flat, "test_share = 0.3")?.provenance, data.provenance);
    assert_says(&data.provenance.remarks.join("\n"), &["30 % of each class"]);
    image("split/test/x/1.png", 1)?;
    image("split/train/x/1.png", 1)?;
    image("split/valid/x/1.png", 1)?;
    let split = dir.path().join("split");
    assert_says(&error(&split, "test_share = 0.3"), &["split/test", "dataset.test_share"]);
    let told = load(&split, "")?.provenance.remarks.join("\n");
    assert_says(&told, &["the test split is `test`; `valid` is not read", "all images are of one class, `x`"]);
    Ok(())
}

#[test]
fn a_plan_counts_the_images_of_each_class_in_each_split() -> Result<()> {
    let folder = crate::support::folder(
        "name = 'x'\n[dataset]\nname = 'images'\nsources = ['photos']\nsize = 16\n[backbone]\nname = 'resnet20'\n[recipe]\nepochs = 1\nbatch = \
         4\n[protocol]\nvalidation = 3\n",
    );
    for (split, class, count) in [("train", "a", 9), ("train", "b", 6), ("test", "a", 2), ("test", "b", 1)] {
        for index in 0..count {
            let path = folder.path().join(format!("photos/{split}/{class}/{index}.png"));
            save(&path, &photo(9 + index, 9, index), ImageFormat::Png)?;
        }
    }
    let plan = |arguments: &[&str]| {
        let run = crate::support::harness(folder.path(), &[&["plan", "x.toml"], arguments].concat());
        assert_eq!(run.code, 0, "{}", run.err);
        run.out
    };
    let rows: serde_json::Value = serde_json::from_str(&plan(&["--format", "json"]))?;
    let row = &rows[0];
    let counts = [&row["train_by_class"], &row["validation_by_class"], &row["test_by_class"]];
    assert_eq!(counts, [&serde_json::json!([7, 5]), &serde_json::json!([2, 1]), &serde_json::json!([2, 1])]);
    assert_says(&plan(&[]), &["images of a class: 5 to 7 to train on, 1 to 2 to validate, 1 to 2 to test (2 classes)"]);
    assert_says(&plan(&["--format", "csv"]), &[",5 to 7,1 to 2,1 to 2"]);
    Ok(())
}

#[test]
fn images_that_lie_in_memory_are_counted_as_those_that_do_not() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path();
    let clear: DynamicImage = RgbaImage::from_pixel(8, 8, image::Rgba([10, 20, 30, 0])).into();
    save(&root.join("train/a/1.png"), &clear, ImageFormat::Png)?;
    save(&root.join("train/a/2.png"), &photo(8, 8, 1).into_luma8().into(), ImageFormat::Png)?;
    save(&root.join("test/a/1.png"), &DynamicImage::from(photo(8, 8, 1).into_rgb16()), ImageFormat::Png)?;
    let resident = load(root, "")?;
    assert!(resident.train.resident().is_some());
    let told = resident.provenance.remarks.join("\n");
    assert_says(
        &told,
        &["converted of 3 images: 1 grey to RGB, 1 with alpha, which is dropped, 1 of more than 8 bits"],
    );
    assert_eq!(load(root, "memory = '1B'")?.provenance.remarks.join("\n"), told);
    Ok(())
}
