use super::super::Arena;
use super::super::tests::{execute_all, planes, rows, values};
use super::*;
use crate::kernels::reference::{self, Special};

/// Runs `op` over one job of planes of these values, each as it lies in a padded map, and reads what is written. A value
/// for every pixel comes last, where there is one.
fn run(
    op: GateOp,
    x: &[Vec<f32>],
    by: Option<f32>,
    affine: Vec<(f32, f32)>,
    layout: &PlaneLayout,
) -> Vec<Vec<Vec<f32>>> {
    let outputs = match op {
        GateOp::Map(_) | GateOp::Product => 1,
        GateOp::Crossed(_) => 2,
        GateOp::Softmax | GateOp::GroupNorm { .. } => x.len(),
    };
    let places = planes(layout, 0, x.len() + outputs);
    let end = (x.len() + outputs) * layout.len;
    let mut spans = places.iter().map(|&place| place..place + layout.lines * LANES);
    let mut reads: Vec<Range<usize>> = spans.by_ref().take(x.len()).collect();
    reads.extend(by.map(|_| end..end + 1));
    let gate = Gate::new(op, vec![Job { reads, writes: spans.collect(), affine }], layout);
    let on = |isa: Isa| {
        let mut arena = Arena::new(end + 1);
        let flat: Vec<f32> = x.iter().flatten().copied().collect();
        rows(&mut arena, layout, &places[..x.len()], |row, to| {
            to.copy_from_slice(&flat[row * layout.size.1..][..layout.size.1]);
        });
        // SAFETY: nothing else has the arena.
        by.into_iter().for_each(|by| unsafe { arena.shared().write(end, 1) }[0] = by);
        // SAFETY: one task after the other.
        execute_all(gate.tasks(), gate.spans(), &mut arena, |memory, task| unsafe { gate.execute(isa, memory, task) });
        let memory = arena.shared();
        let of = |&place: &usize| {
            // SAFETY: nothing runs.
            let plane = unsafe { memory.read(place, layout.lines * LANES) };
            let pixel = |(at, &value): (usize, &f32)| {
                let inside = at / layout.pitch < layout.size.0 && at % layout.pitch < layout.size.1;
                assert!(inside || value == 0.0, "{isa:?} {op:?}: padding was written");
                inside.then_some(value)
            };
            plane.iter().enumerate().filter_map(pixel).collect::<Vec<f32>>()
        };
        places[x.len()..].iter().map(of).collect()
    };
    Isa::available().map(on).collect()
}

/// Maps of one pixel, of less and more than a line, and of several.
const LAYOUTS: [((usize, usize), usize); 4] = [((1, 1), 0), ((3, 4), 1), ((5, 7), 2), ((4, 33), 0)];

/// Planes of noise, the first ones with something that is not finite in them.
fn noise(layout: &PlaneLayout, count: usize, special: &[f32]) -> Vec<Vec<f32>> {
    let pixels = layout.size.0 * layout.size.1;
    let mut planes: Vec<Vec<f32>> = (0..count).map(|plane| values(pixels, plane as u64)).collect();
    for (at, &value) in special.iter().enumerate() {
        let plane = &mut planes[at % count];
        plane[(5 * at + 2) % pixels] = value;
    }
    planes
}

