//! The page's own server, where that answers with models of its own (`onebit serve`).

use leptos::prelude::*;

use super::{Models, remembered};
use crate::protocol::{Origin, Source};
use crate::ui::widgets::storage::storage;

/// The server's key, as the reader gave it.
const KEY: &str = "ternary-core.server-key";

/// Whether the server says in the page that it answers.
pub fn answers() -> bool {
    let said = document().query_selector("meta[name='onebit-server']");
    said.is_ok_and(|meta| meta.is_some())
}

/// A model of the server, the first one where the name is empty.
pub fn model(model: String) -> Source {
    let key = String::new();
    Source::Server { model, key }
}

/// The key that was given at an earlier visit; empty where none was.
pub(super) fn kept_key() -> String {
    storage()
        .and_then(|storage| storage.get_item(KEY).ok().flatten())
        .unwrap_or_default()
}

impl Models {
    /// Whether the server answers now.
    pub fn is_served(self) -> bool {
        let of_server = |origin: &Origin| matches!(origin, Origin::Server { .. });
        self.engine
            .origin
            .with(|origin| origin.as_ref().is_some_and(of_server))
    }

    /// Has the server answer, with this key from now on.
    pub fn use_key(self, key: &str) {
        if let Some(storage) = storage() {
            // A browser that keeps nothing asks again at the next visit.
            storage.set_item(KEY, key).ok();
        }
        self.server_key.set(key.to_owned());
        self.load(model(String::new()));
    }

    /// A model in this browser again.
    pub fn load_here(self) {
        let asked = self.asked.get_value();
        self.load(remembered::here(asked.as_deref()));
    }
}
