//! `out = x · Wᵀ` for every mode. Output rows are split over threads in whole tile groups; how
//! weights meet int8 activations depends on how many rows of those there are, see `bands`.

use super::dots::{Narrow, dots, products};
use super::forward;
use super::int;
use super::matmul::{Precision, Product, View};
use super::simd::{Level, multiversion};
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::math;
use ternary_core::quant::tile::{ROWS, act_stride, read_row, row_stride};

#[cfg(not(target_arch = "wasm32"))]
use bands::product;
#[cfg(target_arch = "wasm32")]
use int::wasm::product;

/// A weight with its buffers borrowed.
#[derive(Clone, Copy)]
pub struct WeightView<'a> {
    pub mode: QuantMode,
    pub data: &'a [u8],
    /// `[out_dim, in_dim / group]`; empty for floats.
    pub scales: &'a [f32],
    /// The same, as [`by_four`] puts them; empty for modes without tiles. A page's kernels do not
    /// need it.
    #[cfg(not(target_arch = "wasm32"))]
    pub by_four: &'a [[f32; ROWS]],
    pub out_dim: usize,
    pub in_dim: usize,
    pub group: usize,
}

/// Scales `[out_dim, spans]` as `[ceil(out_dim / 4)][spans][4]`: those of a tile group's rows side
/// by side. Rows past the last have the last's.
#[cfg(not(target_arch = "wasm32"))]
pub fn by_four(scales: &[f32], spans: usize) -> Vec<[f32; ROWS]> {
    let rows = scales.len() / spans;
    let of = |i: usize| {
        let (group, span) = (i / spans, i % spans);
        std::array::from_fn(|r| scales[(group * ROWS + r).min(rows - 1) * spans + span])
    };
    (0..rows.div_ceil(ROWS) * spans).map(of).collect()
}

/// Rows of a weight that a thread takes at once: whole tile groups.
pub fn shared_rows(out_dim: usize) -> usize {
    (out_dim / 32).next_power_of_two().clamp(ROWS, 256)
}

/// int8 codes `[rows, act_stride(in_dim)]` with a scale per row.
#[derive(Clone, Copy)]
pub struct Int8Rows<'a> {
    pub codes: &'a [i8],
    pub scales: &'a [f32],
}

/// Integer path. `out` `[rows, out_dim]`.
pub fn int8(level: Level, w: &WeightView, x: Int8Rows, out: &mut [f32], rows: usize) {
    product(level, w, x, &sums(w, x, rows), out);
}

/// Σx per row and span of a weight's columns, to make the unsigned codes' sums signed.
fn sums(w: &WeightView, x: Int8Rows, rows: usize) -> Vec<i32> {
    let stride = act_stride(w.in_dim);
    let span = w.group;
    let spans = w.in_dim / span;
    let mut sums = vec![0; rows * spans];
    par::pieces(&mut sums, spans, rows * w.in_dim, |r, sums| {
        let row = &x.codes[r * stride..][..stride];
        for (sum, codes) in sums.iter_mut().zip(row.chunks_exact(span)) {
            *sum = int::sum(codes);
        }
    });
    sums
}

/// [`int8`] of one row of activations with each weight.
#[cfg(not(target_arch = "wasm32"))]
pub fn int8_each<const N: usize>(
    level: Level,
    w: [WeightView; N],
    x: Int8Rows,
    out: [&mut [f32]; N],
) {
    let sums = w.each_ref().map(|w| sums(w, x, 1));
    let x = Int8Rows {
        codes: &x.codes[..w.first().map_or(0, |w| act_stride(w.in_dim))],
        ..x
    };
    bands::products(level, w, x, sums.each_ref().map(|sums| &sums[..]), out);
}

/// Rows of a weight expanded at a time on the way to a float product.
const EXPAND: usize = 64;

/// Up to so many rows of activations, what a row gives is the same to the bit whatever the others
/// are. From more on, expanding the weight pays.
pub const FEW: usize = 16;