#[test]
fn maps_and_products_of_padded_maps() {
    for (size, pad) in LAYOUTS {
        let layout = PlaneLayout::new(size, pad);
        for special in [&[][..], &reference::NOT_FINITE] {
            let x = noise(&layout, 2, special);
            for map in [Map::Sigmoid, Map::Relu6] {
                let want: Vec<f32> = x[0].iter().map(|&x| reference::map(map, x, 0.0)[0]).collect();
                for got in run(GateOp::Map(map), &x[..1], None, vec![], &layout) {
                    Special::Same.assert(|| format!("{map:?} of {layout:?}"), &got[0], &want);
                }
            }
            for by in [-1.5, f32::NAN, f32::INFINITY] {
                let want: Vec<f32> = x[0].iter().map(|x| x * by).collect();
                for got in run(GateOp::Product, &x[..1], Some(by), vec![], &layout) {
                    Special::Same.assert(|| format!("times {by}, {layout:?}"), &got[0], &want);
                }
            }
            let want: Vec<f32> = x[0].iter().zip(&x[1]).map(|(x, by)| x * by).collect();
            for got in run(GateOp::Product, &x, None, vec![], &layout) {
                Special::Same.assert(|| format!("product of {layout:?}"), &got[0], &want);
            }
            // The last of three products is with one value.
            let x = noise(&layout, 5, special);
            let want: Vec<f32> =
                (0..x[0].len()).map(|at| x[0][at] * x[1][at] + x[2][at] * x[3][at] + x[4][at] * 0.5).collect();
            for got in run(GateOp::Product, &x, Some(0.5), vec![], &layout) {
                Special::Same.assert(|| format!("sum of products of {layout:?}"), &got[0], &want);
            }
        }
    }
}

#[test]
fn crossed_gates_of_padded_maps() {
    for ((size, pad), threshold) in
        LAYOUTS.into_iter().flat_map(|map| [0.5, 0.3, 2.0].map(|threshold| (map, threshold)))
    {
        let layout = PlaneLayout::new(size, pad);
        for special in [&[][..], &reference::NOT_FINITE, &[0.0, 0.0, f32::NAN], &[0.0, 0.0, f32::INFINITY, f32::NAN]] {
            let x = noise(&layout, 4, special);
            for got in run(GateOp::Crossed(Crossing { threshold }), &x, None, vec![], &layout) {
                for at in 0..size.0 * size.1 {
                    let pair = |planes: &[Vec<f32>]| [planes[0][at], planes[1][at]];
                    let want = reference::crossed_gate(pair(&x), pair(&x[2..]), [0.0; 2], threshold)[0];
                    Special::Same.assert(|| format!("above {threshold}, {layout:?} at {at}"), &pair(&got), &want);
                }
            }
        }
    }
}

#[test]
fn softmax_between_padded_maps() {
    for (((size, pad), parts), special) in LAYOUTS
        .into_iter()
        .flat_map(|map| [1, 2, 3].map(|parts| (map, parts)))
        .flat_map(|case| [(case, false), (case, true)])
    {
        let layout = PlaneLayout::new(size, pad);
        let x = noise(&layout, parts, if special { &reference::NOT_FINITE } else { &[] });
        for got in run(GateOp::Softmax, &x, None, vec![], &layout) {
            for at in 0..size.0 * size.1 {
                let of = |planes: &[Vec<f32>]| -> Vec<f32> { planes.iter().map(|plane| plane[at]).collect() };
                Special::Same.assert(|| format!("{parts}, {layout:?}"), &of(&got), &reference::softmax(&of(&x)));
            }
        }
    }
}

#[test]
fn group_norms_of_padded_maps() {
    for ((size, pad), count) in LAYOUTS.into_iter().flat_map(|map| [1, 2, 3].map(|count| (map, count))) {
        let layout = PlaneLayout::new(size, pad);
        for special in [&[][..], &[f32::NAN]] {
            let mut x = noise(&layout, count, special);
            x.iter_mut().flatten().for_each(|x| *x += 20.0);
            let affine: Vec<(f32, f32)> = (0..count).map(|c| (1.5 - c as f32, 0.25 * c as f32)).collect();
            let (scale, shift): (Vec<f32>, Vec<f32>) = affine.iter().copied().unzip();
            let want = reference::group_norm(&x.concat(), &scale, &shift, 1e-5).0;
            for got in run(GateOp::GroupNorm { eps: 1e-5 }, &x, None, affine.clone(), &layout) {
                Special::Same.assert(|| format!("{count}, {layout:?}"), &got.concat(), &want);
            }
        }
    }
}
