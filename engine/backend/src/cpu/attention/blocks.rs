//! Blocks of positions of the KV cache with a few queries that share them.
//!
//! Element k of a query times element k of a key goes to partial sum k mod 16, every product and
//! sum rounded once; the sixteen are then added by halves, as [`dots`] does. Values are added in
//! the order of positions. So the results are the same at every level and however positions and
//! queries are grouped.

use crate::cpu::dots::{LANES, Narrow, dots};
use crate::cpu::simd::Level;

/// Positions at a time.
pub const BLOCK: usize = 64;
/// Queries that share what is read of the cache.
pub const QUERIES: usize = 4;

/// Where keys or values of one head lie.
#[derive(Clone, Copy)]
pub struct Rows<'a, W> {
    /// From the first position's first element on.
    pub data: &'a [W],
    /// Elements from one position to the next.
    pub stride: usize,
    /// Of the head.
    pub head_dim: usize,
    /// Positions.
    pub count: usize,
    /// What is read after these: the same head's part of another block.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "others find what is read next by themselves")
    )]
    pub next: &'a [W],
}

impl<W> Rows<'_, W> {
    /// Bytes from each of these to where the next block has its like; 0 without one.
    #[cfg(target_arch = "x86_64")]
    fn ahead(&self) -> isize {
        match self.next {
            [] => 0,
            next => {
                let bytes = next.as_ptr().addr().wrapping_sub(self.data.as_ptr().addr());
                bytes.cast_signed()
            }
        }
    }

    /// That all positions are in reach, with so many queries of `len` elements in all.
    fn check(&self, len: usize) {
        let last = self.count.max(1) - 1;
        assert!(
            self.count <= BLOCK
                && len.is_multiple_of(self.head_dim)
                && len <= QUERIES * self.head_dim
                && self.data.len() >= last * self.stride + self.head_dim
        );
    }
}

/// `scale` times queries, rows of `q`, with the keys: to lines of `out` that are `line` apart.
pub fn scores<W: Narrow>(
    level: Level,
    q: &[f32],
    keys: Rows<W>,
    scale: f32,
    out: &mut [f32],
    line: usize,
) {
    keys.check(q.len());
    let Rows {
        data,
        stride,
        head_dim,
        count,
        ..
    } = keys;
    let queries = q.len() / head_dim;
    assert!(out.len() >= (queries.max(1) - 1) * line + count);
    let done = many_scores(level, q, keys, scale, out, line);
    let key = |t: usize| &data[t * stride..][..head_dim];
    for (q, out) in q.chunks_exact(head_dim).zip(out.chunks_mut(line)) {
        let (fours, rest) = out[done..count].as_chunks_mut::<4>();
        let last = done + 4 * fours.len();
        for (i, four) in fours.iter_mut().enumerate() {
            let keys = [0, 1, 2, 3].map(|r| key(done + 4 * i + r));
            *four = dots(level, keys, q).map(|score| score * scale);
        }
        for (i, score) in rest.iter_mut().enumerate() {
            *score = dots(level, [key(last + i)], q)[0] * scale;
        }
    }
}

/// Scores of the first keys, where there is something faster than [`dots`] for many at once; of how
/// many.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(unused_variables, reason = "there is nothing faster")
)]
fn many_scores<W: Narrow>(
    level: Level,
    q: &[f32],
    keys: Rows<W>,
    scale: f32,
    out: &mut [f32],
    line: usize,
) -> usize {
    if !keys.head_dim.is_multiple_of(LANES) {
        return 0;
    }
    let whole = Rows {
        count: keys.count / LANES * LANES,
        ..keys
    };
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Amx | Level::Avx512Vnni => {
            // SAFETY: the level was detected on this machine; the caller checked what is in reach.
            unsafe { x86::scores512(q, whole, scale, out, line) };
            whole.count
        }
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni | Level::Avx2 if is_x86_feature_detected!("f16c") => {
            // SAFETY: as above, and F16C.
            unsafe { x86::scores256(q, whole, scale, out, line) };
            whole.count
        }
        _ => 0,
    }
}

