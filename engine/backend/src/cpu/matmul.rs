//! f32 matrix products, cut into fixed bands so that the result does not depend on the number of
//! threads: natively by the matrix unit, as sums of integers (`integers`) or by the `gemm` crate,
//! in the browser and at [`Level::Portable`] in [`portable`]'s order of sums.

use super::portable;
#[cfg(not(target_arch = "wasm32"))]
use super::simd::Level;
use ternary_common::platform::par;

/// How exact a product must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As f32: the forward pass, whose activations are rounded to codes that a smaller error would
    /// rarely move.
    Float,
    /// Gradients: relative error up to 2⁻¹⁵ of Σ|a·b| on a matrix unit, and of `a`, where it meets
    /// codes, 2⁻¹⁶ of the largest of 64 (see `integers`).
    Gradient,
}

/// What is asked of a product, and what is known of its operands.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    any(not(target_arch = "x86_64"), not(feature = "training")),
    allow(dead_code, reason = "f32 arithmetic needs to know neither")
)]
pub struct Exactness<'a> {
    pub precision: Precision,
    /// Of `a` and `b`, if their rows in memory are integers up to ±127 times a scale: one of all
    /// rows, or one of every row.
    pub scales: [Option<&'a [f32]>; 2],
}

impl From<Precision> for Exactness<'_> {
    fn from(precision: Precision) -> Self {
        Exactness {
            precision,
            scales: [None; 2],
        }
    }
}

/// A matrix inside a larger buffer: element (i, j) is at `i·rs + j·cs`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub rs: usize,
    pub cs: usize,
}

impl<'a> View<'a> {
    /// `[rows, cols]` at the beginning of `data`, rows one after another.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        View {
            data,
            rows,
            cols,
            rs: cols,
            cs: 1,
        }
    }

    /// As [`View::new`]; if `transposed`, it is stored `[cols, rows]`.
    pub fn stored(data: &'a [f32], rows: usize, cols: usize, transposed: bool) -> Self {
        if transposed {
            View::new(data, cols, rows).transposed()
        } else {
            View::new(data, rows, cols)
        }
    }

    pub fn transposed(self) -> Self {
        View {
            rows: self.cols,
            cols: self.rows,
            rs: self.cs,
            cs: self.rs,
            ..self
        }
    }

    /// `count` rows from `first` on.
    pub fn band(self, first: usize, count: usize) -> Self {
        View {
            data: &self.data[first * self.rs..],
            rows: count,
            ..self
        }
    }

    /// Whether every element is inside `data`; none of an empty matrix is.
    pub fn is_inside(&self) -> bool {
        self.rows > 0
            && self.cols > 0
            && self.data.len() > (self.rows - 1) * self.rs + (self.cols - 1) * self.cs
    }
}

/// `out (+)= alpha · a · b`; `a` is `[m, k]`, `b` `[k, n]`, `out` `[m, n]`.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    pub a: View<'a>,
    pub b: View<'a>,
    pub alpha: f32,
    /// Add to what `out` holds.
    pub accumulate: bool,
    #[cfg_attr(
        any(not(target_arch = "x86_64"), not(feature = "training")),
        allow(dead_code, reason = "f32 arithmetic does not ask for it")
    )]
    pub exactness: Exactness<'a>,
}

impl<'a> Product<'a> {
    /// `out = a · b`.
    pub fn new(a: View<'a>, b: View<'a>, exactness: impl Into<Exactness<'a>>) -> Self {
        Product {
            a,
            b,
            alpha: 1.0,
            accumulate: false,
            exactness: exactness.into(),
        }
    }

