//! What every [`Method`] has to hold, as one function for the tests of this and other crates.
//!
//! A method is built for many units (every role, strides 1 and 2, odd widths and sizes, kernels 1, 3 and 5, with and
//! without norm, activation, residual and bias). For each, [`check`] holds the counted cost against the parameters that
//! exist and the work that is executed, shapes against the specification, and gradients, seeds, modes and descriptions against
//! what [`Method`] promises. [`precision`] holds the numbers: those of the engine and of the operations against double precision,
//! gradients against finite differences, a [fused](Method::fused) unit against the trained one, that a unit can be
//! [made of a trained one](Method::approximates) where the method says so, and that it learns.

mod cases;
mod precision;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Error, ModuleT, Result, Tensor, Var, bail};
use candle_nn::{VarBuilder, VarMap};
use cases::{Case, cases};
use conv_core::{
    Cost, Depth, Layer, Method, ParamStore, Role, UnitSpec, describe, forward_unit, is_running_statistic, meter,
    normal_stream,
};

/// Images in a batch: two, so that a cost per image and one per batch differ.
const BATCH: usize = 2;
/// Height and width of the input: odd, different, and not divisible by the stride.
const SIZE: (usize, usize) = (9, 7);

/// Checks `method` on every unit. It has to make or decline those that networks ask for; an odd one that it cannot serve it
/// has to refuse, built as well as by [`describe`].
///
/// # Errors
/// The first promise that is broken, with the unit that breaks it.
pub fn check(method: &dyn Method) -> Result<()> {
    let width = method.width();
    if method.name().is_empty() || !(width > 0.0 && width <= 1.0) {
        bail!("name `{}`, width {width}: a method has a name, and a width in (0, 1]", method.name());
    }
    let mut signatures = BTreeMap::new();
    for Case { spec, residual, ordinary, precise } in cases() {
        let case = |error| Error::Msg(format!("{} as {spec:?}, residual {residual}: {error}", method.name()));
        if let Some(why) = refuses(method, &spec).map_err(case)? {
            if ordinary {
                let text = "networks ask for this unit, and it is refused; accepted: that it is made, or declined with a reason";
                return Err(case(Error::Msg(format!("{text}: {why}"))));
            }
            continue;
        }
        check_unit(method, &spec, residual).map_err(case)?;
        if precise {
            precision::check(method, &spec, residual).map_err(case)?;
        }
        // Whatever shapes the function shapes the signature; the role does not, nor that a residual comes.
        let function = UnitSpec { role: Role::Spatial, ..spec };
        let signature = describe(method, &spec, SIZE)?.signature;
        if let Some(other) = signatures.insert(signature.clone(), function)
            && other != function
        {
            return Err(case(Error::Msg(format!("{other:?} has the same signature, `{signature}`"))));
        }
    }
    Ok(())
}

/// Checks only that no unit is served in one way and refused in another: for options that make units too large to be run.
///
/// # Errors
/// The first unit that is.
pub fn check_refusals(method: &dyn Method) -> Result<()> {
    cases().iter().try_for_each(|case| refuses(method, &case.spec).map(drop))
}

/// Why the method refuses the unit, built as well as described; none if it makes it.
fn refuses(method: &dyn Method, spec: &UnitSpec) -> Result<Option<Error>> {
    let store = ParamStore::new(0, &Device::Cpu);
    let channels = spec.conv.in_channels;
    let x = Tensor::zeros((1, channels.max(1), SIZE.0, SIZE.1), DType::F32, &Device::Cpu)?;
    let built = forward_unit(method, spec, store.builder(), &x, None, false);
    match (built, describe(method, spec, SIZE)) {
        (Err(_), Err(why)) => Ok(Some(why)),
        (Ok(_), Ok(_)) if spec.conv.validate().is_ok() => Ok(None),
        (Ok(_), Ok(_)) => bail!("it is no convolution at all, and has to be refused"),
        (Err(why), Ok(_)) => bail!("it can be described, and not be built: {why}"),
        (Ok(_), Err(why)) => bail!("it can be built, and not be described: {why}"),
    }
}

