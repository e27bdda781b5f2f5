//! The engine of few images, for inference, one after the other: each layer is shared out over the threads instead of the
//! images.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use candle_core::{Error, Result, Tensor, bail};
use rayon::prelude::*;

use super::arena::{ArenaLayout, Placed};
use super::choice::OffEngine;
use super::layers::{Conv, LayerId, Layers};
use super::lowering::{LoweringResult, lower};
use super::norm::FinishLayer;
use super::packed::scale_and_bias;
use super::program::{FinishStep, Mode, Pass, PlainStep, Program, Step};
use super::survey::{self, EngineLayer};
use super::times::Times;
use super::{parameters, team};
use crate::graph::{Graph, Value};
use crate::kernels::Isa;
use crate::kernels::image::{Arena, ImageStep, PlaneLayout, Spans};
use crate::meter;
use crate::ops::with_values;

/// A network for single images, its weights packed and its norms folded into them.
pub(crate) struct ImageEngine {
    isa: Isa,
    arena: Arena,
    /// Each with the layer that it belongs to.
    steps: Vec<(LayerId, ImageStep)>,
    /// Tasks of each step.
    tasks: Vec<usize>,
    input: PlaneLayout,
    /// The first pixel of each of the image's channels.
    images: Vec<usize>,
    /// Where each logit is.
    logits: Vec<usize>,
    macs: u64,
    activations: u64,
    /// What each layer does, and its name.
    survey: Vec<EngineLayer>,
    order: Vec<LayerId>,
    /// How long layers took, where that is asked for.
    times: Option<Times>,
}

/// The layers and the program of a network for single images.
///
/// # Errors
/// A graph that only operations can run, or with another output than one value a channel; shapes that do not fit.
pub(super) fn lower_flat(
    graph: &Graph,
    output: Value,
    image: (usize, usize, usize),
) -> LoweringResult<(Layers, Program)> {
    let lowered = lower(graph, output, image, Mode::Infer, false)?;
    if graph.is_flat(output) { Ok(lowered) } else { Err(OffEngine::FewImagesOfMaps.into()) }
}

impl ImageEngine {
    /// For images of `[channels, h, w]`.
    ///
    /// # Errors
    /// A graph that only operations can run, or with another output than one value a channel; shapes that do not fit;
    /// parameters that are not f32 on the CPU.
    pub(crate) fn new(graph: &Graph, output: Value, image: (usize, usize, usize)) -> LoweringResult<Self> {
        let (layers, program) = lower_flat(graph, output, image)?;
        let values = parameters(&program.parameters, layers.convs.iter())?;
        let mut layout = ArenaLayout::new(&layers, &program);
        let survey = survey::of_image(&layers, &program, &layout);
        let Layers { convs, finishes, plains } = layers;
        let mut finishes: Vec<FinishLayer> = finishes.into_iter().map(FinishLayer::new).collect();
        finishes.iter_mut().try_for_each(|finish| finish.load(&values, Mode::Infer))?;
        // First the memory of everything, one after the other; then the packing, at the same time.
        let placed: Vec<Placed> = convs.iter().map(|conv| layout.place(conv)).collect();
        let isa = Isa::best();
        let pack = |(conv, placed): (&Conv, Placed)| {
            let (scale, biases) = scale_and_bias(conv, &finishes, &values);
            with_values(&program.parameters[conv.weight], |weight| {
                Ok(layout.conv(isa, conv, placed, weight, &scale, &biases))
            })
        };
        let mut packed = convs.par_iter().zip(placed).map(pack).collect::<Result<Vec<_>>>()?;
        let mut steps = Vec::new();
        for step in program.forward.iter().flat_map(|phase| &phase.steps) {
            let (layer, of_layer) = match *step {
                Step::Conv(id, Pass::Forward) => (LayerId::Conv(id), std::mem::take(&mut packed[id.0])),
                Step::Finish(id, FinishStep::Apply) => (LayerId::Finish(id), vec![layout.finish(&finishes[id.0])]),
                Step::Plain(id, PlainStep::Forward) => (LayerId::Plain(id), vec![layout.plain(&plains[id.0], &values)]),
                Step::Clear { .. } | Step::Conv(..) | Step::Finish(..) | Step::Plain(..) => {
                    return Err(Error::Msg(format!("engine: {step:?} is a step of training")).into());
                }
            };
            steps.extend(of_layer.into_iter().map(|step| (layer, step)));
        }
        for (_, step) in &steps {
            let (reads, writes) = step.spans();
            Spans::check_apart(&writes, &reads);
            assert!(reads.end().max(writes.end()) <= layout.end, "single image: a place outside of the arena");
        }
        Ok(Self {
            isa,
            arena: Arena::new(layout.end),
            tasks: steps.iter().map(|(_, step)| step.tasks()).collect(),
            steps,
            input: layout.layouts[&program.input().size],
            images: layout.all(0),
            logits: program.output.iter().map(|channel| layout.first_pixel(channel, (1, 1))).collect(),
            macs: program.macs,
            activations: program.activations,
            survey,
            order: program.order,
            times: None,
        })
    }

