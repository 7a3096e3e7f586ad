//! Products of int8 activations with weights:
//! `out[t, n] = a_t · Σ_s scale[n, s] · Σ_{k in span s} weight[n, k]·code[t, k]`.
//!
//! The inner sum is exact in i32: its largest term is 127·127, so 2³¹ / 127² > 133,000 columns fit,
//! and configs of more than 2¹⁷ are refused. Kernels sum *unsigned* weight codes (ternary 0..2,
//! binary 0..1; int8 + 128 where the instruction wants it, modulo 2³²), made signed with the
//! activations' own sum: Σ(c−1)x = Σcx − Σx, Σ(2b−1)x = 2Σbx − Σx. Spans are then added in order,
//! every product and sum rounded once: the same bits at every level.
//!
//! A few rows of activations meet the weights as they stream from memory ([`packed`], [`int8`]);
//! many of them meet panels of unpacked codes ([`panel`]). A page's kernels make whole products,
//! see `wasm`.

#[cfg(target_arch = "x86_64")]
mod lookup;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(not(target_arch = "wasm32"))]
pub mod panel;
#[cfg(not(target_arch = "wasm32"))]
mod portable;
#[cfg(target_arch = "wasm32")]
pub mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(not(target_arch = "wasm32"))]
use super::simd::Level;

/// One value for each of the four rows of a tile group.
#[cfg(not(target_arch = "wasm32"))]
pub type Float4 = [f32; 4];

/// One row of activations.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// `act_stride(columns)` of them.
    pub codes: &'a [i8],
    pub scale: f32,
    /// Σ of the codes of every span of columns.
    pub sums: &'a [i32],
}

/// `total += scale · signed sum` for four rows; `double` of raw sums, see the module's head.
#[cfg(not(target_arch = "wasm32"))]
#[cfg_attr(
    target_arch = "x86_64",
    allow(dead_code, reason = "for the portable level")
)]
#[inline(always)]
fn scaled(total: &mut Float4, raw: [i32; 4], double: i32, sum: i32, scales: &Float4) {
    for r in 0..4 {
        total[r] += scales[r] * (raw[r] * double - sum) as f32;
    }
}

/// The outputs of tile group `g`; of the last one there may be fewer.
#[cfg(not(target_arch = "wasm32"))]
#[inline(always)]
fn put_group(out: &mut [f32], g: usize, four: Float4) {
    let out = &mut out[4 * g..];
    match out.first_chunk_mut::<4>() {
        Some(out) => *out = four,
        None => {
            let rest = out.len();
            out.copy_from_slice(&four[..rest]);
        }
    }
}

/// Weight rows in tile groups, with codes of `BITS` bits (2: ternary, 1: binary), with every row of
/// `x`: `w` holds whole groups for a row's `out`, `scales` is `[groups, spans]`. A span has
/// `columns` columns: 32, 64, 128 or 256, or any number where there is only one.
#[cfg(not(target_arch = "wasm32"))]
pub fn packed<const BITS: usize>(
    level: Level,
    w: &[u8],
    x: &[Row],
    columns: usize,
    scales: &[Float4],
    out: &mut [&mut [f32]],
) {
    let (Some(first), Some(lines)) = (x.first(), out.first().map(|out| out.len())) else {
        return;
    };
    let groups = lines.div_ceil(4);
    let spans = first.sums.len();
    let tiles = w.len() / 128 / groups.max(1);
    assert!(
        w.len() == tiles * 128 * groups
            && scales.len() == spans * groups
            && tiles * 256 / BITS >= spans * columns
            && x.len() == out.len()
            && x.iter()
                .all(|x| x.codes.len() >= tiles * 256 / BITS && x.sums.len() == spans)
            && out.iter().all(|out| out.len() == lines)
    );
    match (spans, columns) {
        (1, _) => packed_of::<BITS, 0>(level, w, x, scales, out),
        (_, 32) => packed_of::<BITS, 1>(level, w, x, scales, out),
        (_, 64) => packed_of::<BITS, 2>(level, w, x, scales, out),
        (_, 128) => packed_of::<BITS, 4>(level, w, x, scales, out),
        (_, 256) => packed_of::<BITS, 8>(level, w, x, scales, out),
        _ => unreachable!("configs with other groups are refused"),
    }
}

/// Calls `$few` with as many of the rows as it takes, `$one` with each of the others.
#[cfg(not(target_arch = "wasm32"))]
macro_rules! by_rows {
    ($x:expr, $out:expr, [$(($n:literal, $few:expr)),*], $one:expr) => {
        let mut done = 0;
        while done < $x.len() {
            let (x, out) = (&$x[done..], &mut $out[done..]);
            done += match x.len() {
                $(
                    $n.. => {
                        if let (Some(x), Some(out)) =
                            (x.first_chunk::<$n>(), out.first_chunk_mut::<$n>())
                        {
                            $few(x, out);
                        }
                        $n
                    }
                )*
                _ => {
                    $one(x[0], &mut *out[0]);
                    1
                }
            };
        }
    };
}

