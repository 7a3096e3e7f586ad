//! Blocks of 256 weights in groups, the groups' scales being low-bit codes with a scale of their
//! own.

use super::blocks::NON_LINEAR;
use super::half_at;

/// 16 bytes of scale (low half) and minimum (high half), 64 of codes, f16 scale of the scales, f16
/// scale of the minima. Half a block, 128 weights, has 32 bytes of codes and 8 groups; its weight
/// 32g + l is at bits 2g of byte l.
pub(super) fn q2_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(block[group] & 15);
        let least = dmin * f32::from(block[group] >> 4);
        let (half, g) = (group / 8, group % 8 / 2);
        let codes = &block[16 + 32 * half + 16 * (group % 2)..];
        for (v, byte) in out.iter_mut().zip(codes) {
            *v = scale * f32::from(byte >> (2 * g) & 3) - least;
        }
    }
}

/// 32 bytes of third bits, 64 of low quarters, 12 of 6-bit scales, f16 scale. The low quarters are
/// placed as in Q2_K; the third bit of weight 32g + l of half h is bit 4h + g of byte l, and takes
/// 4 away where it is not set. Scale k is its low 4 bits, in the halves of bytes 0 … 7, and its
/// high two, bits 2·(k/4) of byte 8 + k mod 4, less 32.
pub(super) fn q3_k(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 108);
    let scales = &block[96..108];
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let low = scales[group % 8] >> (4 * (group / 8)) & 15;
        let high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let (half, g, first) = (group / 8, group % 8 / 2, 16 * (group % 2));
        let codes = &block[32 + 32 * half + first..];
        for ((v, byte), thirds) in out.iter_mut().zip(codes).zip(&block[first..]) {
            let third = thirds >> (4 * half + g) & 1;
            *v = scale * (f32::from(byte >> (2 * g) & 3 | third << 2) - 4.0);
        }
    }
}

/// Scale and minimum `k` of eight, 6 bits each, in 12 bytes: the first four are the low bits of
/// bytes 0 … 3 and 4 … 7; the others have their low half in bytes 8 … 11 and their high bits in the
/// top of the first eight.
fn scale_and_least(scales: &[u8], k: usize) -> (f32, f32) {
    let (scale, least) = match k {
        0..4 => (scales[k] & 63, scales[k + 4] & 63),
        _ => (
            scales[k + 4] & 15 | scales[k - 4] >> 6 << 4,
            scales[k + 4] >> 4 | scales[k] >> 6 << 4,
        ),
    };
    (f32::from(scale), f32::from(least))
}

/// f16 scale of the scales, f16 scale of the minima, 12 bytes of both, 128 of codes: of each 64
/// weights, l and l + 32 are in the low and the high half of byte l of 32.
pub(super) fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, least) = scale_and_least(&block[4..16], group);
        let (scale, least) = (d * scale, dmin * least);
        let codes = &block[16 + 32 * (group / 2)..];
        for (v, byte) in out.iter_mut().zip(codes) {
            *v = scale * f32::from(byte >> (4 * (group % 2)) & 15) - least;
        }
    }
}

/// As [`q4_k`], with 32 bytes before the codes: the fifth bit of weight l of group k is bit k of
/// byte l.
pub(super) fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, least) = scale_and_least(&block[4..16], group);
        let (scale, least) = (d * scale, dmin * least);
        let codes = &block[48 + 32 * (group / 2)..];
        for ((v, byte), fifths) in out.iter_mut().zip(codes).zip(&block[16..48]) {
            let fifth = fifths >> group & 1;
            *v = scale * f32::from(byte >> (4 * (group % 2)) & 15 | fifth << 4) - least;
        }
    }
}

/// 128 bytes of low halves, 64 of high quarters, 16 scales, f16 scale. A half of the block, 128
/// weights, has 64, 32 and 8 of them; its weight 32g + l has its low half in byte l + 32·(g mod 2)
/// and its high quarter at bits 2g of byte l.
pub(super) fn q6_k(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 208);
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(block[192 + group] as i8);
        let (half, g, first) = (group / 8, group % 8 / 2, 16 * (group % 2));
        let low = &block[64 * half + 32 * (g % 2) + first..];
        let high = &block[128 + 32 * half + first..];
        for ((v, low), high) in out.iter_mut().zip(low).zip(high) {
            let code = low >> (4 * (g / 2)) & 15 | (high >> (2 * g) & 3) << 4;
            *v = scale * (f32::from(code) - 32.0);
        }
    }
}

/// f16 scale, two bytes of the scales' high bits (2k), four of their low halves, 128 of codes: of
/// each 32 weights, l and l + 16 are in the low and the high half of byte l of 16.
pub(super) fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let low = block[4 + group / 2] >> (4 * (group % 2)) & 15;
        let high = block[2 + group / 4] >> (2 * (group % 4)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let codes = &block[8 + 16 * group..][..16];
        let (first, second) = out.split_at_mut(16);
        for ((a, b), byte) in first.iter_mut().zip(second).zip(codes) {
            *a = scale * f32::from(NON_LINEAR[usize::from(byte & 15)]);
            *b = scale * f32::from(NON_LINEAR[usize::from(byte >> 4)]);
        }
    }
}
