//! Configs that people write: unknown fields are refused with the nearest name.

use serde::Serialize;

use super::{ConfigError, MatrixKind, ModelConfig, NormKind, NormPlacement, TrainConfig};
use crate::kind::{FileKind, without_bom};

impl ModelConfig {
    /// Parse and check a `config.json`.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        if let Some(what) = FileKind::of(text.as_bytes()).described() {
            return Err(ConfigError::Json {
                what: "model config",
                message: format!("the file is {what}"),
            });
        }
        let value: serde_json::Value =
            serde_json::from_str(without_bom(text)).map_err(|e| ConfigError::Json {
                what: "model config",
                message: e.to_string(),
            })?;
        Self::from_value(value)
    }

    /// The same from JSON that was parsed already.
    pub fn from_value(value: serde_json::Value) -> Result<Self, ConfigError> {
        check_fields("model config", &every_field(), &value)?;
        let config: Self = serde_json::from_value(value).map_err(|e| ConfigError::Json {
            what: "model config",
            message: e.to_string(),
        })?;
        config.validate()?;
        Ok(config)
    }
}

/// Which of the two configs has a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `ModelConfig`.
    Model,
    /// `TrainConfig`.
    Training,
}

/// The config that has `field`; an error names the nearest field of both.
pub fn owner(field: &str) -> Result<Owner, ConfigError> {
    let fields = |value: serde_json::Result<serde_json::Value>| match value {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let training = fields(serde_json::to_value(TrainConfig::default()));
    let model = fields(serde_json::to_value(every_field()));
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

/// A config that is written with all its fields.
fn every_field() -> ModelConfig {
    ModelConfig {
        head_dim: Some(1),
        norm: NormKind::Layer,
        norm_placement: NormPlacement::Post,
        biases: vec![MatrixKind::Q],
        qk_norm_over_heads: true,
        parallel_residual: true,
        residual_multiplier: Some(1.0),
        embedding_multiplier: Some(1.0),
        attention_multiplier: Some(1.0),
        attention_softcap: Some(1.0),
        logit_softcap: Some(1.0),
        sliding_window: Some(1),
        windowed_layers: Some(Vec::new()),
        local_rope_theta: Some(1.0),
        layers_without_rope: vec![0],
        rotary_dim: Some(2),
        ..ModelConfig::default()
    }
}

/// Refuse keys that `T` does not have, naming the nearest one it does.
/// `sample`'s serialization is the list of valid names, so the two cannot drift apart.
pub(super) fn check_fields<T: Serialize>(
    what: &'static str,
    sample: &T,
    value: &serde_json::Value,
) -> Result<(), ConfigError> {
    let serde_json::Value::Object(given) = value else {
        return Err(ConfigError::Json {
            what,
            message: format!("expected a JSON object, found {value}"),
        });
    };
    let Ok(serde_json::Value::Object(known)) = serde_json::to_value(sample) else {
        return Ok(());
    };
    for field in given.keys() {
        if !known.contains_key(field) {
            return Err(unknown(what, field, known.keys()));
        }
    }
    Ok(())
}
