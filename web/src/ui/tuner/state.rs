//! Fine-tuning: its settings, its progress, what becomes of it.

use std::sync::Arc;

use leptos::prelude::*;
use ternary::session::{
    Event, Keep, MatrixDiff, ModelTask, Sampled, TunePlan, TunePoint, TuneSettings,
};

use crate::js::describe;
use crate::protocol::{
    Handle, LARGEST_TEXT, Notification, RequestId, Response, Source, Task, TextFile, Texts,
};
use crate::ui::engine::{Engine, EngineEvent, ModelRequest};
use crate::ui::page::{Page, Step, Tab};
use crate::ui::widgets::figures;
use crate::ui::widgets::picked::Found;
use crate::ui::widgets::storage::storage;

/// Names that are told of many.
const TOLD: usize = 6;

/// Set in the browser's storage while what it keeps of a fine-tuning is to go: deleting takes
/// longer than leaving the page.
const GIVEN_UP: &str = "ternary-core.fine-tuning-given-up";

/// Where a fine-tuning is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    #[default]
    None,
    Running,
    /// It stands still and can go on.
    Paused,
    /// All steps are done.
    Done,
}

/// The fine-tuning and what it learns from: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Tuner {
    engine: Engine,
    page: Page,
    pub settings: RwSignal<TuneSettings>,
    /// The files that the text is of, and what there is to say of them.
    pub files: RwSignal<Option<Vec<String>>>,
    /// Files that came with them and are no texts.
    others: StoredValue<Vec<String>>,
    pub phase: RwSignal<Phase>,
    /// Asked to pause; it does so after its step.
    pub pausing: RwSignal<bool>,
    /// What it would take, or takes.
    pub plan: RwSignal<Option<TunePlan>>,
    /// Why it can't be planned.
    pub problem: RwSignal<Option<String>>,
    pub points: RwSignal<Vec<TunePoint>>,
    pub samples: RwSignal<Vec<Sampled>>,
    pub changes: RwSignal<Vec<MatrixDiff>>,
    /// The step whose state the browser keeps.
    pub saved: RwSignal<Option<usize>>,
    /// Step and steps of a fine-tuning that an earlier visit left.
    pub unfinished: RwSignal<Option<(usize, usize)>>,
    /// What asked for the present plan.
    planning: StoredValue<Option<RequestId>>,
    /// What asked for the fine-tuning, and for going on with it. None of one that was given up:
    /// what the browser still keeps of that is not to be offered.
    runs: StoredValue<Vec<RequestId>>,
}

pub fn use_tuner() -> Tuner {
    expect_context()
}

impl Tuner {
    pub fn new(engine: Engine, page: Page) -> Self {
        let tuner = Tuner {
            engine,
            page,
            settings: RwSignal::new(TuneSettings::default()),
            files: RwSignal::new(None),
            others: StoredValue::new(Vec::new()),
            phase: RwSignal::new(Phase::None),
            pausing: RwSignal::new(false),
            plan: RwSignal::new(None),
            problem: RwSignal::new(None),
            points: RwSignal::new(Vec::new()),
            samples: RwSignal::new(Vec::new()),
            changes: RwSignal::new(Vec::new()),
            saved: RwSignal::new(None),
            unfinished: RwSignal::new(None),
            planning: StoredValue::new(None),
            runs: StoredValue::new(Vec::new()),
        };
        engine.busy_while(Signal::derive(move || tuner.phase.get() == Phase::Running));
        engine.listen(move |event| tuner.on_event(event));
        tuner
    }

    fn on_event(self, event: &EngineEvent) {
        match event {
            EngineEvent::ModelLoaded { .. } => self.reset(),
            EngineEvent::Died(_) if self.phase.get_untracked() != Phase::None => self.reset(),
            EngineEvent::Notification(Notification::TuneSaved { request, step }) => {
                self.on_saved(*request, *step);
            }
            EngineEvent::Notification(Notification::UnfinishedTune { step, steps }) => {
                self.on_unfinished(*step, *steps);
            }
            _ => {}
        }
    }

    /// Forgets a fine-tuning, not the settings.
    fn reset(self) {
        self.phase.set(Phase::None);
        self.pausing.set(false);
        self.forget_plan();
        self.points.set(Vec::new());
        self.samples.set(Vec::new());
        self.changes.set(Vec::new());
        self.saved.set(None);
        self.engine.emit(&EngineEvent::Tuned(None));
    }

