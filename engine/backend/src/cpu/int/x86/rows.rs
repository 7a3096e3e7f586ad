//! Weight rows with one row of activations. Weights stream from memory once, tile group after tile
//! group, and are prefetched 4 KB ahead (the largest single gain).
//! - AVX-512 VNNI: two weight rows in a register, `vpdpbusd` (u8·i8 quads into i32, no saturation:
//!   255·127·4 < 2³¹). The upper half of a tile's fields is masked where it lies, four bits up, so
//!   its sums are 16 times too large and shifted once at the end of a span: half the shifts, and
//!   twice as many chains of additions. Finer spans have sums of their own, likewise.
//! - AVX-VNNI: one row in a register, the same instruction at 256 bits.
//! - AVX2: `vpmaddubsw` pairs: ternary 2·127·2 per field, eight fields 4064; binary eight fields
//!   2032; int8 127·127·2 = 32,258: all within i16.
//!
//! SAFETY of the loads, in all of them: `w` holds a whole number of tiles for every group of `out`,
//! and `x` as many codes (cut by the caller).

use std::arch::x86_64::*;

use super::super::{Float4, Row, put_group};
use super::{add_pairs, dot_avx2, widen};

const AHEAD: usize = 4096;

#[inline]
#[target_feature(enable = "sse")]
pub(super) fn prefetch(w: *const u8) {
    // Prefetching past the end is harmless: the instruction never faults.
    let p = w.wrapping_add(AHEAD).cast::<i8>();
    _mm_prefetch::<_MM_HINT_T0>(p);
    _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(64));
}

/// The lanes of two registers of two rows each, added up: rows 0 and 1, rows 2 and 3.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn sum_of_four(a: __m512i, b: __m512i) -> __m128i {
    let s = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let s = _mm512_add_epi32(s, _mm512_shuffle_epi32::<0b01_00_11_10>(s));
    let even = _mm512_castsi512_si256(s);
    let odd = _mm512_extracti64x4_epi64::<1>(s);
    let s = _mm256_unpacklo_epi32(even, odd);
    _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s))
}

/// The lanes of a register of each row, added up.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum_each(rows: [__m256i; 4]) -> __m128i {
    let [a, b, c, d] = rows;
    let s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s))
}

