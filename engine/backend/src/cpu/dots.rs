//! Dot products of rows of binary16 or int8 with f32: `Σ_k w[r, k]·x[n, k]` for R rows of `w`,
//! which share the loads of `x` and keep several streams of memory in flight, and N rows of `x`,
//! which share what `w` costs to load and widen.
//!
//! Element k goes to partial sum k mod 16, every product and sum rounded once; the sixteen are then
//! added by halves. This order is the same at every level, so the results are, too.

use super::simd::Level;
use ternary_core::math;

/// Partial sums.
pub const LANES: usize = 16;

/// What a row is of: binary16 (as its bits), int8, or f32 as it is.
pub trait Narrow: Copy + Sync {
    fn wide(self) -> f32;

    /// Sixteen of them.
    ///
    /// # Safety
    /// They are there, and so is AVX-512.
    #[cfg(target_arch = "x86_64")]
    unsafe fn load16(from: *const Self) -> std::arch::x86_64::__m512;

    /// Eight of them.
    ///
    /// # Safety
    /// They are there, and so are AVX2 and F16C.
    #[cfg(target_arch = "x86_64")]
    unsafe fn load8(from: *const Self) -> std::arch::x86_64::__m256;

    /// Sixteen of them in four vectors.
    ///
    /// # Safety
    /// They are there.
    #[cfg(target_arch = "wasm32")]
    unsafe fn load_quads(from: *const Self) -> [std::arch::wasm32::v128; 4];
}

impl Narrow for u16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        math::half(self)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load16(from: *const u16) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::*;
        // SAFETY: the caller's.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load8(from: *const u16) -> std::arch::x86_64::__m256 {
        use std::arch::x86_64::*;
        // SAFETY: the caller's.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    /// By moving the exponent as [`math::half`] does: of the bits that the shift leaves above the
    /// exponent only the first, the sign, is kept.
    #[cfg(target_arch = "wasm32")]
    #[inline(always)]
    unsafe fn load_quads(from: *const u16) -> [std::arch::wasm32::v128; 4] {
        use std::arch::wasm32::*;
        #[inline(always)]
        fn widen(h: v128) -> v128 {
            let moved = v128_and(i32x4_shl(h, 13), u32x4_splat(0x8fff_e000));
            f32x4_mul(moved, u32x4_splat(0x7780_0000))
        }
        // SAFETY: the caller's.
        let (low, high) = unsafe { (v128_load(from.cast()), v128_load(from.add(8).cast())) };
        [
            widen(i32x4_extend_low_i16x8(low)),
            widen(i32x4_extend_high_i16x8(low)),
            widen(i32x4_extend_low_i16x8(high)),
            widen(i32x4_extend_high_i16x8(high)),
        ]
    }
}

impl Narrow for i8 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from(self)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load16(from: *const i8) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::*;
        // SAFETY: the caller's.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load8(from: *const i8) -> std::arch::x86_64::__m256 {
        use std::arch::x86_64::*;
        // SAFETY: the caller's.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }

    #[cfg(target_arch = "wasm32")]
    #[inline(always)]
    unsafe fn load_quads(from: *const i8) -> [std::arch::wasm32::v128; 4] {
        use std::arch::wasm32::*;
        // SAFETY: the caller's.
        let codes = unsafe { v128_load(from.cast()) };
        let (low, high) = (
            i16x8_extend_low_i8x16(codes),
            i16x8_extend_high_i8x16(codes),
        );
        [
            f32x4_convert_i32x4(i32x4_extend_low_i16x8(low)),
            f32x4_convert_i32x4(i32x4_extend_high_i16x8(low)),
            f32x4_convert_i32x4(i32x4_extend_low_i16x8(high)),
            f32x4_convert_i32x4(i32x4_extend_high_i16x8(high)),
        ]
    }
}

