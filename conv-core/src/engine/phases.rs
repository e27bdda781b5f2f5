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
                if finish.norm.is_some() && mode.trains() {
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

/// The layers in reverse, with where each gradient is stored first and added later, and which images' channels have one.
pub(super) fn backward_phases(
    layers: &[Layer],
    buffers: &[Buffer],
    output: &[Channel],
) -> (Vec<Phase>, Vec<Adds>, Vec<bool>) {
    let mut written: Vec<Vec<bool>> = buffers.iter().map(|buffer| vec![false; buffer.planes]).collect();
    let write = |written: &mut [Vec<bool>], channels: &[Channel]| -> Vec<bool> {
        let mut visit = |channel: &Channel| match *channel {
            Channel::Zero => false,
            Channel::Plane { buffer, plane } => std::mem::replace(&mut written[buffer][plane], true),
        };
        channels.iter().map(&mut visit).collect()
    };
    write(&mut written, output);
    let mut adds = vec![Adds::default(); layers.len()];
    let (mut phases, mut steps) = (Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate().rev() {
        // Planes that nobody read, a convolution whose channels were cut for instance, have a gradient of zero.
        adds[index].unread = (0..buffers[layer.y()].planes).filter(|&plane| !written[layer.y()][plane]).collect();
        if !adds[index].unread.is_empty() {
            steps.push(Step::Blank(index));
        }
        match layer {
            Layer::Conv(conv) => {
                match conv.across {
                    true => {
                        phases.push(Phase { steps: std::mem::take(&mut steps), sync: Sync::Weights(index) });
                    }
                    false => steps.push(Step::WeightGradient(index)),
                }
                if conv.data_gradient {
                    adds[index].x = write(&mut written, &conv.x);
                    steps.push(Step::DataGradient(index));
                }
            }
            Layer::Pool(pool) => {
                adds[index].x = write(&mut written, &pool.x);
                steps.push(Step::PoolGradient(index));
            }
            Layer::Finish(finish) => {
                let residual = finish.residual.as_deref().unwrap_or_default();
                adds[index].residual = write(&mut written, residual);
                steps.push(Step::Sums(index));
                if finish.norm.is_some() {
                    phases.push(Phase { steps: std::mem::take(&mut steps), sync: Sync::Sums(index) });
                }
                adds[index].x = write(&mut written, &finish.x);
                steps.push(Step::ApplyGradient(index));
            }
        }
    }
    phases.push(Phase { steps, sync: Sync::Nothing });
    (phases, adds, written.swap_remove(0))
}
