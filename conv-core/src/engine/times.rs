//! How long the passes of layers take, where that is asked for.

use std::collections::HashMap;
use std::time::Duration;

use super::layers::LayerId;
use super::program::{Pass, Phase};
use super::survey::EngineLayer;

/// How long passes of layers took.
#[derive(Debug, Default)]
pub(super) struct Times(HashMap<(LayerId, Pass), Duration>);

impl Times {
    pub(super) fn add(&mut self, layer: LayerId, pass: Pass, time: Duration) {
        *self.0.entry((layer, pass)).or_default() += time;
    }

    /// A phase: what each chain spent on each step, and how long all of them together took for the reduction.
    pub(super) fn add_phase<'a>(
        &mut self,
        phase: &Phase,
        chains: impl Iterator<Item = &'a [Duration]>,
        reduction: Duration,
    ) {
        let threads = rayon::current_num_threads() as u32;
        for times in chains {
            for (step, &time) in phase.steps.iter().zip(times) {
                if let Some((layer, pass)) = step.pass() {
                    self.add(layer, pass, time / threads);
                }
            }
        }
        if let Some((layer, pass)) = phase.reduction.pass() {
            self.add(layer, pass, reduction);
        }
    }

    /// Tells the layers of these names.
    pub(super) fn fill(&self, layers: &mut [EngineLayer], order: &[LayerId]) {
        for (row, &layer) in layers.iter_mut().zip(order) {
            row.passes.iter_mut().for_each(|work| {
                work.time = Some(self.0.get(&(layer, work.pass)).copied().unwrap_or_default());
            });
        }
    }
}
