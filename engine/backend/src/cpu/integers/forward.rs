//! Forward products of training, `x·Wᵀ` of codes times scales: exact sums of integers, scaled at the
//! end, `out[i, j] = α·a_i·b_j · Σ_k code_a[i, k]·code_b[j, k]`.
//!
//! Codes are found again by dividing by the scale and rounding; both operands run along k, and are
//! at most ±127. They are bytes, the weights' unsigned for `vpdpbusd`: Σ x·(w + 128) − 128·Σ x; or,
//! at AVX2, which would have to widen products of bytes, pairs of 16 bits.

use std::cell::Cell;

use bytemuck::Pod;

use super::super::int;
use super::super::int::panel::{chunk, turn, with_memory};
#[cfg(target_arch = "aarch64")]
use super::super::linear::{Int8Rows, WeightView};
use super::super::matmul::{Product, View};
use super::super::simd::{Level, multiversion};
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Kernel, LANES, Left, Line, Right, every_row, multiply};
use ternary_common::platform::par;
use ternary_core::math;

thread_local! {
    /// Codes of the operands' rows, and panels of the right one's, see [`with_memory`].
    static LEFT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static PANELS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// Codes as they stand in words.
trait Code: Pod + Send {
    /// In a word.
    const COUNT: usize = size_of::<u32>() / size_of::<Self>();
    /// What makes a word of the right operand's codes what instructions take.
    const FLIP: u32;

    /// Values times `inverse`, rounded; whether all are finite.
    fn round(values: &[f32], inverse: f32, codes: &mut [Self]) -> bool;

    /// What makes up for [`Self::FLIP`] in sums of a row of the left operand.
    fn offset(codes: &[Self]) -> i32;
}

impl Code for i8 {
    const FLIP: u32 = 0x8080_8080;

    fn round(values: &[f32], inverse: f32, codes: &mut [i8]) -> bool {
        round_bytes(values, inverse, codes)
    }

    fn offset(codes: &[i8]) -> i32 {
        -128 * int::sum(codes)
    }
}

impl Code for i16 {
    const FLIP: u32 = 0;

    fn round(values: &[f32], inverse: f32, codes: &mut [i16]) -> bool {
        round_shorts(values, inverse, codes)
    }

    fn offset(_: &[i16]) -> i32 {
        0
    }
}

multiversion! {
    fn round_bytes(values: &[f32], inverse: f32, codes: &mut [i8]) -> bool {
        let mut largest = 0;
        for (code, v) in codes.iter_mut().zip(values) {
            *code = math::rounded_byte(v * inverse);
            largest = largest.max(math::magnitude(*v));
        }
        f32::from_bits(largest).is_finite()
    }
}

multiversion! {
    fn round_shorts(values: &[f32], inverse: f32, codes: &mut [i16]) -> bool {
        let mut largest = 0;
        for (code, v) in codes.iter_mut().zip(values) {
            *code = math::rounded_short(v * inverse);
            largest = largest.max(math::magnitude(*v));
        }
        f32::from_bits(largest).is_finite()
    }
}

/// The product `a·b` of operands with scales for their rows in memory, if that is how it is done at
/// this level; whether it was.
pub fn product(level: Level, p: &Product, of_a: &[f32], of_b: &[f32], out: &mut [f32]) -> bool {
    if p.accumulate || p.a.cs != 1 || p.b.rs != 1 {
        return false;
    }
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => with::<2, i8>(level, x86::bytes_avx512, p, of_a, of_b, out),
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni => with::<1, i8>(level, x86::bytes_avxvnni, p, of_a, of_b, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => with::<1, i16>(level, x86::pairs_avx2, p, of_a, of_b, out),
        #[cfg(target_arch = "aarch64")]
        Level::NeonI8mm | Level::NeonDot => by_inference(level, p, of_a, of_b, out),
        _ => return false,
    }
    true
}

/// With a level's kernel.
fn with<const P: usize, C: Code>(
    level: Level,
    kernel: Kernel<P>,
    p: &Product,
    of_a: &[f32],
    of_b: &[f32],
    out: &mut [f32],
) {
    let (m, n, k) = p.sizes();
    let (a, b) = (p.a, p.b.transposed());
    let stride = k.next_multiple_of(CHUNK * C::COUNT);
    let steps = stride / C::COUNT;
    let lines = m.next_multiple_of(LANES);
    let panels = n.div_ceil(LANES).next_multiple_of(P);
    let mut scales = every_row(of_a, m);
    let mut columns = every_row(of_b, n);
    with_memory(&LEFT, lines * stride, |codes: &mut [C]| {
        codes_of(a, &mut scales, stride, codes);
        scales.iter_mut().for_each(|scale| *scale *= p.alpha);
        scales.resize(lines, 0.0);
        let offsets: Vec<i32> = codes.chunks_exact(stride).map(C::offset).collect();
        with_memory(&PANELS, panels * steps, |words: &mut [Line]| {
            pack::<C>(level, b, &mut columns, stride, words);
            columns.resize(panels * LANES, 0.0);
            let left = Left {
                words: bytemuck::cast_slice(codes),
                scales: &scales,
                offsets: &offsets,
                spans: 1,
                steps,
                along: true,
            };
            let right = Right {
                lines: words,
                spans: 1,
                steps,
                used: k.div_ceil(C::COUNT),
                panels,
            };
            multiply(kernel, left, right, &columns, n, false, out);
        });
    });
}

/// Rows rounded by one task.
const BLOCK: usize = 16;
/// Words that are turned at a time.
const CHUNK: usize = 8;

/// A matrix's codes, rows `stride` apart, and zeros behind. No code stands for what is not finite,
/// so the scale of a row that has such a value is NaN.
fn codes_of<C: Code>(of: View, scales: &mut [f32], stride: usize, codes: &mut [C]) {
    let (codes, rest) = codes.split_at_mut(of.rows * stride);
    rest.fill(C::zeroed());
    let (block, work) = (BLOCK * stride, of.rows * stride);
    par::pieces2(codes, block, scales, BLOCK, work, |i, codes, scales| {
        let rows = codes.chunks_exact_mut(stride).zip(scales);
        for (j, (codes, scale)) in rows.enumerate() {
            round_row(of, i * BLOCK + j, scale, codes);
        }
    });
}

/// A row of [`codes_of`].
fn round_row<C: Code>(of: View, row: usize, scale: &mut f32, codes: &mut [C]) {
    let values = &of.data[row * of.rs..][..of.cols];
    let inverse = if *scale == 0.0 { 0.0 } else { 1.0 / *scale };
    let (codes, rest) = codes.split_at_mut(of.cols);
    if !C::round(values, inverse, codes) {
        *scale = f32::NAN;
    }
    rest.fill(C::zeroed());
}

/// The panels of the right operand, whose rows are their columns.
fn pack<C: Code>(level: Level, b: View, scales: &mut [f32], stride: usize, words: &mut [Line]) {
    let steps = stride / C::COUNT;
    // A panel that fills up the last ones has no scales.
    let (filled, rest) = words.split_at_mut(b.rows.div_ceil(LANES) * steps);
    rest.fill([0; LANES]);
    let work = b.rows * b.cols;
    par::pieces2(filled, steps, scales, LANES, work, |j, panel, scales| {
        with_memory(&RIGHT, LANES * stride, |codes: &mut [C]| {
            let count = scales.len();
            let rows = codes.chunks_exact_mut(stride).zip(scales);
            for (r, (codes, scale)) in rows.enumerate() {
                round_row(b, j * LANES + r, scale, codes);
            }
            codes[count * stride..].fill(C::zeroed());
            let bytes: &[u8] = bytemuck::cast_slice(codes);
            let of_row = bytes.len() / LANES;
            for (i, part) in panel.chunks_exact_mut(CHUNK).enumerate() {
                let rows = std::array::from_fn(|r| chunk(&bytes[r * of_row..], i));
                let part = part.as_flattened_mut();
                turn(level, rows, u32::BITS as usize, part);
                part.iter_mut().for_each(|word| *word ^= C::FLIP);
            }
        });
    });
}

/// As inference has it.
#[cfg(target_arch = "aarch64")]
fn by_inference(level: Level, p: &Product, of_a: &[f32], of_b: &[f32], out: &mut [f32]) {
    use ternary_core::config::QuantMode;
    use ternary_core::quant::tile::{act_stride, row_stride};

    let (m, n, k) = p.sizes();
    let (mut x_scales, mut w_scales) = (every_row(of_a, m), every_row(of_b, n));
    let (x_stride, w_stride) = (act_stride(k), row_stride(QuantMode::EightBit, k));
    with_memory(&LEFT, m * x_stride, |x: &mut [i8]| {
        with_memory(&RIGHT, n * w_stride, |w: &mut [i8]| {
            codes_of(p.a, &mut x_scales, x_stride, x);
            codes_of(p.b.transposed(), &mut w_scales, w_stride, w);
            x_scales.iter_mut().for_each(|scale| *scale *= p.alpha);
            let sums: Vec<i32> = x.chunks_exact(x_stride).map(int::sum).collect();
            let weight = WeightView {
                mode: QuantMode::EightBit,
                data: bytemuck::cast_slice(w),
                scales: &w_scales,
                by_four: &[],
                out_dim: n,
                in_dim: k,
                group: k,
            };
            let x = Int8Rows {
                codes: x,
                scales: &x_scales,
            };
            int::panel::product(level, &weight, x, &sums, out);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::integers;
    use crate::cpu::matmul::{Exactness, Precision};
    use ternary_core::rng::Rng;

    /// Codes times scales, one of all rows or one of every row.
    fn quantized(
        rng: &mut Rng,
        rows: usize,
        k: usize,
        most: i32,
        one: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let scales: Vec<f32> = (0..if one { 1 } else { rows })
            .map(|_| 0.01 + rng.normal().abs())
            .collect();
        let value = |i: usize| {
            let code = (rng.next_u64() % (2 * most as u64 + 1)) as i32 - most;
            code as f32 * scales[if one { 0 } else { i / k }]
        };
        ((0..rows * k).map(value).collect(), scales)
    }

    #[test]
    fn sums_of_codes_are_those_of_the_floats() {
        let mut tried = 0;
        for level in Level::available() {
            for (m, n, k) in [(16, 16, 16), (33, 40, 300), (17, 65, 129), (100, 20, 64)] {
                for (most, one) in [(1, true), (127, false)] {
                    let mut rng = Rng::new((m + n + k) as u64);
                    let (a, of_a) = quantized(&mut rng, m, k, 127, false);
                    let (b, of_b) = quantized(&mut rng, n, k, most, one);
                    let product = Product {
                        alpha: 0.5,
                        ..Product::new(
                            View::new(&a, m, k),
                            View::stored(&b, k, n, true),
                            Exactness {
                                precision: Precision::Float,
                                scales: [Some(&of_a), Some(&of_b)],
                            },
                        )
                    };
                    let mut out = vec![f32::NAN; m * n];
                    if !integers::product(level, &product, &mut out) {
                        continue;
                    }
                    tried += 1;
                    for i in 0..m {
                        for j in 0..n {
                            let terms = (0..k)
                                .map(|l| f64::from(a[i * k + l]) * f64::from(b[j * k + l]) * 0.5);
                            let (sum, size) =
                                terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                            let error = (f64::from(out[i * n + j]) - sum).abs();
                            assert!(
                                error <= 3e-7 * size + 1e-12,
                                "{m}×{n}×{k} ({i}, {j}): {error:e}"
                            );
                        }
                    }
                }
            }
        }
        if tried == 0 {
            eprintln!("SKIPPED: this machine has no dot products of bytes");
        }
    }

    #[test]
    fn what_is_not_finite_is_not_lost() {
        let (k, n) = (40, 20);
        for level in Level::available() {
            for bad in [f32::NAN, f32::INFINITY] {
                for operand in 0..2 {
                    let mut values = [vec![1.0f32; n * k], vec![1.0f32; n * k]];
                    values[operand][3 * k + 7] = bad;
                    let product = Product::new(
                        View::new(&values[0], n, k),
                        View::stored(&values[1], k, n, true),
                        Exactness {
                            precision: Precision::Float,
                            scales: [Some(&[1.0]), Some(&[1.0])],
                        },
                    );
                    let mut out = vec![0.0; n * n];
                    if !integers::product(level, &product, &mut out) {
                        continue;
                    }
                    for (i, v) in out.iter().enumerate() {
                        let touched = [i / n, i % n][operand] == 3;
                        assert_eq!(v.is_nan(), touched, "{i} of operand {operand}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_product_of_codes_is_left_to_others() {
        let values = vec![1.0f32; 32 * 32];
        let view = View::new(&values, 32, 32);
        let mut out = vec![0.0; 32 * 32];
        for level in Level::available() {
            let plain = Product::new(view, view.transposed(), Precision::Float);
            assert!(!integers::product(level, &plain, &mut out));
        }
    }
}
