//! A prompt and its reply.

use leptos::{ev, html, prelude::*};

use super::called::{Calls, Given};
use super::conversation::{Exchange, Outcome};
use super::rendered::Rendered;
use super::reply_foot::{CopyButton, ReplyFoot};
use super::{tools, use_chat};
use crate::ui::engine::use_engine;
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::{When, live, on_click};
use crate::ui::widgets::keys;

#[component]
pub fn ExchangeView(exchange: Exchange) -> impl IntoView {
    let (page, chat) = (use_page(), use_chat());
    let id = exchange.id;
    let is_last = move || {
        chat.exchanges()
            .with(|all| all.last().is_some_and(|last| last.id == id))
    };
    let Exchange {
        prompt,
        reply,
        outcome,
        ..
    } = exchange.clone();
    let finished = Signal::derive({
        let outcome = outcome.clone();
        move || outcome.get().is_some()
    });
    let stats = Signal::derive({
        let outcome = outcome.clone();
        move || match outcome.get() {
            Some(Outcome::Finished(_, stats)) => Some(stats),
            _ => None,
        }
    });
    let forgotten = Memo::new(move |_| {
        let place = chat
            .exchanges()
            .with(|all| all.iter().position(|other| other.id == id));
        let count = chat.kept.record.with(|record| record.forgotten);
        page.mode.get() == Mode::Chat && place.is_some_and(|place| place < count)
    });
    // The last of them is followed by what is still read.
    let last_forgotten = move || {
        let count = chat.kept.record.with(|record| record.forgotten);
        let last = count.checked_sub(1);
        let own = chat.exchanges().with(|all| {
            last.and_then(|last| all.get(last))
                .is_some_and(|last| last.id == id)
        });
        own && forgotten.get()
    };
    let called = exchange.clone();
    let waiting = {
        let reply = reply.clone();
        move || !finished.get() && reply.with(String::is_empty)
    };
    let texts = move || match page.mode.get_untracked() {
        Mode::Chat => {
            let given = tools::results(&prompt);
            let given =
                given.map(|results| results.into_iter().map(str::to_owned).collect::<Vec<_>>());
            let prompt = match given {
                Some(results) => view! { <Given results /> }.into_any(),
                None => view! { <Prompt id text=prompt.clone() /> }.into_any(),
            };
            view! {
                {prompt}
                <span class="unseen">"Model: "</span>
                <Rendered text=reply.clone() />
                <Calls exchange=called.clone() is_last=Signal::derive(is_last) finished />
            }
            .into_any()
        }
        Mode::Text => {
            let reply = reply.clone();
            view! {
                <p class="continued" dir="auto"><span class="prompt">{prompt.clone()}</span><span class="reply">{live(move || (reply.get()).into_any())}</span></p>
            }
            .into_any()
        }
    };
    view! {
        <article
            class="exchange"
            class:forgotten=forgotten
            data-state=Signal::derive(move || if finished.get() { "finished" } else { "running" })
            data-cached=Signal::derive(move || stats.get().map(|stats| stats.cached_tokens))
            data-read=Signal::derive(move || stats.get().map(|stats| stats.prompt_tokens - stats.cached_tokens))
        >
            {texts}
            <When when=Signal::derive(waiting.clone())>
                <p class="thinking">"Reading the prompt"</p>
            </When>
            <ReplyFoot exchange=exchange.clone() is_last=Signal::derive(is_last) finished />
            <When when=Signal::derive(last_forgotten)>
                <p class="hint remark" id="forgotten">"The context was full: the model no longer reads what is above."</p>
            </When>
        </article>
    }
}

/// What the reader wrote, to be copied or changed.
#[component]
fn Prompt(id: usize, text: String) -> impl IntoView {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
    let editing = RwSignal::new(false);
    let edit = NodeRef::<html::Button>::new();
    let text = StoredValue::new(text);
    let give_up = move || {
        editing.set(false);
        // The button is there again in the next frame.
        request_animation_frame(move || {
            if let Some(button) = edit.try_get_untracked().flatten() {
                button.focus().ok();
            }
        });
    };
    let fallback = move || {
        view! {
            <p class="prompt" dir="auto"><span class="unseen">"You: "</span>{text.get_value()}</p>
            <div class="prompt-foot">
                <CopyButton text=move || text.get_value() />
                <button
                    type="button"
                    class="quiet edit"
                    node_ref=edit
                    disabled=Signal::derive(move || !engine.ready())
                    on:click=on_click(move || editing.set(true))
                >
                    "Edit"
                </button>
            </div>
        }
    };
    view! {
        <When when=Signal::derive(move || editing.get()) fallback>
            <EditPrompt
                text=text.get_value()
                on_ask=move |prompt| {
                    chat.ask_instead(id, prompt);
                    page.focus_prompt.notify();
                }
                give_up
            />
        </When>
    }
}

#[component]
fn EditPrompt(
    text: String,
    on_ask: impl Fn(String) + Copy + Send + 'static,
    give_up: impl Fn() + Copy + Send + 'static,
) -> impl IntoView {
    let engine = use_engine();
    let draft = RwSignal::new(text);
    let input = NodeRef::<html::Textarea>::new();
    input.on_load(|input| {
        request_animation_frame(move || {
            // Fails only for an element that is not in the page.
            input.focus().ok();
        });
    });
    let may = move || engine.ready() && draft.with(|draft| !draft.trim().is_empty());
    let ask = move || {
        if untrack(may) {
            on_ask(draft.get_untracked());
        }
    };
    let keydown = move |event: ev::KeyboardEvent| {
        if keys::is_taken(&event) {
            return;
        }
        match event.key().as_str() {
            "Enter" if !event.shift_key() => {
                event.prevent_default();
                ask();
            }
            "Escape" => {
                // Nothing else is meant by it.
                event.stop_propagation();
                give_up();
            }
            _ => {}
        }
    };
    view! {
        <form
            class="edit-prompt"
            on:submit=move |event| {
                event.prevent_default();
                ask();
            }
        >
            <textarea
                aria-label="Change the message"
                dir="auto"
                rows="2"
                node_ref=input
                prop:value=draft
                on:input:target=move |event| draft.set(event.target().value())
                on:keydown=keydown
            ></textarea>
            <div class="prompt-foot">
                <p class="hint">"Asks again from this point; later messages are replaced."</p>
                <button type="button" class="quiet give-up" on:click=on_click(give_up)>"Cancel"</button>
                <button type="submit" class="ask-instead" disabled=Signal::derive(move || !may())>"Ask"</button>
            </div>
        </form>
    }
}
