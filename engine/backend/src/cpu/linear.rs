//! `out = x · Wᵀ` for every mode. Weights are streamed once per four activation rows; output rows
//! are split over threads in whole tile groups.

use super::forward;
use super::halves;
use super::int::{self, Sums};
use super::matmul::{Precision, Product, View};
use super::simd::{Level, multiversion};
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::math;
use ternary_core::quant::tile::{ROWS, act_stride, read_row, row_stride, tile_cols, tiles};

/// A weight with its buffers borrowed.
#[derive(Clone, Copy)]
pub struct WeightView<'a> {
    pub mode: QuantMode,
    pub data: &'a [u8],
    /// `[out_dim, in_dim / group]`; empty for floats.
    pub scales: &'a [f32],
    pub out_dim: usize,
    pub in_dim: usize,
    pub group: usize,
}

/// int8 codes `[rows, act_stride(in_dim)]` with a scale per row.
#[derive(Clone, Copy)]
pub struct Int8Rows<'a> {
    pub codes: &'a [i8],
    pub scales: &'a [f32],
}

/// Activation rows whose sums are computed together.
const TOKENS: usize = 4;

/// Integer path. `out` `[rows, out_dim]`.
pub fn int8(level: Level, w: &WeightView, x: Int8Rows, out: &mut [f32], rows: usize) {
    let stride = act_stride(w.in_dim);
    // Σx per span of columns, to make the unsigned codes' sums signed.
    let span = w.group;
    let spans = w.in_dim / span;
    let sums: Vec<i32> = (0..rows * spans)
        .map(|i| {
            let at = i / spans * stride + i % spans * span;
            int::sum(&x.codes[at..at + span])
        })
        .collect();
    #[cfg(target_arch = "wasm32")]
    if int::wasm::product(level, w, x, &sums, out) {
        return;
    }
    // Threads take bands of output rows; each band is computed for all tokens into its own part of
    // a transposed buffer.
    let band = ROWS
        * (w.out_dim / 32)
            .div_ceil(ROWS)
            .max(1)
            .next_power_of_two()
            .min(64);
    let work = rows * w.out_dim * w.in_dim / 32;
    if rows == 1 {
        par::pieces(out, band, work, |i, piece| {
            band_rows(level, w, x, &sums, i * band, 0, 1, piece);
        });
        return;
    }
    let mut transposed = vec![0f32; w.out_dim * rows];
    par::pieces(&mut transposed, band * rows, work, |i, piece| {
        band_rows(level, w, x, &sums, i * band, 0, rows, piece);
    });
    for (n, line) in transposed.chunks_exact(rows).enumerate() {
        for (r, v) in line.iter().enumerate() {
            out[r * w.out_dim + n] = *v;
        }
    }
}

/// Output rows `first..` of a band for activation rows `from..to`, into `out`
/// `[band rows, to − from]`.
#[allow(clippy::too_many_arguments)]
fn band_rows(
    level: Level,
    w: &WeightView,
    x: Int8Rows,
    sums: &[i32],
    first: usize,
    from: usize,
    to: usize,
    out: &mut [f32],
) {
    let count = to - from;
    for (g, lines) in out.chunks_mut(ROWS * count).enumerate() {
        let row = first + g * ROWS;
        let mut t = from;
        while t < to {
            if to - t >= TOKENS {
                tokens::<TOKENS>(level, w, x, sums, row, t, t - from, count, lines);
                t += TOKENS;
            } else {
                tokens::<1>(level, w, x, sums, row, t, t - from, count, lines);
                t += 1;
            }
        }
    }
}

/// Four output rows × `T` activation rows.
#[allow(clippy::too_many_arguments)]
#[inline]
fn tokens<const T: usize>(
    level: Level,
    w: &WeightView,
    x: Int8Rows,
    sums: &[i32],
    row: usize,
    t: usize,
    column: usize,
    count: usize,
    lines: &mut [f32],
) {
    let stride = act_stride(w.in_dim);
    let spans = w.in_dim / w.group;
    let xs: [&[i8]; T] = std::array::from_fn(|i| &x.codes[(t + i) * stride..][..stride]);
    let rows_here = lines.len() / count;
    for s in 0..spans {
        let raw: Sums<T> = span_sums(level, w, row, xs, s);
        for (i, raw) in raw.iter().enumerate() {
            let sum_x = sums[(t + i) * spans + s];
            let act_scale = x.scales[t + i];
            for (r, raw) in raw.iter().enumerate().take(rows_here) {
                let signed = match w.mode {
                    QuantMode::Ternary => raw - sum_x,
                    QuantMode::Binary => 2 * raw - sum_x,
                    QuantMode::EightBit | QuantMode::F16 | QuantMode::F32 => *raw,
                };
                let value = w.scales[(row + r) * spans + s] * signed as f32;
                let out = &mut lines[r * count + column + i];
                *out = if s == 0 { value } else { *out + value };
                if s + 1 == spans {
                    *out *= act_scale;
                }
            }
        }
    }
}

