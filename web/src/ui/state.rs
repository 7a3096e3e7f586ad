//! What the page knows, and what can be done with it. Components read the signals and call the methods; only this module
//! talks to the engine.

use std::collections::VecDeque;

use leptos::prelude::*;
use ternary::session::{Command, DeviceChoice, Event, ModelInfo, Work};

pub use super::chat::conversation::{Exchange, Mode, Outcome, Running};
pub use super::chat::kept_chats::Chats;
use super::chat::reader::Reader;
pub use super::chat::record::{Head, is_export};
pub use super::chat::settings::{MAX_SEED, Settings};
use super::engine::{Engine, Program};
pub use super::explorer::state::{Cell, Explorer, file_size, matrix_sizes, rows};
pub use super::models::import::Importer;
pub use super::models::loading::{AdapterFiles, Load, LoadStage};
pub use super::tuner::state::{Phase, Tuner};
use crate::protocol::{Report, Request, Shelf, Source, Task};
use crate::ui::widgets::files;

/// What the page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Talking, in the present [`Mode`].
    Chat,
    Text,
    Map,
    Tune,
}

/// What a request is answered by, and what its failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Reply,
    Load,
    Measure,
    Plan,
    Tune,
    Texts,
    Weights,
    /// Of a model that went meanwhile: nobody is interested any more.
    Stale,
    /// Its failure is only told.
    Other,
    /// Nothing answers.
    Nothing,
}

/// A failure, shown until it is dismissed or something newer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub title: String,
    pub detail: String,
    /// Something went wrong; otherwise it is only good to know.
    pub failure: bool,
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
    /// The adapter beside the model.
    pub adapter: RwSignal<Option<AdapterFiles>, LocalStorage>,
    /// The page came without a model and none was chosen yet.
    pub nothing_shipped: RwSignal<bool>,
    pub tab: RwSignal<Tab>,
    pub mode: RwSignal<Mode>,
    pub explorer: Explorer,
    pub tuner: Tuner,
    pub importer: Importer,
    /// The exchanges of the open conversation.
    pub chat: RwSignal<Vec<Exchange>>,
    pub chats: Chats,
    pub texts: RwSignal<Vec<Exchange>>,
    pub draft: RwSignal<String>,
    pub running: RwSignal<Option<Running>>,
    pub notice: RwSignal<Option<Notice>>,
    pub settings: RwSignal<Settings>,
    pub panel_open: RwSignal<bool>,
    /// The list of conversations, where there is no room to have it always.
    pub chats_open: RwSignal<bool>,
    /// The models kept in this browser.
    pub shelf: RwSignal<Shelf>,
    /// A file is being copied there.
    pub keeping: RwSignal<bool>,
    /// Raised when the prompt should have the keyboard.
    pub focus_prompt: Trigger,
    /// Raised when a reply was drawn.
    pub drawn: Trigger,
    /// The reader went somewhere: back leads to where that was.
    pub(crate) moved: StoredValue<bool>,
    pub(crate) exchange_count: StoredValue<usize>,
    /// Requests that wait for their answer; the engine answers in order.
    pub(crate) asked: StoredValue<VecDeque<Asked>>,
    pub(crate) engine: StoredValue<Option<Engine>, LocalStorage>,
    pub(crate) program: StoredValue<Program>,
    /// Started with the first reply.
    pub(crate) reader: StoredValue<Option<Reader>, LocalStorage>,
    /// Requests for an engine that does not listen yet; none once it does.
    pub(crate) backlog: StoredValue<Option<Vec<(Asked, Request)>>, LocalStorage>,
    /// The engine has no model yet, not even the one that answered before it was started.
    pub(crate) bare: StoredValue<bool>,
    /// Where the loaded model came from, and the device it was asked to run on.
    pub(crate) loaded: StoredValue<Option<(Source, DeviceChoice)>, LocalStorage>,
    /// The last that could not be loaded: what to try again.
    pub(crate) failed: StoredValue<Source, LocalStorage>,
}

