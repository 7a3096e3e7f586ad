//! wasm kernels: whole products, four output rows at a time, which threads share.
//!
//! `out[n] = a · Σ_s scale[n, s] · Σ_{k in span s} code[n, k]·x[k]` with a the activation row's
//! scale. Sums over a span are exact in i32 and made signed as the module above says; the sums of
//! four rows are one vector, to the end.
//!
//! Addresses are pointers, checked once a product, and the rows of a kernel are written out by a
//! macro, each with variables of its own, which stay in registers.

#[cfg(feature = "relaxed-simd")]
mod pairs;
#[cfg(feature = "relaxed-simd")]
mod relaxed;
mod strict;

use std::arch::wasm32::*;

use super::super::linear::{Int8Rows, WeightView, shared_rows};
use super::super::simd::Level;
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{ROWS, TILE_BYTES, act_stride, row_stride, tile_cols};

/// Whether [`Level::RelaxedPairs`] is the faster of the two.
#[cfg(feature = "relaxed-simd")]
pub fn pairs_are_faster() -> bool {
    pairs::are_faster()
}

const INT8_BLOCK: usize = 16;

/// Bytes of weights that every activation row meets before the next: they stay in the nearest
/// cache.
const BAND_BYTES: usize = 1 << 14;

/// Sums of four weight rows with one activation row over `blocks` blocks of columns, a lane for
/// each row; rows are `stride` bytes apart. A block is a tile, whose next is a tile group further
/// on, or [`INT8_BLOCK`] columns of int8 rows. Those are read row after row: four streams come from
/// memory half as fast as one (Zen 4).
///
/// # Safety
/// The blocks of row r are in reach from `w + r·stride` on, and from `x` on a code for every one of
/// their columns, or what [`prepared`] makes of it for int8 rows.
#[inline(always)]
unsafe fn sums_of_four(
    level: Level,
    mode: QuantMode,
    w: *const u8,
    stride: usize,
    x: *const u8,
    blocks: usize,
) -> v128 {
    macro_rules! rows {
        ($int8:path) => {
            across(
                $int8(w, x, blocks),
                $int8(w.add(stride), x, blocks),
                $int8(w.add(2 * stride), x, blocks),
                $int8(w.add(3 * stride), x, blocks),
            )
        };
    }
    // SAFETY: the caller's; the level is there.
    unsafe {
        match (level, mode) {
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedPairs, QuantMode::Ternary) => pairs::ternary(w, stride, x, blocks),
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedPairs, QuantMode::Binary) => pairs::binary(w, stride, x, blocks),
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedPairs, _) => rows!(relaxed::int8::<true>),
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedSimd, QuantMode::Ternary) => relaxed::ternary(w, stride, x, blocks),
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedSimd, QuantMode::Binary) => relaxed::binary(w, stride, x, blocks),
            #[cfg(feature = "relaxed-simd")]
            (Level::RelaxedSimd, _) => rows!(relaxed::int8::<false>),
            (_, QuantMode::Ternary) => strict::ternary(w, stride, x, blocks),
            (_, QuantMode::Binary) => strict::binary(w, stride, x, blocks),
            (_, _) => rows!(strict::int8),
        }
    }
}

/// Activations as int8 rows meet them: two bytes for each.
fn prepared(level: Level, codes: &[i8]) -> Vec<u8> {
    let prepare = match level {
        #[cfg(feature = "relaxed-simd")]
        Level::RelaxedSimd | Level::RelaxedPairs => relaxed::prepare,
        _ => strict::prepare,
    };
    let mut all = vec![0; 2 * codes.len()];
    let blocks = codes.as_chunks::<INT8_BLOCK>().0;
    for (to, block) in all.chunks_exact_mut(2 * INT8_BLOCK).zip(blocks) {
        // SAFETY: the array holds 16 bytes and the chunk 32; neither has to be aligned.
        unsafe {
            let [first, second] = prepare(v128_load(block.as_ptr().cast()));
            v128_store(to.as_mut_ptr().cast(), first);
            v128_store(to[INT8_BLOCK..].as_mut_ptr().cast(), second);
        }
    }
    all
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
            Level::RelaxedSimd | Level::RelaxedPairs => {
                relaxed::fields(bits, w, stride, x, first, fields)
            }
            _ => strict::fields(bits, w, stride, x, first, fields),
        }
    }
}

/// Activation rows that a thread takes at once, at most.
const TAKEN: usize = 8;