    /// Takes dropped or chosen texts to learn from, one after the other; `others` came with them.
    pub fn learn(self, files: Vec<Found>, others: Vec<String>) {
        let bytes: f64 = files.iter().map(|found| found.file.size()).sum();
        if bytes > LARGEST_TEXT {
            return self.page.offer(
                "The text is too large for a page",
                format!(
                    "{} {}; up to {} are taken here. Train larger texts with `onebit finetune`.",
                    match files.as_slice() {
                        [only] => format!("{} has", only.path),
                        all => format!("{} have", figures::of_them(all.len(), "file")),
                    },
                    figures::bytes(bytes as u64),
                    figures::bytes(LARGEST_TEXT as u64)
                ),
                [Step::ChooseFile],
            );
        }
        self.page.notice.set(None);
        self.page.panel_open.set(false);
        self.engine.use_full_worker();
        self.page.show(Tab::Tune);
        self.files.set(Some(vec!["Reading".to_owned()]));
        self.others.set_value(others);
        let files = files.into_iter().map(|Found { path, file }| TextFile {
            path,
            file: Handle(file),
        });
        let on_response = move |_, response| match response {
            Response::Texts(texts) => self.on_texts(texts),
            Response::Event(Event::Error { message }) => self.on_texts_failed(message),
            _ => {}
        };
        self.engine
            .task(Task::ReadTexts(files.collect()), on_response);
    }

    /// Takes one of the page's own examples, as a file of the reader's would be.
    pub fn learn_example(self, name: &str, contents: &str) {
        let parts = js_sys::Array::of1(&contents.into());
        match web_sys::File::new_with_str_sequence(&parts, name) {
            Ok(file) => {
                let path = name.to_owned();
                self.learn(vec![Found { path, file }], Vec::new());
            }
            Err(problem) => self.on_texts_failed(describe(problem)),
        }
    }

    pub fn leave_conversations_out(self) {
        self.files.set(None);
        self.change(|settings| settings.conversations.clear());
    }

    fn on_texts(self, texts: Texts) {
        let Texts {
            text,
            conversations,
            taken,
            mut left_out,
            notes,
        } = texts;
        left_out.extend(self.others.get_value());
        if taken.is_empty() {
            return self.on_texts_failed(left_out.join("\n"));
        }
        let mut lines = vec![format!(
            "{}: {}.",
            figures::of_them(taken.len(), "file"),
            listed(&taken, ", ")
        )];
        if !left_out.is_empty() {
            lines.push(format!("Left out: {}.", listed(&left_out, "; ")));
        }
        if !notes.is_empty() {
            lines.push(format!("Note: {}.", listed(&notes, "; ")));
        }
        self.files.set(Some(lines));
        self.change(|settings| {
            settings.text = text;
            settings.conversations = conversations;
        });
    }

    fn on_texts_failed(self, problem: String) {
        self.files.set(None);
        let steps = [Step::ChooseFile];
        self.page
            .offer("The text could not be read", problem, steps);
    }

    /// Changes the settings, and asks what they would take now.
    pub fn change(self, edit: impl FnOnce(&mut TuneSettings)) {
        self.settings.update(edit);
        self.make_plan();
    }

    /// Asks what the settings would take.
    pub fn make_plan(self) {
        let settings = self.settings.get_untracked();
        self.problem.set(None);
        self.forget_planning();
        let nothing = settings.text.trim().is_empty() && settings.conversations.is_empty();
        if nothing || !self.engine.has_model() {
            self.plan.set(None);
            return;
        }
        let on_response = move |_, response| match response {
            Response::Event(Event::TunePlan { plan }) => self.plan.set(Some(plan)),
            // Why there is no model was told.
            Response::Event(Event::Error { message }) if self.engine.has_model() => {
                self.plan.set(None);
                self.problem.set(Some(message));
            }
            _ => {}
        };
        let task = ModelTask::PlanTune { settings };
        let request = self.engine.task(Task::Model(task), on_response);
        self.planning.set_value(request);
    }

    fn forget_plan(self) {
        self.forget_planning();
        self.plan.set(None);
    }

    fn forget_planning(self) {
        if let Some(request) = self.planning.try_update_value(Option::take).flatten() {
            self.engine.forget(request);
        }
    }

    pub fn start_tune(self) {
        self.page.notice.set(None);
        self.reset();
        self.problem.set(None);
        // It takes its place.
        self.unfinished.set(None);
        self.give_up();
        self.phase.set(Phase::Running);
        let settings = self.settings.get_untracked();
        self.run(Task::Model(ModelTask::Tune { settings }));
    }

    pub fn pause_tune(self) {
        self.pausing.set(true);
        if let Some(run) = self.runs.with_value(|runs| runs.last().copied()) {
            self.engine.stop(run);
        }
    }

    pub fn continue_tune(self) {
        self.page.notice.set(None);
        self.phase.set(Phase::Running);
        self.run(Task::Model(ModelTask::ContinueTune));
    }

    /// Answers with the fine-tuned model from now on.
    pub fn keep_tune(self) {
        self.page.notice.set(None);
        let lora = |settings: &TuneSettings| settings.lora.is_some();
        if !self.settings.with_untracked(lora) {
            return self.answer_with(ModelRequest::Task(ModelTask::KeepTune));
        }
        let on_response = move |_, response| match response {
            Response::Event(Event::File { name, bytes }) => {
                self.answer_with(ModelRequest::Adapter { name, bytes });
            }
            Response::Event(Event::Error { message }) => {
                let step = Step::again(move || self.keep_tune());
                self.page
                    .offer("The adapter could not be kept", message, [step]);
            }
            _ => {}
        };
        let task = ModelTask::ExportTune {
            keep: Keep::Adapter,
        };
        self.engine.task(Task::Model(task), on_response);
    }

