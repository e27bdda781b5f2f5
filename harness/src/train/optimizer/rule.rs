//! How one parameter changes by its gradient, and what is remembered of earlier ones.

use rayon::prelude::*;

use crate::config::{Recipe, UpdateRule};

/// Values that one task updates; smaller parameters are not worth a task of their own.
pub(super) const CHUNK: usize = 1 << 15;

/// The numbers of one step of one parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub lr: f64,
    pub decay: f64,
    /// L1 penalty.
    pub penalty: f32,
}

/// An update rule with what it remembers of one parameter.
///
/// Per value, with gradient `g` and parameter `p`; what is remembered is 0 at first:
///
/// ```text
/// SGD (dampening 0)                           Adam, at its t-th step
///   g <- g + decay p                            g <- g + decay p             AdamW instead: p <- p - lr decay p
///   v <- momentum v + g                         m <- m + (1 - beta1) (g - m)
///   p <- p - lr (g + momentum v)    Nesterov    s <- beta2 s + (1 - beta2) g^2
///   p <- p - lr v                   otherwise   p <- p - lr / (1 - beta1^t) m / (sqrt(s) / sqrt(1 - beta2^t) + eps)
/// ```
///
/// With an L1 penalty the gradient is `g + penalty sign(p)` to begin with, the subgradient of `penalty |p|`, and nothing at 0.
#[derive(Debug)]
pub(super) enum Rule {
    Sgd { momentum: f32, nesterov: bool, velocity: Vec<f32> },
    Adam(Adam),
}

/// Adam, or AdamW.
#[derive(Debug)]
pub(super) struct Adam {
    betas: (f64, f64),
    eps: f64,
    /// Whether decay acts on the parameter and not on the gradient.
    decoupled: bool,
    mean: Vec<f32>,
    square: Vec<f32>,
    /// Steps so far, as PyTorch keeps them: from 2^24 on they stay there, and the corrections have long been 1.
    steps: f32,
}

/// How checkpoints call what is remembered, behind the parameter's name: velocities have no name of their own.
const MEAN: &str = ".exp_avg";
const SQUARE: &str = ".exp_avg_sq";
pub(super) const STEPS: &str = ".step";

impl Rule {
    /// The recipe's, for a parameter of `count` values.
    pub fn new(recipe: &Recipe, count: usize) -> Self {
        let zeros = || vec![0.0; count];
        match recipe.rule() {
            UpdateRule::Sgd => {
                Self::Sgd { momentum: recipe.momentum as f32, nesterov: recipe.nesterov, velocity: zeros() }
            }
            rule @ (UpdateRule::Adam | UpdateRule::AdamW) => Self::Adam(Adam {
                betas: recipe.betas(),
                eps: recipe.eps(),
                decoupled: rule == UpdateRule::AdamW,
                mean: zeros(),
                square: zeros(),
                steps: 0.0,
            }),
        }
    }

    /// One step. All three lengths are the same.
    pub fn step(&mut self, param: &mut [f32], gradient: &[f32], terms: Terms) {
        // Not added where there is none: bits and speed of all other trainings stay as they are.
        if terms.penalty == 0.0 {
            self.update(param, gradient, terms, |g, _| g);
        } else {
            let pull = |p: f32| if p == 0.0 { 0.0 } else { terms.penalty.copysign(p) };
            self.update(param, gradient, terms, |g, p| g + pull(p));
        }
    }

    /// `penalised`: the gradient at a parameter, with the penalty's.
    #[inline(always)]
    fn update(
        &mut self,
        param: &mut [f32],
        gradient: &[f32],
        Terms { lr, decay, .. }: Terms,
        penalised: impl Fn(f32, f32) -> f32 + Sync,
    ) {
        let params = param.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        match self {
            Self::Sgd { momentum, nesterov, velocity } => {
                let (lr, decay, momentum, nesterov) = (lr as f32, decay as f32, *momentum, *nesterov);
                params.zip(velocity.par_chunks_mut(CHUNK)).for_each(|((param, gradient), velocity)| {
                    for ((p, v), g) in param.iter_mut().zip(velocity).zip(gradient) {
                        let g = penalised(*g, *p) + decay * *p;
                        *v = momentum * *v + g;
                        *p -= lr * if nesterov { g + momentum * *v } else { *v };
                    }
                });
            }
            Self::Adam(Adam { betas: (beta1, beta2), eps, decoupled, mean, square, steps }) => {
                *steps += 1.0;
                let unbiased = |beta: f64| 1.0 - beta.powi(*steps as i32);
                let rate = (lr / unbiased(*beta1)) as f32;
                let root = unbiased(*beta2).sqrt() as f32;
                let (kept, decay) = if *decoupled { ((1.0 - lr * decay) as f32, 0.0) } else { (1.0, decay as f32) };
                let (new, kept_square, new_square) = ((1.0 - *beta1) as f32, *beta2 as f32, (1.0 - *beta2) as f32);
                let eps = *eps as f32;
                let moments = mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
                params.zip(moments).for_each(|((param, gradient), (mean, square))| {
                    for (((p, m), s), g) in param.iter_mut().zip(mean).zip(square).zip(gradient) {
                        let g = penalised(*g, *p) + decay * *p;
                        *m += new * (g - *m);
                        *s = kept_square * *s + new_square * g * g;
                        *p = kept * *p - rate * (*m / (s.sqrt() / root + eps));
                    }
                });
            }
        }
    }

    /// All that is remembered, by the ending of its name; lists as long as the parameter, and counts.
    pub fn memory(&self) -> Vec<(&'static str, &[f32])> {
        match self {
            Self::Sgd { velocity, .. } => vec![("", velocity)],
            Self::Adam(Adam { mean, square, steps, .. }) => {
                vec![(MEAN, mean), (SQUARE, square), (STEPS, std::slice::from_ref(steps))]
            }
        }
    }

    /// The same, to be changed.
    pub fn memory_mut(&mut self) -> Vec<(&'static str, &mut [f32])> {
        match self {
            Self::Sgd { velocity, .. } => vec![("", velocity)],
            Self::Adam(Adam { mean, square, steps, .. }) => {
                vec![(MEAN, mean), (SQUARE, square), (STEPS, std::slice::from_mut(steps))]
            }
        }
    }

    /// Forgets what it remembers of values that are not `free`.
    pub fn forget(&mut self, free: &[bool]) {
        match self {
            Self::Sgd { velocity, .. } => zero(velocity, free),
            Self::Adam(Adam { mean, square, .. }) => {
                zero(mean, free);
                zero(square, free);
            }
        }
    }
}

/// Sets all values to 0 that are not `free`.
pub(super) fn zero(values: &mut [f32], free: &[bool]) {
    values.iter_mut().zip(free).filter(|(_, free)| !**free).for_each(|(value, _)| *value = 0.0);
}
