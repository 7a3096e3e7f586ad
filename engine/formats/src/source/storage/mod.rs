//! How published files store weights: sizes, and the way from bytes to numbers, a file for each
//! kind of type. Layouts are given low bits first.

mod blocks;
mod k_quants;
mod low_bit;
#[cfg(test)]
mod tests;

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
    /// As Q4_0 with a fifth bit of every code in four bytes behind the scale, less 16.
    Q5_0,
    /// As Q4_1 with a fifth bit of every code in four bytes behind the minimum.
    Q5_1,
    /// As Q4_0, the codes being places in a table.
    Iq4Nl,
    /// 32 weights: a power of two as the scale, 16 bytes of 4-bit floats.
    Mxfp4,
    /// 256 weights in 16 groups of 4-bit scale and minimum, 2 bits a weight.
    Q2K,
    /// 256 weights in 16 groups of 6-bit scales, 3 bits a weight.
    Q3K,
    /// 256 weights in 8 groups of 6-bit scale and minimum, 4 bits a weight.
    Q4K,
    /// As Q4K with 5 bits a weight.
    Q5K,
    /// 256 weights: low 4 bits, high 2 bits, sixteen int8 scales, f16 scale.
    Q6K,
    /// 256 weights in 8 groups of 6-bit scales, the 4-bit codes being places in a table.
    Iq4Xs,
    /// 128 weights: f16 scale, 16 bytes; bit 1 = +, 0 = −.
    Q1_0,
    /// 64 weights: f16 scale, 16 bytes; codes 0 … 3 = −1 … +2.
    Q2_0,
    /// As Q2_0 with 128 weights.
    Pq2_0,
    /// 256 weights: 48 bytes of five, four bytes of four base-3 digits, f16 scale.
    Tq1_0,
    /// 128 weights: 24 bytes of five, two bytes of four base-3 digits, f16 scale.
    Ptq1_0,
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
            Storage::Q4_0 | Storage::Iq4Nl => (32, 18),
            Storage::Q4_1 => (32, 20),
            Storage::Q5_0 => (32, 22),
            Storage::Q5_1 => (32, 24),
            Storage::Mxfp4 => (32, 17),
            Storage::Q2K => (256, 84),
            Storage::Q3K => (256, 110),
            Storage::Q4K => (256, 144),
            Storage::Q5K => (256, 176),
            Storage::Q6K => (256, 210),
            Storage::Iq4Xs => (256, 136),
            Storage::Q1_0 => (128, 18),
            Storage::Q2_0 => (64, 18),
            Storage::Pq2_0 => (128, 34),
            Storage::Tq1_0 => (256, 54),
            Storage::Ptq1_0 => (128, 28),
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

    /// What its codes are, and what shares a scale; `None` for floats. Q2_0 and PQ2_0 are ternary
    /// only where no code is +2.
    pub fn codes(self) -> Option<(QuantMode, Span)> {
        let group = self.block().map(|(weights, _)| Span::Group(weights));
        match self {
            Storage::PackedRows | Storage::I2S => Some((QuantMode::Ternary, Span::Tensor)),
            Storage::Tq1_0 | Storage::Tq2_0 | Storage::Ptq1_0 | Storage::Q2_0 | Storage::Pq2_0 => {
                Some((QuantMode::Ternary, group?))
            }
            Storage::Q1_0 => Some((QuantMode::Binary, group?)),
            _ => None,
        }
    }

    /// Whether a code of these blocks is the fourth value of Q2_0 and PQ2_0, +2.
    pub fn has_plus_two(self, bytes: &[u8]) -> bool {
        let size = match (self, self.block()) {
            (Storage::Q2_0 | Storage::Pq2_0, Some((_, size))) => size,
            _ => return false,
        };
        let mut codes = bytes.chunks_exact(size).flat_map(|block| &block[2..]);
        codes.any(|byte| byte & byte >> 1 & 0x55 != 0)
    }

    /// Codes of `rows` rows: all of types without rows of their own.
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
                low_bit::packed_rows(bytes, rows / 4 * cols, &mut out.codes)?;
                out.scales.push(1.0);
            }
            Storage::I2S => out.scales.push(low_bit::i2_s(bytes, &mut out.codes)?),
            _ => {
                let (weights, size) = self.block().unwrap_or((1, 1));
                let blocks = out.codes.chunks_exact_mut(weights);
                for (codes, block) in blocks.zip(bytes.chunks_exact(size)) {
                    out.scales.push(low_bit::block(self, block, codes)?);
                }
            }
        }
        Ok(out)
    }

    /// Values of consecutive blocks, `out.len()` of them.
    ///
    /// # Errors
    /// Codes that their type does not have.
    pub fn read_floats(self, bytes: &[u8], out: &mut [f32]) -> Result<(), String> {
        let dequantize: fn(&[u8], &mut [f32]) = match self {
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
            Storage::F16 => {
                for (v, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *v = f16::from_le_bytes(*b).to_f32();
                }
                return Ok(());
            }
            Storage::Bf16 => {
                for (v, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *v = bf16::from_le_bytes(*b).to_f32();
                }
                return Ok(());
            }
            Storage::Q8_0 => blocks::q8_0,
            Storage::Q4_0 => blocks::q4_0,
            Storage::Q4_1 => blocks::q4_1,
            Storage::Q5_0 => blocks::q5_0,
            Storage::Q5_1 => blocks::q5_1,
            Storage::Iq4Nl => blocks::iq4_nl,
            Storage::Mxfp4 => blocks::mxfp4,
            Storage::Q2K => k_quants::q2_k,
            Storage::Q3K => k_quants::q3_k,
            Storage::Q4K => k_quants::q4_k,
            Storage::Q5K => k_quants::q5_k,
            Storage::Q6K => k_quants::q6_k,
            Storage::Iq4Xs => k_quants::iq4_xs,
            Storage::Q2_0 | Storage::Pq2_0 => low_bit::two_bits,
            Storage::Q1_0 | Storage::Tq1_0 | Storage::Ptq1_0 | Storage::Tq2_0 => {
                return self.scaled_codes(bytes, out);
            }
            Storage::PackedRows | Storage::I2S => {
                return Err("its values have no place of their own".into());
            }
        };
        let (weights, size) = self.block().unwrap_or((1, 1));
        for (out, block) in out.chunks_exact_mut(weights).zip(bytes.chunks_exact(size)) {
            dequantize(block, out);
        }
        Ok(())
    }

    fn scaled_codes(self, bytes: &[u8], out: &mut [f32]) -> Result<(), String> {
        let (weights, size) = self.block().unwrap_or((1, 1));
        let mut codes = vec![0; weights];
        for (out, block) in out.chunks_exact_mut(weights).zip(bytes.chunks_exact(size)) {
            let d = low_bit::block(self, block, &mut codes)?;
            for (v, code) in out.iter_mut().zip(&codes) {
                *v = d * f32::from(*code);
            }
        }
        Ok(())
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