/// Float path: float weights, or any mode with `activation_bits: null`. `x` `[rows, in_dim]`, `out`
/// `[rows, out_dim]`.
pub fn float(level: Level, w: &WeightView, x: &[f32], out: &mut [f32], rows: usize) {
    let work = par::work([rows, w.out_dim, w.in_dim.div_ceil(4)]);
    // A wider step's buffer may hold more rows than are valid.
    let x = &x[..rows * w.in_dim];
    if rows == 1 {
        par::pieces(out, EXPAND, work, |i, piece| {
            float_rows(level, w, i * EXPAND, x, piece);
        });
        return;
    }
    if rows <= FEW {
        // `[pieces][rows][EXPAND]`
        let mut pieces = vec![0f32; w.out_dim.next_multiple_of(EXPAND) * rows];
        par::pieces(&mut pieces, EXPAND * rows, work, |i, piece| {
            let first = i * EXPAND;
            let lines = EXPAND.min(w.out_dim - first);
            float_rows(level, w, first, x, &mut piece[..lines * rows]);
        });
        for (r, out) in out.chunks_exact_mut(w.out_dim).enumerate() {
            for (i, out) in out.chunks_mut(EXPAND).enumerate() {
                let at = i * rows * EXPAND + r * out.len();
                out.copy_from_slice(&pieces[at..][..out.len()]);
            }
        }
        return;
    }
    let mut transposed = vec![0f32; w.out_dim * rows];
    par::pieces(&mut transposed, EXPAND * rows, work, |i, piece| {
        let n = piece.len() / rows;
        let mut dense = vec![0f32; n * w.in_dim];
        for (j, line) in dense.chunks_exact_mut(w.in_dim).enumerate() {
            expand_row(w, i * EXPAND + j, line);
        }
        // piece[n, rows] = dense[n, in] · x[rows, in]ᵀ
        let x = View::stored(x, w.in_dim, rows, true);
        Product::new(View::new(&dense, n, w.in_dim), x, Precision::Float).plain(piece, rows);
    });
    for (n, line) in transposed.chunks_exact(rows).enumerate() {
        for (r, v) in line.iter().enumerate() {
            out[r * w.out_dim + n] = *v;
        }
    }
}

/// Rows of activations that share what a weight costs to load and widen. A page's registers hold
/// the sums of one.
const TOGETHER: usize = if cfg!(target_arch = "wasm32") { 1 } else { 4 };

/// Rows `first..` of a weight times the rows of `x`, of which each gives what it gives alone: `out`
/// `[rows, lines]`.
fn float_rows(level: Level, w: &WeightView, first: usize, x: &[f32], out: &mut [f32]) {
    let lines = out.len() / (x.len() / w.in_dim);
    match w.mode {
        QuantMode::F16 => narrow_rows::<u16, 1>(level, w, first, x, out),
        QuantMode::EightBit => {
            narrow_rows::<i8, 4>(level, w, first, x, out);
            for out in out.chunks_exact_mut(lines) {
                for (o, scale) in out.iter_mut().zip(&w.scales[first..]) {
                    *o *= scale;
                }
            }
        }
        QuantMode::F32 => {
            let data: &[f32] = bytemuck::cast_slice(w.data);
            for (x, out) in x.chunks_exact(w.in_dim).zip(out.chunks_exact_mut(lines)) {
                for (j, o) in out.iter_mut().enumerate() {
                    *o = forward::dot(&data[(first + j) * w.in_dim..][..w.in_dim], x);
                }
            }
        }
        QuantMode::Ternary | QuantMode::Binary => {
            let mut codes = vec![0i8; w.in_dim];
            let rows = x.len() / w.in_dim;
            for j in 0..lines {
                read_row(w.mode, w.data, w.in_dim, first + j, &mut codes);
                let scales = &w.scales[(first + j) * (w.in_dim / w.group)..];
                for r in 0..rows {
                    out[r * lines + j] = 0.0;
                }
                for (i, (codes, scale)) in codes.chunks_exact(w.group).zip(scales).enumerate() {
                    let x = |r: usize| &x[r * w.in_dim + i * w.group..][..w.group];
                    row_with_each(level, codes, rows, x, |r, sum| {
                        out[r * lines + j] += scale * sum;
                    });
                }
            }
        }
    }
}

