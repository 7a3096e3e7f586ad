//! Gradients of inputs, `dx = dy·W` with weights as codes: the gradient dy is rounded to integers
//! of 23 bits, three bytes, each of which meets the codes.
//!
//! For `out[i, j] (+)= α · Σ_l a[i, l]·b[l, j]` with codes `b[l, j] = t_l · c[l, j]` and, of a row,
//! `α·a[i, l]·t_l ≈ s[i]·(2¹⁶ h₂ + 2⁸ h₁ + h₀)` with the largest integer 2²² − 1:
//! `out[i, j] (+)= s[i] · Σ_q 2⁸q · Σ_l h_q[i, l]·c[l, j]`.
//! The bytes' sums are spans with scales of their own that meet the same panels. Layer after layer
//! is computed from these products, whose errors add up: with two bytes gradients are off by more
//! than 10⁻⁴.

use std::cell::Cell;

use super::super::int;
use super::super::int::panel::with_memory;
use super::super::matmul::{Product, View};
use super::super::simd::{Level, multiversion};
use super::tiles::{Kernel, LANES, Left, Line, Right, Rows, inverse, multiply};
use super::{every_row, x86};
use ternary_common::platform::par;
use ternary_core::math;

/// Bytes of an integer.
const BYTES: usize = 3;
/// Integers of a word.
const COUNT: usize = 4;
/// The largest integer of a row.
const MOST: f32 = 4_194_303.0;
/// The most rows of codes whose sums with a byte of the gradient are surely within 31 bits.
const ROWS: usize = (1 << 31) / (128 * 127);
/// Added to a word of codes, makes them unsigned.
const FLIP: u32 = 0x8080_8080;

