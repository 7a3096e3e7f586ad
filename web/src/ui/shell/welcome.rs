//! What an empty conversation shows.

use leptos::prelude::*;

use super::use_shell;
use crate::ui::chat::use_chat;
use crate::ui::engine::use_engine;
use crate::ui::models::{OpenFile, use_models};
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::on_click;

const QUESTIONS: [&str; 4] = [
    "Tell me a story about a dog.",
    "Tell me a story about a girl who finds a key.",
    "What is a good name for a cat?",
    "Say hello.",
];
const BEGINNINGS: [&str; 4] = [
    "Once upon a time, there was a little dog",
    "The rain had stopped, and",
    "Lily opened the red box. Inside",
    "In the forest lived an old bear",
];

#[component]
pub fn Welcome() -> impl IntoView {
    let (engine, models, shell) = (use_engine(), use_models(), use_shell());
    let loaded = move || {
        engine
            .model
            .with(|model| model.as_ref().map(|model| model.name.clone()))
    };
    let content = move || {
        match loaded() {
        Some(name) => examples(&name).into_any(),
        None if models.is_loading() => view! { <h2>"One moment"</h2> }.into_any(),
        None => view! {
            <h2>"Load a model"</h2>
            <p>
                {if models.nothing_shipped.get() { "No model comes with this page. " } else { "" }}
                "Drop a "<code>".1bit"</code>" file anywhere, or choose one. A "<code>".gguf"</code>" file or a folder of safetensors is imported."
            </p>
            <div class="row">
                <OpenFile on_files=move |picked| shell.take(picked) />
            </div>
        }
        .into_any(),
    }
    };
    view! {
        <div class="welcome">
            {content}
            <p class="hint">"It runs in this page. Nothing you write or open leaves this machine."</p>
        </div>
    }
}

fn examples(name: &str) -> impl IntoView + use<> {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
    let heading = match page.mode.get() {
        Mode::Chat => format!("Ask {name}"),
        Mode::Text => format!("Begin, and {name} writes on"),
    };
    let prompts = match page.mode.get() {
        Mode::Chat => QUESTIONS,
        Mode::Text => BEGINNINGS,
    };
    let prompts = prompts.map(|prompt| {
        view! {
            <li>
                <button
                    type="button"
                    class="example"
                    disabled=Signal::derive(move || !engine.ready())
                    on:click=on_click(move || {
                        chat.ask(prompt.to_owned());
                        page.focus_prompt.notify();
                    })
                >
                    {prompt}
                </button>
            </li>
        }
    });
    view! {
        <h2>{heading}</h2>
        <ul class="examples">{prompts.collect_view()}</ul>
    }
}
