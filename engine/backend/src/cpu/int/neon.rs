//! aarch64 kernels.
//! - NEON: codes times activations as i16 (`smlal`). A tile row adds 16 products of at most 2·127
//!   (ternary) or 32 of at most 127 (binary) per lane, 4064, before widening to i32; int8 adds two
//!   of at most 127², 32,258. All within i16. Panels are the portable ones, of which the compiler
//!   makes `mla`.
//! - With dot products (`sdot`, ARMv8.2): four products into every i32 lane. The intrinsics are not
//!   stable, hence the instructions.
//! - With products of matrices (`smmla`, i8mm): two rows of activations times two weight rows, of
//!   eight columns each, into the four lanes: twice as many products. For panels alone, one row of
//!   activations would leave half of it unused.

use std::arch::aarch64::*;
use std::arch::asm;

use super::panel::{ROWS, Sums};
use super::{Float4, Row, put_group, scaled};

/// 16 bytes of `bytes` from `at` on.
#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[i8], at: usize) -> int8x16_t {
    let part = &bytes[at..at + 16];
    // SAFETY: the slice holds 16 bytes; vld1q has no alignment requirement.
    unsafe { vld1q_s8(part.as_ptr()) }
}

/// `pairs + low(c)·low(x) + high(c)·high(x)`.
#[inline]
#[target_feature(enable = "neon")]
fn multiply(pairs: int16x8_t, c: int8x16_t, x: int8x16_t) -> int16x8_t {
    vmlal_high_s8(vmlal_s8(pairs, vget_low_s8(c), vget_low_s8(x)), c, x)
}

/// Every lane of `acc` plus its four products.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(acc: int32x4_t, c: int8x16_t, x: int8x16_t) -> int32x4_t {
    let mut acc = acc;
    // SAFETY: registers only; the feature is there.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) acc, in(vreg) c, in(vreg) x,
            options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// As [`dot`], with lane `LANE` of `x` for every lane of `c`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_lane<const LANE: usize>(acc: int32x4_t, c: int8x16_t, x: int8x16_t) -> int32x4_t {
    let mut acc = acc;
    // SAFETY: as above.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]", inout(vreg) acc, in(vreg) c, in(vreg) x,
            const LANE, options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// Kernels of one activation row; layout as in `quant::tile`. `$dot(part, codes, x)` adds 16
/// products to a part that starts as `$none`; `$flush` adds a part to four lanes of i32.
macro_rules! rows {
    ($packed:ident, $int8:ident, $features:literal, $none:expr, $dot:expr, $flush:expr) => {
        /// Codes of `BITS` bits; a span is `FIELDS` fields of 32 columns, or all there are where
        /// that is 0.
        #[target_feature(enable = $features)]
        pub fn $packed<const BITS: usize, const FIELDS: usize>(
            w: &[u8],
            x: Row,
            scales: &[Float4],
            out: &mut [f32],
        ) {
            let per_tile = 8 / BITS;
            let group = w.len() / out.len().div_ceil(4).max(1);
            let spans = x.sums.len();
            let w: &[i8] = bytemuck::cast_slice(w);
            let mask = vdupq_n_u8((1 << BITS) - 1);
            let groups = w.chunks_exact(group.max(1)).zip(scales.chunks_exact(spans));
            for (g, (w, scales)) in groups.enumerate() {
                let fields = match FIELDS {
                    0 => w.len() / 128 * per_tile,
                    fields => fields,
                };
                let step = fields.min(per_tile);
                let mut total = [0f32; 4];
                for (s, scales) in scales.iter().enumerate() {
                    let mut acc = [vdupq_n_s32(0); 4];
                    for first in (s * fields..(s + 1) * fields).step_by(step) {
                        let tile = first / per_tile * 128;
                        for (r, acc) in acc.iter_mut().enumerate() {
                            let low = vreinterpretq_u8_s8(load(w, tile + r * 32));
                            let high = vreinterpretq_u8_s8(load(w, tile + r * 32 + 16));
                            let mut part = $none;
                            for f in first..first + step {
                                // A negative count shifts right.
                                let shift = vdupq_n_s8(-((BITS * (f % per_tile)) as i8));
                                let code =
                                    |v| vreinterpretq_s8_u8(vandq_u8(vshlq_u8(v, shift), mask));
                                part = $dot(part, code(low), load(x.codes, f * 32));
                                part = $dot(part, code(high), load(x.codes, f * 32 + 16));
                            }
                            *acc = $flush(*acc, part);
                        }
                    }
                    let raw = acc.map(|v| vaddvq_s32(v));
                    scaled(&mut total, raw, 2 / BITS as i32, x.sums[s], scales);
                }
                put_group(out, g, total.map(|v| v * x.scale));
            }
        }

        /// Rows of int8, one behind the other.
        #[target_feature(enable = $features)]
        pub fn $int8(w: &[i8], x: Row, scales: &[f32], out: &mut [f32]) {
            let n = w.len() / out.len().max(1);
            for ((w, scale), out) in w.chunks_exact(n.max(1)).zip(scales).zip(out) {
                let mut acc = [vdupq_n_s32(0); 4];
                for at in (0..n).step_by(64) {
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let at = at + 16 * i;
                        *acc = $flush(*acc, $dot($none, load(w, at), load(x.codes, at)));
                    }
                }
                let sum = acc.map(|v| vaddvq_s32(v)).iter().sum::<i32>();
                *out = scale * sum as f32 * x.scale;
            }
        }
    };
}

