//! Sums and loops of the plain versions, four floats at a time and written out.

use std::arch::wasm32::*;

use super::COLUMNS;
use crate::math;

/// A statement for each of 0 to 7: the compiler would leave a loop, and sums in memory.
macro_rules! each_of_eight {
    ($i:ident, $body:block) => {
        each_of_eight!(@ $i, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $i:ident, $body:block, $($value:literal)*) => {
        $({
            const $i: usize = $value;
            $body
        })*
    };
}

/// Floats `4·i..4·i + 4`.
#[inline(always)]
fn load(x: &[f32], i: usize) -> v128 {
    // SAFETY: the slice holds four floats; v128_load has no alignment requirement.
    unsafe { v128_load(x[4 * i..4 * i + 4].as_ptr().cast()) }
}

#[inline(always)]
fn store(out: &mut [f32], i: usize, value: v128) {
    // SAFETY: the slice holds four floats; v128_store has no alignment requirement.
    unsafe { v128_store(out[4 * i..4 * i + 4].as_mut_ptr().cast(), value) }
}

/// In the order of [`math::reduce`], as far as the shorter one goes.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let (a, rest_a) = a.as_chunks::<32>();
    let (b, rest_b) = b.as_chunks::<32>();
    let mut sums = [f32x4_splat(0.0); 8];
    let mut add = |a: &[f32; 32], b: &[f32; 32]| {
        each_of_eight!(I, {
            sums[I] = f32x4_add(sums[I], f32x4_mul(load(a, I), load(b, I)));
        });
    };
    for (a, b) in a.iter().zip(b) {
        add(a, b);
    }
    if !rest_a.is_empty() {
        let mut last = [[0.0; 32]; 2];
        last[0][..rest_a.len()].copy_from_slice(rest_a);
        last[1][..rest_b.len()].copy_from_slice(rest_b);
        add(&last[0], &last[1]);
    }
    let fold = |i| f32x4_add(sums[i], sums[i + 4]);
    let lanes = f32x4_add(f32x4_add(fold(0), fold(2)), f32x4_add(fold(1), fold(3)));
    let lanes = f32x4_add(lanes, i32x4_shuffle::<2, 3, 0, 1>(lanes, lanes));
    f32x4_extract_lane::<0>(lanes) + f32x4_extract_lane::<1>(lanes)
}

/// `out = scale · Σ_t weights[t]·rows[t·stride..]`, in the order of the rows.
pub fn weighted(
    rows: &[f32],
    stride: usize,
    weights: &[f32],
    scale: f32,
    out: &mut [f32; COLUMNS],
) {
    let mut sums = [f32x4_splat(0.0); 8];
    for (t, weight) in weights.iter().enumerate() {
        let row = &rows[t * stride..][..COLUMNS];
        each_of_eight!(I, {
            sums[I] = f32x4_add(sums[I], f32x4_mul(f32x4_splat(*weight), load(row, I)));
        });
    }
    each_of_eight!(I, {
        store(out, I, f32x4_mul(sums[I], f32x4_splat(scale)));
    });
}

/// `x / scale`, rounded; the scale keeps it within ±127.
pub fn codes(x: &[f32], scale: f32, codes: &mut [i8]) {
    let (x, rest) = x.as_chunks::<16>();
    let (codes, last) = codes.as_chunks_mut::<16>();
    for (x, codes) in x.iter().zip(codes) {
        let round = |i| {
            let quotient = f32x4_div(load(x, i), f32x4_splat(scale));
            i32x4_trunc_sat_f32x4(f32x4_nearest(quotient))
        };
        let pair = |i| i16x8_narrow_i32x4(round(i), round(i + 1));
        let all = i8x16_narrow_i16x8(pair(0), pair(2));
        // SAFETY: the array holds 16 bytes; v128_store has no alignment requirement.
        unsafe { v128_store(codes.as_mut_ptr().cast(), all) }
    }
    for (c, v) in last.iter_mut().zip(rest) {
        *c = math::round(v / scale) as i8;
    }
}

/// `out = x·scale·weight`.
pub fn scaled(x: &[f32], scale: f32, weight: &[f32], out: &mut [f32]) {
    let (x, rest) = x.as_chunks::<4>();
    let (w, rest_w) = weight.as_chunks::<4>();
    let (out, last) = out.as_chunks_mut::<4>();
    for ((x, w), out) in x.iter().zip(w).zip(out) {
        let value = f32x4_mul(f32x4_mul(load(x, 0), f32x4_splat(scale)), load(w, 0));
        store(out, 0, value);
    }
    for ((x, w), out) in rest.iter().zip(rest_w).zip(last) {
        *out = x * scale * w;
    }
}