    /// m, n and k.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.a.rows, self.b.cols, self.a.cols)
    }

    /// Into contiguous `out`: bands of its rows, one after another or over threads.
    pub fn spread(&self, out: &mut [f32]) {
        let (m, n, k) = self.sizes();
        #[cfg(target_arch = "x86_64")]
        if self.suits_amx() {
            return super::amx::product(self, out, n);
        }
        #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
        if super::integers::product(Level::best(), self, out) {
            return;
        }
        // At least 48 rows a band keep the packing of `b` cheap; at most about eight bands keep two
        // to eight threads level.
        let band = m.div_ceil(8).next_multiple_of(48).min(m.max(1));
        let work = par::work([m, n, k]);
        par::pieces(&mut out[..m * n], band * n, work, |i, piece| {
            let a = self.a.band(i * band, piece.len() / n);
            Product { a, ..*self }.plain(piece, n);
        });
    }

    /// On one thread, into rows `out_rs` apart.
    pub fn serial(&self, out: &mut [f32], out_rs: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.suits_amx() {
            return super::amx::product(self, out, out_rs);
        }
        self.plain(out, out_rs);
    }

    /// Whether the matrix unit is there and the product large enough to fill its tiles.
    #[cfg(target_arch = "x86_64")]
    fn suits_amx(&self) -> bool {
        let (m, n, k) = self.sizes();
        Level::best() == Level::Amx && m.min(n).min(k) >= 16
    }

    /// On one thread in f32 arithmetic, the same on every machine with these vectors, whatever
    /// exactness is asked for.
    pub fn plain(&self, out: &mut [f32], out_rs: usize) {
        let (a, b) = (self.a, self.b);
        let (m, n, k) = self.sizes();
        if m == 0 || n == 0 {
            return;
        }
        assert!(out.len() > (m - 1) * out_rs + n - 1);
        assert!(a.is_inside() && b.is_inside() && b.rows == k);
        #[cfg(not(target_arch = "wasm32"))]
        if Level::best() != Level::Portable {
            return self.fused(out, out_rs);
        }
        portable::product(self, out, out_rs);
    }

    /// By the `gemm` crate, whose kernels round a product and its sum once: the fastest without a
    /// matrix unit. The caller has checked the sizes.
    #[cfg(not(target_arch = "wasm32"))]
    fn fused(&self, out: &mut [f32], out_rs: usize) {
        let (a, b) = (self.a, self.b);
        let (m, n, k) = self.sizes();
        // SAFETY: gemm takes raw pointers; the asserts of `plain` keep every element it touches
        // inside the slices, and `out` is borrowed mutably, so it overlaps neither input.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                out.as_mut_ptr(),
                1,
                out_rs as isize,
                self.accumulate,
                a.data.as_ptr(),
                a.cs as isize,
                a.rs as isize,
                b.data.as_ptr(),
                b.cs as isize,
                b.rs as isize,
                1.0,
                self.alpha,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::super::amx;
    use super::*;
    use ternary_core::rng::Rng;

    /// How an operand is quantized.
    #[derive(Clone, Copy, Debug)]
    struct Codes {
        levels: f32,
        /// One scale for all rows.
        whole: bool,
    }

    /// Round a buffer with rows of `columns` to codes; answers the scales.
    fn round(x: &mut [f32], columns: usize, codes: Codes) -> Vec<f32> {
        let span = if codes.whole { x.len() } else { columns };
        let round = |row: &mut [f32]| {
            let scale = row.iter().fold(0f32, |m, v| m.max(v.abs())) / codes.levels;
            for v in row {
                *v = (*v / scale).round() * scale;
            }
            scale
        };
        x.chunks_mut(span).map(round).collect()
    }

    /// Largest error over Σ|a·b|, against f64, of the matrix unit with a precision or of plain f32
    /// without one. Both units sum in f32; 64 additions may each lose 2⁻²⁴.
    fn worst(
        [m, n, k]: [usize; 3],
        [trans_a, trans_b]: [bool; 2],
        accumulate: bool,
        precision: Option<Precision>,
        codes: [Option<Codes>; 2],
    ) -> f64 {
        let mut rng = Rng::new(7);
        let mut values = |len: usize| (0..len).map(|_| rng.normal()).collect::<Vec<f32>>();
        let (mut a, mut b, start) = (values(m * k), values(k * n), values(m * n));
        let of_a = codes[0].map(|c| round(&mut a, if trans_a { m } else { k }, c));
        let of_b = codes[1].map(|c| round(&mut b, if trans_b { k } else { n }, c));
        let mut out = start.clone();
        let product = Product {
            accumulate,
            ..Product::new(
                View::stored(&a, m, k, trans_a),
                View::stored(&b, k, n, trans_b),
                Exactness {
                    precision: precision.unwrap_or(Precision::Float),
                    scales: [of_a.as_deref(), of_b.as_deref()],
                },
            )
        };
        if precision.is_some() {
            amx::product(&product, &mut out, n);
        } else {
            product.plain(&mut out, n);
        }
        let mut worst = 0f64;
        for i in 0..m {
            for j in 0..n {
                let (mut sum, mut size) = (0.0, 0.0);
                for l in 0..k {
                    let a = a[if trans_a { l * m + i } else { i * k + l }];
                    let b = b[if trans_b { j * k + l } else { l * n + j }];
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
            for layout in [[false, false], [false, true], [true, false], [true, true]] {
                for accumulate in [false, true] {
                    let with =
                        |precision| worst([m, n, k], layout, accumulate, precision, [None; 2]);
                    let f32s = with(None);
                    let float = with(Some(Precision::Float));
                    let gradient = with(Some(Precision::Gradient));
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
    fn quantized_operands_are_multiplied_as_codes() {
        if !amx::available() {
            eprintln!("SKIPPED: this machine has no AMX");
            return;
        }
        let codes = |levels, whole| Some(Codes { levels, whole });
        for (m, n, k) in [(32, 32, 32), (65, 40, 300), (17, 100, 33)] {
            for weights in [codes(1.0, true), codes(1.0, false), codes(127.0, false)] {
                for (trans_a, trans_b, a, precision, limit) in [
                    // Integers: only the scales and the last product are rounded.
                    (false, true, codes(127.0, false), Precision::Float, 3e-7f64),
                    (false, true, None, Precision::Float, 1e-6),
                    // One operand in two pieces: 2⁻¹⁶.
                    (true, false, None, Precision::Gradient, 1.6e-5),
                    (false, false, None, Precision::Gradient, 1.6e-5),
                ] {
                    let layout = [trans_a, trans_b];
                    for accumulate in [false, true] {
                        // Forward products are never added to; asked to, they fall back to pieces.
                        let worst =
                            worst([m, n, k], layout, accumulate, Some(precision), [a, weights]);
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
