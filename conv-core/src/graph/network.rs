//! A graph with one input and one output, and the ways to run it: on candle tensors, and in sessions on the CPU engine.

use std::collections::HashMap;
use std::fmt;

use candle_core::{DType, Result, Tensor, TensorId, Var};

use super::operation::Pool;
use super::{Graph, Value};
use crate::engine::{Engine, Mode, SingleEngine};
use crate::ops;

/// A network with parameters: `[n, c, h, w]` to `[n, classes]` logits, or to images.
#[derive(Clone)]
pub struct Network {
    pub(super) graph: Graph,
    pub(super) output: Value,
    /// For [`Network::forward_t`].
    pub(super) engines: Pool,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network of {:?}", self.graph)
    }
}

/// What runs a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// The engine where it can: on the CPU, in f32, for batches that fill its vectors. Else operation by operation on
    /// candle tensors, on the CPU by this crate's kernels.
    #[default]
    Own,
    /// The same, without Winograd's convolutions: as many multiplications as are counted.
    Direct,
    /// Operation by operation on candle tensors, by candle's own ops alone, as on any other device: see
    /// [`ops::composed`].
    Candle,
}

/// Batches below this leave most of the engine's vectors empty.
pub(super) const SMALLEST_BATCH: usize = 8;

impl Network {
    /// The network that ends in `output`.
    pub fn new(graph: Graph, output: Value) -> Self {
        Self { graph, output, engines: Pool::default() }
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

    /// The output as a candle tensor that carries gradients to the parameters and to `x`, for networks that are a layer of
    /// another. Where [`Kernels::Own`] would run the engine this does, and candle's autograd sees a single operation; the
    /// engine's memory is kept for the next call.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match self.operate(x, train)? {
            Some(y) => Ok(y),
            None => self.graph.run(&[x], self.output, train),
        }
    }

    /// For training steps.
    pub fn training(&self, kernels: Kernels) -> Training<'_> {
        Training { session: Session::new(self, kernels, Mode::Train { images: false }) }
    }

    /// For inference with the parameters as they are now.
    pub fn inference(&self, kernels: Kernels) -> Inference<'_> {
        Inference { session: Session::new(self, kernels, Mode::Infer), single: None }
    }
}

/// An engine that is kept from call to call.
struct Session<'a> {
    network: &'a Network,
    kernels: Kernels,
    mode: Mode,
    /// With the image size it is for; no engine where the graph needs candle.
    engine: Option<((usize, usize, usize), Option<Engine>)>,
}

impl<'a> Session<'a> {
    fn new(network: &'a Network, kernels: Kernels, mode: Mode) -> Self {
        Self { network, kernels, mode, engine: None }
    }

    fn suits(&self, x: &Tensor) -> bool {
        self.kernels != Kernels::Candle && ops::is_cpu_f32(x)
    }

    /// The engine for these images, if one can run them.
    fn engine(&mut self, x: &Tensor) -> Result<Option<&mut Engine>> {
        let (n, c, h, w) = x.dims4()?;
        if !self.suits(x) || n < SMALLEST_BATCH {
            return Ok(None);
        }
        if self.engine.as_ref().is_none_or(|(size, _)| *size != (c, h, w)) {
            let engine = Engine::new(
                &self.network.graph,
                self.network.output,
                (c, h, w),
                self.mode,
                self.kernels == Kernels::Own,
            )?;
            self.engine = Some(((c, h, w), engine));
        }
        Ok(self.engine.as_mut().and_then(|(_, engine)| engine.as_mut()))
    }

    /// The output as a candle tensor, where there is no engine.
    fn interpret(&self, x: &Tensor) -> Result<Tensor> {
        let forward = || self.network.graph.run(&[x], self.network.output, self.mode != Mode::Infer);
        match self.kernels {
            Kernels::Own | Kernels::Direct => forward(),
            Kernels::Candle => ops::composed(forward),
        }
    }
}

/// A network that is being trained; see [`Network::training`].
pub struct Training<'a> {
    session: Session<'a>,
}

/// What one training step computes; nothing but running statistics was changed by it.
pub struct Step {
    /// Mean cross-entropy of the batch, with label smoothing.
    pub loss: f64,
    /// `[n, classes]`, without gradients.
    pub logits: Tensor,
    /// Of the loss.
    pub gradients: Gradients,
}

impl Training<'_> {
    /// Forward in training mode and backward: `images: [n, c, h, w]`, `labels: [n]` of u32.
    ///
    /// # Errors
    /// Shapes that do not fit, labels that are no class.
    pub fn step(&mut self, images: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Step> {
        if let Some(engine) = self.session.engine(images)? {
            engine.load()?;
            let logits = Var::from_tensor(&engine.forward(images, true)?)?;
            let loss = ops::cross_entropy(logits.as_tensor(), labels, smoothing)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            let mut gradients = Gradients::default();
            if let Some(gradient) = loss.backward()?.get(&logits) {
                gradients.extend(engine.backward(gradient)?);
            }
            return Ok(Step { loss: value, logits: logits.as_tensor().detach(), gradients });
        }
        let logits = self.session.interpret(images)?;
        let loss = ops::cross_entropy(&logits, labels, smoothing)?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let store = loss.backward()?;
        let mut gradients = Gradients::default();
        let parameters = self.session.network.graph.parameters();
        gradients.extend(parameters.into_iter().filter_map(|of| Some((of.clone(), store.get(&of)?.clone()))));
        Ok(Step { loss: value, logits: logits.detach(), gradients })
    }
}

/// Gradients by parameter.
#[derive(Clone, Debug, Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// The gradient of this parameter, if the loss depends on it.
    pub fn get(&self, parameter: &Tensor) -> Option<&Tensor> {
        self.0.get(&parameter.id())
    }
}

impl Extend<(Tensor, Tensor)> for Gradients {
    fn extend<T: IntoIterator<Item = (Tensor, Tensor)>>(&mut self, gradients: T) {
        self.0.extend(gradients.into_iter().map(|(of, gradient)| (of.id(), gradient)));
    }
}

/// A network that is only used; see [`Network::inference`].
pub struct Inference<'a> {
    session: Session<'a>,
    /// For batches that do not fill the other engine's vectors.
    single: Option<((usize, usize, usize), Option<SingleEngine>)>,
}

impl Inference<'_> {
    /// `[n, c, h, w]` to `[n, classes]`, normalised by the running statistics.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&mut self, x: &Tensor) -> Result<Tensor> {
        let Network { graph, output, .. } = self.session.network;
        if let Some(engine) = self.session.engine(x)? {
            return engine.forward(x, false);
        }
        let (n, c, h, w) = x.dims4()?;
        if self.session.suits(x) && n < SMALLEST_BATCH {
            if self.single.as_ref().is_none_or(|(size, _)| *size != (c, h, w)) {
                self.single = Some(((c, h, w), SingleEngine::new(graph, *output, (c, h, w))?));
            }
            if let Some((_, Some(engine))) = &mut self.single {
                return engine.forward(x);
            }
        }
        self.session.interpret(x)
    }
}
