//! Products of training as sums of integers, natively: forward products of codes, and those of
//! gradients, which are rounded, with codes. All are
//! `out[i, j] (+)= t_j · Σ_S s[i, S] · (o[i] + Σ_{l in S} left[i, l]·right[l, j])`,
//! where spans S cut what is summed, s and t are scales of a row and span and of a column, and o
//! makes up for right operands that are made unsigned. Inner sums are exact in i32.
//!
//! Packing: words of four bytes or of two integers of 16 bits, that are l, l + 1, … of a row or a
//! column. A *panel* is 16 columns of the right operand, `[spans][panels][steps][16]` words. Rows
//! of the left one are `[rows][spans · steps]` words, or blocks of 16
//! `[spans][blocks][steps][16]`.
//!
//! A kernel multiplies eight rows with some panels, a span at a time: each word of a row meets
//! the registers of a step's columns.

#[cfg(target_arch = "aarch64")]
mod arm;
mod codes;
#[cfg(target_arch = "x86_64")]
mod forward;
#[cfg(target_arch = "x86_64")]
mod inputs;
#[cfg(target_arch = "x86_64")]
mod lookup;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::matmul::{Precision, Product};
use super::simd::Level;

/// A product with fewer rows, columns or k is not worth the packing.
const SMALLEST: usize = 16;

/// The product into contiguous `out`, if that is how it is done at this level; whether it was.
pub fn product(level: Level, p: &Product, out: &mut [f32]) -> bool {
    let (m, n, k) = p.sizes();
    if m.min(n).min(k) < SMALLEST {
        return false;
    }
    let out = &mut out[..m * n];
    match (p.exactness.precision, p.exactness.scales) {
        #[cfg(target_arch = "x86_64")]
        (Precision::Float, [Some(of_a), Some(of_b)]) => forward::product(level, p, of_a, of_b, out),
        #[cfg(target_arch = "aarch64")]
        (Precision::Float, [Some(of_a), Some(of_b)]) => arm::product(level, p, of_a, of_b, out),
        #[cfg(target_arch = "x86_64")]
        (Precision::Gradient, [_, Some(of_b)]) => {
            lookup::product(level, p, of_b, out)
                || inputs::product(level, p, of_b, out)
                || weights::product(level, p, of_b, out)
        }
        _ => false,
    }
}

/// One scale for every row, of which one may stand for all.
fn every_row(scales: &[f32], rows: usize) -> Vec<f32> {
    match scales {
        [scale] => vec![*scale; rows],
        scales => scales[..rows].to_vec(),
    }
}
