//! Many rows of activations with ternary weights, a part of the columns multiplied and a part
//! looked up:
//! `Σ c_k x_k = Σ_{k multiplied} c_k x_k + Σ_{i, j, k looked up} T_ijk[c_i + 3 c_j + 9 c_k]`, where
//! `T_ijk[p] = c_i(p) x_i + c_j(p) x_j + c_k(p) x_k` for the 27 codes of three columns.
//!
//! It is for processors whose instruction for products of bytes (`vpdpbusd`) keeps but two of four
//! vector units at work: on Zen 4 those multiply 64 bytes a cycle, and the other two take 32 values
//! of three columns from a table in a register (`vpermw`) and add them meanwhile. Both give 94
//! products a cycle there; products alone give 63. Where it is slower, [`faster`] finds so.
//!
//! Packing, of 64 weight rows (a *panel*) and a tile of 128 columns, whose byte b has the codes of
//! columns b, 32 + b, 64 + b and 96 + b:
//! - bytes 0 to 15: the first three columns of each are looked up: `places [16][2][32]` of u16, of
//!   which even elements are rows 0 to 15 of a half of the panel and odd ones rows 16 to 31. The
//!   fourth columns are multiplied: `words [4][64]`, four columns of a row in each.
//! - bytes 16 to 31: all are multiplied: `words [16][64]`.
//!
//! Four rows of activations lie likewise: `[16][4]` tables of 32 words of 16 bits, of which 27
//! count, and `[20][4]` words of four codes.
//!
//! Values of a table are at most 2·3·127, so 32 of them (two tiles) stay within 16 bits.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};

use super::panel::{self, ACTIVATIONS, BLOCKS, PANEL, with_memory};
use super::x86::{self, Into};
use crate::cpu::linear::{Int8Rows, WeightView};
use crate::cpu::simd::{Level, multiversion};
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{self, TILE_BYTES, act_stride};

/// Weight rows of a panel.
pub const ROWS: usize = 64;
/// Rows of activations that a panel meets at once.
pub const TOKENS: usize = 4;
/// Columns of a tile.
const COLUMNS: usize = 128;
/// Tiles whose sums of table values stay within 16 bits, and whose panel stays in the nearest
/// cache.
const TILES: usize = 2;
/// Of a tile: threes of columns that are looked up, and words whose bytes these are in.
pub const LOOKED_UP: usize = 16;
pub const CODES: usize = LOOKED_UP / 4;
/// Words of four columns that are multiplied.
pub const WORDS: usize = CODES + 4 * (8 - CODES);
/// Words of a tile of four rows of activations.
pub const X_PART: usize = LOOKED_UP * TOKENS * 16 + WORDS * TOKENS;
/// Rows of activations of a block at most: with its sums it stays in the cache behind the nearest
/// while panel after panel meets it. And those that unpacking a panel pays for.
const MOST: usize = 128;
const FEWEST: usize = 32;

/// A tile of a panel.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Part {
    pub words: [[u32; ROWS]; WORDS],
    pub places: [[u16; ROWS]; LOOKED_UP],
}

/// Sums of a panel with four rows of activations: integers, or the bits of floats.
pub type Total = [[u32; ROWS]; TOKENS];

/// Whether a weight can be looked up on this machine: one that is ternary, with one scale for
/// whole tiles, as many as are summed in 16 bits.
pub fn takes(level: Level, w: &WeightView) -> bool {
    level == Level::Avx512Vnni
        && w.mode == QuantMode::Ternary
        && (w.group == w.in_dim || [COLUMNS, TILES * COLUMNS].contains(&w.group))
        && is_x86_feature_detected!("avx512vbmi")
}

/// Whether looking up is the faster way on this processor: measured once, within a tenth of a
/// millisecond. What is computed is the same.
pub fn faster() -> bool {
    static FASTER: OnceLock<bool> = OnceLock::new();
    *FASTER.get_or_init(|| {
        /// Rows of activations, and how often they are multiplied.
        const X_ROWS: usize = 64;
        const ROUNDS: usize = 8;
        let least = |f: &mut dyn FnMut()| {
            let rounds = (0..ROUNDS).map(|_| {
                let start = Instant::now();
                f();
                start.elapsed()
            });
            rounds.min().unwrap_or(Duration::MAX)
        };
        let panel = [Part::zeroed(); TILES];
        let x = vec![0; TILES * X_PART];
        let mut total = Total::zeroed();
        let looked_up = least(&mut || {
            for _ in 0..X_ROWS / TOKENS {
                // SAFETY: `takes` found the level on this machine.
                unsafe { x86::add_tiles(&panel, &x, &mut total, Into::Whole) };
            }
        });
        let words = vec![0; TILES * COLUMNS / 4 * panel::ROWS];
        let mut sums = [panel::Sums::zeroed(); 16];
        let multiplied = least(&mut || {
            for _ in 0..X_ROWS / 16 * (ROWS / panel::ROWS) {
                // SAFETY: as above.
                unsafe { x86::panel_avx512::<16>(&words, &words, &mut sums) };
            }
        });
        std::hint::black_box((total, sums));
        log::debug!("64 rows of 256 weights: {looked_up:?} by tables, {multiplied:?} by products");
        // Tables have to be made.
        looked_up * 9 < multiplied * 8
    })
}