/// `total` + scale · sum of a span of four rows, the sum made signed: Σ(c−1)x = Σcx − Σx,
/// Σ(2b−1)x = 2Σbx − Σx.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn add_span<const BITS: usize>(
    total: __m128,
    raw: __m128i,
    sum: i32,
    scales: &Float4,
) -> __m128 {
    let raw = match BITS {
        1 => _mm_add_epi32(raw, raw),
        _ => raw,
    };
    let signed = _mm_cvtepi32_ps(_mm_sub_epi32(raw, _mm_set1_epi32(sum)));
    // SAFETY: four floats.
    let scales = unsafe { _mm_loadu_ps(scales.as_ptr()) };
    _mm_add_ps(total, _mm_mul_ps(scales, signed))
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn put(total: __m128, act: f32) -> Float4 {
    let mut out = [0f32; 4];
    // SAFETY: four floats.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), _mm_mul_ps(total, _mm_set1_ps(act))) };
    out
}

/// Codes of `BITS` bits; a span is `FIELDS` fields of 32 columns, or all there are where that is 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn packed_avx512<const BITS: usize, const FIELDS: usize>(
    w: &[u8],
    x: Row,
    scales: &[Float4],
    out: &mut [f32],
) {
    let per_tile = 8 / BITS;
    // Fields of a tile whose sums may go together: a span's, at most half a tile's.
    let together = match FIELDS {
        0 => per_tile / 2,
        fields => fields.min(per_tile / 2),
    };
    let tiles = w.len() / 128 / out.len().div_ceil(4).max(1);
    let spans = x.sums.len();
    let none = _mm512_setzero_si512();
    // Where a field lies after a shift by less than its sums' distance.
    let mask = |at: usize| _mm512_set1_epi8((((1 << BITS) - 1) << at) as u8 as i8);
    let count = |bits: usize| _mm_cvtsi32_si128(bits as i32);
    let mut w = w.as_ptr();
    for (g, scales) in scales.chunks_exact(spans).enumerate() {
        let mut total = _mm_setzero_ps();
        let mut acc = [[none; 2]; 8];
        let mut span = 0;
        // Ends a span whose sums are `$sums` from `$first` on.
        macro_rules! finish {
            ($first:expr, $sums:expr) => {
                let mut sums = [none; 2];
                for i in $first..$first + $sums {
                    for (sum, acc) in sums.iter_mut().zip(acc[i]) {
                        let acc = _mm512_sra_epi32(acc, count(BITS * together * i));
                        *sum = _mm512_add_epi32(*sum, acc);
                    }
                    acc[i] = [none; 2];
                }
                let raw = sum_of_four(sums[0], sums[1]);
                total = add_span::<BITS>(total, raw, x.sums[span], &scales[span]);
                span += 1;
            };
        }
        let mut x_at = x.codes.as_ptr();
        for t in 1..=tiles {
            prefetch(w);
            // SAFETY: see above.
            let (w01, w23) = unsafe {
                (
                    _mm512_loadu_si512(w.cast()),
                    _mm512_loadu_si512(w.add(64).cast()),
                )
            };
            for low in 0..together {
                let shifted = [w01, w23].map(|w| _mm512_srl_epi16(w, count(BITS * low)));
                for (i, acc) in acc.iter_mut().enumerate().take(per_tile / together) {
                    let f = together * i + low;
                    // SAFETY: see above.
                    let v = unsafe { _mm256_loadu_si256(x_at.add(32 * f).cast()) };
                    let v = _mm512_broadcast_i64x4(v);
                    for (acc, w) in acc.iter_mut().zip(shifted) {
                        let codes = _mm512_and_si512(w, mask(BITS * together * i));
                        *acc = _mm512_dpbusd_epi32(*acc, codes, v);
                    }
                }
            }
            if FIELDS > 0 && FIELDS < per_tile {
                for i in 0..per_tile / together {
                    // The last tile may reach further than the last span.
                    if span < spans {
                        finish!(i, 1);
                    }
                }
            }
            if FIELDS >= per_tile && t % (FIELDS / per_tile).max(1) == 0 {
                finish!(0, per_tile / together);
            }
            w = w.wrapping_add(128);
            x_at = x_at.wrapping_add(32 * per_tile);
        }
        if FIELDS == 0 {
            finish!(0, per_tile / together);
        }
        debug_assert_eq!(span, spans);
        put_group(out, g, put(total, x.scale));
    }
}

/// The 256-bit form: `$dot(acc, codes, x)` adds a field, `$flush` folds those of a tile into i32.
macro_rules! packed_256 {
    ($name:ident, $features:literal, $dot:expr, $flush:expr) => {
        #[target_feature(enable = $features)]
        pub unsafe fn $name<const BITS: usize, const FIELDS: usize>(
            w: &[u8],
            x: Row,
            scales: &[Float4],
            out: &mut [f32],
        ) {
            let per_tile = 8 / BITS;
            let tiles = w.len() / 128 / out.len().div_ceil(4).max(1);
            let spans = x.sums.len();
            let none = _mm256_setzero_si256();
            let mask = _mm256_set1_epi8(((1u16 << BITS) - 1) as i8);
            let mut w = w.as_ptr();
            for (g, scales) in scales.chunks_exact(spans).enumerate() {
                let mut total = _mm_setzero_ps();
                let mut acc = [none; 4];
                let mut span = 0;
                macro_rules! finish {
                    () => {
                        let raw = sum_each(std::mem::replace(&mut acc, [none; 4]));
                        total = add_span::<BITS>(total, raw, x.sums[span], &scales[span]);
                        span += 1;
                    };
                }
                let mut x_at = x.codes.as_ptr();
                for t in 1..=tiles {
                    prefetch(w);
                    // Fields that are summed before the next: a span's, or a tile's.
                    let step = if FIELDS == 0 || FIELDS > per_tile {
                        per_tile
                    } else {
                        FIELDS
                    };
                    for first in (0..per_tile).step_by(step) {
                        for (r, acc) in acc.iter_mut().enumerate() {
                            // SAFETY: see above.
                            let row = unsafe { _mm256_loadu_si256(w.add(32 * r).cast()) };
                            let mut parts = if $flush.is_some() { none } else { *acc };
                            for f in first..first + step {
                                let shift = _mm_cvtsi32_si128((BITS * f) as i32);
                                let codes = _mm256_and_si256(_mm256_srl_epi16(row, shift), mask);
                                // SAFETY: see above.
                                let v = unsafe { _mm256_loadu_si256(x_at.add(32 * f).cast()) };
                                parts = $dot(parts, codes, v);
                            }
                            *acc = match $flush {
                                Some(flush) => {
                                    let flush: unsafe fn(__m256i, __m256i) -> __m256i = flush;
                                    // SAFETY: the level was detected.
                                    unsafe { flush(*acc, parts) }
                                }
                                None => parts,
                            };
                        }
                        // The last tile may reach further than the last span.
                        if FIELDS > 0 && FIELDS < per_tile && span < spans {
                            finish!();
                        }
                    }
                    if FIELDS >= per_tile && t % (FIELDS / per_tile).max(1) == 0 {
                        finish!();
                    }
                    w = w.wrapping_add(128);
                    x_at = x_at.wrapping_add(32 * per_tile);
                }
                if FIELDS == 0 {
                    finish!();
                }
                debug_assert_eq!(span, spans);
                put_group(out, g, put(total, x.scale));
            }
        }
    };
}

