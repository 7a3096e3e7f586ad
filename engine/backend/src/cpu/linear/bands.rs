//! Products with int8 activations: of a few rows band by band of the weights, which threads share,
//! of many by panels.

use super::{Int8Rows, WeightView, shared_rows};
use crate::cpu::int::{self, Row, panel};
use crate::cpu::simd::Level;
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{ROWS, TILE_BYTES, act_stride, row_stride, tiles};

/// From so many activation rows on weights are unpacked into panels, which fewer do not pay for.
fn panels(level: Level) -> usize {
    match level {
        // A few rows share what is unpacked there, too.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni | Level::AvxVnni | Level::Avx2 => 32,
        // One row after another unpacks anew; sixteen rows are a tile of the matrix unit.
        _ => 16,
    }
}

/// Bytes of weights that every activation row meets before the next: they stay in the nearest
/// cache.
const NEAR: usize = 1 << 14;

/// `out` `[rows, out_dim]` of `x` `[rows, in_dim]`; `sums` of its codes `[rows, spans]`.
pub fn product(level: Level, w: &WeightView, x: Int8Rows, sums: &[i32], out: &mut [f32]) {
    let rows = out.len() / w.out_dim;
    if rows >= panels(level) {
        return panel::product(level, w, x, sums, out);
    }
    let stride = act_stride(w.in_dim);
    let spans = w.in_dim / w.group;
    let row = |r: usize| Row {
        codes: &x.codes[r * stride..][..stride],
        scale: x.scales[r],
        sums: &sums[r * spans..][..spans],
    };
    let bands = Bands::of(w);
    let work = par::work([rows, w.out_dim, w.in_dim.div_ceil(32)]);
    if rows == 1 {
        let x = [row(0)];
        par::pieces(out, bands.shared, work, |i, out| {
            bands.rows(level, w, i * bands.shared, &x, &mut [out]);
        });
        return;
    }
    let x: Vec<Row> = (0..rows).map(row).collect();
    // `[bands][rows][near]`
    let near = bands.near;
    let len = w.out_dim.next_multiple_of(near) * rows;
    panel::with_memory(&panel::BLOCKS, len, |blocks: &mut [f32]| {
        par::pieces(blocks, near * rows, work, |i, block| {
            let first = i * near;
            let lines = near.min(w.out_dim - first);
            let mut outs: Vec<&mut [f32]> = block
                .chunks_exact_mut(near)
                .map(|out| &mut out[..lines])
                .collect();
            bands.rows(level, w, first, &x, &mut outs);
        });
        par::pieces(out, w.out_dim, rows * w.out_dim, |r, out| {
            for (i, out) in out.chunks_mut(near).enumerate() {
                out.copy_from_slice(&blocks[(i * rows + r) * near..][..out.len()]);
            }
        });
    });
}

/// [`product`] of one row of activations with each weight, whose bands threads share at once: such
/// a product alone takes little longer than sharing it.
pub fn products<const N: usize>(
    level: Level,
    w: [WeightView; N],
    x: Int8Rows,
    sums: [&[i32]; N],
    out: [&mut [f32]; N],
) {
    struct Piece<'a> {
        of: usize,
        first: usize,
        out: &'a mut [f32],
    }
    let bands = w.each_ref().map(Bands::of);
    let mut pieces = Vec::new();
    for (of, out) in out.into_iter().enumerate() {
        let shared = bands[of].shared;
        let cut = out.chunks_mut(shared).enumerate();
        pieces.extend(cut.map(|(i, out)| Piece {
            of,
            first: i * shared,
            out,
        }));
    }
    let work = w.iter().fold(0usize, |sum, w| {
        sum.saturating_add(par::work([w.out_dim, w.in_dim.div_ceil(32)]))
    });
    let row = sums.map(|sums| Row {
        codes: x.codes,
        scale: x.scales[0],
        sums,
    });
    par::pieces(&mut pieces, 1, work, |_, pieces| {
        for Piece { of, first, out } in pieces {
            let x = [row[*of]];
            bands[*of].rows(level, &w[*of], *first, &x, &mut [&mut **out]);
        }
    });
}

/// How a weight's rows lie, and how many belong together.
struct Bands {
    /// Bytes of a tile group, or of a row-major row.
    bytes: usize,
    /// Rows that a thread takes at once, and that stay in the nearest cache; whole tile groups.
    shared: usize,
    near: usize,
}

impl Bands {
    fn of(w: &WeightView) -> Self {
        let (bytes, rows) = match w.mode {
            QuantMode::EightBit => (row_stride(w.mode, w.in_dim), 1),
            mode => (tiles(mode, w.in_dim) * ROWS * TILE_BYTES, ROWS),
        };
        let whole = |rows: usize| rows.next_multiple_of(ROWS);
        Bands {
            bytes,
            shared: shared_rows(w.out_dim),
            near: whole((NEAR / bytes * rows).clamp(1, 256)),
        }
    }

    /// Outputs of weight rows `first..`, a whole number of tile groups from the first on, for every
    /// row of activations.
    fn rows(&self, level: Level, w: &WeightView, first: usize, x: &[Row], out: &mut [&mut [f32]]) {
        let lines = out.first().map_or(0, |out| out.len());
        if w.mode == QuantMode::EightBit {
            let codes = &w.data[first * self.bytes..][..lines * self.bytes];
            let scales = &w.scales[first..][..lines];
            return int::int8(level, bytemuck::cast_slice(codes), x, scales, out);
        }
        let groups = lines.div_ceil(ROWS);
        let spans = x.first().map_or(0, |x| x.sums.len());
        let data = &w.data[first / ROWS * self.bytes..][..groups * self.bytes];
        let scales = &w.by_four[first / ROWS * spans..][..groups * spans];
        match w.mode {
            QuantMode::Binary => int::packed::<1>(level, data, x, w.group, scales, out),
            _ => int::packed::<2>(level, data, x, w.group, scales, out),
        }
    }
}
