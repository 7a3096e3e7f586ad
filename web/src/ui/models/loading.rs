//! Models: asking for one, following it, and keeping the old one when it fails.

use std::collections::VecDeque;

use leptos::prelude::*;
use ternary::infer::LoadPlan;
use ternary::session::{Command, DeviceChoice, ModelInfo};

use crate::protocol::{Handle, Request, Source, Task};
use crate::ui::state::{AppState, Asked, Mode};
use crate::ui::widgets::figures;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStage {
    /// Asked for; nothing has arrived.
    Waiting,
    /// From the server to the browser.
    Fetching,
    /// From the browser into the engine.
    Reading,
}

/// An adapter: what it is called, the model it says it belongs to, and its files.
#[derive(Clone, Debug)]
pub struct AdapterFiles {
    pub name: String,
    pub base: Option<String>,
    pub files: Vec<Handle>,
}

/// A model on its way.
#[derive(Clone, Debug)]
pub struct Load {
    pub source: Source,
    pub device: DeviceChoice,
    pub stage: LoadStage,
    pub done: u64,
    /// 0: not known.
    pub total: u64,
    /// When the present stage began, in milliseconds of the page's clock, and with how many bytes.
    began: (f64, u64),
    /// What it takes, once its file was opened.
    pub plan: Option<LoadPlan>,
    /// It takes the place of a model whose GPU is gone.
    rebuilds: bool,
    /// What is to be beside it.
    adapter: Option<AdapterFiles>,
}

impl Load {
    pub fn new(source: Source, device: DeviceChoice) -> Self {
        Self {
            source,
            device,
            stage: LoadStage::Waiting,
            done: 0,
            total: 0,
            began: (0.0, 0),
            plan: None,
            rebuilds: false,
            adapter: None,
        }
    }

    pub fn beside(self, adapter: Option<AdapterFiles>) -> Self {
        Self { adapter, ..self }
    }

    /// Bytes a second in the present stage; 0 until that can be said.
    pub fn speed(&self) -> f64 {
        let (since, before) = self.began;
        let seconds = (js_sys::Date::now() - since) / 1000.0;
        if seconds < 0.5 {
            return 0.0;
        }
        self.done.saturating_sub(before) as f64 / seconds
    }

    fn advance(&mut self, stage: LoadStage, done: u64, total: u64) {
        if self.stage != stage {
            self.began = (js_sys::Date::now(), done);
        }
        (self.stage, self.done, self.total) = (stage, done, total);
    }

    fn request(&self) -> Request {
        Request::Load {
            source: self.source.clone(),
            device: self.device,
        }
    }
}

impl AppState {
    /// Loads a model in place of the present one, which answers until then.
    pub fn load(self, source: Source) {
        self.notice.set(None);
        if self.running.with_untracked(Option::is_some) {
            self.stop();
        }
        self.enter(Load::new(source, self.device.get_untracked()));
    }

    /// Gives up the load under way.
    pub fn cancel_load(self) {
        self.ask_for(Asked::Nothing, Request::Cancel);
        self.focus_prompt.notify();
    }

    /// Tries again what could not be loaded.
    pub fn load_again(self) {
        self.load(self.failed.get_value());
        self.focus_prompt.notify();
    }

    pub(crate) fn enter(self, load: Load) {
        let request = load.request();
        self.loads.update(|loads| loads.push_back(load));
        self.ask_for(Asked::Load, request);
    }

    /// Moves the model to another device.
    pub fn change_device(self, device: DeviceChoice) {
        self.device.set(device);
        if self.bare.get_value() || self.model.with_untracked(Option::is_none) {
            return self.load(self.wanted());
        }
        self.notice.set(None);
        if self.running.with_untracked(Option::is_some) {
            self.stop();
        }
        let load = Load::new(self.source(), device).beside(self.adapter.get_untracked());
        self.loads.update(|loads| loads.push_back(load));
        self.run_command(Asked::Load, Command::Move { device });
    }

    /// Has the model answer with an adapter beside it.
    pub fn adapt(self, adapter: AdapterFiles) {
        let none = self.model.with_untracked(Option::is_none);
        if none && self.loads.with_untracked(VecDeque::is_empty) {
            return self.not_a_model(&adapter, None);
        }
        self.notice.set(None);
        if self.running.with_untracked(Option::is_some) {
            self.stop();
        }
        self.enter_workshop();
        let device = self.device.get_untracked();
        let task = Task::Adapt {
            files: adapter.files.clone(),
            device,
        };
        let load = Load::new(self.wanted(), device).beside(Some(adapter));
        self.loads.update(|loads| loads.push_back(load));
        self.ask_task(Asked::Load, task);
    }

    /// Says what an adapter is, and why it is not beside the model.
    pub(crate) fn not_a_model(self, adapter: &AdapterFiles, problem: Option<String>) {
        let name = &adapter.name;
        let base = match &adapter.base {
            Some(base) => format!(", {base}"),
            None => String::new(),
        };
        let mut text = format!(
            "{name} is an adapter, not a model: load its model{base}, then drop the adapter again. It is used beside it."
        );
        if let Some(problem) = problem {
            text = format!("{text}\nIt can't be used beside the present model: {problem}");
        }
        self.fail("This is an adapter", text);
    }

    /// Where the present model comes from.
    pub(crate) fn source(self) -> Source {
        self.loaded
            .with_value(|loaded| loaded.as_ref().map(|(source, _)| source.clone()))
            .unwrap_or_else(|| self.failed.get_value())
    }

