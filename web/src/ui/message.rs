//! A prompt and its reply. Both are text nodes: nothing a model writes is ever taken for markup.

use leptos::prelude::*;
use ternary_core::session::{FinishReason, Stats};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::figures;
use super::state::{Exchange, Mode, Outcome};
use super::use_app;
use crate::js::describe;

#[component]
pub fn ExchangeView(exchange: Exchange) -> impl IntoView {
    let state = use_app();
    let id = exchange.id;
    let is_last = move || {
        state
            .exchanges()
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
    let copied_text = {
        let (prompt, reply) = (prompt.clone(), reply.clone());
        move || match state.mode.get_untracked() {
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
        None => state.running.with(|running| match running {
            Some(running) if running.speed > 0.0 => figures::speed(running.speed),
            _ => String::new(),
        }),
    };
    let text = move || reply.get();
    let texts = move || {
        match state.mode.get_untracked() {
        Mode::Chat => view! {
            <p class="prompt"><span class="unseen">"You: "</span>{prompt.clone()}</p>
            <p class="reply"><span class="unseen">"Model: "</span>{text.clone()}</p>
        }
        .into_any(),
        Mode::Text => view! {
            <p class="continued"><span class="prompt">{prompt.clone()}</span><span class="reply">{text.clone()}</span></p>
        }
        .into_any(),
    }
    };
    view! {
        <article
            class="exchange"
            data-state=move || if finished.get() { "finished" } else { "running" }
            data-cached=move || stats.get().map(|stats| stats.cached_tokens)
            data-read=move || stats.get().map(|stats| stats.prompt_tokens - stats.cached_tokens)
        >
            {texts}
            <Show when=waiting.clone()>
                <p class="thinking">"Reading the prompt"</p>
            </Show>
            <div class="exchange-foot">
                <span class="figures">{figures}</span>
                <Show when=move || finished.get()>
                    <CopyButton text=copied_text.clone() />
                    <Show when=is_last>
                        <button type="button" class="quiet regenerate" disabled=move || !state.ready() on:click=move |_| state.regenerate()>
                            "Regenerate"
                        </button>
                        <Show when=move || state.mode.get() == Mode::Text>
                            <button type="button" class="quiet write-on" disabled=move || !state.ready() on:click=move |_| state.write_on()>
                                "Write on"
                            </button>
                        </Show>
                    </Show>
                </Show>
            </div>
        </article>
    }
}

#[component]
fn CopyButton(text: impl Fn() -> String + Clone + Send + 'static) -> impl IntoView {
    let state = use_app();
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let writing = window().navigator().clipboard().write_text(&text());
        spawn_local(async move {
            match JsFuture::from(writing).await {
                Ok(_) => copied.set(true),
                Err(thrown) => state.fail("The text could not be copied", describe(thrown)),
            }
        });
    };
    // Browsers give the clipboard only to pages nobody on the way could have changed.
    window().is_secure_context().then(|| {
        view! {
            <button type="button" class="quiet copy" on:click=copy on:blur=move |_| copied.set(false)>
                {move || if copied.get() { "Copied" } else { "Copy" }}
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
    parts.push(format!(
        "first after {}",
        figures::milliseconds(stats.first_token_ms)
    ));
    match reason {
        FinishReason::End => {}
        FinishReason::Length => parts.push("cut at the longest allowed".to_owned()),
        FinishReason::Context => parts.push("the context is full".to_owned()),
        FinishReason::Stopped => parts.push("stopped".to_owned()),
    }
    parts.join(" · ")
}
