//! What stands under a reply: its figures, and what can be done with it.

use leptos::prelude::*;
use ternary::session::{FinishReason, Stats};
use ternary_markdown::without_thoughts;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::conversation::{Exchange, Outcome};
use super::use_chat;
use crate::js::describe;
use crate::ui::engine::use_engine;
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::{When, live, on_click};
use crate::ui::widgets::figures;

#[component]
pub fn ReplyFoot(
    exchange: Exchange,
    is_last: Signal<bool>,
    finished: Signal<bool>,
) -> impl IntoView {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
    let Exchange {
        prompt,
        reply,
        outcome,
        ..
    } = exchange.clone();
    let may_go_on = Signal::derive({
        let (reply, outcome) = (reply.clone(), outcome.clone());
        move || match page.mode.get() {
            Mode::Chat => {
                outcome.get().is_some_and(Outcome::is_cut) && !reply.with(String::is_empty)
            }
            Mode::Text => true,
        }
    });
    let copied_text = move || match page.mode.get_untracked() {
        // What the model thought was folded away.
        Mode::Chat => reply.with_untracked(|reply| without_thoughts(reply).into_owned()),
        Mode::Text => prompt.clone() + &reply.get_untracked(),
    };
    let speed = {
        let outcome = outcome.clone();
        move || match outcome.get() {
            Some(Outcome::Finished(reason, stats)) => first_figures(reason, &stats),
            Some(Outcome::Failed) => "No complete reply.".to_owned(),
            Some(Outcome::Interrupted) => "The reply was not finished.".to_owned(),
            None => chat.running.with(|running| match running {
                Some(running) if running.speed > 0.0 => figures::speed(running.speed),
                _ => String::new(),
            }),
        }
    };
    let more = move || match outcome.get() {
        Some(Outcome::Finished(_, stats)) => Some(more_figures(&stats)),
        _ => None,
    };
    let (versions, versions_of_last) = (exchange.clone(), exchange.clone());
    view! {
        <div class="exchange-foot">
            <When when=Signal::derive(move || finished.get())>
                <Versions exchange=versions.clone() />
            </When>
            <When when=Signal::derive(move || finished.get() && is_last.get())>
                <WentOn exchange=versions_of_last.clone() />
            </When>
            <span class="figures">
                <span class="speed">{speed}</span>
                {live(move || more().map(|more| view! { <span class="more">{more}</span> }).into_any())}
            </span>
            <When when=Signal::derive(move || finished.get())>
                <CopyButton text=copied_text.clone() />
                <When when=Signal::derive(move || is_last.get())>
                    <button type="button" class="quiet regenerate" disabled=Signal::derive(move || !engine.ready()) on:click=on_click(move || chat.regenerate())>
                        "Regenerate"
                    </button>
                    <When when=Signal::derive(move || may_go_on.get())>
                        <button type="button" class="quiet write-on" disabled=Signal::derive(move || !engine.ready()) on:click=on_click(move || chat.write_on())>
                            "Continue"
                        </button>
                    </When>
                </When>
            </When>
        </div>
    }
}

/// Leafs through what the model wrote to the same prompt.
#[component]
fn Versions(exchange: Exchange) -> impl IntoView {
    let (engine, chat) = (use_engine(), use_chat());
    let versions = exchange.versions.clone();
    let place = Signal::derive(move || versions.with(|versions| versions.place()));
    let several = Memo::new(move |_| place.get().1 > 1);
    let exchange = StoredValue::new(exchange);
    let turn = move |forward: bool| chat.turn(&exchange.get_value(), forward);
    view! {
        <When when=Signal::derive(move || several.get())>
            <span class="versions" role="group" aria-label="Versions of this reply">
                <button
                    type="button"
                    class="quiet version-before"
                    aria-label="The version before"
                    disabled=Signal::derive(move || place.get().0 == 0 || !engine.ready())
                    on:click=on_click(move || turn(false))
                >
                    "‹"
                </button>
                <span class="version">{move || format!("{} of {}", place.get().0 + 1, place.get().1)}</span>
                <button
                    type="button"
                    class="quiet version-after"
                    aria-label="The version after"
                    disabled=Signal::derive(move || place.get().0 + 1 == place.get().1 || !engine.ready())
                    on:click=on_click(move || turn(true))
                >
                    "›"
                </button>
            </span>
        </When>
    }
}

/// Says where the conversation went on, when that was not from the version that is shown.
#[component]
fn WentOn(exchange: Exchange) -> impl IntoView {
    let versions = exchange.versions;
    move || {
        let numbers: Vec<String> = versions.with(|versions| {
            let numbers = versions.went_on();
            numbers.map(|number| number.to_string()).collect()
        });
        (!numbers.is_empty()).then(|| {
            let told = format!(
                "The conversation went on from version {}.",
                numbers.join(" and ")
            );
            view! { <span class="hint went-on">{told}</span> }
        })
    }
}

#[component]
pub fn CopyButton(text: impl Fn() -> String + Clone + Send + 'static) -> impl IntoView {
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

/// What is always seen: how fast it was, and why it ended if not by itself.
fn first_figures(reason: FinishReason, stats: &Stats) -> String {
    let mut parts = vec![
        match (stats.tokens_per_second > 0.0, stats.generated_tokens) {
            (true, _) => figures::speed(stats.tokens_per_second),
            (false, count) => figures::of_them(count, "token"),
        },
    ];
    match reason {
        FinishReason::End => {}
        FinishReason::Length => parts.push("cut at the longest allowed".to_owned()),
        FinishReason::Context => parts.push("the context is full".to_owned()),
        FinishReason::Stopped => parts.push("stopped".to_owned()),
    }
    parts.join(" · ")
}

/// What is seen when one asks.
fn more_figures(stats: &Stats) -> String {
    let mut parts = Vec::new();
    if stats.tokens_per_second > 0.0 {
        parts.push(figures::of_them(stats.generated_tokens, "token"));
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
    parts.join(" · ")
}
