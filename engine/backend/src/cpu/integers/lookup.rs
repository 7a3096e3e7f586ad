//! Gradients of inputs, `dx = dy·W` with weights of ternary or binary codes: sums of three products
//! are looked up.
//!
//! For `out[i, j] (+)= Σ_l a[i, l]·b[l, j]` with codes `b[l, j] = t_l · c[l, j]`, three rows of `b`
//! are a group g. Of a row of `a`, `v(p) = d₀x₀ + d₁x₁ + d₂x₂` with x = α·a·t of the three, and the
//! digits d of p in balanced ternary, p = d₀ + 3d₁ + 9d₂: the 14 values of p from 0 to 13 are a
//! register, and v(−p) = −v(p). Of a column, `n = c₀ + 3c₁ + 9c₂` is from −13 to 13:
//! `out[i, j] (+)= Σ_g sign(n)·v_g(|n|)`,
//! a permutation and a product with ±1 for three products of 16 columns, of floats as they are.
//!
//! Packing: panels of 16 columns, `[panels][groups][16]` words |n| with n's sign at the top. Tables
//! are made for [`ROWS`] rows and a span of groups, `[groups][ROWS][16]`, which stay in the nearest
//! cache while panel after panel meets them.

use std::cell::Cell;

use super::super::int::panel::with_memory;
use super::super::matmul::{Product, View};
use super::super::simd::{Level, multiversion};
use super::tiles::{BAND, LANES, Line, Place, ROWS, Rows, inverse, put};
use super::{every_row, x86};
use ternary_common::platform::par;
use ternary_core::math;

/// Rows of a group.
pub const GROUP: usize = 3;
/// Groups of a span.
const SPAN: usize = 40;
/// Panels that a kernel takes.
const PANELS: usize = 2;
/// Of a word whose n is negative.
pub const SIGN: u32 = 1 << 31;

/// Tables of some rows for a group.
pub type Tables = [[f32; LANES]; ROWS];

