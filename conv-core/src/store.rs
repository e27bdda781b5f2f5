//! A network's parameters, by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use candle_nn::init::{FanInOut, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Whether the tensor of this name is a running statistic: saved with the network, never trained.
pub fn is_running_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}

/// Owner of a network's variables. Every new one is drawn from a ChaCha stream keyed by (seed, name): the same seed gives
/// the same bits, whatever else the network holds and in whatever order it is built.
#[derive(Clone)]
pub struct ParamStore {
    seed: u64,
    device: Device,
    vars: Arc<Mutex<BTreeMap<String, Var>>>,
}

impl ParamStore {
    /// An empty store.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { seed, device: device.clone(), vars: Arc::default() }
    }

    /// A builder that creates what it is asked for (or finds it, when it is there already).
    pub fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, self.device.clone())
    }

    /// Every variable, sorted by name.
    pub fn named(&self) -> Vec<(String, Var)> {
        self.lock().iter().map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    /// The variables that training changes by gradient, sorted by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.named().into_iter().filter(|(name, _)| !is_running_statistic(name)).collect()
    }

    /// Number of trainable values.
    pub fn params(&self) -> u64 {
        self.trainable().iter().map(|(_, var)| var.elem_count() as u64).sum()
    }

    /// A copy of every tensor by name.
    ///
    /// # Errors
    /// Those of copying.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.named().into_iter().map(|(name, var)| Ok((name, var.as_tensor().copy()?))).collect()
    }

    /// Overwrites every variable that exists with the tensor of its name.
    ///
    /// # Errors
    /// A variable without a tensor, a tensor without a variable, or shapes that differ.
    pub fn assign(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let vars = self.lock();
        if let Some(extra) = tensors.keys().find(|name| !vars.contains_key(*name)) {
            bail!("the weights hold `{extra}`, which this network has not");
        }
        for (name, var) in vars.iter() {
            let Some(tensor) = tensors.get(name) else { bail!("the weights lack `{name}`") };
            if tensor.shape() != var.shape() {
                bail!("`{name}` is {:?} in the weights and {:?} in the network", tensor.shape(), var.shape());
            }
            var.set(tensor)?;
        }
        Ok(())
    }

    /// Writes every tensor as safetensors.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors = self.snapshot()?.into_iter().collect();
        candle_core::safetensors::save(&tensors, path)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Var>> {
        self.vars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimpleBackend for ParamStore {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut vars = self.lock();
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                bail!("`{name}` was made as {:?} and is now asked for as {shape:?}", var.shape());
            }
            return Ok(var.as_tensor().clone());
        }
        let values = draw(self.seed, name, &shape, init);
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)?;
        vars.insert(name.to_owned(), var.clone());
        Ok(var.as_tensor().clone())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        match self.lock().get(name) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => bail!("no variable is called `{name}`"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }
}

/// The ChaCha stream that belongs to `(seed, name)`.
fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

fn unit_uniform(rng: &mut ChaCha8Rng) -> f64 {
    // 53 random bits in (0, 1]: the logarithm below never sees 0.
    ((rng.next_u64() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
}

/// `count` standard normal values (Box-Muller) from the stream of `(seed, name)`.
pub fn normal_stream(seed: u64, name: &str, count: usize) -> Vec<f64> {
    let mut rng = stream(seed, name);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * unit_uniform(&mut rng).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit_uniform(&mut rng)).sin_cos();
        values.push(radius * cos);
        values.push(radius * sin);
    }
    values.truncate(count);
    values
}

fn draw(seed: u64, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
    let count = shape.elem_count();
    let normal = |mean: f64, stdev: f64| -> Vec<f32> {
        normal_stream(seed, name, count).into_iter().map(|z| (mean + stdev * z) as f32).collect()
    };
    let uniform = |low: f64, high: f64| -> Vec<f32> {
        let mut rng = stream(seed, name);
        (0..count).map(|_| (low + (high - low) * unit_uniform(&mut rng)) as f32).collect()
    };
    match init {
        Init::Const(value) => vec![value as f32; count],
        Init::Randn { mean, stdev } => normal(mean, stdev),
        Init::Uniform { lo, up } => uniform(lo, up),
        Init::Kaiming { dist, fan, non_linearity } => {
            // PyTorch's fans: the weight's first dimension out, its second in, each times the kernel; groups do not enter.
            let fan = match fan {
                FanInOut::FanIn => FanInOut::FanIn.for_shape(shape),
                FanInOut::FanOut => FanInOut::FanOut.for_shape(shape),
            };
            let stdev = non_linearity.gain() / (fan as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => normal(0.0, stdev),
                NormalOrUniform::Uniform => uniform(-(3f64.sqrt()) * stdev, 3f64.sqrt() * stdev),
            }
        }
    }
}
