//! Makes the phases of a program: its steps in order, forward, and backward with where each gradient is stored first and added
//! to later.

use super::choice::WeightKernel;
use super::layers::{Buffer, Channel, LayerId, Layers, PlainOp};
use super::program::{Backward, FinishStep, Mode, Pass, Phase, PlainStep, Reduction, Step};

/// Phases under construction.
#[derive(Default)]
struct Phases {
    ended: Vec<Phase>,
    steps: Vec<Step>,
}

impl Phases {
    fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    fn end(&mut self, reduction: Reduction) {
        self.ended.push(Phase { steps: std::mem::take(&mut self.steps), reduction });
    }

    fn all(mut self) -> Vec<Phase> {
        self.end(Reduction::Nothing);
        self.ended
    }
}

/// The layers in order, cut where batch statistics are needed.
pub(super) fn forward(layers: &Layers, order: &[LayerId], mode: Mode) -> Vec<Phase> {
    let mut phases = Phases::default();
    for &layer in order {
        match layer {
            LayerId::Conv(id) => phases.push(Step::Conv(id, Pass::Forward)),
            LayerId::Plain(id) => phases.push(Step::Plain(id, PlainStep::Forward)),
            LayerId::Finish(id) => {
                if layers[id].norm.is_some() && mode.trains() {
                    phases.push(Step::Finish(id, FinishStep::Moments));
                    phases.end(Reduction::Moments(id));
                }
                if !layers[id].left.is_empty() {
                    phases.push(Step::Finish(id, FinishStep::Apply));
                }
            }
        }
    }
    phases.all()
}

/// Which planes have a gradient already.
struct Written(Vec<Vec<bool>>);

impl Written {
    /// Notes that these channels' gradients are written. Says of each whether it was written before, so that this has to add to it.
    fn write(&mut self, channels: &[Channel]) -> Vec<bool> {
        let mut visit = |channel: &Channel| match *channel {
            Channel::Zero => false,
            Channel::Plane { buffer, plane } => std::mem::replace(&mut self.0[buffer][plane], true),
        };
        channels.iter().map(&mut visit).collect()
    }
}

/// The layers in reverse. Tells them where their gradients add to what is there.
pub(super) fn backward(layers: &mut Layers, order: &[LayerId], buffers: &[Buffer], output: &[Channel]) -> Backward {
    let mut written = Written(buffers.iter().map(|buffer| vec![false; buffer.planes]).collect());
    written.write(output);
    let mut shared: Vec<Vec<Channel>> = (0..).zip(buffers).map(|(at, buffer)| buffer.channels(at)).collect();
    let readers = readers(layers, order, buffers, output);
    let mut unread = vec![Vec::new(); buffers.len()];
    let mut phases = Phases::default();
    for &layer in order.iter().rev() {
        // Planes that no later layer reads (channels that a slice cut off, for instance) have a gradient of zero.
        let buffer = layers.y(layer);
        let planes = (0..buffers[buffer].planes).filter(|&plane| !written.0[buffer][plane]);
        unread[buffer] = planes.map(|plane| Channel::Plane { buffer, plane }).collect();
        if !unread[buffer].is_empty() {
            phases.push(Step::Clear { buffer });
        }
        match layer {
            LayerId::Conv(id) => {
                let conv = &mut layers[id];
                match conv.weight_gradient {
                    WeightKernel::AllBlocks => phases.end(Reduction::Weights(id)),
                    WeightKernel::EachBlock | WeightKernel::Depthwise => {
                        phases.push(Step::Conv(id, Pass::WeightGradient));
                    }
                }
                if let Some(gradient) = &mut conv.input_gradient {
                    gradient.adds = written.write(&conv.x);
                    phases.push(Step::Conv(id, Pass::InputGradient));
                }
            }
            LayerId::Plain(id) => {
                let plain = &mut layers[id];
                plain.adds = written.write(&plain.x);
                if let PlainOp::Product { by, adds, .. } = &mut plain.op {
                    *adds = written.write(by);
                }
                phases.push(Step::Plain(id, PlainStep::InputGradient));
            }
            LayerId::Finish(id) if layers[id].is_sum() => {
                let finish = &mut layers[id];
                let residual = finish.residual.as_deref().unwrap_or_default();
                let mut shares = |added: &[Channel]| share(added, finish.y, &readers, &mut shared);
                let (residual_shares, x_shares) = (shares(residual), shares(&finish.x));
                finish.residual_adds = written.write(residual);
                finish.adds = written.write(&finish.x);
                if !residual_shares {
                    phases.push(Step::Finish(id, FinishStep::Sums));
                }
                if !x_shares {
                    phases.push(Step::Finish(id, FinishStep::InputGradient));
                }
            }
            LayerId::Finish(id) => {
                let finish = &mut layers[id];
                finish.residual_adds = written.write(finish.residual.as_deref().unwrap_or_default());
                phases.push(Step::Finish(id, FinishStep::Sums));
                if finish.norm.is_some() {
                    phases.end(Reduction::Sums(id));
                }
                finish.adds = written.write(&finish.x);
                phases.push(Step::Finish(id, FinishStep::InputGradient));
            }
        }
    }
    Backward { phases: phases.all(), unread, shared, image_gradients: written.0.swap_remove(0) }
}

