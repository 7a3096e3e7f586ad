//! Weight rows with a few rows of activations: weights are unpacked once for all of them.
//! - AVX-512 VNNI: two weight rows in a register, as for one row of activations, every field
//!   shifted into place; sums of every activation row in registers of their own.
//! - AVX-VNNI and AVX2: one weight row with four rows of activations, which are the lanes of its
//!   sums.
//! - int8: four weight rows with the activation rows (AVX-512 VNNI), or one.
//!
//! SAFETY of the loads, in all of them: `w` holds a whole number of tiles for every group of
//! outputs, and every row of activations as many codes (cut by the caller).

use std::arch::x86_64::*;

use super::super::{Float4, Row, put_group};
use super::rows::{add_span, prefetch, put, sum_each, sum_of_four};
use super::{add_pairs, dot_avx2, widen};

/// `N` rows of activations; `BITS` and `FIELDS` as for one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn packed_few_avx512<const BITS: usize, const FIELDS: usize, const N: usize>(
    w: &[u8],
    x: &[Row; N],
    scales: &[Float4],
    out: &mut [&mut [f32]; N],
) {
    let per_tile = 8 / BITS;
    let groups = out[0].len().div_ceil(FOUR);
    let tiles = w.len() / 128 / groups.max(1);
    let spans = x[0].sums.len();
    let none = _mm512_setzero_si512();
    let mask = _mm512_set1_epi8(((1u16 << BITS) - 1) as i8);
    let mut w = w.as_ptr();
    for (g, scales) in scales.chunks_exact(spans).enumerate() {
        let mut total = [_mm_setzero_ps(); N];
        let mut acc = [[none; 2]; N];
        let mut span = 0;
        macro_rules! finish {
            () => {
                for ((total, acc), x) in total.iter_mut().zip(&mut acc).zip(x) {
                    let [low, high] = std::mem::replace(acc, [none; 2]);
                    let raw = sum_of_four(low, high);
                    *total = add_span::<BITS>(*total, raw, x.sums[span], &scales[span]);
                }
                span += 1;
            };
        }
        for t in 0..tiles {
            prefetch(w);
            // SAFETY: see above.
            let both = unsafe {
                [
                    _mm512_loadu_si512(w.cast()),
                    _mm512_loadu_si512(w.add(64).cast()),
                ]
            };
            for f in 0..per_tile {
                let count = _mm_cvtsi32_si128((BITS * f) as i32);
                let codes = both.map(|w| _mm512_and_si512(_mm512_srl_epi16(w, count), mask));
                for (acc, x) in acc.iter_mut().zip(x) {
                    let at = x.codes.as_ptr().wrapping_add(32 * (per_tile * t + f));
                    // SAFETY: see above.
                    let v = unsafe { _mm256_loadu_si256(at.cast()) };
                    let v = _mm512_broadcast_i64x4(v);
                    for (acc, codes) in acc.iter_mut().zip(codes) {
                        *acc = _mm512_dpbusd_epi32(*acc, codes, v);
                    }
                }
                // The last tile may reach further than the last span.
                if FIELDS > 0
                    && FIELDS < per_tile
                    && (f + 1).is_multiple_of(FIELDS.max(1))
                    && span < spans
                {
                    finish!();
                }
            }
            if FIELDS >= per_tile && (t + 1).is_multiple_of((FIELDS / per_tile).max(1)) {
                finish!();
            }
            w = w.wrapping_add(128);
        }
        if FIELDS == 0 {
            finish!();
        }
        debug_assert_eq!(span, spans);
        for ((out, total), x) in out.iter_mut().zip(total).zip(x) {
            put_group(out, g, put(total, x.scale));
        }
    }
}

/// The lanes of four registers, added up.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_all([a, b, c, d]: [__m512i; 4]) -> __m128i {
    let two = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (ab, cd) = (two(a, b), two(c, d));
    let s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let s = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64::<1>(s));
    _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s))
}

/// Weight rows of int8 that are taken at once.
const FOUR: usize = 4;

