//! What a model is and how it is trained, as JSON. Unknown fields and impossible combinations are
//! refused.

mod cache;
mod lora;
#[cfg(feature = "native")]
mod mistyped;
mod mode;
mod model;
mod rope;
#[cfg(feature = "std")]
mod strict;
#[cfg(feature = "std")]
mod train;

pub use cache::CachePrecision;
pub use lora::LoraConfig;
pub use mode::{LayerBitMap, LayerMode, MatrixKind, MatrixModes, QuantMode};
pub use model::{Activation, ArenasSchedule, ModelConfig, NormKind, NormPlacement, WeightScale};
pub use rope::RopeScaling;
#[cfg(feature = "std")]
pub use strict::{Owner, owner};
#[cfg(feature = "std")]
pub use train::{LrDecay, Optimizer, Packing, Preference, TrainConfig};

use alloc::format;
use alloc::string::String;

fn meant(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => "; docs/configurations.md says which there are".into(),
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A field that is not known, probably mistyped.
    #[error("{what}: unknown field `{field}`{}", meant(.nearest.as_deref()))]
    UnknownField {
        /// Which configuration.
        what: &'static str,
        /// The field found.
        field: String,
        /// The known field that is spelled much alike, or that is called so elsewhere.
        nearest: Option<String>,
    },
    /// Not JSON, or a value of another type than its field's.
    #[error("{what}: {message}")]
    Json {
        /// Which configuration.
        what: &'static str,
        /// What the parser says.
        message: String,
    },
    /// A mode by another name than those there are.
    #[error("unknown mode `{0}`; expected one of f32, f16, eightbit, ternary, binary")]
    UnknownMode(String),
    /// A matrix of a layer by another name than those there are.
    #[error("unknown matrix `{0}`; expected some of q, k, v, o, gate, up, down")]
    UnknownMatrix(String),
    /// Values that are out of range or contradict each other; names the field and what it may be.
    #[error("{0}")]
    Invalid(String),
}

#[cfg(test)]
mod tests;