impl AppState {
    /// Starts the engine; `source` is loaded as soon as it listens.
    pub fn start(source: Source, device: DeviceChoice) -> Self {
        let state = Self {
            model: RwSignal::new(None),
            loads: RwSignal::new_local(VecDeque::new()),
            device: RwSignal::new(device),
            adapter: RwSignal::new_local(None),
            nothing_shipped: RwSignal::new(false),
            tab: RwSignal::new(Tab::Chat),
            mode: RwSignal::new(Mode::Chat),
            explorer: Explorer::new(),
            tuner: Tuner::new(),
            importer: Importer::new(),
            chat: RwSignal::new(Vec::new()),
            chats: Chats::new(),
            texts: RwSignal::new(Vec::new()),
            draft: RwSignal::new(String::new()),
            running: RwSignal::new(None),
            notice: RwSignal::new(None),
            settings: RwSignal::new(Settings::restore()),
            panel_open: RwSignal::new(false),
            chats_open: RwSignal::new(false),
            shelf: RwSignal::new(Shelf::default()),
            keeping: RwSignal::new(false),
            focus_prompt: Trigger::new(),
            drawn: Trigger::new(),
            moved: StoredValue::new(false),
            exchange_count: StoredValue::new(0),
            asked: StoredValue::new(VecDeque::new()),
            engine: StoredValue::new_local(None),
            program: StoredValue::new(Program::Talk),
            reader: StoredValue::new_local(None),
            backlog: StoredValue::new_local(None),
            bare: StoredValue::new(true),
            loaded: StoredValue::new_local(None),
            failed: StoredValue::new_local(Source::Shipped),
        };
        state.start_engine(source);
        Effect::new(move |_| state.settings.with(Settings::keep));
        state.begin_chats();
        state.follow_history();
        state
    }

    /// A model is there and nothing is under way.
    pub fn ready(self) -> bool {
        self.model.with(Option::is_some)
            && self.loads.with(VecDeque::is_empty)
            && self.running.with(Option::is_none)
            && self.chats.opening.with(Option::is_none)
            && self.tuner.phase.get() != Phase::Running
            && !self
                .notice
                .with(|notice| notice.as_ref().is_some_and(|notice| notice.engine_died))
    }

    pub fn reader(self) -> Reader {
        if let Some(reader) = self.reader.get_value() {
            return reader;
        }
        let reader = Reader::start();
        self.reader.set_value(Some(reader.clone()));
        reader
    }

    /// A new engine in place of one that died, with the same model.
    pub fn restart_engine(self) {
        self.notice.set(None);
        self.start_engine(self.wanted());
    }

    pub fn fail(self, title: &str, detail: String) {
        self.tell(title, detail, None);
    }

    /// Tells what is no failure.
    pub fn inform(self, title: &str, detail: String) {
        self.fail(title, detail);
        self.notice.update(|notice| {
            if let Some(notice) = notice {
                notice.failure = false;
            }
        });
    }

    pub(crate) fn tell(self, title: &str, detail: String, again: Option<&'static str>) {
        self.notice.set(Some(Notice {
            title: title.to_owned(),
            detail,
            failure: true,
            engine_died: false,
            again,
        }));
    }

    pub fn dismiss_notice(self) {
        self.notice.set(None);
        self.focus_prompt.notify();
    }

    pub(crate) fn start_engine(self, source: Source) {
        self.loads.set(VecDeque::from([Load::new(
            source,
            self.device.get_untracked(),
        )]));
        self.backlog.set_value(Some(Vec::new()));
        self.bare.set_value(true);
        match Engine::start(self.program.get_value(), move |report| self.hear(report)) {
            Ok(engine) => self.engine.set_value(Some(engine)),
            Err(problem) => self.engine_died(problem),
        }
    }

    pub(crate) fn hear(self, report: Report) {
        match report {
            Report::Ready => {
                let waiting = self.backlog.try_update_value(Option::take).flatten();
                self.list_kept();
                self.request_first_load();
                for (asked, request) in waiting.into_iter().flatten() {
                    self.ask_for(asked, request);
                }
            }
            Report::Fetched { done, total } => self.load_advanced(LoadStage::Fetching, done, total),
            Report::NothingShipped => self.load_found_nothing(),
            Report::Cancelled => {
                self.answered();
                self.load_cancelled();
            }
            Report::Unreachable(message) => {
                self.answered();
                self.load_unreachable(message);
            }
            Report::Damaged { message, url } => {
                self.answered();
                self.load_damaged(message, url);
            }
            Report::Shelf(shelf) => self.shelf_came(shelf),
            Report::Save { name, file } => self.save_kept(&name, &file),
            Report::ShelfFailed(message) => self.fail("The kept models", message),
            Report::DeviceLost => self.device_lost(),
            Report::Panicked(message) => self.engine_died(message),
            Report::TuneSaved { step } => self.tune_saved(step),
            Report::Unfinished { step, steps } => self.tune_left(step, steps),
            Report::Texts(texts) => {
                self.answered();
                self.texts_came(texts);
            }
            Report::Event(event) => self.hear_engine(event),
            // Imports have an engine of their own.
            Report::Surveyed(_) | Report::Importing { .. } | Report::Imported { .. } => {}
        }
    }

