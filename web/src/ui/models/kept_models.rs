//! The models kept in this browser: to load again, offline too, and to delete.

use leptos::{html, prelude::*};

use super::use_models;
use crate::protocol::KeptModel;
use crate::ui::widgets::erased::{When, live, on_click};
use crate::ui::widgets::naming::Naming;
use crate::ui::widgets::{figures, focus};

#[component]
pub fn KeptModelList() -> impl IntoView {
    let store = use_models().store;
    let kept = store.kept;
    let title = NodeRef::<html::H2>::new();
    let missing = move || kept.with(|kept| kept.missing.clone());
    let empty = move || kept.with(|kept| kept.models.is_empty() && kept.missing.is_none());
    let room = move || {
        kept.with(|kept| {
            (kept.quota > 0).then(|| {
                format!(
                    "{} used of {} that this browser lets the page have.",
                    figures::bytes(kept.used),
                    figures::bytes(kept.quota)
                )
            })
        })
    };
    let may_be_cleared = move || kept.with(|kept| !kept.persisted && !kept.models.is_empty());
    // What another tab did in a browser without channels is seen when the reader comes back.
    let back = window_event_listener(leptos::ev::focus, move |_| store.list());
    on_cleanup(move || back.remove());
    view! {
        <section aria-labelledby="kept-title">
            <h2 id="kept-title" node_ref=title tabindex="-1">
                {live(move || (if missing().is_some() { "Models" } else { "Kept in this browser" }).into_any())}
            </h2>
            <When when=Signal::derive(empty)>
                <p class="hint">"Nothing yet. Models that you download stay here for the next visit."</p>
            </When>
            {live(move || (missing().map(|problem| view! {
                <p class="hint problem" id="nothing-kept">
                    {format!("Nothing is kept: {problem}. Models are loaded all the same, for as long as this page is open.")}
                </p>
            })).into_any())}
            <ul class="kept" id="kept">
                <For each=move || kept.get().models key=|model| (model.id.clone(), model.name.clone(), model.present) let:model>
                    <KeptModelRow model title />
                </For>
            </ul>
            <p class="hint" id="room">{room}</p>
            <When when=Signal::derive(may_be_cleared)>
                <p class="hint">
                    "Your browser may delete them when the disk is full. "
                    <button type="button" class="quiet" id="persist" on:click=on_click(move || store.persist())>
                        "Keep permanently"
                    </button>
                </p>
            </When>
        </section>
    }
}

#[component]
fn KeptModelRow(
    model: KeptModel,
    /// Has the keyboard when this is gone.
    title: NodeRef<html::H2>,
) -> impl IntoView {
    let models = use_models();
    let asking = RwSignal::new(false);
    let size = if model.complete() {
        figures::bytes(model.bytes)
    } else {
        figures::bytes_of(model.present, model.bytes)
    };
    let is_import = model.unfinished.is_some();
    let complete = model.complete();
    let adapter_of = model.adapter_of.clone();
    let is_adapter = adapter_of.is_some();
    let verb = if complete { "Load" } else { "Resume" };
    let loading =
        move || models.is_loading() || (is_import && models.importer.files.with(Option::is_some));
    let model = StoredValue::new(model);
    let loaded = move || model.with_value(|model| models.has_loaded(model));
    let name = model.with_value(|model| model.name.clone());
    let load_name = format!("{verb}: {name}");
    let save_name = format!("Save {name} as a file");
    let rename_name = format!("Rename {name}");
    let delete_name = format!("Delete {name}");
    let naming = RwSignal::new(false);
    let named = move |typed: Option<String>| {
        naming.set(false);
        let typed = typed.map(|typed| typed.trim().to_owned());
        let other = |typed: &String| !typed.is_empty() && model.with_value(|m| m.name != *typed);
        if let Some(typed) = typed.filter(other) {
            models
                .store
                .rename(model.with_value(|model| model.id.clone()), typed);
            // The row is another then.
            if let Some(title) = title.get_untracked() {
                title.focus().ok();
            }
        }
    };
    let own_name = StoredValue::new(name.clone());
    view! {
        <li>
            <When
                when=Signal::derive(move || naming.get())
                fallback=move || view! { <span class="kept-name">{own_name.get_value()}</span> }
            >
                <Naming label="Name of the model" name=own_name.get_value() done=named />
            </When>
            <span class="kept-size">{size}</span>
            {is_import.then(|| view! { <span class="hint kept-of">"Import that did not end"</span> })}
            {adapter_of.clone().map(|base| view! { <span class="hint kept-of">{format!("Adapter of {base}")}</span> })}
            <When
                when=Signal::derive(move || asking.get())
                fallback=move || view! {
                    <span class="kept-buttons">
                        <button
                            type="button"
                            class="quiet load"
                            aria-label=load_name.clone()
                            hidden=is_adapter
                            disabled=loading
                            on:click=on_click(move || model.with_value(|model| models.load_kept(model)))
                        >
                            {verb}
                        </button>
                        <button
                            type="button"
                            class="quiet save"
                            aria-label=save_name.clone()
                            hidden=!complete
                            on:click=on_click(move || model.with_value(|model| models.store.save(model)))
                        >
                            "Save"
                        </button>
                        <button
                            type="button"
                            class="quiet rename"
                            aria-label=rename_name.clone()
                            hidden=is_import
                            on:click=on_click(move || naming.set(true))
                        >
                            "Rename"
                        </button>
                        <button
                            type="button"
                            class="quiet delete"
                            aria-label=delete_name.clone()
                            on:click=on_click(move || asking.set(true))
                        >
                            "Delete"
                        </button>
                    </span>
                }
            >
                <When when=Signal::derive(loaded)>
                    <span class="hint">"This model is in use. It keeps answering, but the bit-map, fine-tuning and switching devices need its file."</span>
                </When>
                <Sure
                    on_yes=move || {
                        model.with_value(|model| models.store.delete(&model.id, &model.name));
                        if let Some(title) = title.get_untracked() {
                            // Fails only for an element that is not in the page.
                            title.focus().ok();
                        }
                    }
                    on_no=move || asking.set(false)
                />
            </When>
        </li>
    }
}

/// The question before something is gone.
#[component]
fn Sure(
    on_yes: impl Fn() + Copy + Send + 'static,
    on_no: impl Fn() + Copy + Send + 'static,
) -> impl IntoView {
    let no = NodeRef::<html::Button>::new();
    // A keyboard whose button is gone goes where nothing is lost.
    focus::catch(no);
    view! {
        <span class="kept-buttons" role="group" aria-label="Delete it?">
            <button type="button" class="quiet danger sure" on:click=on_click(on_yes)>
                "Delete for good"
            </button>
            <button type="button" class="quiet" node_ref=no on:click=on_click(on_no)>
                "Keep"
            </button>
        </span>
    }
}
