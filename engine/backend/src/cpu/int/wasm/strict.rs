//! wasm simd128 kernels: codes and activations as i16, multiplied and added in pairs to i32
//! (`dot`). Weights and activations meet as 16-bit lanes that hold two codes each: first the lower
//! ones, then the upper ones.

use std::arch::wasm32::{i32x4_dot_i16x8 as dot, *};

use super::{INT8_BLOCK, across};
use ternary_core::quant::tile::{ROWS, TILE_BYTES};

/// Signed bytes as i16: the lower ones of 16-bit lanes, then the upper ones.
macro_rules! split {
    ($bytes:expr) => {{
        let bytes = $bytes;
        (i16x8_shr(i16x8_shl(bytes, 8), 8), i16x8_shr(bytes, 8))
    }};
}

/// Codes of `$bits` bits; layout as [`ternary_core::quant::tile`] says.
macro_rules! packed {
    ($(#[$meta:meta])* $name:ident, $bits:literal, [$($field:literal)*]) => {
        $(#[$meta])*
        pub unsafe fn $name(mut w: *const u8, stride: usize, mut x: *const u8, blocks: usize) -> v128 {
            const FIELDS: usize = 8 / $bits;
            let mask = u16x8_splat((1 << $bits) - 1);
            let none = i32x4_splat(0);
            let (mut sum0, mut sum1, mut sum2, mut sum3) = (none, none, none, none);
            // SAFETY: the caller's blocks are in reach.
            unsafe {
                macro_rules! half {
                    ($at:literal) => {{
                        let (row0, row1) = (v128_load(w.add($at).cast()), v128_load(w.add(stride + $at).cast()));
                        let (row2, row3) = (v128_load(w.add(2 * stride + $at).cast()), v128_load(w.add(3 * stride + $at).cast()));
                        $({
                            let (lower, upper) = split!(v128_load(x.add($field * 32 + $at).cast()));
                            half!(@ $field, lower upper, row0 sum0);
                            half!(@ $field, lower upper, row1 sum1);
                            half!(@ $field, lower upper, row2 sum2);
                            half!(@ $field, lower upper, row3 sum3);
                        })*
                    }};
                    (@ $f:literal, $lower:ident $upper:ident, $row:ident $sum:ident) => {
                        $sum = i32x4_add($sum, dot(v128_and(u16x8_shr($row, $f * $bits), mask), $lower));
                        $sum = i32x4_add($sum, dot(v128_and(u16x8_shr($row, $f * $bits + 8), mask), $upper));
                    };
                }
                let end = x.add(blocks * FIELDS * 32);
                while x < end {
                    half!(0);
                    half!(16);
                    w = w.add(ROWS * TILE_BYTES);
                    x = x.add(FIELDS * 32);
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

/// See [`super::fields_of_four`].
pub unsafe fn fields(
    bits: u32,
    w: *const u8,
    stride: usize,
    x: *const u8,
    first: usize,
    fields: usize,
) -> v128 {
    let mask = u16x8_splat((1 << bits) - 1);
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
                let (lower, upper) = split!(v128_load(x.add(f * TILE_BYTES + half).cast()));
                let shift = (first + f) as u32 * bits;
                macro_rules! row {
                    ($row:ident $sum:ident) => {
                        let codes = v128_and(u16x8_shr($row, shift), mask);
                        $sum = i32x4_add($sum, dot(codes, lower));
                        let codes = v128_and(u16x8_shr($row, shift + 8), mask);
                        $sum = i32x4_add($sum, dot(codes, upper));
                    };
                }
                row!(row0 sum0);
                row!(row1 sum1);
                row!(row2 sum2);
                row!(row3 sum3);
            }
        }
    }
    across(sum0, sum1, sum2, sum3)
}

/// Activations as [`int8`] takes them: in 16 bits.
pub fn prepare(codes: v128) -> [v128; 2] {
    [
        i16x8_extend_low_i8x16(codes),
        i16x8_extend_high_i8x16(codes),
    ]
}

/// As that of relaxed SIMD.
///
/// # Safety
/// The blocks are in reach from `w` on, and what [`prepare`] made of their activations from `x` on.
#[inline]
pub unsafe fn int8(mut w: *const u8, mut x: *const u8, blocks: usize) -> v128 {
    let (mut even, mut odd) = (i32x4_splat(0), i32x4_splat(0));
    // SAFETY: the caller's.
    unsafe {
        let end = w.add(blocks * INT8_BLOCK);
        while w < end {
            let lower = i16x8_load_extend_i8x8(w.cast());
            let upper = i16x8_load_extend_i8x8(w.add(INT8_BLOCK / 2).cast());
            even = i32x4_add(even, dot(lower, v128_load(x.cast())));
            odd = i32x4_add(odd, dot(upper, v128_load(x.add(INT8_BLOCK).cast())));
            w = w.add(INT8_BLOCK);
            x = x.add(2 * INT8_BLOCK);
        }
    }
    i32x4_add(even, odd)
}
