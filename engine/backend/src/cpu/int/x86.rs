//! x86-64 kernels. Weights stream from memory once per tile group and are prefetched 4 KB ahead
//! (the largest single gain); each field is isolated by a 16-bit shift and a mask, then multiplied
//! with 32 activation bytes.
//! - AVX-512 VNNI: two weight rows in a register, `vpdpbusd` (u8·i8 quads into i32, no saturation:
//!   255·127·4 < 2³¹).
//! - AVX-VNNI: one row in a register, the same instruction at 256 bits.
//! - AVX2: `vpmaddubsw` pairs: ternary 2·127·2 per field, four fields 2032; binary eight fields
//!   2032; int8 127·127·2 = 32,258: all within i16.

use std::arch::x86_64::*;

use super::Sums;

const AHEAD: usize = 4096;

#[inline]
#[target_feature(enable = "sse")]
unsafe fn prefetch(w: &[u8], at: usize) {
    // Prefetching past the end is harmless: the instruction never faults.
    let p = w.as_ptr().wrapping_add(at + AHEAD).cast::<i8>();
    _mm_prefetch::<_MM_HINT_T0>(p);
    _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(64));
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum256(v: __m256i) -> i32 {
    let s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b01_00_11_10>(s));
    let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b10_11_00_01>(s));
    _mm_cvtsi128_si32(s)
}

/// The body shared by the 512-bit packed kernels. SAFETY of the loads: `w` holds `tiles`·128 bytes
/// and each `x` `tiles`·32·FIELDS codes (cut by the caller).
macro_rules! packed_avx512 {
    ($name:ident, $fields:literal, $bits:literal) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        pub unsafe fn $name<const T: usize>(w: &[u8], x: [&[i8]; T], tiles: usize) -> Sums<T> {
            let mask = _mm512_set1_epi8(((1u16 << $bits) - 1) as i8);
            let mut acc = [[_mm512_setzero_si512(); 2]; T];
            for t in 0..tiles {
                // SAFETY: see above.
                unsafe {
                    prefetch(w, t * 128);
                    let w01 = _mm512_loadu_si512(w.as_ptr().add(t * 128).cast());
                    let w23 = _mm512_loadu_si512(w.as_ptr().add(t * 128 + 64).cast());
                    macro_rules! field {
                        ($f:literal) => {
                            let c01 =
                                _mm512_and_si512(_mm512_srli_epi16::<{ $f * $bits }>(w01), mask);
                            let c23 =
                                _mm512_and_si512(_mm512_srli_epi16::<{ $f * $bits }>(w23), mask);
                            for i in 0..T {
                                let v = _mm256_loadu_si256(
                                    x[i].as_ptr().add((t * $fields + $f) * 32).cast(),
                                );
                                let v = _mm512_broadcast_i64x4(v);
                                acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], c01, v);
                                acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], c23, v);
                            }
                        };
                    }
                    field!(0);
                    field!(1);
                    field!(2);
                    field!(3);
                    if $fields == 8 {
                        field!(4);
                        field!(5);
                        field!(6);
                        field!(7);
                    }
                }
            }
            acc.map(|[a, b]| {
                [
                    sum256(_mm512_castsi512_si256(a)),
                    sum256(_mm512_extracti64x4_epi64::<1>(a)),
                    sum256(_mm512_castsi512_si256(b)),
                    sum256(_mm512_extracti64x4_epi64::<1>(b)),
                ]
            })
        }
    };
}

packed_avx512!(ternary_avx512, 4, 2);
packed_avx512!(binary_avx512, 8, 1);

