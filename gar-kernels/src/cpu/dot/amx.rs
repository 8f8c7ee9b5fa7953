//! AMX: eight registers that are tiles, 16 rows of 64 bytes each, and one instruction that multiplies two of them: 32 rows of x
//! with a panel of 32 columns, a run at a time. The sums stand in four of the registers, x and the panel in two each.
//!
//! Panels and runs lie in memory as these registers read them: a run of a row of x is a register's row, and a group of half a panel
//! another's. What AMX has no instructions for, packing and the softmax, goes by AVX-512.
//!
//! Two threads of an Intel Xeon (model 207, a virtual machine whose caches others use too) that does 5,000 to 5,300 GFLOP/s of
//! `tdpbf16ps` in registers, 140 to 170 of `vdpbf16ps`, 290 to 350 of FMA, and reads 21 to 24 GB/s. A tower's products and a prompt's
//! in bf16, a tower's attention, and one row times weights of 33 MB:
//!
//! | version | products, GFLOP/s | attention, ms | one row, GB/s |
//! |---|---:|---:|---:|
//! | `vdpbf16ps` | 140–156 | 70 | 19 |
//! | bf16 widened, FMA | 214–277 | 53 | 22 |
//! | tiles, their shape told anew for each panel | 543–573 | 28 | 20 |
//! | eight panels for a tile of rows, shapes told once | 631–1,447 | 16.5 | 20 |
//! | panels asked for ahead where rows are few | | | 24–28 |
//!
//! That machine's state changes threefold from second to second: the same five products took 78 and 142 ms in one run with eight
//! panels abreast, 92 and 130 with one. The loop alone, on one thread in a quiet moment, reached 1,950 of 2,600 GFLOP/s over operands
//! in the level-1 cache and 1,700 over operands in the level-2 cache, from which a step of 65,536 operations reads 4 KiB.
use std::arch::{asm, x86_64::__cpuid_count};

use bytemuck::Zeroable;
use half::bf16;
use pulp::x86::V4;

use super::{
    Dot, FloatDot, IntDot, RUN,
    avx512::{self, HalfPairs},
    tiles,
};
use crate::cpu::{
    panels::Rows,
    softmax::{Scores, shares_bf16},
    strip::Strip,
};

/// Rows of a register.
const HALF: usize = 16;
/// Bytes of a register's row: half a panel's columns, or a run of x.
const LINE: usize = 64;
const _: () = assert!(RUN * size_of::<u32>() == LINE, "a run is a row of a register");
const _: () =
    assert!(tiles::Half::ROWS == 2 * HALF && tiles::Half::PANEL == 2 * HALF, "a tile and a panel are two registers");
const _: () =
    assert!(tiles::Int8::ROWS == 2 * HALF && tiles::Int8::PANEL == 2 * HALF, "a tile and a panel are two registers");

/// bf16 weights and x, multiplied by `tdpbf16ps`; see [`tiles::Half`](super::tiles::Half).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Half(HalfPairs);

/// 8-bit weights in fours, x without sign, multiplied by `tdpbusd`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Int8(avx512::Int8);

impl Half {
    pub(super) fn new() -> Option<Self> {
        HalfPairs::new().filter(|_| is_available()).map(Self)
    }
}

impl Int8 {
    pub(super) fn new() -> Option<Self> {
        avx512::Int8::new().filter(|_| is_available()).map(Self)
    }
}

/// Whether the CPU has AMX with bf16 and 8 bits, and the system lets this process use it.
fn is_available() -> bool {
    const WANTED: u32 = 1 << 22 | 1 << 24 | 1 << 25; // bf16, tiles, 8 bits
    let found = __cpuid_count(7, 0).edx;
    found & WANTED == WANTED && is_permitted()
}

/// Asks Linux for the registers, whose 8 KiB are not saved for a process that did not ask. Threads share the answer.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const REQUEST: libc::c_long = 0x1023; // ARCH_REQ_XCOMP_PERM
    const TILES: libc::c_long = 18; // XFEATURE_XTILEDATA
    // SAFETY: the call takes two numbers and reads and writes no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILES) == 0 }
}

