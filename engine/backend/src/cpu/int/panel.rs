//! Many rows of activations: sixteen weight rows at a time are unpacked once, into a *panel*, and
//! meet the activations, which are packed likewise, sixteen rows at a time.
//!
//! A panel `[columns / 4][16 rows]` of words holds four columns' codes of a row in each word, for
//! instructions that multiply and add four bytes; where there are none it is `[columns][16 rows]`
//! of i16. The lanes of a register are rows, so no sum has to be added up across lanes, and a
//! span's scales are vectors.

use super::super::simd::{Level, multiversion};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::cpu::linear::{Int8Rows, WeightView};
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{self, TILE_BYTES, act_stride, row_stride};

/// Weight rows of a panel.
pub const ROWS: usize = 16;
/// The most activation rows that a panel meets at once; fewer are a multiple of four.
const TOKENS: usize = 16;

/// Σ for every weight row of a panel.
pub type Sums = [i32; ROWS];

/// What panels are made of.
trait Lane: Copy + Default + Send + Sync {
    /// Columns of an element.
    const COLUMNS: usize;

    /// Writes step `step` of a panel `width` wide: four codes for each of its rows.
    fn put(panel: &mut [Self], step: usize, width: usize, words: &[u32], signed: bool);
}

impl Lane for u32 {
    const COLUMNS: usize = 4;

    #[inline(always)]
    fn put(panel: &mut [u32], step: usize, width: usize, words: &[u32], _: bool) {
        panel[step * width..][..width].copy_from_slice(&words[..width]);
    }
}