/// The body shared by the 256-bit packed kernels: `$dot(acc, codes, x)` accumulates one field;
/// `$flush` folds it into i32 per tile. SAFETY of the loads: as for the 512-bit kernels.
macro_rules! packed_avx2 {
    ($name:ident, $features:literal, $fields:literal, $bits:literal, $dot:expr, $flush:expr) => {
        #[target_feature(enable = $features)]
        pub unsafe fn $name<const T: usize>(w: &[u8], x: [&[i8]; T], tiles: usize) -> Sums<T> {
            let mask = _mm256_set1_epi8(((1u16 << $bits) - 1) as i8);
            let mut acc = [[_mm256_setzero_si256(); 4]; T];
            for t in 0..tiles {
                // SAFETY: see above.
                unsafe {
                    prefetch(w, t * 128);
                    for r in 0..4 {
                        let row = _mm256_loadu_si256(w.as_ptr().add(t * 128 + r * 32).cast());
                        let mut tile = if $flush.is_some() {
                            [_mm256_setzero_si256(); T]
                        } else {
                            std::array::from_fn(|i| acc[i][r])
                        };
                        macro_rules! field {
                            ($f:literal) => {
                                let c = _mm256_and_si256(
                                    _mm256_srli_epi16::<{ $f * $bits }>(row),
                                    mask,
                                );
                                for i in 0..T {
                                    let v = _mm256_loadu_si256(
                                        x[i].as_ptr().add((t * $fields + $f) * 32).cast(),
                                    );
                                    tile[i] = $dot(tile[i], c, v);
                                }
                            };
                        }
                        field!(0);
                        field!(1);
                        field!(2);
                        field!(3);
                        if $fields == 8 {
                            field!(4);
                            field!(5);
                            field!(6);
                            field!(7);
                        }
                        for i in 0..T {
                            acc[i][r] = match $flush {
                                Some(flush) => {
                                    let flush: unsafe fn(__m256i, __m256i) -> __m256i = flush;
                                    flush(acc[i][r], tile[i])
                                }
                                None => tile[i],
                            };
                        }
                    }
                }
            }
            acc.map(|rows| rows.map(|v| sum256(v)))
        }
    };
}

#[inline]
#[target_feature(enable = "avx2")]
fn madd_pairs(acc: __m256i, codes: __m256i, x: __m256i) -> __m256i {
    _mm256_add_epi16(acc, _mm256_maddubs_epi16(codes, x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen(acc: __m256i, pairs: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

const NO_FLUSH: Option<unsafe fn(__m256i, __m256i) -> __m256i> = None;

packed_avx2!(
    ternary_avxvnni,
    "avx2,avxvnni",
    4,
    2,
    _mm256_dpbusd_avx_epi32,
    NO_FLUSH
);
packed_avx2!(
    binary_avxvnni,
    "avx2,avxvnni",
    8,
    1,
    _mm256_dpbusd_avx_epi32,
    NO_FLUSH
);
packed_avx2!(
    ternary_avx2,
    "avx2",
    4,
    2,
    madd_pairs,
    Some(widen as unsafe fn(__m256i, __m256i) -> __m256i)
);
packed_avx2!(
    binary_avx2,
    "avx2",
    8,
    1,
    madd_pairs,
    Some(widen as unsafe fn(__m256i, __m256i) -> __m256i)
);

/// Sums of four registers' lanes, side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_each(rows: [__m256i; 4]) -> __m128i {
    let [a, b, c, d] = rows;
    let s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s))
}

/// As the packed kernels, with a sum for every `FIELDS` fields of 32 columns (a power of two).
/// SAFETY of the loads: as many fields as `out` has spans are in reach (checked by the caller).
macro_rules! spans_avx512 {
    ($name:ident, $fields:literal, $bits:literal) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        pub unsafe fn $name<const T: usize, const FIELDS: usize>(
            w: &[u8],
            x: [&[i8]; T],
            out: &mut [Sums<T>],
        ) {
            let mask = _mm512_set1_epi8(((1u16 << $bits) - 1) as i8);
            let mut acc = [[_mm512_setzero_si512(); 2]; T];
            let mut next = 0;
            for t in 0..w.len() / 128 {
                // SAFETY: see above.
                unsafe {
                    prefetch(w, t * 128);
                    let w01 = _mm512_loadu_si512(w.as_ptr().add(t * 128).cast());
                    let w23 = _mm512_loadu_si512(w.as_ptr().add(t * 128 + 64).cast());
                    macro_rules! field {
                        ($f:literal) => {
                            let c01 =
                                _mm512_and_si512(_mm512_srli_epi16::<{ $f * $bits }>(w01), mask);
                            let c23 =
                                _mm512_and_si512(_mm512_srli_epi16::<{ $f * $bits }>(w23), mask);
                            for i in 0..T {
                                let v = _mm256_loadu_si256(
                                    x[i].as_ptr().add((t * $fields + $f) * 32).cast(),
                                );
                                let v = _mm512_broadcast_i64x4(v);
                                acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], c01, v);
                                acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], c23, v);
                            }
                            if (t * $fields + $f + 1) % FIELDS == 0 {
                                let Some(sums) = out.get_mut(next) else {
                                    return;
                                };
                                next += 1;
                                for i in 0..T {
                                    let [a, b] = acc[i];
                                    acc[i] = [_mm512_setzero_si512(); 2];
                                    let four = sum_each([
                                        _mm512_castsi512_si256(a),
                                        _mm512_extracti64x4_epi64::<1>(a),
                                        _mm512_castsi512_si256(b),
                                        _mm512_extracti64x4_epi64::<1>(b),
                                    ]);
                                    _mm_storeu_si128(sums[i].as_mut_ptr().cast(), four);
                                }
                            }
                        };
                    }
                    field!(0);
                    field!(1);
                    field!(2);
                    field!(3);
                    if $fields == 8 {
                        field!(4);
                        field!(5);
                        field!(6);
                        field!(7);
                    }
                }
            }
        }
    };
}

