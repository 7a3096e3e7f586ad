//! Asking for a model, following it, and keeping the old one when it fails.

use std::collections::VecDeque;
use std::sync::Arc;

use leptos::prelude::*;
use ternary::infer::LoadPlan;
use ternary::session::{Command, DeviceChoice, Event, ModelInfo, ModelTask};

use super::Models;
use super::adapters::names;
use super::load::{Load, LoadStage, Unkept};
use super::{remembered, server};
use crate::protocol::{CACHE, Origin, Request, RequestId, Response, Source, Task};
use crate::ui::engine::{EngineEvent, ModelRequest};
use crate::ui::page::Step;
use crate::ui::widgets::figures;

impl Models {
    /// Loads a model in place of the present one, which answers until then.
    pub fn load(self, source: Source) {
        self.failed_of_hub.set_value(None);
        // They belong to the model of the last visit.
        self.adapters_before.set_value(Vec::new());
        self.page.notice.set(None);
        self.engine.stop_reply();
        self.request_load(Load::new(source, self.device.get_untracked()));
    }

    /// Gives up the load under way.
    pub fn cancel_load(self) {
        let under_way = |loads: &VecDeque<Load>| loads.front().map(|load| load.request);
        if let Some(request) = self.loads.with_untracked(under_way) {
            self.engine.cancel(request);
        }
        self.page.focus_prompt.notify();
    }

    /// Tries again what could not be loaded.
    pub fn load_again(self) {
        match self.failed_of_hub.try_update_value(Option::take).flatten() {
            Some(wanted) => self.get_again(wanted),
            None => self.load(self.failed.get_value()),
        }
        self.page.focus_prompt.notify();
    }

    /// Moves the model to another device.
    pub fn change_device(self, device: DeviceChoice) {
        self.device.set(device);
        if untrack(|| self.is_served()) {
            return self.load_here();
        }
        if self.never_loaded.get_value() || !self.engine.has_model() {
            return self.load(self.wanted());
        }
        self.page.notice.set(None);
        self.engine.stop_reply();
        let load = self
            .of_present(device)
            .beside(self.adapters.get_untracked());
        self.follow(load, Request::Run(Command::Move { device }));
    }

    /// Of a worker that was just started.
    pub(super) fn load_first(self, source: Source) {
        self.loads.set(VecDeque::new());
        self.never_loaded.set_value(true);
        if !self.engine.is_running() {
            // Why was told.
            return self.failed.set_value(source);
        }
        self.store.list();
        self.request_load(Load::new(source, self.device.get_untracked()));
    }

    pub(super) fn on_model_requested(self, request: &ModelRequest) {
        match request {
            ModelRequest::Load(source) => self.load(source.clone()),
            ModelRequest::Adapter { name, bytes } => self.use_made(name, bytes),
            ModelRequest::Task(task) => {
                let mut load = self.of_present(self.device.get_untracked());
                load.unkept = Some(Unkept::Made);
                // Nobody trains for one visit.
                load.keeps = matches!(task, ModelTask::KeepTune);
                self.follow(load, Request::Task(Task::Model(task.clone())));
            }
        }
    }

    /// The present model once more.
    pub(super) fn of_present(self, device: DeviceChoice) -> Load {
        let mut load = Load::new(self.source(), device);
        load.unkept = self.unkept.get_untracked();
        load
    }

    /// The GPU is gone: the same model, on another device if there is one, else on the CPU. The
    /// conversation stays.
    pub(super) fn on_device_lost(self) {
        self.engine.model.set(None);
        let device = self.device.get_untracked();
        self.rebuild(self.source(), device);
    }

    fn rebuild(self, source: Source, device: DeviceChoice) {
        self.device.set(device);
        let mut load = Load::new(source, device);
        load.rebuilds = true;
        self.request_load(load);
    }

    fn request_load(self, mut load: Load) {
        if let Source::Server { key, .. } = &mut load.source {
            *key = self.server_key.get_untracked();
        }
        let request = Request::Load {
            source: load.source.clone(),
            device: load.device,
            kv: CACHE,
            threads: self.threads,
        };
        self.follow(load, request);
    }

    /// Asks for what is answered as a load is.
    pub(super) fn follow(self, mut load: Load, request: Request) {
        let on_response = move |id, response| self.on_response(id, response);
        match self.engine.request(request, on_response) {
            Some(request) => {
                load.request = request;
                self.loads.update(|loads| loads.push_back(load));
            }
            None => self.failed.set_value(load.source),
        }
    }

