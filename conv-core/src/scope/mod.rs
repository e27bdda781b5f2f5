//! Where a method writes a unit down.

mod channels;
mod gate;

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

use crate::layers::{BatchNorm2d, Conv2d, Linear};
use crate::written::{Operation, Written};
use crate::{ConvSpec, Cost, Depth, Graph, UnitSpec, Value};

/// A [`Graph`] with a place for parameters: every operation that has some is given a name, and takes them from a [`VarBuilder`]
/// under it. Without a `VarBuilder` nothing is built: the same calls are only counted, into a [`Written`].
///
/// Values are images `[n, channels, h, w]` unless an operation says otherwise. Every operation fails on channels that do not
/// fit; one that is counted also on sizes that do not.
pub struct Scope<'a> {
    /// Names around what is written now, joined by dots.
    path: String,
    depth: Option<Depth>,
    sheet: Sheet<'a>,
}

enum Sheet<'a> {
    Build { graph: &'a mut Graph, vb: VarBuilder<'a> },
    Count(&'a mut Written),
}

/// A function that no operation of a graph says, with what has to be known of it: for [`Scope::custom`].
pub struct Custom<'a> {
    /// What it computes, settings included: equal texts, equal functions.
    pub text: &'a str,
    /// Trained parameters: name, shape and how they start.
    pub parameters: &'a [(&'a str, &'a [usize], Init)],
    /// Channels of the output.
    pub channels: usize,
    /// `(height, width)` of the output for those of the first input.
    pub size: &'a dyn Fn((usize, usize)) -> (usize, usize),
    /// Multiply-accumulates and activations for one image, given the output's `(height, width)`; `params` are counted already.
    pub cost: &'a dyn Fn((usize, usize)) -> Cost,
    /// Inputs, parameters and whether it trains, to the output.
    pub run: Arc<CustomFn>,
}

/// The function of a [`Custom`] operation.
pub type CustomFn = dyn Fn(&[Tensor], &[Tensor], bool) -> Result<Tensor> + Send + Sync;

impl<'a> Scope<'a> {
    /// Writes into `graph`, with parameters from `vb`.
    pub fn build(graph: &'a mut Graph, vb: VarBuilder<'a>) -> Self {
        Self { path: String::new(), depth: None, sheet: Sheet::Build { graph, vb } }
    }

    /// Writes into `written`, where nothing is built.
    pub(crate) fn count(written: &'a mut Written) -> Self {
        Self { path: String::new(), depth: None, sheet: Sheet::Count(written) }
    }

    /// Channels of `x`.
    pub fn channels(&self, x: Value) -> usize {
        match &self.sheet {
            Sheet::Build { graph, .. } => graph.channels(x),
            Sheet::Count(written) => written.channels(x),
        }
    }

