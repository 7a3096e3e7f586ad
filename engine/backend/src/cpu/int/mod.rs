//! Integer dot products of one tile group (4 weight rows) with 1 or 4 rows of int8 activations.
//!
//! Every kernel returns raw sums over *unsigned* codes (ternary 0..2, binary 0..1); the caller
//! turns them into signed ones with the activation sum: Σ(c−1)x = Σcx − Σx and Σ(2b−1)x = 2Σbx −
//! Σx. int8 kernels return signed sums. Sums are exact in i32: the largest term is 127·127, so 2³¹
//! / 127² > 133,000 columns fit, and configs of more than 2¹⁷ are refused.
//!
//! A page's kernels make whole products, see `wasm`.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(not(target_arch = "wasm32"))]
mod portable;
#[cfg(target_arch = "wasm32")]
pub mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(not(target_arch = "wasm32"))]
use super::simd::Level;

/// Sums `[activation row][weight row]`.
#[cfg(not(target_arch = "wasm32"))]
pub type Sums<const T: usize> = [[i32; 4]; T];

/// One ternary tile group: `w` holds `tiles` × 128 bytes; `x[t]` holds at least `tiles`·128 codes.
#[cfg(not(target_arch = "wasm32"))]
pub fn ternary<const T: usize>(level: Level, w: &[u8], x: [&[i8]; T], tiles: usize) -> Sums<T> {
    let w = &w[..tiles * 128];
    let x = x.map(|x| &x[..tiles * 128]);
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; slices are cut to the lengths the kernel reads.
        Level::Amx | Level::Avx512Vnni => unsafe { x86::ternary_avx512(w, x, tiles) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => unsafe { x86::ternary_avxvnni(w, x, tiles) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::ternary_avx2(w, x, tiles) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: NEON is part of every aarch64 processor.
        Level::Neon => unsafe { neon::packed::<T, 2>(w, x, tiles) },
        Level::Portable => portable::packed::<T, 2>(w, x, tiles),
    }
}

/// One binary tile group: `w` holds `tiles` × 128 bytes; `x[t]` holds at least `tiles`·256 codes.
#[cfg(not(target_arch = "wasm32"))]
pub fn binary<const T: usize>(level: Level, w: &[u8], x: [&[i8]; T], tiles: usize) -> Sums<T> {
    let w = &w[..tiles * 128];
    let x = x.map(|x| &x[..tiles * 256]);
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; slices are cut to the lengths the kernel reads.
        Level::Amx | Level::Avx512Vnni => unsafe { x86::binary_avx512(w, x, tiles) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => unsafe { x86::binary_avxvnni(w, x, tiles) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::binary_avx2(w, x, tiles) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: NEON is part of every aarch64 processor.
        Level::Neon => unsafe { neon::packed::<T, 1>(w, x, tiles) },
        Level::Portable => portable::packed::<T, 1>(w, x, tiles),
    }
}

/// Four int8 rows of `n` codes each (`n` a multiple of 64).
#[cfg(not(target_arch = "wasm32"))]
pub fn int8<const T: usize>(level: Level, w: [&[i8]; 4], x: [&[i8]; T], n: usize) -> Sums<T> {
    let w = w.map(|w| &w[..n]);
    let x = x.map(|x| &x[..n]);
    assert!(n.is_multiple_of(64));
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; slices are cut to the lengths the kernel reads.
        Level::Amx | Level::Avx512Vnni => unsafe { x86::int8_avx512(w, x, n) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni | Level::Avx2 => unsafe { x86::int8_avx2(w, x, n) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: NEON is part of every aarch64 processor.
        Level::Neon => unsafe { neon::int8(w, x, n) },
        Level::Portable => portable::int8(w, x, n),
    }
}

/// One tile group of `BITS` bits a code (2 ternary, 1 binary) with a sum for every span of
/// `columns` columns, 32, 64, 128 or 256: as many as `out` has. `w` and `x` hold at least so many
/// columns.
#[cfg(not(target_arch = "wasm32"))]
pub fn spans<const T: usize, const BITS: usize>(
    level: Level,
    w: &[u8],
    x: [&[i8]; T],
    columns: usize,
    out: &mut [Sums<T>],
) {
    let all = out.len() * columns;
    let tile = 256 / BITS;
    let w = &w[..all.div_ceil(tile) * 128];
    let x = x.map(|x| &x[..all.next_multiple_of(tile)]);
    match columns {
        32 => spans_of::<T, BITS, 1>(level, w, x, out),
        64 => spans_of::<T, BITS, 2>(level, w, x, out),
        128 => spans_of::<T, BITS, 4>(level, w, x, out),
        256 => spans_of::<T, BITS, 8>(level, w, x, out),
        _ => unreachable!("configs with other groups are refused"),
    }
}

/// [`spans`] of `FIELDS` · 32 columns.
#[cfg(not(target_arch = "wasm32"))]
fn spans_of<const T: usize, const BITS: usize, const FIELDS: usize>(
    level: Level,
    w: &[u8],
    x: [&[i8]; T],
    out: &mut [Sums<T>],
) {
    match (level, BITS) {
        #[cfg(target_arch = "x86_64")]
        (Level::Amx | Level::Avx512Vnni, 2) => {
            // SAFETY: the level was detected; slices are cut to the lengths the kernel reads.
            unsafe { x86::ternary_spans_avx512::<T, FIELDS>(w, x, out) }
        }
        #[cfg(target_arch = "x86_64")]
        (Level::Amx | Level::Avx512Vnni, _) => {
            // SAFETY: as above.
            unsafe { x86::binary_spans_avx512::<T, FIELDS>(w, x, out) }
        }
        #[cfg(target_arch = "x86_64")]
        (Level::AvxVnni, 2) => {
            // SAFETY: as above.
            unsafe { x86::ternary_spans_avxvnni::<T, FIELDS>(w, x, out) }
        }
        #[cfg(target_arch = "x86_64")]
        (Level::AvxVnni, _) => {
            // SAFETY: as above.
            unsafe { x86::binary_spans_avxvnni::<T, FIELDS>(w, x, out) }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Level::Avx2, 2) => unsafe { x86::ternary_spans_avx2::<T, FIELDS>(w, x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Level::Avx2, _) => unsafe { x86::binary_spans_avx2::<T, FIELDS>(w, x, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: NEON is part of every aarch64 processor.
        (Level::Neon, _) => unsafe { neon::spans::<T, BITS, FIELDS>(w, x, out) },
        _ => portable::spans::<T, BITS, FIELDS>(w, x, out),
    }
}

/// Σ of int8 codes.
pub fn sum(codes: &[i8]) -> i32 {
    #[cfg(target_arch = "wasm32")]
    return wasm::sum(codes);
    #[cfg(not(target_arch = "wasm32"))]
    codes.iter().map(|code| i32::from(*code)).sum()
}

#[cfg(test)]
mod tests;
