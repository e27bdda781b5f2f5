//! A unit's numbers, held against those that the same unit gives in double precision, operation by operation on candle's own
//! functions: its outputs, every gradient, its running statistics. Double precision's gradients are held against differences.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Error, Result, Tensor, Var, bail};
use candle_nn::VarBuilder;
use conv_core::{
    Backend, Graph, Method, Network, OffEngine, ParamStore, SMALLEST_BATCH, Scope, UnitSpec, Value, cost,
    is_running_statistic,
};

use super::{SIZE, noise};
use crate::Vanilla;

/// Images: as few as the engine takes, and fewer, which operations compute on their own kernels.
const BATCHES: [usize; 2] = [SMALLEST_BATCH, 2];
/// Step of the differences: so small that hardly any ReLU changes sides within it, in double precision still a step.
const STEP: f64 = 1e-8;
/// Directions of which one has to agree: on the others a ReLU may have changed sides after all.
const WAYS: usize = 3;
/// Steps of learning.
const STEPS: usize = 5;

pub(super) fn check(method: &dyn Method, spec: &UnitSpec, residual: bool) -> Result<()> {
    if let Some(fused) = method.fused()
        && fused.method.declines(spec) != method.declines(spec)
    {
        bail!("fused: `{:?}` declines other units than what is trained", fused.method);
    }
    if method.declines(spec).is_some() {
        // Vanilla's, whose numbers are held as those of its own method.
        return Ok(());
    }
    for batch in BATCHES {
        let store = ParamStore::new(0, &Device::Cpu);
        let single = network(method, spec, residual, store.builder())?;
        roughen(&store)?;
        let double = Doubles::new(method, spec, residual, &store)?;
        let images = images(spec, residual, batch)?;
        if batch >= SMALLEST_BATCH {
            on_engine(&single, &images, true)?;
        }
        let (exact_images, gradients) = check_training(&single, &store, &double, &images)?;
        let pooled = pooled(method, spec, residual, store.builder())?;
        on_engine(&pooled, &images, false)?;
        check_inference(&single, &pooled, &double, &images)?;
        check_fused(method, spec, residual, &store, &images)?;
        if batch < SMALLEST_BATCH {
            check_differences(&double, &exact_images, &gradients)?;
        }
    }
    check_approximation(method, spec, residual)?;
    check_learning(method, spec, residual)
}

/// The unit as a network of its own.
fn network(method: &dyn Method, spec: &UnitSpec, residual: bool, vb: VarBuilder<'_>) -> Result<Network> {
    Network::build(channels(spec, residual), |graph, images| write(graph, images, method, spec, residual, vb))
}

/// The unit with a mean over all pixels behind it.
fn pooled(method: &dyn Method, spec: &UnitSpec, residual: bool, vb: VarBuilder<'_>) -> Result<Network> {
    Network::build(channels(spec, residual), |graph, images| {
        let y = write(graph, images, method, spec, residual, vb)?;
        Ok(graph.global_avg_pool(y))
    })
}

/// Writes the unit into `graph`. A residual comes with the images, as further channels.
fn write(
    graph: &mut Graph,
    images: Value,
    method: &dyn Method,
    spec: &UnitSpec,
    residual: bool,
    vb: VarBuilder<'_>,
) -> Result<Value> {
    let inputs = spec.conv.in_channels;
    let x = graph.slice(images, 0..inputs)?;
    let added = if residual { Some(graph.slice(images, inputs..channels(spec, residual))?) } else { None };
    // Every pixel at which a window of the convolution has its centre.
    let added = added.map(|added| graph.avg_pool(added, 1, spec.conv.stride, false));
    Scope::build(graph, vb).make("", method, spec, x, added)
}

fn channels(spec: &UnitSpec, residual: bool) -> usize {
    spec.conv.in_channels + if residual { spec.conv.out_channels } else { 0 }
}

fn images(spec: &UnitSpec, residual: bool, batch: usize) -> Result<Var> {
    Var::from_tensor(&noise("images", &[batch, channels(spec, residual), SIZE.0, SIZE.1])?)
}

/// Moves scales, shifts and biases off their first values: nothing is multiplied by one, or added as zero.
fn roughen(store: &ParamStore) -> Result<()> {
    for (name, var) in store.named() {
        if var.rank() == 1 {
            let change = noise(&name, var.dims())?;
            // A variance stays positive.
            let change = if name.ends_with("running_var") { change.abs()? } else { change };
            var.set(&(var.as_tensor() + (change * 0.3)?)?)?;
        }
    }
    Ok(())
}

/// A unit in double precision.
struct Doubles {
    network: Network,
    vars: BTreeMap<String, Var>,
}