/// Adds the values as every query weighs them, lines of `weights` that are `line` apart, to its row
/// of `out`.
pub fn weigh<W: Narrow>(
    level: Level,
    weights: &[f32],
    line: usize,
    values: Rows<W>,
    out: &mut [f32],
) {
    values.check(out.len());
    let Rows {
        data,
        stride,
        head_dim,
        count,
        ..
    } = values;
    let queries = out.len() / head_dim;
    assert!(weights.len() >= (queries.max(1) - 1) * line + count);
    let whole = head_dim / LANES * LANES;
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected on this machine; all values and weights are in reach.
        Level::Amx | Level::Avx512Vnni => unsafe {
            x86::weigh512(weights, line, values, out);
        },
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni | Level::Avx2 if is_x86_feature_detected!("f16c") => {
            // SAFETY: as above, and F16C.
            unsafe { x86::weigh256(weights, line, values, out) }
        }
        _ => {
            for (weights, out) in weights.chunks(line).zip(out.chunks_exact_mut(head_dim)) {
                for (i, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    weigh_sixteen(&data[i * LANES..], stride, &weights[..count], out);
                }
            }
        }
    }
    for (weights, out) in weights.chunks(line).zip(out.chunks_exact_mut(head_dim)) {
        for (i, o) in out.iter_mut().enumerate().skip(whole) {
            for (t, weight) in weights[..count].iter().enumerate() {
                *o += weight * data[t * stride + i].wide();
            }
        }
    }
}

/// Sixteen columns of [`weigh`] of one query.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn weigh_sixteen<W: Narrow>(values: &[W], stride: usize, weights: &[f32], out: &mut [f32; LANES]) {
    for (t, weight) in weights.iter().enumerate() {
        let row = &values[t * stride..][..LANES];
        for (o, v) in out.iter_mut().zip(row) {
            *o += weight * v.wide();
        }
    }
}