    /// Measures from now on how long each layer takes, or no longer.
    pub(crate) fn time_layers(&mut self, wanted: bool) {
        self.times = wanted.then(Times::default);
    }

    /// What each layer does, with the times since [`ImageEngine::time_layers`].
    pub(crate) fn survey(&self) -> Vec<EngineLayer> {
        let mut survey = self.survey.clone();
        self.times.iter().for_each(|times| times.fill(&mut survey, &self.order));
        survey
    }

    /// `[n, c, h, w]` to `[n, classes]`.
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward(&mut self, x: &Tensor) -> Result<Tensor> {
        let (images, (height, width)) = (x.dim(0)?, self.input.size);
        let values = self.images.len() * height * width;
        if x.elem_count() != images * values {
            bail!("engine: images {:?} do not have the {values} values it was made for", x.dims());
        }
        meter::record(self.macs * images as u64, self.activations * images as u64);
        let mut logits = Vec::with_capacity(images * self.logits.len());
        let memory = self.arena.shared();
        with_values(x, |all| {
            for image in all.chunks_exact(values) {
                for (&place, plane) in self.images.iter().zip(image.chunks_exact(height * width)) {
                    for (row, values) in plane.chunks_exact(width).enumerate() {
                        // SAFETY: nothing else runs now.
                        unsafe { memory.write(place + self.input.at(row, 0), width) }.copy_from_slice(values);
                    }
                }
                // SAFETY: steps run one after the other, and no step's tasks write where another of its tasks reads or
                // writes: `check_apart` looked at whole steps, and their tasks share out what they write.
                let work = |step: usize, task| unsafe { self.steps[step].1.execute(self.isa, memory, task) };
                match &mut self.times {
                    None => team::dispatch(&self.tasks, work),
                    Some(times) => {
                        for ((layer, _), time) in self.steps.iter().zip(timed(&self.tasks, work)) {
                            times.add(*layer, Pass::Forward, time);
                        }
                    }
                }
                // SAFETY: nothing else runs any more.
                logits.extend(self.logits.iter().map(|&place| unsafe { memory.read(place, 1) }[0]));
            }
            Ok(())
        })?;
        Tensor::from_vec(logits, (images, self.logits.len()), x.device())
    }
}

/// Does the steps; of each the time from the beginning of its first task to the end of its last.
fn timed(tasks: &[usize], work: impl Fn(usize, usize) + Sync) -> Vec<Duration> {
    let begun = Instant::now();
    let now = || begun.elapsed().as_nanos() as u64;
    let spans: Vec<_> = tasks.iter().map(|_| (AtomicU64::new(u64::MAX), AtomicU64::new(0))).collect();
    team::dispatch(tasks, |step, task| {
        spans[step].0.fetch_min(now(), Ordering::Relaxed);
        work(step, task);
        spans[step].1.fetch_max(now(), Ordering::Relaxed);
    });
    let nanoseconds = |(from, to): (AtomicU64, AtomicU64)| to.into_inner().saturating_sub(from.into_inner());
    spans.into_iter().map(|span| Duration::from_nanos(nanoseconds(span))).collect()
}
