//! Many rows of activations: sixteen weight rows at a time are unpacked once, into a *panel*, and
//! meet the activations, which are packed likewise, sixteen rows at a time.
//!
//! A panel `[columns / 4][16 rows]` of words holds four columns' codes of a row in each word, for
//! instructions that multiply and add four bytes; where there are none it is `[columns][16 rows]`
//! of i16. The lanes of a register are rows, so no sum has to be added up across lanes, and a
//! span's scales are vectors. Intel's matrix unit takes panels of words as they are, and rows of
//! activations where they lie.

use std::cell::Cell;
use std::thread::LocalKey;

use bytemuck::Pod;

#[cfg(target_arch = "x86_64")]
use super::super::amx;
use super::super::simd::{Level, multiversion};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{lookup, x86};
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
trait Lane: Pod + Send + Sync {
    /// Columns of an element.
    const COLUMNS: usize;

    /// Eight words of each row as a part of a panel `width` wide, see [`turn`]; int8 codes are
    /// signed ones, or unsigned with `flip`.
    fn put(
        level: Level,
        panel: &mut [Self],
        width: usize,
        rows: [&[u8; 4 * WORDS]; ROWS],
        bits: usize,
        flip: u32,
    );
}

impl Lane for u32 {
    const COLUMNS: usize = 4;

    #[inline]
    fn put(
        level: Level,
        panel: &mut [u32],
        width: usize,
        rows: [&[u8; 4 * WORDS]; ROWS],
        bits: usize,
        flip: u32,
    ) {
        if width == ROWS {
            turn(level, rows, bits, panel);
        } else {
            let mut words = [0u32; WORDS * ROWS];
            turn(level, rows, bits, &mut words);
            for (line, words) in panel.chunks_exact_mut(width).zip(words.chunks(ROWS)) {
                line.copy_from_slice(&words[..width]);
            }
        }
        if flip != 0 {
            panel.iter_mut().for_each(|word| *word ^= flip);
        }
    }
}

impl Lane for i16 {
    const COLUMNS: usize = 1;

    fn put(
        level: Level,
        panel: &mut [i16],
        width: usize,
        rows: [&[u8; 4 * WORDS]; ROWS],
        bits: usize,
        _: u32,
    ) {
        let mut words = [0u32; 8 * WORDS * ROWS];
        let words = &mut words[..panel.len() / (4 * width) * ROWS];
        turn(level, rows, bits, words);
        let steps = panel.chunks_exact_mut(4 * width);
        for (step, words) in steps.zip(words.chunks_exact(ROWS)) {
            for (b, line) in step.chunks_exact_mut(width).enumerate() {
                for (to, word) in line.iter_mut().zip(words) {
                    // Fields are less than 128.
                    *to = i16::from((word >> (8 * b)) as i8);
                }
            }
        }
    }
}

/// Words of a row that are turned at a time.
const WORDS: usize = 8;

/// Eight words of each row, side by side, as fields of `bits` bits one behind the other; 32 bits
/// are the words themselves.
pub fn turn(level: Level, rows: [&[u8; 4 * WORDS]; ROWS], bits: usize, out: &mut [u32]) {
    assert!(out.len() == WORDS * ROWS * if bits == 32 { 1 } else { 8 / bits });
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Portable => plain_turn(rows, bits, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every other level has AVX2.
        _ => unsafe { x86::turn(rows, bits, out) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => plain_turn(rows, bits, out),
    }
}

fn plain_turn(rows: [&[u8; 4 * WORDS]; ROWS], bits: usize, out: &mut [u32]) {
    let mask = match bits {
        32 => u32::MAX,
        bits => ((1u32 << bits) - 1) * 0x0101_0101,
    };
    for (f, field) in out.chunks_exact_mut(WORDS * ROWS).enumerate() {
        for (w, line) in field.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
            for (to, row) in line.iter_mut().zip(rows) {
                let word = u32::from_le_bytes(row.as_chunks::<4>().0[w]);
                *to = (word >> (bits * f)) & mask;
            }
        }
    }
}

