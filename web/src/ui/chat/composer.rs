//! The prompt.

use leptos::{ev, html, prelude::*};
use ternary::session::Stats;

use super::conversation::Outcome;
use super::use_chat;
use crate::ui::engine::use_engine;
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::{When, on_click};
use crate::ui::widgets::{figures, keys};

#[component]
pub fn Composer() -> impl IntoView {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
    let input = NodeRef::<html::Textarea>::new();
    Effect::new(move |_| {
        page.focus_prompt.track();
        if let Some(input) = input.get() {
            // Fails only for an element that is not in the page.
            input.focus().ok();
        }
    });
    let send = move || {
        chat.send();
        page.focus_prompt.notify();
    };
    let keydown = move |event: ev::KeyboardEvent| {
        if event.key() == "Enter" && !event.shift_key() && !keys::is_taken(&event) {
            event.prevent_default();
            send();
        }
    };
    let running = move || chat.is_replying();
    let why_held = move || {
        if let Some(title) = chat.replies_elsewhere() {
            return Some(format!(
                "A reply is being written in “{title}”: the next message can be sent when it ends or is stopped."
            ));
        }
        if !chat.held.get() || engine.ready() {
            return None;
        }
        let why = match (running(), engine.model.with(Option::is_some)) {
            (true, _) => "The reply is still being written",
            (false, true) => "The model is busy just now",
            (false, false) => "No model is loaded yet",
        };
        Some(format!(
            "{why}: your message stays here until you can send it."
        ))
    };
    let placeholder = move || match page.mode.get() {
        Mode::Chat => "Write a message",
        Mode::Text => "Begin a text for the model to continue",
    };
    view! {
        <form
            class="composer"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            <label for="prompt" class="unseen">{placeholder}</label>
            <textarea
                id="prompt"
                dir="auto"
                node_ref=input
                rows="1"
                placeholder=placeholder
                aria-describedby="prompt-keys"
                prop:value=chat.draft
                on:input:target=move |event| {
                    chat.draft.set(event.target().value());
                    chat.held.set(false);
                }
                on:keydown=keydown
            ></textarea>
            <When
                when=Signal::derive(running)
                fallback=move || view! {
                    <button
                        type="submit"
                        id="send"
                        class="primary"
                        disabled=Signal::derive(move || chat.draft.with(|draft| draft.trim().is_empty()))
                    >
                        "Send"
                    </button>
                }
            >
                <button
                    type="button"
                    id="stop"
                    class="primary"
                    on:click=on_click(move || {
                        engine.stop_reply();
                        page.focus_prompt.notify();
                    })
                >
                    "Stop"
                </button>
            </When>
            <p class="hint" id="held" role="status">{why_held}</p>
            <div class="composer-foot">
                <p id="prompt-keys">
                    <kbd>"Enter"</kbd>" sends, "<kbd>"Shift"</kbd>"+"<kbd>"Enter"</kbd>" starts a line, "
                    <kbd>"Esc"</kbd>" stops"
                </p>
                <ContextUse />
            </div>
        </form>
    }
}

/// How much of the model's context the last reply filled.
#[component]
fn ContextUse() -> impl IntoView {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
    let stats = move || {
        chat.exchanges().with(|all| {
            let outcome = all.last()?.outcome.get();
            match outcome? {
                Outcome::Finished(_, stats) => Some(stats),
                Outcome::Failed | Outcome::Interrupted => None,
            }
        })
    };
    // Of the model that reads the next message.
    let size = move || {
        engine
            .model
            .with(|model| model.as_ref().map(|model| model.context))
    };
    // The engine leaves turns out as soon as a reply would not fit; the next message takes some
    // room too.
    let warning = move |stats: &Stats| {
        let longest = chat.settings.with(|settings| settings.sampling.max_tokens);
        let reply = longest.min(stats.context_size / 4);
        let message = stats.context_size / 8;
        let nearly = stats.context_used + message + reply > stats.context_size;
        nearly.then_some(match page.mode.get() {
            Mode::Chat => {
                "Nearly full: the oldest messages are left out next, so that a reply fits."
            }
            Mode::Text => "Nearly full: the text can't become much longer.",
        })
    };
    move || {
        stats().map(|mut stats| {
            stats.context_size = size().unwrap_or(stats.context_size);
            let warning = warning(&stats);
            view! {
                <label class="context" class:full=warning.is_some()>
                    {format!(
                        "Context {} of {}",
                        figures::grouped(stats.context_used.min(stats.context_size)),
                        figures::grouped(stats.context_size),
                    )}
                    <meter min="0" max=stats.context_size value=stats.context_used></meter>
                </label>
                {warning.map(|text| view! { <p class="context-warning" role="status">{text}</p> })}
            }
        })
    }
}
