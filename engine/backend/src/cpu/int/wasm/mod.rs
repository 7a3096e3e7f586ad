//! wasm kernels: whole products, four output rows at a time.
//!
//! `out[n] = a · Σ_s scale[n, s] · Σ_{k in span s} code[n, k]·x[k]` with a the activation row's
//! scale. Sums over a span are exact in i32 and made signed as the module above says; the sums of
//! four rows are one vector, to the end.
//!
//! The page is built for size: the compiler unrolls nothing, keeps arrays in memory and calls what
//! it should inline. So the rows of a kernel are written out by a macro, each with variables of its
//! own, and addresses are pointers, checked once a product.

#[cfg(feature = "relaxed-simd")]
mod relaxed;
mod strict;

use std::arch::wasm32::*;

use super::super::linear::{Int8Rows, WeightView};
use super::super::simd::Level;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{ROWS, TILE_BYTES, act_stride, row_stride, tile_cols};

const INT8_BLOCK: usize = 16;

/// Bytes of weights that every activation row meets before the next: they stay in the nearest
/// cache.
const BAND_BYTES: usize = 1 << 14;

/// Sums of four weight rows with one activation row over `blocks` blocks of columns, a lane for
/// each row; rows are `stride` bytes apart. A block is a tile, whose next is a tile group further
/// on, or [`INT8_BLOCK`] columns of int8 rows.
///
/// # Safety
/// The blocks of row r are in reach from `w + r·stride` on, and a code for every one of their
/// columns from `x` on.
#[inline(always)]
unsafe fn sums_of_four(
    level: Level,
    mode: QuantMode,
    w: *const u8,
    stride: usize,
    x: *const u8,
    blocks: usize,
) -> v128 {
    // SAFETY: the caller's; the level is there.
    unsafe {
        match (level, mode) {
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedSimd, QuantMode::Ternary) => relaxed::ternary(w, stride, x, blocks),
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedSimd, QuantMode::Binary) => relaxed::binary(w, stride, x, blocks),
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedSimd, _) => relaxed::int8(w, stride, x, blocks),
            (_, QuantMode::Ternary) => strict::ternary(w, stride, x, blocks),
            (_, QuantMode::Binary) => strict::binary(w, stride, x, blocks),
            (_, _) => strict::int8(w, stride, x, blocks),
        }
    }
}

/// Where four rows of a weight are.
#[derive(Clone, Copy)]
struct Rows {
    w: *const u8,
    /// Bytes between rows.
    stride: usize,
    scales: *const f32,
    /// Scales between rows.
    spans: usize,
}

/// As [`sums_of_four`], over `fields` fields of 32 columns of one tile, from field `first` on.
///
/// # Safety
/// The tile of row r is in reach from `w + r·stride` on, and the fields' codes from `x` on.
#[inline(always)]
unsafe fn fields_of_four(
    level: Level,
    mode: QuantMode,
    w: *const u8,
    stride: usize,
    x: *const u8,
    (first, fields): (usize, usize),
) -> v128 {
    let bits = if mode == QuantMode::Binary { 1 } else { 2 };
    // SAFETY: the caller's; the level is there.
    unsafe {
        match level {
            #[cfg(feature = "relaxed-simd")]
            Level::RelaxedSimd => relaxed::fields(bits, w, stride, x, first, fields),
            _ => strict::fields(bits, w, stride, x, first, fields),
        }
    }
}

