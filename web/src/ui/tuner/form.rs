//! The text, and how to learn from it.

use leptos::prelude::*;
use ternary::config::{LoraConfig, MatrixKind};
use ternary::session::{TunePlan, TuneSettings};

use super::examples;
use super::state::{Tuner, use_tuner};
use crate::ui::engine::use_engine;
use crate::ui::widgets::erased::{When, live, on_click};
use crate::ui::widgets::figures;
use crate::ui::widgets::picker::Picker;

const MOST_STEPS: usize = 100_000;
const MOST_SEQUENCES: usize = 64;
const LARGEST_RANK: usize = 256;

#[component]
pub fn Form() -> impl IntoView {
    let (engine, t) = (use_engine(), use_tuner());
    // A fine-tuning that is over or another model leave the text and the settings, and no plan.
    Effect::new(move |_| {
        engine.model.track();
        t.make_plan();
    });
    view! {
        <section aria-labelledby="tune-title">
            <h2 id="tune-title">"Fine-tune on your text"</h2>
            <p class="hint">"The text stays in this page. The model that answers changes only when you keep the result."</p>
            <TextToLearn />
            <TrainedWeights />
            <Numbers />
            <When when=Signal::derive(move || has_adapter(t))>
                <AdapterTargets />
            </When>
            {move || plan(t.problem.get(), t.plan.get())}
            <div class="buttons">
                <button
                    type="button"
                    id="tune-start"
                    class="primary"
                    disabled=Signal::derive(move || !engine.ready() || t.plan.with(Option::is_none))
                    on:click=on_click(move || t.start_tune())
                >
                    "Start"
                </button>
            </div>
        </section>
    }
}

/// Whether adapters are trained rather than the model.
fn has_adapter(t: Tuner) -> bool {
    t.settings.with(|settings| settings.lora.is_some())
}

#[component]
fn TextToLearn() -> impl IntoView {
    let t = use_tuner();
    let conversations = move || t.settings.with(|settings| settings.conversations.len());
    let lines = move || {
        let line = |line: String| view! { <span>{line}</span> };
        let lines = t.files.get();
        lines.map(|lines| lines.into_iter().map(line).collect_view())
    };
    view! {
        <label for="tune-text" class="unseen">"Text to learn from"</label>
        <textarea
            id="tune-text"
            rows="8"
            placeholder="Paste a text, or drop a file: some pages in one style, or conversations (JSON lines, Parquet)"
            prop:value=Signal::derive(move || t.settings.with(|settings| settings.text.clone()))
            on:change:target=move |event| {
                let text = event.target().value();
                // It is the reader's own from now on.
                t.files.set(None);
                t.change(|settings| settings.text = text);
            }
        ></textarea>
        <div class="buttons">
            <Picker
                id="tune-file"
                label="Open text files"
                multiple=true
                on_files=move |picked| t.learn(picked.into_files(), Vec::new())
            />
            <button type="button" id="tune-example" on:click=on_click(move || t.learn_example("sailor.txt", &examples::text()))>"Example text"</button>
            <button type="button" id="tune-example-chat" on:click=on_click(move || t.learn_example("sailor.jsonl", &examples::conversations()))>"Example conversations"</button>
        </div>
        <When when=Signal::derive(move || conversations() > 0)>
            <p class="hint" id="tune-conversations">
                {live(move || format!("{}: of these only the assistant's words are learnt. ", figures::of_them(conversations(), "conversation")).into_any())}
                <button type="button" id="tune-no-conversations" on:click=on_click(move || t.leave_conversations_out())>"Leave them out"</button>
            </p>
        </When>
        <p class="hint" id="tune-files" role="status">
            {live(move || lines().into_any())}
        </p>
    }
}

#[component]
fn TrainedWeights() -> impl IntoView {
    let t = use_tuner();
    let kinds = [(false, "full", "Every weight"), (true, "lora", "Adapter")];
    let kinds = kinds.map(|(adapter, id, label)| {
        view! {
            <label>
                <input
                    type="radio"
                    name="tune-kind"
                    value=id
                    prop:checked=Signal::derive(move || has_adapter(t) == adapter)
                    on:change=move |_| t.change(|settings| {
                        settings.lora = adapter.then(LoraConfig::default);
                        settings.learning_rate = None;
                    })
                />
                <span>{label}</span>
            </label>
        }
    });
    view! {
        <fieldset class="segmented">
            <legend class="unseen">"What is trained"</legend>
            {kinds.into_iter().collect_view()}
        </fieldset>
    }
}