/// As above, written out: of the loops a page's compiler makes code that takes a quarter longer.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
fn weigh_sixteen<W: Narrow>(values: &[W], stride: usize, weights: &[f32], out: &mut [f32; LANES]) {
    use core::arch::wasm32::*;
    // SAFETY: quarters of 16 floats.
    let quarter = |out: &[f32; LANES], i: usize| unsafe { v128_load(out[4 * i..].as_ptr().cast()) };
    let (mut s0, mut s1) = (quarter(out, 0), quarter(out, 1));
    let (mut s2, mut s3) = (quarter(out, 2), quarter(out, 3));
    for (t, weight) in weights.iter().enumerate() {
        let weight = f32x4_splat(*weight);
        let row = &values[t * stride..][..LANES];
        // SAFETY: sixteen elements.
        let [v0, v1, v2, v3] = unsafe { W::load_quads(row.as_ptr()) };
        s0 = f32x4_add(s0, f32x4_mul(weight, v0));
        s1 = f32x4_add(s1, f32x4_mul(weight, v1));
        s2 = f32x4_add(s2, f32x4_mul(weight, v2));
        s3 = f32x4_add(s3, f32x4_mul(weight, v3));
    }
    for (part, sum) in [s0, s1, s2, s3].into_iter().enumerate() {
        // SAFETY: a quarter of 16 floats is written.
        unsafe { v128_store(out[4 * part..].as_mut_ptr().cast(), sum) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::{LANES, Narrow, Rows};

    /// Sixteen partial sums of each of sixteen rows, added by halves: the sums of the rows in
    /// order.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn halved512(rows: &[__m512; LANES]) -> __m512 {
        // Of two rows: partial sums l + (l + 8), eight of each.
        let eight = |a: usize, b: usize| {
            let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(rows[a], rows[b]);
            let high = _mm512_shuffle_f32x4::<0b11_10_11_10>(rows[a], rows[b]);
            _mm512_add_ps(low, high)
        };
        // Of four rows, four apart: four of each, in a quarter of the register each.
        let four = |first: usize| {
            let (a, b) = (eight(first, first + 4), eight(first + 8, first + 12));
            let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            let high = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            _mm512_add_ps(low, high)
        };
        let two = |a: __m512, b: __m512| {
            let low = _mm512_shuffle_ps::<0b01_00_01_00>(a, b);
            let high = _mm512_shuffle_ps::<0b11_10_11_10>(a, b);
            _mm512_add_ps(low, high)
        };
        let (a, b) = (two(four(0), four(1)), two(four(2), four(3)));
        let even = _mm512_shuffle_ps::<0b10_00_10_00>(a, b);
        let odd = _mm512_shuffle_ps::<0b11_01_11_01>(a, b);
        _mm512_add_ps(even, odd)
    }

    /// Asks for what the next block has `ahead` bytes further on: past its end that is
    /// harmless, the instruction never faults.
    #[inline]
    #[target_feature(enable = "sse")]
    fn prefetch<W>(row: *const W, ahead: isize) {
        _mm_prefetch::<_MM_HINT_T1>(row.wrapping_byte_offset(ahead).cast());
    }

    /// # Safety
    /// AVX-512 is there, and the keys and lines are in reach; their count is a multiple of sixteen.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn scores512<W: Narrow>(
        q: &[f32],
        keys: Rows<W>,
        scale: f32,
        out: &mut [f32],
        line: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            match q.len() / keys.head_dim {
                1 => scores_of::<W, 1, 16>(q, keys, scale, out, line),
                2 => scores_of::<W, 2, 8>(q, keys, scale, out, line),
                _ => scores_of::<W, 4, 4>(q, keys, scale, out, line),
            }
        }
    }

    /// Sixteen sums at a time: of `T` keys with up to `Q` queries.
    ///
    /// # Safety
    /// As for [`scores512`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn scores_of<W: Narrow, const Q: usize, const T: usize>(
        q: &[f32],
        keys: Rows<W>,
        scale: f32,
        out: &mut [f32],
        line: usize,
    ) {
        let Rows {
            data,
            stride,
            head_dim,
            count,
            ..
        } = keys;
        let ahead = keys.ahead();
        let last = q.len() / head_dim - 1;
        // The last query again in place of one that is missing.
        let queries: [_; Q] =
            std::array::from_fn(|i| q.as_ptr().wrapping_add(i.min(last) * head_dim));
        for first in (0..count).step_by(T) {
            let mut acc = [_mm512_setzero_ps(); LANES];
            for at in (0..head_dim).step_by(LANES) {
                // SAFETY: queries of `head_dim` elements.
                let q = queries.map(|q| unsafe { _mm512_loadu_ps(q.add(at)) });
                let mut row = data.as_ptr().wrapping_add(first * stride + at);
                for t in 0..T {
                    prefetch(row, ahead);
                    // SAFETY: the caller's.
                    let key = unsafe { W::load16(row) };
                    for (i, q) in q.into_iter().enumerate() {
                        acc[i * T + t] = _mm512_add_ps(acc[i * T + t], _mm512_mul_ps(key, q));
                    }
                    row = row.wrapping_add(stride);
                }
            }
            let mut sums = [0f32; LANES];
            let scaled = _mm512_mul_ps(halved512(&acc), _mm512_set1_ps(scale));
            // SAFETY: 16 floats are written.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), scaled) };
            for (out, sums) in out
                .chunks_mut(line)
                .zip(sums.as_chunks::<T>().0)
                .take(last + 1)
            {
                out[first..first + T].copy_from_slice(sums);
            }
        }
    }

    /// # Safety
    /// AVX-512 is there, and the values and lines are in reach.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn weigh512<W: Narrow>(
        weights: &[f32],
        line: usize,
        values: Rows<W>,
        out: &mut [f32],
    ) {
        // SAFETY: the caller's.
        unsafe {
            match out.len() / values.head_dim {
                1 => weigh_of::<W, 1>(weights, line, values, out),
                2 => weigh_of::<W, 2>(weights, line, values, out),
                3 => weigh_of::<W, 3>(weights, line, values, out),
                _ => weigh_of::<W, 4>(weights, line, values, out),
            }
        }
    }

    /// # Safety
    /// As for [`weigh512`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn weigh_of<W: Narrow, const Q: usize>(
        weights: &[f32],
        line: usize,
        values: Rows<W>,
        out: &mut [f32],
    ) {
        const WIDE: usize = 4 * LANES;
        let whole = values.head_dim / WIDE * WIDE;
        for at in (0..whole).step_by(WIDE) {
            // SAFETY: the caller's.
            unsafe { columns512::<W, Q, 4>(weights, line, values, at, out) };
        }
        for at in (whole..values.head_dim / LANES * LANES).step_by(LANES) {
            // SAFETY: the caller's.
            unsafe { columns512::<W, Q, 1>(weights, line, values, at, out) };
        }
    }

    /// `C` sixteens of columns from `at` on of `Q` queries: the sums stay in registers.
    ///
    /// # Safety
    /// As for [`weigh512`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn columns512<W: Narrow, const Q: usize, const C: usize>(
        weights: &[f32],
        line: usize,
        values: Rows<W>,
        at: usize,
        out: &mut [f32],
    ) {
        let Rows {
            data,
            stride,
            head_dim,
            count,
            ..
        } = values;
        let ahead = values.ahead();
        let mut acc = [[_mm512_setzero_ps(); C]; Q];
        // SAFETY: the caller's; there are `Q` lines of weights and rows of `out`.
        unsafe {
            for (i, acc) in acc.iter_mut().enumerate() {
                for (c, acc) in acc.iter_mut().enumerate() {
                    *acc = _mm512_loadu_ps(out.as_ptr().add(i * head_dim + at + c * LANES));
                }
            }
            for t in 0..count {
                let row = data.as_ptr().add(t * stride + at);
                let mut v = [_mm512_setzero_ps(); C];
                for (c, v) in v.iter_mut().enumerate() {
                    prefetch(row.wrapping_add(c * LANES), ahead);
                    *v = W::load16(row.add(c * LANES));
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let weight = _mm512_set1_ps(*weights.as_ptr().add(i * line + t));
                    for (acc, v) in acc.iter_mut().zip(v) {
                        *acc = _mm512_add_ps(*acc, _mm512_mul_ps(weight, v));
                    }
                }
            }
            for (i, acc) in acc.into_iter().enumerate() {
                for (c, acc) in acc.into_iter().enumerate() {
                    _mm512_storeu_ps(out.as_mut_ptr().add(i * head_dim + at + c * LANES), acc);
                }
            }
        }
    }

    /// As [`halved512`], of eight rows.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halved256(rows: &[[__m256; 2]; 8]) -> __m256 {
        let eight = |r: usize| _mm256_add_ps(rows[r][0], rows[r][1]);
        let four = |first: usize| {
            let (a, b) = (eight(first), eight(first + 4));
            let low = _mm256_permute2f128_ps::<0x20>(a, b);
            let high = _mm256_permute2f128_ps::<0x31>(a, b);
            _mm256_add_ps(low, high)
        };
        let two = |a: __m256, b: __m256| {
            let low = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
            let high = _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
            _mm256_add_ps(low, high)
        };
        let (a, b) = (two(four(0), four(1)), two(four(2), four(3)));
        let even = _mm256_shuffle_ps::<0b10_00_10_00>(a, b);
        let odd = _mm256_shuffle_ps::<0b11_01_11_01>(a, b);
        _mm256_add_ps(even, odd)
    }

    /// # Safety
    /// AVX2 and F16C are there, and the keys and lines are in reach; their count is a multiple of
    /// eight.
    #[target_feature(enable = "avx2,f16c")]
    pub unsafe fn scores256<W: Narrow>(
        q: &[f32],
        keys: Rows<W>,
        scale: f32,
        out: &mut [f32],
        line: usize,
    ) {
        let scale = _mm256_set1_ps(scale);
        let ahead = keys.ahead();
        for (q, out) in q.chunks_exact(keys.head_dim).zip(out.chunks_mut(line)) {
            let eights = out[..keys.count].as_chunks_mut::<8>().0;
            for (i, out) in eights.iter_mut().enumerate() {
                let mut rows = [[_mm256_setzero_ps(); 2]; 8];
                for (t, acc) in rows.iter_mut().enumerate() {
                    let key = keys.data.as_ptr().wrapping_add((8 * i + t) * keys.stride);
                    for (i, q) in q.chunks_exact(8).enumerate() {
                        prefetch(key.wrapping_add(8 * i), ahead);
                        // SAFETY: the caller's; eight floats of a query.
                        let (key, q) =
                            unsafe { (W::load8(key.add(8 * i)), _mm256_loadu_ps(q.as_ptr())) };
                        acc[i % 2] = _mm256_add_ps(acc[i % 2], _mm256_mul_ps(key, q));
                    }
                }
                // SAFETY: eight floats are written.
                unsafe {
                    _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(halved256(&rows), scale));
                }
            }
        }
    }

    /// Sixteen columns of up to four queries at a time.
    ///
    /// # Safety
    /// AVX2 and F16C are there, and the values and lines are in reach.
    #[target_feature(enable = "avx2,f16c")]
    pub unsafe fn weigh256<W: Narrow>(
        weights: &[f32],
        line: usize,
        values: Rows<W>,
        out: &mut [f32],
    ) {
        for at in (0..values.head_dim / LANES * LANES).step_by(LANES) {
            // SAFETY: the caller's.
            unsafe {
                match out.len() / values.head_dim {
                    1 => columns256::<W, 1>(weights, line, values, at, out),
                    2 => columns256::<W, 2>(weights, line, values, at, out),
                    3 => columns256::<W, 3>(weights, line, values, at, out),
                    _ => columns256::<W, 4>(weights, line, values, at, out),
                }
            }
        }
    }

    /// # Safety
    /// As for [`weigh256`].
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn columns256<W: Narrow, const Q: usize>(
        weights: &[f32],
        line: usize,
        values: Rows<W>,
        at: usize,
        out: &mut [f32],
    ) {
        let Rows {
            data,
            stride,
            head_dim,
            count,
            ..
        } = values;
        let ahead = values.ahead();
        let mut acc = [[_mm256_setzero_ps(); 2]; Q];
        // SAFETY: the caller's; there are `Q` lines of weights and rows of `out`.
        unsafe {
            for (i, acc) in acc.iter_mut().enumerate() {
                for (c, acc) in acc.iter_mut().enumerate() {
                    *acc = _mm256_loadu_ps(out.as_ptr().add(i * head_dim + at + 8 * c));
                }
            }
            for t in 0..count {
                let row = data.as_ptr().add(t * stride + at);
                prefetch(row, ahead);
                let v = [W::load8(row), W::load8(row.add(8))];
                for (i, acc) in acc.iter_mut().enumerate() {
                    let weight = _mm256_set1_ps(*weights.as_ptr().add(i * line + t));
                    for (acc, v) in acc.iter_mut().zip(v) {
                        *acc = _mm256_add_ps(*acc, _mm256_mul_ps(weight, v));
                    }
                }
            }
            for (i, acc) in acc.into_iter().enumerate() {
                for (c, acc) in acc.into_iter().enumerate() {
                    _mm256_storeu_ps(out.as_mut_ptr().add(i * head_dim + at + 8 * c), acc);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_core::math;
    use ternary_core::rng::Rng;

    /// Bits of every level against those of the portable one, and those against sums in f64.
    #[test]
    fn every_level_gives_the_same_bits() {
        let mut rng = Rng::new(6);
        for (head_dim, queries, count) in [
            (1usize, 1usize, 1usize),
            (16, 4, 16),
            (40, 2, 5),
            (64, 3, 16),
            (80, 4, 16),
            (100, 1, 16),
            (128, 4, 15),
            (64, 1, 64),
            (32, 4, 50),
            (128, 2, 41),
        ] {
            let stride = head_dim + 5;
            let halves: Vec<u16> = (0..BLOCK * stride)
                .map(|_| math::to_half(rng.normal()))
                .collect();
            let floats: Vec<f32> = halves.iter().map(|h| h.wide()).collect();
            let q: Vec<f32> = (0..queries * head_dim).map(|_| rng.normal()).collect();
            let line = BLOCK + 3;
            let weights: Vec<f32> = (0..queries * line).map(|_| rng.normal()).collect();
            let start: Vec<f32> = (0..queries * head_dim).map(|_| rng.normal()).collect();
            fn both<W: Narrow>(
                level: Level,
                data: &[W],
                (head_dim, stride, count): (usize, usize, usize),
                q: &[f32],
                weights: &[f32],
                start: &[f32],
                line: usize,
            ) -> (Vec<f32>, Vec<f32>) {
                let rows = Rows {
                    data,
                    stride,
                    head_dim,
                    count,
                    // As wherever the next block is.
                    next: &data[count.min(2)..],
                };
                let mut found = vec![0f32; weights.len()];
                let mut out = start.to_vec();
                scores(level, q, rows, 0.5, &mut found, line);
                weigh(level, weights, line, rows, &mut out);
                (found, out)
            }
            let shape = (head_dim, stride, count);
            let codes: Vec<i8> = (0..BLOCK * stride).map(|_| rng.next_u64() as i8).collect();
            let wide: Vec<f32> = codes.iter().map(|code| code.wide()).collect();
            let of_codes = both(Level::Portable, &wide, shape, &q, &weights, &start, line);
            let want = both(Level::Portable, &floats, shape, &q, &weights, &start, line);
            for level in Level::available() {
                let what = format!("{head_dim} at {}", level.name());
                let got = both(level, &floats, shape, &q, &weights, &start, line);
                assert!(got == want, "{what}");
                let got = both(level, &halves, shape, &q, &weights, &start, line);
                assert!(got == want, "{what}, halves");
                let got = both(level, &codes, shape, &q, &weights, &start, line);
                assert!(got == of_codes, "{what}, codes");
            }
            for i in 0..queries {
                for t in 0..count {
                    let terms = (0..head_dim).map(|k| {
                        f64::from(q[i * head_dim + k]) * f64::from(floats[t * stride + k])
                    });
                    let sum: f64 = terms.sum();
                    assert!((f64::from(want.0[i * line + t]) - 0.5 * sum).abs() < 1e-4);
                }
                for k in 0..head_dim {
                    let terms = (0..count).map(|t| {
                        f64::from(weights[i * line + t]) * f64::from(floats[t * stride + k])
                    });
                    let sum = f64::from(start[i * head_dim + k]) + terms.sum::<f64>();
                    assert!((f64::from(want.1[i * head_dim + k]) - sum).abs() < 1e-4);
                }
            }
        }
    }
}
