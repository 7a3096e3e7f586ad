//! Products with int8 activations by bands of output rows, which threads share.

use super::{Int8Rows, WeightView};
use crate::cpu::int::{self, Sums};
use crate::cpu::simd::Level;
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{ROWS, TILE_BYTES, act_stride, row_stride, tiles};

/// Activation rows whose sums are computed together.
const TOKENS: usize = 4;

/// `out` `[rows, out_dim]` of `x` `[rows, in_dim]`; `sums` of its codes `[rows, spans]`.
pub fn product(level: Level, w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    let rows = out.len() / w.out_dim;
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
            band_rows(level, w, x, sums, i * band, 0, 1, piece);
        });
        return;
    }
    let mut transposed = vec![0f32; w.out_dim * rows];
    par::pieces(&mut transposed, band * rows, work, |i, piece| {
        band_rows(level, w, x, sums, i * band, 0, rows, piece);
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
