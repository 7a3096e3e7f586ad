//! f32 matrix products by the `gemm` crate, cut into fixed bands so that the result does not depend on the number of threads.

use super::lattice::Lattice;
use super::par;
#[cfg(target_arch = "x86_64")]
use super::simd::Level;

/// Which operands are stored transposed.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// `a` is stored `[k, m]`.
    pub trans_a: bool,
    /// `b` is stored `[n, k]`.
    pub trans_b: bool,
}

/// How exact a product must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As f32: the forward pass, whose activations are rounded to codes that a smaller error would rarely move.
    Float,
    /// Relative error up to 2⁻¹⁵ of Σ|a·b|: gradients, where a matrix unit makes good use of it.
    Gradient,
}

/// What is asked of a product, and what is known of its operands.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "f32 arithmetic needs to know neither")
)]
pub struct Exactness {
    pub precision: Precision,
    /// Of `a` and `b`.
    pub lattices: [Option<Lattice>; 2],
}

impl From<Precision> for Exactness {
    fn from(precision: Precision) -> Self {
        Exactness {
            precision,
            lattices: [None; 2],
        }
    }
}

/// A matrix inside a larger buffer: element (i, j) is at `i·rs + j·cs`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub rs: usize,
    pub cs: usize,
}

impl Layout {
    /// The left operand, `[m, k]` to its reader.
    fn a<'a>(&self, data: &'a [f32], m: usize, k: usize) -> View<'a> {
        let (rs, cs) = if self.trans_a { (1, m) } else { (k, 1) };
        View { data, rs, cs }
    }

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
    precision: Precision,
) {
    if m == 0 || n == 0 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if amx_pays(m, n, k) {
        let exactness = precision.into();
        return super::amx::matmul(out, out_rs, a, b, m, n, k, alpha, accumulate, exactness);
    }
    // Without a matrix unit f32 arithmetic is the fastest there is, whatever the precision asked for.
    let _ = precision;
    plain(out, out_rs, a, b, m, n, k, alpha, accumulate);
}

/// [`strided`] in f32 arithmetic, by the `gemm` crate.
#[allow(clippy::too_many_arguments)]
fn plain(
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

/// Contiguous operands on one thread, in f32 arithmetic: the same on every machine with these vectors.
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
    plain(
        out,
        n,
        layout.a(a, m, k),
        layout.b(b, n, k),
        m,
        n,
        k,
        1.0,
        accumulate,
    );
}

