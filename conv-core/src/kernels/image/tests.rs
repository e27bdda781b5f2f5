use proptest::prelude::*;

use super::*;
use crate::kernels::reference::{self, NOT_FINITE, Special};
use crate::kernels::simd::Isa;

pub(super) fn values(len: usize, seed: u64) -> Vec<f32> {
    crate::normal_stream(seed, "values", len).into_iter().map(|v| v as f32).collect()
}

/// Planes of a layout, from `place` on: their first pixels.
pub(super) fn planes(layout: &PlaneLayout, place: usize, count: usize) -> Vec<usize> {
    (0..count).map(|plane| place + plane * layout.len + layout.front).collect()
}

pub(super) fn rows(arena: &mut Arena, layout: &PlaneLayout, places: &[usize], mut each: impl FnMut(usize, &mut [f32])) {
    let memory = arena.shared();
    for (plane, place) in places.iter().enumerate() {
        for row in 0..layout.size.0 {
            // SAFETY: nothing else has the arena.
            let values = unsafe { memory.write(place + layout.at(row, 0), layout.size.1) };
            each(plane * layout.size.0 + row, values);
        }
    }
}

/// Checks what a kernel reads and writes, and executes its tasks, in an order that must not matter.
pub(super) fn execute_all(
    tasks: usize,
    (reads, writes): (Spans, Spans),
    arena: &mut Arena,
    each: impl Fn(Shared, usize),
) {
    Spans::check_apart(&writes, &reads);
    let memory = arena.shared();
    assert!(reads.end().max(writes.end()) <= memory.len);
    (0..tasks).rev().for_each(|task| each(memory, task));
}

fn check(s: &ConvShape, pads: (usize, usize)) {
    check_with(s, pads, |_, _, _| {});
}