    /// Where the model comes from that the reader asked for last.
    pub(crate) fn wanted(self) -> Source {
        let coming = self
            .loads
            .with_untracked(|loads| loads.back().map(|load| load.source.clone()));
        coming.unwrap_or_else(|| self.source())
    }

    /// The first load is entered before the worker listens.
    pub(crate) fn request_first_load(self) {
        let first = self
            .loads
            .with_untracked(|loads| loads.front().map(Load::request));
        if let Some(request) = first {
            self.ask_for(Asked::Load, request);
        }
    }

    pub(crate) fn load_advanced(self, stage: LoadStage, done: u64, total: u64) {
        self.loads.update(|loads| {
            if let Some(load) = loads.front_mut() {
                load.advance(stage, done, total);
            }
        });
    }

    pub(crate) fn load_planned(self, plan: LoadPlan) {
        self.loads.update(|loads| {
            if let Some(load) = loads.front_mut() {
                load.plan = Some(plan);
            }
        });
    }

    pub(crate) fn load_found_nothing(self) {
        self.answered();
        self.load_ended();
        self.nothing_shipped.set(true);
    }

    pub(crate) fn load_finished(self, model: ModelInfo) {
        if let Some(load) = self.take_load() {
            let adapter = self.adapter.get_untracked().map(|adapter| adapter.name);
            if load.rebuilds {
                let mut text = format!(
                    "{} was loaded again, on the {}. The conversation is as it was; ask for the last reply again.",
                    model.name,
                    model.device.kind.to_uppercase()
                );
                if let Some(adapter) = adapter {
                    text = format!("{text} {adapter} is not beside it any more.");
                }
                self.fail("The GPU was lost", text);
            }
            self.adapter.set(load.adapter);
            self.loaded.set_value(Some((load.source, load.device)));
        }
        if !model.chat {
            self.set_mode(Mode::Text);
        }
        // The same model in another engine, or on another device, is looked at as before.
        let same = |before: &ModelInfo| {
            (&before.name, before.file_bytes, &before.bit_map)
                == (&model.name, model.file_bytes, &model.bit_map)
        };
        if !self
            .model
            .with_untracked(|before| before.as_ref().is_some_and(same))
        {
            if model.context < model.config.max_seq_len {
                self.inform("Its context is shorter here", shorter(&model));
            }
            self.explorer.reset(&model);
            self.asked.update_value(|all| {
                for asked in all.iter_mut().filter(|asked| **asked == Asked::Weights) {
                    *asked = Asked::Stale;
                }
            });
        }
        self.tuner.reset();
        self.bare.set_value(false);
        self.model.set(Some(model));
        // Whoever is using another part of the page meanwhile keeps the keyboard there.
        let elsewhere = document()
            .active_element()
            .is_some_and(|element| element.tag_name() != "BODY");
        if !elsewhere {
            self.focus_prompt.notify();
        }
    }

    pub(crate) fn load_failed(self, message: String) {
        match self.load_ended() {
            None => self.fail("The engine reports a failure", message),
            Some(load) if load.rebuilds && load.device != DeviceChoice::Cpu => {
                self.rebuild(load.source, DeviceChoice::Cpu);
            }
            Some(Load {
                adapter: Some(adapter),
                ..
            }) if !adapter.files.is_empty() => self.not_a_model(&adapter, Some(message)),
            Some(_) => self.fail("The model could not be loaded", message),
        }
    }

    pub(crate) fn load_unreachable(self, message: String) {
        self.load_ended();
        self.tell("The model could not be fetched", message, Some("Try again"));
    }

    pub(crate) fn load_damaged(self, message: String, url: String) {
        self.load_ended();
        self.failed.set_value(Source::Url(url));
        self.tell(
            "The kept copy is damaged",
            message,
            Some("Download it again"),
        );
    }

    pub(crate) fn load_cancelled(self) {
        let had = self.model.with_untracked(Option::is_some);
        let Some(load) = self.load_ended() else {
            return;
        };
        let none = self.model.with_untracked(Option::is_none);
        if had && none && self.loads.with_untracked(VecDeque::is_empty) {
            let name = load.source.name();
            self.tell(
                "No model is loaded",
                format!("{name} was given up while it was loaded for this part of the page."),
                Some("Load it again"),
            );
        }
    }

    /// The GPU is gone: the same model, on another device if there is one, else on the CPU. The conversation stays.
    pub(crate) fn device_lost(self) {
        self.model.set(None);
        let device = self.device.get_untracked();
        self.rebuild(self.source(), device);
    }

    pub(crate) fn rebuild(self, source: Source, device: DeviceChoice) {
        self.device.set(device);
        self.enter(Load {
            rebuilds: true,
            ..Load::new(source, device)
        });
    }

    /// The load under way came to nothing; what was there before is there still, unless it was another engine's.
    pub(crate) fn load_ended(self) -> Option<Load> {
        let load = self.take_load()?;
        self.failed.set_value(load.source.clone());
        if self.bare.get_value() {
            self.model.set(None);
        }
        if let Some((_, device)) = self.loaded.get_value() {
            // The model that still answers runs where it ran.
            self.device.set(device);
        }
        Some(load)
    }

    pub(crate) fn take_load(self) -> Option<Load> {
        self.loads.try_update(|loads| loads.pop_front()).flatten()
    }
}

/// Why a model reads less at once than it could.
fn shorter(model: &ModelInfo) -> String {
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
