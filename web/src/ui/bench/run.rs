//! A run of the suite: part after part, each in a worker of its own, so that one that crashes or
//! hangs costs that part alone.

use std::time::Duration;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use serde_json::{Map, Value};
use ternary::session::Event;
use ternary::session::suite::{Part, Report, SuiteOptions};

use crate::protocol::{Notification, Request, Response, Task};
use crate::ui::engine::{Connection, Program};

const TITLE: &str = "Ternary-Core in a browser (?bench)";

/// How a part is getting on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Running,
    Done,
    Failed(String),
    /// There is nothing to compare.
    LeftOut,
    Stopped,
}

impl State {
    pub fn name(&self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Done => "done",
            State::Failed(_) => "failed",
            State::LeftOut => "left-out",
            State::Stopped => "stopped",
        }
    }
}

/// A handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Run {
    pub report: RwSignal<Report>,
    pub states: RwSignal<Vec<State>>,
    /// What the running part said last.
    pub line: RwSignal<String>,
    options: RwSignal<SuiteOptions>,
    /// Of the parts begun so far: what belongs to an earlier one is too late.
    attempt: StoredValue<u32>,
    now: StoredValue<Option<Running>, LocalStorage>,
}

/// The part that is under way.
#[derive(Clone)]
struct Running {
    index: usize,
    began: f64,
    found: Map<String, Value>,
    problem: Option<String>,
    limit: Option<TimeoutHandle>,
    /// Held: without a handle the worker ends.
    worker: Option<Connection>,
}

impl Run {
    pub fn new(quick: bool) -> Self {
        let browser = window().navigator().user_agent().unwrap_or_default();
        Self {
            report: RwSignal::new(Report::new(TITLE, quick)),
            states: RwSignal::new(Vec::new()),
            line: RwSignal::new(String::new()),
            options: RwSignal::new(SuiteOptions {
                quick,
                browser: Some(browser),
                without_gpu: false,
            }),
            attempt: StoredValue::new(0),
            now: StoredValue::new_local(None),
        }
    }

    pub fn state(self, part: Part) -> State {
        let at = Part::ALL.iter().position(|other| *other == part);
        let state = |all: &Vec<State>| all.get(at?).cloned();
        self.states.with(state).unwrap_or(State::Waiting)
    }

    pub fn is_running(self) -> bool {
        self.states.with(|all| all.contains(&State::Running))
    }

    /// How far it is, or what came of it.
    pub fn told(self) -> String {
        let running = self.states.with(|all| {
            let at = all.iter().position(|state| *state == State::Running)?;
            let part = Part::ALL.get(at)?;
            Some(format!(
                "Part {} of {}: {}",
                at + 1,
                Part::ALL.len(),
                part.title()
            ))
        });
        running.unwrap_or_else(|| {
            if self.states.with(|all| all.contains(&State::Stopped)) {
                return "Stopped. The report holds what was found until then.".to_owned();
            }
            let failed = self.report.with(|report| report.failures().len());
            match (failed, self.options.with(|options| options.without_gpu)) {
                (0, true) => "Done. WebGPU is not available here; the CPU was measured.".to_owned(),
                (0, false) => "Done. All that was compared agrees with the CPU.".to_owned(),
                (1, _) => "Done. One part failed.".to_owned(),
                (failed, _) => format!("Done. {failed} parts failed."),
            }
        })
    }

    /// Runs all parts.
    pub fn begin(self) {
        let quick = self.options.with_untracked(|options| options.quick);
        self.options.update(|options| options.without_gpu = false);
        self.report.set(Report::new(TITLE, quick));
        self.states.set(vec![State::Waiting; Part::ALL.len()]);
        self.start(0);
    }

    /// Ends it as it stands.
    pub fn stop(self) {
        let next = || {
            let waits = |all: &Vec<State>| all.iter().position(|state| *state == State::Waiting);
            self.states.with_untracked(waits)
        };
        let at = self.take_running().map(|running| running.index);
        if let Some(at) = at.or_else(next) {
            self.set_state(at, State::Stopped);
        }
    }