    pub(crate) fn hear_engine(self, event: Event) {
        match event {
            Event::Planned { plan } => self.load_planned(*plan),
            Event::Progress { done, total } => {
                self.load_advanced(LoadStage::Reading, done, total);
            }
            Event::Token { text } => self.reply_grew(&text),
            Event::TuneStarted {
                plan,
                settings,
                points,
            } => self.tune_started(plan, *settings, points),
            Event::TunePoint { point } => self.tuner.points.update(|all| all.push(point)),
            Event::TuneSample { sample } => self.tuner.samples.update(|all| all.push(sample)),
            Event::TuneChanges { changes, .. } => self.tuner.changes.set(changes),
            // The worker keeps the one; this page never asks for the other.
            Event::TuneState { .. } | Event::Logits { .. } => {}
            // The rest ends a request.
            Event::Loaded { model } => {
                self.answered();
                self.load_finished(*model);
            }
            Event::Finished { reason, stats } => {
                self.answered();
                self.reply_finished(reason, stats);
            }
            Event::Weights { weights } => {
                self.answered();
                self.weights_came(*weights);
            }
            Event::Compared { name, changes } => {
                self.answered();
                self.compared(name, changes);
            }
            Event::Measured { measured } => {
                self.answered();
                self.measured(*measured);
            }
            Event::File { name, bytes } => {
                self.answered();
                if let Err(problem) = files::save(&name, &bytes) {
                    self.fail("The file could not be saved", problem);
                }
            }
            Event::TunePlan { plan } => {
                self.answered();
                self.tuner.plan.set(Some(plan));
            }
            Event::TuneStopped { done, .. } => {
                self.answered();
                self.tune_stopped(done);
            }
            Event::Error { message } => match self.answered() {
                // Why there is none was told.
                Some(Asked::Measure | Asked::Plan | Asked::Weights | Asked::Other)
                    if self.model.with_untracked(Option::is_none) =>
                {
                    self.explorer.measuring.set(false);
                }
                Some(Asked::Reply) => self.reply_failed(message),
                Some(Asked::Load) | None => self.load_failed(message),
                Some(Asked::Measure) => {
                    self.explorer.measuring.set(false);
                    self.fail("The text could not be measured", message);
                }
                Some(Asked::Plan) => {
                    self.tuner.plan.set(None);
                    self.tuner.problem.set(Some(message));
                }
                Some(Asked::Tune) => self.tune_failed(message),
                Some(Asked::Texts) => self.texts_failed(message),
                Some(Asked::Stale) => {}
                Some(Asked::Weights | Asked::Other | Asked::Nothing) => {
                    self.fail("The engine could not do that", message);
                }
            },
        }
    }

    /// Takes note that the oldest request was answered.
    pub(crate) fn answered(self) -> Option<Asked> {
        self.asked.try_update_value(VecDeque::pop_front).flatten()
    }

    /// Asks the engine.
    pub(crate) fn run_command(self, asked: Asked, command: Command) {
        self.ask_for(asked, Request::Run(command));
    }

    /// Asks the workshop.
    pub(crate) fn run_work(self, asked: Asked, work: Work) {
        self.ask_task(asked, Task::Work(work));
    }

    pub(crate) fn ask_task(self, asked: Asked, task: Task) {
        self.ask_for(asked, Request::Task(task));
    }

    pub(crate) fn ask_for(self, asked: Asked, request: Request) {
        let mut request = Some(request);
        self.backlog.update_value(|backlog| {
            if let Some(backlog) = backlog {
                backlog.extend(request.take().map(|request| (asked, request)));
            }
        });
        if let Some(request) = request {
            if asked != Asked::Nothing {
                self.asked.update_value(|all| all.push_back(asked));
            }
            self.request(&request);
        }
    }

    /// Sees to it that the engine is the workshop; it takes the model along.
    pub(crate) fn enter_workshop(self) {
        if self.program.get_value() == Program::Workshop || self.engine.with_value(Option::is_none)
        {
            return;
        }
        if self.running.with_untracked(Option::is_some) {
            self.end_reply(Outcome::Interrupted);
        }
        self.program.set_value(Program::Workshop);
        self.asked.set_value(VecDeque::new());
        // What was on its way into the other engine is what the reader wants.
        self.start_engine(self.wanted());
    }

    pub(crate) fn engine_died(self, message: String) {
        self.engine.set_value(None);
        self.asked.set_value(VecDeque::new());
        self.explorer.measuring.set(false);
        if self.tuner.phase.get_untracked() != Phase::None {
            self.tuner.reset();
        }
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
            failure: true,
            engine_died: true,
            again: None,
        }));
    }

    pub(crate) fn request(self, request: &Request) {
        let sent = self.engine.with_value(|engine| match engine {
            Some(engine) => engine.send(request),
            None => Err("it is not running".to_owned()),
        });
        if let Err(problem) = sent {
            self.engine_died(format!("The engine can't be asked: {problem}"));
        }
    }
}