/// A tile of weight rows `first..` as a part of a panel; rows past the last are the last group's
/// again.
fn weights(w: &WeightView, first: usize, tile: usize, part: &mut Part) {
    let group = tile::tiles(w.mode, w.in_dim) * tile::ROWS * TILE_BYTES;
    let last = w.out_dim.div_ceil(tile::ROWS) - 1;
    let row = |r: usize| -> &[u8; 32] {
        let g = ((first + r) / tile::ROWS).min(last);
        let chunks = w.data[g * group..][..group].as_chunks().0;
        &chunks[tile * tile::ROWS + r % tile::ROWS]
    };
    for q in 0..ROWS / 16 {
        let mut words = [0; 8 * 16];
        // SAFETY: `takes` found what both need on this machine.
        unsafe {
            x86::turn(std::array::from_fn(|r| row(16 * q + r)), 32, &mut words);
            x86::put_quarter(&words, q, part);
        }
    }
}

/// A tile of four rows of activations from `first` on; rows past the last are zeros.
fn activations(x: Int8Rows, stride: usize, first: usize, tile: usize, packed: &mut [u32]) {
    let (tables, words) = packed.split_at_mut(LOOKED_UP * TOKENS * 16);
    for t in 0..TOKENS {
        let zeros = [0; COLUMNS];
        let codes = match first + t < x.scales.len() {
            true => &x.codes[(first + t) * stride..].as_chunks().0[tile],
            false => &zeros,
        };
        // SAFETY: `takes` found what this needs on this machine.
        unsafe { x86::put_tables(codes, t, tables) };
        let word = |column: usize| {
            let bytes = [0, 1, 2, 3].map(|i| codes[column + i].cast_unsigned());
            u32::from_le_bytes(bytes)
        };
        for (step, words) in words.as_chunks_mut::<TOKENS>().0.iter_mut().enumerate() {
            words[t] = word(match step.checked_sub(CODES) {
                None => 96 + 4 * step,
                Some(step) => 32 * (step % 4) + 4 * (CODES + step / 4),
            });
        }
    }
}

/// How threads share a product: by blocks of rows of activations, whose tables then stay in the
/// cache of the thread that made them, and only where there are too few by groups of panels, too.
struct Shares {
    /// Fours of rows of a block.
    fours: usize,
    /// Panels of a group, and groups.
    panels: usize,
    groups: usize,
}

impl Shares {
    fn of(rows: usize, out_dim: usize) -> Self {
        let threads = par::threads();
        let blocks = match rows.div_ceil(MOST) {
            few if few < threads => threads.min(rows / FEWEST).max(few),
            many => many.next_multiple_of(threads),
        };
        let panels = out_dim.div_ceil(ROWS);
        let shared = panels.div_ceil(threads.div_ceil(blocks));
        Shares {
            fours: rows.div_ceil(TOKENS).div_ceil(blocks),
            panels: shared,
            groups: panels.div_ceil(shared),
        }
    }

    /// Where the sums of a panel with four rows are.
    fn place(&self, four: usize, panel: usize) -> usize {
        let piece = four / self.fours * self.groups + panel / self.panels;
        (piece * self.panels + panel % self.panels) * self.fours + four % self.fours
    }
}

