//! Products of one row, straight from the file's encodings, in plain Rust.

use super::file::Matrix;
use crate::config::QuantMode;
use crate::layout::Encoding;
use crate::math;

/// Calls `f(column, code)` for the columns `first..first + n` of a row; 2- and 1-bit spans begin on
/// a byte.
#[inline(always)]
fn each_code(encoding: Encoding, row: &[u8], first: usize, n: usize, mut f: impl FnMut(usize, i8)) {
    match encoding {
        Encoding::Ternary2 => {
            for (j, byte) in row[first / 4..].iter().enumerate().take(n.div_ceil(4)) {
                for i in 4 * j..n.min(4 * j + 4) {
                    // Two's complement in two bits: the file's codes are their own numbers.
                    f(i, ((byte >> (2 * (i % 4))) << 6) as i8 >> 6);
                }
            }
        }
        Encoding::Binary1 => {
            for (j, byte) in row[first / 8..].iter().enumerate().take(n.div_ceil(8)) {
                for i in 8 * j..n.min(8 * j + 8) {
                    f(i, 2 * (byte >> (i % 8) & 1) as i8 - 1);
                }
            }
        }
        Encoding::TernaryBase3 => {
            const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
            let mut value = 0;
            for i in 0..n {
                let at = first + i;
                if i == 0 || at.is_multiple_of(5) {
                    value = row[at / 5] / POWERS[at % 5];
                }
                f(i, (value % 3) as i8 - 1);
                value /= 3;
            }
        }
        Encoding::Int8 => {
            for (i, byte) in row[first..].iter().enumerate().take(n) {
                f(i, *byte as i8);
            }
        }
        // Floats have no codes; `Model::open` lets none come here.
        Encoding::F16 | Encoding::F32 => {}
    }
}

/// Row `row` as f32.
pub fn expand_row(m: &Matrix, row: usize, out: &mut [f32]) {
    let bytes = m.row(row);
    if m.mode == QuantMode::F16 {
        for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *o = math::half(u16::from_le_bytes(*b));
        }
        return;
    }
    if m.mode == QuantMode::F32 {
        for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *o = f32::from_le_bytes(*b);
        }
        return;
    }
    for span in 0..m.cols / m.span {
        let scale = m.scale(row, span);
        let out = &mut out[span * m.span..];
        each_code(m.encoding, bytes, span * m.span, m.span, |i, code| {
            out[i] = scale * f32::from(code);
        });
    }
}

/// The CPU backend's sixteen interleaved partial sums of narrow weights, added by halves.
fn fold(mut sums: [f32; 16]) -> f32 {
    for step in [8, 4, 2, 1] {
        for l in 0..step {
            sums[l] += sums[l + step];
        }
    }
    sums[0]
}

/// Σ w·x over f16 weights.
fn dot_f16(w: &[[u8; 2]], x: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    for (w, x) in w.chunks(16).zip(x.chunks(16)) {
        for ((a, w), x) in sums.iter_mut().zip(w).zip(x) {
            *a += math::half(u16::from_le_bytes(*w)) * x;
        }
    }
    fold(sums)
}

/// Σ code·x over the columns of a row from `first` on, as many as `x` has.
fn dot_codes(encoding: Encoding, row: &[u8], first: usize, x: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    each_code(encoding, row, first, x.len(), |i, code| {
        sums[i % 16] += f32::from(code) * x[i];
    });
    fold(sums)
}

/// int8 activations with their scale: x ≈ code · scale.
pub struct Int8<'a> {
    pub codes: &'a [i8],
    pub scale: f32,
}

/// `out = m · x`, exact sums of integers within each span.
pub fn multiply_int8(m: &Matrix, x: &Int8, out: &mut [f32]) {
    for (row, out) in out.iter_mut().enumerate().take(m.rows) {
        let bytes = m.row(row);
        let mut total = 0.0;
        for span in 0..m.cols / m.span {
            let first = span * m.span;
            let x = &x.codes[first..first + m.span];
            let mut sum = 0i32;
            each_code(m.encoding, bytes, first, m.span, |i, code| {
                sum += i32::from(code) * i32::from(x[i]);
            });
            let value = m.scale(row, span) * sum as f32;
            total = if span == 0 { value } else { total + value };
        }
        *out = total * x.scale;
    }
}

/// `out = m · x` with float activations; `line` holds a row of single precision.
pub fn multiply_float(m: &Matrix, x: &[f32], line: &mut [f32], out: &mut [f32]) {
    for (row, out) in out.iter_mut().enumerate().take(m.rows) {
        let bytes = m.row(row);
        *out = match m.mode {
            QuantMode::F16 => dot_f16(bytes.as_chunks::<2>().0, x),
            QuantMode::F32 => {
                let line = &mut line[..m.cols];
                expand_row(m, row, line);
                math::dot(line, x)
            }
            QuantMode::EightBit | QuantMode::Ternary | QuantMode::Binary => {
                let spans = x.chunks_exact(m.span).enumerate();
                spans
                    .map(|(s, x)| m.scale(row, s) * dot_codes(m.encoding, bytes, s * m.span, x))
                    .sum()
            }
        };
    }
}
