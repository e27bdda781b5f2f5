//! The order of steps: forward, and backward with where each gradient is stored first and added later.

use super::plan::{Adds, Buffer, Channel, Layer, Mode, Phase, Step, Sync};

/// The layers in order, cut where batch statistics are needed.
pub(super) fn forward_phases(layers: &[Layer], mode: Mode) -> Vec<Phase> {
    let (mut phases, mut steps) = (Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate() {
        match layer {
            Layer::Conv(_) => steps.push(Step::Conv(index)),
            Layer::Pool(_) => steps.push(Step::Pool(index)),
            Layer::Finish(finish) => {
                if finish.norm.is_some() && mode == Mode::Train {
                    steps.push(Step::Measure(index));
                    phases.push(Phase { steps: std::mem::take(&mut steps), sync: Sync::Moments(index) });
                }
                if finish.done.contains(&false) {
                    steps.push(Step::Apply(index));
                }
            }
        }
    }
    phases.push(Phase { steps, sync: Sync::Nothing });
    phases
}

/// The layers in reverse, with where each gradient is stored first and added later. None if a gradient is wanted of a plane
/// that nothing reads.
pub(super) fn backward_phases(
    layers: &[Layer],
    buffers: &[Buffer],
    output: &[Channel],
) -> Option<(Vec<Phase>, Vec<Adds>)> {
    let mut written: Vec<Vec<bool>> = buffers.iter().map(|buffer| vec![false; buffer.planes]).collect();
    let mut write = |channels: &[Channel]| -> Vec<bool> {
        let visit = |channel: &Channel| match *channel {
            Channel::Zero => false,
            Channel::Plane { buffer, plane } => std::mem::replace(&mut written[buffer][plane], true),
        };
        channels.iter().map(visit).collect()
    };
    write(output);
    let mut adds = vec![Adds::default(); layers.len()];
    let (mut phases, mut steps) = (Vec::new(), Vec::new());
    let mut complete = Vec::new();
    for (index, layer) in layers.iter().enumerate().rev() {
        match layer {
            Layer::Conv(conv) => {
                complete.push(conv.y);
                match conv.across {
                    true => {
                        phases.push(Phase { steps: std::mem::take(&mut steps), sync: Sync::Weights(index) });
                    }
                    false => steps.push(Step::WeightGradient(index)),
                }
                if conv.data_gradient {
                    adds[index].x = write(&conv.x);
                    steps.push(Step::DataGradient(index));
                }
            }
            Layer::Pool(pool) => {
                complete.push(pool.y);
                adds[index].x = write(&pool.x);
                steps.push(Step::PoolGradient(index));
            }
            Layer::Finish(finish) => {
                complete.push(finish.y);
                adds[index].residual = finish.residual.as_deref().map(&mut write).unwrap_or_default();
                steps.push(Step::Sums(index));
                if finish.norm.is_some() {
                    phases.push(Phase { steps: std::mem::take(&mut steps), sync: Sync::Sums(index) });
                }
                adds[index].x = write(&finish.x);
                steps.push(Step::ApplyGradient(index));
            }
        }
    }
    phases.push(Phase { steps, sync: Sync::Nothing });
    // Planes that nobody read, a convolution whose channels were cut for instance, have no gradient to pass on.
    let all = complete.iter().all(|&buffer| written[buffer].iter().all(|&written| written));
    all.then_some((phases, adds))
}