/// A chunk of 32 bytes of a row, for [`turn`].
pub fn chunk(row: &[u8], i: usize) -> &[u8; 4 * WORDS] {
    &row.as_chunks().0[i]
}

/// Weight rows `first..` as a panel; rows past the last are those of zeros or the last again.
fn weights<L: Lane>(level: Level, w: &WeightView, first: usize, panel: &mut [L]) {
    if w.mode == QuantMode::EightBit {
        let stride = row_stride(w.mode, w.in_dim);
        // As unsigned codes, if the instruction wants them.
        let flip = if flips(level) { 0x8080_8080 } else { 0 };
        let rows: [&[u8]; ROWS] = std::array::from_fn(|r| {
            let row = (first + r).min(w.out_dim - 1);
            &w.data[row * stride..][..stride]
        });
        let parts = panel.chunks_exact_mut(4 * WORDS * ROWS / L::COLUMNS);
        for (i, panel) in parts.enumerate() {
            L::put(level, panel, ROWS, rows.map(|row| chunk(row, i)), 32, flip);
        }
        return;
    }
    let bits = match w.mode {
        QuantMode::Binary => 1,
        _ => 2,
    };
    let group = tile::tiles(w.mode, w.in_dim) * tile::ROWS * TILE_BYTES;
    let last = w.out_dim.div_ceil(tile::ROWS) - 1;
    let groups: [&[u8]; ROWS / tile::ROWS] = std::array::from_fn(|g| {
        let g = (first / tile::ROWS + g).min(last);
        &w.data[g * group..][..group]
    });
    let tiles = panel.chunks_exact_mut(8 / bits * 4 * WORDS * ROWS / L::COLUMNS);
    for (t, panel) in tiles.enumerate() {
        // A tile's part of a row is a chunk.
        let row = |r: usize| chunk(groups[r / tile::ROWS], t * tile::ROWS + r % tile::ROWS);
        L::put(level, panel, ROWS, std::array::from_fn(row), bits, 0);
    }
}

/// Activation rows as panels of `TOKENS`, the last of as many fours as are needed: rows past the
/// last are zeros.
fn activations<L: Lane>(
    level: Level,
    x: Int8Rows,
    rows: usize,
    columns: usize,
    stride: usize,
    packed: &mut [L],
) {
    let block = TOKENS * columns / L::COLUMNS;
    let codes: &[u8] = bytemuck::cast_slice(x.codes);
    par::pieces(packed, block, rows * columns / 4, |i, panel| {
        let width = panel.len() * L::COLUMNS / columns;
        let parts = panel.chunks_exact_mut(4 * WORDS * width / L::COLUMNS);
        for (j, panel) in parts.enumerate() {
            let line = |t: usize| match i * TOKENS + t {
                row if row < rows => chunk(&codes[row * stride..], j),
                _ => &[0; 4 * WORDS],
            };
            L::put(level, panel, width, std::array::from_fn(line), 32, 0);
        }
    });
}

thread_local! {
    /// Memory of a thread's last products, for the next: a large allocation is cleared by the
    /// system, page by page.
    pub static PANEL: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    pub static ACTIVATIONS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    pub static BLOCKS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// Words of a cache line.
const LINE: usize = 16;

/// Calls `f` with `len` elements, whatever they held, from the begin of a cache line on.
pub fn with_memory<T: Pod, R>(
    memory: &'static LocalKey<Cell<Vec<u32>>>,
    len: usize,
    f: impl FnOnce(&mut [T]) -> R,
) -> R {
    let mut words = memory.take();
    let needed = len * size_of::<T>() / size_of::<u32>();
    words.resize(words.len().max(needed + LINE), 0);
    let start = words.as_ptr().align_offset(LINE * size_of::<u32>());
    let result = f(bytemuck::cast_slice_mut(&mut words[start..][..needed]));
    memory.set(words);
    result
}

/// Sums of a panel of words with one of activations, whose `out.len()` rows are some fours.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(unused_variables, reason = "one kernel takes codes of every mode")
)]
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
        Level::NeonI8mm => unsafe { neon::panel_matrix(w, x, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Level::NeonDot => unsafe { neon::panel_dot(w, x, out) },
        _ => unreachable!("panels of i16 at {}", level.name()),
    }
}

