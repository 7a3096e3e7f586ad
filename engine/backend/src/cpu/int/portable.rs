//! Plain Rust kernels: the fallback on every machine and the reference for the SIMD ones.

use super::Sums;

/// Tile groups of `BITS`-bit codes (2: ternary, 1: binary). A tile is 32 bytes a row: 8/BITS fields
/// of 32 columns.
#[inline(always)]
pub fn packed<const T: usize, const BITS: usize>(w: &[u8], x: [&[i8]; T], tiles: usize) -> Sums<T> {
    let fields = 8 / BITS;
    let mut sums = [[0i32; 4]; T];
    for t in 0..tiles {
        let group = &w[t * 128..][..128];
        for (sum, x) in sums.iter_mut().zip(&x) {
            for f in 0..fields {
                let part = field::<BITS>(group, &x[(t * fields + f) * 32..][..32], f);
                for (s, p) in sum.iter_mut().zip(part) {
                    *s += p;
                }
            }
        }
    }
    sums
}

/// One field of one tile group: Σ code·x over 32 columns for each of the 4 rows.
#[inline(always)]
pub fn field<const BITS: usize>(group: &[u8], x: &[i8], f: usize) -> [i32; 4] {
    let mask = (1u8 << BITS) - 1;
    let mut out = [0i32; 4];
    for (r, o) in out.iter_mut().enumerate() {
        let row = &group[r * 32..][..32];
        *o = row
            .iter()
            .zip(x)
            .map(|(w, x)| i32::from((w >> (BITS * f)) & mask) * i32::from(*x))
            .sum();
    }
    out
}

/// A sum for every `FIELDS` fields of one tile group.
#[inline(always)]
pub fn spans<const T: usize, const BITS: usize, const FIELDS: usize>(
    w: &[u8],
    x: [&[i8]; T],
    out: &mut [Sums<T>],
) {
    let per_tile = 8 / BITS;
    for (s, sums) in out.iter_mut().enumerate() {
        *sums = [[0; 4]; T];
        for f in s * FIELDS..(s + 1) * FIELDS {
            let group = &w[f / per_tile * 128..][..128];
            for (sum, x) in sums.iter_mut().zip(&x) {
                let part = field::<BITS>(group, &x[f * 32..][..32], f % per_tile);
                for (s, p) in sum.iter_mut().zip(part) {
                    *s += p;
                }
            }
        }
    }
}

pub fn int8<const T: usize>(w: [&[i8]; 4], x: [&[i8]; T], n: usize) -> Sums<T> {
    let mut sums = [[0i32; 4]; T];
    for (sum, x) in sums.iter_mut().zip(x) {
        for (s, w) in sum.iter_mut().zip(w) {
            *s = w[..n]
                .iter()
                .zip(&x[..n])
                .map(|(w, x)| i32::from(*w) * i32::from(*x))
                .sum();
        }
    }
    sums
}
