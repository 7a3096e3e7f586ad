//! wasm simd128 kernels: codes and activations as i16, multiplied and added in pairs to i32 (`dot`). Weights and activations meet as
//! 16-bit lanes that hold two codes each: first the lower ones, then the upper ones.

use std::arch::wasm32::*;

use super::Sums;

/// A statement for each of 0 to 3. The page is built for size, where the compiler leaves loops as they are and sums in memory.
macro_rules! each_of_four {
    ($i:ident, $body:block) => {
        each_of_four!(@ $i, $body, 0 1 2 3)
    };
    (@ $i:ident, $body:block, $($value:literal)*) => {
        $({
            const $i: usize = $value;
            $body
        })*
    };
}
#[cfg(feature = "relaxed-simd")]
pub(super) use each_of_four;

#[inline(always)]
pub fn load(bytes: &[u8]) -> v128 {
    // SAFETY: the slice holds 16 bytes; v128_load has no alignment requirement.
    unsafe { v128_load(bytes[..16].as_ptr().cast()) }
}

/// Eight bytes as i16.
#[inline(always)]
fn widen(bytes: &[i8]) -> v128 {
    // SAFETY: the slice holds 8 bytes; the load has no alignment requirement.
    unsafe { i16x8_load_extend_i8x8(bytes[..8].as_ptr()) }
}

/// The sum of every vector's lanes.
#[inline(always)]
pub fn sums([a, b, c, d]: [v128; 4]) -> [i32; 4] {
    // Lane by lane a, b, a, b.
    let pairs = |a, b| {
        i32x4_add(
            i32x4_shuffle::<0, 4, 1, 5>(a, b),
            i32x4_shuffle::<2, 6, 3, 7>(a, b),
        )
    };
    let (ab, cd) = (pairs(a, b), pairs(c, d));
    let all = i32x4_add(
        i32x4_shuffle::<0, 1, 4, 5>(ab, cd),
        i32x4_shuffle::<2, 3, 6, 7>(ab, cd),
    );
    [
        i32x4_extract_lane::<0>(all),
        i32x4_extract_lane::<1>(all),
        i32x4_extract_lane::<2>(all),
        i32x4_extract_lane::<3>(all),
    ]
}

/// Adds the products of two pairs of vectors of i16.
#[inline(always)]
fn dots(acc: v128, a: [v128; 2], b: [v128; 2]) -> v128 {
    i32x4_add(
        acc,
        i32x4_add(i32x4_dot_i16x8(a[0], b[0]), i32x4_dot_i16x8(a[1], b[1])),
    )
}

/// Tile groups of `BITS`-bit codes; layout as in the module above.
pub fn packed<const T: usize, const BITS: u32>(w: &[u8], x: [&[i8]; T], tiles: usize) -> Sums<T> {
    let fields = 8 / BITS as usize;
    let mask = u16x8_splat((1 << BITS) - 1);
    let x: [&[u8]; T] = x.map(bytemuck::cast_slice);
    let mut acc = [[i32x4_splat(0); 4]; T];
    for at in 0..2 * tiles {
        let (t, half) = (at / 2, at % 2 * 16);
        let row = |r: usize| load(&w[t * 128 + r * 32 + half..]);
        let mut w = [row(0), row(1), row(2), row(3)];
        for f in 0..fields {
            let mut halves = [[mask; 2]; T];
            each_of_four!(I, {
                if I < T {
                    let v = load(&x[I][(t * fields + f) * 32 + half..]);
                    halves[I] = [i16x8_shr(i16x8_shl(v, 8), 8), i16x8_shr(v, 8)];
                }
            });
            each_of_four!(R, {
                let codes = [v128_and(w[R], mask), v128_and(u16x8_shr(w[R], 8), mask)];
                w[R] = u16x8_shr(w[R], BITS);
                each_of_four!(I, {
                    if I < T {
                        acc[I][R] = dots(acc[I][R], codes, halves[I]);
                    }
                });
            });
        }
    }
    acc.map(sums)
}

pub fn int8<const T: usize>(w: [&[i8]; 4], x: [&[i8]; T], n: usize) -> Sums<T> {
    let mut acc = [[i32x4_splat(0); 4]; T];
    for at in (0..n).step_by(16) {
        let both = |row: &[i8]| [widen(&row[at..]), widen(&row[at + 8..])];
        let mut halves = [[i32x4_splat(0); 2]; T];
        each_of_four!(I, {
            if I < T {
                halves[I] = both(x[I]);
            }
        });
        each_of_four!(R, {
            let row = both(w[R]);
            each_of_four!(I, {
                if I < T {
                    acc[I][R] = dots(acc[I][R], row, halves[I]);
                }
            });
        });
    }
    acc.map(sums)
}
