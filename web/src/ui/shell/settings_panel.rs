//! How replies are written.

use leptos::prelude::*;

use super::reply_fields::{ReplyFormField, ToolsField};
use crate::ui::chat::{MAX_SEED, Settings, use_chat};
use crate::ui::engine::use_engine;
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::{When, on_click};
use crate::ui::widgets::slider::Slider;

/// Candidates the engine reads back in a step.
const MOST_CANDIDATES: f64 = ternary::infer::CANDIDATES as f64;
const LONGEST_REPLY: usize = 4096;

#[component]
pub fn SettingsPanel() -> impl IntoView {
    let page = use_page();
    let (engine, settings) = (use_engine(), use_chat().settings);
    let defaults = move || {
        engine
            .model
            .with_untracked(|model| Settings::default_of(model.as_ref()))
    };
    // A slider over one of the sampling's numbers.
    let number = move |read: fn(&Settings) -> f64| Signal::derive(move || settings.with(read));
    view! {
        <section aria-labelledby="settings-title">
            <h2 id="settings-title">"Settings"</h2>
            <Slider
                id="temperature"
                label="Temperature"
                hint="Higher is more surprising; 0 always takes the likeliest token."
                min=0.0 max=2.0 step=0.05
                value=number(|settings| f64::from(settings.sampling.temperature))
                show=two_decimals
                on_change=move |value| settings.update(|settings| settings.sampling.temperature = value as f32)
            />
            <Slider
                id="top-p"
                label="Top-p"
                hint="Only the likeliest tokens that together reach this probability."
                min=0.05 max=1.0 step=0.05
                value=number(|settings| f64::from(settings.sampling.top_p))
                show=two_decimals
                on_change=move |value| settings.update(|settings| settings.sampling.top_p = value as f32)
            />
            <Slider
                id="top-k"
                label="Top-k"
                hint="Only this many of the likeliest tokens."
                min=1.0 max=MOST_CANDIDATES step=1.0
                value=number(|settings| match settings.sampling.top_k {
                    0 => MOST_CANDIDATES,
                    top_k => top_k as f64,
                })
                show=|value| format!("{value:.0}")
                on_change=move |value| settings.update(|settings| settings.sampling.top_k = value as usize)
            />
            <Slider
                id="repetition-penalty"
                label="Repetition penalty"
                hint="Makes tokens that were used already less likely; 1 is off."
                min=1.0 max=2.0 step=0.05
                value=number(|settings| f64::from(settings.sampling.repetition_penalty))
                show=two_decimals
                on_change=move |value| settings.update(|settings| settings.sampling.repetition_penalty = value as f32)
            />
            <div class="field">
                <label for="max-tokens">"Longest reply, in tokens"</label>
                <input
                    type="number"
                    id="max-tokens"
                    min="1"
                    max=LONGEST_REPLY
                    prop:value=Signal::derive(move || settings.with(|settings| settings.sampling.max_tokens))
                    on:change:target=move |event| {
                        // What is no number leaves the old one, and shows it again.
                        let typed = event.target().value().parse();
                        settings.update(|settings| {
                            let number = typed.unwrap_or(settings.sampling.max_tokens);
                            settings.sampling.max_tokens = number.clamp(1, LONGEST_REPLY);
                        });
                    }
                />
            </div>
            <div class="field">
                <label for="seed">"Seed"</label>
                <input
                    type="number"
                    id="seed"
                    min="0"
                    max=MAX_SEED
                    placeholder="random"
                    prop:value=Signal::derive(move || settings.with(|settings| settings.seed.map(|seed| seed.to_string()).unwrap_or_default()))
                    on:change:target=move |event| {
                        let typed = event.target().value().parse();
                        settings.update(|settings| settings.seed = typed.ok().map(|seed: u64| seed.min(MAX_SEED)));
                    }
                />
            </div>
            <When when=Signal::derive(move || page.mode.get() == Mode::Chat)>
                <div class="field">
                    <label for="system-prompt">"System prompt"</label>
                    <textarea
                        id="system-prompt"
                        dir="auto"
                        rows="2"
                        prop:value=Signal::derive(move || settings.with(|settings| settings.system_prompt.clone()))
                        on:change:target=move |event| {
                            let text = event.target().value();
                            settings.update(|settings| settings.system_prompt = text);
                        }
                    ></textarea>
                </div>
            </When>
            <ReplyFormField />
            <ToolsField />
            <div class="field">
                <label for="stop-strings">"Stop at"</label>
                <textarea
                    id="stop-strings"
                    rows="2"
                    aria-describedby="stop-strings-hint"
                    prop:value=Signal::derive(move || settings.with(|settings| settings.sampling.stop.join("\n")))
                    on:change:target=move |event| {
                        let lines = event.target().value();
                        let lines = lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
                        settings.update(|settings| settings.sampling.stop = lines);
                    }
                ></textarea>
                <p class="hint" id="stop-strings-hint">"A reply ends before any of these texts, one a line."</p>
            </div>
            <button type="button" id="reset-settings" on:click=on_click(move || settings.set(defaults()))>
                "Back to defaults"
            </button>
        </section>
    }
}

fn two_decimals(value: f64) -> String {
    format!("{value:.2}")
}
