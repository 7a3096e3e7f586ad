//! Adapters beside the model: used one by one or together, while chatting, and kept.

use js_sys::{Array, Uint8Array};
use leptos::prelude::*;
use ternary::session::Event;
use web_sys::File;

use super::load::{Load, UsedAdapter};
use super::{Models, use_models};
use crate::js::describe;
use crate::protocol::{AdapterSource, Handle, KeptModel, Request, Response, Task};
use crate::ui::page::Step;
use crate::ui::widgets::erased::{live, on_click};

/// Of an adapter in one file.
const ENDING: &str = ".safetensors";

/// "a, b"
pub fn names(adapters: &[UsedAdapter]) -> String {
    let names: Vec<&str> = adapters.iter().map(|a| a.name.as_str()).collect();
    names.join(", ")
}

impl Models {
    /// Has the model answer with these adapters beside it; with none, as it is.
    pub fn use_adapters(self, adapters: Vec<UsedAdapter>) {
        self.load_beside(adapters, false);
    }

    /// The same; `keeps`: those that only this visit has are kept once they are beside the model.
    fn load_beside(self, adapters: Vec<UsedAdapter>, keeps: bool) {
        let idle = self.loads.with_untracked(|loads| loads.is_empty());
        if !self.engine.has_model() && idle {
            return self.not_a_model(&adapters, None);
        }
        self.page.notice.set(None);
        self.engine.stop_reply();
        self.engine.use_full_worker();
        let device = self.device.get_untracked();
        let task = Task::Adapt {
            adapters: adapters.iter().map(|a| a.source.clone()).collect(),
            device,
        };
        let mut load = match idle {
            true => self.of_present(device),
            false => Load::new(self.wanted(), device),
        };
        load.keeps = keeps;
        self.follow(load.beside(adapters), Request::Task(task));
    }

    /// Uses an adapter that was just made, and keeps it once it is beside the model.
    pub(super) fn use_made(self, name: &str, bytes: &[u8]) {
        let parts = Array::of1(&Uint8Array::from(bytes));
        let file = File::new_with_u8_array_sequence(&parts, name);
        match file {
            Ok(file) => {
                let made = UsedAdapter {
                    name: name.trim_end_matches(ENDING).to_owned(),
                    base: None,
                    source: AdapterSource::Files(vec![Handle(file)]),
                };
                self.load_beside(vec![made], true);
            }
            Err(thrown) => self
                .page
                .fail("The adapter could not be used", describe(thrown)),
        }
    }

    /// Uses what was beside the model at the last visit.
    pub(super) fn use_before(self) {
        let before = self.adapters_before.try_update_value(std::mem::take);
        let before = before.unwrap_or_default();
        if !before.is_empty() {
            self.use_adapters(before);
        }
    }

    /// Keeps those that only this visit has.
    pub(super) fn keep_adapters(self) {
        for adapter in self.adapters.get_untracked() {
            if adapter.kept().is_none() {
                self.keep_adapter(adapter);
            }
        }
    }

    fn keep_adapter(self, adapter: UsedAdapter) {
        let (name, again) = (adapter.name.clone(), adapter.clone());
        let on_response = move |_, response| match response {
            Response::Kept { id, name: given } => {
                self.adapters.update(|adapters| {
                    let own = |a: &&mut UsedAdapter| a.kept().is_none() && a.name == name;
                    if let Some(own) = adapters.iter_mut().find(own) {
                        own.name = given.trim_end_matches(ENDING).to_owned();
                        own.source = AdapterSource::Kept { id };
                    }
                });
                self.settle(self.engine.origin.get_untracked());
            }
            Response::Event(Event::Error { message }) => {
                let adapter = again.clone();
                let step = Step::again(move || self.keep_adapter(adapter.clone()));
                self.page
                    .offer("The adapter could not be kept", message, [step]);
            }
            _ => {}
        };
        let task = Task::KeepAdapter {
            name: format!("{}{ENDING}", adapter.name),
            adapter: adapter.source,
        };
        self.engine.task(task, on_response);
    }

    /// Says what an adapter is, and why it is not beside the model.
    pub(super) fn not_a_model(self, adapters: &[UsedAdapter], problem: Option<String>) {
        let name = names(adapters);
        let base = adapters.iter().find_map(|adapter| adapter.base.clone());
        let base = base.map_or(String::new(), |base| format!(", {base}"));
        let mut text = format!(
            "{name} is an adapter, not a model: load its model{base}, then drop the adapter again. It is used beside it."
        );
        if let Some(problem) = problem {
            text = format!("{text}\nIt can't be used beside the present model: {problem}");
        }
        let steps = [self.page.to_models()];
        self.page.offer("This is an adapter", text, steps);
    }

    /// Those of a model: the kept ones, and those of this visit that are in use.
    fn of_model(self, model: &str) -> Vec<UsedAdapter> {
        let of_it = |kept: &&KeptModel| kept.adapter_of.as_deref() == Some(model);
        let kept = self.store.kept.with(|kept| {
            let of_it = kept.models.iter().filter(of_it);
            let adapters = of_it.map(|kept| UsedAdapter {
                name: kept.name.trim_end_matches(ENDING).to_owned(),
                base: None,
                source: AdapterSource::Kept {
                    id: kept.id.clone(),
                },
            });
            adapters.collect::<Vec<_>>()
        });
        let known = |adapter: &UsedAdapter| kept.iter().any(|other| same(other, adapter));
        let used = self.adapters.get().into_iter();
        let opened: Vec<UsedAdapter> = used.filter(|adapter| !known(adapter)).collect();
        kept.into_iter().chain(opened).collect()
    }
}

fn same(one: &UsedAdapter, two: &UsedAdapter) -> bool {
    match (one.kept(), two.kept()) {
        (Some(one), Some(two)) => one == two,
        (None, None) => one.name == two.name,
        _ => false,
    }
}

/// The adapters of a model, each to be used or not.
#[component]
pub fn AdapterList(model: String) -> impl IntoView {
    let models = use_models();
    let row = move |adapter: UsedAdapter| {
        let is_used = {
            let adapter = adapter.clone();
            move || {
                models
                    .adapters
                    .with(|all| all.iter().any(|used| same(used, &adapter)))
            }
        };
        let change = {
            let adapter = adapter.clone();
            move |used: bool| {
                let mut all = models.adapters.get_untracked();
                all.retain(|other| !same(other, &adapter));
                if used {
                    all.push(adapter.clone());
                }
                models.use_adapters(all);
            }
        };
        let name = adapter.name.clone();
        let keep = adapter.kept().is_none().then(|| {
            view! {
                <button type="button" class="quiet keep-adapter" on:click=on_click(move || models.keep_adapter(adapter.clone()))>
                    "Keep in this browser"
                </button>
            }
        });
        view! {
            <li>
                <label class="check">
                    <input
                        type="checkbox"
                        prop:checked=is_used
                        disabled=Signal::derive(move || models.is_loading())
                        on:change:target=move |event| change(event.target().checked())
                    />
                    <span>{name}</span>
                </label>
                {keep}
            </li>
        }
    };
    let list = move || {
        let all = models.of_model(&model);
        (!all.is_empty()).then(|| {
            view! {
                <div role="group" aria-labelledby="adapters-title">
                    <h3 id="adapters-title">"Adapters"</h3>
                    <ul class="adapters" id="adapters">{all.into_iter().map(row).collect_view()}</ul>
                </div>
            }
        })
    };
    live(move || list().into_any())
}
