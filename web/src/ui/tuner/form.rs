//! The text, and how to learn from it.

use crate::ui::widgets::erased::{When, live, on_click};
use leptos::prelude::*;
use ternary::config::{LoraConfig, MatrixKind};
use ternary::session::TuneSettings;

use super::state::use_tuner;
use crate::ui::engine::use_engine;
use crate::ui::widgets::figures;
use crate::ui::widgets::picker::Picker;

const MOST_STEPS: usize = 100_000;
const MOST_SEQUENCES: usize = 64;
const LARGEST_RANK: usize = 256;

#[component]
pub fn Form() -> impl IntoView {
    let (engine, t) = (use_engine(), use_tuner());
    let settings = t.settings;
    let change = move |edit: &dyn Fn(&mut TuneSettings)| {
        settings.update(edit);
        t.make_plan();
    };
    // A fine-tuning that is over or another model leave the text and the settings, and no plan.
    Effect::new(move |_| {
        engine.model.track();
        t.make_plan();
    });
    let lora = move || settings.with(|settings| settings.lora.is_some());
    // A number field over one of the settings.
    let number = move |id: &'static str,
                       label: &'static str,
                       read: fn(&TuneSettings) -> usize,
                       most: usize,
                       write: fn(&mut TuneSettings, usize)| {
        view! {
            <div class="field">
                <label for=id>{label}</label>
                <input
                    type="number"
                    id=id
                    min="1"
                    max=most
                    prop:value=Signal::derive(move || settings.with(read))
                    on:change:target=move |event| {
                        let typed = event.target().value().parse::<usize>();
                        change(&|settings| {
                            let value = typed.clone().unwrap_or(read(settings)).clamp(1, most);
                            write(settings, value);
                        });
                    }
                />
            </div>
        }
    };
    let kinds =
        [(false, "full", "Every weight"), (true, "lora", "Adapter")].map(|(value, id, label)| {
            view! {
                <label>
                    <input
                        type="radio"
                        name="tune-kind"
                        value=id
                        prop:checked=Signal::derive(move || lora() == value)
                        on:change=move |_| change(&|settings| {
                            settings.lora = value.then(LoraConfig::default);
                            settings.learning_rate = None;
                        })
                    />
                    <span>{label}</span>
                </label>
            }
        });
    let targets = move || {
        MatrixKind::ALL
            .map(|kind| {
                let has = move || {
                    settings.with(|s| {
                        s.lora
                            .as_ref()
                            .is_some_and(|lora| lora.targets.contains(&kind))
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
                                change(&|settings| {
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
            })
            .into_iter()
            .collect_view()
    };
    let plan = move || {
        if let Some(problem) = t.problem.get() {
            return view! { <p class="problem" role="alert" id="tune-problem">{problem}</p> }
                .into_any();
        }
        match t.plan.get() {
            None => view! { <p class="hint">"Give a text: a tenth of its lines is held back, to see whether the model learns or only remembers."</p> }.into_any(),
            Some(plan) => view! {
                <p class="figures" id="tune-plan" role="status">
                    {format!(
                        "{} tokens to learn from, {} held back; {} parameters trained in {} of memory, {} tokens at a time. Learning rate {}.",
                        figures::grouped(plan.tokens), figures::grouped(plan.held_back), figures::count(plan.trained),
                        figures::bytes(plan.memory_bytes), plan.seq_len, plan.learning_rate,
                    )}
                </p>
            }.into_any(),
        }
    };
    view! {
        <section aria-labelledby="tune-title">
            <h2 id="tune-title">"Fine-tune on your text"</h2>
            <p class="hint">"The text stays in this page. The model that answers changes only when you keep the result."</p>
            <label for="tune-text" class="unseen">"Text to learn from"</label>
            <textarea
                id="tune-text"
                rows="8"
                placeholder="Paste a text, or drop a file: some pages in one style"
                prop:value=Signal::derive(move || settings.with(|settings| settings.text.clone()))
                on:change:target=move |event| {
                    let text = event.target().value();
                    // It is the reader's own from now on.
                    t.files.set(None);
                    change(&|settings| settings.text.clone_from(&text));
                }
            ></textarea>
            <div class="buttons">
                <Picker id="tune-file" label="Open text files" multiple=true on_files=move |picked| t.learn(picked.into_files(), Vec::new()) />
            </div>
            <p class="hint" id="tune-files" role="status">
                {live(move || t.files.get().map(|files| files.into_iter().map(|line| view! { <span>{line}</span> }).collect_view()).into_any())}
            </p>
            <fieldset class="segmented">
                <legend class="unseen">"What is trained"</legend>
                {kinds.into_iter().collect_view()}
            </fieldset>
            <div class="fields">
                {number("tune-steps", "Steps", |s| s.steps, MOST_STEPS, |s, value| s.steps = value)}
                {number("tune-batch", "Sequences per step", |s| s.batch_size, MOST_SEQUENCES, |s, value| s.batch_size = value)}
                <div class="field">
                    <label for="tune-rate">"Learning rate"</label>
                    <input
                        type="number"
                        id="tune-rate"
                        min="0"
                        step="any"
                        placeholder="what suits"
                        prop:value=Signal::derive(move || settings.with(|s| s.learning_rate.map(|rate| rate.to_string()).unwrap_or_default()))
                        on:change:target=move |event| {
                            let typed = event.target().value().parse::<f64>().ok().filter(|rate| *rate > 0.0);
                            change(&|settings| settings.learning_rate = typed);
                        }
                    />
                </div>
                {number("tune-seed", "Seed", |s| s.seed as usize, u32::MAX as usize, |s, value| s.seed = value as u64)}
                <When when=Signal::derive(lora)>
                    {number("tune-rank", "Rank", |s| s.lora.as_ref().map_or(8, |lora| lora.rank), LARGEST_RANK, |s, value| {
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
                        placeholder="the text's first words"
                        prop:value=Signal::derive(move || settings.with(|s| s.sample_prompt.clone()))
                        on:change:target=move |event| {
                            let text = event.target().value();
                            settings.update(|settings| settings.sample_prompt = text);
                        }
                    />
                </div>
            </div>
            <When when=Signal::derive(lora)>
                <fieldset class="checks">
                    <legend>"Matrices with an adapter"</legend>
                    {targets}
                </fieldset>
            </When>
            {plan}
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