    fn answer_with(self, request: ModelRequest) {
        self.engine.emit(&EngineEvent::ModelRequested(request));
        self.forget_tune();
        self.page.show(Tab::Chat);
    }

    pub fn discard_tune(self) {
        self.reset();
        self.run_task(ModelTask::DiscardTune);
        self.forget_tune();
    }

    /// Takes up what an earlier visit left.
    pub fn restore_tune(self) {
        self.unfinished.set(None);
        let request = ModelRequest::Load(Source::Tuning);
        self.engine.emit(&EngineEvent::ModelRequested(request));
        self.run(Task::RestoreTune);
    }

    pub fn forget_unfinished(self) {
        self.unfinished.set(None);
        self.forget_tune();
    }

    pub fn save_tune(self, keep: Keep) {
        self.run_task(ModelTask::ExportTune { keep });
    }

    /// Asks for what is no part of the learning itself.
    fn run_task(self, task: ModelTask) {
        let again = task.clone();
        let on_response = move |_, response| match response {
            Response::Event(Event::File { name, bytes }) => self.page.save_file(&name, &bytes),
            // Why there is no model was told.
            Response::Event(Event::Error { message }) if self.engine.has_model() => {
                let task = again.clone();
                let step = Step::again(move || self.run_task(task.clone()));
                self.page
                    .offer("The engine could not do that", message, [step]);
            }
            _ => {}
        };
        self.engine.task(Task::Model(task), on_response);
    }

    /// Has the model learn.
    fn run(self, task: Task) {
        let on_response = move |_, response| {
            if let Response::Event(event) = response {
                self.on_tune_event(event);
            }
        };
        let request = self.engine.task(task, on_response);
        self.runs.update_value(|runs| runs.extend(request));
    }

    fn on_tune_event(self, event: Event) {
        match event {
            Event::TuneStarted {
                plan,
                settings,
                points,
                before,
            } => {
                self.plan.set(Some(plan));
                self.settings.set(*settings);
                self.points.set(points);
                // Those of an earlier visit; of this one they are here.
                if self.samples.with_untracked(Vec::is_empty) {
                    self.samples.set(before);
                }
            }
            Event::TunePoint { point } => self.points.update(|all| all.push(point)),
            Event::TuneSample { sample } => self.samples.update(|all| all.push(sample)),
            Event::TuneChanges { changes, .. } => self.changes.set(changes),
            Event::Weights { weights } => {
                self.engine.emit(&EngineEvent::Watched(Arc::new(*weights)));
            }
            Event::TuneWeights { weights } => {
                let weights = Some(Arc::new(*weights));
                self.engine.emit(&EngineEvent::Tuned(weights));
            }
            Event::TuneStopped { done, .. } => {
                self.phase
                    .set(if done { Phase::Done } else { Phase::Paused });
                self.pausing.set(false);
            }
            Event::Error { message } => {
                // What was made until then is still there, if there was any.
                let made = self.points.with_untracked(|points| points.len() > 1);
                self.phase
                    .set(if made { Phase::Paused } else { Phase::None });
                self.pausing.set(false);
                let step = match made {
                    true => Step::new("again", "Continue it", move || self.continue_tune()),
                    false => Step::new("again", "Start it again", move || self.start_tune()),
                };
                self.page.offer("The fine-tuning stopped", message, [step]);
            }
            _ => {}
        }
    }

    /// Deletes what the browser keeps of it.
    fn forget_tune(self) {
        self.give_up();
        self.engine.task(Task::ForgetTune, |_, _| {});
    }

    /// Whatever the browser keeps is not to be offered.
    fn give_up(self) {
        self.runs.set_value(Vec::new());
        if let Some(storage) = storage() {
            // Without it a fine-tuning may be offered once too often.
            storage.set_item(GIVEN_UP, "").ok();
        }
    }

    /// The browser keeps the state after `step` of what `request` asked for.
    fn on_saved(self, request: RequestId, step: usize) {
        if !self.runs.with_value(|runs| runs.contains(&request)) {
            return;
        }
        if let Some(storage) = storage() {
            storage.remove_item(GIVEN_UP).ok();
        }
        self.saved.set(Some(step));
    }

    /// The browser keeps a fine-tuning of an earlier visit.
    fn on_unfinished(self, step: usize, steps: usize) {
        let given_up = storage().and_then(|storage| storage.get_item(GIVEN_UP).ok().flatten());
        match given_up {
            Some(_) => self.forget_tune(),
            None => self.unfinished.set(Some((step, steps))),
        }
    }
}

/// "a, b, c and 2,997 more".
fn listed(all: &[String], between: &str) -> String {
    let shown = all[..all.len().min(TOLD)].join(between);
    match all.len() - all.len().min(TOLD) {
        0 => shown,
        more => format!("{shown} and {} more", figures::grouped(more)),
    }
}
