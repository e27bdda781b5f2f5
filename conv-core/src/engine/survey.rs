//! What each layer of an engine does: with which kernel, how much of it, and, where that is asked for, how long it takes.

use std::collections::HashMap;
use std::time::Duration;

use candle_core::Tensor;

use super::arena::ArenaLayout;
use super::choice::ImageKernel;
use super::layers::{Conv, ConvId, Finish, LayerId, Layers, Plain, PlainOp};
use super::program::{Pass, Program};
use crate::ConvSpec;
use crate::kernels::batch16::winograd;
use crate::kernels::map::{Crossing, Map};
use crate::kernels::windows::Windows;

/// A layer as an engine runs it. Slices, concatenations, shuffles and padding are none: they move nothing.
#[derive(Clone, Debug)]
pub struct EngineLayer {
    /// The parameter by whose name the layer is known: a convolution's weight, a norm's scale. None for what has none.
    pub parameter: Option<Tensor>,
    /// The convolution, where it is one; a linear layer is a 1 x 1 convolution of maps of one pixel.
    pub conv: Option<ConvSpec>,
    /// What it is, in words: `conv 3x3`, `norm + relu`, `max pool 2x2`.
    pub kind: String,
    /// `(channels, height, width)` that it reads.
    pub input: (usize, usize, usize),
    /// `(channels, height, width)` that it writes.
    pub output: (usize, usize, usize),
    /// What it does. Empty for a norm in inference that a convolution does on its way.
    pub passes: Vec<PassWork>,
}

/// One pass of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct PassWork {
    /// Which.
    pub pass: Pass,
    /// The kernel that does it.
    pub kernel: &'static str,
    /// Multiply-accumulates for an image by the direct sum, padding counted; 0 for what is no convolution.
    pub macs: u64,
    /// Multiplications of the kernel's own form for one of [`PassWork::macs`]: 1, and 4/9 for Winograd's form, or a little more
    /// where its tiles go beyond the map.
    pub multiplications: f64,
    /// Values that are read and written for an image, each once a step.
    pub values: u64,
    /// Weights that are read or written, once for all images.
    pub weights: u64,
    /// How long it took: of all threads together, divided by their number; work on few images from the first task to the
    /// last. None where it was not asked for.
    pub time: Option<Duration>,
}

/// The kernel whose own multiplications are fewer than the direct sum's.
pub(super) const WINOGRAD: &str = "winograd";

/// The layers of a batch engine, or of the plan of one, whose format names the kernels.
pub(super) fn of_batch<C: AsRef<Conv>, F: AsRef<Finish>>(
    layers: &Layers<C, F>,
    program: &Program,
    kernel: fn(&Conv, Pass) -> &'static str,
) -> Vec<EngineLayer> {
    survey(layers, program, |id: ConvId, pass| kernel(layers[id].as_ref(), pass))
}

/// The layers of an engine of single images.
pub(super) fn of_image(layers: &Layers, program: &Program, layout: &ArenaLayout<'_>) -> Vec<EngineLayer> {
    let kernel = |id: ConvId, _| match layout.kernel(&layers[id]) {
        ImageKernel::Pixels => "pixels",
        ImageKernel::SpreadPixels => "spread pixels",
        ImageKernel::Channels => "channels",
    };
    survey(layers, program, kernel)
}

fn survey<C: AsRef<Conv>, F: AsRef<Finish>>(
    layers: &Layers<C, F>,
    program: &Program,
    kernel: impl Fn(ConvId, Pass) -> &'static str,
) -> Vec<EngineLayer> {
    let mut passes: HashMap<LayerId, Vec<Pass>> = HashMap::new();
    for phase in program.forward.iter().chain(&program.backward.phases) {
        let steps = phase.steps.iter().filter_map(|step| step.pass());
        for (layer, pass) in steps.chain(phase.reduction.pass()) {
            let passes = passes.entry(layer).or_default();
            if !passes.contains(&pass) {
                passes.push(pass);
            }
        }
    }
    let trains = !program.backward.phases.is_empty();
    let of = |&layer: &LayerId| {
        let mut row = match layer {
            LayerId::Conv(id) => conv(layers[id].as_ref(), program, |pass| kernel(id, pass)),
            LayerId::Finish(id) => finish(layers[id].as_ref(), program, trains),
            LayerId::Plain(id) => plain(&layers[id], program),
        };
        let done = passes.get(&layer).map(Vec::as_slice).unwrap_or_default();
        row.passes.retain(|work| done.contains(&work.pass));
        row
    };
    program.order.iter().map(of).collect()
}

fn conv(conv: &Conv, program: &Program, kernel: impl Fn(Pass) -> &'static str) -> EngineLayer {
    let s = &conv.shape;
    let (inputs, outputs) = (s.x_len() as u64, s.y_len() as u64);
    let residual = if conv.to.residual.is_empty() { 0 } else { outputs };
    let work = |pass| {
        let kernel = kernel(pass);
        PassWork {
            pass,
            kernel,
            macs: s.macs(),
            multiplications: if kernel == WINOGRAD { winograd::multiplications(s.output) } else { 1.0 },
            values: inputs + outputs + if pass == Pass::Forward { residual } else { 0 },
            weights: s.w_len() as u64,
            time: None,
        }
    };
    let linear = s.input == (1, 1) && s.kernel == 1;
    let kind = match (s.groups, linear) {
        (_, true) => "linear".to_owned(),
        (1, _) => format!("conv {k}x{k}", k = s.kernel),
        (groups, _) if groups == s.in_channels => format!("depthwise {k}x{k}", k = s.kernel),
        (groups, _) => format!("conv {k}x{k} in {groups} groups", k = s.kernel),
    };
    let kind = if s.stride == 1 { kind } else { format!("{kind} / {}", s.stride) };
    EngineLayer {
        parameter: Some(program.parameters[conv.weight].clone()),
        conv: Some(ConvSpec {
            in_channels: s.in_channels,
            out_channels: s.out_channels,
            kernel: s.kernel,
            stride: s.stride,
            padding: s.padding,
            groups: s.groups,
            bias: conv.bias.is_some(),
        }),
        kind,
        input: (s.in_channels, s.input.0, s.input.1),
        output: (s.out_channels, s.output.0, s.output.1),
        passes: [Pass::Forward, Pass::InputGradient, Pass::WeightGradient].map(work).to_vec(),
    }
}

