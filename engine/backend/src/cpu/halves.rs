//! Dot products of binary16 rows with f32: `Σ_k w[r, k]·x[k]` for R rows at once, which share the
//! loads of `x` and keep several streams of memory in flight.
//!
//! Element k goes to partial sum k mod 16, every product and sum rounded once; the sixteen are then
//! added by halves. This order is the same at every level, so the results are, too.

use super::simd::Level;
use ternary_core::math;

const LANES: usize = 16;

/// `w`: R rows at least as long as `x`.
pub fn dots<const R: usize>(level: Level, w: [&[u16]; R], x: &[f32]) -> [f32; R] {
    let w = w.map(|w| &w[..x.len()]);
    let (whole, rest) = x.as_chunks::<LANES>();
    let rows = w.map(|w| w.as_chunks::<LANES>());
    let mut sums = [[0f32; LANES]; R];
    lanes(level, rows.map(|(whole, _)| whole), whole, &mut sums);
    sums = std::array::from_fn(|r| {
        let mut sums = sums[r];
        for (sum, (w, x)) in sums.iter_mut().zip(rows[r].1.iter().zip(rest)) {
            *sum += math::half(*w) * x;
        }
        sums
    });
    sums.map(|mut sums| {
        for step in [8, 4, 2, 1] {
            for l in 0..step {
                sums[l] += sums[l + step];
            }
        }
        sums[0]
    })
}

/// `sums[r][l] += Σ_i w[r][i][l]·x[i][l]`; the rows of `w` are as long as `x`.
fn lanes<const R: usize>(
    level: Level,
    w: [&[[u16; LANES]]; R],
    x: &[[f32; LANES]],
    sums: &mut [[f32; LANES]; R],
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
        Level::RelaxedSimd => wasm::simd128(w, x, sums),
        _ => {
            for (i, x) in x.iter().enumerate() {
                for r in 0..R {
                    for l in 0..LANES {
                        sums[r][l] += math::half(w[r][i][l]) * x[l];
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::LANES;

    #[target_feature(enable = "avx512f")]
    pub fn avx512<const R: usize>(
        w: [&[[u16; LANES]]; R],
        x: &[[f32; LANES]],
        sums: &mut [[f32; LANES]; R],
    ) {
        let mut acc = [_mm512_setzero_ps(); R];
        let w = w.map(|w| &w[..x.len()]);
        for (i, x) in x.iter().enumerate() {
            // SAFETY: 16 floats, and below 16 halves, are what is read.
            let x = unsafe { _mm512_loadu_ps(x.as_ptr()) };
            for (acc, w) in acc.iter_mut().zip(w) {
                // SAFETY: as above.
                let w = unsafe { _mm256_loadu_si256(w[i].as_ptr().cast()) };
                *acc = _mm512_add_ps(*acc, _mm512_mul_ps(_mm512_cvtph_ps(w), x));
            }
        }
        for (sums, acc) in sums.iter_mut().zip(acc) {
            // SAFETY: 16 floats are written.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), acc) };
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    pub fn avx2<const R: usize>(
        w: [&[[u16; LANES]]; R],
        x: &[[f32; LANES]],
        sums: &mut [[f32; LANES]; R],
    ) {
        let mut acc = [[_mm256_setzero_ps(); 2]; R];
        let w = w.map(|w| &w[..x.len()]);
        for (i, x) in x.iter().enumerate() {
            for half in 0..2 {
                // SAFETY: the low or high half of 16 floats, and below of 16 halves, is what is
                // read.
                let x = unsafe { _mm256_loadu_ps(x.as_ptr().add(8 * half)) };
                for (acc, w) in acc.iter_mut().zip(w) {
                    // SAFETY: as above.
                    let w = unsafe { _mm_loadu_si128(w[i].as_ptr().add(8 * half).cast()) };
                    acc[half] = _mm256_add_ps(acc[half], _mm256_mul_ps(_mm256_cvtph_ps(w), x));
                }
            }
        }
        for (sums, acc) in sums.iter_mut().zip(acc) {
            for (half, acc) in acc.into_iter().enumerate() {
                // SAFETY: the low or high half of 16 floats is written.
                unsafe { _mm256_storeu_ps(sums.as_mut_ptr().add(8 * half), acc) };
            }
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use core::arch::wasm32::*;

    use super::LANES;

    /// Four sign-extended halves to f32, by moving the exponent as [`ternary_core::math::half`]
    /// does: of the bits that the shift leaves above the exponent only the first, the sign, is
    /// kept.
    #[inline(always)]
    fn widen(h: v128) -> v128 {
        let moved = v128_and(i32x4_shl(h, 13), u32x4_splat(0x8fff_e000));
        f32x4_mul(moved, u32x4_splat(0x7780_0000))
    }

    /// Row after row, and written out: a page's code is built for size, where loops would keep the
    /// sums in memory.
    pub fn simd128<const R: usize>(
        w: [&[[u16; LANES]]; R],
        x: &[[f32; LANES]],
        sums: &mut [[f32; LANES]; R],
    ) {
        for (w, sums) in w.into_iter().zip(sums) {
            let zero = f32x4_splat(0.0);
            let (mut s0, mut s1, mut s2, mut s3) = (zero, zero, zero, zero);
            for (w, x) in w.iter().zip(x) {
                // SAFETY: the two halves of 16 binary16 values.
                let (low, high) = unsafe {
                    (
                        v128_load(w.as_ptr().cast()),
                        v128_load(w[8..].as_ptr().cast()),
                    )
                };
                macro_rules! part {
                    ($sum:ident, $halves:expr, $at:literal) => {
                        // SAFETY: a quarter of 16 floats.
                        let x = unsafe { v128_load(x[$at..].as_ptr().cast()) };
                        $sum = f32x4_add($sum, f32x4_mul(widen($halves), x));
                    };
                }
                part!(s0, i32x4_extend_low_i16x8(low), 0);
                part!(s1, i32x4_extend_high_i16x8(low), 4);
                part!(s2, i32x4_extend_low_i16x8(high), 8);
                part!(s3, i32x4_extend_high_i16x8(high), 12);
            }
            for (part, sum) in [s0, s1, s2, s3].into_iter().enumerate() {
                // SAFETY: a quarter of 16 floats is written.
                unsafe { v128_store(sums[4 * part..].as_mut_ptr().cast(), sum) };
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
        let mut rng = Rng::new(5);
        for n in [0usize, 1, 15, 16, 17, 65, 256, 300] {
            let x: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let mut row = || -> Vec<u16> {
                // Every exponent, subnormals and both zeros among them.
                let finite = |h: u16| if h & 0x7c00 == 0x7c00 { h & !0x4000 } else { h };
                (0..n + 3).map(|_| finite(rng.next_u64() as u16)).collect()
            };
            let w = [row(), row(), row(), row()];
            let rows = [&w[0][..], &w[1], &w[2], &w[3]];
            let want = dots(Level::Portable, rows, &x);
            for level in Level::available() {
                assert!(dots(level, rows, &x) == want, "{n} at {}", level.name());
                for (row, want) in rows.iter().zip(want) {
                    assert!(dots(level, [row], &x) == [want], "{n} at {}", level.name());
                }
            }
            for (row, got) in rows.iter().zip(want) {
                let terms = row
                    .iter()
                    .zip(&x)
                    .map(|(w, x)| f64::from(half::f16::from_bits(*w).to_f32()) * f64::from(*x));
                let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                assert!(
                    (f64::from(got) - sum).abs() <= 2e-6 * size,
                    "{n}: {got} {sum}"
                );
            }
        }
    }
}