/// As [`words`], of panels of i16.
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
    /// `total += scale · signed sum` of a span, for every activation row of a block and every
    /// weight row of a panel; `double` and `offset` times every `step`th of `sums` make the sums
    /// signed.
    fn add_span(total: &mut [[f32; ROWS]], raw: &[Sums], double: i32, offset: i32, sums: &[i32], step: usize, scales: &[f32; ROWS]) {
        let sums = sums.iter().step_by(step);
        for ((total, raw), sum) in total.iter_mut().zip(raw).zip(sums) {
            let offset = sum.wrapping_mul(offset);
            for r in 0..ROWS {
                let signed = raw[r].wrapping_mul(double).wrapping_sub(offset);
                total[r] += scales[r] * signed as f32;
            }
        }
    }
}

/// `out` `[rows, out_dim]` of `x` `[rows, in_dim]`; `sums` of its codes `[rows, spans]`.
pub fn product(level: Level, w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if lookup::takes(level, w) && lookup::faster() {
        return lookup::product(w, x, sums, out);
    }
    by_products(level, w, x, sums, out);
}

/// As [`product`], every column multiplied.
pub fn by_products(level: Level, w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    match level {
        #[cfg(target_arch = "aarch64")]
        Level::Neon => of_lanes::<i16>(level, halves, w, x, sums, out),
        Level::Portable => of_lanes::<i16>(level, halves, w, x, sums, out),
        #[cfg(target_arch = "x86_64")]
        Level::Amx if w.group == w.in_dim || w.group.is_multiple_of(TILE_COLUMNS) => {
            of_tiles(level, w, x, sums, out);
        }
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        _ => of_lanes::<u32>(level, words, w, x, sums, out),
    }
}

/// Columns of a weight with those that pad its last tile.
fn columns_of(w: &WeightView) -> usize {
    match w.mode {
        QuantMode::EightBit => row_stride(w.mode, w.in_dim),
        mode => tile::tiles(mode, w.in_dim) * tile::tile_cols(mode),
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
    let columns = columns_of(w);
    let packed = rows.next_multiple_of(4) * columns / L::COLUMNS;
    with_memory(&ACTIVATIONS, packed, |panels: &mut [L]| {
        activations(level, x, rows, columns, act_stride(w.in_dim), panels);
        let panels = &*panels;
        let x = Activations {
            scales: x.scales,
            sums,
            rows,
        };
        of_panels::<L, (), TOKENS>(
            level,
            w,
            &x,
            out,
            || (),
            |part, token, column, raw| {
                let width = raw.len();
                let at = (token * columns + column * width) / L::COLUMNS;
                let x = &panels[at..][..part.len() / ROWS * width];
                kernel(level, w.mode, part, x, raw);
            },
        );
    });
}

/// Columns that the matrix unit takes at once.
#[cfg(target_arch = "x86_64")]
const TILE_COLUMNS: usize = 64;

/// On Intel's matrix unit: sixteen rows of activations are a tile, and so are 64 columns of a
/// panel. Spans are whole tiles.
#[cfg(target_arch = "x86_64")]
fn of_tiles(level: Level, w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    /// Activation rows at once, in four tiles.
    const MOST: usize = 4 * ROWS;
    let rows = out.len() / w.out_dim;
    let stride = act_stride(w.in_dim);
    let whole = rows / ROWS * ROWS;
    // A last tile that is not full, with rows of zeros.
    let mut last = vec![0i8; if whole < rows { ROWS * stride } else { 0 }];
    last[..(rows - whole) * stride].copy_from_slice(&x.codes[whole * stride..rows * stride]);
    let codes = x.codes;
    let x = Activations {
        scales: x.scales,
        sums,
        rows,
    };
    // SAFETY: the level was detected.
    let configure = || unsafe { amx::Tiles::configure() };
    of_panels::<u32, _, MOST>(level, w, &x, out, configure, |part, token, column, raw| {
        let steps = part.len() / ROWS / (TILE_COLUMNS / 4);
        let mut done = 0;
        while done < raw.len() {
            let first = token + done;
            let (from, tiles) = match (whole.saturating_sub(first)) / ROWS {
                0 => (&last[column..], 1),
                left => (
                    &codes[first * stride + column..],
                    match left.min((raw.len() - done) / ROWS) {
                        4.. => 4,
                        2.. => 2,
                        _ => 1,
                    },
                ),
            };
            let rows = tiles * ROWS;
            assert!(
                from.len() >= (rows - 1) * stride + steps * TILE_COLUMNS
                    && raw.len() >= done + rows
                    && steps > 0
            );
            // SAFETY: just checked.
            unsafe {
                amx::sums_of_codes(
                    from.as_ptr(),
                    stride,
                    part.as_ptr(),
                    steps,
                    raw[done..].as_mut_ptr(),
                    tiles,
                );
            }
            done += rows;
        }
    });
}

/// All activation rows.
struct Activations<'a> {
    scales: &'a [f32],
    /// `[rows, spans]`
    sums: &'a [i32],
    rows: usize,
}

