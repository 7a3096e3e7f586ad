//! A prompt and its reply.

use leptos::{ev, html, prelude::*};
use ternary::session::{FinishReason, Stats};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::conversation::{Exchange, Outcome};
use super::rendered::Rendered;
use super::use_chat;
use crate::js::describe;
use crate::ui::engine::use_engine;
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::{When, live, on_click};
use crate::ui::widgets::{figures, keys};

#[component]
pub fn ExchangeView(exchange: Exchange) -> impl IntoView {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
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
    } = exchange;
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
    let may_go_on = Signal::derive({
        let (reply, outcome) = (reply.clone(), outcome.clone());
        move || match page.mode.get() {
            Mode::Chat => {
                outcome.get().is_some_and(Outcome::is_cut) && !reply.with(String::is_empty)
            }
            Mode::Text => true,
        }
    });
    let copied_text = {
        let (prompt, reply) = (prompt.clone(), reply.clone());
        move || match page.mode.get_untracked() {
            Mode::Chat => reply.get_untracked(),
            Mode::Text => prompt.clone() + &reply.get_untracked(),
        }
    };
    let waiting = {
        let reply = reply.clone();
        move || !finished.get() && reply.with(String::is_empty)
    };
    let figures = move || match outcome.get() {
        Some(Outcome::Finished(reason, stats)) => summary(reason, &stats),
        Some(Outcome::Failed) => "No complete reply.".to_owned(),
        Some(Outcome::Interrupted) => "The reply was not finished.".to_owned(),
        None => chat.running.with(|running| match running {
            Some(running) if running.speed > 0.0 => figures::speed(running.speed),
            _ => String::new(),
        }),
    };
    let texts = move || match page.mode.get_untracked() {
        Mode::Chat => view! {
            <Prompt id text=prompt.clone() />
            <span class="unseen">"Model: "</span>
            <Rendered text=reply.clone() />
        }
        .into_any(),
        Mode::Text => {
            let reply = reply.clone();
            view! {
                <p class="continued"><span class="prompt">{prompt.clone()}</span><span class="reply">{live(move || (reply.get()).into_any())}</span></p>
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
            <div class="exchange-foot">
                <span class="figures">{figures}</span>
                <When when=Signal::derive(move || finished.get())>
                    <CopyButton text=copied_text.clone() />
                    <When when=Signal::derive(is_last)>
                        <button type="button" class="quiet regenerate" disabled=Signal::derive(move || !engine.ready()) on:click=on_click(move || chat.regenerate())>
                            "Regenerate"
                        </button>
                        <When when=Signal::derive(move || may_go_on.get())>
                            <button type="button" class="quiet write-on" disabled=Signal::derive(move || !engine.ready()) on:click=on_click(move || chat.write_on())>
                                "Write on"
                            </button>
                        </When>
                    </When>
                </When>
            </div>
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
            <p class="prompt"><span class="unseen">"You: "</span>{text.get_value()}</p>
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
                rows="2"
                node_ref=input
                prop:value=draft
                on:input:target=move |event| draft.set(event.target().value())
                on:keydown=keydown
            ></textarea>
            <div class="prompt-foot">
                <p class="hint">"Asks again from here; what follows is replaced."</p>
                <button type="button" class="quiet give-up" on:click=on_click(give_up)>"Cancel"</button>
                <button type="submit" class="ask-instead" disabled=Signal::derive(move || !may())>"Ask"</button>
            </div>
        </form>
    }
}

#[component]
fn CopyButton(text: impl Fn() -> String + Clone + Send + 'static) -> impl IntoView {
    let page = use_page();
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let writing = window().navigator().clipboard().write_text(&text());
        spawn_local(async move {
            match JsFuture::from(writing).await {
                Ok(_) => copied.set(true),
                Err(thrown) => page.fail("The text could not be copied", describe(thrown)),
            }
        });
    };
    // Browsers give the clipboard only to pages nobody on the way could have changed.
    window().is_secure_context().then(|| {
        view! {
            <button type="button" class="quiet copy" on:click=copy on:blur=move |_| copied.set(false)>
                {live(move || (if copied.get() { "Copied" } else { "Copy" }).into_any())}
            </button>
        }
    })
}

fn summary(reason: FinishReason, stats: &Stats) -> String {
    let mut parts = vec![match stats.generated_tokens {
        1 => "1 token".to_owned(),
        count => format!("{} tokens", figures::grouped(count)),
    }];
    if stats.tokens_per_second > 0.0 {
        parts.push(figures::speed(stats.tokens_per_second));
    }
    if stats.generated_tokens > 0 {
        parts.push(format!(
            "first after {}",
            figures::milliseconds(stats.first_token_ms)
        ));
    }
    parts.push(match stats.cached_tokens {
        0 => format!("prompt of {} tokens", figures::grouped(stats.prompt_tokens)),
        cached => format!(
            "prompt of {} tokens, {} of them read before",
            figures::grouped(stats.prompt_tokens),
            figures::grouped(cached)
        ),
    });
    match reason {
        FinishReason::End => {}
        FinishReason::Length => parts.push("cut at the longest allowed".to_owned()),
        FinishReason::Context => parts.push("the context is full".to_owned()),
        FinishReason::Stopped => parts.push("stopped".to_owned()),
    }
    parts.join(" · ")
}
