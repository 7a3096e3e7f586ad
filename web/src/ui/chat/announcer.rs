//! Reads a reply out to screen readers, sentence by sentence: token by token it would be noise.

use leptos::prelude::*;
use ternary_markdown::said;

use super::use_chat;

const SENTENCE_ENDS: [char; 4] = ['.', '!', '?', '\n'];

/// How far the running reply has been announced.
struct Announced {
    text: String,
    bytes: usize,
}

#[component]
pub fn Announcer() -> impl IntoView {
    let chat = use_chat();
    let spoken = RwSignal::new(String::new());
    Effect::new(move |announced: Option<Option<Announced>>| {
        let reply = chat.running.with(|running| {
            // What is folded is not read out.
            let said = |reply: &String| said(reply).into_owned();
            running
                .as_ref()
                .map(|running| running.exchange.reply.with(said))
        });
        match (announced.flatten(), reply) {
            (None, None) => None,
            (None, Some(text)) => Some(Announced {
                bytes: text.len(),
                text,
            }),
            (Some(announced), Some(text)) => {
                let fresh = text.get(announced.bytes..).unwrap_or_default();
                let Some(end) = fresh.rfind(SENTENCE_ENDS) else {
                    return Some(Announced { text, ..announced });
                };
                let bytes = announced.bytes + end + 1;
                spoken.set(fresh[..=end].to_owned());
                Some(Announced { text, bytes })
            }
            (Some(announced), None) => {
                let rest = announced.text.get(announced.bytes..).unwrap_or_default();
                spoken.set(format!("{rest} (end of the reply)"));
                None
            }
        }
    });
    view! {
        <p class="unseen" id="announcer" aria-live="polite" aria-atomic="true">{spoken}</p>
    }
}