spans_avx512!(ternary_spans_avx512, 4, 2);
spans_avx512!(binary_spans_avx512, 8, 1);

/// The 256-bit form; `$dot` and `$flush` as for the packed kernels. Eight ternary fields stay
/// within i16, too: 8·2·127·2 = 4064.
macro_rules! spans_avx2 {
    ($name:ident, $features:literal, $fields:literal, $bits:literal, $dot:expr, $flush:expr) => {
        #[target_feature(enable = $features)]
        pub unsafe fn $name<const T: usize, const FIELDS: usize>(
            w: &[u8],
            x: [&[i8]; T],
            out: &mut [Sums<T>],
        ) {
            let mask = _mm256_set1_epi8(((1u16 << $bits) - 1) as i8);
            for (s, sums) in out.iter_mut().enumerate() {
                let mut acc = [[_mm256_setzero_si256(); 4]; T];
                // SAFETY: see above.
                unsafe {
                    prefetch(w, s * FIELDS / $fields * 128);
                    for f in s * FIELDS..(s + 1) * FIELDS {
                        let (tile, shift) = (f / $fields, f % $fields * $bits);
                        let shift = _mm_cvtsi32_si128(shift as i32);
                        let mut v = [_mm256_setzero_si256(); T];
                        for i in 0..T {
                            v[i] = _mm256_loadu_si256(x[i].as_ptr().add(f * 32).cast());
                        }
                        for r in 0..4 {
                            let row =
                                _mm256_loadu_si256(w.as_ptr().add(tile * 128 + r * 32).cast());
                            let c = _mm256_and_si256(_mm256_srl_epi16(row, shift), mask);
                            for i in 0..T {
                                acc[i][r] = $dot(acc[i][r], c, v[i]);
                            }
                        }
                    }
                    for i in 0..T {
                        let rows = acc[i].map(|pairs| match $flush {
                            Some(flush) => {
                                let flush: unsafe fn(__m256i, __m256i) -> __m256i = flush;
                                flush(_mm256_setzero_si256(), pairs)
                            }
                            None => pairs,
                        });
                        _mm_storeu_si128(sums[i].as_mut_ptr().cast(), sum_each(rows));
                    }
                }
            }
        }
    };
}

spans_avx2!(
    ternary_spans_avxvnni,
    "avx2,avxvnni",
    4,
    2,
    _mm256_dpbusd_avx_epi32,
    NO_FLUSH
);
spans_avx2!(
    binary_spans_avxvnni,
    "avx2,avxvnni",
    8,
    1,
    _mm256_dpbusd_avx_epi32,
    NO_FLUSH
);
spans_avx2!(
    ternary_spans_avx2,
    "avx2",
    4,
    2,
    madd_pairs,
    Some(widen as unsafe fn(__m256i, __m256i) -> __m256i)
);
spans_avx2!(
    binary_spans_avx2,
    "avx2",
    8,
    1,
    madd_pairs,
    Some(widen as unsafe fn(__m256i, __m256i) -> __m256i)
);

/// Bytes from a row to the same place of the four that follow: a row of a head is left long before
/// memory has answered.
#[inline(always)]
fn to_next(w: [&[i8]; 4]) -> usize {
    (w[1].as_ptr() as usize)
        .wrapping_sub(w[0].as_ptr() as usize)
        .wrapping_mul(4)
}

