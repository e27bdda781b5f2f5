//! Training steps and inference, one call after the other: an engine is made for the first images and kept for the next.

use candle_core::{DType, Result, Tensor, Var};

use super::Gradients;
use crate::engine::choice::{Regime, regime};
use crate::engine::{
    Backend, BatchEngine, EngineLayer, Format, Half, ImageEngine, LoweringResult, Mode, OffEngine, or_off_engine,
};
use crate::graph::{Graph, Op, Value};
use crate::kernels::bf16::HalfPath;
use crate::ops;

/// Channels, height and width of an image.
type Size = (usize, usize, usize);

/// An engine that is kept from call to call, with the images it is for; or why there is none.
struct Kept<E>(Option<(Size, std::result::Result<E, OffEngine>)>);

impl<E> Kept<E> {
    /// The engine for images of this size.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn get(
        &mut self,
        size: Size,
        make: impl FnOnce() -> LoweringResult<E>,
    ) -> Result<std::result::Result<&mut E, OffEngine>> {
        if self.0.as_ref().is_none_or(|(known, _)| *known != size) {
            self.0 = Some((size, or_off_engine(make())?));
        }
        match &mut self.0 {
            Some((_, Ok(engine))) => Ok(Ok(engine)),
            Some((_, Err(why))) => Ok(Err(*why)),
            None => candle_core::bail!("network: its engine is gone"),
        }
    }

    fn engine(&self) -> Option<&E> {
        self.0.as_ref()?.1.as_ref().ok()
    }

    fn engine_mut(&mut self) -> Option<&mut E> {
        self.0.as_mut()?.1.as_mut().ok()
    }
}

/// What training and inference share.
struct Session<'a> {
    graph: &'a Graph,
    output: Value,
    backend: Backend,
    mode: Mode,
    batch: Kept<BatchEngine>,
    /// For bf16: the instructions, and the engine.
    half: Option<(HalfPath, Kept<BatchEngine<Half>>)>,
    /// Whether layers are timed.
    timed: bool,
}

impl<'a> Session<'a> {
    fn new(graph: &'a Graph, output: Value, backend: Backend, mode: Mode) -> Self {
        Self { graph, output, backend, mode, batch: Kept(None), half: None, timed: false }
    }

    /// In this precision from now on.
    ///
    /// # Errors
    /// In bf16 nothing is computed in f32 instead, so what would not run on the engine is refused by name.
    fn set_precision(&mut self, precision: Precision) -> Result<()> {
        self.half = match precision {
            Precision::F32 => None,
            Precision::Bf16 => {
                let custom = self.graph.ops().iter().any(|op| matches!(op, Op::Custom { .. }));
                match self.backend {
                    Backend::Candle => return Err(refused(OffEngine::CandleAsked)),
                    Backend::Engine { .. } if custom => return Err(refused(OffEngine::Custom)),
                    Backend::Engine { .. } => Some((HalfPath::best()?, Kept(None))),
                }
            }
        };
        Ok(())
    }

    fn kernel_path(&self) -> &'static str {
        self.half.as_ref().map_or_else(crate::kernel_path, |(path, _)| path.name())
    }

    /// The engine of bf16 for these images; none in f32.
    ///
    /// # Errors
    /// Shapes that do not fit; what the engine cannot run.
    fn half(&mut self, x: &Tensor) -> Result<Option<&mut BatchEngine<Half>>> {
        let Self { graph, output, backend, mode, half, timed, .. } = self;
        let Some((path, engine)) = half else { return Ok(None) };
        // However few images: operation by operation they would be of f32.
        regime(*backend, x, false).map_err(refused)?;
        let (_, c, h, w) = x.dims4()?;
        let engine = engine.get((c, h, w), || {
            let mut engine = BatchEngine::half(*path, graph, *output, (c, h, w), *mode)?;
            engine.time_layers(*timed);
            Ok(engine)
        })?;
        engine.map(Some).map_err(refused)
    }

    fn layers(&self) -> Option<Vec<EngineLayer>> {
        match &self.half {
            Some((_, engine)) => engine.engine().map(BatchEngine::survey),
            None => self.batch.engine().map(BatchEngine::survey),
        }
    }

    /// The engine of batches for images of this size, if one can run the graph.
    fn batch(&mut self, size: Size, winograd: bool) -> Result<std::result::Result<&mut BatchEngine, OffEngine>> {
        let Self { graph, output, mode, batch, timed, .. } = self;
        batch.get(size, || {
            let mut engine = BatchEngine::new(graph, *output, size, *mode, winograd)?;
            engine.time_layers(*timed);
            Ok(engine)
        })
    }

    fn time_layers(&mut self) {
        self.timed = true;
        self.batch.engine_mut().into_iter().for_each(|engine| engine.time_layers(true));
        let half = self.half.as_mut().and_then(|(_, engine)| engine.engine_mut());
        half.into_iter().for_each(|engine| engine.time_layers(true));
    }

    /// The output as a candle tensor, operation by operation.
    fn interpret(&self, x: &Tensor) -> Result<Tensor> {
        let forward = || self.graph.interpret(&[x], self.output, self.mode.trains());
        match self.backend {
            Backend::Engine { .. } => forward(),
            Backend::Candle => ops::composed(forward),
        }
    }
}

/// Why bf16 is not computed: operation by operation it would be f32.
fn refused(why: OffEngine) -> candle_core::Error {
    candle_core::Error::Msg(format!("bf16: {why}; accepted: what the engine computes")).bt()
}

/// A network that is being trained; see [`Network::training`](super::Network::training).
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

impl<'a> Training<'a> {
    pub(super) fn new(graph: &'a Graph, output: Value, backend: Backend) -> Self {
        Self { session: Session::new(graph, output, backend, Mode::Train { images: false }) }
    }

