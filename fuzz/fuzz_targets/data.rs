//! Data files of every format, and files of weights: any bytes are images, tensors, or an error.
#![no_main]

use std::fs;

use harness::config::{DatasetConfig, ImageSize};
use harness::data::{DataRoots, Geometry, cifar, folder, hush_caught_panics, idx, load_from, parquet, stl10};
use harness::weights::given::GivenWeights;
use libfuzzer_sys::fuzz_target;

const GREY: Geometry = Geometry { shape: (1, 28, 28), classes: 10 };
const COLOUR: Geometry = Geometry { shape: (3, 32, 32), classes: 10 };

fuzz_target!(init: hush_caught_panics(), |input: (u8, &[u8])| {
    let (which, bytes) = input;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |names: &[&str]| {
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("inside of the folder")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        }
    };
    let any = |name: &str, file: &str| {
        write(&[file]);
        let config = DatasetConfig {
            name: name.into(),
            sources: vec![dir.path().display().to_string()],
            size: Some(ImageSize::Square(8)),
            ..DatasetConfig::default()
        };
        let cache = dir.path().join("cache");
        let roots = DataRoots { home: None, base_url: String::new(), downloads: cache.clone(), cache };
        let _ = load_from(&config, &roots);
    };
    match which % 11 {
        7 => any("images", "x.npz"),
        8 => any("images", "train.parquet"),
        9 => {
            write(&["train_32x32.mat"]);
            any("svhn", "test_32x32.mat");
        }
        10 => {
            write(&["stl10_binary.tar.gz"]);
            let _ = stl10::read(&dir.path().join("stl10_binary.tar.gz"));
        }
        0 => {
            write(&["cifar-10-binary.tar.gz"]);
            let _ = cifar::CIFAR10.read(&dir.path().join("cifar-10-binary.tar.gz"));
        }
        6 => {
            if let Ok(file) = GivenWeights::parse(bytes.to_vec()) {
                // A network asks only for shapes of its own.
                let small = |shape: &[usize]| shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side));
                let few = |shape: &[usize]| small(shape).is_some_and(|count| count < 10_000);
                let asked = file.tensors().filter(|(_, given)| given.shape().is_some_and(few));
                asked.for_each(|(name, _)| drop(file.tensor(name)));
            }
        }
        5 => {
            write(&["train", "test"]);
            let _ = cifar::CIFAR100.read(dir.path());
        }
        1 => {
            write(&["train.bin", "test.bin"]);
            let _ = cifar::CIFAR100.read(dir.path());
        }
        2 => {
            write(&["train.parquet", "test.parquet"]);
            if let Ok(Some(shards)) = parquet::layout::find(dir.path(), "cifar10") {
                let _ = parquet::read(&shards, &["label"], &COLOUR, &DatasetConfig::default());
            }
        }
        3 => {
            write(&[
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte.gz",
                "t10k-labels-idx1-ubyte.gz",
            ]);
            let _ = idx::read(dir.path(), &GREY);
        }
        _ => {
            write(&["train/a/1.png", "train/b/1.jpg", "test/a/1.png", "test/b/1.jpg"]);
            let _ = folder::geometry(dir.path(), &DatasetConfig::default(), dir.path());
            any("cifar10", "train/b/2.tiff");
        }
    }
});
