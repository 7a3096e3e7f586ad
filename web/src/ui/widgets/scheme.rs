//! What the reader's system asks of pages, for what the style sheet cannot see to: the color
//! scheme, and whether anything may move.

use leptos::prelude::*;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::Event;

/// Changes whenever light turns to dark or back, as long as the component that asks is there.
pub fn color_scheme() -> Signal<bool> {
    let query = window().match_media("(prefers-color-scheme: dark)");
    // Without such a query the scheme never changes.
    let Some(query) = query.ok().flatten() else {
        return Signal::stored(false);
    };
    let dark = RwSignal::new(query.matches());
    let on_change = {
        let query = query.clone();
        Closure::<dyn Fn(Event)>::new(move |_| dark.set(query.matches()))
    };
    query.set_onchange(Some(on_change.as_ref().unchecked_ref()));
    let listening = StoredValue::new_local(Some((query, on_change)));
    on_cleanup(move || {
        if let Some((query, _)) = listening.try_update_value(Option::take).flatten() {
            query.set_onchange(None);
        }
    });
    dark.into()
}

/// Nothing is to move.
pub fn reduced_motion() -> bool {
    let query = window().match_media("(prefers-reduced-motion: reduce)");
    query.ok().flatten().is_some_and(|query| query.matches())
}
