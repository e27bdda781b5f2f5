//! The layer: a [`Plan`] with parameters.

use std::ops::Range;

use candle_core::{Module, ModuleT, Result, Tensor, bail};
use candle_nn::{Conv2dConfig, Init, VarBuilder};
use conv_core::layers::{BatchNorm2d, Conv2d};
use conv_core::{ConvSpec, Graph, Network, Value};

use crate::options::{CompConvOptions, Downsample, InnerNorm};
use crate::plan::{Half, Part, Plan, Source};

/// CompConv for networks that tell training from inference, which inner norms need: `[n, C_in, h, w] -> [n, C_out, h', w']`.
///
/// Parameters, where d is the effective depth: `inner.0` to `inner.{d-1}` are the convolutions that make B_(d-1) to B_0 (in
/// the order of computation), `tail` makes A_0, and without identity `side.0` to `side.{d-2}` make A_(d-1) to A_1. Each has
/// `weight`, those but the tail also `bn.*` where inner norms are on. The layer's own `bias: [C_out]` adds to the shuffled
/// output. At depth 0 there are `weight` and `bias` only, as in `candle_nn::Conv2d`.
pub struct CompConv2dT {
    parts: Parts,
    network: Network,
}

/// What the layer is made of.
struct Parts {
    plan: Plan,
    bias: Option<Tensor>,
    body: Body,
}

enum Body {
    Vanilla(Conv2d),
    /// From B_(d-1) and A_(d-1) down.
    Levels(Vec<Level>),
}

struct Level {
    b: Inner,
    a: Side,
    emitted: bool,
}

/// How A_i comes to be.
enum Side {
    /// From input channels.
    Identity(Range<usize>),
    /// From the first channels of B_i.
    Derived { channels: usize, conv: Inner },
}

/// An inner convolution with what follows it.
struct Inner {
    conv: Conv2d,
    norm: Option<BatchNorm2d>,
    /// Whether ReLU follows the norm.
    relu: bool,
}

impl Inner {
    fn new(plan: &Plan, part: &Part, vb: VarBuilder<'_>) -> Result<Self> {
        let Some(spec) = part.conv else { bail!("compconv: {:?}{} has no convolution", part.half, part.level) };
        let norm = match plan.has_norm(part) {
            true => Some(BatchNorm2d::new(part.channels, vb.pp("bn"))?),
            false => None,
        };
        let relu = norm.is_some() && plan.inner_norm == InnerNorm::BnRelu;
        Ok(Self { conv: Conv2d::new(spec, vb)?, norm, relu })
    }

    fn emit(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let y = graph.conv(&self.conv, x)?;
        graph.finish(y, self.norm.as_ref(), None, self.relu)
    }
}

impl CompConv2dT {
    /// The replacement of `spec`, with its parameters from `vb`.
    ///
    /// # Errors
    /// Those of [`Plan::new`] and of `vb`.
    pub fn new(spec: &ConvSpec, options: &CompConvOptions, vb: VarBuilder<'_>) -> Result<Self> {
        Self::from_plan(Plan::new(spec, options)?, vb)
    }

    /// The layer that `plan` describes, with its parameters from `vb`.
    ///
    /// # Errors
    /// Those of `vb`.
    pub fn from_plan(plan: Plan, vb: VarBuilder<'_>) -> Result<Self> {
        let bias = match plan.spec.bias {
            true => Some(vb.get_with_hints(plan.spec.out_channels, "bias", Init::Const(0.0))?),
            false => None,
        };
        let body = Body::new(&plan, vb)?;
        let parts = Parts { plan, bias, body };
        let network = Network::build(parts.plan.spec.in_channels, |graph, x| parts.emit(graph, x))?;
        Ok(Self { parts, network })
    }

    /// The layout.
    pub fn plan(&self) -> &Plan {
        &self.parts.plan
    }

    /// Writes down what the layer computes: `x: [n, C_in, h, w]` to `[n, C_out, h', w']`.
    ///
    /// # Errors
    /// Channels that are not those of the specification.
    pub fn emit(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        self.parts.emit(graph, x)
    }
}

impl Body {
    fn new(plan: &Plan, vb: VarBuilder<'_>) -> Result<Self> {
        if plan.parts.is_empty() {
            return Conv2d::new(ConvSpec { bias: false, ..plan.spec }, vb).map(Self::Vanilla);
        }
        let mut levels = Vec::with_capacity(plan.depth.effective);
        for (step, pair) in plan.parts.chunks_exact(2).enumerate() {
            let [b, a] = pair else { bail!("compconv: a level has a B and an A") };
            let side = match (&a.source, a.level) {
                (Source::B(channels), level) => {
                    let name = if level == 0 { "tail".to_owned() } else { format!("side.{step}") };
                    Side::Derived { channels: channels.len(), conv: Inner::new(plan, a, vb.pp(name))? }
                }
                (Source::Input(channels), _) => Side::Identity(channels.clone()),
                (Source::LevelAbove, _) => bail!("compconv: {:?}{} cannot read a level above", Half::A, a.level),
            };
            let inner = Inner::new(plan, b, vb.pp(format!("inner.{step}")))?;
            levels.push(Level { b: inner, a: side, emitted: b.emitted.is_some() });
        }
        Ok(Self::Levels(levels))
    }
}

