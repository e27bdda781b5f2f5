//! A graph with one input and one output, and the ways to run it: as an operation on candle tensors, and in sessions of
//! training or inference. Both run on the engine where it can, and operation by operation where it cannot.

mod autograd;
mod gradients;
mod session;

use std::fmt;

use candle_core::{Result, Tensor};

use crate::engine::choice::{Regime, regime_of};
use crate::engine::{self, Backend, EngineLayer, Footprint, Half, Mode, OffEngine, SMALLEST_BATCH};
use crate::graph::{Graph, Value};

use autograd::EnginePool;
pub use gradients::Gradients;
pub use session::{Inference, Precision, Step, Training};

/// A network with parameters: `[n, c, h, w]` to `[n, classes]` logits, or to images.
#[derive(Clone)]
pub struct Network {
    graph: Graph,
    output: Value,
    /// For [`Network::forward_t`].
    engines: EnginePool,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network of {:?}", self.graph)
    }
}

impl Network {
    /// The network that ends in `output`.
    pub fn new(graph: Graph, output: Value) -> Self {
        Self { graph, output, engines: EnginePool::default() }
    }

    /// The network that `write` writes down, for an input of so many channels.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn build(channels: usize, write: impl FnOnce(&mut Graph, Value) -> Result<Value>) -> Result<Self> {
        let mut graph = Graph::new();
        let input = graph.input(channels);
        let output = write(&mut graph, input)?;
        Ok(Self::new(graph, output))
    }

    /// What it computes; its first operation gives the images.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What of the graph it returns.
    pub fn output(&self) -> Value {
        self.output
    }

    /// The output as a candle tensor that carries gradients to the parameters and to `x`, for networks that are a layer of
    /// another. Where [`Backend::Engine`] would train on the engine this does, and candle's autograd sees a single operation;
    /// the engine's memory is kept for the next call.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match autograd::operate(&self.graph, self.output, &self.engines, x, train)? {
            Ok(y) => Ok(y),
            Err(_) => self.graph.interpret(&[x], self.output, train),
        }
    }

    /// For training steps.
    pub fn training(&self, backend: Backend) -> Training<'_> {
        Training::new(&self.graph, self.output, backend)
    }

    /// The same in this precision: in bf16 each step rounds the parameters, which stay f32. Nothing is computed in f32 instead:
    /// what cannot run is refused.
    ///
    /// # Errors
    /// bf16 of what only candle's operations can compute; bf16 by instructions that the environment variable `CONV_PATH` names
    /// and this processor does not have.
    pub fn training_in(&self, backend: Backend, precision: Precision) -> Result<Training<'_>> {
        self.training(backend).with_precision(precision)
    }

    /// For inference with the parameters as they are now.
    pub fn inference(&self, backend: Backend) -> Inference<'_> {
        Inference::new(&self.graph, self.output, backend)
    }

    /// The same in this precision. In bf16 nothing is computed in f32 instead: what cannot run is refused.
    ///
    /// # Errors
    /// bf16 of what only candle's operations can compute; bf16 by instructions that the environment variable `CONV_PATH` names
    /// and this processor does not have.
    pub fn inference_in(&self, backend: Backend, precision: Precision) -> Result<Inference<'_>> {
        self.inference(backend).with_precision(precision)
    }

    /// What each layer does where `backend` computes `images: [n, c, h, w]` of f32 on the CPU, which kernels do it, and how
    /// much it is for an image; or why that does not run on the engine. Nothing is computed.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn engine_layers(
        &self,
        backend: Backend,
        [n, c, h, w]: [usize; 4],
        train: bool,
    ) -> Result<std::result::Result<Vec<EngineLayer>, OffEngine>> {
        match regime_and_mode(backend, n, train) {
            Err(why) => Ok(Err(why)),
            Ok((regime, mode)) => {
                engine::or_off_engine(engine::survey(&self.graph, self.output, (c, h, w), mode, regime))
            }
        }
    }

    /// The same in this precision. In bf16 the engine computes any number of images, and what it cannot is refused.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn engine_layers_in(
        &self,
        backend: Backend,
        precision: Precision,
        sizes: [usize; 4],
        train: bool,
    ) -> Result<std::result::Result<Vec<EngineLayer>, OffEngine>> {
        let [n, c, h, w] = sizes;
        if precision == Precision::F32 {
            return self.engine_layers(backend, sizes, train);
        }
        match regime_and_mode(backend, n.max(SMALLEST_BATCH), train) {
            Err(why) => Ok(Err(why)),
            Ok((_, mode)) => {
                engine::or_off_engine(engine::survey_of::<Half>(&self.graph, self.output, (c, h, w), mode, false))
            }
        }
    }

    /// How much memory the engine takes where `backend` computes `images: [n, c, h, w]` of f32 on the CPU; or why that does not
    /// run on the engine. Nothing is computed.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn footprint(
        &self,
        backend: Backend,
        [n, c, h, w]: [usize; 4],
        train: bool,
    ) -> Result<std::result::Result<Footprint, OffEngine>> {
        match regime_and_mode(backend, n, train) {
            Err(why) => Ok(Err(why)),
            Ok((regime, mode)) => {
                engine::or_off_engine(engine::footprint(&self.graph, self.output, (n, (c, h, w)), mode, regime))
            }
        }
    }

    /// The same in this precision.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn footprint_in(
        &self,
        backend: Backend,
        precision: Precision,
        sizes: [usize; 4],
        train: bool,
    ) -> Result<std::result::Result<Footprint, OffEngine>> {
        let [n, c, h, w] = sizes;
        if precision == Precision::F32 {
            return self.footprint(backend, sizes, train);
        }
        match regime_and_mode(backend, n.max(SMALLEST_BATCH), train) {
            Err(why) => Ok(Err(why)),
            Ok((_, mode)) => {
                let images = (n, (c, h, w));
                engine::or_off_engine(engine::footprint_of::<Half>(&self.graph, self.output, images, mode, false))
            }
        }
    }
}

/// How so many images of f32 on the CPU are computed.
///
/// # Errors
/// Why they are not computed by the engine.
fn regime_and_mode(backend: Backend, images: usize, train: bool) -> std::result::Result<(Regime, Mode), OffEngine> {
    let Backend::Engine { winograd } = backend else { return Err(OffEngine::CandleAsked) };
    let mode = if train { Mode::Train { images: false } } else { Mode::Infer };
    Ok((regime_of(winograd, images, train)?, mode))
}