/// All ways of doing a convolution, on all paths, against the scalar twin; `change` changes inputs, weights and residual.
fn check_with(s: &ConvShape, pads: (usize, usize), change: impl Fn(&mut [f32], &mut [f32], &mut [f32])) {
    let (mut x, mut w, mut residual) = (values(s.x_len(), 1), values(s.w_len(), 2), values(s.y_len(), 3));
    change(&mut x, &mut w, &mut residual);
    // The last channel is one of zeros, which has no memory of its own where it is spread.
    x[(s.in_channels - 1) * s.input.0 * s.input.1..].fill(0.0);
    let scale: Vec<f32> = (0..s.out_channels).map(|o| 1.0 + o as f32).collect();
    let y_pixels = s.output.0 * s.output.1;
    let finish = |sums: Vec<f32>| -> Vec<f32> {
        let values = sums.iter().zip(&residual).enumerate();
        values.map(|(at, (sum, residual))| sum * scale[at / y_pixels] + 0.5 + residual).collect()
    };
    let leaves_out = finish(reference::forward(s, &x, &w));
    // With pixels as lanes a tap that meets padding is a product with zero, not left out.
    let (padded, padded_x) = reference::padded(s, &x);
    let multiplies = finish(reference::forward(&padded, &padded_x, &w));
    let keeps_size = s.stride == 1 && s.input == s.output;
    let (from, to) =
        (PlaneLayout::new(s.input, pads.0), PlaneLayout::new(s.output, if keeps_size { pads.0 } else { pads.1 }));
    let sources = planes(&from, 0, s.in_channels);
    let residuals = planes(&to, s.in_channels * from.len, s.out_channels);
    let outputs = planes(&to, s.in_channels * from.len + s.out_channels * to.len, s.out_channels);
    let end = s.in_channels * from.len + 2 * s.out_channels * to.len;
    let targets: Vec<Target> = (outputs.iter().zip(&residuals))
        .map(|(&place, &residual)| Target { place, bias: 0.5, residual: Some(residual), relu: true })
        .collect();
    let mut inputs: Vec<Option<usize>> = sources.iter().copied().map(Some).collect();
    inputs[s.in_channels - 1] = None;
    let spread = Spread::new(s, &inputs, &from, &to, end);
    let arena_len = end + spread.as_ref().map_or(0, |spread| spread.memory(s.in_channels));
    let (shape, weights, arena, targets, to_layout) = (s, &w, arena_len, &targets, &to);
    let convolution = Convolution { shape, weights, scale: &scale, sources: &sources, targets, to: to_layout, arena };
    for isa in Isa::available() {
        for way in ["channels", "pixels", "spread"] {
            let mut arena = Arena::new(arena_len);
            rows(&mut arena, &from, &sources, |row, to| to.copy_from_slice(&x[row * s.input.1..][..s.input.1]));
            rows(&mut arena, &to, &residuals, |row, to| {
                to.copy_from_slice(&residual[row * s.output.1..][..s.output.1])
            });
            // Twice: nothing depends on what an earlier image left.
            for _ in 0..2 {
                match (way, &spread) {
                    ("channels", _) => {
                        let all = Channels::new(&convolution, &from);
                        // SAFETY: one task after the other, in the arena it was made for.
                        execute_all(all.tasks(), all.spans(), &mut arena, |memory, task| unsafe {
                            all.convolve(isa, memory, task)
                        });
                    }
                    ("pixels", _) if keeps_size && from.pad >= s.padding => {
                        let all = Pixels::new(isa, &convolution, to.taps(s.kernel, s.padding));
                        // SAFETY: as above.
                        execute_all(all.tasks(), all.spans(), &mut arena, |memory, task| unsafe {
                            all.convolve(isa, memory, task)
                        });
                    }
                    ("spread", Some(spread)) => {
                        // SAFETY: as above.
                        execute_all(spread.tasks(), spread.spans(), &mut arena, |memory, task| unsafe {
                            spread.spread(memory, task)
                        });
                        let (sources, taps) = spread.sources(s.kernel, end, s.in_channels);
                        let all = Pixels::new(isa, &Convolution { sources: &sources, ..convolution }, taps);
                        // SAFETY: as above.
                        execute_all(all.tasks(), all.spans(), &mut arena, |memory, task| unsafe {
                            all.convolve(isa, memory, task)
                        });
                    }
                    _ => {}
                }
            }
            if (way == "pixels" && !(keeps_size && from.pad >= s.padding)) || (way == "spread" && spread.is_none()) {
                continue;
            }
            let want = if way == "channels" { &leaves_out } else { &multiplies };
            let mut got = Vec::new();
            rows(&mut arena, &to, &outputs, |_, row| got.extend_from_slice(row));
            Special::Same.assert_relu(|| format!("{isa:?} {way} {s:?}"), &got, want);
            // The padding is what later taps read.
            let memory = arena.shared();
            for &place in &outputs {
                // SAFETY: nothing runs.
                let plane = unsafe { memory.read(place - to.front, to.len) };
                let outside = |at: usize| {
                    let at = at.wrapping_sub(to.front);
                    at >= to.size.0 * to.pitch || at % to.pitch >= to.size.1
                };
                let clean = plane.iter().enumerate().all(|(at, &value)| !outside(at) || value == 0.0);
                assert!(clean, "{isa:?} {way} {s:?}: padding was written");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_shape(
        groups in 1usize..4, inputs in 1usize..8, outputs in 1usize..36, pads in (0usize..4, 0usize..4),
        h in 1usize..12, w in 1usize..40, k in 1usize..6, stride in 1usize..4, padding in 0usize..4,
    ) {
        prop_assume!(h + 2 * padding >= k && w + 2 * padding >= k);
        let (c, o) = (groups * inputs, groups * outputs);
        check(&ConvShape::new(&[1, c, h, w], &[o, inputs, k, k], stride, padding, groups).unwrap(), pads);
    }

    /// More channels than have their weights met at a time, on maps on both sides of what keeps its sums.
    #[test]
    fn many_channels(
        inputs in 8usize..80, outputs in 1usize..36, h in 1usize..10, w in 1usize..10, half in 0usize..3,
        stride in 1usize..3,
    ) {
        let k = 2 * half + 1;
        check(&ConvShape::new(&[1, inputs, h, w], &[outputs, inputs, k, k], stride, half, 1).unwrap(), (half, half));
    }

    #[test]
    fn depthwise(c in 1usize..40, h in 1usize..20, w in 1usize..20, stride in 1usize..3, half in 1usize..3) {
        let k = 2 * half + 1;
        check(&ConvShape::new(&[1, c, h, w], &[c, 1, k, k], stride, half, c).unwrap(), (half, half));
    }
}

#[test]
fn nan_and_infinities_are_where_the_scalar_twin_has_them() {
    let shape = |c: usize, o: usize, hw: (usize, usize), k: usize, s: usize, p: usize, g: usize| {
        ConvShape::new(&[1, c, hw.0, hw.1], &[o, c / g, k, k], s, p, g).unwrap()
    };
    for s in [
        shape(3, 7, (5, 18), 3, 1, 1, 1),
        shape(4, 18, (3, 3), 3, 1, 1, 1),
        // More channels than have their weights met at a time.
        shape(20, 5, (4, 4), 5, 1, 2, 1),
        shape(3, 2, (7, 6), 3, 2, 1, 1),
        shape(5, 5, (6, 9), 3, 1, 1, 5),
        shape(3, 17, (4, 5), 1, 1, 0, 1),
    ] {
        let step = |len: usize| (len / 80) | 1;
        let kind = |at: usize| NOT_FINITE[at % NOT_FINITE.len()];
        let pad = s.padding.max(1);
        for at in (0..s.x_len()).step_by(step(s.x_len())) {
            check_with(&s, (pad, pad), |x, _, _| x[at] = kind(at));
        }
        for at in (0..s.w_len()).step_by(step(s.w_len())) {
            check_with(&s, (pad, pad), |_, w, _| w[at] = kind(at));
        }
        for at in (0..s.y_len()).step_by(step(s.y_len())) {
            check_with(&s, (pad, pad), |_, _, residual| residual[at] = kind(at));
        }
    }
}
