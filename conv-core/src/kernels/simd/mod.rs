//! The vector instructions that kernels are written over, and the choice between them at run time.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::ops::IndexMut;
use std::sync::OnceLock;

use portable::Portable;

/// A set of vector instructions that this processor has.
///
/// A value is the proof: there is no way to come by one but to ask the processor, so whoever holds one may use the
/// instructions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(Set);

/// Values of `CONV_PATH` that name how bfloat16 is multiplied.
const BF16_PATHS: [&str; 2] = ["amx", "avx512bf16"];

/// The sets there are. Each holds the token that its instructions ask for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Set {
    /// 16 lanes, AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
    /// 8 lanes, AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    /// 8 lanes of ordinary Rust; runs everywhere.
    Portable(Portable),
}

impl Isa {
    /// The sets that this processor has, fastest first. The last one is everywhere.
    pub fn available() -> impl Iterator<Item = Isa> + Clone {
        #[cfg(target_arch = "x86_64")]
        let detected = [x86::Avx512::detect().map(Set::Avx512), x86::Avx2::detect().map(Set::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let detected = [];
        detected.into_iter().flatten().chain([Set::Portable(Portable)]).map(Isa)
    }

    /// The fastest set of this processor, or the one that the environment variable `CONV_PATH` names. `amx` and `avx512bf16`,
    /// which only bfloat16 is multiplied with, go with `avx512`.
    ///
    /// # Panics
    /// If the variable names none that this processor has.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let mut available = Isa::available();
            match std::env::var("CONV_PATH") {
                Err(_) => available.next().unwrap_or(Isa(Set::Portable(Portable))),
                Ok(name) => (available.clone())
                    .find(|isa| isa.name() == if BF16_PATHS.contains(&&*name) { "avx512" } else { &name })
                    .unwrap_or_else(|| {
                        let names: Vec<&str> = available.map(Isa::name).collect();
                        panic!("CONV_PATH={name}: accepted on this processor: {}", names.join(", "))
                    }),
            }
        })
    }

    /// As stamps and messages call it.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            Set::Portable(_) => "portable",
        }
    }

    /// Whether a vector holds 16 values and there are 32 registers of them; else it is 8 and 16.
    pub(crate) fn is_wide(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => true,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => false,
            Set::Portable(_) => false,
        }
    }

    /// Whether a product and a sum are one instruction.
    pub(crate) fn has_fma(self) -> bool {
        !matches!(self.0, Set::Portable(_))
    }

    /// Executes `task`, compiled for this set.
    pub(crate) fn execute<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => simd.execute(task),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => simd.execute(task),
            Set::Portable(simd) => task.execute(simd),
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Work that is generic over the vector instructions. `execute` must be `#[inline(always)]`, as everything it calls, so
/// that it is compiled with the features of the caller.
pub(crate) trait Task {
    type Output;
    fn execute<S: Simd>(self, simd: S) -> Self::Output;
}

