//! wasm kernels with relaxed SIMD on processors without an instruction that adds products in fours:
//! there [`super::relaxed`]'s takes five. Here products of two pairs of bytes are added to i16
//! lanes, which hold the sums of [`SPAN`] tiles, and only then to i32 lanes.
//!
//! Two products of ternary codes, at most 2, with activations, at most 127, add up to 508 at most,
//! and those of a byte's four fields to 2,032; so do binary's, at most 1, of eight. A lane gets
//! them from both halves of [`SPAN`] tiles: 32,512 at most, which an i16 holds.

use std::arch::wasm32::{i16x8_relaxed_dot_i8x16_i7x16 as pairs, *};
use std::hint::black_box;

use super::across;
use ternary_core::quant::tile::{ROWS, TILE_BYTES};

/// Tiles whose sums fit into i16.
const SPAN: usize = 8;

/// Whether this processor is one of them. What the instruction gives for a second operand beyond
/// its seven bits tells: the pairs' sums saturate in i16 on the way, or do not.
#[target_feature(enable = "relaxed-simd")]
pub fn are_faster() -> bool {
    let (most, none) = (i8x16_splat(127), i32x4_splat(0));
    let sums =
        i32x4_relaxed_dot_i8x16_i7x16_add(black_box(most), black_box(u8x16_splat(255)), none);
    i32x4_extract_lane::<0>(sums) == 2 * i32::from(i16::MAX)
}

/// As the instruction that [`super::relaxed`] calls `dot`.
#[target_feature(enable = "relaxed-simd")]
#[inline]
pub fn dot(a: v128, b: v128, sum: v128) -> v128 {
    widened(sum, pairs(a, b))
}

/// `sum` and the pairs of i16 lanes.
#[inline(always)]
fn widened(sum: v128, lanes: v128) -> v128 {
    i32x4_add(sum, i32x4_dot_i16x8(lanes, i16x8_splat(1)))
}

/// Codes of `$bits` bits; layout as [`ternary_core::quant::tile`] says.
macro_rules! packed {
    ($(#[$meta:meta])* $name:ident, $bits:literal, [$($field:literal)*]) => {
        $(#[$meta])*
        #[target_feature(enable = "relaxed-simd")]
        pub unsafe fn $name(mut w: *const u8, stride: usize, mut x: *const u8, blocks: usize) -> v128 {
            const FIELDS: usize = 8 / $bits;
            let mask = u8x16_splat((1 << $bits) - 1);
            let none = i32x4_splat(0);
            let (mut sum0, mut sum1, mut sum2, mut sum3) = (none, none, none, none);
            // SAFETY: the caller's blocks are in reach.
            unsafe {
                let mut left = blocks;
                while left > 0 {
                    let (mut near0, mut near1, mut near2, mut near3) = (none, none, none, none);
                    macro_rules! half {
                        ($at:literal) => {{
                            let row0 = v128_load(w.add($at).cast());
                            let row1 = v128_load(w.add(stride + $at).cast());
                            let row2 = v128_load(w.add(2 * stride + $at).cast());
                            let row3 = v128_load(w.add(3 * stride + $at).cast());
                            $({
                                let codes = v128_load(x.add($field * 32 + $at).cast());
                                half!(@ $field, codes, row0 near0);
                                half!(@ $field, codes, row1 near1);
                                half!(@ $field, codes, row2 near2);
                                half!(@ $field, codes, row3 near3);
                            })*
                        }};
                        (@ $f:literal, $codes:ident, $row:ident $near:ident) => {
                            let field = v128_and(u16x8_shr($row, $f * $bits), mask);
                            $near = i16x8_add($near, pairs($codes, field));
                        };
                    }
                    let near = left.min(SPAN);
                    left -= near;
                    for _ in 0..near {
                        half!(0);
                        half!(16);
                        w = w.add(ROWS * TILE_BYTES);
                        x = x.add(FIELDS * 32);
                    }
                    (sum0, sum1) = (widened(sum0, near0), widened(sum1, near1));
                    (sum2, sum3) = (widened(sum2, near2), widened(sum3, near3));
                }
            }
            across(sum0, sum1, sum2, sum3)
        }
    };
}

packed!(
    /// See [`super::sums_of_four`].
    ternary, 2, [0 1 2 3]
);
packed!(
    /// See [`super::sums_of_four`].
    binary, 1, [0 1 2 3 4 5 6 7]
);
