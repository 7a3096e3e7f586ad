//! The model in use, remembered for the next visit.

use serde::{Deserialize, Serialize};

use crate::protocol::{Origin, Source};
use crate::ui::widgets::storage::storage;

const KEY: &str = "ternary-core.model";

#[derive(Serialize, Deserialize)]
struct Remembered {
    /// What the page's address asked for: another address is another wish.
    asked: Option<String>,
    origin: Origin,
}

/// What this visit begins with: the model in use at the last one, if the page's address is the same
/// as then, else what the address asks for.
pub fn first(asked: Option<&str>) -> Source {
    let text = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
    // Nothing, or of another version.
    let remembered: Option<Remembered> = text.and_then(|text| serde_json::from_str(&text).ok());
    match remembered {
        Some(Remembered {
            asked: then,
            origin,
        }) if then.as_deref() == asked => origin.into(),
        _ => of_address(asked),
    }
}

/// What the page's address asks for.
pub fn of_address(asked: Option<&str>) -> Source {
    asked.map_or(Source::Shipped, |url| Source::Url(url.to_owned()))
}

/// Begins the next visit with this. A browser that keeps nothing loses only the convenience.
pub fn remember(asked: Option<&str>, origin: Origin) {
    let asked = asked.map(str::to_owned);
    let text = serde_json::to_string(&Remembered { asked, origin });
    if let (Some(storage), Ok(text)) = (storage(), text) {
        storage.set_item(KEY, &text).ok();
    }
}
