//! The engine of batches in bfloat16, for inference: the layers, program and memory plan of the other one, over planes of 32
//! bytes a pixel.
//!
//! Values are stored in bf16 and weights rounded to it; sums, norms, biases, residuals and means are f32 until what comes of them
//! is stored. Layers that have no kernel in bf16 are refused by name.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::block::{BlockLayout, Slab};
use super::choice::{self, HalfKernel};
use super::layers::{Channel, Conv, Layers, Plain, PlainOp};
use super::lowering::{LoweringResult, lower};
use super::memory::{Content, Slots};
use super::norm::FinishLayer;
use super::packed::scale_and_bias;
use super::program::{FinishStep, Mode, Pass, PlainStep, Program, Step};
use super::{parameters, survey};
use crate::graph::{Graph, Value};
use crate::kernels::batch16::{LANES, Line, to_lines, to_rows};
use crate::kernels::bf16::conv::{self, Output};
use crate::kernels::bf16::finish::Apply;
use crate::kernels::bf16::{HalfLine, HalfPath, depthwise, pool};
use crate::meter;
use crate::ops::with_values;

/// A convolution with its weights as its kernel reads them.
struct HalfConv {
    plan: Conv,
    weights: Weights,
    /// Each output is `scale sum + bias`.
    scale: Vec<f32>,
    bias: Vec<f32>,
}

enum Weights {
    Product(conv::Weights),
    /// By output and tap.
    Depthwise(Vec<f32>),
}

/// A network for images of one size, with the memory to run it.
pub(crate) struct HalfEngine {
    layers: Layers<HalfConv, FinishLayer>,
    program: Program,
    slots: Slots,
    /// Whether the output is `[n, channels]` and no image.
    flat: bool,
    path: HalfPath,
    /// A block of 16 images each.
    slabs: Vec<Slab<HalfLine>>,
}

impl HalfEngine {
    /// For images of `[channels, h, w]`, with the parameters and running statistics as they are now.
    ///
    /// # Errors
    /// A graph that only operations can run; a layer without a kernel in bf16; shapes that do not fit.
    pub(crate) fn new(
        graph: &Graph,
        output: Value,
        image: (usize, usize, usize),
        path: HalfPath,
    ) -> LoweringResult<Self> {
        let (layers, program) = lower(graph, output, image, Mode::Infer, false)?;
        for plain in &layers.plains {
            if !matches!(plain.op, PlainOp::MaxPool(_) | PlainOp::MeanPool(_) | PlainOp::Repeat(_)) {
                return Err(refused(plain, &program).into());
            }
        }
        let slots = Slots::new(&layers, &program, |buffer| (program.buffers[buffer].lines(), ()));
        let values = parameters(&program.parameters, layers.convs.iter())?;
        let mut finishes: Vec<FinishLayer> = layers.finishes.into_iter().map(FinishLayer::new).collect();
        finishes.iter_mut().try_for_each(|finish| finish.load(&values, Mode::Infer))?;
        let pack = |plan: Conv| {
            let (scale, bias) = scale_and_bias(&plan, &finishes, &values);
            let weights = with_values(&program.parameters[plan.weight], |w| {
                Ok(match choice::half(&plan.shape) {
                    HalfKernel::Product => Weights::Product(conv::Weights::new(plan.shape, w)),
                    HalfKernel::Depthwise => Weights::Depthwise(w.to_vec()),
                })
            })?;
            Ok(HalfConv { plan, weights, scale, bias })
        };
        let convs = layers.convs.into_iter().map(pack).collect::<Result<_>>()?;
        let layers = Layers { convs, finishes, plains: layers.plains };
        Ok(Self { layers, program, slots, flat: graph.is_flat(output), path, slabs: Vec::new() })
    }

    /// `[n, c, h, w]` of f32 to `[n, classes]`, or to `[n, channels, h', w']` where the output is an image: values of bf16, as
    /// f32.
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward(&mut self, x: &Tensor) -> Result<Tensor> {
        let Self { layers, program, slots, flat, path, slabs } = self;
        let (images, input) = (x.dim(0)?, program.input());
        let values = input.planes * input.pixels;
        if images == 0 || x.elem_count() != images * values {
            bail!("engine: images {:?} do not have the {values} values it was made for", x.dims());
        }
        let layout = BlockLayout { buffers: &program.buffers, slots };
        slabs.resize_with(images.div_ceil(LANES), || Slab::new(layout));
        meter::record(program.macs * images as u64, program.activations * images as u64);
        let (channels, (height, width)) = (program.output.len(), program.size);
        let outputs = channels * height * width;
        let mut y = vec![0f32; images * outputs];
        let context = HalfContext { layers, program, layout, path: *path };
        with_values(x, |x| {
            let rows = x.par_chunks(LANES * values).zip(y.par_chunks_mut((LANES * outputs).max(1)));
            slabs.par_iter_mut().zip(rows).try_for_each(|(slab, (x, y))| {
                context.fill(slab, x, values);
                for step in program.forward.iter().flat_map(|phase| &phase.steps) {
                    context.execute(*step, slab)?;
                }
                context.read(slab, y, outputs);
                Ok(())
            })
        })?;
        let shape = if *flat { vec![images, channels] } else { vec![images, channels, height, width] };
        Tensor::from_vec(y, shape, x.device())
    }
}

