//! Reads a reply out to screen readers, sentence by sentence: token by token it would be noise.

use leptos::prelude::*;
use ternary_markdown::said;

use crate::ui::use_app;

const SENTENCE_ENDS: [char; 4] = ['.', '!', '?', '\n'];

/// How far the running reply has been announced.
struct Heard {
    text: String,
    bytes: usize,
}

#[component]
pub fn Announcer() -> impl IntoView {
    let state = use_app();
    let spoken = RwSignal::new(String::new());
    Effect::new(move |heard: Option<Option<Heard>>| {
        let reply = state.running.with(|running| {
            // What is folded is not read out.
            let said = |reply: &String| said(reply).into_owned();
            running
                .as_ref()
                .map(|running| running.exchange.reply.with(said))
        });
        match (heard.flatten(), reply) {
            (None, None) => None,
            (None, Some(text)) => Some(Heard {
                bytes: text.len(),
                text,
            }),
            (Some(heard), Some(text)) => {
                let fresh = text.get(heard.bytes..).unwrap_or_default();
                let Some(end) = fresh.rfind(SENTENCE_ENDS) else {
                    return Some(Heard { text, ..heard });
                };
                let bytes = heard.bytes + end + 1;
                spoken.set(fresh[..=end].to_owned());
                Some(Heard { text, bytes })
            }
            (Some(heard), None) => {
                let rest = heard.text.get(heard.bytes..).unwrap_or_default();
                spoken.set(format!("{rest} (end of the reply)"));
                None
            }
        }
    });
    view! {
        <p class="unseen" id="announcer" aria-live="polite" aria-atomic="true">{spoken}</p>
    }
}