/// Nobody tried elsewhere.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// What `ldtilecfg` reads: rows and bytes of a row of each register.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shape {
    /// For `rows` rows of x and runs of `groups` groups: sums in registers 0 to 3, the upper rows first; x in 4 and 5; the panel
    /// in 6 and 7.
    const fn new(rows: usize, groups: usize) -> Self {
        let (mut shape, mut i) =
            (Self { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] }, 0);
        let (upper, lower) = if rows > HALF { (HALF, rows - HALF) } else { (rows, 0) };
        let all = [upper, upper, lower, lower, upper, lower, groups, groups];
        while i < all.len() {
            // A register without rows has none of any length.
            if all[i] > 0 {
                shape.rows[i] = all[i] as u8;
                shape.bytes[i] = if i == 4 || i == 5 { 4 * groups as u16 } else { LINE as u16 };
            }
            i += 1;
        }
        shape
    }
}

/// Shapes for whole runs, by rows of x.
static WHOLE: [Shape; 2 * HALF + 1] = {
    let (mut all, mut rows) = ([const { Shape::new(0, RUN) }; 2 * HALF + 1], 1);
    while rows < all.len() {
        all[rows] = Shape::new(rows, RUN);
        rows += 1;
    }
    all
};

/// Whole runs, or what is left of one, of a tile and one panel.
struct Runs {
    /// From one row to the next are [`LINE`] bytes.
    x: *const u8,
    /// Bytes from one run to the next.
    x_stride: usize,
    /// From one group to the next are 2 · [`LINE`] bytes.
    panel: *const u8,
    /// At least one.
    count: usize,
    sums: *mut u8,
    /// Bytes from one row of sums to the next.
    sums_stride: usize,
    accumulate: bool,
    /// Of more than 16 rows: where four lines a run are asked for, and how far on the next run does.
    next: *const u8,
    next_stride: usize,
}

