//! Configs that people write: unknown fields are refused with the nearest name.

use serde::Serialize;
use serde::de::DeserializeOwned;

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
        let config: Self = typed("model config", value)?;
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
    let known: Vec<&str> = known.map(String::as_str).collect();
    let own = known.iter().map(|name| (*name, *name));
    let elsewhere = ELSEWHERE.into_iter().filter(|(_, o)| known.contains(o));
    let nearest = own
        .chain(elsewhere)
        .map(|(name, ours)| (likeness(name), ours))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    ConfigError::UnknownField {
        what,
        field: field.to_owned(),
        nearest: nearest
            .filter(|(likeness, _)| *likeness >= ALIKE)
            .map(|(_, ours)| ours.to_owned()),
    }
}

/// Names less alike than this are other words.
const ALIKE: f64 = 0.8;

/// What fields are called in Hugging Face's configs and by its trainer, and what here.
const ELSEWHERE: [(&str, &str); 19] = [
    ("num_hidden_layers", "num_layers"),
    ("num_attention_heads", "num_heads"),
    ("num_key_value_heads", "num_kv_heads"),
    ("max_position_embeddings", "max_seq_len"),
    ("n_layer", "num_layers"),
    ("n_head", "num_heads"),
    ("n_embd", "hidden_size"),
    ("d_model", "hidden_size"),
    ("hidden_act", "activation"),
    ("learning_rate", "lr"),
    ("lr_scheduler_type", "lr_decay"),
    ("warmup_steps", "lr_warmup_steps"),
    ("per_device_train_batch_size", "batch_size"),
    ("gradient_accumulation_steps", "accumulation_steps"),
    ("max_grad_norm", "clip_norm"),
    ("adam_beta1", "beta1"),
    ("adam_beta2", "beta2"),
    ("adam_epsilon", "eps"),
    ("num_train_epochs", "max_steps"),
];

/// `value` as a config; an error names the field whose value is no such.
pub(super) fn typed<T: DeserializeOwned>(
    what: &'static str,
    value: serde_json::Value,
) -> Result<T, ConfigError> {
    let message = match serde_json::from_value(value.clone()) {
        Ok(config) => return Ok(config),
        Err(e) => e.to_string(),
    };
    #[cfg(feature = "native")]
    let message = super::mistyped::described::<T>(&value, &message);
    #[cfg(not(feature = "native"))]
    let message = {
        // Every field has a default, so each can be read by itself.
        let alone = |(field, value): (&String, &serde_json::Value)| {
            let one = serde_json::Map::from_iter([(field.clone(), value.clone())]);
            let wrong = serde_json::from_value::<T>(one.into()).err()?;
            Some(format!("`{field}`: {wrong}"))
        };
        let fields = value.as_object().into_iter().flatten();
        let named = fields.into_iter().find_map(alone);
        named.unwrap_or(message)
    };
    Err(ConfigError::Json { what, message })
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
