//! Which taps of a convolution meet its input, one dimension at a time. All kernels derive their borders from here.

use std::ops::Range;

/// The indices `start + v step`, for `v` = 0, 1, ..., into something that has a first and a last element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progression {
    pub(crate) start: isize,
    pub(crate) step: usize,
}

impl Progression {
    /// Those `v` in `0..len` whose index lies in `0..size`.
    pub(crate) fn existing(&self, len: usize, size: usize) -> Range<usize> {
        // The first `v` whose index is at least `index`.
        let reaching = |index: isize| (index - self.start).max(0).unsigned_abs().div_ceil(self.step);
        let first = reaching(0).min(len);
        first..reaching(size as isize).clamp(first, len)
    }

    /// Index of `v`, which must exist.
    pub(crate) fn index(&self, v: usize) -> usize {
        (self.start + (v * self.step) as isize) as usize
    }
}

/// One dimension of a convolution: tap `k` of output `o` meets input `o stride + k - padding`, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Axis {
    /// The inputs that a tap meets, by output; outputs may be counted beyond the last one.
    pub(crate) fn inputs(&self, tap: usize) -> Progression {
        Progression { start: tap as isize - self.padding as isize, step: self.stride }
    }

    /// The outputs whose input at this tap exists.
    pub(crate) fn outputs(&self, tap: usize) -> Range<usize> {
        self.inputs(tap).existing(self.output, self.input)
    }

    /// The taps of an output whose input exists.
    pub(crate) fn taps(&self, output: usize) -> Range<usize> {
        let start = (output * self.stride) as isize - self.padding as isize;
        Progression { start, step: 1 }.existing(self.kernel, self.input)
    }

    /// The pairs `(tap, output)` that meet an input, by tap.
    pub(crate) fn meeting(&self, input: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { output, stride, .. } = *self;
        let padded = input + self.padding;
        let taps = (padded % stride..self.kernel.min(padded + 1)).step_by(stride);
        taps.map(move |tap| (tap, (padded - tap) / stride)).filter(move |&(_, o)| o < output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Against every pair of output and tap, kernels larger than the map and outputs of padding alone included.
        #[test]
        fn outputs_taps_and_pairs_are_those_of_the_definition(
            input in 0usize..9, output in 0usize..9, kernel in 1usize..9, stride in 1usize..5, padding in 0usize..9,
        ) {
            let axis = Axis { input, output, kernel, stride, padding };
            let met = |o: usize, k: usize| (o * stride + k).checked_sub(padding).filter(|&i| i < input);
            for k in 0..kernel {
                let want: Vec<usize> = (0..output).filter(|&o| met(o, k).is_some()).collect();
                prop_assert_eq!(axis.outputs(k).collect::<Vec<_>>(), want.clone(), "tap {}", k);
                prop_assert!(axis.outputs(k).end <= output);
                for o in want {
                    prop_assert_eq!(Some(axis.inputs(k).index(o)), met(o, k));
                }
            }
            for o in 0..output {
                let want: Vec<usize> = (0..kernel).filter(|&k| met(o, k).is_some()).collect();
                prop_assert_eq!(axis.taps(o).collect::<Vec<_>>(), want, "output {}", o);
            }
            for i in 0..input {
                let pairs = (0..kernel).flat_map(|k| (0..output).map(move |o| (k, o)));
                let want: Vec<_> = pairs.filter(|&(k, o)| met(o, k) == Some(i)).collect();
                prop_assert_eq!(axis.meeting(i).collect::<Vec<_>>(), want, "input {}", i);
            }
        }

        #[test]
        fn a_progression_exists_where_its_indices_do(start in -20isize..20, step in 1usize..6, len in 0usize..12, size in 0usize..12) {
            let progression = Progression { start, step };
            let inside = |v: &usize| (0..size as isize).contains(&(start + (v * step) as isize));
            let existing = progression.existing(len, size);
            prop_assert!(existing.start <= existing.end && existing.end <= len);
            prop_assert_eq!(existing.collect::<Vec<_>>(), (0..len).filter(inside).collect::<Vec<_>>());
        }
    }
}