/// `out` `[rows, out_dim]` of `x` `[rows, in_dim]`; `sums` of its codes `[rows, spans]`. For
/// weights that [`takes`] accepts.
pub fn product(w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    let spans = w.in_dim / w.group;
    let rows = out.len() / w.out_dim;
    // A wider step's buffers hold more rows than are valid.
    let x = Int8Rows {
        scales: &x.scales[..rows],
        ..x
    };
    let shares = Shares::of(rows, w.out_dim);
    let piece = shares.panels * shares.fours;
    let blocks = rows.div_ceil(TOKENS * shares.fours);
    // `[blocks][groups][panels][fours]`
    with_memory(
        &BLOCKS,
        blocks * shares.groups * piece,
        |totals: &mut [Total]| {
            let work = par::work([rows, w.out_dim, w.in_dim.div_ceil(32)]);
            par::pieces(totals, piece, work, |i, totals| {
                totals.fill(Total::zeroed());
                let first = i / shares.groups * shares.fours;
                let fours = shares.fours.min(rows.div_ceil(TOKENS) - first);
                let panel = i % shares.groups * shares.panels;
                let totals = totals.chunks_exact_mut(shares.fours).enumerate();
                let mut totals: Vec<_> = totals
                    .map(|(p, totals)| ((panel + p) * ROWS, &mut totals[..fours]))
                    .filter(|(row, _)| *row < w.out_dim)
                    .collect();
                of_piece(w, x, sums, first * TOKENS, fours, &mut totals);
            });
            par::pieces(out, w.out_dim, rows * w.out_dim, |r, out| {
                for (p, out) in out.chunks_mut(ROWS).enumerate() {
                    let total = &totals[shares.place(r / TOKENS, p)][r % TOKENS];
                    let scales = match spans {
                        1 => &w.scales[p * ROWS..][..out.len()],
                        _ => &[],
                    };
                    finish(total, sums[r * spans], scales, x.scales[r], out);
                }
            });
        },
    );
}

/// Adds to the sums of panels, each from a weight row on, with `fours` of rows of activations from
/// `first` on.
fn of_piece(
    w: &WeightView,
    x: Int8Rows,
    sums: &[i32],
    first: usize,
    fours: usize,
    totals: &mut [(usize, &mut [Total])],
) {
    let spans = w.in_dim / w.group;
    let tiles = tile::tiles(w.mode, w.in_dim);
    // Tiles of a span, or of what is unpacked at a time.
    let step = match spans {
        1 => TILES,
        _ => w.group / COLUMNS,
    };
    let sum_of = |row: usize, span| sums.get(row * spans + span).copied().unwrap_or(0);
    with_memory(
        &ACTIVATIONS,
        fours * step * X_PART,
        |packed: &mut [u32]| {
            with_memory(&PANEL, step, |panel: &mut [Part]| {
                for tile in (0..tiles).step_by(step) {
                    let count = step.min(tiles - tile);
                    let panel = &mut panel[..count];
                    let x_parts = packed[..fours * count * X_PART].chunks_exact_mut(X_PART);
                    for (i, part) in x_parts.enumerate() {
                        let row = first + i / count * TOKENS;
                        activations(x, act_stride(w.in_dim), row, tile + i % count, part);
                    }
                    let span = if spans == 1 { 0 } else { tile / step };
                    for (row, totals) in &mut *totals {
                        for (i, part) in panel.iter_mut().enumerate() {
                            weights(w, *row, tile + i, part);
                        }
                        let scales = std::array::from_fn(|r| {
                            w.scales[(*row + r).min(w.out_dim - 1) * spans + span]
                        });
                        let x = packed.chunks_exact(count * X_PART);
                        for (i, (total, x)) in totals.iter_mut().zip(x).enumerate() {
                            let into = match spans {
                                1 => Into::Whole,
                                _ => {
                                    let row = first + i * TOKENS;
                                    Into::Span(
                                        &scales,
                                        std::array::from_fn(|t| sum_of(row + t, span)),
                                    )
                                }
                            };
                            // SAFETY: `takes` found what this needs on this machine.
                            unsafe { x86::add_tiles(panel, x, total, into) };
                        }
                    }
                }
            });
        },
    );
}

multiversion! {
    /// Outputs of a row of activations with the scale `act` from its sums with a panel: integers,
    /// if there are `scales`, of codes whose sum is `sum`.
    fn finish(total: &[u32; ROWS], sum: i32, scales: &[f32], act: f32, out: &mut [f32]) {
        if scales.is_empty() {
            for (out, total) in out.iter_mut().zip(total) {
                *out = f32::from_bits(*total) * act;
            }
        } else {
            for ((out, total), scale) in out.iter_mut().zip(total).zip(scales) {
                let signed = total.cast_signed().wrapping_sub(sum);
                // As a sum of one span: minus zero becomes zero.
                *out = (0.0 + scale * signed as f32) * act;
            }
        }
    }
}

#[cfg(test)]
mod tests;
