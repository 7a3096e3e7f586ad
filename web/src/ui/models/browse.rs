//! The models there are: those that this page knows of, and any other by its address.

use leptos::prelude::*;

use super::catalogue::{Entry, Fit, device_memory};
use super::use_models;
use crate::protocol::{KeptModel, Origin, Source};
use crate::ui::engine::use_engine;
use crate::ui::page::use_page;
use crate::ui::widgets::erased::{live, on_click};
use crate::ui::widgets::{figures, keys};

#[component]
pub fn ModelsView() -> impl IntoView {
    let (engine, models) = (use_engine(), use_models());
    models.read_catalogue();
    Effect::new(move |_| {
        if engine.ready() {
            models.measure_pace();
        }
    });
    let entries = move || {
        models
            .catalogue
            .with(|all| all.as_ref().map(|all| all.models.clone()))
            .unwrap_or_default()
    };
    view! {
        <div class="browse" id="models">
            <section aria-labelledby="models-title">
                <h2 id="models-title">"Models"</h2>
                <p class="hint">
                    "One click downloads a model, makes it small and opens it. It stays in this browser and runs on this device."
                </p>
                <ul class="cards" id="catalogue">
                    <For each=entries key=|entry| entry.name.clone() let:entry>
                        <Card entry />
                    </For>
                </ul>
            </section>
            <section aria-labelledby="address-title">
                <h2 id="address-title">"Any other model"</h2>
                <FromAddress />
                <p class="hint">
                    "The files of a model can also be dropped anywhere on this page: "<code>".1bit"</code>", "<code>".gguf"</code>
                    " or a folder with safetensors."
                </p>
            </section>
        </div>
    }
}

#[component]
fn Card(entry: Entry) -> impl IntoView {
    let (engine, page, models) = (use_engine(), use_page(), use_models());
    let entry = StoredValue::new(entry);
    let name = entry.with_value(|entry| entry.name.clone());
    let repository = entry.with_value(|entry| entry.repository.clone());
    // As the hub has it, without a file's name.
    let repo = repository.as_ref().map(|path| {
        let parts: Vec<&str> = path.splitn(3, '/').take(2).collect();
        parts.join("/")
    });
    let of_repo = move |fits: fn(&KeptModel) -> bool| {
        let repo = repo.clone();
        Signal::derive(move || {
            let repo = repo.as_ref()?;
            models.store.kept.with(|kept| {
                let of_it =
                    |model: &&KeptModel| fits(model) && model.repository.as_ref() == Some(repo);
                kept.models.iter().find(of_it).cloned()
            })
        })
    };
    let kept = of_repo(KeptModel::complete);
    let unfinished = of_repo(|model| model.unfinished.is_some());
    let source = Signal::derive_local(move || {
        let kept = kept.get().map(|kept| Source::Stored {
            id: kept.id,
            name: kept.name,
        });
        let own = entry.with_value(|entry| match (&entry.url, entry.shipped) {
            (_, true) => Some(Source::Shipped),
            (Some(url), _) => Some(Source::Url(url.clone())),
            _ => None,
        });
        kept.or(own)
    });
    let in_use = Signal::derive(move || {
        let origin = source.get().and_then(|source| source.origin());
        let present = engine.origin.get();
        let same = |origin: Origin| present.as_ref().is_some_and(|own| own.is(&origin));
        origin.is_some_and(same)
    });
    let speed = move || {
        let pace = models.pace.get()?;
        let expected = pace.expected(entry.with_value(|entry| entry.bytes));
        Some(format!("about {}", figures::speed(expected)))
    };
    let fit = move || entry.with_value(|entry| entry.fit(models.pace.get(), device_memory()));
    let badge = move || match fit() {
        Fit::Runs => view! { <span class="badge runs">"Runs here"</span> },
        Fit::NeedsGpu => view! { <span class="badge slow">"Needs a GPU"</span> },
        Fit::TooLarge => view! { <span class="badge large">"Too large for this device"</span> },
    };
    let act = move || match source.get_untracked() {
        Some(source) => {
            models.load(source);
            page.show(crate::ui::page::Tab::Chat);
        }
        None => match unfinished.get_untracked() {
            Some(unfinished) => models.finish(&unfinished),
            None => entry.with_value(|entry| {
                if let Some(repository) = &entry.repository {
                    models.get(repository, Some(entry.name.clone()));
                }
            }),
        },
    };
    let verb = move || match (in_use.get(), source.with(Option::is_some)) {
        (true, _) => "In use",
        (_, true) => "Open",
        _ if unfinished.with(Option::is_some) => "Continue the download",
        _ => "Download and open",
    };
    let label = {
        let name = name.clone();
        move || format!("{}: {name}", verb())
    };
    let rows = entry.with_value(|entry| {
        [
            ("Parameters", figures::count(entry.parameters)),
            ("Download", figures::bytes(entry.download_bytes)),
            (
                "Memory",
                format!("{} and more", figures::bytes(entry.bytes)),
            ),
            (
                "Context",
                format!("{} tokens", figures::grouped(entry.context)),
            ),
            ("License", entry.license.clone()),
        ]
    });
    let rows = rows.map(|(term, value)| view! { <div><dt>{term}</dt><dd>{value}</dd></div> });
    let (about, tried) = entry.with_value(|entry| (entry.about.clone(), entry.tried.clone()));
    view! {
        <li class="card">
            <h3>{name}</h3>
            {live(move || badge().into_any())}
            <p>{about}</p>
            <dl>
                {rows.collect_view()}
                {live(move || speed().map(|speed| view! { <div><dt>"Speed here"</dt><dd class="expected">{speed}</dd></div> }).into_any())}
            </dl>
            <p class="hint">{tried}</p>
            <button
                type="button"
                class="get"
                class:primary=move || !source.with(Option::is_some)
                aria-label=label
                disabled=Signal::derive(move || in_use.get() || models.is_loading() || models.importer.files.with(Option::is_some))
                on:click=on_click(act)
            >
                {live(move || verb().into_any())}
            </button>
        </li>
    }
}

/// A model of the hub, or somewhere on this page's site.
#[component]
fn FromAddress() -> impl IntoView {
    let models = use_models();
    let address = RwSignal::new(String::new());
    view! {
        <form
            class="from-address"
            on:submit=move |event| {
                event.prevent_default();
                let typed = address.get_untracked().trim().to_owned();
                if !typed.is_empty() {
                    address.set(String::new());
                    models.get_address(&typed);
                }
            }
        >
            <label for="address" class="unseen">"Model URL, or a name on Hugging Face"</label>
            <input
                type="text"
                id="address"
                inputmode="url"
                autocomplete="off"
                placeholder="Model URL, or owner/name on Hugging Face"
                prop:value=address
                on:input:target=move |event| address.set(event.target().value())
                on:keydown=|event| {
                    // It would send the form.
                    if event.key() == "Enter" && keys::is_taken(&event) {
                        event.prevent_default();
                    }
                }
            />
            <button type="submit" disabled=Signal::derive(move || address.with(|address| address.trim().is_empty()))>"Get it"</button>
        </form>
    }
}
