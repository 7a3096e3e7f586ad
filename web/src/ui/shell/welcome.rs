//! What an empty conversation shows.

use leptos::prelude::*;

use super::use_shell;
use crate::ui::chat::use_chat;
use crate::ui::engine::use_engine;
use crate::ui::models::{Arrival, OpenFile, use_models};
use crate::ui::page::{Mode, Tab, use_page};
use crate::ui::widgets::erased::on_click;

/// A model with fewer parameters tells stories and knows nothing of the world.
const TOY: usize = 50_000_000;
const STORIES: [&str; 3] = [
    "Tell me a story.",
    "Tell me a bedtime story.",
    "Tell me a story with a happy end.",
];
const QUESTIONS: [&str; 3] = [
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "Give me three ideas for a rainy Sunday.",
];
const BEGINNINGS: [&str; 3] = [
    "Once upon a time, there was a little dog",
    "Lily opened the red box. Inside",
    "In the forest lived an old bear",
];
const OPENINGS: [&str; 3] = [
    "The rain had stopped, and",
    "Dear neighbors,",
    "The three most important inventions are",
];

#[component]
pub fn Welcome() -> impl IntoView {
    let (engine, models, shell) = (use_engine(), use_models(), use_shell());
    let loaded = move || {
        engine.model.with(|model| {
            model
                .as_ref()
                .map(|model| (model.name.clone(), model.parameters))
        })
    };
    let content = move || {
        match loaded() {
        Some((name, parameters)) => examples(&name, parameters).into_any(),
        None if models.is_loading() => view! {
            <h2>"One moment"</h2>
            <Arrival />
        }
        .into_any(),
        None => view! {
            <h2>"Load a model"</h2>
            <p>
                {if models.nothing_shipped.get() { "No model comes with this page. " } else { "" }}
                "Drop a "<code>".1bit"</code>" file anywhere, or choose one. A "<code>".gguf"</code>" file or a folder of safetensors is imported."
            </p>
            <div class="row">
                <button type="button" class="primary" id="choose-model" on:click=on_click(move || shell.show(Tab::Models))>"Choose a model"</button>
                <OpenFile on_files=move |picked| shell.take(picked) />
            </div>
        }
        .into_any(),
    }
    };
    view! {
        <div class="welcome">
            {content}
            <p class="hint">
                "A ternary model keeps every weight as −1, 0 or +1, so it is small enough to run in this page. Your text stays in this browser."
            </p>
        </div>
    }
}

fn examples(name: &str, parameters: usize) -> impl IntoView + use<> {
    let (engine, page, chat) = (use_engine(), use_page(), use_chat());
    let heading = match page.mode.get() {
        Mode::Chat => format!("Ask {name}"),
        Mode::Text => format!("Begin, and {name} writes on"),
    };
    let prompts = match (page.mode.get(), parameters < TOY) {
        (Mode::Chat, true) => STORIES,
        (Mode::Chat, false) => QUESTIONS,
        (Mode::Text, true) => BEGINNINGS,
        (Mode::Text, false) => OPENINGS,
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
