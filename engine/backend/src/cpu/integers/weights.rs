//! Gradients of weights, `dW += dyᵀ·x` with activations x as codes: the gradient dy is rounded to
//! integers of 16 bits, and pairs of products are summed as integers.
//!
//! For `out[i, j] (+)= α · Σ_l a[i, l]·b[l, j]` with codes `b[l, j] = t_l · c[l, j]`, k is cut into
//! spans S of [`SPAN`]. Of each row of `a` and span, `α·a[i, l]·t_l ≈ s[i, S]·h[i, l]` with the
//! largest |h| = 32767, so that
//! `out[i, j] (+)= Σ_S s[i, S] · Σ_{l in S} h[i, l]·c[l, j]`.
//! Inner sums are at most 64·32767·127 < 2³¹. A value of `a` is off by at most 2⁻¹⁶ of the largest
//! of its span: nothing is computed from a weight's gradient, so that is all that it is off by.
//!
//! Words are packed from a span's 64 rows of memory at a time, which are read one after the other.

use std::cell::Cell;

use super::super::int::panel::with_memory;
use super::super::matmul::{Product, View};
use super::super::simd::{Level, multiversion};
use super::tiles::{Kernel, LANES, Left, Line, Right, Rows, inverse, multiply};
use super::{every_row, x86};
use ternary_common::platform::par;
use ternary_core::math;

/// k of one scale.
const SPAN: usize = 64;
/// Words of a span.
const STEPS: usize = SPAN / 2;
/// The largest integer of a span.
const MOST: f32 = 32767.0;

