//! Forward products of training on 64-bit ARM with dot products of bytes: as inference multiplies
//! 8-bit weights, see `int::panel`.

use std::cell::Cell;

use super::super::int;
use super::super::int::panel::with_memory;
use super::super::linear::{Int8Rows, WeightView};
use super::super::matmul::Product;
use super::super::simd::Level;
use super::codes::codes_of;
use super::every_row;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{act_stride, row_stride};

thread_local! {
    /// Codes of the operands' rows, see [`with_memory`].
    static LEFT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// The product `a·b` of operands with scales for their rows in memory, if that is how it is done at
/// this level; whether it was.
pub fn product(level: Level, p: &Product, of_a: &[f32], of_b: &[f32], out: &mut [f32]) -> bool {
    let dots = matches!(level, Level::NeonI8mm | Level::NeonDot);
    if !dots || p.accumulate || p.a.cs != 1 || p.b.rs != 1 {
        return false;
    }
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
    true
}
