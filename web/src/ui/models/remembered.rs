//! The model in use, remembered for the next visit.

use serde::{Deserialize, Serialize};

use super::load::UsedAdapter;
use super::server;
use crate::protocol::{AdapterSource, Origin, Source};
use crate::ui::widgets::storage::storage;

const KEY: &str = "ternary-core.model";

#[derive(Serialize, Deserialize)]
struct Remembered {
    /// What the page's address asked for: another address is another wish.
    asked: Option<String>,
    origin: Origin,
    /// Ids and names of the kept adapters beside it.
    #[serde(default)]
    adapters: Vec<(String, String)>,
}

/// What this visit begins with: the model in use at the last one and its adapters, if the page's
/// address is the same as then, else what the address asks for.
pub fn first(asked: Option<&str>) -> (Source, Vec<UsedAdapter>) {
    let text = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
    // Nothing, or of another version.
    let remembered: Option<Remembered> = text.and_then(|text| serde_json::from_str(&text).ok());
    match remembered {
        Some(before) if before.asked.as_deref() == asked => {
            let adapters = before.adapters.into_iter();
            let adapters = adapters.map(|(id, name)| UsedAdapter {
                name,
                base: None,
                source: AdapterSource::Kept { id },
            });
            (before.origin.into(), adapters.collect())
        }
        _ => (of_address(asked), Vec::new()),
    }
}

/// What the page's address asks for; without that, a server that answers does.
pub fn of_address(asked: Option<&str>) -> Source {
    match asked {
        None if server::answers() => server::model(String::new()),
        asked => here(asked),
    }
}

/// What the page's address asks for, in this browser.
pub fn here(asked: Option<&str>) -> Source {
    asked.map_or(Source::Shipped, |url| Source::Url(url.to_owned()))
}

/// Begins the next visit with this. A browser that keeps nothing loses only the convenience.
pub fn remember(asked: Option<&str>, origin: Origin, adapters: &[UsedAdapter]) {
    let kept = |adapter: &UsedAdapter| Some((adapter.kept()?.to_owned(), adapter.name.clone()));
    let text = serde_json::to_string(&Remembered {
        asked: asked.map(str::to_owned),
        origin,
        adapters: adapters.iter().filter_map(kept).collect(),
    });
    if let (Some(storage), Ok(text)) = (storage(), text) {
        storage.set_item(KEY, &text).ok();
    }
}