const NO_FLUSH: Option<unsafe fn(__m256i, __m256i) -> __m256i> = None;

packed_256!(
    packed_avxvnni,
    "avx2,avxvnni",
    _mm256_dpbusd_avx_epi32,
    NO_FLUSH
);
packed_256!(
    packed_avx2,
    "avx2",
    add_pairs,
    Some(widen as unsafe fn(__m256i, __m256i) -> __m256i)
);

/// Rows of int8, one behind the other: `out[n] = scale[n]·a·Σ w[n]·x`. Weights become unsigned by
/// flipping the sign bit (w + 128); 128·Σx is taken off at the end.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn int8_avx512(w: &[i8], x: Row, scales: &[f32], out: &mut [f32]) {
    let n = w.len() / out.len().max(1);
    let flip = _mm512_set1_epi8(-128);
    let offset = x.sums[0].wrapping_mul(128);
    let mut w = w.as_ptr();
    for (scale, out) in scales.iter().zip(out) {
        let mut acc = [_mm512_setzero_si512(); 2];
        for at in (0..n).step_by(128) {
            // SAFETY: rows are whole numbers of 128 bytes, as many as `x` holds codes.
            unsafe {
                prefetch(w.cast());
                for (i, acc) in acc.iter_mut().enumerate() {
                    let codes = _mm512_loadu_si512(w.add(64 * i).cast());
                    let v = _mm512_loadu_si512(x.codes.as_ptr().add(at + 64 * i).cast());
                    *acc = _mm512_dpbusd_epi32(*acc, _mm512_xor_si512(codes, flip), v);
                }
            }
            w = w.wrapping_add(128);
        }
        let sum = _mm512_reduce_add_epi32(_mm512_add_epi32(acc[0], acc[1]));
        *out = scale * sum.wrapping_sub(offset) as f32 * x.scale;
    }
}

/// |w| · sign(x, w): both stay within ±127, so the i16 pairs cannot saturate.
macro_rules! int8_256 {
    ($name:ident, $features:literal, $dot:expr) => {
        #[target_feature(enable = $features)]
        pub unsafe fn $name(w: &[i8], x: Row, scales: &[f32], out: &mut [f32]) {
            let n = w.len() / out.len().max(1);
            let mut w = w.as_ptr();
            for (scale, out) in scales.iter().zip(out) {
                let mut acc = [_mm256_setzero_si256(); 4];
                for at in (0..n).step_by(128) {
                    // SAFETY: rows are whole numbers of 128 bytes, as many as `x` holds codes.
                    unsafe {
                        prefetch(w.cast());
                        for (i, acc) in acc.iter_mut().enumerate() {
                            let codes = _mm256_loadu_si256(w.add(32 * i).cast());
                            let v = _mm256_loadu_si256(x.codes.as_ptr().add(at + 32 * i).cast());
                            *acc = $dot(*acc, _mm256_abs_epi8(codes), _mm256_sign_epi8(v, codes));
                        }
                    }
                    w = w.wrapping_add(128);
                }
                let pair = |a, b| _mm256_add_epi32(a, b);
                let all = pair(pair(acc[0], acc[1]), pair(acc[2], acc[3]));
                let none = _mm256_setzero_si256();
                let sum = _mm_cvtsi128_si32(sum_each([all, none, none, none]));
                *out = scale * sum as f32 * x.scale;
            }
        }
    };
}

int8_256!(int8_avxvnni, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);
int8_256!(int8_avx2, "avx2", dot_avx2);
