//! `out = x · Wᵀ` for every mode. Weights are streamed once per four activation rows; output rows
//! are split over threads in whole tile groups.

use super::dots::{Narrow, dots};
use super::forward;
use super::int::{self, Sums};
use super::matmul::{Precision, Product, View};
use super::simd::{Level, multiversion};
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::math;
use ternary_core::quant::tile::{ROWS, TILE_BYTES, act_stride, read_row, row_stride, tiles};

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
    let mut work = Work::default();
    for (g, lines) in out.chunks_mut(ROWS * count).enumerate() {
        let row = first + g * ROWS;
        let mut put = |t: usize, results: &[[f32; ROWS]]| {
            for (i, four) in results.iter().enumerate() {
                for (line, v) in lines.chunks_exact_mut(count).zip(four) {
                    line[t - from + i] = *v;
                }
            }
        };
        let mut t = from;
        while t < to {
            if to - t >= TOKENS {
                put(t, &tokens(level, w, x, sums, row, t, &mut work.four));
                t += TOKENS;
            } else {
                put(t, &tokens(level, w, x, sums, row, t, &mut work.one));
                t += 1;
            }
        }
    }
}

/// Sums of the spans of four output rows, kept between them.
#[derive(Default)]
struct Work {
    one: Vec<Sums<1>>,
    four: Vec<Sums<TOKENS>>,
}

/// Four output rows × `T` activation rows.
#[inline]
fn tokens<const T: usize>(
    level: Level,
    w: &WeightView,
    x: Int8Rows,
    sums: &[i32],
    row: usize,
    t: usize,
    raw: &mut Vec<Sums<T>>,
) -> [[f32; ROWS]; T] {
    let stride = act_stride(w.in_dim);
    let spans = w.in_dim / w.group;
    let xs: [&[i8]; T] = std::array::from_fn(|i| &x.codes[(t + i) * stride..][..stride]);
    raw.resize(spans, [[0; ROWS]; T]);
    if let [whole] = raw.as_mut_slice() {
        *whole = row_sums(level, w, row, xs);
    } else {
        let tile_group = tiles(w.mode, w.in_dim) * ROWS * TILE_BYTES;
        let data = &w.data[row / ROWS * tile_group..][..tile_group];
        match w.mode {
            QuantMode::Binary => int::spans::<T, 1>(level, data, xs, w.group, raw),
            _ => int::spans::<T, 2>(level, data, xs, w.group, raw),
        }
    }
    // Of rows past the last, as of the last.
    let scales = std::array::from_fn(|r| {
        let row = (row + r).min(w.out_dim - 1);
        &w.scales[row * spans..][..spans]
    });
    std::array::from_fn(|i| {
        let own = &sums[(t + i) * spans..][..spans];
        scaled(w.mode, raw, i, own, scales, x.scales[t + i])
    })
}

/// Σ scale · sum over the spans of four rows, in order, of activation row `i`, whose codes add up
/// to `sum_x` and have the scale `act_scale`. Four lanes are what every processor adds at once.
#[inline]
fn scaled<const T: usize>(
    mode: QuantMode,
    raw: &[Sums<T>],
    i: usize,
    sum_x: &[i32],
    scales: [&[f32]; ROWS],
    act_scale: f32,
) -> [f32; ROWS] {
    // Unsigned codes' sums become signed: Σ(c−1)x = Σcx − Σx, Σ(2b−1)x = 2Σbx − Σx.
    let (shift, unsigned) = match mode {
        QuantMode::Ternary => (0, -1),
        QuantMode::Binary => (1, -1),
        QuantMode::EightBit | QuantMode::F16 | QuantMode::F32 => (0, 0),
    };
    let scales = scales.map(|scales| &scales[..raw.len()]);
    let mut total = [0f32; ROWS];
    for (s, (raw, sum_x)) in raw.iter().zip(sum_x).enumerate() {
        let off = sum_x & unsigned;
        let signed: [i32; ROWS] = raw[i].map(|raw| (raw << shift) - off);
        for r in 0..ROWS {
            total[r] += scales[r][s] * signed[r] as f32;
        }
    }
    total.map(|v| v * act_scale)
}

/// Raw sums of whole rows.
#[inline]
fn row_sums<const T: usize>(level: Level, w: &WeightView, row: usize, x: [&[i8]; T]) -> Sums<T> {
    let all = tiles(w.mode, w.in_dim);
    let tile_group = || &w.data[row / ROWS * all * ROWS * TILE_BYTES..];
    match w.mode {
        QuantMode::EightBit => {
            let stride = row_stride(w.mode, w.in_dim);
            let rows: [&[i8]; 4] = std::array::from_fn(|r| {
                let r = (row + r).min(w.out_dim - 1);
                bytemuck::cast_slice(&w.data[r * stride..][..stride])
            });
            int::int8(level, rows, x, stride)
        }
        QuantMode::Ternary => int::ternary(level, tile_group(), x, all),
        QuantMode::Binary => int::binary(level, tile_group(), x, all),
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
            let first = i * EXPAND;
            match w.mode {
                QuantMode::F16 => dense_rows::<u16>(level, w, first, x, piece),
                QuantMode::EightBit => {
                    dense_rows::<i8>(level, w, first, x, piece);
                    for (o, scale) in piece.iter_mut().zip(&w.scales[first..]) {
                        *o *= scale;
                    }
                }
                QuantMode::F32 => {
                    let data: &[f32] = bytemuck::cast_slice(w.data);
                    for (j, o) in piece.iter_mut().enumerate() {
                        *o = forward::dot(&data[(first + j) * w.in_dim..][..w.in_dim], x);
                    }
                }
                QuantMode::Ternary | QuantMode::Binary => {
                    let mut codes = vec![0i8; w.in_dim];
                    for (j, o) in piece.iter_mut().enumerate() {
                        read_row(w.mode, w.data, w.in_dim, first + j, &mut codes);
                        let scales = &w.scales[(first + j) * (w.in_dim / w.group)..];
                        let spans = codes.chunks_exact(w.group).zip(x.chunks_exact(w.group));
                        *o = spans
                            .zip(scales)
                            .map(|((codes, x), scale)| scale * dots(level, [codes], x)[0])
                            .sum();
                    }
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

/// Rows `first..` of a row-major weight times `x`, without scales.
fn dense_rows<W: Narrow + bytemuck::Pod>(
    level: Level,
    w: &WeightView,
    first: usize,
    x: &[f32],
    out: &mut [f32],
) {
    let stride = row_stride(w.mode, w.in_dim);
    let data: &[W] = bytemuck::cast_slice(w.data);
    let row = |j: usize| &data[(first + j) * stride..][..w.in_dim];
    let (fours, rest) = out.as_chunks_mut::<4>();
    for (j, four) in fours.iter_mut().enumerate() {
        *four = dots(level, [0, 1, 2, 3].map(|r| row(4 * j + r)), x);
    }
    for (j, o) in rest.iter_mut().enumerate() {
        [*o] = dots(level, [row(4 * fours.len() + j)], x);
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
