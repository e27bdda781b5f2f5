//! A network as one operation of candle's autograd: the engine runs it, candle sees its input, its parameters and its output.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, Var, bail};

use super::network::SMALLEST_BATCH;
use super::{Gradients, Network, Op};
use crate::engine::{Engine, Mode};
use crate::ops::{is_cpu_f32, on_kernels};

/// Engines that nobody uses at the moment. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Idle>>>);

/// An engine with what it was made for: image size and mode.
type Idle = ((usize, usize, usize), Mode, Engine);

/// So many are kept: one that trains and one that only infers. The memory of each is that of its activations.
const KEPT: usize = 2;

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Engines are pushed and removed whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine that goes back to its pool.
struct Lent {
    pool: Pool,
    size: (usize, usize, usize),
    mode: Mode,
    /// There until it goes back.
    engine: Option<Engine>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            let mut idle = self.pool.lock();
            idle.insert(0, (self.size, self.mode, engine));
            idle.truncate(KEPT);
        }
    }
}

impl Network {
    /// The output by the engine, as a candle tensor that carries gradients to the parameters and to `x`; none where the engine
    /// cannot run it.
    pub(super) fn operate(&self, x: &Tensor, train: bool) -> Result<Option<Tensor>> {
        let parameters = self.graph.parameters();
        let &[n, c, h, w] = x.dims() else { return Ok(None) };
        if n < SMALLEST_BATCH || !on_kernels(x) || !parameters.iter().all(is_cpu_f32) {
            return Ok(None);
        }
        let tracked = x.track_op() || parameters.iter().any(Tensor::track_op);
        let normed = self.graph.ops().iter().any(|op| matches!(op, Op::Finish { norm: Some(_), .. }));
        // With running statistics the engine only knows the way forward.
        let frozen = normed && !train;
        if frozen && parameters.iter().any(|parameter| parameter.track_op() && !parameter.is_variable()) {
            return Ok(None);
        }
        let mode = match frozen || !(tracked || normed) {
            true => Mode::Infer,
            false => Mode::Train { images: x.track_op() },
        };
        let Some(mut lent) = self.lend((c, h, w), mode)? else { return Ok(None) };
        let Some(engine) = &mut lent.engine else { return Ok(None) };
        engine.load()?;
        if !tracked {
            return engine.forward(x, true).map(Some);
        }
        let y = Mutex::new((engine.forward_values(x, true)?, engine.output_shape()));
        let backward = match frozen {
            true => Backward::Graph(self.clone()),
            false => Backward::Engine(Box::new(Mutex::new(State { lent, used_up: false }))),
        };
        // One tensor of all parameters, as candle's operations take few.
        let flat: Vec<Tensor> = parameters.iter().map(Tensor::flatten_all).collect::<Result<_>>()?;
        let flat = if flat.is_empty() { Tensor::zeros(0, DType::F32, x.device())? } else { Tensor::cat(&flat, 0)? };
        x.apply_op2(&flat, Operation { backward, parameters, y }).map(Some)
    }

    /// An engine for these images, from the pool or a new one.
    fn lend(&self, size: (usize, usize, usize), mode: Mode) -> Result<Option<Lent>> {
        let mut idle = self.engines.lock();
        let known = idle.iter().position(|idle| (idle.0, idle.1) == (size, mode));
        let known = known.map(|index| idle.remove(index).2);
        drop(idle);
        let engine = match known {
            Some(engine) => Some(engine),
            None => Engine::new(&self.graph, self.output, size, mode, true)?,
        };
        Ok(engine.map(|engine| Lent { pool: self.engines.clone(), size, mode, engine: Some(engine) }))
    }
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
    Graph(Network),
}

struct State {
    lent: Lent,
    /// Whether a backward pass has used the forward pass's values up.
    used_up: bool,
}

impl State {
    /// Gradients of the parameters, and of `x` if it is wanted.
    fn run(&mut self, x: &Tensor, dy: &Tensor) -> Result<(Gradients, Option<Tensor>)> {
        let again = std::mem::replace(&mut self.used_up, true);
        let Some(engine) = &mut self.lent.engine else { bail!("network: its engine is gone") };
        if again {
            engine.load()?;
            engine.forward_values(x, false)?;
        }
        let mut gradients = Gradients::default();
        gradients.extend(engine.backward(dy)?);
        let dx = match self.lent.mode.images() {
            true => Some(Tensor::from_vec(engine.image_gradient(), x.shape(), x.device())?),
            false => None,
        };
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
            Backward::Engine(state) => state.lock().unwrap_or_else(PoisonError::into_inner).run(x, dy)?,
            Backward::Graph(Network { graph, output, .. }) => {
                let x = Var::from_tensor(x)?;
                let y = graph.run(&[x.as_tensor()], *output, false)?;
                let store = (y * dy)?.sum_all()?.backward()?;
                let of = |tensor: &Tensor| Some((tensor.clone(), store.get(tensor)?.clone()));
                let mut gradients = Gradients::default();
                gradients.extend(self.parameters.iter().filter_map(of));
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

    /// That it gives the same as candle's operations is tested from outside; here, that it is used at all.
    #[test]
    fn it_runs_what_the_engine_can() -> Result<()> {
        let store = ParamStore::new(1, &Device::Cpu);
        let conv = Conv2d::new(ConvSpec::same(4, 3, 3, 1), store.builder().pp("conv"))?;
        let norm = BatchNorm2d::new(7, store.builder().pp("norm"))?;
        let network = |normed: bool| {
            Network::build(4, |graph, x| {
                let y = graph.conv(&conv, x)?;
                let y = graph.concat(&[x, y])?;
                graph.finish(y, normed.then_some(&norm), None, normed)
            })
        };
        let (plain, normed) = (network(false)?, network(true)?);
        let x = |n: usize| Tensor::ones((n, 4, 5, 5), DType::F32, &Device::Cpu);
        assert!(plain.operate(&x(8)?, false)?.is_some() && normed.operate(&x(9)?, true)?.is_some());
        assert!(plain.operate(&x(7)?, false)?.is_none(), "few images");
        assert!(normed.operate(&x(8)?, false)?.is_some(), "running statistics");
        assert!(ops::composed(|| plain.operate(&x(8)?, false))?.is_none(), "candle's own operations were asked for");
        assert!(plain.operate(&x(8)?.to_dtype(DType::F64)?, false)?.is_none());
        // Engines come back, and no more are kept than that.
        for _ in 0..2 {
            let held = (0..4).map(|_| plain.operate(&x(8)?, true)).collect::<Result<Vec<_>>>()?;
            assert!(plain.engines.lock().is_empty());
            drop(held);
            assert_eq!(plain.engines.lock().len(), KEPT);
        }
        Ok(())
    }
}
