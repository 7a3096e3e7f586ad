//! A published model: what it is, what it would become, how far that is.

use leptos::prelude::*;
use ternary::config::{LayerMode, MatrixModes, ModelConfig, QuantMode};
use ternary::format::{Packing, stored_bytes};
use ternary::import::Survey;
use ternary::infer::cache_bytes;
use ternary::params::{self, ParamKind};
use ternary::session::context_within;

use super::arrival::ImportArrival;
use super::use_models;
use crate::protocol::{CACHE, CACHE_LIMIT, Choices, KeptModel, KeptModels};
use crate::ui::widgets::erased::{live, on_click};
use crate::ui::widgets::figures;

/// A shorter context than this is not offered, in tokens.
const SHORTEST: usize = 1024;

#[component]
pub fn ImportPanel() -> impl IntoView {
    let models = use_models();
    let i = models.importer;
    let asked = move || i.survey.with(Option::is_some);
    let share = move || {
        let (done, total, _) = i.progress.get();
        (total > 0).then(|| done as f64 / total as f64)
    };
    let told = move || match (i.survey.get(), i.progress.get()) {
        (Some(survey), _) => {
            let text = describe(&survey, i.choices.get());
            match i.found.get().and_then(|found| found.license) {
                Some(license) => format!("{text} Its license: {license}."),
                None => text,
            }
        }
        (None, (_, 0, _)) => match i.found.get() {
            Some(found) if !found.why.is_empty() => {
                format!(
                    "Looking at {} of files: {}",
                    figures::bytes(found.bytes),
                    found.why
                )
            }
            Some(found) => format!("Looking at {} of files", figures::bytes(found.bytes)),
            None => "Looking at the files".to_owned(),
        },
        (None, (done, total, tensor)) => {
            let done = figures::bytes_of(done, total);
            match i.left() {
                Some(left) => format!("{done} · {} left · {tensor}", figures::seconds(left)),
                None => format!("{done} · {tensor}"),
            }
        }
    };
    let panel = move |name: String| {
        view! {
            <section class="import" id="import" aria-labelledby="import-title">
                <h2 id="import-title" role="status">
                    {move || if asked() { format!("Import {name}?") } else { format!("Importing {name}") }}
                </h2>
                <progress id="import-progress" aria-label="Bytes written" hidden=asked value=share></progress>
                <p id="import-told">{told}</p>
                {live(move || (!i.parts.with(|parts| parts.is_empty())).then(|| view! { <ImportArrival /> }).into_any())}
                {live(move || asked().then(|| view! { <FileChoice /> }).into_any())}
                {live(move || i.survey.get().map(|survey| view! { <ChoicesForm survey /> }).into_any())}
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

/// An import that did not end, perhaps of another visit: to go on with it, or not.
#[component]
pub fn UnfinishedImport() -> impl IntoView {
    let models = use_models();
    let i = models.importer;
    Effect::new(move |_| {
        let any = |kept: &KeptModels| kept.models.iter().any(|kept| kept.unfinished.is_some());
        if models.store.kept.with(any) {
            // It tells where the hub is.
            models.read_catalogue();
        }
    });
    // A failure that was just told of has buttons of its own.
    let is_free = move || {
        i.files.with(Option::is_none)
            && models.catalogue.with(Option::is_some)
            && models.wanted_of_hub.with(Option::is_none)
            && models.page.notice.with(Option::is_none)
    };
    let unfinished = Memo::new(move |_| {
        let of_it = |kept: &&KeptModel| {
            kept.unfinished.is_some() && !i.put_off.with(|put_off| put_off.contains(&kept.id))
        };
        let find = |kept: &KeptModels| kept.models.iter().find(of_it).cloned();
        models.store.kept.with(find).filter(|_| is_free())
    });
    let panel = move |kept: KeptModel| {
        let name = kept.name.trim_end_matches(".1bit").to_owned();
        let here = figures::bytes_of(kept.present, kept.bytes);
        let kept = StoredValue::new(kept);
        let put_off = move || {
            i.put_off
                .update(|all| all.push(kept.with_value(|kept| kept.id.clone())))
        };
        view! {
            <section class="import" id="unfinished" aria-labelledby="unfinished-title">
                <h2 id="unfinished-title" role="status">{format!("Continue importing {name}?")}</h2>
                <p>{format!("{here} are here already. Only the rest is downloaded.")}</p>
                <div class="row">
                    <button type="button" class="primary" id="finish-import" on:click=on_click(move || kept.with_value(|kept| models.finish(kept)))>
                        "Continue"
                    </button>
                    <button
                        type="button"
                        id="throw-away"
                        on:click=on_click(move || {
                            put_off();
                            kept.with_value(|kept| models.store.delete(&kept.id, &kept.name));
                        })
                    >
                        "Throw away"
                    </button>
                    <button type="button" id="put-off" on:click=on_click(put_off)>"Later"</button>
                </div>
            </section>
        }
    };
    live(move || unfinished.get().map(panel).into_any())
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
fn describe(survey: &Survey, choices: Choices) -> String {
    let config = &survey.config;
    let mut modes: Vec<&str> = body_modes(config)
        .into_iter()
        .map(QuantMode::name)
        .collect();
    modes.sort_unstable();
    modes.dedup();
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
        figures::bytes(size(survey, choices)),
    );
    for warning in &survey.warnings {
        text = format!("{text} Note: {warning}.");
    }
    text
}

fn body_modes(config: &ModelConfig) -> Vec<QuantMode> {
    let map = config.bit_map();
    let layers = map.layer_modes.iter();
    let modes = layers.flat_map(|layer| config.matrices().map(|kind| layer.get(kind)));
    modes.collect()
}

/// What the importer proposes for the matrices of the body that are floats in the files, if any
/// are.
fn float_body(config: &ModelConfig) -> Option<QuantMode> {
    let is_float = |mode: &QuantMode| !matches!(mode, QuantMode::Ternary | QuantMode::Binary);
    body_modes(config).into_iter().find(is_float)
}

/// Bytes of the `.1bit`.
fn size(survey: &Survey, choices: Choices) -> u64 {
    let of = |wanted| {
        let found = survey.sizes.iter().find(|(mode, _)| *mode == wanted);
        found.map(|(_, bytes)| *bytes)
    };
    let ends = match choices.head {
        None => survey.kept.or(of(QuantMode::F16)),
        Some(head) => of(head),
    };
    let other = |mode: QuantMode| {
        let proposed = float_body(&survey.config)?;
        let mut config = survey.config.clone();
        let mut map = config.bit_map();
        for layer in &mut map.layer_modes {
            let mut modes = MatrixModes::all(mode);
            for kind in survey.config.matrices() {
                let own = layer.get(kind);
                modes.set(kind, if own == proposed { mode } else { own });
            }
            *layer = LayerMode::from(modes);
        }
        config.layer_bit_map = Some(map);
        Some((matrix_bytes(&survey.config), matrix_bytes(&config)))
    };
    let ends = ends.unwrap_or(0);
    match choices.body.and_then(other) {
        Some((before, after)) => ends - before.min(ends) + after,
        None => ends,
    }
}

fn matrix_bytes(config: &ModelConfig) -> u64 {
    let all = params::all(config).into_iter();
    all.map(|p| match p.kind {
        ParamKind::Matrix(m) => stored_bytes(&m, Packing::Ternary2),
        _ => 0,
    })
    .sum()
}

/// Which of the repository's files, where it has several; the one that was looked at comes first.
#[component]
fn FileChoice() -> impl IntoView {
    let models = use_models();
    let mut offered = models
        .importer
        .found
        .get()
        .map_or_else(Vec::new, |found| found.offered);
    offered.sort_by_key(|file| !file.is_taken);
    let has_choice = offered.len() > 1 && offered.iter().any(|file| file.is_taken);
    let options = offered.into_iter().map(|file| {
        let told = format!("{}, {}", file.path, figures::bytes(file.bytes));
        (file.path, told)
    });
    has_choice.then(|| {
        view! {
            <div class="choices">
                <Select id="import-file" label="File of the repository" options=options.collect()
                    on_choice=move |path| models.take_file(path) />
            </div>
        }
    })
}

/// What can be chosen; what is proposed comes first.
#[component]
fn ChoicesForm(survey: Survey) -> impl IntoView {
    let choices = use_models().importer.choices;
    let ends = match survey.kept {
        Some(_) => vec![
            ("", "As in the file"),
            ("f16", "16 bits"),
            ("eightbit", "8 bits"),
        ],
        None => vec![("", "16 bits"), ("eightbit", "8 bits: smaller and faster")],
    };
    let body = float_body(&survey.config).map(|proposed| match proposed {
        QuantMode::EightBit => vec![
            ("", "8 bits"),
            ("f16", "16 bits: twice the size, hardly better"),
        ],
        _ => vec![("", "16 bits"), ("eightbit", "8 bits: smaller and faster")],
    });
    let full = survey.config.max_seq_len;
    let halves = std::iter::successors(Some(full), |context| Some(context / 2));
    let contexts: Vec<(String, String)> = halves
        .take_while(|context| *context >= SHORTEST.min(full))
        .map(|context| {
            let mut config = survey.config.clone();
            config.max_seq_len = context;
            let memory = cache_bytes(&config, CACHE);
            let told = format!(
                "{} tokens, up to {} of memory",
                figures::grouped(context),
                figures::bytes(memory as u64)
            );
            (context.to_string(), told)
        })
        .collect();
    let owned = |options: Vec<(&str, &str)>| {
        let options = options.into_iter();
        options
            .map(|(value, label)| (value.to_owned(), label.to_owned()))
            .collect()
    };
    view! {
        <div class="choices">
            <Select id="import-head" label="Embedding and head" options=owned(ends)
                on_choice=move |value| choices.update(|c| c.head = value.parse().ok()) />
            {body.map(|body| view! {
                <Select id="import-body" label="The matrices between them" options=owned(body)
                    on_choice=move |value| choices.update(|c| c.body = value.parse().ok()) />
            })}
            {(contexts.len() > 1).then(|| view! {
                <Select id="import-context" label="Longest context" options=contexts
                    on_choice=move |value| choices.update(|c| {
                        c.context = value.parse().ok().filter(|context| *context < full);
                    }) />
            })}
        </div>
    }
}

#[component]
fn Select(
    id: &'static str,
    label: &'static str,
    /// Values and what they are called.
    options: Vec<(String, String)>,
    on_choice: impl Fn(String) + 'static,
) -> impl IntoView {
    let options = options
        .into_iter()
        .map(|(value, label)| view! { <option value=value>{label}</option> });
    view! {
        <label for=id>{label}</label>
        <select id=id on:change:target=move |event| on_choice(event.target().value())>
            {options.collect_view()}
        </select>
    }
}
