//! Which buffers share memory: those that are never alive at the same time.

use super::layers::{Channel, Layers};
use super::program::{FinishStep, Pass, Phase, PlainStep, Program, Reduction, Step};

/// What memory holds: the values of a buffer, or their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Content {
    Value(usize),
    Gradient(usize),
}

impl Content {
    fn index(self, buffers: usize) -> usize {
        match self {
            Content::Value(buffer) => buffer,
            Content::Gradient(buffer) => buffers + buffer,
        }
    }
}

/// Pieces of memory, and which of them every buffer and gradient is in.
pub(super) struct Slots {
    /// By [`Content::index`]; none for what no step touches.
    of: Vec<Option<usize>>,
    /// Every slot's length.
    pub(super) lens: Vec<usize>,
}

/// The first and the last step that touch something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lifetime {
    first: usize,
    last: usize,
}

impl Slots {
    /// `of(buffer)` is the length of a buffer and its kind: only buffers of one kind share a slot.
    pub(super) fn new<K: PartialEq>(layers: &Layers, program: &Program, of: impl Fn(usize) -> (usize, K)) -> Self {
        Self::share(&lifetimes(layers, program), |content| of(content % program.buffers.len()))
    }

    fn share<K: PartialEq>(lifetimes: &[Option<Lifetime>], of: impl Fn(usize) -> (usize, K)) -> Self {
        let mut born: Vec<(usize, usize, usize)> = (lifetimes.iter().enumerate())
            .filter_map(|(content, alive)| alive.map(|Lifetime { first, last }| (first, last, content)))
            .collect();
        born.sort_unstable();
        let (mut slots, mut lens) = (vec![None; lifetimes.len()], Vec::<usize>::new());
        // The last step that uses a slot, and what is in it.
        let mut taken: Vec<(usize, K)> = Vec::new();
        for (first, last, content) in born {
            let (len, kind) = of(content);
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
            slots[content] = Some(slot);
        }
        Self { of: slots, lens }
    }

    /// The slot that something is in.
    ///
    /// # Panics
    /// For what no step touches: [`touched`] leaves something out, a defect.
    pub(super) fn slot(&self, content: Content) -> usize {
        match self.of[content.index(self.of.len() / 2)] {
            Some(slot) => slot,
            None => panic!("engine: {content:?} is used by a step that was not known to touch it"),
        }
    }
}

/// When each buffer's values and gradients are alive, by [`Content::index`]: from the first step that touches them to the
/// last. The images are there before all steps, the output is read between the passes, the images' gradient after all.
fn lifetimes(layers: &Layers, program: &Program) -> Vec<Option<Lifetime>> {
    let buffers = program.buffers.len();
    let mut alive: Vec<Option<Lifetime>> = vec![None; 2 * buffers];
    let mut touch = |content: Content, at: usize| {
        let Lifetime { first, last } = alive[content.index(buffers)].get_or_insert(Lifetime { first: at, last: at });
        (*first, *last) = ((*first).min(at), (*last).max(at));
    };
    let steps: Vec<Step> = program.forward.iter().chain(&program.backward.phases).flat_map(steps).collect();
    let forward: usize = program.forward.iter().map(|phase| phase.steps.len()).sum();
    touch(Content::Value(0), 0);
    for (at, step) in steps.iter().enumerate() {
        for content in touched(layers, program, *step) {
            touch(content, at + 1);
        }
    }
    for buffer in program.output.iter().filter_map(|channel| channel.buffer()) {
        touch(Content::Value(buffer), forward + 1);
        if !program.backward.phases.is_empty() {
            touch(Content::Gradient(buffer), forward + 1);
        }
    }
    if program.backward.image_gradients.contains(&true) {
        touch(Content::Gradient(0), steps.len() + 1);
    }
    alive
}

/// A phase's steps, and the one that its reduction does for all blocks.
fn steps(phase: &Phase) -> impl Iterator<Item = Step> {
    let last = match phase.reduction {
        Reduction::Weights(id) => Some(Step::Conv(id, Pass::WeightGradient)),
        Reduction::Moments(_) | Reduction::Sums(_) | Reduction::Nothing => None,
    };
    phase.steps.iter().copied().chain(last)
}

