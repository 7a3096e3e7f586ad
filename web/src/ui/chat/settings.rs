//! What the reader set, kept in the browser.

use serde::{Deserialize, Serialize};
use ternary::infer::{Form, Sampling};
use ternary::session::{Demands, ModelInfo};

use super::tools;
use crate::ui::widgets::storage::storage;

const KEY: &str = "ternary-core.settings";
/// Of the models used here, the last used last.
const KEY_OF_MODELS: &str = "ternary-core.settings-of-models";
/// So many models' settings are kept.
const MODELS: usize = 64;

/// The largest seed every browser number holds exactly.
pub const MAX_SEED: u64 = (1 << 53) - 1;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The seed in it is not used.
    pub sampling: Sampling,
    /// `None`: another for every reply.
    pub seed: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system_prompt: String,
    /// What replies have to be.
    #[serde(skip_serializing_if = "ReplyForm::is_free")]
    pub form: ReplyForm,
    /// Functions that the model may call, as they were typed; they can be read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tools: String,
}

/// What a reply has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplyForm {
    #[default]
    Free,
    JsonObject,
    /// By this schema, which is JSON.
    JsonSchema(String),
}

impl ReplyForm {
    fn is_free(&self) -> bool {
        *self == ReplyForm::Free
    }
}

impl Settings {
    /// The kept settings; the defaults where there are none or they come from another version.
    pub fn restore() -> Self {
        storage()
            .and_then(|storage| storage.get_item(KEY).ok().flatten())
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Keeps them for the next visit. A browser that keeps nothing loses only the convenience.
    pub fn keep(&self) {
        if let (Some(storage), Ok(text)) = (storage(), serde_json::to_string(self)) {
            storage.set_item(KEY, &text).ok();
        }
    }

    /// Takes over how `model` was sampled last, or else what suits it.
    pub fn suit(&mut self, model: &ModelInfo) {
        let kept = of_models()
            .into_iter()
            .find(|(name, _)| *name == model.name);
        self.sampling = match kept {
            Some((_, sampling)) => sampling,
            None => self.suiting(model),
        };
    }

    /// What suits `model`; lengths and stops are the reader's.
    fn suiting(&self, model: &ModelInfo) -> Sampling {
        Sampling {
            max_tokens: self.sampling.max_tokens,
            stop: self.sampling.stop.clone(),
            ..model.sampling.clone()
        }
    }

    /// The defaults, for this model.
    pub fn default_of(model: Option<&ModelInfo>) -> Self {
        let mut settings = Self::default();
        if let Some(model) = model {
            settings.sampling = settings.suiting(model);
        }
        settings
    }

    /// Keeps how `model` is sampled.
    pub fn keep_of(&self, model: &str) {
        let mut all = of_models();
        all.retain(|(name, _)| name != model);
        all.push((model.to_owned(), self.sampling.clone()));
        all.drain(..all.len().saturating_sub(MODELS));
        if let (Some(storage), Ok(text)) = (storage(), serde_json::to_string(&all)) {
            storage.set_item(KEY_OF_MODELS, &text).ok();
        }
    }

    /// What a continuation has to be.
    pub fn form(&self) -> Option<Form> {
        match &self.form {
            ReplyForm::Free => None,
            ReplyForm::JsonObject => Some(Form::JsonObject),
            ReplyForm::JsonSchema(schema) => Some(Form::JsonSchema(schema.clone())),
        }
    }

    /// What is asked of a reply in a conversation.
    pub fn demands(&self) -> Demands {
        Demands {
            tools: tools::read(&self.tools).unwrap_or_default(),
            form: self.form(),
            ..Demands::default()
        }
    }

    /// The sampling of one reply.
    pub fn sampling(&self) -> Sampling {
        let random = || (js_sys::Math::random() * MAX_SEED as f64) as u64;
        Sampling {
            seed: self.seed.unwrap_or_else(random),
            ..self.sampling.clone()
        }
    }
}

fn of_models() -> Vec<(String, Sampling)> {
    storage()
        .and_then(|storage| storage.get_item(KEY_OF_MODELS).ok().flatten())
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}
