//! The conversation, kept at its end while the reader does not look elsewhere.

use leptos::{html, prelude::*};

use super::message::ExchangeView;
use super::use_chat;
use crate::ui::engine::use_engine;
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::When;

/// This close to the end counts as being there, in CSS pixels.
const NEAR_END: i32 = 48;

#[component]
pub fn Transcript(
    /// Stands where nothing was said yet.
    children: ChildrenFn,
) -> impl IntoView {
    let chat = use_chat();
    let log = NodeRef::<html::Div>::new();
    let at_end = RwSignal::new(true);
    let count = Memo::new(move |_| chat.exchanges().with(Vec::len));
    Effect::new(move |before: Option<usize>| {
        // A new prompt is always shown; a growing reply only follows a reader at its end.
        let count = count.get();
        if before != Some(count) {
            at_end.set(true);
        }
        chat.running.track();
        chat.drawn.track();
        if at_end.get_untracked() {
            request_animation_frame(move || {
                // By then another part of the page may be shown.
                if let Some(log) = log.try_get_untracked().flatten() {
                    log.set_scroll_top(log.scroll_height());
                }
            });
        }
        count
    });
    let scrolled = move |_| {
        if let Some(log) = log.get_untracked() {
            let below = log.scroll_height() - log.scroll_top() - log.client_height();
            at_end.set(below < NEAR_END);
        }
    };
    view! {
        // Not live: the announcer reads replies out.
        <div
            class="transcript"
            node_ref=log
            role="log"
            aria-live="off"
            aria-label="Conversation"
            aria-busy=Signal::derive(move || chat.is_replying().to_string())
            tabindex="0"
            on:scroll=scrolled
        >
            <When when=Signal::derive(move || count.get() == 0)>
                {children()}
            </When>
            <For each=move || chat.exchanges().get() key=|exchange| exchange.id let:exchange>
                <ExchangeView exchange />
            </For>
            <ModelChange />
        </div>
    }
}

/// Says that another model replies from here on.
#[component]
fn ModelChange() -> impl IntoView {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
    let change = move || {
        let before = chat.kept.record.with(|record| record.model.clone());
        let now = engine
            .model
            .with(|model| model.as_ref().map(|model| model.name.clone()))?;
        let other = !before.is_empty() && before != now && page.mode.get() == Mode::Chat;
        other.then(|| {
            format!("So far this was a conversation with {before}; {now} replies from here on.")
        })
    };
    move || change().map(|text| view! { <p class="hint remark" id="model-change">{text}</p> })
}
