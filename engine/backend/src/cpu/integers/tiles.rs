//! What kernels multiply and where it goes, see `super`.

use super::super::matmul::View;
use ternary_common::platform::par;

/// Rows of the left operand that a kernel takes.
pub const ROWS: usize = 8;
/// Columns of a panel, and rows of a block.
pub const LANES: usize = 16;
/// Rows of the output that are one task.
pub const BAND: usize = 64;

/// [`ROWS`] rows of a span of the left operand: word `s` of row `r` is at `r·row + s·step`.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    pub words: &'a [u32],
    pub row: usize,
    pub step: usize,
    pub scales: &'a [f32; ROWS],
    pub offsets: [i32; ROWS],
}

/// A step of a panel.
pub type Line = [u32; LANES];

/// Where the outputs of [`ROWS`] rows and some panels go: row `r` begins at `r·stride`.
pub struct Place<'a, const P: usize> {
    pub out: &'a mut [f32],
    pub stride: usize,
    /// What sums are multiplied by, of every column.
    pub columns: Option<[&'a [f32; LANES]; P]>,
    /// To what is there.
    pub add: bool,
}

impl<const P: usize> Place<'_, P> {
    /// The first output, if all are in reach.
    pub fn checked(&mut self) -> *mut f32 {
        assert!(self.out.len() >= (ROWS - 1) * self.stride + P * LANES);
        self.out.as_mut_ptr()
    }
}

/// Each row's sums with a span of panels, times its scale. The machine must have the instructions
/// of the kernel's level.
pub type Kernel<const P: usize> = unsafe fn(&Tile, [&[Line]; P], Place<P>);

/// The left operand: `rows` and those that fill a block.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub words: &'a [u32],
    /// `[blocks][spans][LANES]` where rows lie side by side, else `[spans][blocks][LANES]`.
    pub scales: &'a [f32],
    /// As `scales`; none are zeros.
    pub offsets: &'a [i32],
    pub spans: usize,
    pub steps: usize,
    /// Whether a row's words are side by side.
    pub along: bool,
}

impl Left<'_> {
    fn tile(&self, first: usize, span: usize) -> Tile<'_> {
        let (block, r) = (first / LANES, first % LANES);
        let (words, row, step, scales) = if self.along {
            let row = self.spans * self.steps;
            let words = first * row + span * self.steps;
            (words, row, 1, block * self.spans + span)
        } else {
            let blocks = self.scales.len() / (self.spans * LANES);
            let at = span * blocks + block;
            (at * self.steps * LANES + r, 1, LANES, at)
        };
        let scales = scales * LANES + r;
        let offsets = self.offsets.get(scales..).and_then(|o| o.first_chunk());
        Tile {
            words: &self.words[words..],
            row,
            step,
            scales: &self.scales[scales..].as_chunks().0[0],
            offsets: *offsets.unwrap_or(&[0; ROWS]),
        }
    }
}

/// The right operand.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    pub lines: &'a [Line],
    /// Those of the left operand, or one that all of those meet.
    pub spans: usize,
    /// Of a whole span.
    pub steps: usize,
    /// Of all spans.
    pub used: usize,
    pub panels: usize,
}

impl Right<'_> {
    fn part(&self, span: usize, panel: usize) -> &[Line] {
        let span = span % self.spans;
        let used = (self.used - span * self.steps).min(self.steps);
        &self.lines[(span * self.panels + panel) * self.steps..][..used]
    }
}

/// Into the rows of `out`, `n` long, which threads share; `columns` are the scales of the panels'
/// columns, or none.
pub fn multiply<const P: usize>(
    kernel: Kernel<P>,
    left: Left,
    right: Right,
    columns: &[f32],
    n: usize,
    accumulate: bool,
    out: &mut [f32],
) {
    let work = par::work([out.len(), right.used, 1]);
    let columns = columns.as_chunks::<LANES>().0;
    par::pieces(out, BAND * n, work, |i, out| {
        let rows = out.len() / n;
        for first in (0..n).step_by(P * LANES) {
            let panel = first / LANES;
            let scales = columns.get(panel..panel + P);
            let columns = scales.map(|scales| std::array::from_fn(|p| &scales[p]));
            let kernel = |t: usize, span: usize, out: &mut [f32], stride: usize, add: bool| {
                let panels = std::array::from_fn(|p| right.part(span, panel + p));
                let place = Place {
                    out,
                    stride,
                    columns,
                    add,
                };
                // SAFETY: the kernel is of a level that was detected; it checks lengths.
                unsafe { kernel(&left.tile(i * BAND + t * ROWS, span), panels, place) };
            };
            let width = (n - first).min(P * LANES);
            let whole = if width == P * LANES { rows / ROWS } else { 0 };
            for span in 0..left.spans {
                for t in 0..whole {
                    let out = &mut out[t * ROWS * n + first..];
                    kernel(t, span, out, n, accumulate || span > 0);
                }
            }
            // Where rows or columns end amid a tile.
            for t in whole..rows.div_ceil(ROWS) {
                let mut edge = [[[0f32; LANES]; P]; ROWS];
                for span in 0..left.spans {
                    let edge = edge.as_flattened_mut().as_flattened_mut();
                    kernel(t, span, edge, P * LANES, span > 0);
                }
                let rows = out[t * ROWS * n..].chunks_exact_mut(n);
                for (out, sums) in rows.zip(&edge) {
                    put(&mut out[first..][..width], sums.as_flattened(), accumulate);
                }
            }
        }
    });
}

/// Sums into a part of a row.
pub fn put(out: &mut [f32], sums: &[f32], add: bool) {
    for (o, sum) in out.iter_mut().zip(sums) {
        *o = if add { *o + sum } else { *sum };
    }
}

/// What makes codes of the values of a row with a scale, 0 for those without one.
#[inline(always)]
pub fn inverse(scales: &[f32], row: usize) -> f32 {
    match scales.get(row) {
        Some(scale) if *scale != 0.0 => 1.0 / scale,
        _ => 0.0,
    }
}

/// Some rows of a matrix in memory.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub data: &'a [f32],
    pub step: usize,
    pub count: usize,
    pub columns: usize,
}

impl<'a> Rows<'a> {
    /// `count` rows from `first` on, whose columns are contiguous.
    pub fn of(x: View<'a>, first: usize, count: usize) -> Self {
        Rows {
            data: &x.data[first * x.rs..],
            step: x.rs,
            count,
            columns: x.cols,
        }
    }

    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.data[row * self.step..][..self.columns]
    }

    /// [`LANES`] columns of a row; zeros behind the last, and in rows behind the last.
    #[inline(always)]
    pub fn part(&self, row: usize, part: usize) -> [f32; LANES] {
        if row >= self.count {
            return [0.0; LANES];
        }
        let rest = &self.row(row)[part * LANES..];
        match rest.first_chunk() {
            Some(whole) => *whole,
            None => std::array::from_fn(|i| rest.get(i).map_or(0.0, |v| *v)),
        }
    }
}
