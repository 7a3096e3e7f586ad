//! wasm kernels with relaxed SIMD: one instruction multiplies 16 pairs of bytes and adds them in
//! fours to i32 lanes.
//!
//! It takes a signed byte and a 7-bit one. What a second operand beyond 0..=127 gives is the
//! engine's choice, and so is whether the sum of two products wraps or saturates in i16; nothing
//! else is. Neither choice can be seen here: second operands are codes of at most 0x30 or the size
//! of an activation, and two products are at most 2·128·127 = 32,512 in size, which an i16 holds.
//! So the sums are the same on every engine, and those of every other level.

use std::arch::wasm32::{i32x4_relaxed_dot_i8x16_i7x16_add as dot, *};

use super::{INT8_BLOCK, across, pairs};
use ternary_core::quant::tile::{ROWS, TILE_BYTES};

/// Codes of `$bits` bits; layout as [`ternary_core::quant::tile`] says.
///
/// Codes stay in the lower and the upper half of their byte, which saves every other shift; what
/// the upper ones add up to is sixteen times too large, exactly.
macro_rules! packed {
    ($(#[$meta:meta])* $name:ident, $bits:literal, [$($step:literal)*]) => {
        $(#[$meta])*
        #[target_feature(enable = "relaxed-simd")]
        pub unsafe fn $name(mut w: *const u8, stride: usize, mut x: *const u8, blocks: usize) -> v128 {
            const CODE: u8 = (1 << $bits) - 1;
            const FIELDS: usize = 8 / $bits;
            let (low, high) = (u8x16_splat(CODE), u8x16_splat(CODE << 4));
            let none = i32x4_splat(0);
            let (mut low0, mut low1, mut low2, mut low3) = (none, none, none, none);
            let (mut high0, mut high1, mut high2, mut high3) = (none, none, none, none);
            // SAFETY: the caller's blocks are in reach.
            unsafe {
                // Each byte of a tile's first half, then each of its second.
                macro_rules! half {
                    ($at:literal) => {
                        half!(@ $at, 0 low0 high0);
                        half!(@ $at, 1 low1 high1);
                        half!(@ $at, 2 low2 high2);
                        half!(@ $at, 3 low3 high3);
                    };
                    (@ $at:literal, $r:literal $low:ident $high:ident) => {{
                        let row = v128_load(w.add($r * stride + $at).cast());
                        $(
                            let lower = v128_load(x.add($step * 32 + $at).cast());
                            let upper = v128_load(x.add(($step + FIELDS / 2) * 32 + $at).cast());
                            let codes = u16x8_shr(row, $step * $bits);
                            $low = dot(lower, v128_and(codes, low), $low);
                            $high = dot(upper, v128_and(codes, high), $high);
                        )*
                    }};
                }
                let end = x.add(blocks * FIELDS * 32);
                while x < end {
                    half!(0);
                    half!(16);
                    w = w.add(ROWS * TILE_BYTES);
                    x = x.add(FIELDS * 32);
                }
            }
            let sum = |low, high| i32x4_add(low, i32x4_shr(high, 4));
            across(sum(low0, high0), sum(low1, high1), sum(low2, high2), sum(low3, high3))
        }
    };
}

packed!(
    /// See [`super::sums_of_four`].
    ternary, 2, [0 1]
);
packed!(
    /// See [`super::sums_of_four`].
    binary, 1, [0 1 2 3]
);

/// See [`super::fields_of_four`].
#[target_feature(enable = "relaxed-simd")]
pub unsafe fn fields(
    bits: u32,
    w: *const u8,
    stride: usize,
    x: *const u8,
    first: usize,
    fields: usize,
) -> v128 {
    let mask = u8x16_splat((1 << bits) - 1);
    let none = i32x4_splat(0);
    let (mut sum0, mut sum1, mut sum2, mut sum3) = (none, none, none, none);
    for half in [0, 16] {
        // SAFETY: the caller's tile and codes are in reach.
        unsafe {
            let (row0, row1) = (
                v128_load(w.add(half).cast()),
                v128_load(w.add(stride + half).cast()),
            );
            let (row2, row3) = (
                v128_load(w.add(2 * stride + half).cast()),
                v128_load(w.add(3 * stride + half).cast()),
            );
            for f in 0..fields {
                let codes = v128_load(x.add(f * TILE_BYTES + half).cast());
                let shift = (first + f) as u32 * bits;
                sum0 = dot(codes, v128_and(u16x8_shr(row0, shift), mask), sum0);
                sum1 = dot(codes, v128_and(u16x8_shr(row1, shift), mask), sum1);
                sum2 = dot(codes, v128_and(u16x8_shr(row2, shift), mask), sum2);
                sum3 = dot(codes, v128_and(u16x8_shr(row3, shift), mask), sum3);
            }
        }
    }
    across(sum0, sum1, sum2, sum3)
}

/// Activations as [`int8`] takes them: of every 16 first their sizes, then −1 for negative ones, 0
/// for others.
pub fn prepare(codes: v128) -> [v128; 2] {
    [i8x16_abs(codes), i8x16_lt(codes, i8x16_splat(0))]
}

/// Products of one row with activations, over `blocks` blocks, whose number is even; the lanes'
/// sum is the row's. A weight takes its activation's sign, since that is to be unsigned. `PAIRS`:
/// as [`super::pairs`] adds them.
///
/// # Safety
/// The blocks are in reach from `w` on, and what [`prepare`] made of their activations from `x` on.
#[target_feature(enable = "relaxed-simd")]
#[inline]
pub unsafe fn int8<const PAIRS: bool>(mut w: *const u8, mut x: *const u8, blocks: usize) -> v128 {
    let (mut even, mut odd) = (i32x4_splat(0), i32x4_splat(0));
    // SAFETY: the caller's.
    unsafe {
        let end = w.add(blocks * INT8_BLOCK);
        macro_rules! block {
            ($i:literal $sum:ident) => {
                let size = v128_load(x.add(2 * $i * INT8_BLOCK).cast());
                let sign = v128_load(x.add((2 * $i + 1) * INT8_BLOCK).cast());
                let weights = v128_load(w.add($i * INT8_BLOCK).cast());
                let signed = i8x16_sub(v128_xor(weights, sign), sign);
                $sum = match PAIRS {
                    true => pairs::dot(signed, size, $sum),
                    false => dot(signed, size, $sum),
                };
            };
        }
        while w < end {
            block!(0 even);
            block!(1 odd);
            w = w.add(2 * INT8_BLOCK);
            x = x.add(4 * INT8_BLOCK);
        }
    }
    i32x4_add(even, odd)
}