/// [`packed`] with spans of `FIELDS` · 32 columns, or one of all where that is 0.
#[cfg(not(target_arch = "wasm32"))]
fn packed_of<const BITS: usize, const FIELDS: usize>(
    level: Level,
    w: &[u8],
    x: &[Row],
    scales: &[Float4],
    out: &mut [&mut [f32]],
) {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::Amx | Level::Avx512Vnni => unsafe {
            by_rows!(
                x,
                out,
                [
                    (8, |x, out| x86::packed_few_avx512::<BITS, FIELDS, 8>(
                        w, x, scales, out
                    )),
                    (4, |x, out| x86::packed_few_avx512::<BITS, FIELDS, 4>(
                        w, x, scales, out
                    )),
                    (2, |x, out| x86::packed_few_avx512::<BITS, FIELDS, 2>(
                        w, x, scales, out
                    ))
                ],
                |x, out: &mut [f32]| x86::packed_avx512::<BITS, FIELDS>(w, x, scales, out)
            );
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::AvxVnni => unsafe {
            by_rows!(
                x,
                out,
                [(4, |x, out| x86::packed_few_avxvnni::<BITS, FIELDS>(
                    w, x, scales, out
                ))],
                |x, out: &mut [f32]| x86::packed_avxvnni::<BITS, FIELDS>(w, x, scales, out)
            );
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::Avx2 => unsafe {
            by_rows!(
                x,
                out,
                [(4, |x, out| x86::packed_few_avx2::<BITS, FIELDS>(
                    w, x, scales, out
                ))],
                |x, out: &mut [f32]| x86::packed_avx2::<BITS, FIELDS>(w, x, scales, out)
            );
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::NeonI8mm | Level::NeonDot => unsafe {
            by_rows!(x, out, [], |x, out: &mut [f32]| {
                neon::packed_dot::<BITS, FIELDS>(w, x, scales, out)
            });
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: NEON is part of every aarch64 processor.
        Level::Neon => unsafe {
            by_rows!(x, out, [], |x, out: &mut [f32]| {
                neon::packed::<BITS, FIELDS>(w, x, scales, out)
            });
        },
        Level::Portable => {
            by_rows!(x, out, [], |x, out: &mut [f32]| {
                portable::packed::<BITS, FIELDS>(w, x, scales, out);
            });
        }
    }
}

/// Rows of int8, a whole number of 128 columns each, one behind the other in `w`, with every row of
/// `x`.
#[cfg(not(target_arch = "wasm32"))]
pub fn int8(level: Level, w: &[i8], x: &[Row], scales: &[f32], out: &mut [&mut [f32]]) {
    let columns = w.len() / scales.len().max(1);
    assert!(
        columns.is_multiple_of(128)
            && w.len() == columns * scales.len()
            && x.len() == out.len()
            && x.iter()
                .all(|x| x.codes.len() >= columns && x.sums.len() == 1)
            && out.iter().all(|out| out.len() == scales.len())
    );
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::Amx | Level::Avx512Vnni => unsafe {
            by_rows!(
                x,
                out,
                [
                    (4, |x, out| x86::int8_few_avx512::<4>(w, x, scales, out)),
                    (2, |x, out| x86::int8_few_avx512::<2>(w, x, scales, out))
                ],
                |x, out: &mut [f32]| x86::int8_avx512(w, x, scales, out)
            );
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::AvxVnni => unsafe {
            by_rows!(
                x,
                out,
                [(4, |x, out| x86::int8_few_avxvnni(w, x, scales, out))],
                |x, out: &mut [f32]| x86::int8_avxvnni(w, x, scales, out)
            );
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::Avx2 => unsafe {
            by_rows!(
                x,
                out,
                [(4, |x, out| x86::int8_few_avx2(w, x, scales, out))],
                |x, out: &mut [f32]| x86::int8_avx2(w, x, scales, out)
            );
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the level was detected; the lengths were checked.
        Level::NeonI8mm | Level::NeonDot => unsafe {
            by_rows!(x, out, [], |x, out: &mut [f32]| neon::int8_dot(
                w, x, scales, out
            ));
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: NEON is part of every aarch64 processor.
        Level::Neon => unsafe {
            by_rows!(x, out, [], |x, out: &mut [f32]| neon::int8(
                w, x, scales, out
            ));
        },
        Level::Portable => {
            by_rows!(x, out, [], |x, out: &mut [f32]| portable::int8(
                w, x, scales, out
            ));
        }
    }
}

#[cfg(target_arch = "wasm32")]
pub use wasm::sum;

#[cfg(not(target_arch = "wasm32"))]
super::simd::multiversion! {
    /// Σ of int8 codes.
    pub fn sum(codes: &[i8]) -> i32 {
        codes.iter().map(|code| i32::from(*code)).sum()
    }
}

#[cfg(test)]
mod tests;