/// Loops over runs of one panel, for an instruction. A loop is one block of assembly, with the registers that take the sums.
macro_rules! loops {
    ($upper:ident, $both:ident, $multiply:literal) => {
        /// Of at most 16 rows: with so little to compute, the panel is asked for 8 runs ahead.
        ///
        /// # Safety
        /// The CPU has AMX, the process may use it, the registers have the shape of the runs, and the addresses are valid for what
        /// [`Runs`] says.
        unsafe fn $upper(runs: &Runs) {
            // SAFETY: the caller vouches for it.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "test {accumulate}, {accumulate}",
                    "jz 2f",
                    "tileloadd tmm0, [{sums} + {stride}]",
                    "tileloadd tmm1, [{sums} + {stride} + 64]",
                    "2:",
                    "tileloadd tmm4, [{x} + {line}]",
                    "tileloadd tmm6, [{panel} + 2 * {line}]",
                    concat!($multiply, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{panel} + 2 * {line} + 64]",
                    concat!($multiply, " tmm1, tmm4, tmm7"),
                    // The CPU does not see loads of tiles coming.
                    ".irp line, 0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960",
                    "prefetcht1 [{panel} + \\line + 16384]",
                    "prefetcht1 [{panel} + \\line + 17408]",
                    ".endr",
                    "add {x}, {x_stride}",
                    "add {panel}, 2048",
                    "dec {count}",
                    "jnz 2b",
                    "tilestored [{sums} + {stride}], tmm0",
                    "tilestored [{sums} + {stride} + 64], tmm1",
                    accumulate = in(reg) usize::from(runs.accumulate),
                    sums = in(reg) runs.sums,
                    stride = in(reg) runs.sums_stride,
                    line = in(reg) LINE,
                    x = inout(reg) runs.x => _,
                    x_stride = in(reg) runs.x_stride,
                    panel = inout(reg) runs.panel => _,
                    count = inout(reg) runs.count => _,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }

        /// Of 17 to 32 rows.
        ///
        /// # Safety
        /// As of the loop above.
        unsafe fn $both(runs: &Runs) {
            // SAFETY: the caller vouches for it.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "test {accumulate}, {accumulate}",
                    "jz 2f",
                    "tileloadd tmm0, [{sums} + {stride}]",
                    "tileloadd tmm1, [{sums} + {stride} + 64]",
                    "tileloadd tmm2, [{lower} + {stride}]",
                    "tileloadd tmm3, [{lower} + {stride} + 64]",
                    "2:",
                    "tileloadd tmm4, [{x} + {line}]",
                    "tileloadd tmm6, [{panel} + 2 * {line}]",
                    concat!($multiply, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{panel} + 2 * {line} + 64]",
                    concat!($multiply, " tmm1, tmm4, tmm7"),
                    "tileloadd tmm5, [{x} + {line} + 1024]",
                    concat!($multiply, " tmm2, tmm5, tmm6"),
                    concat!($multiply, " tmm3, tmm5, tmm7"),
                    "prefetcht1 [{next}]",
                    "prefetcht1 [{next} + 64]",
                    "prefetcht1 [{next} + 128]",
                    "prefetcht1 [{next} + 192]",
                    "add {next}, {next_stride}",
                    "add {x}, {x_stride}",
                    "add {panel}, 2048",
                    "dec {count}",
                    "jnz 2b",
                    "tilestored [{sums} + {stride}], tmm0",
                    "tilestored [{sums} + {stride} + 64], tmm1",
                    "tilestored [{lower} + {stride}], tmm2",
                    "tilestored [{lower} + {stride} + 64], tmm3",
                    accumulate = in(reg) usize::from(runs.accumulate),
                    sums = in(reg) runs.sums,
                    lower = in(reg) runs.sums.wrapping_add(HALF * runs.sums_stride),
                    stride = in(reg) runs.sums_stride,
                    line = in(reg) LINE,
                    x = inout(reg) runs.x => _,
                    x_stride = in(reg) runs.x_stride,
                    panel = inout(reg) runs.panel => _,
                    next = inout(reg) runs.next => _,
                    next_stride = in(reg) runs.next_stride,
                    count = inout(reg) runs.count => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

loops!(upper_bf16, both_bf16, "tdpbf16ps");
loops!(upper_int8, both_int8, "tdpbusd");

/// A product that tiles compute.
trait TileDot: Dot {
    /// Loops over the runs of a panel: of at most 16 rows, and of 17 to 32.
    const LOOPS: [unsafe fn(&Runs); 2];
}

/// Whole runs first, then what is left of one.
fn strip<D: TileDot>(strip: Strip<'_, D>) {
    strip.check();
    let Strip { height, x, w, groups, sums, row_stride, accumulate, ahead } = strip;
    // The loops have no room to ask for more than the panel's next part.
    for mut rows in ahead.rows {
        (0..rows.rows()).for_each(|_| rows.ask());
    }
    let (whole, rest) = (groups / RUN, groups % RUN);
    if groups == 0 && !accumulate {
        sums.chunks_mut(row_stride).take(height).for_each(|row| row[..w.count * D::PANEL].fill(D::Sum::zeroed()));
    }
    let of_whole = (whole > 0).then_some(&WHOLE[height]);
    let of_rest = (rest > 0).then(|| Shape::new(height, rest));
    for (done, count, shape) in [(0, whole, of_whole), (whole, 1, of_rest.as_ref())] {
        let Some(shape) = shape else { continue };
        // SAFETY: sums, x and panels lie inside their slices, which was checked; a dot is made only where AMX can be used. What is
        // asked for ahead is not read.
        unsafe {
            configure(shape);
            for panel in 0..w.count {
                let next = ahead.of(panel);
                D::LOOPS[usize::from(height > HALF)](&Runs {
                    x: x.as_ptr().cast::<u8>().add(done * height * LINE),
                    x_stride: height * LINE,
                    panel: w.entries[panel * w.stride..].as_ptr().cast::<u8>().add(done * RUN * 2 * LINE),
                    count,
                    sums: sums[panel * D::PANEL..].as_mut_ptr().cast(),
                    sums_stride: row_stride * size_of::<D::Sum>(),
                    accumulate: accumulate || done > 0,
                    next: next.as_ptr().cast(),
                    next_stride: size_of_val(next).div_ceil(LINE).div_ceil(count).min(4) * LINE,
                });
            }
            release();
        }
    }
}

/// Shapes the registers.
///
/// # Safety
/// The CPU has AMX, and the process may use it.
unsafe fn configure(shape: &Shape) {
    // SAFETY: the caller vouches for it. Nothing that a compiler makes uses these registers.
    unsafe { asm!("ldtilecfg [{}]", in(reg) shape, options(nostack, preserves_flags, readonly)) };
}

/// Gives the registers back, so that nothing need be saved when the system lets others run.
///
/// # Safety
/// As of [`configure`].
unsafe fn release() {
    // SAFETY: the caller vouches for it.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
}

impl TileDot for Half {
    const LOOPS: [unsafe fn(&Runs); 2] = [upper_bf16, both_bf16];
}

impl Dot for Half {
    const ROWS: usize = tiles::Half::ROWS;
    const PANEL: usize = tiles::Half::PANEL;
    const GROUP: usize = tiles::Half::GROUP;
    const RUN: usize = tiles::Half::RUN;
    const TILES: usize = tiles::Half::TILES;
    const DEPTH: usize = tiles::Half::DEPTH;
    const ABREAST: usize = tiles::Half::ABREAST;
    type Weight = bf16;
    type X = u32;
    type Sum = f32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [u32], height: usize, scales: &mut [f32]) {
        self.0.pack(x, k, tile, height, scales);
    }

    fn pack_rounded(self, x: &[bf16], k: usize, tile: &mut [u32], height: usize, scales: &mut [f32]) {
        self.0.pack_rounded(x, k, tile, height, scales);
    }

    fn narrow(self, from: &[f32], to: &mut [bf16]) {
        self.0.narrow(from, to);
    }

    fn strip(self, s: Strip<'_, Self>) {
        strip(s);
    }
}

impl FloatDot for Half {
    fn rounds(self) -> bool {
        true
    }

    fn shares(self, scores: Scores<'_>, to: &mut Rows<Self>) {
        let height = to.height();
        // SAFETY: `self` vouches for the CPU.
        unsafe { shares_bf16(V4::new_unchecked(), scores, to.groups_mut(), height) }
    }
}

impl TileDot for Int8 {
    const LOOPS: [unsafe fn(&Runs); 2] = [upper_int8, both_int8];
}

impl Dot for Int8 {
    const ROWS: usize = tiles::Int8::ROWS;
    const PANEL: usize = tiles::Int8::PANEL;
    const GROUP: usize = tiles::Int8::GROUP;
    const RUN: usize = tiles::Int8::RUN;
    const TILES: usize = tiles::Int8::TILES;
    const DEPTH: usize = tiles::Int8::DEPTH;
    const ABREAST: usize = tiles::Int8::ABREAST;
    type Weight = i8;
    type X = [u8; 4];
    type Sum = i32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [[u8; 4]], height: usize, scales: &mut [f32]) {
        self.0.pack(x, k, tile, height, scales);
    }

    fn strip(self, s: Strip<'_, Self>) {
        strip(s);
    }
}

impl IntDot for Int8 {
    const OFFSET: i32 = avx512::Int8::OFFSET;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_have_the_rows_that_there_are_and_no_more() {
        let Shape { palette, bytes, rows, .. } = Shape::new(20, 5);
        assert_eq!((size_of::<Shape>(), palette), (64, 1));
        assert_eq!(rows[..8], [16, 16, 4, 4, 16, 4, 5, 5]);
        assert_eq!(bytes[..8], [64, 64, 64, 64, 20, 20, 64, 64]);
        // Without rows there is no length either: the CPU refuses what is half empty.
        let Shape { bytes, rows, .. } = &WHOLE[16];
        assert_eq!(rows[..], [16, 16, 0, 0, 16, 0, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[..], [64, 64, 0, 0, 64, 0, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
