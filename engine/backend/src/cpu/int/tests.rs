//! Every instruction set of this machine against sums written out from the codes; all paths must be
//! exact.

use super::*;
use crate::cpu::simd::Level;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{TileWriter, act_stride, row_stride, tiles};

fn noise(seed: &mut u64) -> i64 {
    *seed = seed
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    (*seed >> 33) as i64
}

/// The kernel of `mode` on a tile group of four rows.
fn sums<const T: usize>(
    level: Level,
    mode: QuantMode,
    data: &[u8],
    cols: usize,
    x: [&[i8]; T],
) -> Sums<T> {
    match mode {
        QuantMode::Ternary => ternary(level, data, x, tiles(mode, cols)),
        QuantMode::Binary => binary(level, data, x, tiles(mode, cols)),
        _ => {
            let stride = row_stride(mode, cols);
            let row = |r: usize| bytemuck::cast_slice(&data[r * stride..][..stride]);
            int8(level, std::array::from_fn(row), x, stride)
        }
    }
}

fn check(mode: QuantMode, cols: usize, fill: Option<i8>) {
    let mut seed = cols as u64;
    let codes: Vec<Vec<i8>> = (0..4)
        .map(|_| {
            (0..cols)
                .map(|_| match (mode, fill) {
                    (_, Some(f)) => f,
                    (QuantMode::Ternary, _) => (noise(&mut seed) % 3) as i8 - 1,
                    (QuantMode::Binary, _) => (noise(&mut seed) % 2) as i8 * 2 - 1,
                    _ => (noise(&mut seed) % 255 - 127) as i8,
                })
                .collect()
        })
        .collect();
    let xs: Vec<Vec<i8>> = (0..4)
        .map(|_| {
            let mut x: Vec<i8> = (0..cols)
                .map(|_| fill.map_or((noise(&mut seed) % 255 - 127) as i8, |_| 127))
                .collect();
            x.resize(act_stride(cols), 0);
            x
        })
        .collect();
    let mut writer = TileWriter::new(mode, 4, cols);
    for (r, row) in codes.iter().enumerate() {
        writer.row(r, row);
    }
    let data = writer.finish();
    let want: Vec<[i64; 4]> = xs
        .iter()
        .map(|x| {
            std::array::from_fn(|r| {
                codes[r]
                    .iter()
                    .zip(x)
                    .map(|(c, x)| i64::from(*c) * i64::from(*x))
                    .sum()
            })
        })
        .collect();
    let four: [&[i8]; 4] = std::array::from_fn(|i| xs[i].as_slice());
    for level in Level::available() {
        let all = sums(level, mode, &data, cols, four);
        for t in 0..4 {
            let total: i64 = xs[t].iter().map(|v| i64::from(*v)).sum();
            let signed = |s: i32| match mode {
                QuantMode::Ternary => i64::from(s) - total,
                QuantMode::Binary => 2 * i64::from(s) - total,
                _ => i64::from(s),
            };
            assert_eq!(
                all[t].map(signed),
                want[t],
                "{mode} {cols} {}",
                level.name()
            );
            assert_eq!(
                sums(level, mode, &data, cols, [four[t]])[0],
                all[t],
                "one row, {mode} {cols} {}",
                level.name()
            );
        }
    }
}

#[test]
fn every_level_is_exact_on_ragged_sizes() {
    for mode in [QuantMode::Ternary, QuantMode::Binary, QuantMode::EightBit] {
        for cols in [1, 3, 65, 127, 128, 129, 257, 320, 1000] {
            check(mode, cols, None);
        }
    }
}

#[test]
fn every_level_is_exact_when_saturated() {
    check(QuantMode::Ternary, 6912, Some(1));
    check(QuantMode::Ternary, 6912, Some(-1));
    check(QuantMode::Binary, 6912, Some(1));
    check(QuantMode::EightBit, 6912, Some(127));
    check(QuantMode::EightBit, 6912, Some(-127));
    check(QuantMode::Ternary, 300, Some(0));
}

/// Sums of spans against those of the codes.
fn check_spans<const BITS: usize>(mode: QuantMode, columns: usize, spans: usize) {
    let cols = columns * spans;
    let mut seed = (cols + BITS) as u64;
    let code = |seed: &mut u64| match BITS {
        2 => (noise(seed) % 3) as i8 - 1,
        _ => (noise(seed) % 2) as i8 * 2 - 1,
    };
    let codes: Vec<Vec<i8>> = (0..4)
        .map(|_| (0..cols).map(|_| code(&mut seed)).collect())
        .collect();
    let xs: Vec<Vec<i8>> = (0..4)
        .map(|_| {
            let mut x: Vec<i8> = (0..cols)
                .map(|_| (noise(&mut seed) % 255 - 127) as i8)
                .collect();
            x.resize(act_stride(cols), 0);
            x
        })
        .collect();
    let mut writer = TileWriter::new(mode, 4, cols);
    for (r, row) in codes.iter().enumerate() {
        writer.row(r, row);
    }
    let data = writer.finish();
    let four: [&[i8]; 4] = std::array::from_fn(|i| xs[i].as_slice());
    for level in Level::available() {
        let mut found = vec![[[0; 4]; 4]; spans];
        super::spans::<4, BITS>(level, &data, four, columns, &mut found);
        for (s, found) in found.iter().enumerate() {
            let range = s * columns..(s + 1) * columns;
            for (x, found) in xs.iter().zip(found) {
                let total: i32 = x[range.clone()].iter().map(|v| i32::from(*v)).sum();
                for (codes, raw) in codes.iter().zip(found) {
                    let want: i32 = (codes[range.clone()].iter().zip(&x[range.clone()]))
                        .map(|(c, x)| i32::from(*c) * i32::from(*x))
                        .sum();
                    let signed = raw * (3 - BITS as i32) - total;
                    assert_eq!(signed, want, "{mode} {columns} {}", level.name());
                }
            }
        }
        let mut alone = vec![[[0; 4]; 1]; spans];
        super::spans::<1, BITS>(level, &data, [four[2]], columns, &mut alone);
        assert!(
            alone
                .iter()
                .zip(&found)
                .all(|(one, four)| one[0] == four[2])
        );
    }
}

#[test]
fn sums_of_spans_are_exact() {
    for columns in [32, 64, 128, 256] {
        for spans in [1, 2, 3, 5, 9] {
            check_spans::<2>(QuantMode::Ternary, columns, spans);
            check_spans::<1>(QuantMode::Binary, columns, spans);
        }
    }
}
