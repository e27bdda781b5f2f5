//! Inference of few images, one after the other: each layer is shared out over the threads instead of the images.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::packed::scale_and_bias;
use super::places::{Places, Way};
use super::plan::{Layer, Mode, Program, Step};
use super::state::NormState;
use super::{parameters, team};
use crate::graph::{Graph, Value};
use crate::kernels::Path;
use crate::kernels::single::{Apply, Arena, Channels, Layout, Pixels, Pool, Shared, Spans, Spread};
use crate::meter;
use crate::ops::with_values;

/// A network for single images, its weights packed and its norms folded into them.
pub(crate) struct SingleEngine {
    path: Path,
    arena: Arena,
    work: Vec<Work>,
    /// Tasks of each work.
    tasks: Vec<usize>,
    input: Layout,
    /// The first pixel of each of the image's channels.
    images: Vec<usize>,
    /// Where each logit is.
    logits: Vec<usize>,
    macs: u64,
    activations: u64,
}

/// A step.
pub(super) enum Work {
    Spread(Spread),
    Pixels(Pixels),
    Channels(Channels),
    Apply(Apply),
    Pool(Pool),
}

impl Work {
    fn spans(&self) -> (Spans, Spans) {
        match self {
            Self::Spread(work) => work.spans(),
            Self::Pixels(work) => work.spans(),
            Self::Channels(work) => work.spans(),
            Self::Apply(work) => work.spans(),
            Self::Pool(work) => work.spans(),
        }
    }

    fn tasks(&self) -> usize {
        match self {
            Self::Spread(work) => work.tasks(),
            Self::Pixels(work) => work.tasks(),
            Self::Channels(work) => work.tasks(),
            Self::Apply(work) => work.tasks(),
            Self::Pool(work) => work.tasks(),
        }
    }

    /// # Safety
    /// `memory` is the arena that the places were given out in; nobody touches it but other tasks of this work.
    unsafe fn run(&self, path: Path, memory: Shared, task: usize) {
        // SAFETY: handed on.
        unsafe {
            match self {
                Self::Spread(work) => work.run(memory, task),
                Self::Pixels(work) => work.run(path, memory, task),
                Self::Channels(work) => work.run(path, memory, task),
                Self::Apply(work) => work.run(path, memory, task),
                Self::Pool(work) => work.run(path, memory, task),
            }
        }
    }
}

impl SingleEngine {
    /// For images of `[channels, h, w]`; none where the graph has operations that only candle can run, or another output than
    /// one value a channel.
    ///
    /// # Errors
    /// Shapes that do not fit; parameters that are not f32 on the CPU.
    pub(crate) fn new(graph: &Graph, output: Value, image: (usize, usize, usize)) -> Result<Option<Self>> {
        let Some(program) = Program::new(graph, output, image, Mode::Infer)?.filter(|_| graph.is_flat(output)) else {
            return Ok(None);
        };
        let values = parameters(&program)?;
        let mut norms: Vec<NormState> = program.layers.iter().map(NormState::new).collect();
        for (norm, layer) in norms.iter_mut().zip(&program.layers) {
            if let Layer::Finish(finish) = layer {
                norm.load(finish, &values, Mode::Infer)?;
            }
        }
        let mut places = Places::new(&program);
        let steps: Vec<Step> = program.forward.iter().flat_map(|phase| phase.steps.iter().copied()).collect();
        // First the memory of everything, one after the other; then the packing, at the same time.
        let ways: Vec<Option<Way>> = steps
            .iter()
            .map(|step| match step.layer(&program) {
                Layer::Conv(conv) => Some(places.way(conv)),
                _ => None,
            })
            .collect();
        let path = Path::best();
        let pack = |(step, way): (&Step, Option<Way>)| -> Result<Vec<Work>> {
            Ok(match (*step, step.layer(&program), way) {
                (Step::Conv(_), Layer::Conv(conv), Some(way)) => {
                    let (scale, biases) = scale_and_bias(conv, &norms, &values);
                    with_values(&program.parameters[conv.weight], |weight| {
                        Ok(places.pack(path, conv, way, weight, &scale, &biases))
                    })?
                }
                (Step::Apply(index), Layer::Finish(finish), _) => vec![places.apply(finish, &norms[index])],
                (Step::Pool(_), Layer::Pool(pool), _) => vec![Work::Pool(Pool {
                    windows: pool.windows,
                    max: pool.max,
                    channels: (pool.x.iter().map(|x| places.of(x, pool.windows.input)))
                        .zip(places.all(pool.y))
                        .collect(),
                    from: places.layouts[&pool.windows.input],
                    to: places.layouts[&pool.windows.output],
                })],
                // Steps of training.
                _ => Vec::new(),
            })
        };
        let work: Vec<Work> =
            (steps.par_iter().zip(ways).map(pack).collect::<Result<Vec<_>>>()?).into_iter().flatten().collect();
        for work in &work {
            let (reads, writes) = work.spans();
            Spans::check_apart(&writes, &reads);
            assert!(reads.end().max(writes.end()) <= places.end, "single image: a place outside of the arena");
        }
        Ok(Some(Self {
            path,
            arena: Arena::new(places.end),
            tasks: work.iter().map(Work::tasks).collect(),
            work,
            input: places.layouts[&program.buffers[0].size],
            images: places.all(0),
            logits: program.output.iter().map(|channel| places.of(channel, (1, 1))).collect(),
            macs: program.macs,
            activations: program.activations,
        }))
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
                team::run(&self.tasks, |step, task| unsafe { self.work[step].run(self.path, memory, task) });
                // SAFETY: nothing else runs any more.
                logits.extend(self.logits.iter().map(|&place| unsafe { memory.read(place, 1) }[0]));
            }
            Ok(())
        })?;
        Tensor::from_vec(logits, (images, self.logits.len()), x.device())
    }
}
