//! The vector instructions that kernels are written over, and the choice between them at run time.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use portable::Lanes8;

/// A set of vector instructions that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// 16 lanes, AVX-512F.
    Avx512,
    /// 8 lanes, AVX2 with FMA.
    Avx2,
    /// 8 lanes of ordinary Rust; runs everywhere.
    Portable,
}

impl Path {
    /// Every path, fastest first.
    pub const ALL: [Path; 3] = [Path::Avx512, Path::Avx2, Path::Portable];

    /// Whether this processor can execute the path.
    pub fn supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => is_x86_feature_detected!("avx512f") && Path::Avx2.supported(),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Path::Avx512 | Path::Avx2 => false,
            Path::Portable => true,
        }
    }

    /// The fastest path of this processor, or the one that the environment variable `CONV_PATH` names.
    ///
    /// # Panics
    /// If the variable names none that this processor has.
    pub fn best() -> Path {
        static BEST: OnceLock<Path> = OnceLock::new();
        *BEST.get_or_init(|| {
            let mut there = Path::ALL.into_iter().filter(|path| path.supported());
            match std::env::var("CONV_PATH") {
                Err(_) => there.next().unwrap_or(Path::Portable),
                Ok(name) => there.clone().find(|path| path.name() == name).unwrap_or_else(|| {
                    let names: Vec<&str> = there.map(Path::name).collect();
                    panic!("CONV_PATH={name}: accepted on this processor: {}", names.join(", "))
                }),
            }
        })
    }

    /// As stamps and messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Path::Avx512 => "avx512",
            Path::Avx2 => "avx2",
            Path::Portable => "portable",
        }
    }

    /// Rows of the widest register tile (see `tile.rs`).
    pub(crate) fn rows(self) -> usize {
        match self {
            Path::Avx512 => 8,
            Path::Avx2 | Path::Portable => 4,
        }
    }

    /// Runs `task` compiled for this path (for the portable one, where the processor cannot).
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        #[cfg(target_arch = "x86_64")]
        if self != Path::Portable && self.supported() {
            return match self {
                // SAFETY: the processor has the features, checked by `supported`.
                Path::Avx512 => unsafe { x86::run_avx512(task) },
                // SAFETY: as above.
                _ => unsafe { x86::run_avx2(task) },
            };
        }
        task.run::<Lanes8>()
    }
}

/// Work that is generic over the vector instructions. `run` must be `#[inline(always)]`, as everything it calls, so that
/// it is compiled with the features of the caller.
pub(crate) trait Task {
    type Output;
    fn run<S: Simd>(self) -> Self::Output;
}

/// A vector of f32. The functions are unsafe where they touch memory and because they may only be executed on a
/// processor that has the instructions: call them from [`Task::run`] alone.
pub(crate) trait Simd: 'static {
    type V: Copy;
    const LANES: usize;

    unsafe fn splat(value: f32) -> Self::V;
    /// # Safety
    /// `LANES` readable values at `from`; no alignment asked.
    unsafe fn load(from: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` writable values at `to`; no alignment asked.
    unsafe fn store(to: *mut f32, value: Self::V);
    /// `a b + c`
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// The greater of both; `b` where one is not a number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// 0 where `condition <= 0`, else `value`: a condition that is not a number lets it pass.
    unsafe fn mask(condition: Self::V, value: Self::V) -> Self::V;
    /// Sum over lanes, in one fixed order.
    unsafe fn sum(value: Self::V) -> f32;

    /// Asks for the cache line of `at` to be brought near; nothing is read, so any address will do.
    fn prefetch(at: *const f32);

    /// 16 values, one an image: a line of `lanes`, in as many registers as it takes.
    type W: Copy;
    /// Registers that a `W` takes.
    const WIDTH: usize = 16 / Self::LANES;

    unsafe fn line_splat(value: f32) -> Self::W;
    /// # Safety
    /// 16 readable values at `from`; no alignment asked.
    unsafe fn line_load(from: *const f32) -> Self::W;
    /// # Safety
    /// 16 writable values at `to`; no alignment asked.
    unsafe fn line_store(to: *mut f32, value: Self::W);
    /// `a b + c`
    unsafe fn line_mul_add(a: Self::W, b: Self::W, c: Self::W) -> Self::W;
    unsafe fn line_add(a: Self::W, b: Self::W) -> Self::W;
    unsafe fn line_sub(a: Self::W, b: Self::W) -> Self::W;
    /// The greater of both; `b` where one is not a number.
    unsafe fn line_max(a: Self::W, b: Self::W) -> Self::W;
    /// 0 where `condition <= 0`, else `value`: a condition that is not a number lets it pass.
    unsafe fn line_mask(condition: Self::W, value: Self::W) -> Self::W;
}
