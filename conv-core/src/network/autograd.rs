//! A network as one operation of candle's autograd: the engine runs it, candle sees its input, its parameters and its output.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, Var, bail};

use super::Gradients;
use crate::engine::choice::regime;
use crate::engine::{Backend, BatchEngine, Mode, OffEngine, or_off_engine};
use crate::graph::{Graph, Op, Value};
use crate::ops::{is_composed, is_cpu_f32};

/// Channels, height and width of an image.
type Size = (usize, usize, usize);

/// Engines that nobody uses at the moment. Clones share them.
#[derive(Clone, Default)]
pub(super) struct EnginePool(Arc<Mutex<Vec<Idle>>>);

/// An engine with what it was made for.
type Idle = (Size, Mode, BatchEngine);

/// So many are kept: one that trains and one that only infers. The memory of each is that of its activations.
const KEPT: usize = 2;

impl EnginePool {
    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Engines are pushed and removed whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An engine for these images, one that is idle or a new one.
    fn lend(
        &self,
        graph: &Graph,
        output: Value,
        size: Size,
        mode: Mode,
    ) -> Result<std::result::Result<Loan, OffEngine>> {
        let mut idle = self.lock();
        let known = idle.iter().position(|idle| (idle.0, idle.1) == (size, mode));
        let known = known.map(|index| idle.remove(index).2);
        drop(idle);
        let engine = known.map_or_else(|| BatchEngine::new(graph, output, size, mode, true), Ok);
        Ok(or_off_engine(engine)?.map(|engine| Loan { pool: self.clone(), size, mode, engine: Some(engine) }))
    }
}

/// An engine that goes back to its pool.
struct Loan {
    pool: EnginePool,
    size: Size,
    mode: Mode,
    /// There until it goes back.
    engine: Option<BatchEngine>,
}

impl Loan {
    fn engine(&mut self) -> Result<&mut BatchEngine> {
        match &mut self.engine {
            Some(engine) => Ok(engine),
            None => bail!("network: its engine is gone"),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            let mut idle = self.pool.lock();
            idle.insert(0, (self.size, self.mode, engine));
            idle.truncate(KEPT);
        }
    }
}

/// The output by the engine, as a candle tensor that carries gradients to the parameters and to `x`; or why the engine cannot
/// run it.
///
/// # Errors
/// Shapes that do not fit.
pub(super) fn operate(
    graph: &Graph,
    output: Value,
    engines: &EnginePool,
    x: &Tensor,
    train: bool,
) -> Result<std::result::Result<Tensor, OffEngine>> {
    let backend = if is_composed() { Backend::Candle } else { Backend::default() };
    // An autograd graph may want gradients whatever `train` says, so few images are always left to the operations.
    if let Err(why) = regime(backend, x, true) {
        return Ok(Err(why));
    }
    let parameters = graph.parameters();
    if !parameters.iter().all(is_cpu_f32) {
        return Ok(Err(OffEngine::Precision));
    }
    let (_, c, h, w) = x.dims4()?;
    let tracked = x.track_op() || parameters.iter().any(Tensor::track_op);
    let normed = graph.ops().iter().any(|op| matches!(op, Op::Finish { norm: Some(_), .. }));
    // With running statistics the engine only knows the way forward.
    let frozen = normed && !train;
    if frozen && parameters.iter().any(|parameter| parameter.track_op() && !parameter.is_variable()) {
        return Ok(Err(OffEngine::ComputedParameters));
    }
    let mode = if frozen || !(tracked || normed) { Mode::Infer } else { Mode::Train { images: x.track_op() } };
    let mut loan = match engines.lend(graph, output, (c, h, w), mode)? {
        Ok(loan) => loan,
        Err(why) => return Ok(Err(why)),
    };
    let engine = loan.engine()?;
    engine.load()?;
    if !tracked {
        return engine.forward(x, true).map(Ok);
    }
    let y = Mutex::new((engine.forward_values(x, true)?, engine.output_shape()));
    let backward = if frozen {
        Backward::Graph(graph.clone(), output)
    } else {
        Backward::Engine(Box::new(Mutex::new(State { loan, used_up: false })))
    };
    // One tensor of all parameters, as candle's operations take few.
    let flat: Vec<Tensor> = parameters.iter().map(Tensor::flatten_all).collect::<Result<_>>()?;
    let flat = if flat.is_empty() { Tensor::zeros(0, DType::F32, x.device())? } else { Tensor::cat(&flat, 0)? };
    x.apply_op2(&flat, Operation { backward, parameters, y }).map(Ok)
}

struct Operation {
    backward: Backward,
    /// In the order of the second argument.
    parameters: Vec<Tensor>,
    /// What the forward pass gave, until candle takes it.
    y: Mutex<(Vec<f32>, Shape)>,
}