impl Parts {
    fn emit(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let y = match &self.body {
            Body::Vanilla(conv) => graph.conv(conv, x)?,
            Body::Levels(levels) => self.emit_levels(levels, graph, x)?,
        };
        let y = graph.shuffle(y, self.plan.shuffle)?;
        match &self.bias {
            Some(bias) => graph.bias(y, bias),
            None => Ok(y),
        }
    }

    fn emit_levels(&self, levels: &[Level], graph: &mut Graph, x: Value) -> Result<Value> {
        let kept = match self.plan.downsample {
            Some(how) => {
                let identity = graph.slice(x, 0..self.plan.identity_channels())?;
                downsample(graph, identity, how, self.plan.spec.stride)
            }
            None => x,
        };
        let mut input = x;
        let mut output = Vec::with_capacity(levels.len());
        for level in levels {
            let b = level.b.emit(graph, input)?;
            let a = match &level.a {
                Side::Identity(channels) => graph.slice(kept, channels.clone())?,
                Side::Derived { channels, conv } => {
                    let first = graph.slice(b, 0..*channels)?;
                    conv.emit(graph, first)?
                }
            };
            // What the next level reads is also what this one adds to the output.
            input = graph.concat(&[b, a])?;
            if level.emitted {
                output.push(input);
            }
        }
        graph.concat(&output)
    }
}

/// Brings identity channels `[n, c, h, w]` to the output size `ceil(h / stride)`, `ceil(w / stride)`.
fn downsample(graph: &mut Graph, x: Value, how: Downsample, stride: usize) -> Value {
    match how {
        Downsample::Average => graph.avg_pool(x, stride, stride, true),
        // The average over a single pixel is the pixel.
        Downsample::Slice => graph.avg_pool(x, 1, stride, false),
    }
}

impl ModuleT for CompConv2dT {
    /// `[n, C_in, h, w] -> [n, C_out, h', w']`; `train` only matters to inner norms.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.network.forward_t(x, train)
    }
}

/// CompConv where a `candle_nn::Conv2d` stood: `[n, C_in, h, w] -> [n, C_out, h', w']`. Made by [`compconv2d`].
///
/// A candle `Module` (and so a `ModuleT`, whose flag it has no use for). It has no inner norms, which would have to know
/// whether they train; [`CompConv2dT`] has. Parameters are named as there.
pub struct CompConv2d(CompConv2dT);

impl CompConv2d {
    /// The replacement of `spec`, with its parameters from `vb`.
    ///
    /// # Errors
    /// Those of [`Plan::new`] and of `vb`; inner norms.
    pub fn new(spec: &ConvSpec, options: &CompConvOptions, vb: VarBuilder<'_>) -> Result<Self> {
        if options.inner_norm != InnerNorm::None {
            bail!("compconv: a CompConv2d has no inner norms, which must know whether they train; use CompConv2dT");
        }
        CompConv2dT::new(spec, options, vb).map(Self)
    }

    /// The layout.
    pub fn plan(&self) -> &Plan {
        self.0.plan()
    }
}

impl Module for CompConv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward_t(x, false)
    }
}

/// A CompConv with bias, called as `candle_nn::conv2d` is.
///
/// # Errors
/// Those of [`CompConv2d::new`]; a dilation other than 1.
pub fn compconv2d(
    in_channels: usize,
    out_channels: usize,
    kernel_size: usize,
    config: Conv2dConfig,
    options: &CompConvOptions,
    vb: VarBuilder<'_>,
) -> Result<CompConv2d> {
    CompConv2d::new(&spec_of(in_channels, out_channels, kernel_size, config, true)?, options, vb)
}

/// A CompConv without bias, called as `candle_nn::conv2d_no_bias` is.
///
/// # Errors
/// Those of [`CompConv2d::new`]; a dilation other than 1.
pub fn compconv2d_no_bias(
    in_channels: usize,
    out_channels: usize,
    kernel_size: usize,
    config: Conv2dConfig,
    options: &CompConvOptions,
    vb: VarBuilder<'_>,
) -> Result<CompConv2d> {
    CompConv2d::new(&spec_of(in_channels, out_channels, kernel_size, config, false)?, options, vb)
}

fn spec_of(
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    config: Conv2dConfig,
    bias: bool,
) -> Result<ConvSpec> {
    let Conv2dConfig { padding, stride, dilation, groups, .. } = config;
    if dilation != 1 {
        bail!("compconv: dilation = {dilation} is not supported, 1 is");
    }
    Ok(ConvSpec { in_channels, out_channels, kernel, stride, padding, groups, bias })
}
