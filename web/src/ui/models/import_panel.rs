//! A published model: what it is, what it would become, how far that is.

use leptos::prelude::*;
use ternary::config::{ModelConfig, QuantMode};
use ternary::import::Survey;
use ternary::session::context_within;

use super::use_models;
use crate::protocol::{CACHE, CACHE_LIMIT};
use crate::ui::widgets::erased::on_click;
use crate::ui::widgets::figures;

#[component]
pub fn ImportPanel() -> impl IntoView {
    let models = use_models();
    let i = models.importer;
    let asked = move || i.survey.with(Option::is_some);
    let head = move || i.head.get();
    let kept = move || {
        let survey = i.survey.read();
        survey.as_ref().is_some_and(|survey| survey.kept.is_some())
    };
    let share = move || {
        let (done, total, _) = i.progress.get();
        (total > 0).then(|| done as f64 / total as f64)
    };
    let told = move || match (i.survey.get(), i.progress.get()) {
        (Some(survey), _) => describe(&survey, head()),
        (None, (_, 0, _)) => "Looking at the files".to_owned(),
        (None, (done, total, tensor)) => format!(
            "{} of {} · {tensor}",
            figures::bytes(done),
            figures::bytes(total)
        ),
    };
    let panel = move |name: String| {
        view! {
            <section class="import" id="import" aria-labelledby="import-title">
                <h2 id="import-title" role="status">
                    {move || if asked() { format!("Import {name}?") } else { format!("Importing {name}") }}
                </h2>
                <progress id="import-progress" aria-label="Bytes written" hidden=asked value=share></progress>
                <p id="import-told">{told}</p>
                <label class="check" hidden=move || !asked()>
                    <input
                        type="checkbox"
                        id="import-head"
                        prop:checked=move || head() == Some(QuantMode::EightBit)
                        on:change:target=move |event| {
                            i.head.set(event.target().checked().then_some(QuantMode::EightBit));
                        }
                    />
                    {move || match kept() {
                        true => "Embedding and head in 8 bits instead of 1 or 2 as in the file: larger",
                        false => "Embedding and head in 8 bits instead of 16: smaller and faster",
                    }}
                </label>
                <div class="row">
                    <button type="button" class="primary" id="start-import" hidden=move || !asked() on:click=on_click(move || models.start_import())>
                        "Import"
                    </button>
                    <button type="button" id="cancel-import" on:click=on_click(move || models.cancel_import())>"Cancel"</button>
                </div>
            </section>
        }
    };
    move || i.files.get().map(|files| panel(files.name))
}

/// The context, and how much of it a page has memory for.
fn context(config: &ModelConfig) -> String {
    let full = config.max_seq_len;
    match context_within(config, CACHE_LIMIT, CACHE) {
        all if all == full => figures::grouped(full),
        part => format!(
            "{} of which {} are used here, for there is no memory for more",
            figures::grouped(full),
            figures::grouped(part)
        ),
    }
}

/// "bitnet: 2.4 billion parameters in 30 layers of 2,560, …", what it becomes, and what else there
/// is to know.
fn describe(survey: &Survey, head: Option<QuantMode>) -> String {
    let config = &survey.config;
    let mut modes: Vec<&str> = config
        .bit_map()
        .layer_modes
        .iter()
        .flat_map(|layer| config.matrices().map(|kind| layer.get(kind).name()))
        .collect();
    modes.sort_unstable();
    modes.dedup();
    let wanted = head.unwrap_or(QuantMode::F16);
    let made = survey.sizes.iter().find(|(mode, _)| *mode == wanted);
    let made = made.map(|(_, bytes)| *bytes);
    let size = match head {
        None => survey.kept.or(made),
        Some(_) => made,
    };
    let mut text = format!(
        "Found {}: {} parameters in {} of {}, {} matrices, vocabulary {}, context {}. \
         The {} become a .1bit of {}, which is kept in this browser and loaded.",
        survey.architecture,
        figures::count(survey.parameters),
        figures::of_them(config.num_layers, "layer"),
        figures::grouped(config.hidden_size),
        modes.join(" and "),
        figures::grouped(config.vocab_size),
        context(config),
        figures::bytes(survey.source_bytes),
        figures::bytes(size.unwrap_or(0)),
    );
    for warning in &survey.warnings {
        text = format!("{text} Note: {warning}.");
    }
    text
}