/// What the gradients come from.
enum Backward {
    /// The engine that made the forward pass.
    Engine(Box<Mutex<State>>),
    /// The graph once more, operation by operation: who normalises by running statistics seldom asks for gradients.
    Graph(Graph, Value),
}

struct State {
    loan: Loan,
    /// Whether a backward pass has used the forward pass's values up.
    used_up: bool,
}

impl State {
    /// Gradients of the parameters, and of `x` if it is wanted.
    fn backward(&mut self, x: &Tensor, dy: &Tensor) -> Result<(Gradients, Option<Tensor>)> {
        let again = std::mem::replace(&mut self.used_up, true);
        let of_images = self.loan.mode.images();
        let engine = self.loan.engine()?;
        if again {
            engine.load()?;
            engine.forward_values(x, false)?;
        }
        let gradients = engine.backward(dy)?.into_iter().collect();
        let dx = if of_images { Some(Tensor::from_vec(engine.image_gradient(), x.shape(), x.device())?) } else { None };
        Ok((gradients, dx))
    }
}

impl CustomOp2 for Operation {
    fn name(&self) -> &'static str {
        "network"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, shape) = &mut *self.y.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((CpuStorage::F32(std::mem::take(values)), shape.clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (gradients, dx) = match &self.backward {
            Backward::Engine(state) => state.lock().unwrap_or_else(PoisonError::into_inner).backward(x, dy)?,
            Backward::Graph(graph, output) => {
                let x = Var::from_tensor(x)?;
                let y = graph.interpret(&[x.as_tensor()], *output, false)?;
                let store = (y * dy)?.sum_all()?.backward()?;
                let of = |tensor: &Tensor| Some((tensor.clone(), store.get(tensor)?.clone()));
                let gradients = self.parameters.iter().filter_map(of).collect();
                (gradients, store.get(x.as_tensor()).cloned())
            }
        };
        let flat = self.parameters.iter().map(|parameter| match gradients.get(parameter) {
            Some(gradient) => gradient.flatten_all(),
            None => Tensor::zeros(parameter.elem_count(), DType::F32, parameter.device()),
        });
        let flat = flat.collect::<Result<Vec<_>>>()?;
        let flat = if flat.is_empty() { None } else { Some(Tensor::cat(&flat, 0)?) };
        Ok((dx, flat))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::layers::{BatchNorm2d, Conv2d};
    use crate::{ConvSpec, ParamStore, ops};

    /// That it gives the same as candle's operations is tested from outside; here, that it is used at all, and what keeps a
    /// network off the engine.
    #[test]
    fn it_runs_what_the_engine_can_and_says_what_it_cannot() -> Result<()> {
        let store = ParamStore::new(1, &Device::Cpu);
        let conv = Conv2d::new(ConvSpec::same(4, 3, 3, 1), store.builder().pp("conv"))?;
        let norm = BatchNorm2d::new(7, store.builder().pp("norm"))?;
        let network = |normed: bool| -> Result<_> {
            let mut graph = Graph::new();
            let x = graph.input(4);
            let y = graph.conv(&conv, x)?;
            let y = graph.concat(&[x, y])?;
            let y = graph.finish(y, normed.then_some(&norm), None, normed)?;
            Ok((graph, y))
        };
        let engines = EnginePool::default();
        let operate = |normed: bool, x: &Tensor, train| -> Result<_> {
            let (graph, output) = network(normed)?;
            // A pool belongs to one network.
            let engines = if normed { EnginePool::default() } else { engines.clone() };
            super::operate(&graph, output, &engines, x, train)
        };
        let x = |n: usize| Tensor::ones((n, 4, 5, 5), DType::F32, &Device::Cpu);
        assert!(operate(false, &x(8)?, false)?.is_ok() && operate(true, &x(9)?, true)?.is_ok());
        assert_eq!(operate(false, &x(7)?, false)?.err(), Some(OffEngine::FewImages { images: 7 }));
        assert!(operate(true, &x(8)?, false)?.is_ok(), "running statistics");
        let composed = ops::composed(|| operate(false, &x(8)?, false))?;
        assert_eq!(composed.err(), Some(OffEngine::CandleAsked), "candle's own operations were asked for");
        let doubles = operate(false, &x(8)?.to_dtype(DType::F64)?, false)?;
        assert_eq!(doubles.err(), Some(OffEngine::Precision));
        // Engines come back, and no more are kept than that.
        for _ in 0..2 {
            let in_use = (0..4).map(|_| operate(false, &x(8)?, true)).collect::<Result<Vec<_>>>()?;
            assert!(engines.lock().is_empty());
            drop(in_use);
            assert_eq!(engines.lock().len(), KEPT);
        }
        Ok(())
    }
}
