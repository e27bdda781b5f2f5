//! Which pixels a convolution combines, worked out once per shape.

use std::ops::Range;

use super::super::conv::Shape;

/// A kernel tap as its pixels see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    /// Index in the kernel, row by row.
    pub(crate) index: u32,
    /// What to add to a pixel's source.
    pub(crate) offset: i32,
}

/// Destination pixels that meet the same taps: the inside of a map is one class, its edges and corners are others, and so
/// are, in the gradient of a strided convolution, the pixels of each phase.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) taps: Vec<Tap>,
    /// `(source, destination)`: the sum over taps of `w[index] from[source + offset]` belongs in `to[destination]`.
    pub(crate) pixels: Vec<(u32, u32)>,
}

/// All classes of a map. Every source it names lies in `0..from`, every destination in `0..to` and is named once.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    pub(crate) classes: Vec<Class>,
    /// Pixels of a source and of a destination plane.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Destinations in a row.
    width: usize,
    /// Taps of the kernel.
    pub(crate) taps: usize,
}

/// Taps along one dimension, and the destinations that meet just these.
type AxisClass<'a> = (&'a [(usize, i32)], Vec<usize>);

/// One dimension: for each destination its source for tap 0 (may lie outside) and which taps are inside.
struct Axis {
    /// `(source of offset 0, [(tap, offset)])` by destination.
    items: Vec<(i32, Vec<(usize, i32)>)>,
}

impl Axis {
    fn forward(input: usize, output: usize, s: &Shape) -> Self {
        let items = (0..output).map(|o| {
            let origin = (o * s.stride) as i32 - s.padding as i32;
            let taps = (0..s.kernel).map(|k| (k, k as i32));
            (origin, taps.filter(|&(_, offset)| (0..input as i32).contains(&(origin + offset))).collect())
        });
        Self { items: items.collect() }
    }

    /// Destinations are input pixels, sources output pixels: `i = o stride + k - padding`.
    fn backward(input: usize, output: usize, s: &Shape) -> Self {
        let items = (0..input).map(|i| {
            let reach = (i + s.padding) as i32;
            let origin = reach / s.stride as i32;
            let taps = (0..s.kernel).filter_map(|k| {
                let distance = reach - k as i32;
                let o = distance.div_euclid(s.stride as i32);
                (distance.rem_euclid(s.stride as i32) == 0 && (0..output as i32).contains(&o))
                    .then_some((k, o - origin))
            });
            (origin, taps.collect())
        });
        Self { items: items.collect() }
    }

    /// Destinations by the taps they meet.
    fn classes(&self) -> Vec<AxisClass<'_>> {
        let mut classes: Vec<AxisClass<'_>> = Vec::new();
        for (at, (_, taps)) in self.items.iter().enumerate() {
            match classes.iter_mut().find(|(known, _)| known == taps) {
                Some((_, members)) => members.push(at),
                None => classes.push((taps, vec![at])),
            }
        }
        classes
    }
}

impl Geometry {
    /// Outputs from inputs.
    pub(crate) fn forward(s: &Shape) -> Self {
        let (rows, columns) = (Axis::forward(s.input.0, s.output.0, s), Axis::forward(s.input.1, s.output.1, s));
        Self::new(&rows, &columns, s.input, s.output, s.kernel)
    }

    /// The inputs' gradient from the outputs'.
    pub(crate) fn backward(s: &Shape) -> Self {
        let (rows, columns) = (Axis::backward(s.input.0, s.output.0, s), Axis::backward(s.input.1, s.output.1, s));
        Self::new(&rows, &columns, s.output, s.input, s.kernel)
    }

    fn new(rows: &Axis, columns: &Axis, from: (usize, usize), to: (usize, usize), kernel: usize) -> Self {
        let mut classes = Vec::new();
        for (row_taps, row_members) in rows.classes() {
            for (column_taps, column_members) in columns.classes() {
                let taps = row_taps.iter().flat_map(|&(k, y)| {
                    column_taps
                        .iter()
                        .map(move |&(l, x)| Tap { index: (k * kernel + l) as u32, offset: y * from.1 as i32 + x })
                });
                // A pixel's source is that of its first tap, which is inside; offsets count from there.
                let mut taps: Vec<Tap> = taps.collect();
                let first = taps.first().map_or(0, |tap| tap.offset);
                taps.iter_mut().for_each(|tap| tap.offset -= first);
                let mut pixels = Vec::with_capacity(row_members.len() * column_members.len());
                for &y in &row_members {
                    for &x in &column_members {
                        let source = rows.items[y].0 * from.1 as i32 + columns.items[x].0 + first;
                        let source = if taps.is_empty() { 0 } else { source as u32 };
                        pixels.push((source, (y * to.1 + x) as u32));
                    }
                }
                classes.push(Class { taps, pixels });
            }
        }
        // The widest first: most work, and the register tiles of its pixels are full ones.
        classes.sort_by_key(|class| std::cmp::Reverse(class.taps.len() * class.pixels.len()));
        let geometry = Self { classes, from: from.0 * from.1, to: to.0 * to.1, width: to.1, taps: kernel * kernel };
        geometry.check();
        geometry
    }

    /// The promise that kernels build on.
    fn check(&self) {
        let mut seen = vec![false; self.to];
        for class in &self.classes {
            for &(source, destination) in &class.pixels {
                assert!(!std::mem::replace(&mut seen[destination as usize], true), "a pixel in two classes");
                for tap in &class.taps {
                    let at = i64::from(source) + i64::from(tap.offset);
                    assert!((0..self.from as i64).contains(&at) && (tap.index as usize) < self.taps, "a tap outside");
                }
            }
        }
        assert!(seen.into_iter().all(|seen| seen), "a pixel in no class");
    }

    /// Some rows of the destination: destinations count from the first of them.
    pub(crate) fn band(&self, rows: Range<usize>) -> Self {
        let (from, to) = ((rows.start * self.width) as u32, (rows.end * self.width) as u32);
        let classes = self.classes.iter().map(|class| {
            let inside = class.pixels.iter().filter(|&&(_, at)| (from..to).contains(&at));
            Class { taps: class.taps.clone(), pixels: inside.map(|&(source, at)| (source, at - from)).collect() }
        });
        let band = Self { classes: classes.collect(), to: (to - from) as usize, ..*self };
        band.check();
        band
    }
}

/// `rows` in `count` bands, or in as many as there are rows.
pub(crate) fn bands_of(rows: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let count = count.clamp(1, rows.max(1));
    (0..count).map(move |band| rows * band / count..rows * (band + 1) / count)
}
