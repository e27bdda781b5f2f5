//! Training against PyTorch: 20 optimizer steps from shared weights on fixed batches. `goldens/training.py` is the other
//! side, and says what is stored and how weights and batches are drawn.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use conv_core::{Backend, ParamStore, is_running_statistic};
use harness::backbones;
use harness::config::{Recipe, Schedule, TrialConfig, UpdateRule};
use harness::data::{Batch, Geometry};
use harness::methods::Methods;
use harness::train::{LearningRate, Optimizer, step};

use super::support::uniform;

const STEPS: usize = 20;
const BATCH: usize = 8;
const GEOMETRY: Geometry = Geometry { shape: (3, 8, 8), classes: 10 };
const TOLERANCE: f64 = 1e-4;

fn fill(name: &str, shape: &[usize]) -> Result<Tensor> {
    let values = uniform(name, shape.iter().product()).into_iter().map(|value| match shape {
        [_, rest @ ..] if !rest.is_empty() => value * (6.0 / rest.iter().product::<usize>() as f64).sqrt(),
        _ if name.ends_with("weight") => 1.0 + 0.2 * value,
        _ => 0.3 + 0.1 * value,
    });
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn batch(step: usize) -> Result<Batch> {
    let (c, h, w) = GEOMETRY.shape;
    let pixels = uniform(&format!("images.{step}"), BATCH * c * h * w).into_iter().map(|value| (value * 1.7) as f32);
    let labels = uniform(&format!("labels.{step}"), BATCH).into_iter().map(|value| ((value + 1.0) / 2.0 * 10.0) as u32);
    Ok(Batch {
        images: Tensor::from_vec(pixels.collect::<Vec<_>>(), (BATCH, c, h, w), &Device::Cpu)?,
        labels: Tensor::from_vec(labels.collect::<Vec<_>>(), BATCH, &Device::Cpu)?,
    })
}

fn goldens() -> Result<HashMap<String, Tensor>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/training.safetensors");
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(candle_core::DType::F64)?.to_vec1()?)
}

/// Largest difference; infinite where lengths differ or something is not a number.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let difference = |(f, e): (&f64, &f64)| if (f - e).is_nan() { f64::INFINITY } else { (f - e).abs() };
    found.iter().zip(expected).map(difference).fold(0.0, f64::max)
}

/// What the golden holds of a tensor: convolution weights as sums of 7 neighbouring values, each times a factor between 1/2
/// and 1 of either sign; others whole.
fn stored(name: &str, rank: usize, values: Vec<f64>) -> Vec<f64> {
    if rank < 4 {
        return values;
    }
    let factors = uniform(&format!("{name}.fold"), values.len());
    let factors = factors.into_iter().map(|factor| (0.5 + factor.abs() / 2.0).copysign(factor));
    let products: Vec<f64> = values.iter().zip(factors).map(|(value, factor)| value * factor).collect();
    products.chunks(7).map(|seven| seven.iter().sum()).collect()
}

fn recipe() -> Recipe {
    Recipe {
        epochs: 1,
        lr: 0.01,
        schedule: Schedule::Cosine,
        warmup_epochs: 4.0 / STEPS as f64,
        weight_decay: 5e-3,
        decay_norm_and_bias: false,
        label_smoothing: 0.1,
        ..Recipe::default()
    }
}

/// Trains the network whose `method` table is given; returns the largest difference in a loss and in a final value.
fn compare(name: &str, method: &str, recipe: &Recipe) -> Result<(f64, f64)> {
    let config = format!(
        "validation = 1\ntest = false\nseed = 0\n[dataset]\nname = \"cifar10\"\n[backbone]\nname = \"resnet20\"\n\
         [method]\n{method}\n[recipe]\n"
    );
    let config: TrialConfig = toml::from_str(&config)?;
    let store = ParamStore::new(0, &Device::Cpu);
    let backbone = backbones::by_name(&config.backbone, &GEOMETRY, 0.5)?;
    let network = backbone.build(&Methods::new(&config)?, store.builder())?;
    for (parameter, var) in store.trainable() {
        var.set(&fill(&parameter, var.dims())?)?;
    }

    let mut optimizer = Optimizer::new(store.trainable(), recipe);
    let rate = LearningRate::of_recipe(recipe, recipe.epochs, STEPS);
    let (mut losses, mut training) = (Vec::new(), network.training(Backend::default()));
    for t in 0..STEPS {
        losses.push(step(&mut training, &mut optimizer, &batch(t)?, rate.at(t), recipe.label_smoothing)?.loss);
    }

    let goldens = goldens()?;
    let golden = |key: String| goldens.get(&key).with_context(|| format!("no golden `{key}`")).and_then(values);
    let loss = distance(&losses, &golden(format!("{name}.losses"))?);
    let mut worst: f64 = 0.0;
    for (parameter, var) in store.named() {
        let found = stored(&parameter, var.rank(), values(&var)?);
        worst = worst.max(distance(&found, &golden(format!("{name}.final.{parameter}"))?));
    }
    let stored = goldens.keys().filter(|key| key.starts_with(&format!("{name}.final."))).count();
    ensure!(store.named().len() == stored, "{} tensors here, {stored} in PyTorch", store.named().len());
    ensure!(store.named().iter().any(|(name, _)| is_running_statistic(name)), "running statistics are compared too");
    Ok((loss, worst))
}