rows!(packed, int8, "neon", vdupq_n_s16(0), multiply, vpadalq_s16);
rows!(
    packed_dot,
    int8_dot,
    "neon,dotprod",
    vdupq_n_s32(0),
    dot,
    vaddq_s32
);

/// Sixteen weight rows, four to a register, with four rows of activations at a time; see
/// `super::panel`.
#[target_feature(enable = "neon,dotprod")]
pub fn panel_dot(w: &[u32], x: &[u32], out: &mut [Sums]) {
    let width = out.len();
    for (c, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let mut acc = [[vdupq_n_s32(0); 4]; 4];
        let steps = w.as_chunks::<ROWS>().0.iter().zip(x.chunks_exact(width));
        for (w, x) in steps {
            let (w, x): (&[i8], &[i8]) = (bytemuck::cast_slice(w), bytemuck::cast_slice(x));
            let x = load(x, 16 * c);
            for r in 0..4 {
                let w = load(w, 16 * r);
                acc[0][r] = dot_lane::<0>(acc[0][r], w, x);
                acc[1][r] = dot_lane::<1>(acc[1][r], w, x);
                acc[2][r] = dot_lane::<2>(acc[2][r], w, x);
                acc[3][r] = dot_lane::<3>(acc[3][r], w, x);
            }
        }
        for (out, acc) in out.iter_mut().zip(acc) {
            for (out, acc) in out.as_chunks_mut::<4>().0.iter_mut().zip(acc) {
                // SAFETY: four words.
                unsafe { vst1q_s32(out.as_mut_ptr(), acc) };
            }
        }
    }
}

/// `acc += a·bᵀ` of 2 × 8 codes each: lanes are (0, 0), (0, 1), (1, 0), (1, 1).
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn matrix(acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut acc = acc;
    // SAFETY: registers only; the feature is there.
    unsafe {
        asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) acc, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// Rows 0 and 1, and 2 and 3, of four columns and the next four: eight of a row side by side.
#[inline]
#[target_feature(enable = "neon")]
fn pairs_of_rows(columns: int8x16_t, next: int8x16_t) -> [int8x16_t; 2] {
    let (a, b) = (vreinterpretq_s32_s8(columns), vreinterpretq_s32_s8(next));
    [vzip1q_s32(a, b), vzip2q_s32(a, b)].map(|pair| vreinterpretq_s8_s32(pair))
}

/// As [`panel_dot`], two rows with two rows at a time.
#[target_feature(enable = "neon,i8mm")]
pub fn panel_matrix(w: &[u32], x: &[u32], out: &mut [Sums]) {
    let width = out.len();
    for (c, out) in out.chunks_mut(8).enumerate() {
        match out.len() {
            8 => eights::<2>(w, x, width, 8 * c, out),
            _ => eights::<1>(w, x, width, 8 * c, out),
        }
    }
}

/// Sums of `FOURS` times four rows of activations, from `first` of `width` on.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn eights<const FOURS: usize>(w: &[u32], x: &[u32], width: usize, first: usize, out: &mut [Sums]) {
    for half in [0, ROWS / 2] {
        let mut acc = [[[vdupq_n_s32(0); 4]; 2]; FOURS];
        let steps = w.chunks_exact(2 * ROWS).zip(x.chunks_exact(2 * width));
        for (w, x) in steps {
            let (w, x): (&[i8], &[i8]) = (bytemuck::cast_slice(w), bytemuck::cast_slice(x));
            let of_w = |four: usize| {
                let at = 4 * (half + 4 * four);
                pairs_of_rows(load(w, at), load(w, at + 4 * ROWS))
            };
            let ([w0, w1], [w2, w3]) = (of_w(0), of_w(1));
            for (four, acc) in acc.iter_mut().enumerate() {
                let at = 4 * (first + 4 * four);
                let x = pairs_of_rows(load(x, at), load(x, at + 4 * width));
                for (acc, x) in acc.iter_mut().zip(x) {
                    for (acc, w) in acc.iter_mut().zip([w0, w1, w2, w3]) {
                        *acc = matrix(*acc, x, w);
                    }
                }
            }
        }
        for (acc, out) in acc.as_flattened().iter().zip(out.chunks_exact_mut(2)) {
            let (low, high) = out.split_at_mut(1);
            for (i, acc) in acc.as_chunks::<2>().0.iter().enumerate() {
                let [a, b] = *acc;
                let rows = half + 4 * i..half + 4 * i + 4;
                let of_first = vcombine_s32(vget_low_s32(a), vget_low_s32(b));
                let of_second = vcombine_s32(vget_high_s32(a), vget_high_s32(b));
                // SAFETY: four words each.
                unsafe {
                    vst1q_s32(low[0][rows.clone()].as_mut_ptr(), of_first);
                    vst1q_s32(high[0][rows].as_mut_ptr(), of_second);
                }
            }
        }
    }
}