/// Panel by panel, which threads share, `T` rows of activations at a time. What `begin` gives is
/// held for a panel; `kernel` gives rows' sums with a part of it: the part, the first row and
/// column, and where the sums go, of a few rows more than there are.
fn of_panels<L: Lane, G, const T: usize>(
    level: Level,
    w: &WeightView,
    x: &Activations,
    out: &mut [f32],
    begin: impl Fn() -> G + Sync,
    kernel: impl Fn(&[L], usize, usize, &mut [Sums]) + Sync,
) {
    let rows = x.rows;
    let columns = columns_of(w);
    // `[panels][rows][ROWS]`
    let len = w.out_dim.div_ceil(ROWS) * rows;
    with_memory(&BLOCKS, len, |blocks: &mut [[f32; ROWS]]| {
        let work = rows * w.out_dim * w.in_dim / 32;
        par::pieces(blocks, rows, work, |i, block| {
            with_memory(&PANEL, ROWS * columns / L::COLUMNS, |panel: &mut [L]| {
                let _held = begin();
                weights(level, w, i * ROWS, panel);
                block_of::<L, T>(level, &kernel, w, i * ROWS, panel, x, block);
            });
        });
        par::pieces(out, w.out_dim, rows * w.out_dim, |r, out| {
            let (whole, rest) = out.as_chunks_mut::<ROWS>();
            for (i, out) in whole.iter_mut().enumerate() {
                *out = blocks[i * rows + r];
            }
            if !rest.is_empty() {
                rest.copy_from_slice(&blocks[whole.len() * rows + r][..rest.len()]);
            }
        });
    });
}

/// The outputs `[rows][ROWS]` of weight rows `first..`, whose panel is `panel`.
fn block_of<L: Lane, const T: usize>(
    level: Level,
    kernel: &impl Fn(&[L], usize, usize, &mut [Sums]),
    w: &WeightView,
    first: usize,
    panel: &[L],
    x: &Activations,
    out: &mut [[f32; ROWS]],
) {
    let spans = w.in_dim / w.group;
    // One span is all columns, those that pad the last tile, too.
    let span = if spans == 1 { columns_of(w) } else { w.group };
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
    for (b, out) in out.chunks_mut(T).enumerate() {
        let token = b * T;
        let width = out
            .len()
            .next_multiple_of(if T == TOKENS { 4 } else { ROWS });
        let mut total = [[0f32; ROWS]; T];
        let mut raw = [[0; ROWS]; T];
        for (s, scales) in scales.iter().enumerate() {
            let part = &panel[s * span * ROWS / L::COLUMNS..][..span * ROWS / L::COLUMNS];
            kernel(part, token, s * span, &mut raw[..width]);
            let sums = &x.sums[token * spans + s..];
            add_span(
                &mut total[..out.len()],
                &raw,
                double,
                offset,
                sums,
                spans,
                scales,
            );
        }
        for (t, out) in out.iter_mut().enumerate() {
            *out = total[t].map(|v| v * x.scales[token + t]);
        }
    }
}
