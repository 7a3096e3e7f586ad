//! f32 matrix products on Intel's matrix unit (AMX), `out (+)= a·b`.
//!
//! The unit multiplies bf16 (8 significant bits) and sums in f32. A float is cut into bf16 pieces,
//! x = x₀ + x₁ + x₂ with
//! |x₁| ≤ 2⁻⁸|x| and |x₂| ≤ 2⁻¹⁶|x|, and products of pieces are summed, small ones first:
//! - three pieces, six products (a₀b₂ a₀b₁ a₁b₁ a₁b₀ a₂b₀ a₀b₀): what is left out is below
//!   2⁻²²|ab|, the error of f32 itself;
//! - two pieces, three products (a₀b₁ a₀b₀ a₁b₀): off by less than 2⁻¹⁵|ab| ("bf16_3x" elsewhere),
//!   twice as fast, for gradients.
//!
//! A quantized operand is codes times scales, and codes (at most ±127) are bf16 numbers as they
//! are: one piece. Forward products of int8 activations and quantized weights are then exact sums
//! of integers, scaled at the end. Where the scales run along k, in gradients, they go into the
//! other operand before it is cut.
//!
//! Packing: tiles of 16 rows of 64 bytes. A tile of `a` holds 16 rows × 32 k; one of `b` holds 16
//! k-pairs × 16 columns, the pair side by side. A *panel* is 32 rows of `a` (or 32 columns of `b`)
//! for all k: `[k/32][piece][2 tiles]`. Ragged ends are zeros. One kernel call computes 32×32
//! outputs in four accumulator tiles.

mod pack;
mod unit;

use std::cell::RefCell;

use super::matmul::{Precision, Product};
use super::simd::multiversion;
use pack::{Factor, Line, Operand, Panels};
use ternary_common::platform::par;
use unit::multiply;
pub use unit::{Tiles, available, sums_of_codes};

/// Rows of `a` and columns of `b` in a panel.
const SIDE: usize = 32;
/// k of one tile.
const STEP: usize = 32;
/// Lines of one tile.
const TILE: usize = 16;
/// Lines of one step of a panel.
const fn panel_step(pieces: usize) -> usize {
    pieces * 2 * TILE
}
/// Steps packed and multiplied before moving on.
const BLOCK_STEPS: usize = 8;
/// Panels of `b` (at most 48 KB each) that stay in the second-level cache while panels of `a` pass.
const GROUP_PANELS: usize = 16;
/// Most panels of `a` per unit of work: a group of `b` fetched once serves them all.
const BAND_PANELS: usize = 4;

thread_local! {
    /// Of `b`, and of a band of `a`.
    static PANELS: RefCell<[Panels; 2]> = const { RefCell::new([Panels::EMPTY; 2]) };
}

/// Factors of `out`'s rows and columns, applied when the sums are whole.
type OutScales<'a> = Option<(&'a [f32], &'a [f32])>;

/// Where a product goes.
struct Output<'a> {
    data: &'a mut [f32],
    /// Elements from one row to the next.
    rs: usize,
    columns: usize,
    accumulate: bool,
    scales: OutScales<'a>,
}

/// A product into rows `out_rs` apart; each operand has one stride of 1. Work is spread over
/// threads if `out` is contiguous.
pub fn product(p: &Product, out: &mut [f32], out_rs: usize) {
    let (m, n, k) = p.sizes();
    assert!(available() && p.b.rows == k && out_rs >= n);
    let mut left = Operand::left(p.a, p.alpha);
    let mut right = Operand::right(p.b);
    let mut out = Output {
        data: &mut out[..(m - 1) * out_rs + n],
        rs: out_rs,
        columns: n,
        accumulate: p.accumulate,
        scales: None,
    };
    let [of_a, of_b] = p.exactness.scales;
    // Sums of codes are scaled at the end: what `out` held before cannot be among them.
    if let Some(scales) = of_b
        && right.runs_along_depth()
        && left.runs_along_depth()
        && !p.accumulate
    {
        let (scales, inverse) = right.scales(scales);
        right.factor = Factor::Lines(&inverse);
        if let Some(scales_of_a) = of_a {
            let (rows, inverse) = left.scales(scales_of_a);
            let rows: Vec<f32> = rows.iter().map(|s| s * p.alpha).collect();
            left.factor = Factor::Lines(&inverse);
            out.scales = Some((&rows, &scales));
            return pieces::<1, 1>(left, right, out);
        }
        let rows = vec![1.0; m];
        out.scales = Some((&rows, &scales));
        return pieces::<3, 1>(left, right, out);
    }
    if let Some(scales) = of_b
        && !right.runs_along_depth()
        && p.exactness.precision == Precision::Gradient
    {
        let (scales, inverse) = right.scales(scales);
        let scales: Vec<f32> = scales.iter().map(|s| s * p.alpha).collect();
        left.factor = Factor::Depth(&scales);
        right.factor = Factor::Depth(&inverse);
        return pieces::<2, 1>(left, right, out);
    }
    match p.exactness.precision {
        Precision::Float => pieces::<3, 3>(left, right, out),
        Precision::Gradient => pieces::<2, 2>(left, right, out),
    }
}

