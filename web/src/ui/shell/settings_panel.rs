//! How replies are written.

use leptos::prelude::*;

use crate::ui::chat::{
    EXAMPLE_TOOLS, MAX_SEED, ReplyForm, Settings, check_schema, read_tools, use_chat,
};
use crate::ui::engine::use_engine;
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::{When, on_click};
use crate::ui::widgets::slider::Slider;

/// Candidates the engine reads back in a step.
const MOST_CANDIDATES: f64 = ternary::infer::CANDIDATES as f64;
const LONGEST_REPLY: usize = 4096;
/// What a reader who asks for a schema begins with.
const FIRST_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "name": { "type": "string" },
    "age": { "type": "integer" }
  },
  "required": ["name", "age"]
}"#;

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
            <When when=Signal::derive(move || page.mode.get() == Mode::Chat)>
                <ToolsField />
            </When>
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

/// What replies have to be.
#[component]
fn ReplyFormField() -> impl IntoView {
    let settings = use_chat().settings;
    let kind = Memo::new(move |_| {
        settings.with(|settings| match settings.form {
            ReplyForm::Free => "free",
            ReplyForm::JsonObject => "object",
            ReplyForm::JsonSchema(_) => "schema",
        })
    });
    let set = move |form| settings.update(|settings| settings.form = form);
    // What can't be read is not used, and stays in the field.
    let problem = RwSignal::new(None::<String>);
    let schema = move || match settings.with(|settings| settings.form.clone()) {
        ReplyForm::JsonSchema(schema) => schema,
        _ => String::new(),
    };
    view! {
        <div class="field">
            <label for="reply-form">"Replies are"</label>
            <select
                id="reply-form"
                prop:value=kind
                on:change:target=move |event| {
                    problem.set(None);
                    set(match event.target().value().as_str() {
                        "object" => ReplyForm::JsonObject,
                        "schema" => ReplyForm::JsonSchema(FIRST_SCHEMA.to_owned()),
                        _ => ReplyForm::Free,
                    });
                }
            >
                <option value="free">"any text"</option>
                <option value="object">"a JSON object"</option>
                <option value="schema">"JSON that fits a schema"</option>
            </select>
        </div>
        <When when=Signal::derive(move || kind.get() == "schema")>
            <div class="field">
                <label for="schema">"JSON schema"</label>
                <textarea
                    id="schema"
                    class="code"
                    rows="6"
                    spellcheck="false"
                    aria-describedby="schema-problem"
                    prop:value=Signal::derive(schema)
                    on:input:target=move |event| {
                        let text = event.target().value();
                        let checked = check_schema(&text);
                        if checked.is_ok() {
                            set(ReplyForm::JsonSchema(text));
                        }
                        problem.set(checked.err());
                    }
                ></textarea>
                <Problem id="schema-problem" problem hint="Every reply fits it, whatever the model would rather write." />
            </div>
        </When>
    }
}

/// Functions that the model may call.
#[component]
fn ToolsField() -> impl IntoView {
    let settings = use_chat().settings;
    let problem = RwSignal::new(None::<String>);
    let take = move |text: String| {
        let read = read_tools(&text);
        if read.is_ok() {
            settings.update(|settings| settings.tools = text);
        }
        problem.set(read.err());
    };
    let is_empty = Signal::derive(move || {
        settings.with(|settings| settings.tools.is_empty()) && problem.with(Option::is_none)
    });
    view! {
        <div class="field">
            <label for="tools">"Functions the model may call"</label>
            <textarea
                id="tools"
                class="code"
                rows="3"
                spellcheck="false"
                aria-describedby="tools-problem"
                prop:value=Signal::derive(move || settings.with(|settings| settings.tools.clone()))
                on:input:target=move |event| take(event.target().value())
            ></textarea>
            <Problem id="tools-problem" problem hint="A JSON list of names, descriptions and parameters. When the model calls one, you say what it gives." />
            <When when=is_empty>
                <button type="button" class="quiet" id="example-tools" on:click=on_click(move || take(EXAMPLE_TOOLS.to_owned()))>
                    "Try an example"
                </button>
            </When>
        </div>
    }
}

/// What is wrong with a field, or what it is for.
#[component]
fn Problem(
    id: &'static str,
    problem: RwSignal<Option<String>>,
    hint: &'static str,
) -> impl IntoView {
    view! {
        <p class="hint" class:wrong=Signal::derive(move || problem.with(Option::is_some)) id=id role="status">
            {move || problem.get().map_or_else(|| hint.to_owned(), |problem| format!("Not used: {problem}."))}
        </p>
    }
}

fn two_decimals(value: f64) -> String {
    format!("{value:.2}")
}
