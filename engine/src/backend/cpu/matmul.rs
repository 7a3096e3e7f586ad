//! f32 matrix products by the `gemm` crate, cut into fixed bands so that the result does not depend on the number of threads.

use super::par;

/// Which operands are stored transposed.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// `a` is stored `[k, m]`.
    pub trans_a: bool,
    /// `b` is stored `[n, k]`.
    pub trans_b: bool,
}

/// A matrix inside a larger buffer: element (i, j) is at `i·rs + j·cs`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub rs: usize,
    pub cs: usize,
}

impl Layout {
    /// The right operand, `[k, n]` to its reader.
    fn b<'a>(&self, data: &'a [f32], n: usize, k: usize) -> View<'a> {
        let (rs, cs) = if self.trans_b { (1, k) } else { (n, 1) };
        View { data, rs, cs }
    }
}

/// `out (+)= alpha · a · b` on one thread; `a` is `[m, k]`, `b` `[k, n]`, `out` `[m, n]` with row stride `out_rs`.
#[allow(clippy::too_many_arguments)]
pub fn strided(
    out: &mut [f32],
    out_rs: usize,
    a: View,
    b: View,
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let end = |rows: usize, cols: usize, rs: usize, cs: usize| (rows - 1) * rs + (cols - 1) * cs;
    assert!(out.len() > end(m, n, out_rs, 1));
    assert!(k > 0 && a.data.len() > end(m, k, a.rs, a.cs) && b.data.len() > end(k, n, b.rs, b.cs));
    // SAFETY: gemm takes raw pointers; the asserts above keep every element it touches inside the slices, and `out` is
    // borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_rs as isize,
            accumulate,
            a.data.as_ptr(),
            a.cs as isize,
            a.rs as isize,
            b.data.as_ptr(),
            b.cs as isize,
            b.rs as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Contiguous operands on one thread.
#[allow(clippy::too_many_arguments)]
pub fn serial(
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    m: usize,
    n: usize,
    k: usize,
    layout: Layout,
    accumulate: bool,
) {
    strided(
        out,
        n,
        View {
            data: a,
            rs: if layout.trans_a { 1 } else { k },
            cs: if layout.trans_a { m } else { 1 },
        },
        layout.b(b, n, k),
        m,
        n,
        k,
        1.0,
        accumulate,
    );
}

/// `out (+)= op(a)·op(b)`: bands of output rows, one after another or over threads.
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    m: usize,
    n: usize,
    k: usize,
    layout: Layout,
    accumulate: bool,
) {
    // At least 48 rows a band keep the packing of `b` cheap; at most about eight bands keep two to eight threads level.
    let band = m.div_ceil(8).next_multiple_of(48).min(m.max(1));
    par::pieces(&mut out[..m * n], band * n, m * n * k, |i, piece| {
        let rows = piece.len() / n;
        let first = i * band;
        let a = if layout.trans_a {
            View {
                data: &a[first..],
                rs: 1,
                cs: m,
            }
        } else {
            View {
                data: &a[first * k..],
                rs: k,
                cs: 1,
            }
        };
        let b = layout.b(b, n, k);
        strided(piece, n, a, b, rows, n, k, 1.0, accumulate);
    });
}