    /// In this precision from now on.
    ///
    /// # Errors
    /// What bf16 cannot compute, and instructions that `CONV_PATH` names and this processor does not have.
    pub(super) fn with_precision(mut self, precision: Precision) -> Result<Self> {
        self.session.set_precision(precision)?;
        Ok(self)
    }

    /// The kernel path, for stamps: equal bits are promised per path only.
    pub fn kernel_path(&self) -> &'static str {
        self.session.kernel_path()
    }

    /// Forward in training mode and backward: `images: [n, c, h, w]`, `labels: [n]` of u32.
    ///
    /// # Errors
    /// Shapes that do not fit, labels that are no class; in bf16, what does not run on the engine.
    pub fn step(&mut self, images: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Step> {
        let (_, c, h, w) = images.dims4()?;
        if let Some(engine) = self.session.half(images)? {
            return Self::step_on(engine, images, labels, smoothing);
        }
        if let Ok(Regime::Batch { winograd }) = regime(self.session.backend, images, true)
            && let Ok(engine) = self.session.batch((c, h, w), winograd)?
        {
            return Self::step_on(engine, images, labels, smoothing);
        }
        let logits = self.session.interpret(images)?;
        let loss = ops::cross_entropy(&logits, labels, smoothing)?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let store = loss.backward()?;
        let parameters = self.session.graph.parameters().into_iter();
        let gradients = parameters.filter_map(|of| Some((of.clone(), store.get(&of)?.clone()))).collect();
        Ok(Step { loss: value, logits: logits.detach(), gradients })
    }

    fn step_on<F: Format>(
        engine: &mut BatchEngine<F>,
        images: &Tensor,
        labels: &Tensor,
        smoothing: f64,
    ) -> Result<Step> {
        engine.load()?;
        let logits = Var::from_tensor(&engine.forward(images, true)?)?;
        let loss = ops::cross_entropy(logits.as_tensor(), labels, smoothing)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let gradients = match loss.backward()?.get(&logits) {
            Some(gradient) => engine.backward(gradient)?.into_iter().collect(),
            None => Gradients::default(),
        };
        Ok(Step { loss: value, logits: logits.as_tensor().detach(), gradients })
    }

    /// Measures how long each layer takes in all steps from the next one on; times so far are forgotten. Without this call
    /// no clock is read.
    pub fn time_layers(&mut self) {
        self.session.time_layers();
    }

    /// What each layer does in a step on images of the last step's size, with the time of all steps since they are timed;
    /// none where no step ran on the engine.
    pub fn layers(&self) -> Option<Vec<EngineLayer>> {
        self.session.layers()
    }
}

/// What values and weights are while a network is computed. What comes in and goes out is of f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, the upper half of an f32: values and their gradients are stored and weights rounded so; sums, norms with their
    /// statistics and what else is made on the way are f32. Parameters stay f32 where they are kept, and so are their gradients,
    /// the logits' softmax and the loss. A gradient that several layers add to is rounded after each of them. All images are
    /// computed 16 a vector on the engine, however few they are.
    Bf16,
}

/// A network that is only used; see [`Network::inference`](super::Network::inference).
pub struct Inference<'a> {
    session: Session<'a>,
    /// For batches that do not fill the other engine's vectors.
    image: Kept<ImageEngine>,
}

impl<'a> Inference<'a> {
    pub(super) fn new(graph: &'a Graph, output: Value, backend: Backend) -> Self {
        Self { session: Session::new(graph, output, backend, Mode::Infer), image: Kept(None) }
    }

    /// In this precision from now on.
    ///
    /// # Errors
    /// What bf16 cannot compute, and instructions that `CONV_PATH` names and this processor does not have.
    pub(super) fn with_precision(mut self, precision: Precision) -> Result<Self> {
        self.session.set_precision(precision)?;
        Ok(self)
    }

    /// The kernel path, for stamps: equal bits are promised per path only.
    pub fn kernel_path(&self) -> &'static str {
        self.session.kernel_path()
    }

    /// `[n, c, h, w]` to `[n, classes]`, normalised by the running statistics.
    ///
    /// # Errors
    /// Shapes that do not fit. In bf16, what does not run on the engine.
    pub fn forward(&mut self, x: &Tensor) -> Result<Tensor> {
        let (_, c, h, w) = x.dims4()?;
        let size = (c, h, w);
        if let Some(engine) = self.session.half(x)? {
            return engine.forward(x, false);
        }
        match regime(self.session.backend, x, false) {
            Ok(Regime::Batch { winograd }) => {
                if let Ok(engine) = self.session.batch(size, winograd)? {
                    return engine.forward(x, false);
                }
            }
            Ok(Regime::Image) => {
                let Session { graph, output, timed, .. } = self.session;
                let engine = self.image.get(size, || {
                    let mut engine = ImageEngine::new(graph, output, size)?;
                    engine.time_layers(timed);
                    Ok(engine)
                })?;
                if let Ok(engine) = engine {
                    return engine.forward(x);
                }
            }
            Err(_) => {}
        }
        self.session.interpret(x)
    }

    /// Measures how long each layer takes in all calls from the next one on; times so far are forgotten.
    pub fn time_layers(&mut self) {
        self.session.time_layers();
        self.image.engine_mut().into_iter().for_each(|engine| engine.time_layers(true));
    }

    /// What each layer does in a batch, with the time of all batches since they are timed; none where no batch ran on the
    /// engine.
    pub fn layers(&self) -> Option<Vec<EngineLayer>> {
        self.session.layers()
    }

    /// The same for images that came a few at a time.
    pub fn image_layers(&self) -> Option<Vec<EngineLayer>> {
        self.image.engine().map(ImageEngine::survey)
    }
}
