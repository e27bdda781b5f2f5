//! For inference: what follows a convolution is done where the convolution stores its outputs. The norm's scale goes into the
//! weights, its shift becomes a bias, residual and ReLU come on the way.

use super::plan::{Channel, Layer};

/// Marks every convolution whose outputs are read once each, by one finish whose residual is there before the convolution.
pub(super) fn fuse(layers: &mut [Layer], buffers: usize, output: &[Channel]) {
    let mut readers = vec![Vec::new(); buffers];
    let mut made_by = vec![None; buffers];
    for channel in output {
        if let Channel::Plane { buffer, .. } = *channel {
            readers[buffer].push(None);
        }
    }
    for (index, layer) in layers.iter().enumerate() {
        let (tables, y) = match layer {
            Layer::Conv(conv) => (vec![&conv.x], conv.y),
            Layer::Pool(pool) => (vec![&pool.x], pool.y),
            Layer::Finish(finish) => (std::iter::once(&finish.x).chain(&finish.residual).collect(), finish.y),
        };
        made_by[y] = Some(index);
        for (number, table) in tables.into_iter().enumerate() {
            for (at, channel) in table.iter().enumerate() {
                if let Channel::Plane { buffer, plane } = *channel {
                    readers[buffer].push(Some((index, number, at, plane)));
                }
            }
        }
    }
    for index in 0..layers.len() {
        let Layer::Conv(conv) = &layers[index] else { continue };
        let mut channels = vec![None; conv.shape.out_channels];
        let mut finishes = Vec::new();
        for reader in &readers[conv.y] {
            if let Some((finish, 0, at, plane)) = *reader {
                // A plane that is read twice is not only the finish's.
                let twice = channels[plane].replace(at).is_some();
                finishes.push(if twice { usize::MAX } else { finish });
            } else {
                finishes.push(usize::MAX);
            }
        }
        let (Some(&finish), Some(channels)) = (finishes.first(), channels.into_iter().collect::<Option<Vec<_>>>())
        else {
            continue;
        };
        let Some(Layer::Finish(target)) = layers.get(finish) else { continue };
        let early = target.residual.iter().flatten().all(|channel| match *channel {
            Channel::Zero => true,
            // Buffer 0, the images, is made by nothing.
            Channel::Plane { buffer, .. } => made_by[buffer].is_none_or(|made| made < index),
        });
        if !early || finishes.iter().any(|&other| other != finish) {
            continue;
        }
        if let Layer::Finish(target) = &mut layers[finish] {
            channels.iter().for_each(|&at| target.done[at] = true);
        }
        if let Layer::Conv(conv) = &mut layers[index] {
            conv.fused = Some((finish, channels));
        }
    }
}
