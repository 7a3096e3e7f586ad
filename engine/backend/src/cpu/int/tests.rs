//! Every instruction set of this machine against sums written out from the codes; all paths must be
//! exact.

use super::*;
use crate::cpu::simd::Level;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{TileWriter, act_stride};

pub(super) fn noise(seed: &mut u64) -> i64 {
    *seed = seed
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    (*seed >> 33) as i64
}

/// Codes of a mode, and rows of activations with the rest of their tiles.
fn noisy(mode: QuantMode, cols: usize, fill: Option<i8>) -> (Vec<Vec<i8>>, Vec<Vec<i8>>) {
    let mut seed = cols as u64;
    let mut code = || match (mode, fill) {
        (_, Some(fill)) => fill,
        (QuantMode::Ternary, _) => (noise(&mut seed) % 3) as i8 - 1,
        (QuantMode::Binary, _) => (noise(&mut seed) % 2) as i8 * 2 - 1,
        _ => (noise(&mut seed) % 255 - 127) as i8,
    };
    let codes = (0..LINES)
        .map(|_| (0..cols).map(|_| code()).collect())
        .collect();
    let mut activations = || {
        let mut x: Vec<i8> = (0..cols)
            .map(|_| fill.map_or((noise(&mut seed) % 255 - 127) as i8, |_| 127))
            .collect();
        x.resize(act_stride(cols), 0);
        x
    };
    (codes, (0..TOKENS).map(|_| activations()).collect())
}

/// Weight rows: two whole tile groups and a ragged one.
const LINES: usize = 11;
/// Rows of activations: every number that a kernel takes at once, and what is left.
const TOKENS: usize = 15;

/// Every span's sum of every row, with scale 1, one scale alone not 0: sums of up to 2²⁴ are exact
/// in f32.
fn check(mode: QuantMode, cols: usize, columns: usize, fill: Option<i8>) {
    let (codes, x) = noisy(mode, cols, fill);
    let mut writer = TileWriter::new(mode, LINES, cols);
    for (r, row) in codes.iter().enumerate() {
        writer.row(r, row);
    }
    let data = writer.finish();
    let spans = cols / columns;
    let sums_of = |x: &Vec<i8>| -> Vec<i32> {
        let span = |s| sum(&x[s * columns..(s + 1) * columns]);
        (0..spans).map(span).collect()
    };
    let sums: Vec<Vec<i32>> = x.iter().map(sums_of).collect();
    let rows: Vec<Row> = (x.iter().zip(&sums))
        .map(|(codes, sums)| Row {
            codes,
            scale: 1.0,
            sums,
        })
        .collect();
    for level in Level::available() {
        for s in 0..spans {
            let span = s * columns..(s + 1) * columns;
            let want: Vec<Vec<f32>> = x
                .iter()
                .map(|x| {
                    let of = |codes: &Vec<i8>| {
                        let terms = codes[span.clone()].iter().zip(&x[span.clone()]);
                        let exact = terms.map(|(c, x)| f64::from(*c) * f64::from(*x));
                        exact.sum::<f64>() as f32
                    };
                    codes.iter().map(of).collect()
                })
                .collect();
            for tokens in [1, 2, 3, 4, 7, TOKENS] {
                let mut found = vec![vec![f32::NAN; LINES]; tokens];
                let mut out: Vec<&mut [f32]> = found.iter_mut().map(|out| &mut out[..]).collect();
                let rows = &rows[..tokens];
                if mode == QuantMode::EightBit {
                    let data = bytemuck::cast_slice(&data);
                    int8(level, data, rows, &[1.0; LINES], &mut out);
                } else {
                    let scale = |i: usize| if i % spans == s { [1.0; 4] } else { [0.0; 4] };
                    let groups = LINES.div_ceil(4);
                    let scales: Vec<Float4> = (0..groups * spans).map(scale).collect();
                    match mode {
                        QuantMode::Binary => {
                            packed::<1>(level, &data, rows, columns, &scales, &mut out);
                        }
                        _ => packed::<2>(level, &data, rows, columns, &scales, &mut out),
                    }
                }
                assert_eq!(
                    found,
                    want[..tokens],
                    "{mode} {cols} span {s} of {columns}, {tokens} rows at {}",
                    level.name()
                );
            }
        }
    }
}

#[test]
fn every_level_is_exact_on_ragged_sizes() {
    for mode in [QuantMode::Ternary, QuantMode::Binary, QuantMode::EightBit] {
        for cols in [1, 3, 65, 127, 128, 129, 257, 320, 1000] {
            check(mode, cols, cols, None);
        }
    }
}

#[test]
fn every_level_is_exact_when_saturated() {
    for fill in [1, -1] {
        check(QuantMode::Ternary, 6912, 6912, Some(fill));
        check(QuantMode::Ternary, 6912, 256, Some(fill));
    }
    check(QuantMode::Binary, 6912, 6912, Some(1));
    check(QuantMode::Binary, 6912, 256, Some(1));
    // Sums that f32 rounds, the same way here and there.
    check(QuantMode::EightBit, 6912, 6912, Some(127));
    check(QuantMode::EightBit, 6912, 6912, Some(-127));
    check(QuantMode::Ternary, 300, 300, Some(0));
}

#[test]
fn sums_of_spans_are_exact() {
    for columns in [32, 64, 128, 256] {
        for spans in [1, 2, 3, 5, 9] {
            check(QuantMode::Ternary, columns * spans, columns, None);
            check(QuantMode::Binary, columns * spans, columns, None);
        }
    }
}
