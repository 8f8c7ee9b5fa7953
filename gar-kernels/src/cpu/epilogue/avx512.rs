//! What follows a tile of products, in the registers that they were summed in: no sum is written and read again, and the next
//! tile's products begin meanwhile.
use std::{arch::x86_64::*, mem::transmute};

use bytemuck::cast;
use half::bf16;
use pulp::{f32x16, x86::V4};

use super::{Results, Then, result};
use crate::cpu::dot::{RUN, Tile, VectorDot};

/// Computes a tile of `R` rows and one panel, and its results; GELU is left to others ([`Finish::after`]).
///
/// [`Finish::after`]: crate::cpu::product::Finish::after
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in crate::cpu) fn finish_tile<D, const R: usize>(v4: V4, dot: D, mut tile: Tile<'_, D>, then: Then<'_>)
where
    D: VectorDot<Sums = __m512>,
{
    const { assert!(R <= 12 && D::PANEL == 2 * RUN, "rows are written out below, of two registers each") };
    let Then { after, row, columns, mut out } = then;
    // What can be found out before is: between the sums' registers it costs more.
    let first = after.terms(row, &columns);
    let (bias, scale, n) = (first.bias.map(two), first.scale.map(two), after.n);
    let residual = after.residual.map(|all| &all[row * n + columns.start..]);
    let sums = tile.summed::<R, 1>(dot);
    // Row by row without a loop: its index would call for the sums in memory.
    macro_rules! rows {
        ($($r:literal)*) => {$( if $r < R {
            // SAFETY: registers of one size; every pattern is valid.
            let sums = unsafe { transmute::<[__m512; 2], [f32x16; 2]>(sums[$r][0]) };
            let residual = residual.map(|rows| two(&rows[$r * n..]));
            let terms = |i: usize| [bias.map(|b| b[i]), scale.map(|s| s[i]), residual.map(|r| r[i])];
            let results = [result::<V4, false>(v4, sums[0], terms(0)), result::<V4, false>(v4, sums[1], terms(1))];
            let at = $r * n + columns.start;
            match &mut out {
                Results::F32(out) => out[at..at + 2 * RUN].as_chunks_mut().0[0] = cast::<_, [f32; 2 * RUN]>(results),
                Results::BF16(out) => out[at..at + 2 * RUN].as_chunks_mut().0[0] = rounded(results),
            }
        } )*};
    }
    rows!(0 1 2 3 4 5 6 7 8 9 10 11);
}

/// The registers of a panel's columns, of which nothing may lack: what else reads the end of a row is a call, around which every sum
/// would go to memory.
#[inline(always)]
fn two(columns: &[f32]) -> [f32x16; 2] {
    cast::<[f32; 2 * RUN], _>(columns[..2 * RUN].as_chunks().0[0])
}

/// Rounds to nearest even; denormal numbers become zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rounded([low, high]: [f32x16; 2]) -> [bf16; 2 * RUN] {
    // SAFETY: registers of one size; every pattern is valid.
    unsafe {
        let [low, high] = [transmute::<f32x16, __m512>(low), transmute::<f32x16, __m512>(high)];
        transmute::<__m512bh, [bf16; 2 * RUN]>(_mm512_cvtne2ps_pbh(high, low))
    }
}