/// How often each plane of each buffer is read; by who asks for the output, too.
fn readers(layers: &Layers, order: &[LayerId], buffers: &[Buffer], output: &[Channel]) -> Vec<Vec<usize>> {
    let mut readers: Vec<Vec<usize>> = buffers.iter().map(|buffer| vec![0; buffer.planes]).collect();
    let tables = order.iter().flat_map(|&layer| layers.reads(layer));
    for channel in tables.chain([output]).flatten() {
        if let Channel::Plane { buffer, plane } = *channel {
            readers[buffer][plane] += 1;
        }
    }
    readers
}

/// Lets what is added share the gradient of the sum, if nobody else reads any of it: nothing will be added to that gradient
/// then, and no copy is needed. Images are left alone: their gradient is asked for where they lie.
fn share(added: &[Channel], sum: usize, readers: &[Vec<usize>], shared: &mut [Vec<Channel>]) -> bool {
    let alone = |channel: &Channel| match *channel {
        Channel::Zero => true,
        Channel::Plane { buffer, plane } => buffer > 0 && readers[buffer][plane] == 1,
    };
    if !added.iter().all(alone) {
        return false;
    }
    // Of a sum of sums, the last one's.
    let of_sum = shared[sum].clone();
    for (channel, of_sum) in added.iter().zip(of_sum) {
        if let Channel::Plane { buffer, plane } = *channel {
            shared[buffer][plane] = of_sum;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::layers::Finish;
    use super::super::tests::{conv, finish, plan, planes};
    use super::*;

    fn steps(phases: &[Phase]) -> Vec<(Vec<Step>, Reduction)> {
        phases.iter().map(|phase| (phase.steps.clone(), phase.reduction)).collect()
    }

    /// Images, a convolution with norm, and a second one whose output meets the first's again as a residual.
    fn residual_network(train: bool) -> (Layers, Vec<LayerId>, Vec<Buffer>) {
        plan(
            &[3, 4, 4, 4, 4],
            vec![conv(0..3, 0, 1, 4, train), conv(0..4, 2, 3, 4, train)],
            vec![finish(planes(1, 0..4), 2, None, true), finish(planes(3, 0..4), 4, Some(planes(2, 0..4)), true)],
            "cfcf",
        )
    }

    #[test]
    fn a_phase_ends_where_a_norm_needs_all_blocks() {
        let (layers, order, _) = residual_network(true);
        let [LayerId::Conv(c0), LayerId::Finish(f0), LayerId::Conv(c1), LayerId::Finish(f1)] = order[..] else {
            panic!()
        };
        let train = forward(&layers, &order, Mode::Train { images: false });
        assert_eq!(
            steps(&train),
            [
                (vec![Step::Conv(c0, Pass::Forward), Step::Finish(f0, FinishStep::Moments)], Reduction::Moments(f0)),
                (
                    vec![
                        Step::Finish(f0, FinishStep::Apply),
                        Step::Conv(c1, Pass::Forward),
                        Step::Finish(f1, FinishStep::Moments)
                    ],
                    Reduction::Moments(f1)
                ),
                (vec![Step::Finish(f1, FinishStep::Apply)], Reduction::Nothing),
            ]
        );
        assert_eq!(steps(&forward(&layers, &order, Mode::Infer)).len(), 1, "running statistics need no other block");
    }

    #[test]
    fn a_gradient_is_stored_first_and_added_to_later_and_what_nobody_read_is_cleared() {
        let (mut layers, order, buffers) = residual_network(true);
        // The output has three of the last finish's four channels.
        let Backward { phases, unread, image_gradients, .. } =
            backward(&mut layers, &order, &buffers, &planes(4, 0..3));
        assert_eq!(unread[4], planes(4, 3..4));
        assert!(unread[..4].iter().all(Vec::is_empty));
        assert_eq!(phases[0].steps[0], Step::Clear { buffer: 4 });
        // The residual's gradient comes first; the second convolution, which reads the same value, adds to it.
        assert_eq!(layers.finishes[1].residual_adds, [false; 4]);
        assert_eq!(layers.convs[1].input_gradient.as_ref().map(|gradient| gradient.adds.clone()), Some(vec![true; 4]));
        assert_eq!(layers.finishes[0].adds, [false; 4]);
        // The first convolution reads images, which want no gradient.
        assert!(layers.convs[0].input_gradient.is_none());
        assert_eq!(image_gradients, [false; 3]);
        // Small maps: the weights' gradients are made of all blocks.
        let reductions: Vec<Reduction> = phases.iter().map(|phase| phase.reduction).collect();
        let [LayerId::Conv(c0), LayerId::Finish(f0), LayerId::Conv(c1), LayerId::Finish(f1)] = order[..] else {
            panic!()
        };
        assert_eq!(
            reductions,
            [
                Reduction::Sums(f1),
                Reduction::Weights(c1),
                Reduction::Sums(f0),
                Reduction::Weights(c0),
                Reduction::Nothing
            ]
        );
    }

    /// Two convolutions that are added, the first one once more to what a third one makes of the sum.
    #[test]
    fn what_only_a_sum_reads_shares_its_gradient() {
        let sum = |x, y, residual| Finish { norm: None, ..finish(x, y, Some(residual), false) };
        let convs = || vec![conv(0..3, 0, 1, 4, true), conv(0..3, 0, 2, 4, true), conv(0..4, 3, 4, 4, true)];
        let (mut layers, order, buffers) = plan(
            &[3, 4, 4, 4, 4, 4],
            convs(),
            vec![sum(planes(1, 0..4), 3, planes(2, 0..4)), sum(planes(4, 0..4), 5, planes(1, 0..4))],
            "ccfcf",
        );
        let Backward { phases, shared, .. } = backward(&mut layers, &order, &buffers, &planes(5, 0..4));
        let [.., LayerId::Finish(first), _, LayerId::Finish(last)] = order[..] else { panic!() };
        let steps: Vec<Step> = phases.iter().flat_map(|phase| phase.steps.clone()).collect();
        let done = |id, step| steps.contains(&Step::Finish(id, step));
        // The third convolution's output is the last sum's alone, the first one's is read twice.
        assert!(done(last, FinishStep::Sums) && !done(last, FinishStep::InputGradient));
        assert!(!done(first, FinishStep::Sums) && done(first, FinishStep::InputGradient));
        assert_eq!(layers.finishes[0].adds, [true; 4], "to what the last sum wrote");
        let lies = |at: [usize; 6]| at.map(|buffer| planes(buffer, 0..buffers[buffer].planes));
        assert_eq!(shared, lies([0, 1, 3, 3, 5, 5]));

        // A sum of sums, and one of images, whose gradient stays where it is asked for.
        let (mut layers, order, buffers) = plan(
            &[4, 4, 4, 4, 4],
            vec![conv(0..4, 0, 1, 4, true), conv(0..4, 0, 2, 4, true)],
            vec![sum(planes(1, 0..4), 3, planes(2, 0..4)), sum(planes(3, 0..4), 4, planes(0, 0..4))],
            "ccff",
        );
        let Backward { shared, .. } = backward(&mut layers, &order, &buffers, &planes(4, 0..4));
        assert_eq!(shared, [0, 4, 4, 4, 4].map(|buffer| planes(buffer, 0..4)));
        // Channels of zeros have no gradient.
        let zeros = sum(planes(1, 0..4), 2, vec![Channel::Zero; 4]);
        let (mut layers, order, buffers) = plan(&[4, 4, 4], vec![conv(0..4, 0, 1, 4, true)], vec![zeros], "cf");
        let Backward { phases, shared, .. } = backward(&mut layers, &order, &buffers, &planes(2, 0..4));
        assert!(phases.iter().flat_map(|phase| &phase.steps).all(|step| !matches!(step, Step::Finish(..))));
        assert_eq!(shared, [0, 2, 2].map(|buffer| planes(buffer, 0..4)));
    }
}
