//! RoPE as GGUF files say it: metadata, and tensors with a divisor for each frequency.

use super::config::Fields;
use crate::source::ImportError;
use crate::source::checkpoint::{SourceTensor, read};
use crate::source::storage::Storage;
use ternary_common::bytes::ByteSource;
use ternary_core::config::RopeScaling;

pub(super) const FREQS: &str = "rope_freqs.weight";
pub(super) const LONG: &str = "rope_factors_long.weight";
pub(super) const SHORT: &str = "rope_factors_short.weight";
const TYPE: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
const ATTENTION: &str = "rope.scaling.attn_factor";

/// What the file's tensors divide frequencies by.
#[derive(Debug, Default)]
pub(super) struct Divisors {
    /// In texts of any length.
    freqs: Option<Vec<f32>>,
    /// In those up to the original context, and in longer ones.
    short: Option<Vec<f32>>,
    long: Option<Vec<f32>>,
}

impl Divisors {
    /// Where a tensor of this name belongs.
    pub fn place(&mut self, tensor: &str) -> Option<&mut Option<Vec<f32>>> {
        match tensor {
            FREQS => Some(&mut self.freqs),
            SHORT => Some(&mut self.short),
            LONG => Some(&mut self.long),
            _ => None,
        }
    }
}

/// The values of such a tensor.
pub(super) async fn divisors(
    source: &dyn ByteSource,
    t: &SourceTensor,
) -> Result<Vec<f32>, ImportError> {
    if t.storage != Storage::F32 {
        return Err(t.damaged("factors of RoPE that are not F32 are not supported".into()));
    }
    let bytes = read(source, t.offset, t.bytes as usize).await?;
    let values = bytes.as_chunks::<4>().0.iter();
    Ok(values.map(|b| f32::from_le_bytes(*b)).collect())
}

impl Fields<'_> {
    /// Whether a key of YaRN's or LongRoPE's is read of this file.
    pub(super) fn reads_rope(&self, own: &str) -> bool {
        let yarn = self.text(TYPE) == Some("yarn");
        match own {
            "rope.scaling.yarn_beta_fast" | "rope.scaling.yarn_beta_slow" => yarn,
            ATTENTION => yarn || self.has_divisors(),
            _ => false,
        }
    }

    fn has_divisors(&self) -> bool {
        let names = [FREQS, LONG, SHORT];
        let mut all = self.file.tensors.iter();
        all.any(|t| names.contains(&t.name.as_str()))
    }

    pub(super) fn scaling(
        &self,
        divisors: Divisors,
        context: usize,
    ) -> Result<Option<RopeScaling>, ImportError> {
        // Older files have the factor alone, under one of two names; 0 is none.
        let factor = self.float(FACTOR).or(self.float("rope.scale_linear"));
        let factor = factor.filter(|f| *f != 0.0);
        let original = self.size("rope.scaling.original_context_length")?;
        let original = original.filter(|n| *n > 0).unwrap_or(context) as u32;
        let attention = self.float(ATTENTION).filter(|f| *f != 0.0);
        let kind = self.text(TYPE);
        let scaling = match kind {
            None if divisors.long.is_some() || divisors.short.is_some() => None,
            None => factor
                .filter(|f| *f != 1.0)
                .map(|factor| RopeScaling::Linear { factor }),
            Some("none" | "longrope") => None,
            Some("linear") => match factor {
                Some(1.0) => None,
                Some(factor) => Some(RopeScaling::Linear { factor }),
                None => return self.refuse(FACTOR, "a number"),
            },
            Some("yarn") => {
                let Some(factor) = factor else {
                    return self.refuse(FACTOR, "a number");
                };
                // The temperature of the paper (§3.4), and what the file says beside it.
                let temperature = match factor > 1.0 {
                    true => 0.1 * libm::log(f64::from(factor)) + 1.0,
                    false => 1.0,
                };
                let attention = temperature * attention.map_or(1.0, f64::from);
                Some(RopeScaling::Yarn {
                    factor,
                    original_max_position_embeddings: original,
                    beta_fast: self.float("rope.scaling.yarn_beta_fast").unwrap_or(32.0),
                    beta_slow: self.float("rope.scaling.yarn_beta_slow").unwrap_or(1.0),
                    attention_factor: attention as f32,
                    truncate: true,
                })
            }
            Some(_) => {
                return self.refuse(
                    TYPE,
                    "none, linear, yarn, longrope, factors in rope_freqs.weight",
                );
            }
        };
        let lists = match divisors {
            Divisors {
                freqs: None,
                short: None,
                long: None,
            } => return Ok(scaling),
            Divisors {
                freqs: Some(factors),
                short: None,
                long: None,
            } => match attention.filter(|f| *f != 1.0) {
                None if scaling.is_none() => return Ok(Some(RopeScaling::Factors { factors })),
                _ => Some((factors.clone(), factors)),
            },
            Divisors {
                freqs: None,
                short: Some(short),
                long: Some(long),
            } => Some((short, long)),
            _ => None,
        };
        match lists.filter(|_| scaling.is_none()) {
            Some((short_factors, long_factors)) => Ok(Some(RopeScaling::LongRope {
                short_factors,
                long_factors,
                original_max_position_embeddings: original,
                attention_factor: attention.unwrap_or(1.0),
            })),
            None => Err(ImportError::Input(format!(
                "the file has factors of RoPE's frequencies ({FREQS}, {LONG}, {SHORT}) beside others of them or beside another scaling, which is not supported"
            ))),
        }
    }
}
