//! Functions that a reply calls, and what they gave: folded, with a form for what is still to come.

use leptos::prelude::*;
use serde_json::Value;

use super::conversation::Exchange;
use super::tools::{self, Called};
use super::use_chat;
use crate::ui::engine::use_engine;
use crate::ui::widgets::erased::{When, live};

/// The calls of a reply, and fields for what they give where nobody said that yet.
#[component]
pub fn Calls(exchange: Exchange, is_last: Signal<bool>, finished: Signal<bool>) -> impl IntoView {
    let reply = exchange.reply;
    let calls = Memo::new(move |_| match finished.get() {
        true => reply.with(|reply| tools::calls(reply)),
        false => Vec::new(),
    });
    let shown = live(move || {
        let view = |called: Called| {
            view! { <Folded title="Calls " name=called.name.clone() text=told(&called.arguments) /> }
        };
        calls.get().into_iter().map(view).collect_view().into_any()
    });
    let waits = Signal::derive(move || is_last.get() && calls.with(|calls| !calls.is_empty()));
    view! {
        {shown}
        <When when=waits>
            <Results calls />
        </When>
    }
}

/// For people to read.
fn told(arguments: &Value) -> String {
    serde_json::to_string_pretty(arguments).unwrap_or_default()
}

/// Fields for what calls give.
#[component]
fn Results(calls: Memo<Vec<Called>>) -> impl IntoView {
    let (engine, chat) = (use_engine(), use_chat());
    let calls = calls.get_untracked();
    let texts: Vec<RwSignal<String>> = calls.iter().map(|_| RwSignal::default()).collect();
    let fields = calls.into_iter().zip(texts.clone()).map(|(called, text)| {
        view! {
            <label>
                {format!("Result of {}", called.name)}
                <textarea
                    rows="2"
                    dir="auto"
                    prop:value=text
                    on:input:target=move |event| text.set(event.target().value())
                ></textarea>
            </label>
        }
    });
    let fields = fields.collect_view();
    let send = move || {
        if untrack(|| engine.ready()) {
            let results: Vec<String> = texts.iter().map(|text| text.get_untracked()).collect();
            chat.ask(tools::results_prompt(&results));
        }
    };
    view! {
        <form
            class="results"
            aria-label="Results of the calls"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            {fields}
            <button type="submit" class="send-results" disabled=Signal::derive(move || !engine.ready())>
                "Send results"
            </button>
        </form>
    }
}

/// What calls gave, as a prompt.
#[component]
pub fn Given(results: Vec<String>) -> impl IntoView {
    let view = |text: String| view! { <Folded title="Result" name=String::new() text /> };
    results.into_iter().map(view).collect_view()
}

#[component]
fn Folded(title: &'static str, name: String, text: String) -> impl IntoView {
    view! {
        <details class="called">
            <summary>{title}<code>{name}</code></summary>
            <pre tabindex="0" dir="auto">{text}</pre>
        </details>
    }
}
