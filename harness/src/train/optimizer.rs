//! Stochastic gradient descent, as `torch.optim.SGD` defines it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use baselines::masking::Masks;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};
use conv_core::Gradients;
use rayon::prelude::*;

use crate::config::Recipe;

/// Values that one task updates; smaller parameters are not worth a task of their own.
const CHUNK: usize = 1 << 15;

/// SGD with momentum, Nesterov's form of it, and weight decay.
///
/// Per value, with gradient `g`, parameter `p`, momentum buffer `v` (0 at first, so that the first gradient fills it) and
/// dampening 0:
///
/// ```text
/// g <- g + decay p
/// v <- momentum v + g
/// p <- p - lr (g + momentum v)    Nesterov
/// p <- p - lr v                   otherwise
/// ```
///
/// With a penalty on the scales of batch norms, theirs is `g + penalty sign(p)` to begin with, the subgradient of
/// `penalty |p|`, and nothing at 0.
///
/// Where masks hold parameters at 0, these and their momentum are 0 after every update: nothing brings them back.
///
/// One pass over memory does it all. Every value is updated on its own, so the bits do not depend on the threads.
pub struct Sgd {
    slots: Vec<Slot>,
    momentum: f32,
    nesterov: bool,
}

/// A parameter and what the optimizer keeps for it.
struct Slot {
    name: String,
    var: Var,
    decay: f32,
    penalty: f32,
    /// For each value whether it is free to change; none where all are.
    free: Option<Vec<bool>>,
    buffer: Vec<f32>,
}

impl Sgd {
    /// An optimizer over `params` (names and variables, see [`conv_core::ParamStore::trainable`]), kept sorted by name.
    ///
    /// Where the recipe spares norms and biases, parameters of rank 1 do not decay: scale and shift of batch norms, and
    /// every bias.
    pub fn new(mut params: Vec<(String, Var)>, recipe: &Recipe) -> Self {
        params.sort_by(|(a, _), (b, _)| a.cmp(b));
        let slots = params.into_iter().map(|(name, var)| {
            let decays = recipe.decay_norm_and_bias || var.rank() > 1;
            let decay = if decays { recipe.weight_decay as f32 } else { 0.0 };
            Slot { name, decay, penalty: 0.0, free: None, buffer: vec![0.0; var.elem_count()], var }
        });
        Self { slots: slots.collect(), momentum: recipe.momentum as f32, nesterov: recipe.nesterov }
    }

    /// With an L1 penalty on all scales of batch norms, the parameters called `bn.weight`.
    #[must_use]
    pub fn with_penalty(mut self, penalty: f64) -> Self {
        for slot in self.slots.iter_mut().filter(|slot| slot.name == "bn.weight" || slot.name.ends_with(".bn.weight")) {
            slot.penalty = penalty as f32;
        }
        self
    }

    /// With parameters that stay 0.
    ///
    /// # Errors
    /// A mask of another size than its parameter.
    pub fn with_masks(mut self, masks: Option<&Masks>) -> Result<Self> {
        for slot in &mut self.slots {
            let Some(kept) = masks.and_then(|masks| masks.kept(&slot.name)) else { continue };
            if kept.len() != slot.buffer.len() {
                bail!("a mask of {} values for `{}`, which has {}", kept.len(), slot.name, slot.buffer.len());
            }
            slot.free = Some(kept.to_vec());
        }
        Ok(self)
    }

    /// One update at rate `lr`. A parameter without a gradient stays as it is, as in PyTorch.
    ///
    /// # Errors
    /// Parameters that are not `f32` on the CPU.
    pub fn step(&mut self, gradients: &Gradients, lr: f64) -> Result<()> {
        for slot in &mut self.slots {
            if let Some(gradient) = gradients.get(&slot.var) {
                let (decay, penalty) = (slot.decay, slot.penalty);
                let rule = Rule { lr: lr as f32, momentum: self.momentum, nesterov: self.nesterov, decay, penalty };
                let update = Update { rule, free: slot.free.as_deref(), buffer: RefCell::new(&mut slot.buffer) };
                slot.var.inplace_op2(&gradient.contiguous()?, &update)?;
            }
        }
        Ok(())
    }

