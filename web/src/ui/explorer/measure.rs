//! What a text costs in the edited map.

use leptos::prelude::*;
use ternary::session::{Event, MapLoss, ModelTask};

use super::cells::file_size;
use super::state::{Explorer, use_explorer};
use crate::protocol::{Response, Task};
use crate::ui::engine::use_engine;
use crate::ui::widgets::erased::{When, live, on_click};
use crate::ui::widgets::figures;

/// The text that comes with the page. No model was trained on it: it was written for this.
const STORY: &str = include_str!("story.txt");

/// What was measured, and on which text.
#[derive(Clone)]
pub struct Measured {
    text: String,
    loss: MapLoss,
}

impl Explorer {
    /// What is measured on.
    fn measured_text(self) -> String {
        self.text.with(|text| match text.trim().is_empty() {
            true => STORY.to_owned(),
            false => text.clone(),
        })
    }

    /// Measures the text in the edited map, and before that in the loaded one, unless it was.
    fn measure(self) {
        let own = self.engine.model.get_untracked().map(|model| model.bit_map);
        let Some((own, edited)) = own.zip(self.map.get_untracked()) else {
            return;
        };
        self.page.notice.set(None);
        let text = untrack(|| self.measured_text());
        let known = self.measured.with_untracked(|all| {
            let mut of_text = all.iter().filter(|measured| measured.text == text);
            of_text.any(|measured| measured.loss.map == own)
        });
        let maps = match known || own == edited {
            true => vec![edited],
            false => vec![own, edited],
        };
        self.measuring.set(maps.len());
        for map in maps {
            let of = text.clone();
            let on_response = move |_, response| match response {
                Response::Event(Event::Measured { measured }) => {
                    let (text, loss) = (of.clone(), *measured);
                    self.measured
                        .update(|all| all.push(Measured { text, loss }));
                }
                Response::Event(Event::Error { message }) => {
                    self.fail("The text could not be measured", message);
                }
                Response::Done => self
                    .measuring
                    .update(|count| *count = count.saturating_sub(1)),
                _ => {}
            };
            let text = text.clone();
            let task = ModelTask::Measure { map, text };
            self.engine.task(Task::Model(task), on_response);
        }
    }

    /// The perplexity of the present text in the loaded map and in the edited one, as far as they
    /// were measured.
    pub fn perplexities(self) -> (Option<f64>, Option<f64>) {
        let own = self
            .engine
            .model
            .with(|model| model.as_ref().map(|model| model.bit_map.clone()));
        let text = self.measured_text();
        self.measured.with(|all| {
            let of = |map: Option<_>| {
                let map = map?;
                let mut found = all.iter().rev().filter(|measured| measured.text == text);
                let found = found.find(|measured| measured.loss.map == map);
                found.map(|measured| measured.loss.perplexity)
            };
            (of(own), of(self.map.get()))
        })
    }
}

#[component]
pub fn Measure() -> impl IntoView {
    let (engine, e) = (use_engine(), use_explorer());
    let measuring = move || e.measuring.get() > 0;
    let rows = move || {
        let model = engine.model.get()?;
        let all = e.measured.get();
        let own = |text: &str| {
            let mut of_text = all.iter().filter(|measured| measured.text == text);
            let own = of_text.find(|measured| measured.loss.map == model.bit_map);
            own.map(|measured| measured.loss.perplexity)
        };
        let rows = all.iter().rev().map(|Measured { text, loss }| {
            let size = file_size(&model, &loss.map);
            let is_own = loss.map == model.bit_map;
            let change = match own(text) {
                Some(own) if !is_own => format!("{:+.2} %", (loss.perplexity / own - 1.0) * 100.0),
                _ => String::new(),
            };
            let name = if is_own { "As loaded" } else { "Edited" };
            let map = loss.map.clone();
            let of = if text == STORY { "the page's story, " } else { "" };
            let tokens = figures::grouped(loss.tokens);
            view! {
                <tr>
                    <td><button type="button" class="quiet" on:click=on_click(move || e.choose(map.clone()))>{name}</button></td>
                    <td>{figures::bytes(size)}</td>
                    <td class="perplexity">{format!("{:.3}", loss.perplexity)}</td>
                    <td>{change}</td>
                    <td>{format!("{of}{tokens} tokens in {}", figures::milliseconds(loss.ms))}</td>
                </tr>
            }
        });
        Some(rows.collect_view())
    };
    view! {
        <section class="measure" aria-labelledby="measure-title">
            <h2 id="measure-title">"Perplexity"</h2>
            <div class="buttons">
                <button
                    type="button"
                    id="measure"
                    class="primary"
                    disabled=Signal::derive(move || measuring() || !engine.ready())
                    on:click=on_click(move || e.measure())
                >
                    {live(move || (if measuring() { "Measuring" } else { "Measure" }).into_any())}
                </button>
            </div>
            <label for="measure-text" class="hint">
                "How well the model predicts a text with this map, compared with the map as loaded. Leave the field empty to use a story that comes with the page."
            </label>
            <textarea
                id="measure-text"
                rows="3"
                placeholder="A page of text that the model should predict well"
                prop:value=Signal::derive(move || e.text.get())
                on:input:target=move |event| e.text.set(event.target().value())
            ></textarea>
            <When when=Signal::derive(move || !e.measured.with(Vec::is_empty))>
                <div class="wide">
                    <table id="measured">
                        <thead><tr><th>"Map"</th><th>"File"</th><th>"Perplexity"</th><th>"Change"</th><th>"Text"</th></tr></thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
            </When>
        </section>
    }
}
