//! What a checkpoint costs: `cargo bench -p harness --bench checkpoint`, beside the bare writing of as many bytes.

#[path = "../../conv-core/benches/common/mod.rs"]
mod common;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use candle_core::Device;
use common::{Group, Side};
use conv_core::ParamStore;
use criterion::{Criterion, criterion_group, criterion_main};
use harness::backbones;
use harness::config::{BackboneConfig, Head, Recipe};
use harness::data::Geometry;
use harness::train::{Checkpoint, Checkpoints, Optimizer, Progress};

/// As in the `harness` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Saving (momentum copied, checksummed, flushed to disk, renamed) and loading a checkpoint of a vanilla network.
fn group(dir: &Path, backbone: &str) -> Result<Group> {
    let geometry = Geometry { shape: (3, 32, 32), classes: 10 };
    let config = BackboneConfig { name: backbone.to_owned(), head: Head::Linear, ..Default::default() };
    let store = ParamStore::new(0, &Device::Cpu);
    backbones::by_name(&config, &geometry, 1.0)?.build(&baselines::Vanilla {}, store.builder())?;
    let optimizer = Optimizer::new(store.trainable(), &Recipe::default());
    let checkpoint = move || -> Result<Checkpoint> {
        Ok(Checkpoint {
            key: "key".to_owned(),
            kernels: vec!["path".to_owned()],
            origins: vec!["build".to_owned()],
            progress: Progress::new("train"),
            weights: store.named().into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect(),
            momentum: optimizer.state()?,
        })
    };
    let mut bytes = Vec::new();
    checkpoint()?.write(&mut bytes)?;
    let dir = dir.join(backbone);
    std::fs::create_dir(&dir)?;
    Checkpoints::new(&dir).save(&checkpoint()?)?;
    let name = format!("{backbone}, {:.1} MB", bytes.len() as f64 / 1e6);

    let (of, to) = (bytes.len(), dir.clone());
    let save = move || Checkpoints::new(&to).save(&checkpoint()?);
    let from = dir.clone();
    let load = move || assert!(Checkpoints::new(&from).load("key").0.is_some());
    let bare = move || -> Result<()> {
        let mut file = File::create(dir.join("bare"))?;
        file.write_all(&bytes)?;
        Ok(file.sync_all()?)
    };
    let sides = vec![
        Side::new("save", of, move || save().expect("a folder that can be written")),
        Side::new("load", of, load),
        Side::new("write and flush", of, move || bare().expect("a folder that can be written")),
    ];
    Ok((name, sides))
}

fn checkpoints(criterion: &mut Criterion) {
    // Not the temporary folder, which may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk");
    let groups: Result<Vec<_>> = ["resnet20", "vgg16"].into_iter().map(|name| group(dir.path(), name)).collect();
    common::compare(criterion, &groups.expect("networks of known backbones"));
}

criterion_group! { name = benches; config = common::short(); targets = checkpoints }
criterion_main!(benches);
