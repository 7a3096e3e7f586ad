//! Forward products of training, `x·Wᵀ` of codes times scales: exact sums of integers, scaled at
//! the end, `out[i, j] = α·a_i·b_j · Σ_k code_a[i, k]·code_b[j, k]`.
//!
//! Both operands run along k. Codes are bytes, the weights' unsigned for `vpdpbusd`:
//! Σ x·(w + 128) − 128·Σ x; or, at AVX2, which would have to widen products of bytes, of 16 bits.

use std::cell::Cell;

use super::super::int;
use super::super::int::panel::{chunk, turn, with_memory};
use super::super::matmul::{Product, View};
use super::super::simd::Level;
use super::codes::{Code, codes_of, round_row};
use super::tiles::{Kernel, LANES, Left, Line, Right, multiply};
use super::{every_row, x86};
use ternary_common::platform::par;

thread_local! {
    /// Codes of the operands' rows, and panels of the right one's, see [`with_memory`].
    static LEFT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static PANELS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// The product `a·b` of operands with scales for their rows in memory, if that is how it is done at
/// this level; whether it was.
pub fn product(level: Level, p: &Product, of_a: &[f32], of_b: &[f32], out: &mut [f32]) -> bool {
    if p.accumulate || p.a.cs != 1 || p.b.rs != 1 {
        return false;
    }
    match level {
        Level::Avx512Vnni => with(level, x86::bytes_avx512, &BYTES, p, of_a, of_b, out),
        Level::AvxVnni => with(level, x86::bytes_avxvnni, &BYTES, p, of_a, of_b, out),
        Level::Avx2 => with(level, x86::pairs_avx2, &SHORTS, p, of_a, of_b, out),
        _ => return false,
    }
    true
}

/// What a kernel takes.
struct Form<C> {
    /// In a word.
    count: usize,
    /// What makes a word of the right operand's codes unsigned, if they have to be.
    flip: u32,
    /// What makes up for it in sums of a row of the left operand.
    offset: fn(&[C]) -> i32,
}

const BYTES: Form<i8> = Form {
    count: 4,
    flip: 0x8080_8080,
    offset: |codes| int::sum(codes).wrapping_mul(-128),
};

const SHORTS: Form<i16> = Form {
    count: 2,
    flip: 0,
    offset: |_| 0,
};

/// With a level's kernel.
fn with<const P: usize, C: Code>(
    level: Level,
    kernel: Kernel<P>,
    form: &Form<C>,
    p: &Product,
    of_a: &[f32],
    of_b: &[f32],
    out: &mut [f32],
) {
    let (m, n, k) = p.sizes();
    let (a, b) = (p.a, p.b.transposed());
    let stride = k.next_multiple_of(CHUNK * form.count);
    let steps = stride / form.count;
    let lines = m.next_multiple_of(LANES);
    let panels = n.div_ceil(LANES).next_multiple_of(P);
    let mut scales = every_row(of_a, m);
    let mut columns = every_row(of_b, n);
    with_memory(&LEFT, lines * stride, |codes: &mut [C]| {
        codes_of(a, &mut scales, stride, codes);
        scales.iter_mut().for_each(|scale| *scale *= p.alpha);
        scales.resize(lines, 0.0);
        let offsets: Vec<i32> = codes.chunks_exact(stride).map(form.offset).collect();
        with_memory(&PANELS, panels * steps, |words: &mut [Line]| {
            pack(level, form, b, &mut columns, stride, words);
            columns.resize(panels * LANES, 0.0);
            let left = Left {
                words: bytemuck::cast_slice(codes),
                scales: &scales,
                offsets: &offsets,
                spans: 1,
                steps,
                along: true,
            };
            let right = Right {
                lines: words,
                spans: 1,
                steps,
                used: k.div_ceil(form.count),
                panels,
            };
            multiply(kernel, left, right, &columns, n, false, out);
        });
    });
}

/// Words that are turned at a time.
const CHUNK: usize = 8;

/// The panels of the right operand, whose rows are their columns.
fn pack<C: Code>(
    level: Level,
    form: &Form<C>,
    b: View,
    scales: &mut [f32],
    stride: usize,
    words: &mut [Line],
) {
    let steps = stride / form.count;
    // A panel that fills up the last ones has no scales.
    let (filled, rest) = words.split_at_mut(b.rows.div_ceil(LANES) * steps);
    rest.fill([0; LANES]);
    let work = b.rows * b.cols;
    par::pieces2(filled, steps, scales, LANES, work, |j, panel, scales| {
        with_memory(&RIGHT, LANES * stride, |codes: &mut [C]| {
            let count = scales.len();
            let rows = codes.chunks_exact_mut(stride).zip(scales);
            for (r, (codes, scale)) in rows.enumerate() {
                round_row(b, j * LANES + r, scale, codes);
            }
            codes[count * stride..].fill(C::zeroed());
            let bytes: &[u8] = bytemuck::cast_slice(codes);
            let of_row = bytes.len() / LANES;
            for (i, part) in panel.chunks_exact_mut(CHUNK).enumerate() {
                let rows = std::array::from_fn(|r| chunk(&bytes[r * of_row..], i));
                let part = part.as_flattened_mut();
                turn(level, rows, u32::BITS as usize, part);
                part.iter_mut().for_each(|word| *word ^= form.flip);
            }
        });
    });
}