/// Rows of int8 with `N` rows of activations: `out[t][n] = scale[n]·a_t·Σ w[n]·x_t`. Weights become
/// unsigned as for one row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn int8_few_avx512<const N: usize>(
    w: &[i8],
    x: &[Row; N],
    scales: &[f32],
    out: &mut [&mut [f32]; N],
) {
    let lines = scales.len();
    let columns = w.len() / lines.max(1);
    let flip = _mm512_set1_epi8(-128);
    for (i, scales) in scales.chunks(FOUR).enumerate() {
        // Of the last rows, where there are fewer, the last again.
        let row: [*const i8; FOUR] = std::array::from_fn(|r| {
            let line = (FOUR * i + r).min(lines - 1);
            w.as_ptr().wrapping_add(line * columns)
        });
        let mut acc = [[_mm512_setzero_si512(); FOUR]; N];
        for at in (0..columns).step_by(64) {
            let codes = row.map(|row| {
                prefetch(row.wrapping_add(at).cast());
                // SAFETY: see above.
                let codes = unsafe { _mm512_loadu_si512(row.wrapping_add(at).cast()) };
                _mm512_xor_si512(codes, flip)
            });
            for (acc, x) in acc.iter_mut().zip(x) {
                // SAFETY: see above.
                let v = unsafe { _mm512_loadu_si512(x.codes.as_ptr().wrapping_add(at).cast()) };
                for (acc, codes) in acc.iter_mut().zip(codes) {
                    *acc = _mm512_dpbusd_epi32(*acc, codes, v);
                }
            }
        }
        let mut four = [0f32; FOUR];
        four[..scales.len()].copy_from_slice(scales);
        for ((out, acc), x) in out.iter_mut().zip(acc).zip(x) {
            let offset = _mm_set1_epi32(x.sums[0].wrapping_mul(128));
            let sums = _mm_cvtepi32_ps(_mm_sub_epi32(sum_all(acc), offset));
            // SAFETY: four floats.
            let scales = unsafe { _mm_loadu_ps(four.as_ptr()) };
            put_group(out, i, put(_mm_mul_ps(scales, sums), x.scale));
        }
    }
}

/// A value of each row of activations.
#[inline]
#[target_feature(enable = "sse2")]
fn each(x: &[Row; FOUR], value: impl Fn(&Row) -> i32) -> __m128i {
    let [a, b, c, d] = x.each_ref().map(value);
    _mm_set_epi32(d, c, b, a)
}

/// The scales of the rows of activations.
#[inline]
#[target_feature(enable = "sse")]
fn act_scales(x: &[Row; FOUR]) -> __m128 {
    let [a, b, c, d] = x.each_ref().map(|x| x.scale);
    _mm_set_ps(d, c, b, a)
}