    fn on_response(self, id: RequestId, response: Response) {
        match response {
            Response::Fetched { done, total } => {
                self.update(id, |load| load.advance(LoadStage::Fetching, done, total));
            }
            Response::Parts(parts) => self.update(id, |load| load.parts = Arc::new(parts)),
            Response::Event(Event::Planned { plan, parts }) => {
                let plan: LoadPlan = *plan;
                self.update(id, |load| {
                    load.plan = Some(plan);
                    load.parts = Arc::new(parts);
                });
            }
            Response::Event(Event::Progress { done, total }) => {
                self.update(id, |load| load.advance(LoadStage::Reading, done, total));
            }
            Response::Event(Event::Loaded { model }) => self.on_loaded(id, *model),
            Response::Event(Event::Error { message }) => self.on_failed(id, message),
            Response::Served { model, models } => {
                self.served.set(models);
                // The name that was not given.
                self.update(id, |load| load.source = server::model(model));
            }
            Response::NothingShipped => {
                self.end(id);
                self.nothing_shipped.set(true);
            }
            Response::Cancelled => self.on_cancelled(id),
            Response::Unreachable(message) => {
                self.end(id);
                let title = "The model could not be fetched";
                let steps = [
                    Step::again(move || self.load_again()),
                    self.page.to_models(),
                ];
                self.page.offer(title, message, steps);
            }
            Response::Damaged { message, url } => self.on_damaged(id, message, url),
            _ => {}
        }
    }

    fn on_loaded(self, id: RequestId, model: ModelInfo) {
        let mut keeps = false;
        if let Some(load) = self.take(id) {
            keeps = load.keeps;
            let before = self.adapters.get_untracked();
            if load.rebuilds {
                let mut text = format!(
                    "{} was loaded again, on the {}. The conversation is as it was; send again what got no answer.",
                    model.name,
                    figures::device_kind(&model.device)
                );
                if !before.is_empty() {
                    text = format!("{text} It is without {} now.", names(&before));
                }
                if let Some(Unkept::Made) = self.unkept.get_untracked() {
                    text = format!("{text} It is as it was before you changed it.");
                }
                self.page.fail("The GPU was lost", text);
            }
            self.adapters.set(load.adapters.clone());
            self.took_over(id, load);
        }
        // The same model in another worker, or on another device, is looked at as before.
        let same = |before: &ModelInfo| {
            (&before.name, before.file_bytes, &before.bit_map)
                == (&model.name, model.file_bytes, &model.bit_map)
        };
        let before = self.engine.model;
        let changed = !before.with_untracked(|before| before.as_ref().is_some_and(same));
        if changed && model.context < model.config.max_seq_len {
            let title = "Its context is shorter here";
            self.page.inform(title, shorter_context(&model));
        }
        self.engine.emit(&EngineEvent::ModelLoaded {
            model: Box::new(model.clone()),
            changed,
        });
        self.never_loaded.set_value(false);
        self.engine.speed.set(None);
        self.engine.model.set(Some(model));
        if keeps {
            self.keep();
            self.keep_adapters();
        }
        self.use_before();
        // Whoever is using another part of the page meanwhile keeps the keyboard there.
        let elsewhere = document()
            .active_element()
            .is_some_and(|element| element.tag_name() != "BODY");
        if !elsewhere {
            self.page.focus_prompt.notify();
        }
    }

    /// The model is there: where it comes from, and whether a later visit can have it.
    fn took_over(self, id: RequestId, load: Load) {
        self.reopening.set_value(false);
        self.loaded_by.set_value(Some(id));
        let (mut source, mut unkept) = (load.source, load.unkept);
        if let Some(Unkept::File(file)) = &unkept
            && let Some(kept) = self.store.copy_of(file)
        {
            (source, unkept) = (kept, None);
        }
        let origin = match &unkept {
            Some(_) => None,
            None => source.origin(),
        };
        self.origin.set_value(Some((source, load.device)));
        self.unkept.set(unkept);
        self.settle(origin);
    }

    /// What a later visit begins with, and a conversation remembers: nothing of a model that only
    /// this visit has.
    pub(super) fn settle(self, origin: Option<Origin>) {
        if let Some(origin) = &origin {
            let asked = self.asked.get_value();
            let adapters = self.adapters.get_untracked();
            remembered::remember(asked.as_deref(), origin.clone(), &adapters);
        }
        self.engine.origin.set(origin);
    }