/// [`float_rows`] of row-major weights without their scales. A single row of `x` meets `R` rows of
/// the weight at a time: halves come from memory twice as fast (Zen 4) row after row as in four
/// streams; of bytes, one row has too few for its chain of additions.
fn narrow_rows<W: Narrow + bytemuck::Pod, const R: usize>(
    level: Level,
    w: &WeightView,
    first: usize,
    x: &[f32],
    out: &mut [f32],
) {
    let stride = row_stride(w.mode, w.in_dim);
    let data: &[W] = bytemuck::cast_slice(w.data);
    let row = |j: usize| &data[(first + j) * stride..][..w.in_dim];
    let lines = out.len() / (x.len() / w.in_dim);
    let together = x
        .chunks(TOGETHER * w.in_dim)
        .zip(out.chunks_mut(TOGETHER * lines));
    for (x, out) in together {
        let rows = x.len() / w.in_dim;
        if rows > 1 {
            for j in 0..lines {
                let x = |r: usize| &x[r * w.in_dim..][..w.in_dim];
                row_with_each(level, row(j), rows, x, |r, sum| out[r * lines + j] = sum);
            }
            continue;
        }
        let (whole, rest) = out.as_chunks_mut::<R>();
        let done = R * whole.len();
        for (j, out) in whole.iter_mut().enumerate() {
            *out = dots(level, std::array::from_fn(|r| row(R * j + r)), x);
        }
        for (j, o) in rest.iter_mut().enumerate() {
            [*o] = dots(level, [row(done + j)], x);
        }
    }
}

/// Gives `sum` every row's product with `w`.
fn row_with_each<'a, W: Narrow>(
    level: Level,
    w: &[W],
    rows: usize,
    x: impl Fn(usize) -> &'a [f32],
    mut sum: impl FnMut(usize, f32),
) {
    let mut done = 0;
    while done < rows {
        match rows - done {
            4.. if TOGETHER == 4 => {
                let [sums] = products(level, [w], std::array::from_fn::<_, 4, _>(|r| x(done + r)));
                (0..4).for_each(|r| sum(done + r, sums[r]));
                done += 4;
            }
            2.. if TOGETHER == 4 => {
                let [sums] = products(level, [w], [x(done), x(done + 1)]);
                (0..2).for_each(|r| sum(done + r, sums[r]));
                done += 2;
            }
            _ => {
                let [[product]] = products(level, [w], [x(done)]);
                sum(done, product);
                done += 1;
            }
        }
    }
}

/// Row `row` of a weight as f32.
pub fn expand_row(w: &WeightView, row: usize, out: &mut [f32]) {
    if w.mode == QuantMode::F16 {
        let stride = row_stride(w.mode, w.in_dim);
        let data: &[u16] = bytemuck::cast_slice(w.data);
        widen(&data[row * stride..][..w.in_dim], out);
        return;
    }
    if w.mode == QuantMode::F32 {
        let data: &[f32] = bytemuck::cast_slice(w.data);
        out.copy_from_slice(&data[row * w.in_dim..][..w.in_dim]);
        return;
    }
    let mut codes = vec![0i8; w.in_dim];
    read_row(w.mode, w.data, w.in_dim, row, &mut codes);
    let spans = w.in_dim / w.group;
    for (i, (o, c)) in out.iter_mut().zip(&codes).enumerate() {
        *o = w.scales[row * spans + i / w.group] * f32::from(*c);
    }
}

multiversion! {
    fn widen(w: &[u16], out: &mut [f32]) {
        for (o, h) in out.iter_mut().zip(w) {
            *o = math::half(*h);
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod bands;
#[cfg(test)]
mod tests;
