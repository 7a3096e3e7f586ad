//! How published files store weights: sizes, and the way from bytes to numbers. Layouts are given
//! low bits first.

use half::{bf16, f16};

use ternary_core::config::QuantMode;

/// Weights in one tile of I2_S, and its bytes.
const I2S_TILE: (usize, usize) = (128, 32);
/// Bytes behind an I2_S tensor's codes; the first four are its scale.
const I2S_TAIL: u64 = 32;

/// A tensor type of a published file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    F64,
    F32,
    F16,
    Bf16,
    /// uint8 `[rows / 4, cols]`: row r + i·rows/4 at bits 2i of row r; 0, 1, 2 = −1, 0, +1. The
    /// scale is another tensor.
    PackedRows,
    /// 32 weights: f16 scale, int8 codes.
    Q8_0,
    /// 32 weights: f16 scale, 16 bytes; weights j and j + 16 in the low and high half of byte j,
    /// less 8.
    Q4_0,
    /// As Q4_0 with an f16 minimum behind the scale, and codes from 0.
    Q4_1,
    /// 256 weights: low 4 bits, high 2 bits, sixteen int8 scales, f16 scale.
    Q6K,
    /// 128 weights: f16 scale, 16 bytes; bit 1 = +, 0 = −.
    Q1_0,
    /// 64 weights: f16 scale, 16 bytes; codes 0 … 3 = −1 … +2.
    Q2_0,
    /// 256 weights: 48 bytes of five, four bytes of four base-3 digits, f16 scale.
    Tq1_0,
    /// 256 weights: 64 bytes, f16 scale; codes 0, 1, 2 = −1, 0, +1.
    Tq2_0,
    /// Tiles of 128 weights in 32 bytes over the whole tensor, then one f32 scale: weight 32g + j
    /// at byte j, bits 6 − 2g.
    I2S,
}

/// How many weights have a scale in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Group(usize),
    Row,
    Tensor,
}

/// A matrix as a file has it: codes and the scales of consecutive weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// `[rows, cols]`, each −1, 0 or +1.
    pub codes: Vec<i8>,
    pub scales: Vec<f32>,
}

impl Storage {
    /// Weights of a block and its bytes, for types whose rows lie behind each other.
    pub fn block(self) -> Option<(usize, usize)> {
        Some(match self {
            Storage::F64 => (1, 8),
            Storage::F32 => (1, 4),
            Storage::F16 | Storage::Bf16 => (1, 2),
            Storage::Q8_0 => (32, 34),
            Storage::Q4_0 => (32, 18),
            Storage::Q4_1 => (32, 20),
            Storage::Q6K => (256, 210),
            Storage::Q1_0 => (128, 18),
            Storage::Q2_0 => (64, 18),
            Storage::Tq1_0 => (256, 54),
            Storage::Tq2_0 => (256, 66),
            Storage::PackedRows | Storage::I2S => return None,
        })
    }

    /// Whether every weight is stored by itself, as a float.
    pub fn is_plain(self) -> bool {
        self.block().is_some_and(|(weights, _)| weights == 1)
    }

    /// Bytes of a tensor; `None` where such a tensor cannot be (or its size overflows).
    pub fn bytes(self, rows: u64, cols: u64) -> Option<u64> {
        match (self, self.block()) {
            (_, Some((weights, bytes))) => {
                let per_row = cols
                    .is_multiple_of(weights as u64)
                    .then(|| (cols / weights as u64).checked_mul(bytes as u64))??;
                rows.checked_mul(per_row)
            }
            (Storage::I2S, _) => {
                let weights = rows.checked_mul(cols)?;
                weights
                    .is_multiple_of(I2S_TILE.0 as u64)
                    .then(|| weights / 4 + I2S_TAIL)
            }
            (_, None) => rows
                .is_multiple_of(4)
                .then(|| (rows / 4).checked_mul(cols))?,
        }
    }

    /// What its codes are, and what shares a scale; `None` for floats. Q2_0 is ternary only where
    /// no code is +2.
    pub fn codes(self) -> Option<(QuantMode, Span)> {
        match self {
            Storage::PackedRows | Storage::I2S => Some((QuantMode::Ternary, Span::Tensor)),
            Storage::Tq1_0 | Storage::Tq2_0 => Some((QuantMode::Ternary, Span::Group(256))),
            Storage::Q2_0 => Some((QuantMode::Ternary, Span::Group(64))),
            Storage::Q1_0 => Some((QuantMode::Binary, Span::Group(128))),
            _ => None,
        }
    }

