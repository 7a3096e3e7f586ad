//! wasm simd128 kernels: codes times activations as i16 (`extmul`), four fields at most 4·2·127·2 = 2032 before widening to i32.

use std::arch::wasm32::*;

use super::Sums;

#[inline(always)]
fn load(bytes: &[u8]) -> v128 {
    // SAFETY: the slice holds 16 bytes; v128_load has no alignment requirement.
    unsafe { v128_load(bytes[..16].as_ptr().cast()) }
}

#[inline(always)]
fn sum(v: v128) -> i32 {
    i32x4_extract_lane::<0>(v)
        + i32x4_extract_lane::<1>(v)
        + i32x4_extract_lane::<2>(v)
        + i32x4_extract_lane::<3>(v)
}

/// Tile groups of `BITS`-bit codes; layout as in the module above.
pub fn packed<const T: usize, const BITS: usize>(w: &[u8], x: [&[i8]; T], tiles: usize) -> Sums<T> {
    let fields = 8 / BITS;
    let mask = u8x16_splat((1 << BITS) - 1);
    let x: [&[u8]; T] = x.map(bytemuck::cast_slice);
    let mut acc = [[i32x4_splat(0); 4]; T];
    for t in 0..tiles {
        for r in 0..4 {
            let low = load(&w[t * 128 + r * 32..]);
            let high = load(&w[t * 128 + r * 32 + 16..]);
            let mut pairs = [i16x8_splat(0); T];
            for f in 0..fields {
                let shift = (BITS * f) as u32;
                let c0 = v128_and(u8x16_shr(low, shift), mask);
                let c1 = v128_and(u8x16_shr(high, shift), mask);
                for i in 0..T {
                    let at = (t * fields + f) * 32;
                    let (x0, x1) = (load(&x[i][at..]), load(&x[i][at + 16..]));
                    pairs[i] = i16x8_add(
                        pairs[i],
                        i16x8_add(
                            i16x8_add(
                                i16x8_extmul_low_i8x16(c0, x0),
                                i16x8_extmul_high_i8x16(c0, x0),
                            ),
                            i16x8_add(
                                i16x8_extmul_low_i8x16(c1, x1),
                                i16x8_extmul_high_i8x16(c1, x1),
                            ),
                        ),
                    );
                }
            }
            for i in 0..T {
                acc[i][r] = i32x4_add(acc[i][r], i32x4_extadd_pairwise_i16x8(pairs[i]));
            }
        }
    }
    acc.map(|rows| rows.map(sum))
}

pub fn int8<const T: usize>(w: [&[i8]; 4], x: [&[i8]; T], n: usize) -> Sums<T> {
    let w: [&[u8]; 4] = w.map(bytemuck::cast_slice);
    let x: [&[u8]; T] = x.map(bytemuck::cast_slice);
    let mut acc = [[i32x4_splat(0); 4]; T];
    for at in (0..n).step_by(16) {
        for r in 0..4 {
            let row = load(&w[r][at..]);
            for i in 0..T {
                let v = load(&x[i][at..]);
                let low = i16x8_extmul_low_i8x16(row, v);
                let high = i16x8_extmul_high_i8x16(row, v);
                acc[i][r] = i32x4_add(
                    acc[i][r],
                    i32x4_add(
                        i32x4_extadd_pairwise_i16x8(low),
                        i32x4_extadd_pairwise_i16x8(high),
                    ),
                );
            }
        }
    }
    acc.map(|rows| rows.map(sum))
}