    /// Whatever `write` writes, with `name` before its own names.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn within<T>(&mut self, name: &str, write: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outside = self.path.len();
        self.path = self.path_of(name);
        let result = write(self);
        self.path.truncate(outside);
        result
    }

    /// The unit's convolution with what follows it, as vanilla has it: `NAME.weight`, `NAME.bias`, `NAME.bn.*`.
    ///
    /// # Errors
    /// An impossible specification; channels or sizes that do not fit; those of the `VarBuilder`.
    pub fn unit(&mut self, name: &str, unit: &UnitSpec, x: Value, residual: Option<Value>) -> Result<Value> {
        let UnitSpec { conv, norm, .. } = *unit;
        let (relu, path) = (unit.relu(), self.path_of(name));
        conv.validate()?;
        match &mut self.sheet {
            Sheet::Count(written) => written.conv(path, conv, norm, residual, relu, x),
            Sheet::Build { graph, vb } => {
                let vb = at(vb, &path);
                let y = graph.conv(&Conv2d::new(conv, vb.clone())?, x)?;
                let norm = norm.then(|| BatchNorm2d::new(conv.out_channels, vb.pp("bn"))).transpose()?;
                graph.finish(y, norm.as_ref(), residual, relu)
            }
        }
    }

    /// `relu?(norm?(conv(x)))`: `NAME.weight`, `NAME.bias`, `NAME.bn.*`.
    ///
    /// # Errors
    /// As [`Scope::unit`].
    pub fn conv(&mut self, name: &str, conv: ConvSpec, norm: bool, relu: bool, x: Value) -> Result<Value> {
        self.unit(name, &UnitSpec { norm, ..UnitSpec::plain(conv).with_relu(relu) }, x, None)
    }

    /// What follows a unit's convolution, on `x`, which stands for it: batch norm (`bn.*`), the residual, ReLU.
    ///
    /// # Errors
    /// Channels or sizes that do not fit; those of the `VarBuilder`.
    pub fn finish(&mut self, unit: &UnitSpec, x: Value, residual: Option<Value>) -> Result<Value> {
        let name = if unit.norm { Some("bn") } else { None };
        self.normed(name, x, residual, unit.relu())
    }

    /// Batch norm of `x`, and ReLU if `relu`: `NAME.weight`, `NAME.bias` and running statistics.
    ///
    /// # Errors
    /// Those of the `VarBuilder`.
    pub fn norm(&mut self, name: &str, relu: bool, x: Value) -> Result<Value> {
        self.normed(Some(name), x, None, relu)
    }

    /// `relu?(x + residual?)`.
    ///
    /// # Errors
    /// Channels or sizes that do not fit.
    pub fn add_relu(&mut self, x: Value, residual: Option<Value>, relu: bool) -> Result<Value> {
        self.normed(None, x, residual, relu)
    }

    /// `x + y`.
    ///
    /// # Errors
    /// Channels or sizes that do not fit.
    pub fn add(&mut self, x: Value, y: Value) -> Result<Value> {
        self.normed(None, x, Some(y), false)
    }

    fn normed(&mut self, norm: Option<&str>, x: Value, residual: Option<Value>, relu: bool) -> Result<Value> {
        let path = norm.map(|name| self.path_of(name));
        match &mut self.sheet {
            Sheet::Count(written) => written.finish(path, x, residual, relu),
            Sheet::Build { graph, vb } => {
                let channels = graph.channels(x);
                let norm = path.map(|path| BatchNorm2d::new(channels, at(vb, &path))).transpose()?;
                graph.finish(x, norm.as_ref(), residual, relu)
            }
        }
    }

    /// `x` with one value added to each channel: `NAME`, which starts at 0.
    ///
    /// # Errors
    /// Those of the `VarBuilder`.
    pub fn bias(&mut self, name: &str, x: Value) -> Result<Value> {
        let (path, channels) = (self.path_of(name), self.channels(x));
        match &mut self.sheet {
            Sheet::Count(written) => {
                written.pay(Cost { params: channels as u64, ..Cost::default() })?;
                let size = written.size(x);
                Ok(written.push(Operation::Bias { name: path, x }, channels, size))
            }
            Sheet::Build { graph, vb } => graph.bias(x, &vb.get_with_hints(channels, &path, Init::Const(0.0))?),
        }
    }

    /// A fully connected layer, `[n, channels] -> [n, outputs]`: `NAME.weight`, `NAME.bias`.
    ///
    /// # Errors
    /// Those of the `VarBuilder`.
    pub fn linear(&mut self, name: &str, outputs: usize, x: Value) -> Result<Value> {
        let (path, inputs) = (self.path_of(name), self.channels(x));
        match &mut self.sheet {
            Sheet::Build { graph, vb } => graph.linear(&Linear::new(inputs, outputs, at(vb, &path))?, x),
            Sheet::Count(written) => {
                written.pay(Linear::cost(inputs, outputs))?;
                Ok(written.push(Operation::Linear { name: path, x, features: (inputs, outputs) }, outputs, (1, 1)))
            }
        }
    }

    /// Any function of candle tensors, for trying an idea out: a network that has one runs on candle's autograd as a whole, at
    /// its speed. Parameters take their names from where it is written.
    ///
    /// # Errors
    /// No inputs; those of the `VarBuilder`.
    pub fn custom(&mut self, inputs: &[Value], custom: &Custom<'_>) -> Result<Value> {
        let Some(&first) = inputs.first() else { bail!("`{}` reads nothing", custom.text) };
        let paths: Vec<String> = custom.parameters.iter().map(|(name, ..)| self.path_of(name)).collect();
        match &mut self.sheet {
            Sheet::Count(written) => {
                let size = (custom.size)(written.size(first));
                let values = custom.parameters.iter().map(|(_, shape, _)| shape.iter().product::<usize>() as u64);
                written.pay(Cost { params: values.sum(), ..(custom.cost)(size) })?;
                let names = custom.parameters.iter().zip(paths).map(|((_, shape, _), path)| format!("{path}{shape:?}"));
                let text = format!("{} -> {} channels", custom.text, custom.channels);
                let operation = Operation::Custom { text, names: names.collect(), inputs: inputs.to_vec() };
                Ok(written.push(operation, custom.channels, size))
            }
            Sheet::Build { graph, vb } => {
                let get = |((_, shape, init), path): (&(&str, &[usize], Init), &String)| {
                    vb.get_with_hints(*shape, path, *init)
                };
                let parameters = custom.parameters.iter().zip(&paths).map(get).collect::<Result<Vec<Tensor>>>()?;
                let (run, held) = (custom.run.clone(), parameters.clone());
                let function = Arc::new(move |inputs: &[Tensor], train: bool| run(inputs, &held, train));
                Ok(graph.custom(inputs, &parameters, custom.channels, function))
            }
        }
    }

    /// States how deep a recursion was asked for and how deep the unit allowed.
    pub fn depth(&mut self, depth: Depth) {
        self.depth = Some(depth);
    }

    /// What was stated last.
    pub(crate) fn stated_depth(&self) -> Option<Depth> {
        self.depth
    }

    /// What was counted; nothing where it is built.
    pub(crate) fn written(&self) -> Option<&Written> {
        match &self.sheet {
            Sheet::Build { .. } => None,
            Sheet::Count(written) => Some(written),
        }
    }

    /// Operations of the graph so far; 0 where nothing is built.
    pub(crate) fn built(&self) -> usize {
        match &self.sheet {
            Sheet::Build { graph, .. } => graph.ops().len(),
            Sheet::Count(_) => 0,
        }
    }

    /// Says that what was built from operation `start` on is the unit `name`.
    pub(crate) fn end_unit(&mut self, name: &str, start: usize) {
        let path = self.path_of(name);
        if let Sheet::Build { graph, .. } = &mut self.sheet {
            graph.end_unit(path, start);
        }
    }

    /// What a reader of the report should know of this unit, in place of what is derived (costs above vanilla).
    pub fn remarks(&mut self, remarks: impl FnOnce() -> Vec<String>) {
        if let Sheet::Count(written) = &mut self.sheet {
            written.remarks = Some(remarks());
        }
    }

    /// The unit's signature, in place of the derived one: all that shapes its function has to be in it. For methods whose results
    /// are older than derived signatures; a trial's key is a hash of them.
    pub fn signature(&mut self, signature: impl FnOnce(&Written) -> String) {
        if let Sheet::Count(written) = &mut self.sheet {
            written.signature = Some(signature(written));
        }
    }

    fn path_of(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }
}

/// `vb` where parameters stand under `path`.
fn at<'a>(vb: &VarBuilder<'a>, path: &str) -> VarBuilder<'a> {
    if path.is_empty() { vb.clone() } else { vb.pp(path) }
}