/// `out` `[rows, out_dim]` of `x` `[rows, in_dim]`; `sums` of its codes `[rows, spans]`.
pub fn product(level: Level, w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    let (cols, spans) = (row_stride(w.mode, w.in_dim), w.in_dim / w.group);
    let packed = w.mode != QuantMode::EightBit;
    // Fields of a span that is finer than a tile; 0 for others.
    let fields = match packed && spans > 1 && w.group < tile_cols(w.mode) {
        true => w.group / TILE_BYTES,
        false => 0,
    };
    let tile_fields = tile_cols(w.mode) / TILE_BYTES;
    let (stride, blocks, group) = if packed {
        let tiles = cols / tile_cols(w.mode);
        (TILE_BYTES, tiles / spans, tiles * ROWS * TILE_BYTES)
    } else {
        (cols, cols / INT8_BLOCK, ROWS * cols)
    };
    let rows = out.len() / w.out_dim;
    let held = if packed {
        w.out_dim.div_ceil(ROWS) * group
    } else {
        w.out_dim * cols
    };
    assert!(
        w.data.len() >= held
            && w.scales.len() >= w.out_dim * spans
            && x.codes.len() >= rows * act_stride(w.in_dim)
            && x.scales.len() >= rows
            && sums.len() >= rows * spans
    );
    let (span_bytes, span_codes) = (blocks * ROWS * TILE_BYTES, blocks * tile_cols(w.mode));
    let doubled = u32::from(w.mode == QuantMode::Binary);
    // Whether the codes' sum is taken off.
    let offset = i32x4_splat(-i32::from(packed));
    let band = (BAND_BYTES / group).max(1) * ROWS;
    for first in (0..w.out_dim).step_by(band) {
        let lines = band.min(w.out_dim - first);
        // Groups; the rows of a last one that is not whole are each taken for four, no bytes apart.
        let whole = lines / ROWS;
        for r in 0..rows {
            let act = f32x4_splat(x.scales[r]);
            // SAFETY: the assertion above; a group's spans follow each other, and so do their
            // codes. Pointers are moved past what the last span has, not read there.
            unsafe {
                let codes = x.codes.as_ptr().add(r * act_stride(w.in_dim)).cast::<u8>();
                let sums = sums.as_ptr().add(r * spans);
                let mut to = out.as_mut_ptr().add(r * w.out_dim + first);
                let mut at = Rows {
                    w: w.data.as_ptr().add(first / ROWS * group),
                    stride,
                    scales: w.scales.as_ptr().add(first * spans),
                    spans,
                };
                for i in 0..whole + lines % ROWS {
                    if i == whole {
                        (at.stride, at.spans) = (0, 0);
                    }
                    let (mut w_at, mut x_at) = (at.w, codes);
                    let mut total = f32x4_splat(0.0);
                    for s in 0..spans {
                        let raw = if fields > 0 {
                            let first = s * fields;
                            let tile = first / tile_fields * (ROWS * TILE_BYTES);
                            let part = (first % tile_fields, fields);
                            let x_at = codes.add(first * TILE_BYTES);
                            fields_of_four(level, w.mode, at.w.add(tile), at.stride, x_at, part)
                        } else {
                            sums_of_four(level, w.mode, w_at, at.stride, x_at, blocks)
                        };
                        let sum = v128_load32_splat(sums.add(s).cast());
                        let signed = i32x4_sub(i32x4_shl(raw, doubled), v128_and(sum, offset));
                        let scales = lanes(at.scales.add(s), at.spans);
                        let value = f32x4_mul(scales, f32x4_convert_i32x4(signed));
                        // Not added to zero, which would lose a negative one.
                        total = if s == 0 {
                            value
                        } else {
                            f32x4_add(total, value)
                        };
                        w_at = w_at.wrapping_add(span_bytes);
                        x_at = x_at.wrapping_add(span_codes);
                    }
                    let result = f32x4_mul(total, act);
                    if i < whole {
                        v128_store(to.cast(), result);
                        to = to.add(ROWS);
                        at.w = at.w.wrapping_add(group);
                        at.scales = at.scales.wrapping_add(ROWS * spans);
                    } else {
                        *to = f32x4_extract_lane::<0>(result);
                        to = to.add(1);
                        at.w = at.w.wrapping_add(stride);
                        at.scales = at.scales.wrapping_add(spans);
                    }
                }
            }
        }
    }
}

/// Every `step`th float, four of them.
///
/// # Safety
/// They are in reach.
#[inline(always)]
unsafe fn lanes(at: *const f32, step: usize) -> v128 {
    // SAFETY: the caller's.
    unsafe {
        let first = v128_load32_zero(at.cast());
        let two = v128_load32_lane::<1>(first, at.add(step).cast());
        let three = v128_load32_lane::<2>(two, at.add(2 * step).cast());
        v128_load32_lane::<3>(three, at.add(3 * step).cast())
    }
}

/// Σ of int8 codes.
pub fn sum(codes: &[i8]) -> i32 {
    let (blocks, rest) = codes.as_chunks::<16>();
    let mut total = i32x4_splat(0);
    for block in blocks {
        // SAFETY: the array holds 16 bytes; v128_load has no alignment requirement.
        let block = unsafe { v128_load(block.as_ptr().cast()) };
        let pairs = i16x8_extadd_pairwise_i8x16(block);
        total = i32x4_add(total, i32x4_extadd_pairwise_i16x8(pairs));
    }
    let rest: i32 = rest.iter().map(|code| i32::from(*code)).sum();
    i32x4_extract_lane::<0>(across(total, total, total, total)) + rest
}

/// The sum of every vector's lanes.
#[inline(always)]
fn across(a: v128, b: v128, c: v128, d: v128) -> v128 {
    // Lane by lane a, b, a, b and c, d, c, d.
    let ab = i32x4_add(
        i32x4_shuffle::<0, 4, 1, 5>(a, b),
        i32x4_shuffle::<2, 6, 3, 7>(a, b),
    );
    let cd = i32x4_add(
        i32x4_shuffle::<0, 4, 1, 5>(c, d),
        i32x4_shuffle::<2, 6, 3, 7>(c, d),
    );
    i32x4_add(
        i32x4_shuffle::<0, 1, 4, 5>(ab, cd),
        i32x4_shuffle::<2, 3, 6, 7>(ab, cd),
    )
}
