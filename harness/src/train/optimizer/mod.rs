//! Optimizers, as `torch.optim` defines them: SGD, Adam and AdamW.

mod rule;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;

use baselines::masking::Masks;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};
use conv_core::Gradients;

use rule::{Rule, STEPS, Terms, zero};

use crate::config::Recipe;

/// What trains the parameters of a network by a recipe's rule. SGD has momentum, Nesterov's form of it, and weight decay; Adam
/// and AdamW their betas, eps and weight decay.
///
/// A penalty acts on the scales of batch norms. Where masks hold parameters at 0, these and what is remembered of them are 0
/// after every update: nothing brings them back.
///
/// Every value is updated on its own, so the bits do not depend on the threads.
pub struct Optimizer {
    slots: Vec<Slot>,
}

/// How many values an optimizer of this recipe remembers for each value of a parameter.
pub fn remembered(recipe: &Recipe) -> u64 {
    Rule::new(recipe, 1).memory().iter().filter(|(ending, _)| *ending != STEPS).count() as u64
}

/// A parameter and what the optimizer keeps for it.
struct Slot {
    name: String,
    var: Var,
    decay: f64,
    penalty: f32,
    /// For each value whether it is free to change; none where all are.
    free: Option<Vec<bool>>,
    rule: Rule,
}

impl Optimizer {
    /// An optimizer over `params` (names and variables, see [`conv_core::ParamStore::trainable`]), kept sorted by name.
    ///
    /// Where the recipe spares norms and biases, parameters of rank 1 do not decay, whatever the rule: scale and shift of batch
    /// norms, and every bias.
    pub fn new(mut params: Vec<(String, Var)>, recipe: &Recipe) -> Self {
        params.sort_by(|(a, _), (b, _)| a.cmp(b));
        let slots = params.into_iter().map(|(name, var)| {
            let decays = recipe.decay_norm_and_bias || var.rank() > 1;
            let decay = if decays { recipe.weight_decay } else { 0.0 };
            Slot { name, decay, penalty: 0.0, free: None, rule: Rule::new(recipe, var.elem_count()), var }
        });
        Self { slots: slots.collect() }
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
            if kept.len() != slot.var.elem_count() {
                bail!("a mask of {} values for `{}`, which has {}", kept.len(), slot.name, slot.var.elem_count());
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
                let terms = Terms { lr, decay: slot.decay, penalty: slot.penalty };
                let update = Update { terms, free: slot.free.as_deref(), rule: RefCell::new(&mut slot.rule) };
                slot.var.inplace_op2(&gradient.contiguous()?, &update)?;
            }
        }
        Ok(())
    }

    /// A copy of all that it remembers of earlier steps. SGD's momentum has the parameter's name and shape; Adam's means are
    /// called `NAME.exp_avg` and `NAME.exp_avg_sq`, and the steps so far, a scalar, `NAME.step`.
    ///
    /// # Errors
    /// Those of making tensors.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for Slot { name, var, rule, .. } in &self.slots {
            for (ending, values) in rule.memory() {
                let shape = if ending == STEPS { &[] } else { var.dims() };
                state.insert(format!("{name}{ending}"), Tensor::from_slice(values, shape, var.device())?);
            }
        }
        Ok(state)
    }

    /// Puts what [`Optimizer::state`] gave back.
    ///
    /// # Errors
    /// Names or shapes that are not exactly the parameters'.
    pub fn set_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let own = self.state()?;
        if let Some(name) = state.keys().find(|name| !own.contains_key(*name)) {
            bail!("an optimizer's buffer is called `{name}`, which is none of this network's under this recipe");
        }
        for (name, tensor) in &own {
            let Some(found) = state.get(name) else { bail!("no buffer `{name}` for the optimizer") };
            if found.shape() != tensor.shape() {
                bail!("the optimizer's buffer `{name}` is {:?}, expected {:?}", found.shape(), tensor.shape());
            }
        }
        for Slot { name, rule, .. } in &mut self.slots {
            for (ending, values) in rule.memory_mut() {
                let found = state[&format!("{name}{ending}")].flatten_all()?.to_vec1::<f32>()?;
                values.copy_from_slice(&found);
            }
        }
        Ok(())
    }
}

/// The update of one parameter: `parameter.inplace_op2(gradient, update)`. candle lends an operation one tensor to write; what
/// the rule remembers is written too, hence the cell.
struct Update<'a> {
    terms: Terms,
    free: Option<&'a [bool]>,
    rule: RefCell<&'a mut Rule>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (CpuStorage::F32(param), CpuStorage::F32(gradient)) = (s1, s2) else {
            bail!("optimizer step: parameter and gradient must be f32");
        };
        let (Some((p0, p1)), Some((g0, g1))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            bail!("optimizer step: parameter and gradient must be contiguous, not {l1:?} and {l2:?}");
        };
        if p1 - p0 != g1 - g0 {
            bail!("optimizer step: a parameter of {} values has a gradient of {}", p1 - p0, g1 - g0);
        }
        let mut rule = self.rule.borrow_mut();
        rule.step(&mut param[p0..p1], &gradient[g0..g1], self.terms);
        if let Some(free) = self.free {
            zero(&mut param[p0..p1], free);
            rule.forget(free);
        }
        Ok(())
    }
}
