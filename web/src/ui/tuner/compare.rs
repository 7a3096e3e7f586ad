//! What the model wrote before and what it writes now, to the same prompts.

use leptos::prelude::*;
use ternary::session::Sampled;

/// Prompt, before, now.
type Pair = (String, String, String);

/// The samples of the first step and of the last one, where they answer to the same.
fn pairs(all: &[Sampled]) -> Vec<Pair> {
    let last = all.iter().map(|sample| sample.step).max().unwrap_or(0);
    let at = |step: usize| all.iter().filter(move |sample| sample.step == step);
    let with = |before: &Sampled| {
        let now = at(last).find(|now| now.prompt == before.prompt)?;
        let texts = [before, now].map(|sample| sample.text.trim().to_owned());
        let [before_text, now_text] = texts;
        Some((before.prompt.clone(), before_text, now_text))
    };
    match last {
        0 => Vec::new(),
        _ => at(0).filter_map(with).collect(),
    }
}

#[component]
pub fn Compare(samples: RwSignal<Vec<Sampled>>) -> impl IntoView {
    let rows = move || {
        let row = |(prompt, before, now): Pair| {
            view! {
                <tr>
                    <th scope="row">{prompt}</th>
                    <td>{before}</td>
                    <td>{now}</td>
                </tr>
            }
        };
        let rows = pairs(&samples.get());
        rows.into_iter().map(row).collect_view()
    };
    view! {
        <table id="tune-compare" class="compare">
            <caption>"Before and after"</caption>
            <thead>
                <tr>
                    <th scope="col">"Prompt"</th>
                    <th scope="col">"Before"</th>
                    <th scope="col">"After"</th>
                </tr>
            </thead>
            <tbody>{rows}</tbody>
        </table>
    }
}
