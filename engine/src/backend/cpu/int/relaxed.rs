//! wasm kernels with relaxed SIMD: one instruction multiplies 16 pairs of bytes and adds them in fours to i32 lanes.
//!
//! It takes a signed byte and a 7-bit one. What a second operand beyond 0..=127 gives is the engine's choice, and so is whether
//! the sum of two products wraps or saturates in i16; nothing else is. Neither choice can be seen here: second operands are codes
//! of at most 0x30 or seven bits of an activation, and two products are at most 2·128·127 = 32,512 in size, which an i16 holds.
//! So the sums are the same on every engine, and those of every other level.
//!
//! One activation row at a time: the sums of four weight rows fill the registers, and weights met again are in the cache.

use std::arch::wasm32::{i32x4_relaxed_dot_i8x16_i7x16_add as dot, *};

use super::wasm::{each_of_four, load, sums};

/// A tile group of `BITS`-bit codes; layout as in the module above.
///
/// Codes stay in the lower and the upper half of their byte, which saves every other shift; what the upper ones add up to is
/// sixteen times too large, exactly.
#[target_feature(enable = "relaxed-simd")]
pub fn packed<const BITS: u32>(w: &[u8], x: &[i8]) -> [i32; 4] {
    let fields = 8 / BITS as usize;
    let code = (1 << BITS) - 1;
    let (low, high) = (u8x16_splat(code), u8x16_splat(code << 4));
    let (tiles, _) = w.as_chunks::<128>();
    let (x, _) = bytemuck::cast_slice::<_, u8>(x).as_chunks::<32>();
    let mut acc = [[i32x4_splat(0); 2]; 4];
    for (tile, x) in tiles.iter().zip(x.chunks_exact(fields)) {
        for half in [0, 16] {
            each_of_four!(R, {
                let row = load(&tile[R * 32 + half..]);
                each_of_four!(S, {
                    if S < fields / 2 {
                        let codes = u16x8_shr(row, S as u32 * BITS);
                        let [lower, upper] = [S, S + fields / 2].map(|f| load(&x[f][half..]));
                        acc[R][0] = dot(lower, v128_and(codes, low), acc[R][0]);
                        acc[R][1] = dot(upper, v128_and(codes, high), acc[R][1]);
                    }
                });
            });
        }
    }
    sums(acc.map(|[lower, upper]| i32x4_add(lower, i32x4_shr(upper, 4))))
}

/// An activation is its lower seven bits less 128 times its sign bit.
#[target_feature(enable = "relaxed-simd")]
pub fn int8(w: [&[i8]; 4], x: &[i8]) -> [i32; 4] {
    let (low, one) = (u8x16_splat(0x7f), u8x16_splat(1));
    let blocks = |bytes| bytemuck::cast_slice::<i8, u8>(bytes).as_chunks::<16>().0;
    let x = blocks(x);
    let w = w.map(|w| &blocks(w)[..x.len()]);
    let mut acc = [[i32x4_splat(0); 2]; 4];
    for (at, x) in x.iter().enumerate() {
        let x = load(x);
        let (bits, sign) = (v128_and(x, low), v128_and(u16x8_shr(x, 7), one));
        each_of_four!(R, {
            let row = load(&w[R][at]);
            acc[R][0] = dot(row, bits, acc[R][0]);
            acc[R][1] = dot(row, sign, acc[R][1]);
        });
    }
    sums(acc.map(|[bits, sign]| i32x4_sub(bits, i32x4_shl(sign, 7))))
}
