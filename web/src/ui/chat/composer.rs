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
                node_ref=input
                rows="1"
                placeholder=placeholder
                aria-describedby="prompt-keys"
                prop:value=chat.draft
                on:input:target=move |event| chat.draft.set(event.target().value())
                on:keydown=keydown
            ></textarea>
            <When
                when=Signal::derive(running)
                fallback=move || view! {
                    <button
                        type="submit"
                        id="send"
                        class="primary"
                        disabled=Signal::derive(move || !engine.ready() || chat.draft.with(|draft| draft.trim().is_empty()))
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
    let (page, chat) = (use_page(), use_chat());
    let stats = move || {
        chat.exchanges().with(|all| {
            let outcome = all.last()?.outcome.get();
            match outcome? {
                Outcome::Finished(_, stats) => Some(stats),
                Outcome::Failed | Outcome::Interrupted => None,
            }
        })
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
        stats().map(|stats| {
            let warning = warning(&stats);
            view! {
                <label class="context" class:full=warning.is_some()>
                    {format!(
                        "Context {} of {}",
                        figures::grouped(stats.context_used),
                        figures::grouped(stats.context_size),
                    )}
                    <meter min="0" max=stats.context_size value=stats.context_used></meter>
                </label>
                {warning.map(|text| view! { <p class="context-warning" role="status">{text}</p> })}
            }
        })
    }
}
