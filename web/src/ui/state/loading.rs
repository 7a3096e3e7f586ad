//! Models: asking for one, following it, and keeping the old one when it fails.

use leptos::prelude::*;
use ternary_core::session::{Command, DeviceChoice, ModelInfo};

use super::{AppState, Asked, Mode};
use crate::protocol::{Request, Source};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStage {
    /// Asked for; nothing has arrived.
    Waiting,
    /// From the server to the browser.
    Fetching,
    /// From the browser into the engine.
    Reading,
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
}

impl Load {
    pub fn new(source: Source, device: DeviceChoice) -> Self {
        Self {
            source,
            device,
            stage: LoadStage::Waiting,
            done: 0,
            total: 0,
        }
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
        let load = Load::new(source, self.device.get_untracked());
        let request = load.request();
        self.loads.update(|loads| loads.push_back(load));
        self.ask_for(Asked::Load, &request);
    }

    /// Moves the model to another device.
    pub fn change_device(self, device: DeviceChoice) {
        self.device.set(device);
        if self.model.with_untracked(Option::is_none) {
            return self.load(self.source());
        }
        self.notice.set(None);
        if self.running.with_untracked(Option::is_some) {
            self.stop();
        }
        let load = Load::new(self.source(), device);
        self.loads.update(|loads| loads.push_back(load));
        self.run_command(Asked::Load, Command::Move { device });
    }

    /// Where the present model comes from.
    pub(super) fn source(self) -> Source {
        self.loaded
            .with_value(|loaded| loaded.as_ref().map(|(source, _)| source.clone()))
            .unwrap_or_else(|| self.failed.get_value())
    }

    /// The first load is entered before the worker listens.
    pub(super) fn request_first_load(self) {
        let first = self
            .loads
            .with_untracked(|loads| loads.front().map(Load::request));
        if let Some(request) = first {
            self.ask_for(Asked::Load, &request);
        }
    }

    pub(super) fn load_advanced(self, stage: LoadStage, done: u64, total: u64) {
        self.loads.update(|loads| {
            if let Some(load) = loads.front_mut() {
                (load.stage, load.done, load.total) = (stage, done, total);
            }
        });
    }

    pub(super) fn load_found_nothing(self) {
        self.answered();
        self.take_load();
        self.nothing_shipped.set(true);
    }

    pub(super) fn load_finished(self, model: ModelInfo) {
        if let Some(load) = self.take_load() {
            self.loaded.set_value(Some((load.source, load.device)));
        }
        if !model.chat {
            self.set_mode(Mode::Text);
        } else if self.model.with_untracked(Option::is_none) {
            self.set_mode(Mode::Chat);
        }
        self.explorer.reset(&model);
        self.tuner.reset();
        self.model.set(Some(model));
        // Whoever is using another part of the page meanwhile keeps the keyboard there.
        let elsewhere = document()
            .active_element()
            .is_some_and(|element| element.tag_name() != "BODY");
        if !elsewhere {
            self.focus_prompt.notify();
        }
    }

    pub(super) fn load_failed(self, message: String) {
        let Some(load) = self.take_load() else {
            return self.fail("The engine reports a failure", message);
        };
        match self.loaded.get_value() {
            // The model that still answers runs where it ran.
            Some((_, device)) => self.device.set(device),
            None => self.failed.set_value(load.source),
        }
        self.fail("The model could not be loaded", message);
    }

    fn take_load(self) -> Option<Load> {
        self.loads.try_update(|loads| loads.pop_front()).flatten()
    }
}