#[component]
fn Numbers() -> impl IntoView {
    let t = use_tuner();
    let settings = t.settings;
    let rate = move || {
        settings.with(|settings| {
            let rate = settings.learning_rate.map(|rate| rate.to_string());
            rate.unwrap_or_default()
        })
    };
    view! {
        <div class="fields">
            {number_field(t, "tune-steps", "Steps", |s| s.steps, MOST_STEPS, |s, value| s.steps = value)}
            {number_field(t, "tune-batch", "Sequences per step", |s| s.batch_size, MOST_SEQUENCES, |s, value| s.batch_size = value)}
            <div class="field">
                <label for="tune-rate">"Learning rate"</label>
                <input
                    type="number"
                    id="tune-rate"
                    min="0"
                    step="any"
                    placeholder="what suits"
                    prop:value=Signal::derive(rate)
                    on:change:target=move |event| {
                        let typed = event.target().value().parse::<f64>().ok().filter(|rate| *rate > 0.0);
                        t.change(|settings| settings.learning_rate = typed);
                    }
                />
            </div>
            {number_field(t, "tune-seed", "Seed", |s| s.seed as usize, u32::MAX as usize, |s, value| s.seed = value as u64)}
            <When when=Signal::derive(move || has_adapter(t))>
                {number_field(t, "tune-rank", "Rank", |s| s.lora.as_ref().map_or(8, |lora| lora.rank), LARGEST_RANK, |s, value| {
                    if let Some(lora) = &mut s.lora {
                        lora.rank = value;
                    }
                })}
            </When>
            <div class="field">
                <label for="tune-prompt">"Samples continue"</label>
                <input
                    type="text"
                    id="tune-prompt"
                    placeholder="the text, or questions"
                    prop:value=Signal::derive(move || settings.with(|s| s.sample_prompt.clone()))
                    on:change:target=move |event| {
                        let text = event.target().value();
                        settings.update(|settings| settings.sample_prompt = text);
                    }
                />
            </div>
        </div>
    }
}

/// A field over one of the settings' numbers, from 1 to `most`.
fn number_field(
    t: Tuner,
    id: &'static str,
    label: &'static str,
    read: fn(&TuneSettings) -> usize,
    most: usize,
    write: fn(&mut TuneSettings, usize),
) -> impl IntoView {
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <input
                type="number"
                id=id
                min="1"
                max=most
                prop:value=Signal::derive(move || t.settings.with(read))
                on:change:target=move |event| {
                    let typed = event.target().value().parse::<usize>();
                    t.change(|settings| {
                        let value = typed.unwrap_or(read(settings)).clamp(1, most);
                        write(settings, value);
                    });
                }
            />
        </div>
    }
}

#[component]
fn AdapterTargets() -> impl IntoView {
    let targets = MatrixKind::ALL.map(|kind| target(use_tuner(), kind));
    view! {
        <fieldset class="checks">
            <legend>"Matrices with an adapter"</legend>
            {targets.into_iter().collect_view()}
        </fieldset>
    }
}

/// Whether matrices of this kind have an adapter.
fn target(t: Tuner, kind: MatrixKind) -> impl IntoView {
    let has = move || {
        t.settings.with(|settings| {
            let lora = settings.lora.as_ref();
            lora.is_some_and(|lora| lora.targets.contains(&kind))
        })
    };
    view! {
        <label class="check">
            <input
                type="checkbox"
                name="tune-target"
                value=kind.key()
                prop:checked=has
                on:change:target=move |event| {
                    let wanted = event.target().checked();
                    t.change(|settings| {
                        if let Some(lora) = &mut settings.lora {
                            lora.targets.retain(|found| *found != kind);
                            if wanted {
                                lora.targets.push(kind);
                            }
                        }
                    });
                }
            />
            {kind.key()}
        </label>
    }
}

/// What the fine-tuning would take, or why it can't be done.
fn plan(problem: Option<String>, plan: Option<TunePlan>) -> AnyView {
    if let Some(problem) = problem {
        return view! { <p class="problem" role="alert" id="tune-problem">{problem}</p> }
            .into_any();
    }
    let Some(plan) = plan else {
        return view! { <p class="hint">"Give a text or conversations: a tenth is held back, to see whether the model learns or only remembers."</p> }.into_any();
    };
    view! {
        <p class="figures" id="tune-plan" role="status">
            {format!(
                "{} tokens to learn from, {} held back; {} parameters trained in {} of memory, {} tokens at a time. Learning rate {}.",
                figures::grouped(plan.tokens), figures::grouped(plan.held_back), figures::count(plan.trained),
                figures::bytes(plan.memory_bytes), plan.seq_len, plan.learning_rate,
            )}
        </p>
    }
    .into_any()
}