/// `out` `[rows, out_dim]` of `x` `[rows, in_dim]`; `sums` of its codes `[rows, spans]`. Threads
/// share the weight's rows where there is one row of activations, and else those.
pub fn product(level: Level, w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    let shape = Shape::of(w);
    let rows = out.len() / w.out_dim;
    let act_stride = act_stride(w.in_dim);
    assert!(
        w.data.len() >= shape.held(w)
            && w.scales.len() >= w.out_dim * shape.spans
            && x.codes.len() >= rows * act_stride
            && x.scales.len() >= rows
            && sums.len() >= rows * shape.spans
    );
    let doubled = (!shape.packed).then(|| prepared(level, &x.codes[..rows * act_stride]));
    let codes: &[u8] = match &doubled {
        Some(doubled) => doubled,
        None => bytemuck::cast_slice(x.codes),
    };
    let code_stride = if shape.packed { 1 } else { 2 } * act_stride;
    let row = |r: usize| Row {
        codes: &codes[r * code_stride..][..code_stride],
        scale: x.scales[r],
        sums: &sums[r * shape.spans..][..shape.spans],
    };
    let work = par::work([rows, w.out_dim, w.in_dim.div_ceil(16)]);
    if rows == 1 {
        let lines = shared_rows(w.out_dim);
        par::pieces(out, lines, work, |i, out| {
            shape.lines(level, w, row(0), i * lines, out);
        });
        return;
    }
    let band = (BAND_BYTES / shape.group).max(1) * ROWS;
    let taken = rows.div_ceil(par::threads()).clamp(1, TAKEN);
    par::pieces(out, taken * w.out_dim, work, |i, out| {
        for first in (0..w.out_dim).step_by(band) {
            let lines = band.min(w.out_dim - first);
            for (r, out) in out.chunks_exact_mut(w.out_dim).enumerate() {
                let out = &mut out[first..][..lines];
                shape.lines(level, w, row(i * taken + r), first, out);
            }
        }
    });
}

/// One row of activations.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// `act_stride(columns)` of them, or what [`prepared`] made of them.
    codes: &'a [u8],
    scale: f32,
    /// Σ of the codes of every span of columns.
    sums: &'a [i32],
}

/// How a weight lies.
struct Shape {
    packed: bool,
    spans: usize,
    /// Fields of a span that is finer than a tile; 0 for others.
    fields: usize,
    /// Fields of a tile.
    tile_fields: usize,
    /// Bytes between rows, and of four rows.
    stride: usize,
    group: usize,
    /// Blocks of a span.
    blocks: usize,
}

impl Shape {
    fn of(w: &WeightView) -> Self {
        let (cols, spans) = (row_stride(w.mode, w.in_dim), w.in_dim / w.group);
        let packed = w.mode != QuantMode::EightBit;
        let is_fine = packed && spans > 1 && w.group < tile_cols(w.mode);
        let (stride, blocks, group) = if packed {
            let tiles = cols / tile_cols(w.mode);
            (TILE_BYTES, tiles / spans, tiles * ROWS * TILE_BYTES)
        } else {
            (cols, cols / INT8_BLOCK, ROWS * cols)
        };
        Shape {
            packed,
            spans,
            fields: if is_fine { w.group / TILE_BYTES } else { 0 },
            tile_fields: tile_cols(w.mode) / TILE_BYTES,
            stride,
            group,
            blocks,
        }
    }

    /// Bytes that the kernels may read.
    fn held(&self, w: &WeightView) -> usize {
        if self.packed {
            w.out_dim.div_ceil(ROWS) * self.group
        } else {
            w.out_dim * self.stride
        }
    }

    /// Outputs of weight rows `first..`, which begins a tile group; [`product`] checked the sizes.
    fn lines(&self, level: Level, weight: &WeightView, x: Row, first: usize, out: &mut [f32]) {
        let spans = self.spans;
        assert!(
            first.is_multiple_of(ROWS)
                && first + out.len() <= weight.out_dim
                && x.sums.len() >= spans
        );
        let mode = weight.mode;
        let (span_bytes, span_codes) = (
            self.blocks * ROWS * TILE_BYTES,
            self.blocks * tile_cols(mode),
        );
        let doubled = u32::from(mode == QuantMode::Binary);
        // Whether the codes' sum is taken off.
        let offset = i32x4_splat(-i32::from(self.packed));
        let act = f32x4_splat(x.scale);
        // Groups; the rows of a last one that is not whole are each taken for four, no bytes apart.
        let whole = out.len() / ROWS;
        // SAFETY: the assertions here and in `product`; a group's spans follow each other, and so
        // do their codes. Pointers are moved past what the last span has, not read there.
        unsafe {
            let codes = x.codes.as_ptr();
            let sums = x.sums.as_ptr();
            let mut to = out.as_mut_ptr();
            let mut at = Rows {
                w: weight.data.as_ptr().add(first / ROWS * self.group),
                stride: self.stride,
                scales: weight.scales.as_ptr().add(first * spans),
                spans,
            };
            for i in 0..whole + out.len() % ROWS {
                if i == whole {
                    (at.stride, at.spans) = (0, 0);
                }
                let (mut w_at, mut x_at) = (at.w, codes);
                let mut total = f32x4_splat(0.0);
                for s in 0..spans {
                    let raw = if self.fields > 0 {
                        let first = s * self.fields;
                        let tile = first / self.tile_fields * (ROWS * TILE_BYTES);
                        let part = (first % self.tile_fields, self.fields);
                        let x_at = codes.add(first * TILE_BYTES);
                        fields_of_four(level, mode, at.w.add(tile), at.stride, x_at, part)
                    } else {
                        sums_of_four(level, mode, w_at, at.stride, x_at, self.blocks)
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
                    at.w = at.w.wrapping_add(self.group);
                    at.scales = at.scales.wrapping_add(ROWS * spans);
                } else {
                    *to = f32x4_extract_lane::<0>(result);
                    to = to.add(1);
                    at.w = at.w.wrapping_add(self.stride);
                    at.scales = at.scales.wrapping_add(spans);
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
