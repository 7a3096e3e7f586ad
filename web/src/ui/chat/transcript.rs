//! The conversation, kept at its end while the reader does not look elsewhere.

use leptos::{html, prelude::*};

use super::message::ExchangeView;
use super::use_chat;
use crate::protocol::Origin;
use crate::ui::engine::{EngineEvent, ModelRequest, use_engine};
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::{When, on_click};

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
    // Where the reader was last, and whether the end is to be shown in the next frame.
    let (top, waiting) = (StoredValue::new(0), StoredValue::new(false));
    let count = Memo::new(move |_| chat.exchanges().with(Vec::len));
    let go_to_end = move || {
        if waiting.get_value() {
            return;
        }
        waiting.set_value(true);
        request_animation_frame(move || {
            // By then another part of the page may be shown.
            if waiting.try_set_value(false).is_none()
                && let Some(log) = log.try_get_untracked().flatten()
            {
                log.set_scroll_top(log.scroll_height());
                top.set_value(log.scroll_top());
            }
        });
    };
    Effect::new(move |before: Option<usize>| {
        // A new prompt is always shown; a growing reply only follows a reader at its end.
        let count = count.get();
        if before != Some(count) {
            if chat.stay.get_value() {
                // Who leafs through versions looks at those.
                chat.stay.set_value(false);
                return count;
            }
            at_end.set(true);
        }
        chat.running.track();
        chat.drawn.track();
        if at_end.get_untracked() {
            go_to_end();
        }
        count
    });
    let scrolled = move |_| {
        if let Some(log) = log.get_untracked() {
            let below = log.scroll_height() - log.scroll_top() - log.client_height();
            let up = log.scroll_top() < top.get_value();
            top.set_value(log.scroll_top());
            // A reply may have grown by more than that since the end was shown: only who goes up
            // leaves it.
            if below < NEAR_END {
                at_end.set(true);
            } else if up {
                at_end.set(false);
            }
        }
    };
    view! {
        <div class="conversation">
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
            <button
                type="button"
                id="to-end"
                hidden=Signal::derive(move || at_end.get() || count.get() == 0)
                on:click=on_click(move || {
                    at_end.set(true);
                    go_to_end();
                })
            >
                "To the end"
            </button>
        </div>
    }
}

/// Says that another model replies from here on.
#[component]
fn ModelChange() -> impl IntoView {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
    let change = move || {
        let record = chat.kept.record.get();
        let (before, origin) = (record.model, record.origin);
        let now = engine
            .model
            .with(|model| model.as_ref().map(|model| model.name.clone()))?;
        // One that was only open then can't be told from another of its name.
        let present = engine.origin.get();
        let is_present = |origin: &Origin| present.as_ref().is_some_and(|own| own.is(origin));
        let elsewhere = origin.as_ref().is_some_and(|origin| !is_present(origin));
        let other = !before.is_empty() && (before != now || elsewhere);
        (other && page.mode.get() == Mode::Chat).then_some((before, now, origin))
    };
    let load = move |origin: Origin| {
        let request = ModelRequest::Load(origin.into());
        engine.emit(&EngineEvent::ModelRequested(request));
    };
    move || {
        change().map(|(before, now, origin)| {
            let kept = match &origin {
                Some(Origin::Stored { name, .. }) => name.trim_end_matches(".1bit").to_owned(),
                _ => before.clone(),
            };
            let told = match before == now {
                true => {
                    format!("So far this was a conversation with another {now}, kept as “{kept}”.")
                }
                false => format!(
                    "So far this was a conversation with {before}; {now} replies from here on."
                ),
            };
            view! {
                <p class="hint remark" id="model-change">
                    {told}
                    {origin.map(|origin| view! {
                        " "
                        <button
                            type="button"
                            class="quiet"
                            id="load-its-model"
                            disabled=Signal::derive(move || !engine.ready())
                            on:click=on_click(move || load(origin.clone()))
                        >
                            {format!("Load {kept}")}
                        </button>
                    })}
                </p>
            }
        })
    }
}
