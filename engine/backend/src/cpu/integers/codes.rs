//! Codes of operands that are codes times scales, found again by dividing by the scale and
//! rounding.

use bytemuck::Pod;

use super::super::matmul::View;
use super::super::simd::multiversion;
use ternary_common::platform::par;
use ternary_core::math;

/// Codes as bytes or in 16 bits; they are at most ±127.
pub trait Code: Pod + Send {
    /// Values times `inverse`, rounded; whether all are finite.
    fn round(values: &[f32], inverse: f32, codes: &mut [Self]) -> bool;
}

impl Code for i8 {
    fn round(values: &[f32], inverse: f32, codes: &mut [i8]) -> bool {
        round_bytes(values, inverse, codes)
    }
}

impl Code for i16 {
    fn round(values: &[f32], inverse: f32, codes: &mut [i16]) -> bool {
        round_shorts(values, inverse, codes)
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

/// Rows rounded by one task.
const BLOCK: usize = 16;
/// A matrix's codes, rows `stride` apart, and zeros behind. No code stands for what is not finite,
/// so the scale of a row that has such a value is NaN.
pub fn codes_of<C: Code>(of: View, scales: &mut [f32], stride: usize, codes: &mut [C]) {
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
pub fn round_row<C: Code>(of: View, row: usize, scale: &mut f32, codes: &mut [C]) {
    let values = &of.data[row * of.rs..][..of.cols];
    let inverse = if *scale == 0.0 { 0.0 } else { 1.0 / *scale };
    let (codes, rest) = codes.split_at_mut(of.cols);
    if !C::round(values, inverse, codes) {
        *scale = f32::NAN;
    }
    rest.fill(C::zeroed());
}
