//! aarch64 NEON kernels: codes times activations as i16 (`smlal`). A tile row adds 16 products of
//! at most 2·127 (ternary) or 32 of at most 127 (binary) per lane, 4064, before widening to i32 (a
//! span of eight ternary fields twice as many, 8128); int8 adds two of at most 127², 32,258. All
//! within i16.

use std::arch::aarch64::*;

use super::Sums;

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

/// Tile groups of `BITS`-bit codes; layout as in `quant::tile`.
#[target_feature(enable = "neon")]
pub fn packed<const T: usize, const BITS: usize>(w: &[u8], x: [&[i8]; T], tiles: usize) -> Sums<T> {
    let fields = 8 / BITS;
    let w: &[i8] = bytemuck::cast_slice(w);
    let mask = vdupq_n_u8((1 << BITS) - 1);
    let mut acc = [[vdupq_n_s32(0); 4]; T];
    for t in 0..tiles {
        for r in 0..4 {
            let low = vreinterpretq_u8_s8(load(w, t * 128 + r * 32));
            let high = vreinterpretq_u8_s8(load(w, t * 128 + r * 32 + 16));
            let mut pairs = [vdupq_n_s16(0); T];
            for f in 0..fields {
                // A negative count shifts right.
                let shift = vdupq_n_s8(-((BITS * f) as i8));
                let c0 = vreinterpretq_s8_u8(vandq_u8(vshlq_u8(low, shift), mask));
                let c1 = vreinterpretq_s8_u8(vandq_u8(vshlq_u8(high, shift), mask));
                let at = (t * fields + f) * 32;
                for i in 0..T {
                    pairs[i] = multiply(pairs[i], c0, load(x[i], at));
                    pairs[i] = multiply(pairs[i], c1, load(x[i], at + 16));
                }
            }
            for i in 0..T {
                acc[i][r] = vpadalq_s16(acc[i][r], pairs[i]);
            }
        }
    }
    acc.map(|rows| rows.map(|v| vaddvq_s32(v)))
}

/// As [`packed`], with a sum for every `FIELDS` fields.
#[target_feature(enable = "neon")]
pub fn spans<const T: usize, const BITS: usize, const FIELDS: usize>(
    w: &[u8],
    x: [&[i8]; T],
    out: &mut [Sums<T>],
) {
    let per_tile = 8 / BITS;
    let w: &[i8] = bytemuck::cast_slice(w);
    let mask = vdupq_n_u8((1 << BITS) - 1);
    for (s, sums) in out.iter_mut().enumerate() {
        for r in 0..4 {
            let mut pairs = [vdupq_n_s16(0); T];
            for f in s * FIELDS..(s + 1) * FIELDS {
                let row = f / per_tile * 128 + r * 32;
                // A negative count shifts right.
                let shift = vdupq_n_s8(-((BITS * (f % per_tile)) as i8));
                let code = |at| vshlq_u8(vreinterpretq_u8_s8(load(w, at)), shift);
                let c0 = vreinterpretq_s8_u8(vandq_u8(code(row), mask));
                let c1 = vreinterpretq_s8_u8(vandq_u8(code(row + 16), mask));
                for i in 0..T {
                    pairs[i] = multiply(pairs[i], c0, load(x[i], f * 32));
                    pairs[i] = multiply(pairs[i], c1, load(x[i], f * 32 + 16));
                }
            }
            for i in 0..T {
                sums[i][r] = vaddvq_s32(vpaddlq_s16(pairs[i]));
            }
        }
    }
}

#[target_feature(enable = "neon")]
pub fn int8<const T: usize>(w: [&[i8]; 4], x: [&[i8]; T], n: usize) -> Sums<T> {
    let mut acc = [[vdupq_n_s32(0); 4]; T];
    for at in (0..n).step_by(16) {
        for r in 0..4 {
            let row = load(w[r], at);
            for i in 0..T {
                let pairs = multiply(vdupq_n_s16(0), row, load(x[i], at));
                acc[i][r] = vpadalq_s16(acc[i][r], pairs);
            }
        }
    }
    acc.map(|rows| rows.map(|v| vaddvq_s32(v)))
}
