//! Which kernel computes which layer of the networks that everyone compares: the engine's choice, as a user sees it.

use std::fmt::Write;
use std::process::Command;

use conv_core::{EngineLayer, Pass};
use harness::data::geometry;
use harness::experiment::{Experiment, parse};
use harness::measure::bench::Entrant;
use harness::measure::layers::{Use, planned};
use serde_json::Value;

/// Convolutions and linear layers of a backbone at batch 128, each kind once with how often it comes.
fn choices(backbone: &str, dataset: &str) -> String {
    let text = format!(
        "name = 'x'\n[dataset]\nname = '{dataset}'\n[backbone]\nname = '{backbone}'\n[method]\nname = 'vanilla'\n\
         [recipe]\nepochs = 0\n"
    );
    let experiment = Experiment::from_document(&parse("x.toml", &text).unwrap()).unwrap();
    let config = &experiment.trials[0].config;
    let entrant = Entrant::new(config, &geometry(&config.dataset).unwrap()).unwrap();
    let [train, infer, one] = Use::ALL.map(|purpose| planned(&entrant, 128, purpose).unwrap().unwrap());
    let kernel = |layer: &EngineLayer, pass: Pass| {
        layer.passes.iter().find(|work| work.pass == pass).map_or("-", |work| work.kernel)
    };
    let mut lines: Vec<(String, usize)> = Vec::new();
    for ((train, infer), one) in train.iter().zip(&infer).zip(&one).filter(|((train, _), _)| train.conv.is_some()) {
        let ((i, h, w), (o, y, x)) = (train.input, train.output);
        let line = format!(
            "{:<13} {:<26} {:<9} {:<9} {:<11} {:<9} {}",
            train.kind,
            format!("{i}x{h}x{w} -> {o}x{y}x{x}"),
            kernel(train, Pass::Forward),
            kernel(train, Pass::InputGradient),
            kernel(train, Pass::WeightGradient),
            kernel(infer, Pass::Forward),
            kernel(one, Pass::Forward),
        );
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    let mut text = format!(
        "    {:<13} {:<26} {:<9} {:<9} {:<11} {:<9} {}\n",
        "layer", "shape", "forward", "input gr.", "weight gr.", "infer", "infer one"
    );
    lines.iter().for_each(|(line, count)| {
        let _ = writeln!(text, "{count:>2}x {line}");
    });
    text
}

#[test]
fn resnet20() {
    insta::assert_snapshot!(choices("resnet20", "cifar10"));
}

#[test]
fn resnet56() {
    insta::assert_snapshot!(choices("resnet56", "cifar10"));
}

#[test]
fn vgg16() {
    insta::assert_snapshot!(choices("vgg16", "cifar10"));
}

#[test]
fn resnet50() {
    insta::assert_snapshot!(choices("resnet50", "imagenet"));
}

/// The rows of `harness cost --layers` for ResNet-20.
fn cost_layers(set: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.args(["cost", "--layers", "--backbone", "resnet20", "--format", "json"]);
    command.args(set.iter().flat_map(|set| ["--set", set]));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn cost_shows_the_kernels_of_every_layer_and_what_leaves_the_engine() {
    let row = |rows: &[Value], layer: &str| rows.iter().find(|row| row["layer"] == layer).unwrap().clone();
    let rows = cost_layers(&[]);
    assert_eq!(rows.len(), 20 + 19 + 2 + 1, "convolutions and the linear layer, norms, shortcuts, the pooling");
    let (conv, norm) = (row(&rows, "layer1.0.conv1"), row(&rows, "layer1.0.conv1.bn"));
    assert_eq!((&conv["forward"], &conv["weight_gradient"]), (&"winograd".into(), &"each block".into()));
    assert_eq!((&norm["forward"], &norm["infer"]), (&"moments + apply".into(), &Value::Null), "it is fused");
    assert!(rows.iter().all(|row| row["remark"].is_null()));

    let few = row(&cost_layers(&["recipe.batch=4"]), "layer1.0.conv1");
    assert_eq!((&few["forward"], &few["infer"]), (&"operations".into(), &"pixels".into()));
    assert!(few["remark"].as_str().unwrap().contains("4 images at a time"), "{few}");

    let direct = row(&cost_layers(&["recipe.kernels=direct"]), "layer1.0.conv1");
    assert_eq!((&direct["forward"], &direct["infer_b1"]), (&"direct".into(), &"pixels".into()));

    // In bf16 the engine computes any number of images, by kernels of its own.
    let half = row(&cost_layers(&["recipe.precision=bf16", "recipe.batch=4"]), "layer1.0.conv1");
    for pass in ["forward", "infer", "infer_b1"] {
        assert_eq!(half[pass], "bf16 product", "{half}");
    }
    assert!(half["remark"].is_null(), "{half}");

    let candle = cost_layers(&["recipe.kernels=candle"]);
    assert_eq!((candle.len(), &candle[0]["infer_b1"]), (1, &"operations".into()));
}
