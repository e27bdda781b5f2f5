//! Which source is used, and what is said when none is there.

use std::fs;
use std::path::Path;

use anyhow::Result;
use harness::config::DatasetConfig;
use harness::data::{self, DataRoots, Dataset, load_from};
use image::{ImageFormat, RgbImage};

fn config(name: &str, sources: &[&str]) -> DatasetConfig {
    DatasetConfig {
        name: name.into(),
        sources: sources.iter().map(|s| s.to_string()).collect(),
        ..DatasetConfig::default()
    }
}

fn roots(home: Option<&Path>, downloads: &Path) -> DataRoots {
    // Port 1 of this machine: refused at once.
    let base_url = "http://127.0.0.1:1".into();
    DataRoots { home: home.map(Into::into), base_url, downloads: downloads.into(), cache: downloads.into() }
}

/// `train` and `test` with one image in each of ten classes.
fn write_folder(root: &Path, shade: u8) -> Result<()> {
    for split in ["train", "test"] {
        for class in 0..10 {
            let folder = root.join(split).join(class.to_string());
            fs::create_dir_all(&folder)?;
            let image = RgbImage::from_pixel(32, 32, image::Rgb([shade, class, 7]));
            image.save_with_format(folder.join("0.png"), ImageFormat::Png)?;
        }
    }
    Ok(())
}

fn used(data: &Dataset) -> (&str, u8) {
    (&data.provenance.source, data.train.resident().expect("in memory").pixels[0])
}

#[test]
fn sources_are_tried_in_order_and_harness_data_behind_the_paths() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (a, b, home) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("home"));
    let (a_name, b_name) = (a.display().to_string(), b.display().to_string());
    write_folder(&b, 20)?;
    let tried = config("cifar10", &[&a_name, "download", &b_name, "synthetic"]);
    let here = roots(Some(&home), dir.path());
    assert_eq!(used(&load_from(&tried, &here)?), (b_name.as_str(), 20));
    // An empty folder, or one with the rest of a broken download, is as good as none.
    fs::create_dir(&a)?;
    fs::write(a.join("cifar-10-binary.tar.gz.part"), "half")?;
    assert_eq!(used(&load_from(&tried, &here)?), (b_name.as_str(), 20));
    write_folder(&a, 10)?;
    assert_eq!(used(&load_from(&tried, &here)?), (a_name.as_str(), 10));
    write_folder(&home.join("cifar10"), 30)?;
    assert_eq!(used(&load_from(&tried, &here)?), (a_name.as_str(), 10));
    fs::remove_dir_all(&a)?;
    assert_eq!(used(&load_from(&tried, &here)?), ("HARNESS_DATA/cifar10", 30));
    write_folder(&a, 10)?;
    let data = load_from(&config("cifar10", &["download"]), &here)?;
    assert_eq!(used(&data), ("HARNESS_DATA/cifar10", 30));
    // Who asks for synthetic data gets it.
    assert!(load_from(&config("cifar10", &["synthetic:20+10"]), &here)?.provenance.synthetic);
    assert!(load_from(&config("synthetic", &[&a_name, "synthetic:20+10"]), &here)?.provenance.synthetic);
    Ok(())
}

#[test]
fn an_image_folder_is_looked_up_by_its_own_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    write_folder(&dir.path().join("home/pets"), 5)?;
    let here = roots(Some(&dir.path().join("home")), dir.path());
    let data = load_from(&config("images", &["data/pets"]), &here)?;
    assert_eq!(used(&data), ("HARNESS_DATA/pets", 5));
    assert_eq!(data.provenance.label, "pets (10 classes)");
    // Another folder of that name is not it, where it is said which one is meant.
    let mine = dir.path().join("mine/pets");
    let named = mine.display().to_string();
    assert!(load_from(&config("images", &[&named]), &here).is_err());
    write_folder(&mine, 9)?;
    assert_eq!(used(&load_from(&config("images", &[&named]), &here)?), (named.as_str(), 9));
    Ok(())
}