    /// A copy of the momentum buffers, by parameter name and in the parameters' shapes.
    ///
    /// # Errors
    /// Those of making tensors.
    pub fn momentum_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        let tensor = |slot: &Slot| Tensor::from_slice(&slot.buffer, slot.var.shape(), slot.var.device());
        self.slots.iter().map(|slot| Ok((slot.name.clone(), tensor(slot)?))).collect()
    }

    /// Puts buffers from [`Sgd::momentum_buffers`] back.
    ///
    /// # Errors
    /// Names or shapes that are not exactly the parameters'.
    pub fn set_momentum_buffers(&mut self, buffers: &BTreeMap<String, Tensor>) -> Result<()> {
        if let Some(name) = buffers.keys().find(|name| !self.slots.iter().any(|slot| slot.name == **name)) {
            bail!("a momentum buffer is called `{name}`, which is no parameter of this network");
        }
        for slot in &mut self.slots {
            let Some(tensor) = buffers.get(&slot.name) else { bail!("no momentum buffer for `{}`", slot.name) };
            if tensor.shape() != slot.var.shape() {
                bail!("momentum of `{}` is {:?}, the parameter {:?}", slot.name, tensor.shape(), slot.var.shape());
            }
            slot.buffer = tensor.flatten_all()?.to_vec1()?;
        }
        Ok(())
    }
}

/// The numbers of one update.
#[derive(Clone, Copy)]
struct Rule {
    lr: f32,
    momentum: f32,
    nesterov: bool,
    decay: f32,
    penalty: f32,
}

impl Rule {
    fn apply(self, param: &mut [f32], buffer: &mut [f32], gradient: &[f32]) {
        // Not added where there is none: bits and speed of all other trainings stay as they are.
        if self.penalty == 0.0 {
            self.update(param, buffer, gradient, |g, _| g);
        } else {
            let pull = |p: f32| if p == 0.0 { 0.0 } else { self.penalty.copysign(p) };
            self.update(param, buffer, gradient, |g, p| g + pull(p));
        }
    }

    /// `penalised`: the gradient at a parameter, with the penalty's.
    #[inline(always)]
    fn update(self, param: &mut [f32], buffer: &mut [f32], gradient: &[f32], penalised: impl Fn(f32, f32) -> f32) {
        let Self { lr, momentum, nesterov, decay, .. } = self;
        for ((p, v), g) in param.iter_mut().zip(buffer).zip(gradient) {
            let g = penalised(*g, *p) + decay * *p;
            *v = momentum * *v + g;
            *p -= lr * if nesterov { g + momentum * *v } else { *v };
        }
    }
}