fn check_unit(method: &dyn Method, spec: &UnitSpec, residual: bool) -> Result<()> {
    let out = spec.conv.output_size(SIZE)?;
    let description = describe(method, spec, SIZE)?;
    let x = Var::from_tensor(&noise("x", &[BATCH, spec.conv.in_channels, SIZE.0, SIZE.1])?)?;
    let shape = [BATCH, spec.conv.out_channels, out.0, out.1];
    let residual = match residual {
        true => Some(Var::from_tensor(&noise("residual", &shape)?)?),
        false => None,
    };
    let added = residual.as_ref().map(Var::as_tensor);

    // As it starts: a pass makes the parameters, and inference changes nothing of them.
    let unit = Unit { method, spec, cost: description.cost };
    let store = ParamStore::new(0, &Device::Cpu);
    unit.executes(&store, &x, added, false)?;
    if store.params() != unit.cost.params {
        bail!("{} parameters exist, the counted cost says {}", store.params(), unit.cost.params);
    }
    let fresh = store.snapshot()?;

    // Training.
    let y = unit.executes(&store, &x, added, true)?;
    if y.dims() != shape {
        bail!("the output is {:?}, the specification says {shape:?}", y.dims());
    }
    let trained = store.snapshot()?;
    for (name, before) in &fresh {
        let changed = bits(before)? != bits(&trained[name])?;
        if changed != is_running_statistic(name) {
            bail!("`{name}` changed in a training pass: {changed}; running statistics do, others do not");
        }
    }
    if spec.norm && !fresh.keys().any(|name| is_running_statistic(name)) {
        bail!("the unit has a norm, but no running statistics");
    }
    check_gradients(&y, &store, &x, residual.as_ref())?;

    // Inference: the same work, nothing changes, the same every time.
    let first = unit.executes(&store, &x, added, false)?;
    let second = unit.forward(&store, &x, added, false)?;
    if first.dims() != shape || bits(&first)? != bits(&second)? {
        bail!("inference twice: {:?} with different bits, or not {shape:?}", first.dims());
    }
    if spec.relu() && first.flatten_all()?.min(0)?.to_scalar::<f32>()? < 0.0 {
        bail!("the unit ends with ReLU, and its output has negative values: ReLU comes after the residual's addition");
    }
    if !same(&trained, &store.snapshot()?)? {
        bail!("an inference pass changed the parameters or running statistics");
    }
    if !spec.norm && bits(&y)? != bits(&first)? {
        bail!("without a norm, training and inference are the same function; they differ");
    }

    // Seeds.
    let (again, other) = (ParamStore::new(0, &Device::Cpu), ParamStore::new(1, &Device::Cpu));
    let second = unit.forward(&again, &x, added, true)?;
    if !same_names_and_weights(&fresh, &again)? || bits(&y)? != bits(&second)? {
        bail!("built twice from the same seed: other parameters or another output");
    }
    unit.forward(&other, &x, added, false)?;
    if same(&fresh, &other.snapshot()?)? {
        bail!("another seed gives the same parameters");
    }

    // Loading: parameters and running statistics are all there is.
    other.assign(&trained)?;
    if bits(&first)? != bits(&unit.forward(&other, &x, added, false)?)? {
        bail!("with the parameters and running statistics of another seed's unit, it computes something else");
    }

    // Any VarBuilder.
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    forward_unit(method, spec, vb, &x, added, true)?;
    let made: usize = map.data().lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len();
    if made != fresh.len() {
        bail!("{made} tensors in candle's VarMap, {} in a ParamStore", fresh.len());
    }

    // The bare layer is the unit, or says why not.
    let no_depth = matches!(description.depth, Some(Depth { requested: 1.., effective: 0 }));
    let layer = Layer::new(method, spec, store.builder().pp("unit"));
    match (method.declines(spec), layer) {
        (None, Ok(layer)) if bits(&layer.forward_t(&x, false)?)? == bits(&unit.forward(&store, &x, None, false)?)? => {}
        (Some(why), Err(error)) if error.to_string().contains(why) => {}
        (None, Err(error)) if no_depth && error.to_string().contains("no depth fits") => {}
        (declines, layer) => {
            bail!("declines: {declines:?}, and its bare layer differs or errs otherwise: {:?}", layer.err())
        }
    }

    if description.signature.is_empty() || description != describe(method, spec, SIZE)? {
        bail!("the description is empty or changes: {description:?}");
    }
    Ok(())
}

