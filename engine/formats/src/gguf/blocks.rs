//! Codes in GGUF's block types.

use half::f16;

use crate::export::family::Target;
use crate::export::model::ExportError;
use crate::source::storage::Storage;
use ternary_core::quant::Quantized;

/// Whether every block of the type lies within one span of scales.
pub(crate) fn fits(storage: Storage, cols: usize, span: usize) -> bool {
    storage.block().is_some_and(|(weights, _)| {
        cols.is_multiple_of(weights) && (span.is_multiple_of(cols) || span.is_multiple_of(weights))
    })
}

/// Codes as Q8_0, Q1_0, Q2_0, TQ1_0 or TQ2_0, for which they [`fits`] must hold.
pub(crate) fn encode(
    storage: Storage,
    q: &Quantized,
    span: usize,
    tensor: &str,
) -> Result<Vec<u8>, ExportError> {
    let (weights, size) = storage.block().unwrap_or((1, 1));
    let mut out = Vec::with_capacity(q.codes.len() / weights * size);
    for (i, codes) in q.codes.chunks_exact(weights).enumerate() {
        let scale = q.scales[i * weights / span];
        let half = f16::from_f32(scale);
        if !half.is_normal() && codes.iter().any(|c| *c != 0) {
            return Err(ExportError::Unsupported {
                target: Target::Gguf.name(),
                what: format!("a scale of tensor {tensor}"),
                found: scale.to_string(),
                supported: "between 6.1e-5 and 65504: its types have F16 scales".into(),
            });
        }
        let half = half.to_le_bytes();
        match storage {
            Storage::Q8_0 => {
                out.extend(half);
                out.extend(codes.iter().map(|c| *c as u8));
            }
            Storage::Q1_0 => {
                out.extend(half);
                out.extend(codes.chunks_exact(8).map(|eight| {
                    let bits = eight.iter().enumerate();
                    bits.fold(0, |byte, (i, c)| byte | u8::from(*c > 0) << i)
                }));
            }
            Storage::Q2_0 => {
                out.extend(half);
                out.extend(codes.chunks_exact(4).map(|four| {
                    let codes = four.iter().enumerate();
                    codes.fold(0, |byte, (i, c)| byte | ((c + 1) as u8) << (2 * i))
                }));
            }
            Storage::Tq2_0 => {
                for part in codes.chunks_exact(128) {
                    out.extend((0..32).map(|j| {
                        (0..4).fold(0, |byte, g| {
                            byte | ((part[32 * g + j] + 1) as u8) << (2 * g)
                        })
                    }));
                }
                out.extend(half);
            }
            _ => {
                let digits = |first: usize, step: usize, count: usize| {
                    let value =
                        (0..count).fold(0, |v, d| 3 * v + (codes[first + step * d] + 1) as u32);
                    // Digits that are not there are zeros behind the others.
                    let value = value * 3u32.pow(5 - count as u32);
                    (value * 256).div_ceil(243) as u8
                };
                out.extend((0..32).map(|j| digits(j, 32, 5)));
                out.extend((0..16).map(|j| digits(160 + j, 16, 5)));
                out.extend((0..4).map(|j| digits(240 + j, 4, 4)));
                out.extend(half);
            }
        }
    }
    Ok(out)
}
