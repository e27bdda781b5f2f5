//! Which pixels a convolution combines, worked out once per shape.

use crate::kernels::shape::ConvShape;
use crate::kernels::taps::Axis;

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

/// All classes of a map. Every source it names lies in `0..from`, every destination in `0..to`; each is named once.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    pub(crate) classes: Vec<Class>,
    /// Values of a source and of a destination plane, from the first pixel to the last.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Taps of the kernel.
    pub(crate) taps: usize,
}

/// Taps along one dimension, and the destinations that meet just these.
type AxisClass<'a> = (&'a [(usize, i32)], Vec<usize>);

/// One dimension: for each destination its source for offset 0 (may lie outside) and which taps are inside.
struct Meetings {
    /// `(source of offset 0, [(tap, offset)])` by destination.
    items: Vec<(i32, Vec<(usize, i32)>)>,
}

impl Meetings {
    fn forward(axis: Axis) -> Self {
        let items = (0..axis.output).map(|o| {
            let origin = (o * axis.stride) as i32 - axis.padding as i32;
            (origin, axis.taps(o).map(|k| (k, k as i32)).collect())
        });
        Self { items: items.collect() }
    }

    /// Destinations are input pixels, sources output pixels.
    fn backward(axis: Axis) -> Self {
        let items = (0..axis.input).map(|i| {
            let origin = ((i + axis.padding) / axis.stride) as i32;
            (origin, axis.meeting(i).map(|(k, o)| (k, o as i32 - origin)).collect())
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
    pub(crate) fn forward(s: &ConvShape) -> Self {
        Self::padded(s, s.input.1, s.output.1)
    }

    /// Outputs from inputs, where rows lie so far apart.
    pub(crate) fn padded(s: &ConvShape, from_pitch: usize, to_pitch: usize) -> Self {
        assert!(from_pitch >= s.input.1 && to_pitch >= s.output.1, "rows overlap");
        Self::new(s, Meetings::forward, (s.input, from_pitch), (s.output, to_pitch))
    }

    /// The inputs' gradient from the outputs'.
    pub(crate) fn backward(s: &ConvShape) -> Self {
        Self::new(s, Meetings::backward, (s.output, s.output.1), (s.input, s.input.1))
    }

    /// `from` and `to` are sizes, and how far apart rows lie.
    fn new(
        s: &ConvShape,
        meetings: fn(Axis) -> Meetings,
        (from, from_pitch): ((usize, usize), usize),
        (to, to_pitch): ((usize, usize), usize),
    ) -> Self {
        let (rows, columns) = s.axes();
        let (rows, columns) = (meetings(rows), meetings(columns));
        let mut classes = Vec::new();
        for (row_taps, row_members) in rows.classes() {
            for (column_taps, column_members) in columns.classes() {
                let taps = row_taps.iter().flat_map(|&(k, y)| {
                    column_taps
                        .iter()
                        .map(move |&(l, x)| Tap { index: (k * s.kernel + l) as u32, offset: y * from_pitch as i32 + x })
                });
                // A pixel's source is that of its first tap, which is inside; offsets count from there.
                let mut taps: Vec<Tap> = taps.collect();
                let first = taps.first().map_or(0, |tap| tap.offset);
                taps.iter_mut().for_each(|tap| tap.offset -= first);
                let mut pixels = Vec::with_capacity(row_members.len() * column_members.len());
                for &y in &row_members {
                    for &x in &column_members {
                        let source = rows.items[y].0 * from_pitch as i32 + columns.items[x].0 + first;
                        let source = if taps.is_empty() { 0 } else { source as u32 };
                        pixels.push((source, (y * to_pitch + x) as u32));
                    }
                }
                classes.push(Class { taps, pixels });
            }
        }
        // The widest first: most work, and the register tiles of its pixels are full ones.
        classes.sort_by_key(|class| std::cmp::Reverse(class.taps.len() * class.pixels.len()));
        let len = |(height, width): (usize, usize), pitch: usize| (height - 1) * pitch + width;
        let (from, pixels) = (len(from, from_pitch), to.0 * to.1);
        let geometry = Self { classes, from, to: len(to, to_pitch), taps: s.taps() };
        geometry.check(pixels);
        geometry
    }

    /// The promise that kernels build on.
    fn check(&self, pixels: usize) {
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
        assert_eq!(seen.into_iter().filter(|seen| *seen).count(), pixels, "a pixel in no class");
    }
}