/// Vectors of f32 on one set of instructions. A value of the type is the token that the processor has them; only what
/// touches memory is unsafe.
pub(crate) trait Simd: Copy + 'static {
    type V: Copy;
    const LANES: usize;

    fn splat(self, value: f32) -> Self::V;
    /// # Safety
    /// `LANES` readable values at `from`; no alignment asked.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` writable values at `to`; no alignment asked.
    unsafe fn store(self, to: *mut f32, value: Self::V);
    /// `a b + c`
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// The greater of both; `b` where one is not a number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// 0 where `condition <= 0`, else `value`: a condition that is not a number lets it pass.
    fn mask(self, condition: Self::V, value: Self::V) -> Self::V;
    /// Sum over lanes, in one fixed order.
    fn sum(self, value: Self::V) -> f32;
    /// Of each value what [`Simd::sum`] gives, to the bit. Many together may take fewer instructions.
    #[inline(always)]
    fn sums(self, values: &[Self::V], to: &mut [f32]) {
        to.iter_mut().zip(values).for_each(|(to, &value)| *to = self.sum(value));
    }

    /// Asks for the cache line of `at` to be brought near; nothing is read, so any address will do.
    fn prefetch(self, at: *const f32);

    /// A line in registers, 16 values, one an image: `[V; WIDTH]`.
    type W: Copy + IndexMut<usize, Output = Self::V>;
    /// Registers that a `W` takes.
    const WIDTH: usize = 16 / Self::LANES;

    fn line_splat(self, value: f32) -> Self::W;

    /// The line whose registers `register` gives. What is done to a line is done to each of its registers.
    #[inline(always)]
    fn line(self, register: impl Fn(usize) -> Self::V) -> Self::W {
        let mut line = self.line_splat(0.0);
        for at in 0..Self::WIDTH {
            line[at] = register(at);
        }
        line
    }

    /// # Safety
    /// 16 readable values at `from`; no alignment asked.
    #[inline(always)]
    unsafe fn line_load(self, from: *const f32) -> Self::W {
        // SAFETY: the registers of a line are 16 values, which the caller promises.
        self.line(|at| unsafe { self.load(from.add(at * Self::LANES)) })
    }

    /// # Safety
    /// 16 writable values at `to`; no alignment asked.
    #[inline(always)]
    unsafe fn line_store(self, to: *mut f32, value: Self::W) {
        for at in 0..Self::WIDTH {
            // SAFETY: the registers of a line are 16 values, which the caller promises.
            unsafe { self.store(to.add(at * Self::LANES), value[at]) };
        }
    }

    /// `a b + c`
    #[inline(always)]
    fn line_mul_add(self, a: Self::W, b: Self::W, c: Self::W) -> Self::W {
        self.line(|at| self.mul_add(a[at], b[at], c[at]))
    }

    #[inline(always)]
    fn line_add(self, a: Self::W, b: Self::W) -> Self::W {
        self.line(|at| self.add(a[at], b[at]))
    }

    #[inline(always)]
    fn line_sub(self, a: Self::W, b: Self::W) -> Self::W {
        self.line(|at| self.sub(a[at], b[at]))
    }

    /// The value where it is positive, -0 or not a number, else 0.
    #[inline(always)]
    fn line_relu(self, value: Self::W) -> Self::W {
        // In this order NaN stays NaN.
        self.line(|at| self.max(self.splat(0.0), value[at]))
    }

    /// As [`Simd::mask`].
    #[inline(always)]
    fn line_mask(self, condition: Self::W, value: Self::W) -> Self::W {
        self.line(|at| self.mask(condition[at], value[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many vectors, first each summed by itself, then all together.
    struct BothWays(usize);

    impl Task for BothWays {
        type Output = (Vec<f32>, Vec<f32>);

        #[inline(always)]
        fn execute<S: Simd>(self, simd: S) -> Self::Output {
            let noise: Vec<f32> = (crate::normal_stream(3, "sums", self.0 * S::LANES).into_iter())
                .map(|value| (value * (8.0 * value).exp2()) as f32)
                .collect();
            // SAFETY: pieces of as many values as a vector has.
            let values: Vec<S::V> = noise.chunks(S::LANES).map(|lanes| unsafe { simd.load(lanes.as_ptr()) }).collect();
            let mut together = vec![f32::NAN; self.0];
            simd.sums(&values, &mut together);
            (values.into_iter().map(|value| simd.sum(value)).collect(), together)
        }
    }

    #[test]
    fn vectors_summed_together_have_the_bits_of_each_by_itself() {
        for isa in Isa::available() {
            for count in 0..40 {
                let (alone, together) = isa.execute(BothWays(count));
                let bits = |sums: Vec<f32>| sums.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                assert_eq!(bits(alone), bits(together), "{isa:?}, {count} vectors");
            }
        }
    }
}