#[test]
fn a_source_that_is_no_data_set_is_an_error_and_never_passed_over() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("notes.txt"), "hello")?;
    let name = dir.path().display().to_string();
    let here = roots(None, dir.path());
    let text = |path: &str| match load_from(&config("cifar10", &[path, "synthetic"]), &here) {
        Ok(data) => panic!("{:?}", data.provenance),
        Err(error) => format!("{error:#}"),
    };
    let found = text(&name);
    assert!(found.contains(&name) && found.contains("notes.txt") && found.contains("Parquet, binary"), "{found}");
    let found = text(&format!("{name}/notes.txt"));
    assert!(found.contains("notes.txt") && found.contains("Parquet, binary"), "{found}");
    Ok(())
}

#[test]
fn nothing_found_says_what_was_tried_and_how_to_get_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let here = roots(Some(dir.path()), dir.path());
    let text = load_from(&config("cifar10", &["data/none", "download"]), &here).map(|_| ()).unwrap_err().to_string();
    for part in ["HARNESS_DATA/cifar10", "data/none", "download: ", "data/cifar10", "\"synthetic\""] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    let text = load_from(&config("images", &["none", "synthetic"]), &here).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("only known from its files") && !text.contains("add \"synthetic\""), "{text}");
    let text = load_from(&config("fashion-mnist", &["download"]), &here).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("not offered for fashion-mnist"), "{text}");
    let text = load_from(&config("cifar10", &["synthetic:7"]), &here).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("synthetic:7") && text.contains("synthetic:10000+2000"), "{text}");
    Ok(())
}

#[test]
fn synthetic_data_has_the_geometry_of_the_set_it_stands_in_for() -> Result<()> {
    let here = roots(None, Path::new("/nonexistent"));
    for (name, shape, classes) in
        [("cifar10", (3, 32, 32), 10), ("cifar100", (3, 32, 32), 100), ("fashion-mnist", (1, 28, 28), 10)]
    {
        let config = config(name, &["no/such/folder", "synthetic:200+100"]);
        let data = load_from(&config, &here)?;
        assert_eq!((data.geometry.shape, data.test.len(), data.geometry.classes), (shape, 100, classes));
        assert_eq!(data.provenance.label, format!("SYNTHETIC (procedural, {classes} classes)"));
        assert!(data.provenance.synthetic);
        let geometry = data::geometry(&config)?;
        assert_eq!((geometry.shape, geometry.classes), (shape, classes));
    }
    Ok(())
}

#[test]
fn the_real_cifar10_is_whole_where_it_is_there() -> Result<()> {
    let there = std::env::var_os("HARNESS_DATA").is_some_and(|home| Path::new(&home).join("cifar10").is_dir());
    if !there {
        eprintln!("skipped: HARNESS_DATA does not name a folder with cifar10 in it");
        return Ok(());
    }
    let data = data::load(&config("cifar10", &["download"]))?;
    assert!(data.provenance.label.starts_with("CIFAR-10") && !data.provenance.synthetic);
    for (images, per_class) in [(&data.train, 5000), (&data.test, 1000)] {
        assert_eq!(images.resident().expect("in memory").pixels.len(), 10 * per_class * 3 * 32 * 32);
        let mut counts = [0; 10];
        images.labels().iter().for_each(|&label| counts[usize::from(label)] += 1);
        assert_eq!(counts, [per_class; 10]);
    }
    // The published channel statistics, which planes in the wrong order would not have; a JPEG copy is a little off.
    let norm = data::Normalization::of(data.train.resident().expect("in memory"), &(0..50_000).collect::<Vec<_>>());
    for (found, published) in norm.mean.iter().zip([0.4914, 0.4822, 0.4465]) {
        assert!((found - published).abs() < 0.003, "{:?}", norm.mean);
    }
    for (found, published) in norm.std.iter().zip([0.2470, 0.2435, 0.2616]) {
        assert!((found - published).abs() < 0.004, "{:?}", norm.std);
    }
    Ok(())
}
