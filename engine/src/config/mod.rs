//! What a model is and how it is trained, as JSON. Unknown fields and impossible combinations are refused.

mod lora;
mod mode;
mod model;
mod train;

pub use lora::LoraConfig;
pub use mode::{LayerBitMap, LayerMode, MatrixKind, MatrixModes, QuantMode};
pub use model::{Activation, ArenasSchedule, ModelConfig, WeightScale};
pub use train::{LrDecay, TrainConfig};

use serde::Serialize;

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
    #[error("unknown mode `{0}`; expected one of f16, eightbit, ternary, binary")]
    UnknownMode(String),
    #[error("unknown matrix `{0}`; expected some of q, k, v, o, gate, up, down")]
    UnknownMatrix(String),
    #[error("{0}")]
    Invalid(String),
}

/// Refuse keys that `T` does not have, naming the nearest one it does.
/// `T`'s own serialisation is the list of valid names, so the two cannot drift apart.
fn check_fields<T: Serialize + Default>(
    what: &'static str,
    value: &serde_json::Value,
) -> Result<(), ConfigError> {
    let serde_json::Value::Object(given) = value else {
        return Err(ConfigError::Json {
            what,
            message: format!("expected a JSON object, found {value}"),
        });
    };
    let Ok(serde_json::Value::Object(known)) = serde_json::to_value(T::default()) else {
        return Ok(());
    };
    for field in given.keys() {
        if !known.contains_key(field) {
            let nearest = known
                .keys()
                .max_by(|a, b| {
                    strsim::jaro_winkler(a, field).total_cmp(&strsim::jaro_winkler(b, field))
                })
                .cloned()
                .unwrap_or_default();
            return Err(ConfigError::UnknownField {
                what,
                field: field.clone(),
                nearest,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