/// Weights become unsigned by flipping the sign bit (w + 128); 128·Σx is taken off at the end.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn int8_avx512<const T: usize>(w: [&[i8]; 4], x: [&[i8]; T], n: usize) -> Sums<T> {
    if T == 1 {
        // SAFETY: the caller's.
        return [unsafe { int8_rows_avx512(w, x[0], n) }; T];
    }
    let flip = _mm512_set1_epi8(-128);
    let ahead = to_next(w);
    let mut acc = [[_mm512_setzero_si512(); 4]; T];
    let mut sum_x = [_mm512_setzero_si512(); T];
    for at in (0..n).step_by(64) {
        // SAFETY: all slices hold `n` bytes, n a multiple of 64 (cut and checked by the caller).
        unsafe {
            let mut v = [_mm512_setzero_si512(); T];
            for i in 0..T {
                v[i] = _mm512_loadu_si512(x[i].as_ptr().add(at).cast());
                sum_x[i] = _mm512_dpbusd_epi32(sum_x[i], flip, v[i]);
            }
            for r in 0..4 {
                let p = w[r].as_ptr().add(at);
                _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(ahead));
                let u = _mm512_xor_si512(_mm512_loadu_si512(p.cast()), flip);
                for i in 0..T {
                    acc[i][r] = _mm512_dpbusd_epi32(acc[i][r], u, v[i]);
                }
            }
        }
    }
    let mut out = [[0; 4]; T];
    for i in 0..T {
        let offset = _mm512_reduce_add_epi32(sum_x[i]);
        out[i] = acc[i].map(|a| _mm512_reduce_add_epi32(a) - offset);
    }
    out
}

/// With one activation row the weights come from memory: row after row is one stream, which the
/// processor follows by itself.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn int8_rows_avx512(w: [&[i8]; 4], x: &[i8], n: usize) -> [i32; 4] {
    let flip = _mm512_set1_epi8(-128);
    let mut sum_x = _mm512_setzero_si512();
    // SAFETY: all slices hold `n` bytes, n a multiple of 64 (cut and checked by the caller).
    let load =
        |bytes: &[i8], at: usize| unsafe { _mm512_loadu_si512(bytes.as_ptr().add(at).cast()) };
    for at in (0..n).step_by(64) {
        sum_x = _mm512_dpbusd_epi32(sum_x, flip, load(x, at));
    }
    let offset = _mm512_reduce_add_epi32(sum_x);
    w.map(|w| {
        let mut acc = [_mm512_setzero_si512(); 2];
        for (i, at) in (0..n).step_by(64).enumerate() {
            _mm_prefetch::<_MM_HINT_T0>(w.as_ptr().wrapping_add(at + AHEAD / 2));
            let u = _mm512_xor_si512(load(w, at), flip);
            acc[i % 2] = _mm512_dpbusd_epi32(acc[i % 2], u, load(x, at));
        }
        _mm512_reduce_add_epi32(_mm512_add_epi32(acc[0], acc[1])) - offset
    })
}

/// As above.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn int8_rows_avx2(w: [&[i8]; 4], x: &[i8], n: usize) -> [i32; 4] {
    let ones = _mm256_set1_epi16(1);
    // SAFETY: all slices hold `n` bytes, n a multiple of 64 (cut and checked by the caller).
    let load =
        |bytes: &[i8], at: usize| unsafe { _mm256_loadu_si256(bytes.as_ptr().add(at).cast()) };
    w.map(|w| {
        let mut acc = [_mm256_setzero_si256(); 2];
        for (i, at) in (0..n).step_by(32).enumerate() {
            if i % 2 == 0 {
                _mm_prefetch::<_MM_HINT_T0>(w.as_ptr().wrapping_add(at + AHEAD / 2));
            }
            let row = load(w, at);
            let pairs =
                _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(load(x, at), row));
            acc[i % 2] = _mm256_add_epi32(acc[i % 2], _mm256_madd_epi16(pairs, ones));
        }
        sum256(_mm256_add_epi32(acc[0], acc[1]))
    })
}

/// |w| · sign(x, w): both stay within ±127, so the i16 pairs cannot saturate.
#[target_feature(enable = "avx2")]
pub unsafe fn int8_avx2<const T: usize>(w: [&[i8]; 4], x: [&[i8]; T], n: usize) -> Sums<T> {
    if T == 1 {
        // SAFETY: the caller's.
        return [unsafe { int8_rows_avx2(w, x[0], n) }; T];
    }
    let ones = _mm256_set1_epi16(1);
    let ahead = to_next(w);
    let mut acc = [[_mm256_setzero_si256(); 4]; T];
    for at in (0..n).step_by(32) {
        // SAFETY: all slices hold `n` bytes, n a multiple of 64 (cut and checked by the caller).
        unsafe {
            for r in 0..4 {
                let p = w[r].as_ptr().add(at);
                _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(ahead));
                let row = _mm256_loadu_si256(p.cast());
                let magnitude = _mm256_abs_epi8(row);
                for i in 0..T {
                    let v = _mm256_loadu_si256(x[i].as_ptr().add(at).cast());
                    let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(v, row));
                    acc[i][r] = _mm256_add_epi32(acc[i][r], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
    }
    acc.map(|rows| rows.map(|v| sum256(v)))
}
