//! Weights averaged over the steps of a training.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};
use conv_core::ParamStore;

/// What a checkpoint calls an average, behind the parameter's name.
const AVERAGE: &str = ".average";

/// The exponential average of a network's parameters and running statistics over the steps of a phase.
///
/// With the weights `w` after step `t = 0 ..`: `a <- a + (1 - d) (w - a)`, where `d` is the lesser of the decay and
/// `t / (t + 1)`. So it is the plain mean of all steps until these are more than the decay looks back on, and nothing of where
/// the weights began stays in it. In PyTorch: `AveragedModel(use_buffers=True)`, whose `avg_fn` knows the number of steps.
pub struct Average {
    decay: f64,
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    var: Var,
    average: Tensor,
}

impl Average {
    /// Of all that is in `store`, before the first step.
    ///
    /// # Errors
    /// Those of copying tensors.
    pub fn new(store: &ParamStore, decay: f64) -> Result<Self> {
        let slot = |(name, var): (String, Var)| Ok(Slot { name, average: var.as_tensor().copy()?, var });
        Ok(Self { decay, slots: store.named().into_iter().map(slot).collect::<Result<_>>()? })
    }

    /// Takes in the weights as they are after step `step` of the phase, counted from 0.
    ///
    /// # Errors
    /// Weights that are not f32 on the CPU.
    pub fn add(&mut self, step: usize) -> Result<()> {
        let kept = self.decay.min(step as f64 / (step as f64 + 1.0));
        let blend = Blend { share: (1.0 - kept) as f32 };
        self.slots.iter().try_for_each(|slot| slot.average.inplace_op2(slot.var.as_tensor(), &blend))
    }

    /// Puts the average where the weights are, and these in its place.
    ///
    /// # Errors
    /// Those of copying tensors.
    pub fn exchange(&mut self) -> Result<()> {
        for slot in &mut self.slots {
            let weights = slot.var.as_tensor().copy()?;
            slot.var.set(&slot.average)?;
            slot.average = weights;
        }
        Ok(())
    }

    /// What a checkpoint keeps of it; the tensors are its own.
    pub fn state(&self) -> impl Iterator<Item = (String, Tensor)> + '_ {
        self.slots.iter().map(|slot| (format!("{}{AVERAGE}", slot.name), slot.average.clone()))
    }

    /// Takes back what [`Average::state`] gave, out of `state`.
    ///
    /// # Errors
    /// One that is missing, or has another shape than its parameter.
    pub fn restore(&mut self, state: &mut BTreeMap<String, Tensor>) -> Result<()> {
        for slot in &mut self.slots {
            let name = format!("{}{AVERAGE}", slot.name);
            let Some(found) = state.remove(&name) else { bail!("no average `{name}`") };
            if found.shape() != slot.var.shape() {
                bail!("the average `{name}` is {:?}, expected {:?}", found.shape(), slot.var.shape());
            }
            slot.average = found;
        }
        Ok(())
    }
}

/// `average += share (weight - average)`.
struct Blend {
    share: f32,
}

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        "average of weights"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (CpuStorage::F32(average), CpuStorage::F32(weight)) = (s1, s2) else {
            bail!("average of weights: both must be f32");
        };
        let (Some((a0, a1)), Some((w0, w1))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            bail!("average of weights: both must be contiguous, not {l1:?} and {l2:?}");
        };
        let pairs = average[a0..a1].iter_mut().zip(&weight[w0..w1]);
        pairs.for_each(|(average, weight)| *average += self.share * (weight - *average));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn it_is_the_mean_at_first_and_then_forgets() {
        let store = ParamStore::new(0, &Device::Cpu);
        let weight = store.builder().get_with_hints((2,), "w", candle_nn::Init::Const(7.0)).unwrap();
        let var = store.named().remove(0).1;
        let mut average = Average::new(&store, 0.75).unwrap();
        let now = |average: &Average| average.state().next().unwrap().1.to_vec1::<f32>().unwrap();
        let mut expected = 0.0;
        for step in 0..8 {
            let value = (step * step) as f32;
            var.set(&weight.affine(0.0, f64::from(value)).unwrap()).unwrap();
            average.add(step).unwrap();
            let share = (1.0 / (step as f32 + 1.0)).max(0.25);
            expected += share * (value - expected);
            assert!(now(&average).iter().all(|found| (found - expected).abs() < 1e-5), "step {step}");
        }
        // Both keep what they are when they change places, and come back from a checkpoint.
        average.exchange().unwrap();
        assert_eq!(now(&average), [49.0; 2]);
        assert!((var.to_vec1::<f32>().unwrap()[0] - expected).abs() < 1e-5);
        let mut state: BTreeMap<String, Tensor> = average.state().collect();
        state.insert("other".into(), weight.clone());
        let mut again = Average::new(&store, 0.75).unwrap();
        again.restore(&mut state).unwrap();
        assert_eq!((now(&again), state.len()), (vec![49.0; 2], 1));
        assert!(again.restore(&mut state).unwrap_err().to_string().contains("w.average"));
    }
}
