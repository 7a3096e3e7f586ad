//! Codes of one row as bytes, low bits first; every row begins on a byte.

use alloc::{format, vec::Vec};

use super::FormatError;
use crate::config::QuantMode;

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 4 bytes, little-endian.
    F32,
    /// 2 bytes, IEEE 754, little-endian.
    F16,
    /// One signed byte, times a scale.
    Int8,
    /// 4 values a byte: 00 = 0, 01 = +1, 11 = −1; 10 is invalid.
    Ternary2,
    /// 5 values a byte: Σ (w + 1)·3ⁱ, at most 242.
    TernaryBase3,
    /// 8 values a byte: 0 = −1, 1 = +1.
    Binary1,
}

impl Encoding {
    const ALL: [Encoding; 6] = [
        Encoding::F32,
        Encoding::F16,
        Encoding::Int8,
        Encoding::Ternary2,
        Encoding::TernaryBase3,
        Encoding::Binary1,
    ];
    /// All names, for messages.
    pub const NAMES: &'static str = "f32, f16, int8, ternary2, ternary_base3, binary1";

    /// As in the tensor table.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Int8 => "int8",
            Encoding::Ternary2 => "ternary2",
            Encoding::TernaryBase3 => "ternary_base3",
            Encoding::Binary1 => "binary1",
        }
    }

    /// The encoding of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Encoding::ALL.into_iter().find(|e| e.name() == name)
    }

    /// The precision a matrix in this encoding has; norms and positions are F32, too.
    pub fn mode(self) -> Option<QuantMode> {
        match self {
            Encoding::F32 => Some(QuantMode::F32),
            Encoding::F16 => Some(QuantMode::F16),
            Encoding::Int8 => Some(QuantMode::EightBit),
            Encoding::Ternary2 | Encoding::TernaryBase3 => Some(QuantMode::Ternary),
            Encoding::Binary1 => Some(QuantMode::Binary),
        }
    }

    /// Bytes of a row of `cols` values.
    pub fn row_bytes(self, cols: u64) -> Option<u64> {
        match self {
            Encoding::F32 => cols.checked_mul(4),
            Encoding::F16 => cols.checked_mul(2),
            Encoding::Int8 => Some(cols),
            Encoding::Ternary2 => Some(cols.div_ceil(4)),
            Encoding::TernaryBase3 => Some(cols.div_ceil(5)),
            Encoding::Binary1 => Some(cols.div_ceil(8)),
        }
    }

    /// A byte that holds a code which the encoding does not have.
    pub fn invalid(self, byte: u8, tensor: &str) -> FormatError {
        FormatError::Invalid {
            what: format!("tensor {tensor}"),
            message: format!("invalid {} code {byte:#04x}", self.name()),
        }
    }

    /// Append a row of integer codes.
    pub fn pack_row(self, codes: &[i8], out: &mut Vec<u8>) {
        match self {
            Encoding::Ternary2 => out.extend(codes.chunks(4).map(|four| {
                four.iter()
                    .enumerate()
                    .fold(0, |b, (i, c)| b | ((*c as u8 & 3) << (2 * i)))
            })),
            Encoding::TernaryBase3 => out.extend(
                codes
                    .chunks(5)
                    .map(|five| five.iter().rev().fold(0u8, |b, c| b * 3 + (c + 1) as u8)),
            ),
            Encoding::Binary1 => out.extend(codes.chunks(8).map(|eight| {
                eight
                    .iter()
                    .enumerate()
                    .fold(0, |b, (i, c)| b | (u8::from(*c > 0) << i))
            })),
            Encoding::Int8 => out.extend(codes.iter().map(|c| *c as u8)),
            Encoding::F32 | Encoding::F16 => unreachable!("floats have no codes"),
        }
    }

    /// Read a row of integer codes; invalid ones are an error.
    pub fn unpack_row(
        self,
        bytes: &[u8],
        codes: &mut [i8],
        tensor: &str,
    ) -> Result<(), FormatError> {
        let invalid = |byte: usize| self.invalid(bytes[byte], tensor);
        match self {
            Encoding::Ternary2 => {
                for (i, c) in codes.iter_mut().enumerate() {
                    *c = match (bytes[i / 4] >> (2 * (i % 4))) & 3 {
                        0 => 0,
                        1 => 1,
                        3 => -1,
                        _ => return Err(invalid(i / 4)),
                    };
                }
            }
            Encoding::TernaryBase3 => {
                for (b, five) in codes.chunks_mut(5).enumerate() {
                    let mut v = bytes[b];
                    if v > 242 {
                        return Err(invalid(b));
                    }
                    for c in five {
                        *c = (v % 3) as i8 - 1;
                        v /= 3;
                    }
                }
            }
            Encoding::Binary1 => {
                for (i, c) in codes.iter_mut().enumerate() {
                    *c = 2 * ((bytes[i / 8] >> (i % 8)) & 1) as i8 - 1;
                }
            }
            Encoding::Int8 => {
                for (i, c) in codes.iter_mut().enumerate() {
                    *c = bytes[i] as i8;
                    // −128 would overflow the kernels' symmetric range.
                    if *c == i8::MIN {
                        return Err(invalid(i));
                    }
                }
            }
            Encoding::F32 | Encoding::F16 => unreachable!("floats have no codes"),
        }
        Ok(())
    }
}