/// A unit to be run alone.
struct Unit<'a> {
    method: &'a dyn Method,
    spec: &'a UnitSpec,
    /// As counted.
    cost: Cost,
}

impl Unit<'_> {
    fn forward(&self, store: &ParamStore, x: &Tensor, residual: Option<&Tensor>, train: bool) -> Result<Tensor> {
        forward_unit(self.method, self.spec, store.builder().pp("unit"), x, residual, train)
    }

    /// Runs the unit and holds the work that it executes against the counted cost.
    fn executes(&self, store: &ParamStore, x: &Tensor, residual: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let (y, executed) = meter::measure(|| self.forward(store, x, residual, train));
        let batch = BATCH as u64;
        let expected = Cost { params: 0, macs: batch * self.cost.macs, activations: batch * self.cost.activations };
        if executed != expected {
            bail!("executed for {BATCH} images (training: {train}): {executed:?}; the counted cost says {expected:?}");
        }
        y
    }
}

/// Whether `store` holds what `fresh` does, running statistics aside.
fn same_names_and_weights(fresh: &BTreeMap<String, Tensor>, store: &ParamStore) -> Result<bool> {
    let mut now = store.snapshot()?;
    let statistics = fresh.iter().filter(|(name, _)| is_running_statistic(name) && now.contains_key(*name));
    let statistics: Vec<(String, Tensor)> = statistics.map(|(name, value)| (name.clone(), value.clone())).collect();
    now.extend(statistics);
    same(fresh, &now)
}

/// Every parameter, `x` and `residual` get a gradient of their shape, finite; those of `x` and `residual` are not all 0.
fn check_gradients(y: &Tensor, store: &ParamStore, x: &Var, residual: Option<&Var>) -> Result<()> {
    let gradients = (y * noise("loss", y.dims())?)?.sum_all()?.backward()?;
    let inputs = [("x", Some(x)), ("residual", residual)];
    let inputs = inputs.into_iter().filter_map(|(name, var)| Some((name.to_owned(), var?.clone())));
    for (name, var) in store.trainable().into_iter().chain(inputs) {
        let Some(gradient) = gradients.get(&var) else { bail!("`{name}` gets no gradient") };
        let values = gradient.flatten_all()?.to_vec1::<f32>()?;
        if gradient.dims() != var.dims() || values.iter().any(|value| !value.is_finite()) {
            bail!("the gradient of `{name}` is {:?} (it is {:?}) or not finite", gradient.dims(), var.dims());
        }
        if (name == "x" || name == "residual") && values.iter().all(|&value| value == 0.0) {
            bail!("the gradient of `{name}` is 0 everywhere");
        }
    }
    Ok(())
}

fn noise(name: &str, shape: &[usize]) -> Result<Tensor> {
    let values = normal_stream(7, name, shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F32)
}

fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

fn same(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> Result<bool> {
    if !a.keys().eq(b.keys()) {
        return Ok(false);
    }
    for (name, tensor) in a {
        if tensor.dims() != b[name].dims() || bits(tensor)? != bits(&b[name])? {
            return Ok(false);
        }
    }
    Ok(true)
}
