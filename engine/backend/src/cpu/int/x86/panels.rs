//! Panels: sixteen weight rows with up to sixteen rows of activations, see `super::super::panel`.
//! Every lane is a weight row, so sums need no adding up across lanes. A step is four columns:
//! - AVX-512 VNNI: a register of sixteen rows, `vpdpbusd` with four codes of each activation row in
//!   turn, read from memory into every lane.
//! - AVX-VNNI: two registers of eight rows and four rows of activations.
//! - AVX2: the same with `vpmaddubsw`: pairs of at most 2·127·2 = 508 in i16, 64 steps 32,512; then
//!   widened. int8 as |w| · sign(x, w).
//!
//! SAFETY of the loads, in all of them: `w` holds 16 words a step, `x` `width`.

use std::arch::x86_64::*;

use super::super::panel::{ROWS, Sums};
use super::{add_pairs, widen};

/// `T` rows of activations, which is also how many there are in a step of `x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn panel_avx512<const T: usize>(w: &[u32], x: &[u32], out: &mut [Sums]) {
    let out = &mut out[..T];
    let mut acc = [_mm512_setzero_si512(); T];
    for (w, x) in w.as_chunks::<ROWS>().0.iter().zip(x.as_chunks::<T>().0) {
        // SAFETY: sixteen words.
        let w = unsafe { _mm512_loadu_si512(w.as_ptr().cast()) };
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc = _mm512_dpbusd_epi32(*acc, w, _mm512_set1_epi32(*x as i32));
        }
    }
    for (out, acc) in out.iter_mut().zip(acc) {
        // SAFETY: sixteen words.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), acc) };
    }
}

/// Rows of activations taken at once by the 256-bit kernels.
const FOUR: usize = 4;

/// Eight words of a step, twice.
///
/// # Safety
/// Sixteen words are in reach.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn halves(w: *const u32) -> [__m256i; 2] {
    // SAFETY: the caller's.
    unsafe {
        [
            _mm256_loadu_si256(w.cast()),
            _mm256_loadu_si256(w.add(8).cast()),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [Sums], acc: [[__m256i; 2]; FOUR]) {
    for (out, [low, high]) in out.iter_mut().zip(acc) {
        // SAFETY: sixteen words.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), low);
            _mm256_storeu_si256(out.as_mut_ptr().add(8).cast(), high);
        }
    }
}

/// A kernel that keeps its sums in i32: `$dot(acc, w, x)`.
macro_rules! panel_256 {
    ($name:ident, $features:literal, $dot:expr) => {
        #[target_feature(enable = $features)]
        pub unsafe fn $name(w: &[u32], x: &[u32], out: &mut [Sums]) {
            let (steps, width) = (w.len() / ROWS, out.len());
            for (c, out) in out.chunks_mut(FOUR).enumerate() {
                let mut acc = [[_mm256_setzero_si256(); 2]; FOUR];
                for step in 0..steps {
                    // SAFETY: see above; `width` is a multiple of four.
                    unsafe {
                        let w = halves(w.as_ptr().add(step * ROWS));
                        let x = x.as_ptr().add(step * width + c * FOUR);
                        for (t, acc) in acc.iter_mut().enumerate() {
                            let v = _mm256_set1_epi32(*x.add(t) as i32);
                            for (acc, w) in acc.iter_mut().zip(w) {
                                *acc = $dot(*acc, w, v);
                            }
                        }
                    }
                }
                store(out, acc);
            }
        }
    };
}

#[inline]
#[target_feature(enable = "avx2")]
fn signed_dot(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    widen(acc, pairs)
}

panel_256!(panel_avxvnni, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);
panel_256!(panel_int8_avx2, "avx2", signed_dot);

/// Steps whose pairs stay within i16.
const STEPS: usize = 64;

/// Codes of up to two bits.
#[target_feature(enable = "avx2")]
pub unsafe fn panel_avx2(w: &[u32], x: &[u32], out: &mut [Sums]) {
    let (steps, width) = (w.len() / ROWS, out.len());
    for (c, out) in out.chunks_mut(FOUR).enumerate() {
        let mut acc = [[_mm256_setzero_si256(); 2]; FOUR];
        for first in (0..steps).step_by(STEPS) {
            let mut pairs = [[_mm256_setzero_si256(); 2]; FOUR];
            for step in first..steps.min(first + STEPS) {
                // SAFETY: see above; `width` is a multiple of four.
                unsafe {
                    let w = halves(w.as_ptr().add(step * ROWS));
                    let x = x.as_ptr().add(step * width + c * FOUR);
                    for (t, pairs) in pairs.iter_mut().enumerate() {
                        let v = _mm256_set1_epi32(*x.add(t) as i32);
                        for (pairs, w) in pairs.iter_mut().zip(w) {
                            *pairs = add_pairs(*pairs, w, v);
                        }
                    }
                }
            }
            for (acc, pairs) in acc.iter_mut().zip(pairs) {
                for (acc, pairs) in acc.iter_mut().zip(pairs) {
                    *acc = widen(*acc, pairs);
                }
            }
        }
        store(out, acc);
    }
}

/// Eight words of each of sixteen rows, side by side, as fields of `bits` bits one behind the
/// other: a square of eight words of eight rows is turned, twice. 32 bits are the words themselves.
#[target_feature(enable = "avx2")]
pub unsafe fn turn(rows: [&[u8; 32]; ROWS], bits: usize, out: &mut [u32]) {
    let mask = match bits {
        32 => _mm256_set1_epi32(-1),
        bits => _mm256_set1_epi8(((1u16 << bits) - 1) as i8),
    };
    for half in 0..2 {
        // SAFETY: 32 bytes.
        let row = |r: usize| unsafe { _mm256_loadu_si256(rows[8 * half + r].as_ptr().cast()) };
        // Words of two rows in turn, then of four, in both halves of a register.
        let twos: [[__m256i; 2]; 4] = std::array::from_fn(|i| {
            let (a, b) = (row(2 * i), row(2 * i + 1));
            [_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)]
        });
        let fours = |i: usize, w: usize| {
            let (a, b) = (twos[2 * i][w / 2], twos[2 * i + 1][w / 2]);
            match w % 2 {
                0 => _mm256_unpacklo_epi64(a, b),
                _ => _mm256_unpackhi_epi64(a, b),
            }
        };
        let words: [__m256i; 8] = std::array::from_fn(|w| {
            let (a, b) = (fours(0, w % 4), fours(1, w % 4));
            match w / 4 {
                0 => _mm256_permute2x128_si256::<0x20>(a, b),
                _ => _mm256_permute2x128_si256::<0x31>(a, b),
            }
        });
        for (f, field) in out.chunks_exact_mut(8 * ROWS).enumerate() {
            let shift = _mm_cvtsi32_si128((bits * f) as i32);
            for (line, words) in field.as_chunks_mut::<ROWS>().0.iter_mut().zip(words) {
                let codes = _mm256_and_si256(_mm256_srl_epi32(words, shift), mask);
                // SAFETY: eight of sixteen words.
                unsafe { _mm256_storeu_si256(line[8 * half..].as_mut_ptr().cast(), codes) };
            }
        }
    }
}
