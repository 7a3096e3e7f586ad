//! Models: loading one, those that the browser keeps, importing published ones.

mod adapters;
mod arrival;
mod bit_map;
mod browse;
mod catalogue;
mod hub;
mod import;
mod import_panel;
mod keep;
mod kept_models;
mod load;
mod load_progress;
mod loading;
mod model_card;
mod open_file;
mod remembered;
pub mod server;
mod store;

use std::collections::VecDeque;

use leptos::prelude::*;
use ternary::session::DeviceChoice;

use super::engine::{Engine, EngineEvent};
use super::page::Page;
use crate::protocol::{Notification, RequestId, Source};
pub use arrival::Arrival;
pub use browse::ModelsView;
use catalogue::{Catalogue, Pace};
pub use hub::HubQuestion;
use hub::Wanted;
use import::Importer;
pub use import_panel::{ImportPanel, UnfinishedImport};
pub use keep::KeepBar;
pub use kept_models::KeptModelList;
pub use load::UsedAdapter;
use load::{Load, Unkept};
pub use load_progress::LoadProgress;
pub use model_card::ModelCard;
pub use open_file::OpenFile;
use store::ModelStore;

/// Which model there is, and which are on their way: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Models {
    engine: Engine,
    page: Page,
    /// What is being loaded, first the one under way.
    loads: RwSignal<VecDeque<Load>, LocalStorage>,
    /// The device asked for.
    pub device: RwSignal<DeviceChoice>,
    /// Of the CPU, as the address asks; 0 for as many as the page may have.
    pub threads: usize,
    /// The server's, by their names, once it answers.
    pub served: RwSignal<Vec<String>>,
    /// The server's key; empty where none was given.
    pub server_key: RwSignal<String>,
    /// Those beside the model.
    adapters: RwSignal<Vec<UsedAdapter>, LocalStorage>,
    /// Those that were beside it at the last visit, until it is there.
    adapters_before: StoredValue<Vec<UsedAdapter>, LocalStorage>,
    /// The page came without a model and none was chosen yet.
    pub nothing_shipped: RwSignal<bool>,
    /// The engine has no model yet, not even the one that answered before it was started.
    never_loaded: StoredValue<bool>,
    /// Where the loaded model came from, and the device it was asked to run on.
    origin: StoredValue<Option<(Source, DeviceChoice)>, LocalStorage>,
    /// The loaded model, if only this visit has it.
    unkept: RwSignal<Option<Unkept>, LocalStorage>,
    /// What brought the loaded model.
    loaded_by: StoredValue<Option<RequestId>>,
    /// What the page's address asks for.
    asked: StoredValue<Option<String>>,
    /// The first load is of what was in use at the last visit.
    reopening: StoredValue<bool>,
    /// The last that could not be loaded: what to try again.
    failed: StoredValue<Source, LocalStorage>,
    store: ModelStore,
    importer: Importer,
    /// The models that this page knows of, once read.
    catalogue: RwSignal<Option<Catalogue>>,
    /// What this device can do, once measured.
    pace: RwSignal<Option<Pace>>,
    /// The last that could not be had from the hub: what to try again.
    failed_of_hub: StoredValue<Option<Wanted>>,
    /// What the reader wants of the hub, which was not allowed yet.
    wanted_of_hub: RwSignal<Option<Wanted>>,
}

pub fn use_models() -> Models {
    expect_context()
}

impl Models {
    /// Starts the engine and loads the model that was in use at the last visit, or else what the
    /// page's address asks for.
    pub fn start(
        engine: Engine,
        page: Page,
        asked: Option<String>,
        (device, threads): (DeviceChoice, usize),
    ) -> Self {
        let (source, before) = remembered::first(asked.as_deref());
        let reopening = source.origin() != remembered::of_address(asked.as_deref()).origin();
        let models = Self {
            engine,
            page,
            loads: RwSignal::new_local(VecDeque::new()),
            device: RwSignal::new(device),
            threads,
            served: RwSignal::new(Vec::new()),
            server_key: RwSignal::new(server::kept_key()),
            adapters: RwSignal::new_local(Vec::new()),
            adapters_before: StoredValue::new_local(before),
            nothing_shipped: RwSignal::new(false),
            never_loaded: StoredValue::new(true),
            origin: StoredValue::new_local(None),
            unkept: RwSignal::new_local(None),
            loaded_by: StoredValue::new(None),
            asked: StoredValue::new(asked),
            reopening: StoredValue::new(reopening),
            failed: StoredValue::new_local(Source::Shipped),
            store: ModelStore::new(engine, page),
            importer: Importer::new(),
            catalogue: RwSignal::new(None),
            pace: RwSignal::new(None),
            failed_of_hub: StoredValue::new(None),
            wanted_of_hub: RwSignal::new(None),
        };
        engine.busy_while(Signal::derive(move || models.is_loading()));
        engine.listen(move |event| models.on_event(event));
        models.store.follow_other_tabs();
        engine.start();
        models.load_first(source);
        models
    }

    /// A new engine in place of one that died, with the same model.
    pub fn restart_engine(self) {
        self.page.notice.set(None);
        let source = self.wanted();
        self.engine.start();
        self.load_first(source);
    }

    pub fn is_loading(self) -> bool {
        self.loads.with(|loads| !loads.is_empty())
    }

    fn on_event(self, event: &EngineEvent) {
        match event {
            // What was on its way into the other worker is what the reader wants.
            EngineEvent::Replaced => {
                self.store.copying.set(false);
                self.load_first(self.wanted());
            }
            EngineEvent::Died(_) => {
                self.store.copying.set(false);
                let interrupted = self.loads.try_update(std::mem::take).unwrap_or_default();
                if let Some(load) = interrupted.into_iter().next() {
                    self.failed.set_value(load.source);
                }
            }
            EngineEvent::ModelRequested(request) => self.on_model_requested(request),
            EngineEvent::Notification(Notification::DeviceLost) => self.on_device_lost(),
            EngineEvent::Notification(Notification::KeptModels(kept)) => {
                self.store.kept.set(kept.clone());
            }
            EngineEvent::Notification(_)
            | EngineEvent::ModelLoaded { .. }
            | EngineEvent::Watched(_)
            | EngineEvent::Tuned(_) => {}
        }
    }
}
