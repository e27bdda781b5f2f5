//! Which kernel computes which layer of the networks that everyone compares: the engine's choice, as a user sees it.

use std::fmt::Write;

use conv_core::{EngineLayer, Pass};
use harness::experiment::price::geometry;
use harness::experiment::{Experiment, parse};
use harness::measure::bench::Entrant;
use harness::measure::layers::{Use, planned};

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