thread_local! {
    /// Words of codes, and tables, see [`with_memory`].
    static CODES: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static TABLES: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// The product `a·b` of a gradient and codes, which have scales for their rows, if all are 0 or ±1
/// and the level has registers of 16; whether it was made.
pub fn product(level: Level, p: &Product, scales: &[f32], out: &mut [f32]) -> bool {
    if level != Level::Avx512Vnni || p.a.cs != 1 || p.b.cs != 1 {
        return false;
    }
    let (m, n, k) = p.sizes();
    let groups = k.div_ceil(GROUP);
    let panels = n.div_ceil(LANES).next_multiple_of(PANELS);
    let mut factors = every_row(scales, k);
    with_memory(&CODES, panels * groups, |codes: &mut [Line]| {
        if !pack_codes(p.b, &factors, codes) {
            return false;
        }
        factors.iter_mut().for_each(|factor| *factor *= p.alpha);
        // Those that fill up the last group.
        factors.resize(groups * GROUP, 0.0);
        let codes = &*codes;
        par::pieces(out, BAND * n, par::work([m, n, k]), |i, out| {
            for (t, out) in out.chunks_mut(ROWS * n).enumerate() {
                let first = i * BAND + t * ROWS;
                let a = p.a.band(first, out.len() / n);
                rows_of(a, &factors, codes, n, p.accumulate, out);
            }
        });
        true
    })
}

/// Up to [`ROWS`] rows of the output, `n` long.
fn rows_of(a: View, factors: &[f32], codes: &[Line], n: usize, accumulate: bool, out: &mut [f32]) {
    const WIDTH: usize = PANELS * LANES;
    let groups = factors.len() / GROUP;
    let columns = codes.len() / groups * LANES;
    let whole = if a.rows == ROWS { n / WIDTH * WIDTH } else { 0 };
    // Where rows or columns end amid a tile.
    let mut edge = vec![0f32; ROWS * (columns - whole)];
    with_memory(&TABLES, SPAN, |tables: &mut [Tables]| {
        for first in (0..groups).step_by(SPAN) {
            let count = (groups - first).min(SPAN);
            let tables = &mut tables[..count];
            let factors = &factors[first * GROUP..][..count * GROUP];
            let of_span = first * GROUP..a.cols.min((first + count) * GROUP);
            for r in 0..a.rows {
                let row = &a.data[r * a.rs..][of_span.clone()];
                let mut values = [[0f32; GROUP]; SPAN];
                scaled(row, factors, values[..count].as_flattened_mut());
                // SAFETY: AVX-512 was detected.
                unsafe { x86::tables_avx512(&values, &DIGITS, r, tables) };
            }
            for column in (0..columns).step_by(WIDTH) {
                let panels = std::array::from_fn(|p| {
                    &codes[(column / LANES + p) * groups + first..][..count]
                });
                let (out, stride, add) = match column < whole {
                    true => (&mut out[column..], n, accumulate),
                    false => (&mut edge[column - whole..], columns - whole, false),
                };
                let place = Place {
                    out,
                    stride,
                    columns: None,
                    add: add || first > 0,
                };
                // SAFETY: AVX-512 was detected.
                unsafe { x86::looked_up_avx512(tables, panels, place) };
            }
        }
    });
    if whole < n {
        let rows = out
            .chunks_exact_mut(n)
            .zip(edge.chunks_exact(columns - whole));
        rows.for_each(|(out, edge)| put(&mut out[whole..], edge, accumulate));
    }
}

multiversion! {
    /// Values times their factors; zeros behind the last.
    fn scaled(values: &[f32], factors: &[f32], out: &mut [f32]) {
        for ((o, v), f) in out.iter_mut().zip(values).zip(factors) {
            *o = v * f;
        }
        out[values.len()..].fill(0.0);
    }
}

/// Digits of 0 to 13 in balanced ternary, the last first; zeros for 14 and 15.
const DIGITS: [[f32; LANES]; GROUP] = digits();

const fn digits() -> [[f32; LANES]; GROUP] {
    let mut digits = [[0.0; LANES]; GROUP];
    let mut p = 0;
    while p < 14 {
        let (mut rest, mut d) = (p, 0);
        while d < GROUP {
            let digit = (rest + 1) % 3 - 1;
            digits[d][p as usize] = digit as f32;
            rest = (rest - digit) / 3;
            d += 1;
        }
        p += 1;
    }
    digits
}

/// Codes as panels, if none is another than 0 and ±1.
fn pack_codes(b: View, scales: &[f32], codes: &mut [Line]) -> bool {
    let groups = b.rows.div_ceil(GROUP);
    let (filled, rest) = codes.split_at_mut(b.cols.div_ceil(LANES) * groups);
    rest.fill([0; LANES]);
    let mut few = vec![true; filled.len() / groups];
    let rows = Rows::of(b, 0, b.rows);
    let work = b.rows * b.cols;
    par::pieces2(filled, groups, &mut few, 1, work, |j, codes, few| {
        few[0] = f32::from_bits(codes_of(rows, j, scales, codes)) < 1.5;
    });
    few.iter().all(|few| *few)
}

multiversion! {
    /// Words of a panel; the magnitude of the largest code.
    fn codes_of(rows: Rows, panel: usize, scales: &[f32], words: &mut [Line]) -> u32 {
        let mut largest = [0u32; LANES];
        for (g, words) in words.iter_mut().enumerate() {
            let at = |d: usize| {
                let l = GROUP * g + d;
                (rows.part(l, panel), inverse(scales, l))
            };
            let digits = [at(0), at(1), at(2)];
            for i in 0..LANES {
                let mut n = 0;
                for (values, inverse) in digits.iter().rev() {
                    let code = values[i] * inverse;
                    largest[i] = largest[i].max(math::magnitude(code));
                    n = 3 * n + i32::from(math::rounded_byte(code));
                }
                words[i] = n.unsigned_abs() | (n as u32 & SIGN);
            }
        }
        largest.into_iter().fold(0, u32::max)
    }
}