fn assert_equal_training(name: &str, method: &str) -> Result<()> {
    let (loss, weight) = compare(name, method, &recipe())?;
    println!("{name}: largest difference {loss:.1e} in a loss, {weight:.1e} in a final value");
    assert!(loss < TOLERANCE && weight < TOLERANCE, "{name}: {loss:.1e} in a loss, {weight:.1e} in a final value");
    Ok(())
}

#[test]
fn vanilla_trains_as_in_pytorch() -> Result<()> {
    assert_equal_training("vanilla", "name = \"vanilla\"")
}

fn adam(rule: UpdateRule) -> Recipe {
    Recipe { optimizer: Some(rule), eps: Some(1e-4), lr: 1e-3, weight_decay: 0.1, ..recipe() }
}

#[test]
fn adam_and_adamw_train_as_in_pytorch() -> Result<()> {
    for (name, rule) in [("adam", UpdateRule::Adam), ("adamw", UpdateRule::AdamW)] {
        let (loss, weight) = compare(name, "name = \"vanilla\"", &adam(rule))?;
        println!("{name}: largest difference {loss:.1e} in a loss, {weight:.1e} in a final value");
        assert!(loss < TOLERANCE && weight < TOLERANCE, "{name}: {loss:.1e} in a loss, {weight:.1e} in a final value");
    }
    Ok(())
}

#[test]
fn the_golden_tells_every_part_of_adam() -> Result<()> {
    type Change = fn(&mut Recipe);
    let changes: [(&str, Change); 6] = [
        ("rule", |recipe| recipe.optimizer = Some(UpdateRule::Adam)),
        ("first beta", |recipe| recipe.beta1 = Some(0.8)),
        ("second beta", |recipe| recipe.beta2 = Some(0.99)),
        ("eps", |recipe| recipe.eps = None),
        ("decay", |recipe| recipe.weight_decay = 0.0),
        ("decay groups", |recipe| recipe.decay_norm_and_bias = true),
    ];
    for (part, change) in changes {
        let mut recipe = adam(UpdateRule::AdamW);
        change(&mut recipe);
        let (_, weight) = compare("adamw", "name = \"vanilla\"", &recipe)?;
        assert!(weight > 3.0 * TOLERANCE, "another {part} moves the final values by {weight:.1e} only");
    }
    Ok(())
}

#[test]
fn ghost_trains_as_in_pytorch() -> Result<()> {
    assert_equal_training("ghost", "name = \"ghost\"")
}

#[test]
fn compconv_trains_as_in_pytorch() -> Result<()> {
    assert_equal_training("compconv", "name = \"compconv\"\ndepth = 3")
}

#[test]
fn the_golden_tells_every_part_of_the_recipe() -> Result<()> {
    type Change = fn(&mut Recipe);
    let changes: [(&str, Change); 6] = [
        ("momentum", |recipe| recipe.momentum = 0.85),
        ("nesterov", |recipe| recipe.nesterov = false),
        ("decay", |recipe| recipe.weight_decay = 0.0),
        ("decay groups", |recipe| recipe.decay_norm_and_bias = true),
        ("schedule", |recipe| recipe.schedule = Schedule::Constant),
        ("smoothing", |recipe| recipe.label_smoothing = 0.0),
    ];
    for (part, change) in changes {
        let mut recipe = recipe();
        change(&mut recipe);
        let (_, weight) = compare("vanilla", "name = \"vanilla\"", &recipe)?;
        assert!(weight > 3.0 * TOLERANCE, "another {part} moves the final values by {weight:.1e} only");
    }
    Ok(())
}

#[test]
fn the_golden_tells_every_value_of_a_weight() {
    let weight = uniform("weight", 16 * 3 * 9 + 1);
    let whole = stored("conv", 4, weight.clone());
    assert_eq!(whole.len(), weight.len().div_ceil(7));
    for place in 0..weight.len() {
        let mut wrong = weight.clone();
        wrong[place] += 2.5 * TOLERANCE;
        assert!(distance(&stored("conv", 4, wrong), &whole) > TOLERANCE, "value {place}");
    }
}

#[test]
fn rates_are_those_of_torchs_schedulers() -> Result<()> {
    let goldens = goldens()?;
    let base = Recipe { lr: 0.4, ..Recipe::default() };
    let step = Recipe { schedule: Schedule::Step, milestones: vec![0.5, 22.0 / 30.0], gamma: 0.2, ..base.clone() };
    for (name, recipe) in
        [("cosine", base.clone()), ("warmup_cosine", Recipe { warmup_epochs: 0.5, ..base }), ("step", step)]
    {
        let rate = LearningRate::of_recipe(&recipe, 3, 10);
        let found: Vec<f64> = (0..rate.steps()).map(|t| rate.at(t)).collect();
        let difference = distance(&found, &values(&goldens[&format!("lr.{name}")])?);
        assert!(difference < 1e-12, "{name}: {difference:.1e}");
    }
    Ok(())
}