impl Lane for i16 {
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn put(panel: &mut [i16], step: usize, width: usize, words: &[u32], signed: bool) {
        let lines = panel[4 * step * width..][..4 * width].chunks_exact_mut(width);
        for (b, line) in lines.enumerate() {
            for (to, word) in line.iter_mut().zip(words) {
                let code = (word >> (8 * b)) as u8;
                *to = if signed {
                    i16::from(code as i8)
                } else {
                    i16::from(code)
                };
            }
        }
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Weight rows `first..` as a panel; rows past the last are those of zeros or the last again.
/// `flip` turns int8 codes into unsigned ones.
fn weights<L: Lane>(w: &WeightView, first: usize, flip: bool, panel: &mut [L]) {
    if w.mode == QuantMode::EightBit {
        let stride = row_stride(w.mode, w.in_dim);
        let rows: [&[u8]; ROWS] = std::array::from_fn(|r| {
            let row = (first + r).min(w.out_dim - 1);
            &w.data[row * stride..][..stride]
        });
        let flip = if flip { 0x8080_8080 } else { 0 };
        for step in 0..stride / 4 {
            let words = rows.map(|row| word(&row[4 * step..]) ^ flip);
            L::put(panel, step, ROWS, &words, true);
        }
        return;
    }
    let bits = match w.mode {
        QuantMode::Binary => 1,
        _ => 2,
    };
    let mask = ((1u32 << bits) - 1) * 0x0101_0101;
    let per_tile = 8 / bits;
    let tiles = tile::tiles(w.mode, w.in_dim);
    let group = tiles * tile::ROWS * TILE_BYTES;
    let last = w.out_dim.div_ceil(tile::ROWS) - 1;
    let groups: [&[u8]; ROWS / tile::ROWS] = std::array::from_fn(|g| {
        let g = (first / tile::ROWS + g).min(last);
        &w.data[g * group..][..group]
    });
    for t in 0..tiles {
        // Four columns of every field in each word.
        let mut columns = [[0u32; ROWS]; TILE_BYTES / 4];
        for (g, data) in groups.iter().enumerate() {
            let lines = data[t * 128..][..128].chunks_exact(TILE_BYTES);
            for (r, line) in lines.enumerate() {
                for (column, bytes) in columns.iter_mut().zip(line.chunks_exact(4)) {
                    column[tile::ROWS * g + r] = word(bytes);
                }
            }
        }
        for f in 0..per_tile {
            for (q, words) in columns.iter().enumerate() {
                let words = words.map(|word| (word >> (bits * f)) & mask);
                let step = (t * per_tile + f) * columns.len() + q;
                L::put(panel, step, ROWS, &words, false);
            }
        }
    }
}

/// Activation rows as panels of `TOKENS`, the last of as many fours as are needed: rows past the
/// last are zeros.
fn activations<L: Lane>(x: Int8Rows, rows: usize, columns: usize, stride: usize) -> Vec<L> {
    let padded = rows.next_multiple_of(4);
    let mut packed = vec![L::default(); padded * columns / L::COLUMNS];
    let block = TOKENS * columns / L::COLUMNS;
    let codes: &[u8] = bytemuck::cast_slice(x.codes);
    par::pieces(&mut packed, block, padded * columns / 4, |i, panel| {
        let width = panel.len() * L::COLUMNS / columns;
        let line = |t: usize| {
            let row = i * TOKENS + t;
            (t < width && row < rows).then(|| &codes[row * stride..][..columns])
        };
        let lines: [Option<&[u8]>; TOKENS] = std::array::from_fn(line);
        for step in 0..columns / 4 {
            let words = lines.map(|line| line.map_or(0, |line| word(&line[4 * step..])));
            L::put(panel, step, width, &words, true);
        }
    });
    packed
}

/// Sums of the words' steps: of codes of `bits` bits, or of int8 codes.
fn words(level: Level, mode: QuantMode, w: &[u32], x: &[u32], out: &mut [Sums]) {
    let steps = w.len() / ROWS;
    assert!(
        w.len() == steps * ROWS
            && x.len() == steps * out.len()
            && matches!(out.len(), 4 | 8 | 12 | 16)
    );
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::Amx | Level::Avx512Vnni => unsafe {
            match out.len() {
                4 => x86::panel_avx512::<4>(w, x, out),
                8 => x86::panel_avx512::<8>(w, x, out),
                12 => x86::panel_avx512::<12>(w, x, out),
                _ => x86::panel_avx512::<16>(w, x, out),
            }
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => unsafe { x86::panel_avxvnni(w, x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe {
            match mode {
                QuantMode::EightBit => x86::panel_int8_avx2(w, x, out),
                _ => x86::panel_avx2(w, x, out),
            }
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the level was detected.
        Level::NeonDot => unsafe { neon::panel_dot(w, x, out) },
        _ => unreachable!("panels of i16 at {}", level.name()),
    }
}

fn halves(_: Level, mode: QuantMode, w: &[i16], x: &[i16], out: &mut [Sums]) {
    match mode {
        QuantMode::EightBit => portable::panel_int8(w, x, out),
        _ => portable::panel(w, x, out),
    }
}

/// Whether int8 weights are made unsigned at a level: its instruction multiplies unsigned by signed
/// bytes.
fn flips(level: Level) -> bool {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Amx | Level::Avx512Vnni | Level::AvxVnni => true,
        _ => false,
    }
}

multiversion! {
    /// `total += scale · signed sum` of a span for every row of a panel; `double` and `offset` make
    /// the sum signed.
    fn add_span(total: &mut [f32; ROWS], raw: &Sums, double: i32, offset: i32, scales: &[f32; ROWS]) {
        for r in 0..ROWS {
            let signed = raw[r].wrapping_mul(double).wrapping_sub(offset);
            total[r] += scales[r] * signed as f32;
        }
    }
}

/// `out` `[rows, out_dim]` of `x` `[rows, in_dim]`; `sums` of its codes `[rows, spans]`.
pub fn product(level: Level, w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    match level {
        #[cfg(target_arch = "aarch64")]
        Level::Neon => of_lanes::<i16>(level, halves, w, x, sums, out),
        Level::Portable => of_lanes::<i16>(level, halves, w, x, sums, out),
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        _ => of_lanes::<u32>(level, words, w, x, sums, out),
    }
}

/// Sums of a panel of weights with one of activations.
type Kernel<L> = fn(Level, QuantMode, &[L], &[L], &mut [Sums]);

fn of_lanes<L: Lane>(
    level: Level,
    kernel: Kernel<L>,
    w: &WeightView,
    x: Int8Rows,
    sums: &[i32],
    out: &mut [f32],
) {
    let rows = out.len() / w.out_dim;
    let columns = match w.mode {
        QuantMode::EightBit => row_stride(w.mode, w.in_dim),
        mode => tile::tiles(mode, w.in_dim) * tile::tile_cols(mode),
    };
    let acts = Activations {
        panels: activations::<L>(x, rows, columns, act_stride(w.in_dim)),
        scales: x.scales,
        sums,
        columns,
    };
    let work = rows * w.out_dim * w.in_dim / 32;
    // `[panels][rows][ROWS]`
    let mut blocks = vec![[0f32; ROWS]; w.out_dim.div_ceil(ROWS) * rows];
    par::pieces(&mut blocks, rows, work, |i, block| {
        let mut panel = vec![L::default(); ROWS * columns / L::COLUMNS];
        weights(w, i * ROWS, flips(level), &mut panel);
        block_of(level, kernel, w, i * ROWS, &panel, &acts, block);
    });
    par::pieces(out, w.out_dim, rows * w.out_dim, |r, out| {
        for (i, out) in out.chunks_mut(ROWS).enumerate() {
            out.copy_from_slice(&blocks[i * rows + r][..out.len()]);
        }
    });
}

/// All activation rows.
struct Activations<'a, L> {
    panels: Vec<L>,
    scales: &'a [f32],
    /// `[rows, spans]`
    sums: &'a [i32],
    columns: usize,
}

/// The outputs `[rows][ROWS]` of weight rows `first..`, whose panel is `panel`.
fn block_of<L: Lane>(
    level: Level,
    kernel: Kernel<L>,
    w: &WeightView,
    first: usize,
    panel: &[L],
    x: &Activations<L>,
    out: &mut [[f32; ROWS]],
) {
    let spans = w.in_dim / w.group;
    // One span is all columns, those that pad the last tile, too.
    let span = if spans == 1 { x.columns } else { w.group } / L::COLUMNS;
    let (double, offset) = match w.mode {
        QuantMode::Ternary => (1, 1),
        QuantMode::Binary => (2, 1),
        _ if flips(level) => (1, 128),
        _ => (1, 0),
    };
    // Scales of a span side by side; of rows past the last, the last's.
    let mut scales = vec![[0f32; ROWS]; spans];
    for r in 0..ROWS {
        let row = (first + r).min(w.out_dim - 1);
        for (scales, scale) in scales.iter_mut().zip(&w.scales[row * spans..]) {
            scales[r] = *scale;
        }
    }
    for (b, out) in out.chunks_mut(TOKENS).enumerate() {
        let token = b * TOKENS;
        let width = out.len().next_multiple_of(4);
        let block = &x.panels[token * x.columns / L::COLUMNS..];
        let mut total = [[0f32; ROWS]; TOKENS];
        let mut raw = [[0; ROWS]; TOKENS];
        for (s, scales) in scales.iter().enumerate() {
            let w_part = &panel[s * span * ROWS..][..span * ROWS];
            let x_part = &block[s * span * width..][..span * width];
            kernel(level, w.mode, w_part, x_part, &mut raw[..width]);
            for (t, total) in total[..out.len()].iter_mut().enumerate() {
                let sum = x.sums[(token + t) * spans + s].wrapping_mul(offset);
                add_span(total, &raw[t], double, sum, scales);
            }
        }
        for (t, out) in out.iter_mut().enumerate() {
            *out = total[t].map(|v| v * x.scales[token + t]);
        }
    }
}