impl Narrow for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load16(from: *const f32) -> std::arch::x86_64::__m512 {
        // SAFETY: the caller's.
        unsafe { std::arch::x86_64::_mm512_loadu_ps(from) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load8(from: *const f32) -> std::arch::x86_64::__m256 {
        // SAFETY: the caller's.
        unsafe { std::arch::x86_64::_mm256_loadu_ps(from) }
    }

    #[cfg(target_arch = "wasm32")]
    #[inline(always)]
    unsafe fn load_quads(from: *const f32) -> [std::arch::wasm32::v128; 4] {
        // SAFETY: the caller's.
        [0, 4, 8, 12].map(|at| unsafe { std::arch::wasm32::v128_load(from.add(at).cast()) })
    }
}

/// `w`: R rows at least as long as `x`.
pub fn dots<W: Narrow, const R: usize>(level: Level, w: [&[W]; R], x: &[f32]) -> [f32; R] {
    products(level, w, [x]).map(|[sum]| sum)
}

/// `w`: R rows at least as long as those of `x`, which are equally long.
pub fn products<W: Narrow, const R: usize, const N: usize>(
    level: Level,
    w: [&[W]; R],
    x: [&[f32]; N],
) -> [[f32; N]; R] {
    let w = w.map(|w| &w[..x[0].len()]);
    let x = x.map(|x| x[..w[0].len()].as_chunks::<LANES>());
    let rows = w.map(|w| w.as_chunks::<LANES>());
    let mut sums = [[[0f32; LANES]; N]; R];
    lanes(
        level,
        rows.map(|(whole, _)| whole),
        x.map(|(whole, _)| whole),
        &mut sums,
    );
    std::array::from_fn(|r| {
        std::array::from_fn(|n| {
            let mut s = sums[r][n];
            for (sum, (w, x)) in s.iter_mut().zip(rows[r].1.iter().zip(x[n].1)) {
                *sum += w.wide() * x;
            }
            let eight: [f32; 8] = std::array::from_fn(|l| s[l] + s[l + 8]);
            let four: [f32; 4] = std::array::from_fn(|l| eight[l] + eight[l + 4]);
            (four[0] + four[2]) + (four[1] + four[3])
        })
    })
}

/// Sums of R rows with N.
type Sums<const R: usize, const N: usize> = [[[f32; LANES]; N]; R];

/// `sums[r][n][l] += Σ_i w[r][i][l]·x[n][i][l]`; all rows are equally long.
fn lanes<W: Narrow, const R: usize, const N: usize>(
    level: Level,
    w: [&[[W; LANES]]; R],
    x: [&[[f32; LANES]]; N],
    sums: &mut Sums<R, N>,
) {
    match level {
        // SAFETY: the level was detected on this machine.
        #[cfg(target_arch = "x86_64")]
        Level::Amx | Level::Avx512Vnni => unsafe { x86::avx512(w, x, sums) },
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni | Level::Avx2 if is_x86_feature_detected!("f16c") => {
            // SAFETY: the level and F16C were detected on this machine.
            unsafe { x86::avx2(w, x, sums) }
        }
        #[cfg(target_arch = "wasm32")]
        Level::Simd128 => wasm::simd128(w, x, sums),
        #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
        Level::RelaxedSimd | Level::RelaxedPairs => wasm::simd128(w, x, sums),
        _ => {
            for (w, sums) in w.into_iter().zip(sums) {
                for (i, w) in w.iter().enumerate() {
                    for (sums, x) in sums.iter_mut().zip(x) {
                        for l in 0..LANES {
                            sums[l] += w[l].wide() * x[i][l];
                        }
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::{LANES, Narrow, Sums};

    /// Ask for what lies `ahead` bytes behind: past the end that is harmless, the instruction never
    /// faults.
    #[inline]
    #[target_feature(enable = "sse")]
    fn prefetch<W>(w: &[W; LANES], ahead: usize) {
        let p = w.as_ptr().cast::<i8>().wrapping_add(ahead);
        _mm_prefetch::<_MM_HINT_T0>(p);
    }

    /// Bytes from a row to the same place of the rows that follow these, if they lie one behind the
    /// other: a row is left long before memory has answered, so the next rows are asked for.
    #[inline(always)]
    fn to_next<W, const R: usize>(w: [&[[W; LANES]]; R]) -> usize {
        let step = match w.as_slice() {
            [first, second, ..] => (second.as_ptr() as usize).wrapping_sub(first.as_ptr() as usize),
            _ => size_of_val(w[0]),
        };
        R.wrapping_mul(step)
    }

    fn common_length<W, const R: usize, const N: usize>(
        w: [&[[W; LANES]]; R],
        x: [&[[f32; LANES]]; N],
    ) -> usize {
        let length = x[0].len();
        assert!(w.iter().all(|w| w.len() >= length) && x.iter().all(|x| x.len() >= length));
        length
    }

    #[target_feature(enable = "avx512f")]
    pub fn avx512<W: Narrow, const R: usize, const N: usize>(
        w: [&[[W; LANES]]; R],
        x: [&[[f32; LANES]]; N],
        sums: &mut Sums<R, N>,
    ) {
        let mut acc = [[_mm512_setzero_ps(); N]; R];
        let length = common_length(w, x);
        let ahead = to_next(w);
        for i in 0..length {
            // SAFETY: 16 floats, and below 16 elements, are what is read; every row has `length` of
            // them.
            let x = x.map(|x| unsafe { _mm512_loadu_ps(x.get_unchecked(i).as_ptr()) });
            for (acc, w) in acc.iter_mut().zip(w) {
                // SAFETY: as above.
                let w = unsafe { w.get_unchecked(i) };
                prefetch(w, ahead);
                // SAFETY: as above.
                let w = unsafe { W::load16(w.as_ptr()) };
                for (acc, x) in acc.iter_mut().zip(x) {
                    *acc = _mm512_add_ps(*acc, _mm512_mul_ps(w, x));
                }
            }
        }
        for (sums, acc) in sums.as_flattened_mut().iter_mut().zip(acc.as_flattened()) {
            // SAFETY: 16 floats are written.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *acc) };
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    pub fn avx2<W: Narrow, const R: usize, const N: usize>(
        w: [&[[W; LANES]]; R],
        x: [&[[f32; LANES]]; N],
        sums: &mut Sums<R, N>,
    ) {
        let mut acc = [[[_mm256_setzero_ps(); 2]; N]; R];
        let length = common_length(w, x);
        let ahead = to_next(w);
        for i in 0..length {
            for half in 0..2 {
                // SAFETY: the low or high half of 16 floats, and below of 16 elements, is what is
                // read; every row has `length` of them.
                let x = x
                    .map(|x| unsafe { _mm256_loadu_ps(x.get_unchecked(i).as_ptr().add(8 * half)) });
                for (acc, w) in acc.iter_mut().zip(w) {
                    // SAFETY: as above.
                    let w = unsafe { w.get_unchecked(i) };
                    if half == 0 {
                        prefetch(w, ahead);
                    }
                    // SAFETY: as above.
                    let w = unsafe { W::load8(w.as_ptr().add(8 * half)) };
                    for (acc, x) in acc.iter_mut().zip(x) {
                        acc[half] = _mm256_add_ps(acc[half], _mm256_mul_ps(w, x));
                    }
                }
            }
        }
        for (sums, acc) in sums.as_flattened_mut().iter_mut().zip(acc.as_flattened()) {
            for (half, acc) in acc.iter().enumerate() {
                // SAFETY: the low or high half of 16 floats is written.
                unsafe { _mm256_storeu_ps(sums.as_mut_ptr().add(8 * half), *acc) };
            }
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use core::arch::wasm32::*;

    use super::{LANES, Narrow, Sums};

    /// Row after row, and written out, so that the sums stay in registers.
    pub fn simd128<W: Narrow, const R: usize, const N: usize>(
        w: [&[[W; LANES]]; R],
        x: [&[[f32; LANES]]; N],
        sums: &mut Sums<R, N>,
    ) {
        for (w, sums) in w.into_iter().zip(sums) {
            for (x, sums) in x.into_iter().zip(sums) {
                let zero = f32x4_splat(0.0);
                let (mut s0, mut s1, mut s2, mut s3) = (zero, zero, zero, zero);
                for (w, x) in w.iter().zip(x) {
                    // SAFETY: sixteen elements.
                    let [w0, w1, w2, w3] = unsafe { W::load_quads(w.as_ptr()) };
                    macro_rules! part {
                        ($sum:ident, $w:ident, $at:literal) => {
                            // SAFETY: a quarter of 16 floats.
                            let x = unsafe { v128_load(x[$at..].as_ptr().cast()) };
                            $sum = f32x4_add($sum, f32x4_mul($w, x));
                        };
                    }
                    part!(s0, w0, 0);
                    part!(s1, w1, 4);
                    part!(s2, w2, 8);
                    part!(s3, w3, 12);
                }
                for (part, sum) in [s0, s1, s2, s3].into_iter().enumerate() {
                    // SAFETY: a quarter of 16 floats is written.
                    unsafe { v128_store(sums[4 * part..].as_mut_ptr().cast(), sum) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_core::rng::Rng;

    #[test]
    fn every_level_gives_the_same_bits_and_the_sum_is_right() {
        // Every exponent, subnormals and both zeros among them.
        let finite = |h: u16| if h & 0x7c00 == 0x7c00 { h & !0x4000 } else { h };
        check(|bits| finite(bits as u16));
        check(|bits| bits as i8);
    }

    fn check<W: Narrow>(element: impl Fn(u64) -> W) {
        let mut rng = Rng::new(5);
        for n in [0usize, 1, 15, 16, 17, 65, 256, 300] {
            let x: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let y: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let mut row = || -> Vec<W> { (0..n + 3).map(|_| element(rng.next_u64())).collect() };
            let w = [row(), row(), row(), row()];
            let rows = [&w[0][..], &w[1], &w[2], &w[3]];
            let want = dots(Level::Portable, rows, &x);
            for level in Level::available() {
                assert!(dots(level, rows, &x) == want, "{n} at {}", level.name());
                let others = dots(Level::Portable, rows, &y);
                for ((row, want), other) in rows.iter().zip(want).zip(others) {
                    assert!(dots(level, [row], &x) == [want], "{n} at {}", level.name());
                    let together = products(level, [row], [&x, &y, &x, &x]);
                    assert!(
                        together == [[want, other, want, want]],
                        "{n} at {}",
                        level.name()
                    );
                }
            }
            for (row, got) in rows.iter().zip(want) {
                let terms = row
                    .iter()
                    .zip(&x)
                    .map(|(w, x)| f64::from(w.wide()) * f64::from(*x));
                let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                assert!(
                    (f64::from(got) - sum).abs() <= 2e-6 * size,
                    "{n}: {got} {sum}"
                );
            }
        }
    }
}
