//! What the reader set, kept in the browser.

use serde::{Deserialize, Serialize};
use ternary::infer::Sampling;

use crate::ui::widgets::storage::storage;

const KEY: &str = "ternary-core.settings";

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

    /// The sampling of one reply.
    pub fn sampling(&self) -> Sampling {
        let random = || (js_sys::Math::random() * MAX_SEED as f64) as u64;
        Sampling {
            seed: self.seed.unwrap_or_else(random),
            ..self.sampling.clone()
        }
    }
}
