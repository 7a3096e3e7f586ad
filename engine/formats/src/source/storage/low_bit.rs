//! Codes −1, 0 and +1 with a scale for each block, or for the whole tensor.

use super::{I2S_TILE, Storage, half_at};

/// 0, 1, 2 = −1, 0, +1.
fn ternary(code: u8) -> Result<i8, String> {
    match code {
        0..=2 => Ok(code as i8 - 1),
        _ => Err(format!("code {code} is none of 0, 1, 2 (−1, 0, +1)")),
    }
}

/// Base-3 digit `digit` of a byte, the first being the most significant, as −1, 0, +1. A byte is
/// ⌈v·256/243⌉, so that the digits come out of it one after another by multiplication.
fn trit(byte: u8, digit: usize) -> i8 {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let shifted = byte.wrapping_mul(POWERS[digit]);
    ((u16::from(shifted) * 3) >> 8) as i8 - 1
}

/// Codes of one block; returns their scale.
pub(super) fn block(storage: Storage, block: &[u8], codes: &mut [i8]) -> Result<f32, String> {
    match storage {
        Storage::Tq2_0 => {
            for (e, code) in codes.iter_mut().enumerate() {
                *code = ternary(block[32 * (e / 128) + e % 32] >> (2 * (e % 128 / 32)) & 3)?;
            }
            Ok(half_at(block, 64))
        }
        Storage::Tq1_0 => {
            for (e, code) in codes.iter_mut().enumerate() {
                let (byte, digit) = match e {
                    0..160 => (e % 32, e / 32),
                    160..240 => (32 + (e - 160) % 16, (e - 160) / 16),
                    _ => (48 + (e - 240) % 4, (e - 240) / 4),
                };
                *code = trit(block[byte], digit);
            }
            Ok(half_at(block, 52))
        }
        Storage::Ptq1_0 => {
            for (e, code) in codes.iter_mut().enumerate() {
                let (byte, digit) = match e {
                    0..80 => (e % 16, e / 16),
                    80..120 => (16 + e % 8, (e - 80) / 8),
                    _ => (24 + e % 2, (e - 120) / 2),
                };
                *code = trit(block[byte], digit);
            }
            Ok(half_at(block, 26))
        }
        Storage::Q2_0 | Storage::Pq2_0 => {
            for (e, code) in codes.iter_mut().enumerate() {
                *code = ternary(block[2 + e / 4] >> (2 * (e % 4)) & 3)?;
            }
            Ok(half_at(block, 0))
        }
        Storage::Q1_0 => {
            for (e, code) in codes.iter_mut().enumerate() {
                *code = 2 * (block[2 + e / 8] >> (e % 8) & 1) as i8 - 1;
            }
            Ok(half_at(block, 0))
        }
        _ => Err("its values are no codes".into()),
    }
}

/// Q2_0 and PQ2_0 with all four values that a code can have.
pub(super) fn two_bits(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (e, v) in out.iter_mut().enumerate() {
        let code = block[2 + e / 4] >> (2 * (e % 4)) & 3;
        *v = d * (f32::from(code) - 1.0);
    }
}

/// Bytes of four rows, each a `quarter` of the weights behind the one before.
pub(super) fn packed_rows(bytes: &[u8], quarter: usize, codes: &mut [i8]) -> Result<(), String> {
    for (i, part) in codes.chunks_exact_mut(quarter.max(1)).enumerate() {
        for (code, byte) in part.iter_mut().zip(bytes) {
            *code = ternary(byte >> (2 * i) & 3)?;
        }
    }
    Ok(())
}

/// Codes of a whole tensor; returns its scale, which is behind them.
pub(super) fn i2_s(bytes: &[u8], codes: &mut [i8]) -> Result<f32, String> {
    let at = codes.len() / 4;
    let tiles = codes.chunks_exact_mut(I2S_TILE.0);
    for (tile, bytes) in tiles.zip(bytes.chunks_exact(I2S_TILE.1)) {
        for (i, code) in tile.iter_mut().enumerate() {
            *code = ternary(bytes[i % 32] >> (6 - 2 * (i / 32)) & 3)?;
        }
    }
    let scale = bytes
        .get(at..at + 4)
        .and_then(|b| <[u8; 4]>::try_from(b).ok())
        .ok_or("the scale is missing")?;
    Ok(f32::from_le_bytes(scale))
}
