//! Which buffers share memory: those that are never alive at the same time.

use super::plan::{Channel, Layer, Program, Step, Sync};

/// A buffer or the gradient of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Memory {
    Value(usize),
    Gradient(usize),
}

impl Memory {
    pub(super) fn index(self, buffers: usize) -> usize {
        match self {
            Memory::Value(buffer) => buffer,
            Memory::Gradient(buffer) => buffers + buffer,
        }
    }
}

/// The slot of every buffer and gradient (by [`Memory::index`]), and every slot's length.
pub(super) struct Slots {
    pub(super) of: Vec<Option<usize>>,
    pub(super) lens: Vec<usize>,
}

impl Slots {
    /// `of(buffer)` is the length of a buffer, and what it is like: only those that are alike share a slot.
    pub(super) fn new<K: PartialEq>(program: &Program, of: impl Fn(usize) -> (usize, K)) -> Self {
        let buffers = program.buffers.len();
        let steps: Vec<Step> = (program.forward.iter().chain(&program.backward))
            .flat_map(|phase| {
                let last = match phase.sync {
                    Sync::Weights(index) => Some(Step::WeightGradient(index)),
                    Sync::Moments(_) | Sync::Sums(_) | Sync::Nothing => None,
                };
                phase.steps.iter().copied().chain(last)
            })
            .collect();
        // Alive from the first step that touches it to the last; the images and logits from before and until after all.
        let mut alive: Vec<Option<(usize, usize)>> = vec![None; 2 * buffers];
        let mut touch = |memory: Memory, at: usize| {
            let entry = alive[memory.index(buffers)].get_or_insert((at, at));
            *entry = (entry.0.min(at), entry.1.max(at));
        };
        let forward: usize = program.forward.iter().map(|phase| phase.steps.len()).sum();
        touch(Memory::Value(0), 0);
        for (at, step) in steps.iter().enumerate() {
            for memory in touched(program, *step) {
                touch(memory, at + 1);
            }
        }
        for channel in &program.output {
            if let Channel::Plane { buffer, .. } = *channel {
                touch(Memory::Value(buffer), forward + 1);
                if !program.backward.is_empty() {
                    touch(Memory::Gradient(buffer), forward + 1);
                }
            }
        }
        // Read after all.
        if program.image_gradients.contains(&true) {
            touch(Memory::Gradient(0), steps.len() + 1);
        }
        let mut born: Vec<(usize, usize, usize)> = (alive.iter().enumerate())
            .filter_map(|(memory, alive)| alive.map(|(first, last)| (first, last, memory)))
            .collect();
        born.sort_unstable();
        let (mut slots, mut lens) = (vec![None; 2 * buffers], Vec::<usize>::new());
        // The last step that uses a slot, and what is in it.
        let mut taken: Vec<(usize, K)> = Vec::new();
        for (first, last, memory) in born {
            let (len, kind) = of(memory % buffers);
            // The smallest free slot that is large enough, else the largest free one, grown; else a new one.
            let free = (0..lens.len()).filter(|&slot| taken[slot].0 < first && taken[slot].1 == kind);
            let slot = match free.clone().filter(|&slot| lens[slot] >= len).min_by_key(|&slot| lens[slot]) {
                Some(slot) => slot,
                None => free.max_by_key(|&slot| lens[slot]).unwrap_or_else(|| {
                    lens.push(0);
                    lens.len() - 1
                }),
            };
            lens[slot] = lens[slot].max(len);
            match taken.get_mut(slot) {
                Some(taken) => taken.0 = last,
                None => taken.push((last, kind)),
            }
            slots[memory] = Some(slot);
        }
        Self { of: slots, lens }
    }
}

fn touched(program: &Program, step: Step) -> Vec<Memory> {
    let buffers = |channels: &[Channel]| {
        let mut buffers: Vec<usize> = channels
            .iter()
            .filter_map(|channel| match channel {
                Channel::Plane { buffer, .. } => Some(*buffer),
                Channel::Zero => None,
            })
            .collect();
        buffers.dedup();
        buffers
    };
    let values = |channels: &[Channel]| buffers(channels).into_iter().map(Memory::Value).collect::<Vec<_>>();
    let gradients = |channels: &[Channel]| buffers(channels).into_iter().map(Memory::Gradient).collect::<Vec<_>>();
    match (step.layer(program), step) {
        (layer, Step::Blank(_)) => vec![Memory::Gradient(layer.y())],
        (Layer::Conv(conv), Step::Conv(_)) => {
            let to = program.destination(conv);
            [values(&conv.x), values(&to.residual), values(&to.channels)].concat()
        }
        (Layer::Conv(conv), Step::DataGradient(_)) => [gradients(&conv.x), vec![Memory::Gradient(conv.y)]].concat(),
        (Layer::Conv(conv), _) => [values(&conv.x), vec![Memory::Gradient(conv.y)]].concat(),
        (Layer::Finish(finish), Step::Measure(_)) => values(&finish.x),
        (Layer::Finish(finish), Step::Apply(_)) => [
            values(&finish.left()),
            finish.residual.as_deref().map(values).unwrap_or_default(),
            vec![Memory::Value(finish.y)],
        ]
        .concat(),
        (Layer::Finish(finish), _) => {
            let residual = finish.residual.as_deref().filter(|_| matches!(step, Step::Sums(_)));
            let mut touched = [values(&finish.x), residual.map(gradients).unwrap_or_default()].concat();
            if matches!(step, Step::ApplyGradient(_)) {
                touched.extend(gradients(&finish.x));
            }
            touched.push(Memory::Gradient(finish.y));
            if finish.masked_by_output() {
                touched.push(Memory::Value(finish.y));
            }
            touched
        }
        (Layer::Pool(pool), Step::Pool(_)) => [values(&pool.x), vec![Memory::Value(pool.y)]].concat(),
        (Layer::Pool(pool), _) => {
            let mut touched = [gradients(&pool.x), vec![Memory::Gradient(pool.y)]].concat();
            if pool.max {
                touched.extend([values(&pool.x), vec![Memory::Value(pool.y)]].concat());
            }
            touched
        }
    }
}