impl Doubles {
    /// With the values that are in `store`.
    fn new(method: &dyn Method, spec: &UnitSpec, residual: bool, store: &ParamStore) -> Result<Self> {
        let double = |(name, var): (String, Var)| Ok((name, Var::from_tensor(&var.to_dtype(DType::F64)?)?));
        let vars = store.named().into_iter().map(double).collect::<Result<BTreeMap<_, _>>>()?;
        let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        let network = network(method, spec, residual, VarBuilder::from_tensors(tensors, DType::F64, &Device::Cpu))?;
        Ok(Self { network, vars })
    }

    /// The output of images in double precision.
    fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        let y = self.network.forward_t(images, train);
        y.map_err(|error| Error::Msg(format!("in double precision: {error}")))
    }
}

/// The gradients of an output's scalar product with noise.
fn gradients(y: &Tensor) -> Result<GradStore> {
    loss(y)?.backward()
}

fn loss(y: &Tensor) -> Result<Tensor> {
    (y * noise("loss", y.dims())?.to_dtype(y.dtype())?)?.sum_all()
}

/// That an engine runs it; functions of candle tensors alone may keep it off.
fn on_engine(network: &Network, images: &Tensor, train: bool) -> Result<()> {
    match network.engine_layers(Backend::default(), images.dims4()?.into(), train)? {
        Ok(_) | Err(OffEngine::Custom) => Ok(()),
        Err(why) => bail!("no engine runs it: {why}"),
    }
}

/// Returns the images and the gradients in double precision.
fn check_training(single: &Network, store: &ParamStore, double: &Doubles, images: &Var) -> Result<(Var, GradStore)> {
    let y = single.forward_t(images, true)?;
    let exact_images = Var::from_tensor(&images.to_dtype(DType::F64)?)?;
    let exact = double.forward(&exact_images, true)?;
    let (gradients, exact_gradients) = (gradients(&y)?, gradients(&exact)?);
    close("the output in training", &y, &exact, 1e-4)?;
    let of = |store: &GradStore, var: &Var, name: &str| match store.get(var) {
        Some(gradient) => Ok(gradient.clone()),
        None => bail!("`{name}` gets no gradient"),
    };
    for (name, var) in store.named() {
        let exact = &double.vars[&name];
        if is_running_statistic(&name) {
            close(&format!("`{name}` after training"), &var, exact, 1e-4)?;
        } else {
            let (got, want) = (of(&gradients, &var, &name)?, of(&exact_gradients, exact, &name)?);
            close(&format!("the gradient of `{name}`"), &got, &want, 1e-3)?;
        }
    }
    let (got, want) = (of(&gradients, images, "x")?, of(&exact_gradients, &exact_images, "x")?);
    close("the gradient of the input", &got, &want, 1e-3)?;
    Ok((exact_images, exact_gradients))
}

/// On an engine, and for few images by operations; with a mean over all pixels behind it, few images have an engine too.
fn check_inference(single: &Network, pooled: &Network, double: &Doubles, images: &Tensor) -> Result<()> {
    let exact = double.forward(&images.to_dtype(DType::F64)?, false)?;
    close("the output in inference", &single.forward_t(images, false)?, &exact, 1e-4)?;
    let means = exact.mean((2, 3))?;
    close("the output's mean", &pooled.inference(Backend::default()).forward(images)?, &means, 1e-4)
}

/// What a trained unit becomes computes what the unit does, from tensors of its own names and shapes, and for no more.
fn check_fused(
    method: &dyn Method,
    spec: &UnitSpec,
    residual: bool,
    store: &ParamStore,
    images: &Tensor,
) -> Result<()> {
    let Some(fused) = method.fused() else { return Ok(()) };
    let (after, before) = (cost(&*fused.method, spec, SIZE)?, cost(method, spec, SIZE)?);
    if after.macs > before.macs || after.params > before.params {
        bail!("fused: it costs {after:?}, and before {before:?}");
    }
    let own = ParamStore::new(0, &Device::Cpu);
    let network = network(&*fused.method, spec, residual, own.builder())?;
    own.assign(&fused.unit(spec, &store.snapshot()?)?)?;
    let trained = self::network(method, spec, residual, store.builder())?.forward_t(images, false)?;
    close("the fused unit's output", &network.forward_t(images, false)?, &trained.to_dtype(DType::F64)?, 1e-4)
}

/// What is made of a trained vanilla unit is this unit, from tensors of its own names and shapes, and computes something.
fn check_approximation(method: &dyn Method, spec: &UnitSpec, residual: bool) -> Result<()> {
    let Some(approximates) = method.approximates() else { return Ok(()) };
    let [vanilla, own] = [0, 1].map(|seed| ParamStore::new(seed, &Device::Cpu));
    network(&Vanilla {}, spec, residual, vanilla.builder())?;
    roughen(&vanilla)?;
    let network = network(method, spec, residual, own.builder())?;
    let made = approximates.unit(spec, &vanilla.snapshot()?);
    made.and_then(|unit| own.assign(&unit)).map_err(|error| Error::Msg(format!("made of a trained unit: {error}")))?;
    let images = images(spec, residual, SMALLEST_BATCH)?;
    let squares = scalar(&network.forward_t(&images, false)?.sqr()?.sum_all()?)?;
    if !squares.is_finite() {
        bail!("made of a trained unit: its output is not finite");
    }
    Ok(())
}

