//! The `.1bit` file, version 1: layout in `docs/format.md`. Reading is safe on any bytes: every
//! length is checked against the file before anything is allocated.

mod codes;
pub mod header;

pub use codes::Encoding;

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, ModelConfig};
use crate::math::half;

pub use crate::kind::MAGIC;
/// The version this program writes; it reads 1 to this.
pub const VERSION: u32 = 1;
/// Bytes of the header, which has the same size in every version.
pub const HEADER_BYTES: usize = 64;
/// Tensors begin at multiples of this.
pub const ALIGN: usize = 64;
/// Largest metadata or table accepted: tokenizers of 256k tokens take about 20 MB.
const MAX_JSON: u64 = 256 << 20;

/// Why a `.1bit` file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Another kind of file.
    #[error("not a .1bit file: {found}")]
    Magic {
        /// What its first bytes say it is.
        found: String,
    },
    /// A file of a newer program.
    #[error(
        "this .1bit file has version {found}; this program reads versions 1 to {VERSION}. Update the program"
    )]
    Version {
        /// The file's version.
        found: u32,
    },
    /// A part that ends beyond the file's end.
    #[error("the file ends too early: {what} needs {needed} bytes, the file has {available}")]
    Truncated {
        /// The part.
        what: String,
        /// Bytes up to its end.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// A file that goes on after its last tensor.
    #[error(
        "{extra} B follow the end of the model: something was appended to the file, or two were joined; download or export it again"
    )]
    Trailing {
        /// How many bytes.
        extra: u64,
    },
    /// Bytes that are not those that were written.
    #[error(
        "{what} is damaged: checksum {found:08x}, expected {expected:08x}. Download or export the file again"
    )]
    Checksum {
        /// The part.
        what: String,
        /// CRC-32 of the bytes.
        found: u32,
        /// CRC-32 that the file has of them.
        expected: u32,
    },
    /// A part that contradicts itself or another.
    #[error("{what}: {message}")]
    Invalid {
        /// The part.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor packed in a way that is not known.
    #[error(
        "tensor {tensor} has encoding `{found}`; this program reads {}",
        Encoding::NAMES
    )]
    Encoding {
        /// Its name.
        tensor: String,
        /// What the file calls the encoding.
        found: String,
    },
    /// The model has a parameter that the file has not.
    #[error("the file lacks tensor {0}")]
    MissingTensor(String),
    /// The configuration in the metadata.
    #[error("the file's model: {0}")]
    Config(#[from] ConfigError),
    /// The file could not be read.
    #[error("cannot read {name}: {message}")]
    Source {
        /// The file's.
        name: String,
        /// What the system or the browser says.
        message: String,
    },
    /// The file could not be written.
    #[error("cannot write {name}: {message}")]
    Sink {
        /// The file's.
        name: String,
        /// What the system or the browser says.
        message: String,
    },
}

/// Everything a file says about its model before the tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// For people; empty where nobody gave one.
    #[serde(default)]
    pub name: String,
    /// One or two sentences for people.
    #[serde(default)]
    pub description: String,
    /// An SPDX identifier or the license's name.
    #[serde(default)]
    pub license: String,
    /// The model's sizes, switches and bit-map.
    pub config: ModelConfig,
    /// Contents of the tokenizer.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Jinja source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Of a tokenizer that was not made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_tokens: Option<SpecialTokens>,
    /// How its makers have replies sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingHints>,
    /// How it was trained; free-form.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub training: serde_json::Value,
    /// Keys this version does not know are kept.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Tokens with a meaning, as far as it does not follow from their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// What a chat template calls `bos_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos: Option<String>,
    /// What a chat template calls `eos_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eos: Option<String>,
    /// Ids that end a text or a turn.
    #[serde(default)]
    pub end: Vec<u32>,
}

/// How a model's makers have its replies sampled, as far as they say: what Hugging Face's
/// `generation_config.json` has, and GGUF's `general.sampling`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingHints {
    /// 0 = greedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// 1 = off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// How many; 0 = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// 1 = off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
}

impl SamplingHints {
    /// Nothing if they say nothing, or nothing that can be meant.
    pub fn said(self) -> Option<Self> {
        let at_least = |least: f32| move |value: &f32| value.is_finite() && *value >= least;
        let hints = Self {
            temperature: self.temperature.filter(at_least(0.0)),
            top_p: self.top_p.filter(|p| *p > 0.0 && *p <= 1.0),
            top_k: self.top_k,
            repetition_penalty: self
                .repetition_penalty
                .filter(|r| r.is_finite() && *r > 0.0),
        };
        (hints != Self::default()).then_some(hints)
    }
}

/// How many weights share a stored scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScalePer {
    /// The codes are the weights.
    None,
    /// One scale for the matrix.
    Tensor,
    /// One scale for each output.
    Row,
    /// `group` consecutive columns.
    Group,
    /// As `Group`, the scales being F16.
    #[serde(rename = "group_f16")]
    GroupF16,
}

impl ScalePer {
    /// Of one scale.
    fn bytes(self) -> u64 {
        match self {
            ScalePer::GroupF16 => 2,
            _ => 4,
        }
    }

    /// The first `count` scales of a tensor; fewer where there are not so many bytes.
    pub fn read(self, bytes: &[u8], count: usize) -> Vec<f32> {
        match self {
            ScalePer::GroupF16 => {
                let halves = bytes.as_chunks::<2>().0.iter().take(count);
                halves.map(|b| half(u16::from_le_bytes(*b))).collect()
            }
            _ => {
                let floats = bytes.as_chunks::<4>().0.iter().take(count);
                floats.map(|b| f32::from_le_bytes(*b)).collect()
            }
        }
    }
}

/// An entry of the tensor table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// The parameter's, Hugging Face's.
    pub name: String,
    /// An [`Encoding`] by name; newer ones may be unknown.
    pub encoding: String,
    /// `[rows, columns]` or `[length]`.
    pub shape: Vec<u64>,
    /// Which weights have a scale in common.
    pub scale: ScalePer,
    /// Columns per scale with `scale: group` or `group_f16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u64>,
    /// From the file's data offset.
    pub offset: u64,
    /// Scales, padding and codes, in bytes.
    pub length: u64,
    /// Of the tensor's bytes, scales and padding included.
    pub crc32: u32,
}

/// Rows and columns of a shape; a vector is one row.
pub fn rows_cols(shape: &[u64]) -> Option<(u64, u64)> {
    match shape {
        [n] => Some((1, *n)),
        [r, c] => Some((*r, *c)),
        _ => None,
    }
}

/// Bytes of the scales, padding included, and of the codes; none if the entry contradicts itself or
/// overflows.
pub fn layout(
    encoding: Encoding,
    shape: &[u64],
    scale: ScalePer,
    group: Option<u64>,
) -> Option<(u64, u64, u64)> {
    let (rows, cols) = rows_cols(shape)?;
    if rows == 0 || cols == 0 {
        return None;
    }
    let scales = match scale {
        ScalePer::None => 0,
        ScalePer::Tensor => 1,
        ScalePer::Row => rows,
        ScalePer::Group | ScalePer::GroupF16 => {
            let group = group.filter(|g| *g > 0 && cols.is_multiple_of(*g))?;
            rows.checked_mul(cols / group)?
        }
    };
    let scale_bytes = scales
        .checked_mul(scale.bytes())?
        .checked_next_multiple_of(ALIGN as u64)?;
    let row_bytes = encoding.row_bytes(cols)?;
    Some((scales, scale_bytes, rows.checked_mul(row_bytes)?))
}
