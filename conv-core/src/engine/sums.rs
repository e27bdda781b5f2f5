//! Makes one layer of two products and the sum that alone reads them: branches are weighed and added in one pass over memory.

use std::collections::HashMap;

use super::layers::{Buffer, Channel, LayerId, Layers, Plain, PlainId, PlainOp, names_each_once};

/// Merges such layers, in the place of the sum. Those that leave the order stay in their lists, where nobody looks for them.
pub(super) fn sum_products(layers: &mut Layers, order: &mut Vec<LayerId>, buffers: &[Buffer], output: &[Channel]) {
    let mut readers = vec![0; buffers.len()];
    let tables = order.iter().flat_map(|&layer| layers.reads(layer)).chain([output]);
    tables.flatten().filter_map(|channel| channel.buffer()).for_each(|buffer| readers[buffer] += 1);
    let made: HashMap<usize, PlainId> = (order.iter())
        .filter_map(|&layer| if let LayerId::Plain(id) = layer { Some((layers[id].y, id)) } else { None })
        .collect();
    // The layer whose outputs a table is, all of them in order, if nobody else reads one.
    let sole = |table: &[Channel]| {
        let buffer = table.first()?.buffer()?;
        let whole = readers[buffer] == table.len() && table == buffers[buffer].channels(buffer);
        made.get(&buffer).copied().filter(|_| whole)
    };
    let mut gone = Vec::new();
    for layer in order.iter_mut() {
        let LayerId::Finish(id) = *layer else { continue };
        let (sum, residual) = (&layers[id], layers[id].residual.as_deref().unwrap_or_default());
        let (true, Some(one), Some(other)) = (sum.is_sum(), sole(&sum.x), sole(residual)) else { continue };
        let Some((op, x)) = joined(&layers[one], &layers[other]) else { continue };
        *layer = LayerId::Plain(PlainId(layers.plains.len()));
        let y = sum.y;
        layers.plains.push(Plain { op, x, y, adds: Vec::new() });
        gone.extend([one, other].map(LayerId::Plain));
    }
    order.retain(|layer| !gone.contains(layer));
}

/// The sum of two products, with what it multiplies. None of other layers, and of those that read a channel in both: a gradient
/// goes to each plane once.
fn joined(one: &Plain, other: &Plain) -> Option<(PlainOp, Vec<Channel>)> {
    let (PlainOp::Product { by, pixel, .. }, PlainOp::Product { by: other_by, pixel: other_pixel, .. }) =
        (&one.op, &other.op)
    else {
        return None;
    };
    let (x, by) = ([&*one.x, &other.x].concat(), [&**by, other_by].concat());
    let fits = pixel == other_pixel && names_each_once(&x) && names_each_once(&by);
    fits.then(|| (PlainOp::Product { by, pixel: *pixel, adds: Vec::new() }, x))
}

#[cfg(test)]
mod tests {
    use super::super::layers::{Finish, FinishId};
    use super::super::tests::{finish, planes};
    use super::*;

    fn product(x: usize, by: usize, y: usize) -> Plain {
        let op = PlainOp::Product { by: planes(by, 0..2), pixel: false, adds: Vec::new() };
        Plain { op, x: planes(x, 0..2), y, adds: Vec::new() }
    }

    /// The layers that are left of two products (buffers 4 and 5) and of what finishes them (buffer 6).
    fn left(plains: [Plain; 2], finish: Finish, output: &[Channel]) -> (Layers, Vec<LayerId>) {
        let buffers: Vec<Buffer> = (0..7).map(|_| Buffer::new(2, (4, 4))).collect();
        let mut layers = Layers { convs: Vec::new(), finishes: vec![finish], plains: plains.into() };
        let mut order = vec![LayerId::Plain(PlainId(0)), LayerId::Plain(PlainId(1)), LayerId::Finish(FinishId(0))];
        sum_products(&mut layers, &mut order, &buffers, output);
        (layers, order)
    }

    fn sum(x: Vec<Channel>, residual: Vec<Channel>) -> Finish {
        Finish { norm: None, ..finish(x, 6, Some(residual), false) }
    }

    #[test]
    fn two_products_that_a_sum_alone_reads_become_one_layer_in_its_place() {
        let products = || [product(0, 1, 4), product(2, 3, 5)];
        let both = || sum(planes(4, 0..2), planes(5, 0..2));
        let (layers, order) = left(products(), both(), &planes(6, 0..2));
        assert_eq!(order, [LayerId::Plain(PlainId(2))]);
        let Plain { op, x, y, .. } = &layers[PlainId(2)];
        let PlainOp::Product { by, .. } = op else { panic!() };
        assert_eq!(
            (&x[..], &by[..], *y),
            (&[planes(0, 0..2), planes(2, 0..2)].concat()[..], &[planes(1, 0..2), planes(3, 0..2)].concat()[..], 6)
        );
    }

    #[test]
    fn what_is_read_elsewhere_or_twice_or_finished_otherwise_stays() {
        let products = || [product(0, 1, 4), product(2, 3, 5)];
        let both = || sum(planes(4, 0..2), planes(5, 0..2));
        let stays = |plains: [Plain; 2], finish: Finish, output: &[Channel]| {
            assert_eq!(left(plains, finish, output).1.len(), 3);
        };
        stays(products(), both(), &[planes(6, 0..2), planes(5, 1..2)].concat());
        stays(products(), Finish { relu: true, ..both() }, &planes(6, 0..2));
        stays(products(), finish(planes(4, 0..2), 6, Some(planes(5, 0..2)), false), &planes(6, 0..2));
        stays(products(), sum(planes(4, 0..2), planes(0, 0..2)), &planes(6, 0..2));
        stays(products(), sum(planes(4, 0..2), [planes(5, 1..2), planes(5, 0..1)].concat()), &planes(6, 0..2));
        stays([product(0, 1, 4), product(0, 3, 5)], both(), &planes(6, 0..2));
        stays([product(0, 1, 4), product(2, 1, 5)], both(), &planes(6, 0..2));
    }
}