thread_local! {
    /// Words and scales of the gradient, and words of codes, see [`with_memory`].
    static WORDS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static SCALES: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static CODES: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// The product `a·b` of a gradient and codes, which have scales for their rows, if that is how it
/// is done at this level; whether it was.
pub fn product(level: Level, p: &Product, scales: &[f32], out: &mut [f32]) -> bool {
    if p.a.rs != 1 || p.b.cs != 1 {
        return false;
    }
    match level {
        Level::Avx512Vnni => with::<2>(x86::pairs_avx512, p, scales, out),
        Level::AvxVnni => with::<1>(x86::pairs_avxvnni, p, scales, out),
        Level::Avx2 => with::<1>(x86::pairs_avx2, p, scales, out),
        _ => return false,
    }
    true
}

/// With a level's kernel; `scales` are those of the codes' rows, or one of all.
fn with<const P: usize>(kernel: Kernel<P>, p: &Product, scales: &[f32], out: &mut [f32]) {
    let (m, n, k) = p.sizes();
    let spans = k.div_ceil(SPAN);
    let panels = n.div_ceil(LANES).next_multiple_of(P);
    let lines = m.next_multiple_of(LANES);
    with_memory(&CODES, spans * panels * STEPS, |codes: &mut [Line]| {
        let factors = pack_codes(p.b, &every_row(scales, k), p.alpha, panels, codes);
        with_memory(&WORDS, lines * spans * STEPS, |words: &mut [u32]| {
            with_memory(&SCALES, lines * spans, |scales: &mut [f32]| {
                pack_gradient(p.a, &factors, lines, words, scales);
                let left = Left {
                    words,
                    scales,
                    offsets: &[],
                    spans,
                    steps: STEPS,
                    along: false,
                };
                let right = Right {
                    lines: codes,
                    spans,
                    steps: STEPS,
                    used: k.div_ceil(2),
                    panels,
                };
                multiply(kernel, left, right, &[], n, p.accumulate, out);
            });
        });
    });
}

/// Codes as panels. Answers what the gradient's columns are multiplied by: the scales times
/// `alpha`, NaN in a span that has a value that is not finite, for which no code stands.
fn pack_codes(b: View, scales: &[f32], alpha: f32, panels: usize, codes: &mut [Line]) -> Vec<f32> {
    let mut factors: Vec<f32> = scales.iter().map(|scale| scale * alpha).collect();
    let (len, work) = (panels * STEPS, b.rows * b.cols);
    par::pieces2(
        codes,
        len,
        &mut factors,
        SPAN,
        work,
        |span, codes, factors| {
            let rows = Rows::of(b, span * SPAN, factors.len());
            let scales = &scales[span * SPAN..][..factors.len()];
            if !f32::from_bits(codes_of(rows, scales, codes)).is_finite() {
                factors.fill(f32::NAN);
            }
        },
    );
    factors
}

multiversion! {
    /// Words of a span, `[panels][STEPS]` lines; the largest magnitude.
    fn codes_of(rows: Rows, scales: &[f32], words: &mut [Line]) -> u32 {
        let mut largest = [0u32; LANES];
        for s in 0..rows.count.div_ceil(2) {
            let (of_even, of_odd) = (inverse(scales, 2 * s), inverse(scales, 2 * s + 1));
            for panel in 0..rows.columns.div_ceil(LANES) {
                let (even, odd) = (rows.part(2 * s, panel), rows.part(2 * s + 1, panel));
                let words = &mut words[panel * STEPS + s];
                for i in 0..LANES {
                    words[i] = pair(even[i] * of_even, odd[i] * of_odd);
                    let most = math::magnitude(even[i]).max(math::magnitude(odd[i]));
                    largest[i] = largest[i].max(most);
                }
            }
        }
        // A panel that fills up the last ones.
        words[rows.columns.div_ceil(LANES) * STEPS..].fill([0; LANES]);
        largest.into_iter().fold(0, u32::max)
    }
}

/// A word of two values, rounded to integers.
#[inline(always)]
fn pair(even: f32, odd: f32) -> u32 {
    u32::from(math::rounded_short(even) as u16) | u32::from(math::rounded_short(odd) as u16) << 16
}

/// The scale of a span whose largest magnitude has these bits, and what its values are multiplied
/// by: of one that is not finite NaN, and of one too small for a scale 0.
#[inline(always)]
fn scale(largest: u32) -> [f32; 2] {
    let largest = f32::from_bits(largest);
    let inverse = MOST / largest;
    if !largest.is_finite() {
        [f32::NAN, 0.0]
    } else if inverse.is_finite() {
        [largest / MOST, inverse]
    } else {
        [0.0; 2]
    }
}

/// The gradient, its values multiplied by their factors, see [`Left`].
fn pack_gradient(a: View, factors: &[f32], lines: usize, words: &mut [u32], scales: &mut [f32]) {
    let work = a.rows * a.cols * 2;
    par::pieces2(
        words,
        lines * STEPS,
        scales,
        lines,
        work,
        |span, words, scales| {
            let factors = &factors[span * SPAN..factors.len().min((span + 1) * SPAN)];
            let from = Rows::of(a.transposed(), span * SPAN, factors.len());
            round_columns(from, factors, words.as_chunks_mut().0, scales);
        },
    );
}

multiversion! {
    /// A span, whose lines have factors, as pairs of integers `[blocks][STEPS][LANES]`, and the
    /// scales of its columns.
    fn round_columns(rows: Rows, factors: &[f32], words: &mut [Line], scales: &mut [f32]) {
        let mut largest = vec![0u32; scales.len()];
        for (l, factor) in factors.iter().enumerate() {
            for (largest, v) in largest.iter_mut().zip(rows.row(l)) {
                *largest = (*largest).max(math::magnitude(v * factor));
            }
        }
        let mut inverse = vec![0f32; scales.len()];
        for ((scale, inverse), largest) in scales.iter_mut().zip(&mut inverse).zip(largest) {
            [*scale, *inverse] = self::scale(largest);
        }
        let inverse = inverse.as_chunks::<LANES>().0;
        for s in 0..STEPS {
            let factor = |l: usize| factors.get(l).map_or(0.0, |f| *f);
            let (of_even, of_odd) = (factor(2 * s), factor(2 * s + 1));
            for (block, inverse) in inverse.iter().enumerate() {
                let (even, odd) = (rows.part(2 * s, block), rows.part(2 * s + 1, block));
                let words = &mut words[block * STEPS + s];
                for r in 0..LANES {
                    let [even, odd] = [even[r] * of_even, odd[r] * of_odd];
                    words[r] = pair(even * inverse[r], odd * inverse[r]);
                }
            }
        }
    }
}