thread_local! {
    /// Bytes of the gradient and words of codes, see [`with_memory`].
    static DIGITS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static CODES: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// The product `a·b` of a gradient and codes, which have scales for their rows, if that is how it
/// is done at this level; whether it was.
pub fn product(level: Level, p: &Product, scales: &[f32], out: &mut [f32]) -> bool {
    if p.a.cs != 1 || p.b.cs != 1 || p.b.rows >= ROWS {
        return false;
    }
    match level {
        Level::Avx512Vnni => with::<2>(x86::bytes_avx512, p, scales, out),
        Level::AvxVnni => with::<1>(x86::bytes_avxvnni, p, scales, out),
        _ => return false,
    }
    true
}

/// With a level's kernel; `scales` are those of the codes' rows, or one of all.
fn with<const P: usize>(kernel: Kernel<P>, p: &Product, scales: &[f32], out: &mut [f32]) {
    let (m, n, k) = p.sizes();
    let steps = k.div_ceil(COUNT);
    let panels = n.div_ceil(LANES).next_multiple_of(P);
    let lines = m.next_multiple_of(LANES);
    with_memory(&CODES, panels * steps, |codes: &mut [Line]| {
        let mut factors = every_row(scales, k);
        // No code stands for what is not finite.
        let lost = if pack_codes(p.b, &factors, codes) {
            1.0
        } else {
            f32::NAN
        };
        factors.iter_mut().for_each(|f| *f *= p.alpha * lost);
        with_memory(
            &DIGITS,
            lines * BYTES * steps * COUNT,
            |digits: &mut [i8]| {
                let mut scales = vec![0f32; lines * BYTES];
                let mut offsets = vec![0i32; lines * BYTES];
                pack_gradient(p.a, &factors, digits, &mut scales);
                for (i, digits) in digits.chunks_exact(steps * COUNT).enumerate() {
                    let (row, byte) = (i / BYTES, i % BYTES);
                    let at = (row / LANES * BYTES + byte) * LANES + row % LANES;
                    offsets[at] = int::sum(digits).wrapping_mul(-128);
                }
                let left = Left {
                    words: bytemuck::cast_slice(digits),
                    scales: &scales,
                    offsets: &offsets,
                    spans: BYTES,
                    steps,
                    along: true,
                };
                let right = Right {
                    lines: codes,
                    spans: 1,
                    steps,
                    used: steps,
                    panels,
                };
                multiply(kernel, left, right, &[], n, p.accumulate, out);
            },
        );
    });
}

/// Codes as panels; whether all values are finite.
fn pack_codes(b: View, scales: &[f32], codes: &mut [Line]) -> bool {
    let steps = b.rows.div_ceil(COUNT);
    let (filled, rest) = codes.split_at_mut(b.cols.div_ceil(LANES) * steps);
    rest.fill([0; LANES]);
    let mut finite = vec![true; filled.len() / steps];
    let rows = Rows::of(b, 0, b.rows);
    let work = b.rows * b.cols;
    par::pieces2(filled, steps, &mut finite, 1, work, |j, codes, finite| {
        finite[0] = f32::from_bits(codes_of(rows, j, scales, codes)).is_finite();
    });
    finite.iter().all(|finite| *finite)
}

multiversion! {
    /// Words of a panel; the largest magnitude.
    fn codes_of(rows: Rows, panel: usize, scales: &[f32], words: &mut [Line]) -> u32 {
        let mut largest = [0u32; LANES];
        for (s, words) in words.iter_mut().enumerate() {
            let at = |q: usize| {
                let l = COUNT * s + q;
                (rows.part(l, panel), inverse(scales, l))
            };
            let parts = [at(0), at(1), at(2), at(3)];
            for i in 0..LANES {
                let mut word = 0;
                for (q, (values, inverse)) in parts.iter().enumerate() {
                    let code = math::rounded_byte(values[i] * inverse) as u8;
                    word |= u32::from(code) << (8 * q);
                    largest[i] = largest[i].max(math::magnitude(values[i]));
                }
                words[i] = word ^ FLIP;
            }
        }
        largest.into_iter().fold(0, u32::max)
    }
}

/// The gradient's bytes `[lines][BYTES][steps · COUNT]` of its values times their factors, and the
/// scales of [`Left`].
fn pack_gradient(a: View, factors: &[f32], digits: &mut [i8], scales: &mut [f32]) {
    let stride = a.cols.next_multiple_of(COUNT);
    let (block, work) = (LANES * BYTES * stride, a.rows * a.cols * 2);
    par::pieces2(
        digits,
        block,
        scales,
        LANES * BYTES,
        work,
        |i, digits, scales| {
            for (r, digits) in digits.chunks_exact_mut(BYTES * stride).enumerate() {
                let row = i * LANES + r;
                if row >= a.rows {
                    digits.fill(0);
                    continue;
                }
                let (low, rest) = digits.split_at_mut(stride);
                let (middle, high) = rest.split_at_mut(stride);
                let values = &a.data[row * a.rs..][..a.cols];
                let scale = round_row(values, factors, low, middle, high);
                for (byte, size) in [1.0, 256.0, 65536.0].into_iter().enumerate() {
                    scales[byte * LANES + r] = scale * size;
                }
            }
        },
    );
}

multiversion! {
    /// A row as integers in three bytes; answers its scale, NaN if it is not finite.
    fn round_row(values: &[f32], factors: &[f32], low: &mut [i8], middle: &mut [i8], high: &mut [i8]) -> f32 {
        let mut largest = 0;
        for (v, f) in values.iter().zip(factors) {
            largest = largest.max(math::magnitude(v * f));
        }
        let largest = f32::from_bits(largest);
        let inverse = MOST / largest;
        // Too small for a scale.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let bytes = low.iter_mut().zip(middle.iter_mut()).zip(high.iter_mut());
        for (((low, middle), high), (v, f)) in bytes.zip(values.iter().zip(factors)) {
            let integer = math::rounded(v * f * inverse);
            *low = integer as i8;
            let rest = (integer - i32::from(*low)) >> 8;
            *middle = rest as i8;
            *high = ((rest - i32::from(*middle)) >> 8) as i8;
        }
        for bytes in [low, middle, high] {
            bytes[values.len()..].fill(0);
        }
        if !largest.is_finite() {
            f32::NAN
        } else if inverse == 0.0 {
            0.0
        } else {
            largest / MOST
        }
    }
}