/// The update of one parameter: `parameter.inplace_op2(gradient, update)`. candle lends an operation one tensor to write;
/// the buffer is the second thing that is written, hence the cell.
struct Update<'a> {
    rule: Rule,
    free: Option<&'a [bool]>,
    buffer: RefCell<&'a mut [f32]>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (CpuStorage::F32(param), CpuStorage::F32(gradient)) = (s1, s2) else {
            bail!("sgd: parameter and gradient must be f32");
        };
        let (Some((p0, p1)), Some((g0, g1))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            bail!("sgd: parameter and gradient must be contiguous, not {l1:?} and {l2:?}");
        };
        let mut buffer = self.buffer.borrow_mut();
        if p1 - p0 != buffer.len() || g1 - g0 != buffer.len() {
            bail!("sgd: a parameter of {} values has a gradient of {}", p1 - p0, g1 - g0);
        }
        let (rule, free) = (self.rule, self.free);
        param[p0..p1]
            .par_chunks_mut(CHUNK)
            .zip(buffer.par_chunks_mut(CHUNK))
            .zip(gradient[g0..g1].par_chunks(CHUNK))
            .enumerate()
            .for_each(|(chunk, ((param, buffer), gradient))| {
                rule.apply(param, buffer, gradient);
                if let Some(free) = free {
                    let values = param.iter_mut().zip(buffer).zip(&free[chunk * CHUNK..]);
                    values.filter(|(_, free)| !**free).for_each(|((p, v), _)| (*p, *v) = (0.0, 0.0));
                }
            });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn recipe(nesterov: bool) -> Recipe {
        Recipe { momentum: 0.5, nesterov, weight_decay: 0.1, decay_norm_and_bias: false, ..Recipe::default() }
    }

    /// The gradient of `loss` to `var`.
    fn gradient(loss: &Tensor, vars: &[&Var]) -> Gradients {
        let store = loss.backward().unwrap();
        let mut gradients = Gradients::default();
        gradients.extend(vars.iter().map(|var| (var.as_tensor().clone(), store.get(var).unwrap().clone())));
        gradients
    }

    /// Steps on the loss `sum(x * slope)`, whose gradient is `slope`.
    fn two_steps(nesterov: bool) -> (Vec<f32>, Vec<f32>) {
        let weight = Var::new(&[[1f32, -2.0]], &Device::Cpu).unwrap();
        let bias = Var::new(&[1f32, -2.0], &Device::Cpu).unwrap();
        let slope = Tensor::new(&[1f32, 3.0], &Device::Cpu).unwrap();
        let mut sgd =
            Sgd::new(vec![("weight".into(), weight.clone()), ("bias".into(), bias.clone())], &recipe(nesterov));
        for _ in 0..2 {
            let loss = weight.broadcast_mul(&slope).unwrap().sum_all().unwrap();
            let loss = (loss + (bias.as_tensor() * &slope).unwrap().sum_all().unwrap()).unwrap();
            sgd.step(&gradient(&loss, &[&weight, &bias]), 0.1).unwrap();
        }
        (weight.flatten_all().unwrap().to_vec1().unwrap(), bias.to_vec1().unwrap())
    }

    fn assert_close(found: &[f32], expected: &[f64]) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f64::from(*f) - e).abs() < 1e-6, "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn two_steps_by_hand() {
        // Heavy ball. Bias (spared): v = 1, then 1.5; p = 1 - 0.1 - 0.15. Weight: g = 1 + 0.1 p = 1.1, p = 0.89;
        // then g = 1.089, v = 0.55 + 1.089 = 1.639.
        let (weight, bias) = two_steps(false);
        assert_close(&bias, &[0.75, -2.75]);
        assert_close(&weight, &[0.89 - 0.1639, -2.28 - 0.1 * (1.4 + 3.0 - 0.228)]);
        // Nesterov. Bias: g + 0.5 v = 1.5, then 1 + 0.75 = 1.75. Weight: 1.1 + 0.55 = 1.65, p = 0.835; then g = 1.0835,
        // v = 0.55 + 1.0835, step 1.0835 + 0.5 v.
        let (weight, bias) = two_steps(true);
        assert_close(&bias, &[1.0 - 0.15 - 0.175, -2.0 - 0.45 - 0.525]);
        assert_close(&weight[..1], &[0.835 - 0.1 * (1.0835 + 0.5 * 1.6335)]);
    }

    #[test]
    fn a_penalty_pulls_scales_of_batch_norms_towards_zero() {
        let var = |values: [f32; 3]| Var::new(&values, &Device::Cpu).unwrap();
        let (scale, shift) = (var([1.0, -1.0, 0.0]), var([1.0, -1.0, 0.0]));
        let params = vec![("a.bn.weight".into(), scale.clone()), ("a.bn.bias".into(), shift.clone())];
        let recipe = Recipe { momentum: 0.0, nesterov: false, weight_decay: 0.0, ..Recipe::default() };
        let mut sgd = Sgd::new(params, &recipe).with_penalty(0.5);
        let loss = ((scale.as_tensor() + shift.as_tensor()).unwrap().sum_all().unwrap() * 0.25).unwrap();
        sgd.step(&gradient(&loss, &[&scale, &shift]), 1.0).unwrap();
        assert_eq!(scale.to_vec1::<f32>().unwrap(), [0.25, -0.75, -0.25]);
        assert_eq!(shift.to_vec1::<f32>().unwrap(), [0.75, -1.25, -0.25]);
    }

    #[test]
    fn what_is_masked_stays_0_and_gathers_no_momentum() {
        let many = CHUNK + 5; // Two tasks.
        let values: Vec<f32> = (0..many).map(|index| if index % 3 == 0 { 0.0 } else { 1.0 }).collect();
        let free = Tensor::from_slice(&values, many, &Device::Cpu).unwrap();
        let masks = Masks::from_tensors(&[("w".to_owned(), free)].into()).unwrap();
        let [masked, plain] = [0, 1].map(|_| Var::from_slice(&values, many, &Device::Cpu).unwrap());
        let mut sgd = Sgd::new(vec![("w".into(), masked.clone())], &recipe(true)).with_masks(Some(&masks)).unwrap();
        let mut other = Sgd::new(vec![("w".into(), plain.clone())], &recipe(true));
        for _ in 0..3 {
            for (var, sgd) in [(&masked, &mut sgd), (&plain, &mut other)] {
                let loss = var.as_tensor().sum_all().unwrap();
                sgd.step(&gradient(&loss, &[var]), 0.1).unwrap();
            }
        }
        let bits = |tensor: &Tensor| tensor.to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let (buffers, others) = (sgd.momentum_buffers().unwrap(), other.momentum_buffers().unwrap());
        for (left, all) in [(bits(&masked), bits(&plain)), (bits(&buffers["w"]), bits(&others["w"]))] {
            for (index, (left, all)) in left.into_iter().zip(all).enumerate() {
                assert_eq!(left, if index % 3 == 0 { 0 } else { all }, "{index}");
            }
        }
        let short = Var::zeros(3, DType::F32, &Device::Cpu).unwrap();
        assert!(Sgd::new(vec![("w".into(), short)], &recipe(true)).with_masks(Some(&masks)).is_err());
    }

    #[test]
    fn bits_do_not_depend_on_threads_or_gradient_layout() {
        let side = 300; // 90,000 values: three chunks, the last one partial
        let values = conv_core::normal_stream(1, "p", side * side).iter().map(|&v| v as f32).collect::<Vec<_>>();
        let train = |threads: usize| {
            let var = Var::from_vec(values.clone(), (side, side), &Device::Cpu).unwrap();
            let mut sgd = Sgd::new(vec![("p".into(), var.clone())], &recipe(true));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                for _ in 0..3 {
                    // The transposed factor makes the gradient arrive transposed.
                    let slope = Tensor::arange(0f32, (side * side) as f32, &Device::Cpu).unwrap();
                    let slope = (slope.reshape((side, side)).unwrap() / 1e5).unwrap();
                    let loss = (var.t().unwrap() * slope).unwrap().sum_all().unwrap();
                    sgd.step(&gradient(&loss, &[&var]), 0.1).unwrap();
                }
            });
            var.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        let one = train(1);
        assert_eq!(one, train(3));
        // Against the transposed order of the same values: p[0][1] has slope[1][0].
        let slope = side as f32 / 1e5;
        let (mut p, mut v) = (values[1], 0.0);
        for _ in 0..3 {
            let g = slope + 0.1 * p;
            v = 0.5 * v + g;
            p -= 0.1 * (g + 0.5 * v);
        }
        assert!((f32::from_bits(one[1]) - p).abs() < 1e-5);
    }

    #[test]
    fn buffers_round_trip_and_refuse_strangers() {
        let var = Var::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
        let mut sgd = Sgd::new(vec![("w".into(), var.clone())], &recipe(false));
        let slope = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let loss = (var.as_tensor() * slope).unwrap().sum_all().unwrap();
        sgd.step(&gradient(&loss, &[&var]), 0.1).unwrap();
        let buffers = sgd.momentum_buffers().unwrap();
        assert_eq!(buffers["w"].to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);

        let mut other = Sgd::new(vec![("w".into(), var)], &recipe(false));
        other.set_momentum_buffers(&buffers).unwrap();
        assert_eq!(other.momentum_buffers().unwrap()["w"].to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        let strangers = [("v".to_owned(), buffers["w"].clone())].into();
        assert!(other.set_momentum_buffers(&strangers).unwrap_err().to_string().contains("`v`"));
        let wrong = [("w".to_owned(), buffers["w"].flatten_all().unwrap())].into();
        assert!(other.set_momentum_buffers(&wrong).is_err());
    }
}
