use super::COLUMNS;
use crate::math;
pub use crate::math::dot;

/// `out = scale · Σ_t weights[t]·rows[t·stride..]`, in the order of the rows: the sums stay in registers.
#[inline(always)]
pub fn weighted(
    rows: &[f32],
    stride: usize,
    weights: &[f32],
    scale: f32,
    out: &mut [f32; COLUMNS],
) {
    let mut sums = [0f32; COLUMNS];
    for (t, weight) in weights.iter().enumerate() {
        let row = &rows[t * stride..][..COLUMNS];
        for (sum, v) in sums.iter_mut().zip(row) {
            *sum += weight * v;
        }
    }
    *out = sums.map(|sum| sum * scale);
}

/// `x / scale`, rounded; the scale keeps it within ±127.
#[inline(always)]
pub fn codes(x: &[f32], scale: f32, codes: &mut [i8]) {
    for (c, v) in codes.iter_mut().zip(x) {
        *c = math::round(v / scale) as i8;
    }
}

/// `out = x·scale·weight`.
#[inline(always)]
pub fn scaled(x: &[f32], scale: f32, weight: &[f32], out: &mut [f32]) {
    for i in 0..weight.len() {
        out[i] = x[i] * scale * weight[i];
    }
}