    fn start(self, index: usize) {
        let options = self.options.get_untracked();
        let Some(part) = Part::ALL.get(index).copied() else {
            self.line.set(String::new());
            return;
        };
        if options.without_gpu && part.compares() {
            self.set_state(index, State::LeftOut);
            return self.start(index + 1);
        }
        self.attempt.update_value(|attempt| *attempt += 1);
        let attempt = self.attempt.get_value();
        self.set_state(index, State::Running);
        self.line.set(String::new());
        self.now.set_value(Some(Running {
            index,
            began: js_sys::Date::now(),
            found: Map::new(),
            problem: None,
            limit: None,
            worker: None,
        }));
        let on_notification = move |notification| {
            if let Notification::Panicked(message) = notification {
                self.end(attempt, Some(format!("it crashed: {message}")));
            }
        };
        let worker = match Connection::start(Program::Full, on_notification) {
            Ok(worker) => worker,
            Err(problem) => return self.end(attempt, Some(problem)),
        };
        let rates = self
            .report
            .with_untracked(|report| report.part(Part::Rates).to_string());
        let limit = part.limit(&options);
        let task = Task::Measure {
            part,
            options,
            rates,
        };
        let on_response = move |_, response| self.on_response(attempt, response);
        if let Err(problem) = worker.request(Request::Task(task), on_response) {
            return self.end(attempt, Some(problem));
        }
        let too_long = move || {
            let why = format!(
                "it was still at work after {:.0} s and was ended",
                limit.as_secs_f64()
            );
            self.end(attempt, Some(why));
        };
        let limit = set_timeout_with_handle(too_long, limit).ok();
        self.now.update_value(|now| {
            if let Some(now) = now {
                (now.worker, now.limit) = (Some(worker), limit);
            }
        });
    }

    fn is_current(self, attempt: u32) -> bool {
        self.attempt.get_value() == attempt
    }

    fn on_response(self, attempt: u32, response: Response) {
        if !self.is_current(attempt) {
            return;
        }
        match response {
            Response::Measuring { line, found } => {
                if let Some(line) = line {
                    self.line.set(line);
                }
                if let Some(found) = found {
                    let found = serde_json::from_str(&found).unwrap_or_default();
                    self.now.update_value(|now| {
                        if let Some(now) = now {
                            now.found = found;
                        }
                    });
                    if let Some(now) = self.now.get_value() {
                        self.put(&now, None);
                    }
                }
            }
            Response::Event(Event::Error { message }) => self.now.update_value(|now| {
                if let Some(now) = now {
                    now.problem = Some(message);
                }
            }),
            Response::Done => self.end(attempt, None),
            _ => {}
        }
    }

    /// Into the report.
    fn put(self, running: &Running, failed: Option<&str>) {
        let Some(part) = Part::ALL.get(running.index) else {
            return;
        };
        let took = (js_sys::Date::now() - running.began).max(0.0) / 1e3;
        let took = Duration::from_secs_f64(took);
        self.report
            .update(|report| report.set(*part, failed, took, running.found.clone()));
    }

    /// The part that runs, which is none any more: its worker ends.
    fn take_running(self) -> Option<Running> {
        self.attempt.update_value(|attempt| *attempt += 1);
        let running = self.now.try_update_value(Option::take).flatten()?;
        if let Some(limit) = &running.limit {
            limit.clear();
        }
        Some(running)
    }

    /// A part is over, and the next begins. `failed`: why it did not end by itself.
    fn end(self, attempt: u32, failed: Option<String>) {
        if !self.is_current(attempt) {
            return;
        }
        let Some(running) = self.take_running() else {
            return;
        };
        let failed = failed.or_else(|| running.problem.clone());
        self.put(&running, failed.as_deref());
        let index = running.index;
        if index == 0 {
            self.heed(&running.found, failed.is_some());
        }
        self.set_state(index, failed.map_or(State::Done, State::Failed));
        // The worker's own message is being handled: it ends after that.
        set_timeout(move || drop(running), Duration::ZERO);
        self.start(index + 1);
    }

    /// What the adapter is decides what the rest can be.
    fn heed(self, found: &Map<String, Value>, failed: bool) {
        let is = |name: &str| found.get(name).is_some_and(|value| !value.is_null());
        let software = found.get("software") == Some(&Value::Bool(true));
        self.options.update(|options| {
            options.without_gpu = failed || is("missing");
            options.quick |= software;
        });
        if software {
            self.report.update(Report::be_quick);
        }
    }

    fn set_state(self, index: usize, state: State) {
        self.states.update(|all| {
            if let Some(of) = all.get_mut(index) {
                *of = state;
            }
        });
    }
}
