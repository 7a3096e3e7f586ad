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

/// Which of the two configs has a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Model,
    Training,
}

/// The config that has `field`; an error names the nearest field of both.
pub fn owner(field: &str) -> Result<Owner, ConfigError> {
    let fields = |value: serde_json::Result<serde_json::Value>| match value {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let training = fields(serde_json::to_value(TrainConfig::default()));
    let model = fields(serde_json::to_value(ModelConfig::default()));
    if training.contains_key(field) {
        Ok(Owner::Training)
    } else if model.contains_key(field) {
        Ok(Owner::Model)
    } else {
        Err(unknown(
            "config",
            field,
            training.keys().chain(model.keys()),
        ))
    }
}

fn unknown<'a>(
    what: &'static str,
    field: &str,
    known: impl Iterator<Item = &'a String>,
) -> ConfigError {
    let likeness = |name: &str| strsim::jaro_winkler(name, field);
    ConfigError::UnknownField {
        what,
        field: field.to_owned(),
        nearest: known
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .cloned()
            .unwrap_or_default(),
    }
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
            return Err(unknown(what, field, known.keys()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
