//! Fuses, for inference, a convolution with the finish that follows it: the norm's scale goes into the weights, its shift
//! becomes a bias, and the residual and the ReLU are applied before the outputs are stored.

use std::collections::HashMap;

use super::layers::{Channel, ConvId, Destination, FinishId, LayerId, Layers};

/// Who reads a plane of a buffer: which layer, by its place in the order, and as which of its channels.
#[derive(Clone, Copy)]
struct Reader {
    layer: LayerId,
    /// 0: as its input, 1: as its residual.
    table: usize,
    channel: usize,
    plane: usize,
}

/// Merges a finish into a convolution if it alone reads that convolution's outputs, each once, and its residual is computed
/// earlier.
pub(super) fn fuse(layers: &mut Layers, order: &[LayerId], output: &[Channel]) {
    // By buffer. A buffer that the network's output reads must not be fused: it gets a reader that is no finish (`None`).
    let mut readers: HashMap<usize, Vec<Option<Reader>>> = HashMap::new();
    let mut made: HashMap<usize, usize> = HashMap::new();
    for channel in output {
        channel.buffer().into_iter().for_each(|buffer| readers.entry(buffer).or_default().push(None));
    }
    for (at, &layer) in order.iter().enumerate() {
        made.insert(layers.y(layer), at);
        for (table, channels) in layers.reads(layer).into_iter().enumerate() {
            for (channel, read) in channels.iter().enumerate() {
                if let Channel::Plane { buffer, plane } = *read {
                    readers.entry(buffer).or_default().push(Some(Reader { layer, table, channel, plane }));
                }
            }
        }
    }
    for (at, &layer) in order.iter().enumerate() {
        let LayerId::Conv(conv) = layer else { continue };
        let readers = readers.get(&layers[conv].y).map(Vec::as_slice).unwrap_or_default();
        let Some((finish, channels)) = sole_finish(readers, layers[conv].shape.out_channels) else { continue };
        let residual = layers[finish].residual.iter().flatten();
        // Buffer 0, the images, is made by nothing.
        if residual.filter_map(|channel| made.get(&channel.buffer()?)).all(|&made| made < at) {
            merge(layers, conv, finish, channels);
        }
    }
}

/// The finish that reads all of these outputs once each and nobody else does, with the channel of it that each output is.
fn sole_finish(readers: &[Option<Reader>], outputs: usize) -> Option<(FinishId, Vec<usize>)> {
    let mut channels = vec![None; outputs];
    let mut finish = None;
    for reader in readers {
        let Reader { layer: LayerId::Finish(id), table: 0, channel, plane } = (*reader)? else { return None };
        if *finish.get_or_insert(id) != id || channels[plane].replace(channel).is_some() {
            return None;
        }
    }
    Some((finish?, channels.into_iter().collect::<Option<_>>()?))
}

fn merge(layers: &mut Layers, conv: ConvId, finish: FinishId, channels: Vec<usize>) {
    let target = &mut layers[finish];
    target.left.retain(|channel| !channels.contains(channel));
    let to = Destination {
        channels: channels.iter().map(|&plane| Channel::Plane { buffer: target.y, plane }).collect(),
        residual: target
            .residual
            .iter()
            .flat_map(|residual| channels.iter().map(|&channel| residual[channel]))
            .collect(),
        relu: target.relu,
    };
    layers[conv].to = to;
    layers[conv].fused = Some((finish, channels));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{conv, finish, plan, planes};
    use super::*;

    #[test]
    fn two_convolutions_are_one_finish_and_nothing_is_left_of_it() {
        // Two convolutions of 3 and 2 channels, joined and finished.
        let joined = [planes(1, 0..3), planes(2, 0..2)].concat();
        let (mut layers, order, _) = plan(
            &[3, 3, 2, 5],
            vec![conv(0..3, 0, 1, 3, false), conv(0..3, 0, 2, 2, false)],
            vec![finish(joined, 3, None, true)],
            "ccf",
        );
        fuse(&mut layers, &order, &planes(3, 0..5));
        assert!(layers.finishes[0].left.is_empty());
        assert_eq!(layers.convs[1].fused, Some((FinishId(0), vec![3, 4])));
        assert_eq!(layers.convs[1].to.channels, planes(3, 3..5));
        assert!(layers.convs.iter().all(|conv| conv.to.relu && conv.to.residual.is_empty()));
    }

    #[test]
    fn a_residual_that_comes_later_or_a_second_reader_keeps_the_finish() {
        // The first convolution's finish adds what the second one makes.
        let (mut layers, order, _) = plan(
            &[3, 4, 4, 4],
            vec![conv(0..3, 0, 1, 4, false), conv(0..3, 0, 2, 4, false)],
            vec![finish(planes(1, 0..4), 3, Some(planes(2, 0..4)), false)],
            "ccf",
        );
        fuse(&mut layers, &order, &planes(3, 0..4));
        assert!(layers.convs[0].fused.is_none(), "its residual is not there yet");
        assert!(layers.convs[1].fused.is_none(), "it is the residual");
        assert_eq!(layers.finishes[0].left, [0, 1, 2, 3]);

        // The output reads the convolution, too.
        let (mut layers, order, _) =
            plan(&[3, 2, 2], vec![conv(0..3, 0, 1, 2, false)], vec![finish(planes(1, 0..2), 2, None, true)], "cf");
        fuse(&mut layers, &order, &[planes(2, 0..2), planes(1, 0..1)].concat());
        assert!(layers.convs[0].fused.is_none());
    }
}