/// The 256-bit forms of both. `$dot(acc, codes, x)` adds a field, `$flush` folds those of a tile
/// into i32; `$int8(acc, w, x)` adds 32 products of int8, whose weights are too large by `$more`.
macro_rules! few_256 {
    ($packed:ident, $of_int8:ident, $features:literal, $dot:expr, $flush:expr, $int8:expr, $more:expr) => {
        #[target_feature(enable = $features)]
        pub unsafe fn $packed<const BITS: usize, const FIELDS: usize>(
            w: &[u8],
            x: &[Row; FOUR],
            scales: &[Float4],
            out: &mut [&mut [f32]; FOUR],
        ) {
            let per_tile = 8 / BITS;
            let groups = out[0].len().div_ceil(FOUR);
            let tiles = w.len() / 128 / groups.max(1);
            let spans = x[0].sums.len();
            let none = _mm256_setzero_si256();
            let mask = _mm256_set1_epi8(((1u16 << BITS) - 1) as i8);
            let act = act_scales(x);
            // Fields that are summed before the next: a span's, or a tile's.
            let step = match FIELDS {
                0 => per_tile,
                fields => fields.min(per_tile),
            };
            for (g, scales) in scales.chunks_exact(spans).enumerate() {
                let lines = FOUR.min(out[0].len() - FOUR * g);
                for r in 0..lines {
                    let first = w.as_ptr().wrapping_add(128 * tiles * g + 32 * r);
                    let mut total = _mm_setzero_ps();
                    let mut acc = [none; FOUR];
                    let mut span = 0;
                    macro_rules! finish {
                        () => {
                            let raw = sum_each(std::mem::replace(&mut acc, [none; FOUR]));
                            let raw = match BITS {
                                1 => _mm_add_epi32(raw, raw),
                                _ => raw,
                            };
                            let signed = _mm_sub_epi32(raw, each(x, |x| x.sums[span]));
                            let scale = _mm_set1_ps(scales[span][r]);
                            total = _mm_add_ps(total, _mm_mul_ps(scale, _mm_cvtepi32_ps(signed)));
                            span += 1;
                        };
                    }
                    for t in 0..tiles {
                        let at = first.wrapping_add(128 * t);
                        if r == 0 {
                            prefetch(at);
                        }
                        // SAFETY: see above.
                        let row = unsafe { _mm256_loadu_si256(at.cast()) };
                        for begin in (0..per_tile).step_by(step) {
                            let mut parts = if $flush.is_some() { [none; FOUR] } else { acc };
                            for f in begin..begin + step {
                                let count = _mm_cvtsi32_si128((BITS * f) as i32);
                                let codes = _mm256_and_si256(_mm256_srl_epi16(row, count), mask);
                                for (parts, x) in parts.iter_mut().zip(x) {
                                    let at = 32 * (per_tile * t + f);
                                    let at = x.codes.as_ptr().wrapping_add(at);
                                    // SAFETY: see above.
                                    let v = unsafe { _mm256_loadu_si256(at.cast()) };
                                    *parts = $dot(*parts, codes, v);
                                }
                            }
                            for (acc, parts) in acc.iter_mut().zip(parts) {
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
                        if FIELDS >= per_tile && (t + 1).is_multiple_of((FIELDS / per_tile).max(1))
                        {
                            finish!();
                        }
                    }
                    if FIELDS == 0 {
                        finish!();
                    }
                    debug_assert_eq!(span, spans);
                    let mut found = [0f32; FOUR];
                    // SAFETY: four floats.
                    unsafe { _mm_storeu_ps(found.as_mut_ptr(), _mm_mul_ps(total, act)) };
                    for (out, found) in out.iter_mut().zip(found) {
                        out[FOUR * g + r] = found;
                    }
                }
            }
        }

        #[target_feature(enable = $features)]
        pub unsafe fn $of_int8(
            w: &[i8],
            x: &[Row; FOUR],
            scales: &[f32],
            out: &mut [&mut [f32]; FOUR],
        ) {
            let columns = w.len() / scales.len().max(1);
            let act = act_scales(x);
            let offset = each(x, |x| x.sums[0].wrapping_mul($more));
            let mut w = w.as_ptr();
            for (n, scale) in scales.iter().enumerate() {
                let mut acc = [_mm256_setzero_si256(); FOUR];
                for at in (0..columns).step_by(32) {
                    prefetch(w.wrapping_add(at).cast());
                    // SAFETY: see above.
                    let codes = unsafe { _mm256_loadu_si256(w.wrapping_add(at).cast()) };
                    for (acc, x) in acc.iter_mut().zip(x) {
                        let at = x.codes.as_ptr().wrapping_add(at);
                        // SAFETY: see above.
                        let v = unsafe { _mm256_loadu_si256(at.cast()) };
                        *acc = $int8(*acc, codes, v);
                    }
                }
                let sums = _mm_cvtepi32_ps(_mm_sub_epi32(sum_each(acc), offset));
                let mut found = [0f32; FOUR];
                let all = _mm_mul_ps(_mm_mul_ps(_mm_set1_ps(*scale), sums), act);
                // SAFETY: four floats.
                unsafe { _mm_storeu_ps(found.as_mut_ptr(), all) };
                for (out, found) in out.iter_mut().zip(found) {
                    out[n] = found;
                }
                w = w.wrapping_add(columns);
            }
        }
    };
}

/// |w| · sign(x, w): both stay within ±127, so the i16 pairs cannot saturate.
#[inline]
#[target_feature(enable = "avx2")]
fn int8_avx2(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
    dot_avx2(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
}

/// Weights become unsigned by flipping the sign bit.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn int8_avxvnni(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
    _mm256_dpbusd_avx_epi32(acc, _mm256_xor_si256(w, _mm256_set1_epi8(-128)), x)
}

few_256!(
    packed_few_avxvnni,
    int8_few_avxvnni,
    "avx2,avxvnni",
    _mm256_dpbusd_avx_epi32,
    None::<unsafe fn(__m256i, __m256i) -> __m256i>,
    int8_avxvnni,
    128
);
few_256!(
    packed_few_avx2,
    int8_few_avx2,
    "avx2",
    add_pairs,
    Some(widen as unsafe fn(__m256i, __m256i) -> __m256i),
    int8_avx2,
    0
);
