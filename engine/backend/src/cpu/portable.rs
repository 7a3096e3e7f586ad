//! f32 matrix products with the same bits on every processor:
//! `out[i, j] (+)= α·Σ_l a[i, l]·b[l, j]`, the sum taken in the order of l, every product and sum
//! rounded once. What the browser computes, and what [`Level::Portable`](super::simd::Level)
//! computes natively.
//!
//! `b` is packed into panels `[k][NR]`, `a` into panels `[k][MR]`, both zero-padded; a tile of MR ×
//! NR sums stays in registers for all of k (MR·NR/4 = 8 vectors of four, the rest of the sixteen
//! hold operands).

use super::matmul::{Product, View};

const MR: usize = 4;
const NR: usize = 8;

/// Columns (or rows) `first..` of a matrix, `W` wide, packed along the summed dimension; `at(l, i)`
/// is where element i of step l is.
fn pack<const W: usize>(
    data: &[f32],
    steps: usize,
    count: usize,
    start: usize,
    step: usize,
    stride: usize,
    panel: &mut [[f32; W]],
) {
    for (l, line) in panel[..steps].iter_mut().enumerate() {
        let at = start + l * step;
        if count == W && stride == 1 {
            line.copy_from_slice(&data[at..at + W]);
        } else {
            *line = [0.0; W];
            for (i, v) in line[..count].iter_mut().enumerate() {
                *v = data[at + i * stride];
            }
        }
    }
}

/// `sums[i][j] = Σ_l a[l][i]·b[l][j]`. Written out, so that a page's engine keeps the sums in
/// registers.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
fn tile(a: &[[f32; MR]], b: &[[f32; NR]]) -> [[f32; NR]; MR] {
    use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128_load, v128_store};
    let zero = f32x4_splat(0.0);
    let (mut s00, mut s01, mut s10, mut s11) = (zero, zero, zero, zero);
    let (mut s20, mut s21, mut s30, mut s31) = (zero, zero, zero, zero);
    for (a, b) in a.iter().zip(b) {
        // SAFETY: the two halves of eight floats.
        let (b0, b1) = unsafe {
            (
                v128_load(b.as_ptr().cast()),
                v128_load(b[4..].as_ptr().cast()),
            )
        };
        macro_rules! row {
            ($a:expr, $low:ident, $high:ident) => {
                let a = f32x4_splat($a);
                $low = f32x4_add($low, f32x4_mul(a, b0));
                $high = f32x4_add($high, f32x4_mul(a, b1));
            };
        }
        row!(a[0], s00, s01);
        row!(a[1], s10, s11);
        row!(a[2], s20, s21);
        row!(a[3], s30, s31);
    }
    let mut sums = [[0f32; NR]; MR];
    let vectors = [[s00, s01], [s10, s11], [s20, s21], [s30, s31]];
    for (line, [low, high]) in sums.iter_mut().zip(vectors) {
        // SAFETY: as above.
        unsafe {
            v128_store(line.as_mut_ptr().cast(), low);
            v128_store(line[4..].as_mut_ptr().cast(), high);
        }
    }
    sums
}

/// `sums[i][j] = Σ_l a[l][i]·b[l][j]`.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
fn tile(a: &[[f32; MR]], b: &[[f32; NR]]) -> [[f32; NR]; MR] {
    let mut sums = [[0f32; NR]; MR];
    for (a, b) in a.iter().zip(b) {
        for i in 0..MR {
            for j in 0..NR {
                sums[i][j] += a[i] * b[j];
            }
        }
    }
    sums
}

/// One thread; rows of `out` are `out_rs` apart.
pub fn product(p: &Product, out: &mut [f32], out_rs: usize) {
    let (m, n, k) = p.sizes();
    let View { data, rs, cs, .. } = p.a;
    let panels = m.div_ceil(MR);
    let mut a = vec![[0f32; MR]; panels * k];
    for (i, panel) in a.chunks_exact_mut(k.max(1)).enumerate() {
        let first = i * MR;
        pack(data, k, MR.min(m - first), first * rs, cs, rs, panel);
    }
    let View { data, rs, cs, .. } = p.b;
    let mut b = vec![[0f32; NR]; k];
    for first in (0..n).step_by(NR) {
        let columns = NR.min(n - first);
        pack(data, k, columns, first * cs, rs, cs, &mut b);
        for panel in 0..panels {
            let sums = tile(&a[panel * k..][..k], &b);
            for (i, sums) in sums.iter().enumerate().take(m - panel * MR) {
                let line = &mut out[(panel * MR + i) * out_rs + first..][..columns];
                for (o, s) in line.iter_mut().zip(sums) {
                    *o = if p.accumulate { *o } else { 0.0 } + p.alpha * s;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::matmul::Precision;
    use super::*;
    use ternary_core::rng::Rng;

    #[test]
    fn sums_are_taken_in_order_whatever_the_layout() {
        for (m, n, k) in [(1, 1, 1), (3, 65, 257), (4, 8, 5), (33, 7, 64), (5, 9, 0)] {
            for layout in 0..8u32 {
                let [trans_a, trans_b, accumulate] = [1, 2, 4].map(|bit| layout & bit != 0);
                let mut rng = Rng::new(u64::from(layout));
                let mut values = |len: usize| (0..len).map(|_| rng.normal()).collect::<Vec<f32>>();
                let (a, b) = (values(m * k), values(k * n));
                // Rows of `out` further apart than they are long.
                let stride = n + 3;
                let start = values(m * stride);
                let product = Product {
                    alpha: 0.3,
                    accumulate,
                    ..Product::new(
                        View::stored(&a, m, k, trans_a),
                        View::stored(&b, k, n, trans_b),
                        Precision::Float,
                    )
                };
                let mut out = start.clone();
                super::product(&product, &mut out, stride);
                for i in 0..m {
                    for j in 0..stride {
                        let at = i * stride + j;
                        let mut want = start[at];
                        if j < n {
                            let sum = (0..k).fold(0f32, |sum, l| {
                                sum + a[if trans_a { l * m + i } else { i * k + l }]
                                    * b[if trans_b { j * k + l } else { l * n + j }]
                            });
                            want = if accumulate { want } else { 0.0 } + 0.3 * sum;
                        }
                        assert!(out[at] == want, "{m}×{n}×{k} {layout}: {} {want}", out[at]);
                    }
                }
            }
        }
    }
}