/// A product of operands cut into `A` and `B` pieces.
fn pieces<const A: usize, const B: usize>(a: Operand, b: Operand, out: Output) {
    let (rows, columns) = (a.lines.div_ceil(SIDE), b.lines.div_ceil(SIDE));
    let steps = a.depth.div_ceil(STEP);
    // At least eight bands where there are rows enough, to keep threads level; the same whatever
    // their number.
    let band = (rows / 8).clamp(1, BAND_PANELS);
    // Taken out, not borrowed: while this thread waits for others it may be given work that comes
    // here again.
    let mut memory = PANELS.with_borrow_mut(|[of_b, _]| std::mem::take(of_b));
    for first in (0..steps).step_by(BLOCK_STEPS) {
        let block = (steps - first).min(BLOCK_STEPS);
        let (a_panel, b_panel) = (block * panel_step(A), block * panel_step(B));
        // Views into larger matrices come from work that is already spread over threads.
        let contiguous = out.rs == out.columns;
        let work = usize::from(contiguous) * a.lines * b.lines * block * STEP;
        let right = memory.space(columns * b_panel);
        par::pieces(right, b_panel, work, |i, panel| {
            // SAFETY: the unit is available, so AVX-512 is; the operand was checked when it was
            // made.
            unsafe { b.pack::<B>(i, first, panel) };
        });
        let right = &*right;
        par::pieces(out.data, band * SIDE * out.rs, work, |i, data| {
            let mut memory = PANELS.with_borrow_mut(|[_, of_a]| std::mem::take(of_a));
            let left = memory.space(band.min(rows - i * band) * a_panel);
            for (j, panel) in left.chunks_exact_mut(a_panel).enumerate() {
                // SAFETY: as above.
                unsafe { a.pack::<A>(i * band + j, first, panel) };
            }
            let scales = out.scales.filter(|_| first + block == steps);
            let out = Output {
                data,
                accumulate: out.accumulate || first > 0,
                scales: scales.map(|(rows, columns)| (&rows[i * band * SIDE..], columns)),
                ..out
            };
            multiply_band::<A, B>(left, right, block, out);
            PANELS.with_borrow_mut(|[_, of_a]| *of_a = memory);
        });
    }
    PANELS.with_borrow_mut(|[of_b, _]| *of_b = memory);
}

/// Panels of `a` times every panel of `b`, each of `steps` steps, into `out` (up to 32 rows a
/// panel).
fn multiply_band<const A: usize, const B: usize>(
    a: &[Line],
    b: &[Line],
    steps: usize,
    out: Output,
) {
    // SAFETY: the caller checked that the unit is available.
    let _tiles = unsafe { Tiles::configure() };
    let (a_panel, b_panel) = (steps * panel_step(A), steps * panel_step(B));
    for (group, b) in b.chunks(GROUP_PANELS * b_panel).enumerate() {
        let bands = a
            .chunks_exact(a_panel)
            .zip(out.data.chunks_mut(SIDE * out.rs));
        for (i, (a, rows)) in bands.enumerate() {
            for (j, b) in b.chunks_exact(b_panel).enumerate() {
                let column = (group * GROUP_PANELS + j) * SIDE;
                let columns = (out.columns - column).min(SIDE);
                let (a, b) = (a.as_ptr().cast(), b.as_ptr().cast());
                if rows.len() > (SIDE - 1) * out.rs && columns == SIDE {
                    let c = rows[column..].as_mut_ptr();
                    // SAFETY: the panels hold `steps` steps; `rows` holds 32 rows and in each 32
                    // columns from `column` on: the last row may be shorter than `out.rs`, but not
                    // than `out.columns`.
                    unsafe { multiply::<A, B>(a, b, c, out.rs * 4, steps, out.accumulate) };
                } else {
                    let mut edge = [0f32; SIDE * SIDE];
                    // SAFETY: as above, into a whole block of its own.
                    unsafe { multiply::<A, B>(a, b, edge.as_mut_ptr(), SIDE * 4, steps, false) };
                    for (line, edge) in rows.chunks_mut(out.rs).zip(edge.chunks_exact(SIDE)) {
                        for (o, e) in line[column..][..columns].iter_mut().zip(edge) {
                            *o = if out.accumulate { *o + e } else { *e };
                        }
                    }
                }
                if let Some((of_rows, of_columns)) = out.scales {
                    let of_columns = &of_columns[column..][..columns];
                    for (line, scale) in rows.chunks_mut(out.rs).zip(&of_rows[i * SIDE..]) {
                        scale_line(&mut line[column..][..columns], *scale, of_columns);
                    }
                }
            }
        }
    }
}

multiversion! {
    fn scale_line(line: &mut [f32], scale: f32, of_columns: &[f32]) {
        for (o, s) in line.iter_mut().zip(of_columns) {
            *o *= scale * s;
        }
    }
}