fn refused(plain: &Plain, program: &Program) -> candle_core::Error {
    let kind = survey::plain(plain, program).kind;
    candle_core::Error::Msg(format!(
        "bf16 inference: a layer \"{kind}\" is part of the network, which has no kernel in bf16; accepted: convolutions, linear \
         layers, norms, residuals, ReLU, poolings, upsampling, and what rearranges channels"
    ))
    .bt()
}

/// What steps read and never change.
struct HalfContext<'a> {
    layers: &'a Layers<HalfConv, FinishLayer>,
    program: &'a Program,
    layout: BlockLayout<'a>,
    path: HalfPath,
}

impl HalfContext<'_> {
    /// Rounds a block's images, `[n, channels, pixels]`.
    fn fill(&self, slab: &mut Slab<HalfLine>, rows: &[f32], values: usize) {
        let pixels = self.program.input().pixels;
        slab.write(self.layout, &self.program.all(0), Content::Value, |_, planes| {
            let mut wide = vec![Line::ZERO; pixels];
            for (channel, plane) in planes.into_iter().enumerate() {
                to_lines(&rows[channel * pixels..], values, &mut wide);
                for (half, wide) in plane.into_iter().flatten().zip(&wide) {
                    *half = HalfLine::of(*wide);
                }
            }
        });
    }

    /// The block's outputs, `[n, channels, pixels]`.
    fn read(&self, slab: &Slab<HalfLine>, rows: &mut [f32], values: usize) {
        let pixels = self.program.size.0 * self.program.size.1;
        for (channel, plane) in self.values(slab, &self.program.output).into_iter().enumerate() {
            // A channel of zeros may be longer.
            let wide: Vec<Line> = plane[..pixels].iter().map(|half| half.wide()).collect();
            to_rows(&wide, values, &mut rows[channel * pixels..]);
        }
    }

    fn values<'b>(&self, slab: &'b Slab<HalfLine>, channels: &[Channel]) -> Vec<&'b [HalfLine]> {
        slab.planes(self.layout, channels, Content::Value)
    }

    /// # Errors
    /// A step that inference does not have.
    fn execute(&self, step: Step, slab: &mut Slab<HalfLine>) -> Result<()> {
        match step {
            Step::Conv(id, Pass::Forward) => self.convolve(&self.layers[id], slab),
            Step::Finish(id, FinishStep::Apply) => self.apply(&self.layers[id], slab),
            Step::Plain(id, PlainStep::Forward) => self.plain(&self.layers[id], slab)?,
            step => bail!("engine: {step:?} is no step of inference"),
        }
        Ok(())
    }

    fn convolve(&self, conv: &HalfConv, slab: &mut Slab<HalfLine>) {
        let to = &conv.plan.to;
        slab.write(self.layout, &to.channels, Content::Value, |slab, planes| {
            let (from, residual) = (self.values(slab, &conv.plan.x), self.values(slab, &to.residual));
            let is_there = |o: usize| to.residual.get(o).is_some_and(|channel| *channel != Channel::Zero);
            let mut outputs: Vec<Output<'_>> = (planes.into_iter().flatten().enumerate())
                .map(|(o, plane)| Output {
                    plane,
                    scale: conv.scale[o],
                    bias: conv.bias[o],
                    residual: is_there(o).then(|| residual[o]),
                    relu: to.relu,
                })
                .collect();
            match &conv.weights {
                Weights::Product(weights) => conv::convolve(self.path, weights, &from, &mut outputs),
                Weights::Depthwise(weights) => {
                    let geometry = &conv.plan.forward_geometry;
                    depthwise::convolve(self.path.isa(), geometry, &from, weights, &mut outputs);
                }
            }
        });
    }

    fn apply(&self, finish: &FinishLayer, slab: &mut Slab<HalfLine>) {
        slab.finish(self.layout, &finish.plan, |c, x, residual, y| {
            let (scale, shift, relu) = (finish.scale[c], finish.shift[c], finish.plan.relu);
            self.path.isa().execute(Apply { x, scale, shift, residual, relu, y });
        });
    }

    /// # Errors
    /// One that has no kernel.
    fn plain(&self, plain: &Plain, slab: &mut Slab<HalfLine>) -> Result<()> {
        slab.write(self.layout, &self.program.all(plain.y), Content::Value, |slab, planes| {
            for (x, y) in self.values(slab, &plain.x).into_iter().zip(planes.into_iter().flatten()) {
                match &plain.op {
                    PlainOp::MaxPool(windows) => pool::max(windows, x, y),
                    PlainOp::MeanPool(windows) => pool::average(windows, x, y),
                    PlainOp::Repeat(windows) => pool::repeat(windows, x, y),
                    _ => return Err(refused(plain, self.program)),
                }
            }
            Ok(())
        })
    }
}
