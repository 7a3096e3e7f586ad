//! What a model is and how it is trained, as JSON. Unknown fields and impossible combinations are
//! refused.

mod lora;
mod mode;
mod model;
mod rope;
#[cfg(feature = "std")]
mod strict;
#[cfg(feature = "std")]
mod train;

pub use lora::LoraConfig;
pub use mode::{LayerBitMap, LayerMode, MatrixKind, MatrixModes, QuantMode};
pub use model::{Activation, ArenasSchedule, ModelConfig, NormKind, NormPlacement, WeightScale};
pub use rope::RopeScaling;
#[cfg(feature = "std")]
pub use strict::{Owner, owner};
#[cfg(feature = "std")]
pub use train::{LrDecay, TrainConfig};

use alloc::string::String;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{what}: unknown field `{field}`; did you mean `{nearest}`?")]
    UnknownField {
        what: &'static str,
        field: String,
        nearest: String,
    },
    #[error("{what}: {message}")]
    Json { what: &'static str, message: String },
    #[error("unknown mode `{0}`; expected one of f32, f16, eightbit, ternary, binary")]
    UnknownMode(String),
    #[error("unknown matrix `{0}`; expected some of q, k, v, o, gate, up, down")]
    UnknownMatrix(String),
    #[error("{0}")]
    Invalid(String),
}

#[cfg(test)]
mod tests;