/// A pass that multiplies no weights: it goes over so many values of an image.
fn without_products(pass: Pass, kernel: &'static str, values: u64) -> PassWork {
    PassWork { pass, kernel, macs: 0, multiplications: 1.0, values, weights: 0, time: None }
}

fn finish(finish: &Finish, program: &Program, trains: bool) -> EngineLayer {
    let size = program.buffers[finish.y].size;
    let shape = (finish.x.len(), size.0, size.1);
    let values = (shape.0 * shape.1 * shape.2) as u64;
    let parts = [
        (finish.norm.is_some(), "norm"),
        (finish.bias.is_some(), "bias"),
        (finish.residual.is_some(), "residual"),
        (finish.relu, "relu"),
    ];
    let named: Vec<&str> = parts.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect();
    let (norm, residual) = (u64::from(finish.norm.is_some()), u64::from(finish.residual.is_some()));
    let work = |pass, kernel, planes: u64| without_products(pass, kernel, planes * values);
    let forward = if trains && norm == 1 { "moments + apply" } else { "apply" };
    // In training the input is read for its moments first. The gradient's sums read input and output gradient, and store the
    // residual's; then both are read again, and the input's is stored.
    let measured = if trains { norm } else { 0 };
    EngineLayer {
        parameter: match (&finish.norm, finish.bias) {
            (Some(norm), _) => Some(program.parameters[norm.weight].clone()),
            (None, bias) => bias.map(|bias| program.parameters[bias].clone()),
        },
        conv: None,
        kind: named.join(" + "),
        input: shape,
        output: shape,
        passes: vec![
            work(Pass::Forward, forward, 2 + measured + residual),
            work(Pass::InputGradient, "sums + apply", 3 + 2 * norm + residual),
        ],
    }
}

fn plain(plain: &Plain, program: &Program) -> EngineLayer {
    let (from, outputs) = (plain.x.len(), program.buffers[plain.y].planes);
    let to = program.buffers[plain.y].size;
    let size = match &plain.op {
        PlainOp::MaxPool(windows) | PlainOp::MeanPool(windows) => windows.input,
        PlainOp::Repeat(windows) => windows.output,
        _ => to,
    };
    let (x, y) = ((from * size.0 * size.1) as u64, (outputs * to.0 * to.1) as u64);
    let pool = |name: &str, windows: &Windows| {
        if windows.output == (1, 1) {
            format!("global {name} pool")
        } else {
            format!("{name} pool {k}x{k} / {}", windows.stride, k = windows.kernel)
        }
    };
    // Values that are met forward, and going back. The gradient of a maximum looks at input and output once more; a group norm
    // reads its input for mean and variance before it normalises, and all of that once more with the output's gradient.
    let (kernel, kind, forward, backward) = match &plain.op {
        PlainOp::MaxPool(windows) => ("max", pool("max", windows), x + y, 2 * (x + y)),
        PlainOp::MeanPool(windows) => ("average", pool("average", windows), x + y, x + y),
        PlainOp::Repeat(windows) => ("repeat", format!("upsample {}", windows.kernel), x + y, x + y),
        PlainOp::Map(Map::Sigmoid) => ("map", "sigmoid".to_owned(), x + y, x + 2 * y),
        PlainOp::Map(Map::Relu6) => ("map", "relu6".to_owned(), x + y, x + 2 * y),
        PlainOp::Product { by, pixel, .. } => {
            let kind =
                if from == outputs { "product".to_owned() } else { format!("sum of {} products", from / outputs) };
            let by = if *pixel { by.len() as u64 } else { x };
            // Going back, the output's gradient is met once for the gradient of each factor.
            ("product", kind, x + by + y, 4 * x + 2 * by)
        }
        PlainOp::CrossedGate(Crossing { threshold }) => {
            ("crossed gate", format!("crossed gate above {threshold}"), x + y, 2 * x + y)
        }
        PlainOp::Softmax { parts } => ("softmax", format!("softmax of {parts}"), x + y, x + 2 * y),
        PlainOp::GroupNorm(norm) => ("group norm", format!("group norm of {}", norm.groups), 3 * x + y, 5 * x + 2 * y),
    };
    let parameter = match &plain.op {
        PlainOp::GroupNorm(norm) => Some(program.parameters[norm.weight].clone()),
        _ => None,
    };
    EngineLayer {
        parameter,
        conv: None,
        kind,
        input: (from, size.0, size.1),
        output: (outputs, to.0, to.1),
        passes: vec![
            without_products(Pass::Forward, kernel, forward),
            without_products(Pass::InputGradient, kernel, backward),
        ],
    }
}

impl AsRef<Conv> for Conv {
    fn as_ref(&self) -> &Conv {
        self
    }
}

impl AsRef<Finish> for Finish {
    fn as_ref(&self) -> &Finish {
        self
    }
}