/// Whether the matrix unit is there and the product large enough to fill its tiles.
#[cfg(target_arch = "x86_64")]
fn amx_pays(m: usize, n: usize, k: usize) -> bool {
    Level::best() == Level::Amx && m.min(n).min(k) >= 16
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
    exactness: Exactness,
) {
    #[cfg(target_arch = "x86_64")]
    if amx_pays(m, n, k) {
        let (a, b) = (layout.a(a, m, k), layout.b(b, n, k));
        return super::amx::matmul(out, n, a, b, m, n, k, 1.0, accumulate, exactness);
    }
    // Without a matrix unit f32 arithmetic is the fastest there is, whatever is asked for or known.
    let _ = exactness;
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
        plain(piece, n, a, b, rows, n, k, 1.0, accumulate);
    });
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::super::amx;
    use super::*;
    use crate::rng::Rng;

    /// Make a buffer with rows of `columns` what its lattice says.
    fn round(x: &mut [f32], columns: usize, lattice: Option<Lattice>) {
        let Some(lattice) = lattice else { return };
        let rows = if lattice.whole { x.len() } else { columns };
        for row in x.chunks_mut(rows) {
            let scale = row.iter().fold(0f32, |m, v| m.max(v.abs())) / lattice.levels;
            for v in row {
                *v = (*v / scale).round() * scale;
            }
        }
    }

    /// Largest error over Σ|a·b|, against f64. Both units sum in f32; 64 additions may each lose 2⁻²⁴.
    fn worst(
        m: usize,
        n: usize,
        k: usize,
        layout: Layout,
        accumulate: bool,
        amx: Option<Exactness>,
    ) -> f64 {
        let mut rng = Rng::new(7);
        let mut values = |len: usize| (0..len).map(|_| rng.normal()).collect::<Vec<f32>>();
        let (mut a, mut b, start) = (values(m * k), values(k * n), values(m * n));
        if let Some(exactness) = amx {
            let [of_a, of_b] = exactness.lattices;
            round(&mut a, if layout.trans_a { m } else { k }, of_a);
            round(&mut b, if layout.trans_b { k } else { n }, of_b);
        }
        let mut out = start.clone();
        if let Some(exactness) = amx {
            let (a, b) = (layout.a(&a, m, k), layout.b(&b, n, k));
            amx::matmul(&mut out, n, a, b, m, n, k, 1.0, accumulate, exactness);
        } else {
            serial(&mut out, &a, &b, m, n, k, layout, accumulate);
        }
        let mut worst = 0f64;
        for i in 0..m {
            for j in 0..n {
                let (mut sum, mut size) = (0.0, 0.0);
                for l in 0..k {
                    let a = a[if layout.trans_a { l * m + i } else { i * k + l }];
                    let b = b[if layout.trans_b { j * k + l } else { l * n + j }];
                    sum += f64::from(a) * f64::from(b);
                    size += (f64::from(a) * f64::from(b)).abs();
                }
                if accumulate {
                    sum += f64::from(start[i * n + j]);
                    size += f64::from(start[i * n + j]).abs();
                }
                worst = worst.max((f64::from(out[i * n + j]) - sum).abs() / size);
            }
        }
        worst
    }

    #[test]
    fn the_matrix_unit_is_as_exact_as_it_says() {
        if !amx::available() {
            eprintln!("SKIPPED: this machine has no AMX");
            return;
        }
        for (m, n, k) in [
            (1, 1, 1),
            (3, 65, 257),
            (32, 32, 32),
            (65, 31, 33),
            (257, 70, 3),
            (40, 300, 600),
        ] {
            for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
                let layout = Layout { trans_a, trans_b };
                for accumulate in [false, true] {
                    let with = |amx| worst(m, n, k, layout, accumulate, amx);
                    let f32s = with(None);
                    let float = with(Some(Precision::Float.into()));
                    let gradient = with(Some(Precision::Gradient.into()));
                    let case = format!("{m}×{n}×{k} {layout:?} {accumulate}");
                    assert!(
                        float < 2.0 * f32s.max(3e-7),
                        "{case}: {float:e}, f32 {f32s:e}"
                    );
                    assert!(gradient < 3.1e-5, "{case}: {gradient:e}");
                }
            }
        }
    }

    #[test]
    fn quantised_operands_are_multiplied_as_codes() {
        if !amx::available() {
            eprintln!("SKIPPED: this machine has no AMX");
            return;
        }
        let lattice = |levels, whole| Some(Lattice::hard(levels, whole));
        for (m, n, k) in [(32, 32, 32), (65, 40, 300), (17, 100, 33)] {
            for weights in [
                lattice(1.0, true),
                lattice(1.0, false),
                lattice(127.0, false),
            ] {
                for (trans_a, trans_b, a, precision, limit) in [
                    // Integers: only the scales and the last product are rounded.
                    (
                        false,
                        true,
                        lattice(127.0, false),
                        Precision::Float,
                        3e-7f64,
                    ),
                    (false, true, None, Precision::Float, 1e-6),
                    // One operand in two pieces: 2⁻¹⁶.
                    (true, false, None, Precision::Gradient, 1.6e-5),
                    (false, false, None, Precision::Gradient, 1.6e-5),
                ] {
                    let layout = Layout { trans_a, trans_b };
                    let exactness = Exactness {
                        precision,
                        lattices: [a, weights],
                    };
                    for accumulate in [false, true] {
                        // Forward products are never added to; asked to, they fall back to pieces.
                        let worst = worst(m, n, k, layout, accumulate, Some(exactness));
                        let limit = if accumulate { limit.max(1e-6) } else { limit };
                        assert!(
                            worst < limit,
                            "{m}×{n}×{k} {layout:?} {weights:?} {accumulate}: {worst:e}"
                        );
                    }
                }
            }
        }
    }
}
