//! Products of tiles. Their intrinsics are not stable in Rust, so the instructions are written in assembly: each block loads,
//! multiplies and stores all that it touches, and nothing stays in a tile from one to the next but the configuration.

#[cfg(target_arch = "x86_64")]
use std::arch::{asm, x86_64::__cpuid_count};
use std::sync::OnceLock;

/// The token of AMX-BF16, which the processor has and the system lets this process use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amx(());

/// Bytes of a tile of weights: 16 rows of 64.
pub(super) const TILE: usize = 1024;

/// Bytes from one row of a tile to the next.
const ROW: usize = 64;

/// The registers' shapes, as the instruction reads them.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Tiles as they are configured on this thread; given back when it is dropped.
pub(super) struct Tiles(());

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Amx {
    /// Asks the processor, then the system: tile registers are 8 KiB a thread, which Linux saves only for who asked.
    pub(super) fn detect() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        FOUND.get_or_init(|| has_instructions() && is_permitted()).then_some(Self(()))
    }

    /// Configures this thread's tiles for chunks of so many pairs, 1 to 16.
    pub(super) fn configure(self, pairs: usize) -> Tiles {
        assert!((1..=16).contains(&pairs), "amx: a tile has 1 to 16 pairs, not {pairs}");
        let mut configuration =
            Configuration { palette: 1, start: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for sums in 0..4 {
            (configuration.row_bytes[sums], configuration.rows[sums]) = (64, 16);
        }
        for weights in 4..6 {
            (configuration.row_bytes[weights], configuration.rows[weights]) = (4 * pairs as u16, 16);
        }
        for values in 6..8 {
            (configuration.row_bytes[values], configuration.rows[values]) = (64, pairs as u8);
        }
        // SAFETY: the processor has the instruction and the system permits it, else there would be no token; the
        // configuration is 64 readable bytes, and one that palette 1 has.
        unsafe {
            asm!("ldtilecfg [{0}]", in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly, preserves_flags));
        }
        Tiles(())
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there are tiles, so the processor has the instruction.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Tiles {
    /// `sums[b][p]`, 16 outputs x 16 images each, of two blocks of 16 outputs and two pixels: over chunks, weights
    /// times values.
    ///
    /// # Safety
    /// `weights[b]` are as many tiles of 16 outputs as there are chunks; at each offset in bytes from `values[p]` there are
    /// as many lines of 64 bytes as the configuration has pairs; `sums` are 4 tiles.
    pub(super) unsafe fn two_by_two(
        &self,
        weights: [*const u8; 2],
        values: [*const u8; 2],
        chunks: &[usize],
        sums: *mut f32,
    ) {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "mov {offset}, qword ptr [{chunk}]",
            "lea {at}, [{v0} + {offset}]",
            "tileloadd tmm4, [{w0} + {row}]",
            "tileloadd tmm6, [{at} + {row}]",
            "lea {at}, [{v1} + {offset}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{at} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{w1} + {row}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {w0}, {tile}",
            "add {w1}, {tile}",
            "add {chunk}, 8",
            "cmp {chunk}, {end}",
            "jne 2b",
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + {tile}], tmm1",
            "tilestored [{sums} + {row} + 2 * {tile}], tmm2",
            "tilestored [{sums} + {row} + 3 * {tile}], tmm3",
            offset = out(reg) _, at = out(reg) _,
            chunk = inout(reg) chunks.as_ptr() => _, end = in(reg) chunks.as_ptr_range().end,
            w0 = inout(reg) weights[0] => _, w1 = inout(reg) weights[1] => _,
            v0 = in(reg) values[0], v1 = in(reg) values[1],
            row = in(reg) ROW, sums = in(reg) sums, tile = const TILE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }

    /// `sums[p]` of one block of 16 outputs and four pixels.
    ///
    /// # Safety
    /// As [`Tiles::two_by_two`].
    pub(super) unsafe fn one_by_four(
        &self,
        weights: *const u8,
        values: [*const u8; 4],
        chunks: &[usize],
        sums: *mut f32,
    ) {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "mov {offset}, qword ptr [{chunk}]",
            "tileloadd tmm4, [{w} + {row}]",
            "lea {at}, [{v0} + {offset}]",
            "tileloadd tmm6, [{at} + {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "lea {at}, [{v1} + {offset}]",
            "tileloadd tmm7, [{at} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "lea {at}, [{v2} + {offset}]",
            "tileloadd tmm6, [{at} + {row}]",
            "tdpbf16ps tmm2, tmm4, tmm6",
            "lea {at}, [{v3} + {offset}]",
            "tileloadd tmm7, [{at} + {row}]",
            "tdpbf16ps tmm3, tmm4, tmm7",
            "add {w}, {tile}",
            "add {chunk}, 8",
            "cmp {chunk}, {end}",
            "jne 2b",
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + {tile}], tmm1",
            "tilestored [{sums} + {row} + 2 * {tile}], tmm2",
            "tilestored [{sums} + {row} + 3 * {tile}], tmm3",
            offset = out(reg) _, at = out(reg) _,
            chunk = inout(reg) chunks.as_ptr() => _, end = in(reg) chunks.as_ptr_range().end,
            w = inout(reg) weights => _,
            v0 = in(reg) values[0], v1 = in(reg) values[1], v2 = in(reg) values[2], v3 = in(reg) values[3],
            row = in(reg) ROW, sums = in(reg) sums, tile = const TILE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Tiles and their products of bf16 (leaf 7), and their state in what the system saves (XCR0, bits 17 and 18).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_instructions() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILES: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    const STATE: u64 = 0b11 << 17;
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: register 0 is there where the system uses XSAVE, which the caller saw.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    let (most, first) = (__cpuid_count(0, 0).eax, __cpuid_count(1, 0).ecx);
    if most < 7 || first & OSXSAVE == 0 || !is_x86_feature_detected!("xsave") {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    // SAFETY: the processor has XSAVE.
    features & TILES != 0 && features & BF16 != 0 && unsafe { saved() } & STATE == STATE
}

/// Whether Linux, asked for it, lets this process use tiles.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: a system call that reads two numbers and touches no memory of this process; it clobbers rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILE_DATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Amx {
    pub(super) fn detect() -> Option<Self> {
        static NONE: OnceLock<Option<Amx>> = OnceLock::new();
        *NONE.get_or_init(|| None)
    }

    pub(super) fn configure(self, _: usize) -> Tiles {
        unreachable!("there is no token")
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Tiles {
    pub(super) unsafe fn two_by_two(&self, _: [*const u8; 2], _: [*const u8; 2], _: &[usize], _: *mut f32) {}

    pub(super) unsafe fn one_by_four(&self, _: *const u8, _: [*const u8; 4], _: &[usize], _: *mut f32) {}
}
