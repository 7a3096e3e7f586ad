//! Blocks of 32 weights with one scale. Weights j and j + 16 are in the low and the high half of
//! byte j.

use super::half_at;

/// What the 4-bit codes of IQ4_NL and IQ4_XS stand for.
pub(super) const NON_LINEAR: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// What the 4-bit floats of MXFP4 (sign, two bits of exponent, one of mantissa) are, times two.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The 4-bit code of weight `j`.
fn nibble(bytes: &[u8], j: usize) -> u8 {
    let byte = bytes[j % 16];
    if j < 16 { byte & 15 } else { byte >> 4 }
}

/// The code of weight `j` with its fifth bit, bit j of `high`.
fn five_bits(high: &[u8], low: &[u8], j: usize) -> f32 {
    let bit = high[j / 8] >> (j % 8) & 1;
    f32::from(nibble(low, j) | bit << 4)
}

pub(super) fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (v, b) in out.iter_mut().zip(&block[2..]) {
        *v = d * f32::from(*b as i8);
    }
}

pub(super) fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (j, v) in out.iter_mut().enumerate() {
        *v = d * (f32::from(nibble(&block[2..], j)) - 8.0);
    }
}

pub(super) fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, least) = (half_at(block, 0), half_at(block, 2));
    for (j, v) in out.iter_mut().enumerate() {
        *v = d * f32::from(nibble(&block[4..], j)) + least;
    }
}

pub(super) fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (j, v) in out.iter_mut().enumerate() {
        *v = d * (five_bits(&block[2..6], &block[6..], j) - 16.0);
    }
}

pub(super) fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, least) = (half_at(block, 0), half_at(block, 2));
    for (j, v) in out.iter_mut().enumerate() {
        *v = d * five_bits(&block[4..8], &block[8..], j) + least;
    }
}

pub(super) fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (j, v) in out.iter_mut().enumerate() {
        *v = d * f32::from(NON_LINEAR[nibble(&block[2..], j) as usize]);
    }
}

pub(super) fn mxfp4(block: &[u8], out: &mut [f32]) {
    // Half of 2^(e − 127), for the table's values are doubled; the two smallest are subnormal.
    let d = f32::from_bits(match block[0] {
        e @ 0..2 => 0x0020_0000 << e,
        e => (u32::from(e) - 1) << 23,
    });
    for (j, v) in out.iter_mut().enumerate() {
        *v = d * f32::from(E2M1[nibble(&block[1..], j) as usize]);
    }
}
