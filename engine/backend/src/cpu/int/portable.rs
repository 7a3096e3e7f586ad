//! Plain Rust kernels: the fallback on every machine and the reference for the SIMD ones.

use super::panel::{ROWS, Sums};
use super::{Float4, Row, put_group, scaled};

/// Codes of `BITS` bits (2: ternary, 1: binary); a span is `FIELDS` fields of 32 columns, or all
/// there are where that is 0. A tile is 32 bytes a row: 8 / BITS fields.
pub fn packed<const BITS: usize, const FIELDS: usize>(
    w: &[u8],
    x: Row,
    scales: &[Float4],
    out: &mut [f32],
) {
    let per_tile = 8 / BITS;
    let group = w.len() / out.len().div_ceil(4).max(1);
    let spans = x.sums.len();
    let groups = w.chunks_exact(group.max(1)).zip(scales.chunks_exact(spans));
    for (g, (w, scales)) in groups.enumerate() {
        let fields = match FIELDS {
            0 => w.len() / 128 * per_tile,
            fields => fields,
        };
        let mut total = [0f32; 4];
        for (s, scales) in scales.iter().enumerate() {
            let mut raw = [0i32; 4];
            for f in s * fields..(s + 1) * fields {
                let tile = &w[f / per_tile * 128..][..128];
                let part = field::<BITS>(tile, &x.codes[f * 32..][..32], f % per_tile);
                for (raw, part) in raw.iter_mut().zip(part) {
                    *raw += part;
                }
            }
            scaled(&mut total, raw, 2 / BITS as i32, x.sums[s], scales);
        }
        put_group(out, g, total.map(|v| v * x.scale));
    }
}

/// One field of one tile group: Σ code·x over 32 columns for each of the 4 rows, in i16: at most
/// 32·2·127 = 8128.
#[inline(always)]
fn field<const BITS: usize>(group: &[u8], x: &[i8], f: usize) -> [i32; 4] {
    let mask = (1u8 << BITS) - 1;
    let mut out = [0i32; 4];
    for (r, o) in out.iter_mut().enumerate() {
        let row = &group[r * 32..][..32];
        let code = |w: &u8| i16::from((w >> (BITS * f)) & mask);
        let terms = row.iter().zip(x).map(|(w, x)| code(w) * i16::from(*x));
        *o = i32::from(terms.sum::<i16>());
    }
    out
}

/// Rows of int8, one behind the other.
pub fn int8(w: &[i8], x: Row, scales: &[f32], out: &mut [f32]) {
    let n = w.len() / out.len().max(1);
    for ((w, scale), out) in w.chunks_exact(n.max(1)).zip(scales).zip(out) {
        let terms = w.iter().zip(x.codes);
        let sum: i32 = terms.map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
        *out = scale * sum as f32 * x.scale;
    }
}

/// Steps of columns whose sums stay within i16: 128·2·127 = 32,512.
const STEPS: usize = 128;

/// A panel of codes of up to two bits, as i16: a step is one column, with 16 rows of `w` and
/// `out.len()` of `x`.
pub fn panel(w: &[i16], x: &[i16], out: &mut [Sums]) {
    let width = out.len();
    for (t, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *out = [[0; ROWS]; 4];
        let (w, x) = (w.chunks(STEPS * ROWS), x.chunks(STEPS * width));
        for (w, x) in w.zip(x) {
            let mut acc = [[0i16; ROWS]; 4];
            let steps = w.as_chunks::<ROWS>().0.iter().zip(x.chunks_exact(width));
            for (w, x) in steps {
                for (acc, x) in acc.iter_mut().zip(&x[4 * t..][..4]) {
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = acc.wrapping_add(w.wrapping_mul(*x));
                    }
                }
            }
            for (out, acc) in out.iter_mut().zip(acc) {
                for (out, acc) in out.iter_mut().zip(acc) {
                    *out += i32::from(acc);
                }
            }
        }
    }
}

/// A panel of int8.
pub fn panel_int8(w: &[i16], x: &[i16], out: &mut [Sums]) {
    let width = out.len();
    for (t, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *out = [[0; ROWS]; 4];
        let steps = w.as_chunks::<ROWS>().0.iter().zip(x.chunks_exact(width));
        for (w, x) in steps {
            for (out, x) in out.iter_mut().zip(&x[4 * t..][..4]) {
                for (out, w) in out.iter_mut().zip(w) {
                    *out += i32::from(*w) * i32::from(*x);
                }
            }
        }
    }
}