/// Along a direction in which everything changes, the loss changes as its gradients say.
fn check_differences(double: &Doubles, images: &Var, gradients: &GradStore) -> Result<()> {
    let trained = double.vars.iter().filter(|(name, _)| !is_running_statistic(name));
    let vars: Vec<&Var> = trained.map(|(_, var)| var).chain([images]).collect();
    let Some(gradients) = vars.iter().map(|var| gradients.get(var)).collect::<Option<Vec<_>>>() else {
        bail!("a parameter gets no gradient in double precision");
    };
    let squares = gradients.iter().map(|gradient| scalar(&gradient.sqr()?.sum_all()?)).sum::<Result<f64>>()?;

    let mut said = String::new();
    for way in 0..WAYS {
        let direction =
            |(place, var): (usize, &&Var)| noise(&format!("direction {way} {place}"), var.dims())?.to_dtype(DType::F64);
        let directions = vars.iter().enumerate().map(direction).collect::<Result<Vec<_>>>()?;
        let along = |(gradient, direction): (&&Tensor, &Tensor)| scalar(&(*gradient * direction)?.sum_all()?);
        let slope = gradients.iter().zip(&directions).map(along).sum::<Result<f64>>()?;
        let walk = |step: f64| -> Result<f64> {
            for (var, direction) in vars.iter().zip(&directions) {
                var.set(&(var.as_tensor().copy()? + (direction * step)?)?)?;
            }
            scalar(&loss(&double.forward(images, true)?)?)
        };
        // What is left of the way is far below what is tolerated.
        let (ahead, behind) = (walk(STEP)?, walk(-2.0 * STEP)?);
        let difference = (ahead - behind) / (2.0 * STEP);
        // Where gradients are right, the slope along a direction is about as large as they are.
        if (slope - difference).abs() <= 1e-3 * squares.sqrt() {
            return Ok(());
        }
        said = format!("{slope}, differences by {difference}");
    }
    bail!("in double precision its gradients say that the loss changes by {said}")
}

/// In a few steps it comes nearer to the same unit of another seed.
fn check_learning(method: &dyn Method, spec: &UnitSpec, residual: bool) -> Result<()> {
    let [store, other] = [0, 1].map(|seed| ParamStore::new(seed, &Device::Cpu));
    let images = images(spec, residual, SMALLEST_BATCH)?;
    let images = images.as_tensor().detach();
    let goal = network(method, spec, residual, other.builder())?.forward_t(&images, true)?.detach();
    let network = network(method, spec, residual, store.builder())?;
    let (mut losses, mut rate) = (vec![], None);
    for _ in 0..=STEPS {
        let loss = (network.forward_t(&images, true)? - &goal)?.sqr()?.mean_all()?;
        losses.push(scalar(&loss)?);
        let gradients = loss.backward()?;
        let of = |(_, var): (String, Var)| Some((gradients.get(&var)?.clone(), var));
        let pairs: Vec<(Tensor, Var)> = store.trainable().into_iter().filter_map(of).collect();
        let squares = pairs.iter().map(|(gradient, _)| scalar(&gradient.sqr()?.sum_all()?)).sum::<Result<f64>>()?;
        // Short steps, to which any network is nearly linear: at the start a hundredth of the way to where the tangent reaches 0.
        let rate = *rate.get_or_insert(0.01 * losses[0] / squares.max(f64::MIN_POSITIVE));
        for (gradient, var) in pairs {
            var.set(&(var.as_tensor() - (gradient * rate)?)?.detach())?;
        }
    }
    let falls = losses[STEPS] < losses[0];
    if !falls {
        bail!("{STEPS} steps of learning, and the loss does not fall: {losses:?}");
    }
    Ok(())
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    tensor.to_dtype(DType::F64)?.to_scalar()
}

/// Each value within `tolerance` of the largest, or of 1 where all are smaller (the gradient of a bias before a norm is 0, and a
/// sum of what is not); none that is no number.
fn close(what: &str, single: &Tensor, double: &Tensor, tolerance: f64) -> Result<()> {
    if single.dims() != double.dims() {
        bail!("{what}: {:?}, in double precision {:?}", single.dims(), double.dims());
    }
    let values = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (single, double) = (values(single)?, values(double)?);
    let largest = double.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    for (got, want) in single.iter().zip(&double) {
        let is_close = (got - want).abs() <= tolerance * largest;
        if !is_close {
            bail!("{what} is {got}, in double precision {want}; the largest value is {largest}");
        }
    }
    Ok(())
}
