//! Which instructions multiply bf16, and the choice between them at run time.

use candle_core::{Result, bail};

use super::{amx, avx512bf16};
use crate::kernels::Isa;

/// Instructions that this processor has, and this system allows. A value is the proof, as of [`Isa`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HalfPath {
    Amx(amx::Amx),
    Avx512Bf16(avx512bf16::Avx512Bf16),
    Portable(Isa),
}

impl HalfPath {
    /// Fastest first. The last ones are f32 vectors of every set.
    pub(crate) fn available() -> impl Iterator<Item = HalfPath> {
        let detected = [amx::Amx::detect().map(Self::Amx), avx512bf16::Avx512Bf16::detect().map(Self::Avx512Bf16)];
        detected.into_iter().flatten().chain(Isa::available().map(Self::Portable))
    }

    /// The fastest of this processor, or the one that the environment variable `CONV_PATH` names.
    ///
    /// # Errors
    /// A name of none that this processor has.
    pub(crate) fn best() -> Result<HalfPath> {
        let asked = std::env::var("CONV_PATH").ok();
        match Self::available().find(|path| asked.as_deref().is_none_or(|asked| asked == path.name())) {
            Some(path) => Ok(path),
            None => {
                let names: Vec<&str> = Self::available().map(Self::name).collect();
                let asked = asked.unwrap_or_default();
                bail!("CONV_PATH={asked}: bf16 accepts on this processor: {}", names.join(", "))
            }
        }
    }

    /// The f32 vectors that go with it.
    pub(crate) fn isa(self) -> Isa {
        match self {
            Self::Portable(isa) => isa,
            // Processors with these instructions have AVX-512, the first of all sets.
            Self::Amx(_) | Self::Avx512Bf16(_) => Isa::best(),
        }
    }

    /// As stamps and messages call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amx(_) => "amx",
            Self::Avx512Bf16(_) => "avx512bf16",
            Self::Portable(isa) => isa.name(),
        }
    }
}