/// Raw sums of one span of columns (the whole row when scales are per row or tensor).
#[inline]
fn span_sums<const T: usize>(
    level: Level,
    w: &WeightView,
    row: usize,
    x: [&[i8]; T],
    span: usize,
) -> Sums<T> {
    let cols = tile_cols(w.mode);
    match w.mode {
        QuantMode::EightBit => {
            let stride = row_stride(w.mode, w.in_dim);
            let rows: [&[i8]; 4] = std::array::from_fn(|r| {
                let r = (row + r).min(w.out_dim - 1);
                bytemuck::cast_slice(&w.data[r * stride..][..stride])
            });
            int::int8(level, rows, x, stride)
        }
        QuantMode::Ternary | QuantMode::Binary => {
            let all = tiles(w.mode, w.in_dim);
            let group = &w.data[row / ROWS * all * 128..][..all * 128];
            if w.group == w.in_dim || w.group.is_multiple_of(cols) {
                let (first, n) = if w.group == w.in_dim {
                    (0, all)
                } else {
                    (span * w.group / cols, w.group / cols)
                };
                let group = &group[first * 128..];
                let x = x.map(|x| &x[first * cols..]);
                match w.mode {
                    QuantMode::Ternary => int::ternary(level, group, x, n),
                    _ => int::binary(level, group, x, n),
                }
            } else {
                // Scales finer than a tile: sum its 32-column fields one by one.
                let mut out = [[0i32; 4]; T];
                for field in span * w.group / 32..(span + 1) * w.group / 32 {
                    let per_tile = cols / 32;
                    let tile = &group[field / per_tile * 128..][..128];
                    for (o, x) in out.iter_mut().zip(&x) {
                        let x = &x[field * 32..][..32];
                        let part = match w.mode {
                            QuantMode::Ternary => int::field::<2>(tile, x, field % per_tile),
                            _ => int::field::<1>(tile, x, field % per_tile),
                        };
                        for (o, p) in o.iter_mut().zip(part) {
                            *o += p;
                        }
                    }
                }
                out
            }
        }
        QuantMode::F32 | QuantMode::F16 => unreachable!("float weights take float activations"),
    }
}

/// Rows of a weight expanded at a time on the way to a float product.
const EXPAND: usize = 64;

/// Float path: float weights, or any mode with `activation_bits: null`. `x` `[rows, in_dim]`, `out`
/// `[rows, out_dim]`.
pub fn float(level: Level, w: &WeightView, x: &[f32], out: &mut [f32], rows: usize) {
    let work = rows * w.out_dim * w.in_dim / 4;
    // A wider step's buffer may hold more rows than are valid.
    let x = &x[..rows * w.in_dim];
    if rows == 1 {
        par::pieces(out, EXPAND, work, |i, piece| {
            if w.mode == QuantMode::F16 {
                let stride = row_stride(w.mode, w.in_dim);
                let data: &[u16] = bytemuck::cast_slice(w.data);
                let row = |j: usize| &data[(i * EXPAND + j) * stride..][..w.in_dim];
                let (fours, rest) = piece.as_chunks_mut::<4>();
                for (j, four) in fours.iter_mut().enumerate() {
                    *four = halves::dots(level, [0, 1, 2, 3].map(|r| row(4 * j + r)), x);
                }
                for (j, o) in rest.iter_mut().enumerate() {
                    [*o] = halves::dots(level, [row(4 * fours.len() + j)], x);
                }
            } else if w.mode == QuantMode::F32 {
                let data: &[f32] = bytemuck::cast_slice(w.data);
                for (j, o) in piece.iter_mut().enumerate() {
                    *o = forward::dot(&data[(i * EXPAND + j) * w.in_dim..][..w.in_dim], x);
                }
            } else {
                let mut line = vec![0f32; w.in_dim];
                for (j, o) in piece.iter_mut().enumerate() {
                    expand_row(w, i * EXPAND + j, &mut line);
                    *o = math::dot(&line, x);
                }
            }
        });
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

#[cfg(test)]
mod tests;