    /// What was in use at the last visit is gone: what the page's address asks for instead.
    fn open_other(self, gone: &Source, problem: &str) {
        self.reopening.set_value(false);
        let asked = self.asked.get_value();
        self.load(remembered::of_address(asked.as_deref()));
        self.page.inform(
            "Another model is opened",
            format!(
                "{} was in use here last. {}",
                gone.name(),
                figures::sentence(problem)
            ),
        );
    }

    /// A kept model is not what was kept: its copy of this browser goes, or is gone.
    fn on_damaged(self, id: RequestId, message: String, url: Option<String>) {
        let Some(load) = self.end(id) else { return };
        let step = match (url, load.source) {
            (Some(url), _) => {
                self.failed.set_value(Source::Url(url));
                Step::new("again", "Download it again", move || self.load_again())
            }
            (None, Source::Stored { id, name }) => {
                let delete = move || self.store.delete(&id, &name);
                Step::new("delete-damaged", "Delete the kept copy", delete)
            }
            (None, _) => self.page.to_models(),
        };
        self.page.offer("The kept copy is damaged", message, [step]);
    }

    fn on_failed(self, id: RequestId, message: String) {
        match self.end(id) {
            None => self.page.fail("The engine reports a failure", message),
            Some(load) if self.reopening.get_value() => self.open_other(&load.source, &message),
            Some(load) if load.rebuilds && load.device != DeviceChoice::Cpu => {
                self.rebuild(load.source, DeviceChoice::Cpu);
            }
            Some(load) if !load.adapters.is_empty() => {
                self.not_a_model(&load.adapters, Some(message));
            }
            Some(load) => {
                let mut steps = Vec::new();
                if load.device == DeviceChoice::Gpu {
                    let on_cpu = move || {
                        self.device.set(DeviceChoice::Cpu);
                        self.load_again();
                    };
                    steps.push(Step::new("on-cpu", "Load it on the CPU", on_cpu));
                }
                steps.push(match load.source {
                    Source::File(_) => Step::ChooseFile,
                    _ => self.page.to_models(),
                });
                self.page
                    .offer("The model could not be loaded", message, steps);
            }
        }
    }

    fn on_cancelled(self, id: RequestId) {
        let had = self.engine.has_model();
        let Some(load) = self.end(id) else {
            return;
        };
        let idle = self.loads.with_untracked(VecDeque::is_empty);
        if had && !self.engine.has_model() && idle {
            let name = load.source.name();
            self.page.offer(
                "No model is loaded",
                format!("{name} was given up while it was loaded for this part of the page."),
                [Step::new("again", "Load it again", move || {
                    self.load_again()
                })],
            );
        }
    }

    /// Where the present model comes from.
    fn source(self) -> Source {
        self.origin
            .with_value(|origin| origin.as_ref().map(|(source, _)| source.clone()))
            .unwrap_or_else(|| self.failed.get_value())
    }

    /// Where the model comes from that the reader asked for last.
    pub(super) fn wanted(self) -> Source {
        let coming = self
            .loads
            .with_untracked(|loads| loads.back().map(|load| load.source.clone()));
        coming.unwrap_or_else(|| self.source())
    }

    fn update(self, id: RequestId, change: impl FnOnce(&mut Load)) {
        self.loads.update(|loads| {
            if let Some(load) = loads.iter_mut().find(|load| load.request == id) {
                change(load);
            }
        });
    }

    /// The load came to nothing; what was there before is there still, unless it was another
    /// worker's.
    fn end(self, id: RequestId) -> Option<Load> {
        let load = self.take(id)?;
        self.failed.set_value(load.source.clone());
        if self.never_loaded.get_value() {
            self.engine.model.set(None);
        }
        if let Some((_, device)) = self.origin.get_value() {
            // The model that still answers runs where it ran.
            self.device.set(device);
        }
        Some(load)
    }

    fn take(self, id: RequestId) -> Option<Load> {
        let take = |loads: &mut VecDeque<Load>| {
            let place = loads.iter().position(|load| load.request == id)?;
            loads.remove(place)
        };
        self.loads.try_update(take).flatten()
    }
}

/// Why a model reads less at once than it could.
fn shorter_context(model: &ModelInfo) -> String {
    let (context, full) = (model.context, model.config.max_seq_len);
    let bytes = model.cache_bytes as f64 * (full as f64 / context as f64);
    format!(
        "{} can read {} tokens at once. That takes {} of memory, more than there is for it here: it reads {}. Longer conversations \
         lose their oldest messages.",
        model.name,
        figures::grouped(full),
        figures::bytes(bytes as u64),
        figures::grouped(context),
    )
}
