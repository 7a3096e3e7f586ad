//! What the page knows, and what can be done with it. Components read the signals and call the methods; only this module
//! talks to the engine.

mod conversation;
mod loading;
mod settings;
mod shelf;

use std::collections::VecDeque;

use leptos::prelude::*;
use ternary_core::session::{DeviceChoice, Event, ModelInfo};

use super::engine::Engine;
use crate::protocol::{Report, Shelf, Source};
pub use conversation::{Exchange, Mode, Outcome, Running};
pub use loading::{Load, LoadStage};
pub use settings::{MAX_SEED, Settings};

/// A failure, shown until it is dismissed or something newer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub title: String,
    pub detail: String,
    /// The engine is gone and must be started again.
    pub engine_died: bool,
    /// Says on a button that the load that failed can be tried again.
    pub again: Option<&'static str>,
}

/// The state of the page: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct AppState {
    pub model: RwSignal<Option<ModelInfo>>,
    /// What is being loaded, first the one under way.
    pub loads: RwSignal<VecDeque<Load>, LocalStorage>,
    /// The device asked for.
    pub device: RwSignal<DeviceChoice>,
    /// The page came without a model and none was chosen yet.
    pub nothing_shipped: RwSignal<bool>,
    pub mode: RwSignal<Mode>,
    pub chat: RwSignal<Vec<Exchange>>,
    pub texts: RwSignal<Vec<Exchange>>,
    pub draft: RwSignal<String>,
    pub running: RwSignal<Option<Running>>,
    pub notice: RwSignal<Option<Notice>>,
    pub settings: RwSignal<Settings>,
    pub panel_open: RwSignal<bool>,
    /// The models kept in this browser.
    pub shelf: RwSignal<Shelf>,
    /// A file is being copied there.
    pub keeping: RwSignal<bool>,
    /// Raised when the prompt should have the keyboard.
    pub focus_prompt: Trigger,
    exchange_count: StoredValue<usize>,
    engine: StoredValue<Option<Engine>, LocalStorage>,
    /// Where the loaded model came from, and the device it was asked to run on.
    loaded: StoredValue<Option<(Source, DeviceChoice)>, LocalStorage>,
    /// The last that could not be loaded: what to try again.
    failed: StoredValue<Source, LocalStorage>,
}

impl AppState {
    /// Starts the engine; `source` is loaded as soon as it listens.
    pub fn start(source: Source, device: DeviceChoice) -> Self {
        let state = Self {
            model: RwSignal::new(None),
            loads: RwSignal::new_local(VecDeque::new()),
            device: RwSignal::new(device),
            nothing_shipped: RwSignal::new(false),
            mode: RwSignal::new(Mode::Chat),
            chat: RwSignal::new(Vec::new()),
            texts: RwSignal::new(Vec::new()),
            draft: RwSignal::new(String::new()),
            running: RwSignal::new(None),
            notice: RwSignal::new(None),
            settings: RwSignal::new(Settings::restore()),
            panel_open: RwSignal::new(false),
            shelf: RwSignal::new(Shelf::default()),
            keeping: RwSignal::new(false),
            focus_prompt: Trigger::new(),
            exchange_count: StoredValue::new(0),
            engine: StoredValue::new_local(None),
            loaded: StoredValue::new_local(None),
            failed: StoredValue::new_local(Source::Shipped),
        };
        state.start_engine(source);
        Effect::new(move |_| state.settings.with(Settings::keep));
        state
    }

    /// A model is there and nothing is under way.
    pub fn ready(self) -> bool {
        self.model.with(Option::is_some)
            && self.loads.with(VecDeque::is_empty)
            && self.running.with(Option::is_none)
            && !self
                .notice
                .with(|notice| notice.as_ref().is_some_and(|notice| notice.engine_died))
    }

    /// A new engine in place of one that died, with the same model.
    pub fn restart_engine(self) {
        self.notice.set(None);
        self.start_engine(self.source());
    }

    pub fn fail(self, title: &str, detail: String) {
        self.tell(title, detail, None);
    }

    fn tell(self, title: &str, detail: String, again: Option<&'static str>) {
        self.notice.set(Some(Notice {
            title: title.to_owned(),
            detail,
            engine_died: false,
            again,
        }));
    }

    pub fn dismiss_notice(self) {
        self.notice.set(None);
        self.focus_prompt.notify();
    }

    fn start_engine(self, source: Source) {
        self.loads.set(VecDeque::from([Load::new(
            source,
            self.device.get_untracked(),
        )]));
        match Engine::start(move |report| self.hear(report)) {
            Ok(engine) => self.engine.set_value(Some(engine)),
            Err(problem) => self.engine_died(problem),
        }
    }

    fn hear(self, report: Report) {
        match report {
            Report::Ready => {
                self.list_kept();
                self.request_first_load();
            }
            Report::Fetched { done, total } => self.load_advanced(LoadStage::Fetching, done, total),
            Report::NothingShipped => self.load_found_nothing(),
            Report::Cancelled => self.load_cancelled(),
            Report::Unreachable(message) => self.load_unreachable(message),
            Report::Damaged { message, url } => self.load_damaged(message, url),
            Report::Shelf(shelf) => self.shelf_came(shelf),
            Report::ShelfFailed(message) => self.fail("The kept models", message),
            Report::DeviceLost => self.device_lost(),
            Report::Panicked(message) => self.engine_died(message),
            Report::Event(event) => match event {
                Event::Planned { plan } => self.load_planned(*plan),
                Event::Progress { done, total } => {
                    self.load_advanced(LoadStage::Reading, done, total);
                }
                Event::Loaded { model } => self.load_finished(*model),
                Event::Token { text } => self.reply_grew(&text),
                Event::Finished { reason, stats } => self.reply_finished(reason, stats),
                // Requests are answered in order, and a load always comes after the reply it interrupts.
                Event::Error { message } if self.running.with_untracked(Option::is_some) => {
                    self.reply_failed(message);
                }
                Event::Error { message } => self.load_failed(message),
                // Answers to what this page does not ask.
                _ => {}
            },
        }
    }

    fn engine_died(self, message: String) {
        self.engine.set_value(None);
        let interrupted = self.loads.try_update(std::mem::take).unwrap_or_default();
        if let Some(load) = interrupted.into_iter().next() {
            self.failed.set_value(load.source);
        }
        if self.running.with_untracked(Option::is_some) {
            self.end_reply(Outcome::Failed);
        }
        self.notice.set(Some(Notice {
            title: "The engine stopped".to_owned(),
            detail: message,
            engine_died: true,
            again: None,
        }));
    }

    fn request(self, request: &crate::protocol::Request) {
        let sent = self.engine.with_value(|engine| match engine {
            Some(engine) => engine.send(request),
            None => Err("it is not running".to_owned()),
        });
        if let Err(problem) = sent {
            self.engine_died(format!("The engine can't be asked: {problem}"));
        }
    }
}