/// What a step reads and writes.
fn touched(layers: &Layers, program: &Program, step: Step) -> Vec<Content> {
    let of = |channels: &[Channel], content: fn(usize) -> Content| -> Vec<Content> {
        let mut buffers: Vec<usize> = channels.iter().filter_map(|channel| channel.buffer()).collect();
        buffers.dedup();
        buffers.into_iter().map(content).collect()
    };
    let values = |channels: &[Channel]| of(channels, Content::Value);
    let gradients = |channels: &[Channel]| {
        let lying: Vec<Channel> = channels.iter().map(|&channel| program.gradient(channel)).collect();
        of(&lying, Content::Gradient)
    };
    let gradient_of = |buffer: usize| gradients(&program.all(buffer));
    match step {
        Step::Clear { buffer } => gradients(&program.backward.unread[buffer]),
        Step::Conv(id, pass) => {
            let conv = &layers[id];
            let gradient = gradient_of(conv.y);
            match pass {
                Pass::Forward => [values(&conv.x), values(&conv.to.residual), values(&conv.to.channels)].concat(),
                Pass::InputGradient => [gradients(&conv.x), gradient].concat(),
                Pass::WeightGradient => [values(&conv.x), gradient].concat(),
            }
        }
        Step::Finish(id, step) => {
            let finish = &layers[id];
            let residual = finish.residual.as_deref().unwrap_or_default();
            let (value, gradient) = (vec![Content::Value(finish.y)], gradient_of(finish.y));
            let mask = if finish.masked_by_output() { value.clone() } else { Vec::new() };
            match step {
                FinishStep::Moments => values(&finish.x),
                FinishStep::Apply => {
                    let left: Vec<Channel> = finish.left.iter().map(|&channel| finish.x[channel]).collect();
                    [values(&left), values(residual), value].concat()
                }
                FinishStep::Sums => [values(&finish.x), gradients(residual), gradient, mask].concat(),
                FinishStep::InputGradient => [values(&finish.x), gradients(&finish.x), gradient, mask].concat(),
            }
        }
        Step::Plain(id, step) => {
            let plain = &layers[id];
            let (by, _) = plain.by();
            let y = vec![Content::Value(plain.y)];
            match step {
                PlainStep::Forward => [values(&plain.x), values(by), y].concat(),
                PlainStep::InputGradient => {
                    let (keeps_x, keeps_y) = plain.keeps();
                    let x = if keeps_x { values(&plain.x) } else { Vec::new() };
                    let y = if keeps_y { y } else { Vec::new() };
                    let to = [gradients(&plain.x), gradients(by)].concat();
                    [to, gradient_of(plain.y), x, values(by), y].concat()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(lifetimes: &[(usize, usize)], lens: &[usize]) -> Slots {
        let lifetimes: Vec<_> = lifetimes.iter().map(|&(first, last)| Some(Lifetime { first, last })).collect();
        Slots::share(&lifetimes, |content| (lens[content], ()))
    }

    #[test]
    fn what_is_alive_together_is_apart_and_what_is_not_shares() {
        let slots = share(&[(0, 1), (1, 2), (2, 3), (3, 4)], &[10, 10, 10, 10]);
        assert_eq!(slots.of, [Some(0), Some(1), Some(0), Some(1)]);
        assert_eq!(slots.lens, [10, 10]);
    }

    #[test]
    fn the_smallest_slot_that_is_large_enough_is_taken_and_the_largest_grows() {
        // Two slots of 5 and 20; what needs 4 takes the small one, what needs 30 lets the large one grow.
        let slots = share(&[(0, 1), (0, 1), (2, 3), (2, 3)], &[5, 20, 4, 30]);
        assert_eq!(slots.of, [Some(0), Some(1), Some(0), Some(1)]);
        assert_eq!(slots.lens, [5, 30]);
    }

    #[test]
    fn only_those_that_are_alike_share() {
        let lifetimes = [Some(Lifetime { first: 0, last: 1 }), None, Some(Lifetime { first: 2, last: 3 }), None];
        let slots = Slots::share(&lifetimes, |content| (1, content));
        assert_eq!((&slots.of[..], &slots.lens[..]), (&[Some(0), None, Some(1), None][..], &[1, 1][..]));
        assert_eq!((slots.slot(Content::Value(0)), slots.slot(Content::Gradient(0))), (0, 1));
    }
}
