//! Forward products of training, whose operands are codes times scales: exact sums of integers, by
//! the instructions that inference has for them, scaled at the end:
//! `out[i, j] = α·a_i·b_j · Σ_k code_a[i, k]·code_b[j, k]`.
//!
//! Codes are found again by dividing by the scale and rounding; both operands run along k, and are
//! at most ±127.

use std::cell::Cell;

use super::int;
use super::int::panel::with_memory;
use super::linear::{Int8Rows, WeightView};
use super::matmul::{Product, View};
use super::simd::{Level, multiversion};
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::math;
use ternary_core::quant::tile::{act_stride, row_stride};

/// Lines rounded by one task.
const BAND: usize = 16;
/// A product with fewer lines, columns or k is not worth the packing.
const SMALLEST: usize = 16;

/// Whether sums of codes are faster than those of floats at a level: four products at once, of
/// bytes of either sign.
fn suits(level: Level) -> bool {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni | Level::AvxVnni => true,
        #[cfg(target_arch = "aarch64")]
        Level::NeonI8mm | Level::NeonDot => true,
        _ => false,
    }
}

/// The product into contiguous `out`, if that is how it is done at this level; whether it was.
pub fn product(level: Level, p: &Product, out: &mut [f32]) -> bool {
    let (m, n, k) = p.sizes();
    let [Some(of_a), Some(of_b)] = p.exactness.scales else {
        return false;
    };
    let (a, b) = (p.a, p.b.transposed());
    if !suits(level) || p.accumulate || a.cs != 1 || b.cs != 1 || m.min(n).min(k) < SMALLEST {
        return false;
    }
    let mut x_scales = every_row(of_a, m);
    let mut w_scales = every_row(of_b, n);
    let (x_stride, w_stride) = (act_stride(k), row_stride(QuantMode::EightBit, k));
    with_memory(&LEFT, m * x_stride, |x: &mut [i8]| {
        with_memory(&RIGHT, n * w_stride, |w: &mut [i8]| {
            codes(a, &mut x_scales, x_stride, x);
            codes(b, &mut w_scales, w_stride, w);
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
            int::panel::product(level, &weight, x, &sums, &mut out[..m * n]);
        });
    });
    true
}

thread_local! {
    /// Codes of the operands, see [`with_memory`].
    static LEFT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// A scale for every row, of which one may stand for all.
fn every_row(scales: &[f32], rows: usize) -> Vec<f32> {
    match scales {
        [scale] => vec![*scale; rows],
        scales => scales[..rows].to_vec(),
    }
}

/// A matrix's codes, rows `stride` apart and zeros behind. No code stands for what is not finite,
/// so the scale of a row that has such a value is NaN.
fn codes(of: View, scales: &mut [f32], stride: usize, codes: &mut [i8]) {
    let work = of.rows * stride;
    par::pieces2(
        codes,
        BAND * stride,
        scales,
        BAND,
        work,
        |i, codes, scales| {
            let rows = codes.chunks_exact_mut(stride).zip(scales);
            for (j, (codes, scale)) in rows.enumerate() {
                let values = &of.data[(i * BAND + j) * of.rs..][..of.cols];
                let inverse = if *scale == 0.0 { 0.0 } else { 1.0 / *scale };
                let (codes, rest) = codes.split_at_mut(of.cols);
                if !round_row(values, inverse, codes) {
                    *scale = f32::NAN;
                }
                rest.fill(0);
            }
        },
    );
}

multiversion! {
    /// Whether all values are finite.
    fn round_row(values: &[f32], inverse: f32, codes: &mut [i8]) -> bool {
        let mut largest = 0;
        for (code, v) in codes.iter_mut().zip(values) {
            *code = math::rounded_byte(v * inverse);
            largest = largest.max(math::magnitude(*v));
        }
        f32::from_bits(largest).is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
                    if !super::product(level, &product, &mut out) {
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
                    if !super::product(level, &product, &mut out) {
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
            assert!(!product(level, &plain, &mut out));
        }
    }
}