    /// The codes of a whole tensor.
    ///
    /// # Errors
    /// A code that is none of −1, 0, +1.
    pub fn read_codes(self, bytes: &[u8], rows: usize, cols: usize) -> Result<Codes, String> {
        let mut out = Codes {
            codes: vec![0; rows * cols],
            scales: Vec::new(),
        };
        match self {
            Storage::PackedRows => {
                let quarter = rows / 4 * cols;
                for (i, part) in out.codes.chunks_exact_mut(quarter.max(1)).enumerate() {
                    for (code, byte) in part.iter_mut().zip(bytes) {
                        *code = ternary(byte >> (2 * i) & 3)?;
                    }
                }
                out.scales.push(1.0);
            }
            Storage::I2S => {
                let tiles = out.codes.chunks_exact_mut(I2S_TILE.0);
                for (tile, bytes) in tiles.zip(bytes.chunks_exact(I2S_TILE.1)) {
                    for (i, code) in tile.iter_mut().enumerate() {
                        *code = ternary(bytes[i % 32] >> (6 - 2 * (i / 32)) & 3)?;
                    }
                }
                let at = rows * cols / 4;
                let scale = bytes
                    .get(at..at + 4)
                    .and_then(|b| <[u8; 4]>::try_from(b).ok())
                    .ok_or("the scale is missing")?;
                out.scales.push(f32::from_le_bytes(scale));
            }
            _ => {
                let (weights, size) = self.block().unwrap_or((1, 1));
                let blocks = out.codes.chunks_exact_mut(weights);
                for (codes, block) in blocks.zip(bytes.chunks_exact(size)) {
                    out.scales.push(self.read_block(block, codes)?);
                }
            }
        }
        Ok(out)
    }

    /// Codes of one block; returns their scale.
    fn read_block(self, block: &[u8], codes: &mut [i8]) -> Result<f32, String> {
        match self {
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
                    let shifted = block[byte].wrapping_mul(3u8.pow(digit as u32));
                    *code = ((u16::from(shifted) * 3) >> 8) as i8 - 1;
                }
                Ok(half_at(block, 52))
            }
            Storage::Q2_0 => {
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

    /// Values of consecutive blocks, `out.len()` of them.
    ///
    /// # Errors
    /// Codes that their type does not have.
    pub fn read_floats(self, bytes: &[u8], out: &mut [f32]) -> Result<(), String> {
        match self {
            Storage::F64 => {
                for (v, b) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
                    *v = f64::from_le_bytes(*b) as f32;
                }
                return Ok(());
            }
            Storage::F32 => {
                for (v, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *v = f32::from_le_bytes(*b);
                }
                return Ok(());
            }
            Storage::F16 | Storage::Bf16 => {
                for (v, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *v = match self {
                        Storage::F16 => f16::from_le_bytes(*b).to_f32(),
                        _ => bf16::from_le_bytes(*b).to_f32(),
                    };
                }
                return Ok(());
            }
            _ => {}
        }
        let (weights, size) = self
            .block()
            .ok_or("its values have no place of their own")?;
        let blocks = out.chunks_exact_mut(weights).zip(bytes.chunks_exact(size));
        let mut codes = vec![0; weights];
        for (out, block) in blocks {
            let nibble = |at: usize, j: usize| {
                let byte = block[at + j % 16];
                f32::from(if j < 16 { byte & 15 } else { byte >> 4 })
            };
            match self {
                Storage::Q8_0 => {
                    let d = half_at(block, 0);
                    for (v, b) in out.iter_mut().zip(&block[2..]) {
                        *v = d * f32::from(*b as i8);
                    }
                }
                Storage::Q4_0 => {
                    let d = half_at(block, 0);
                    for (j, v) in out.iter_mut().enumerate() {
                        *v = d * (nibble(2, j) - 8.0);
                    }
                }
                Storage::Q4_1 => {
                    let (d, least) = (half_at(block, 0), half_at(block, 2));
                    for (j, v) in out.iter_mut().enumerate() {
                        *v = d * nibble(4, j) + least;
                    }
                }
                Storage::Q6K => q6k(block, out),
                Storage::Q2_0 => {
                    let d = half_at(block, 0);
                    for (e, v) in out.iter_mut().enumerate() {
                        let code = block[2 + e / 4] >> (2 * (e % 4)) & 3;
                        *v = d * (f32::from(code) - 1.0);
                    }
                }
                _ => {
                    let d = self.read_block(block, &mut codes)?;
                    for (v, code) in out.iter_mut().zip(&codes) {
                        *v = d * f32::from(*code);
                    }
                }
            }
        }
        Ok(())
    }
}

/// 0, 1, 2 = −1, 0, +1.
fn ternary(code: u8) -> Result<i8, String> {
    match code {
        0..=2 => Ok(code as i8 - 1),
        _ => Err(format!("code {code} is none of 0, 1, 2 (−1, 0, +1)")),
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 128 bytes of low halves, 64 of high quarters, 16 scales, f16 scale. A half of the block, 128
/// weights, has 64, 32 and 8 of them; its weight 32g + l has its low half in byte l + 32·(g mod 2)
/// and its high quarter at bits 2g of byte l.
fn q6k(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 208);
    for (i, v) in out.iter_mut().enumerate() {
        let (half, g, l) = (i / 128, i % 128 / 32, i % 32);
        let low = block[64 * half + 32 * (g % 2) + l] >> (4 * (g / 2)) & 15;
        let high = block[128 + 32 * half + l] >> (2 * g) & 3;
        let scale = block[192 + 8 * half + 2 * g + l / 16] as i8;
        *v = d * f32::from(scale) * (f32::from(low | high << 4) - 32.0);
    }
}
