//! Fine-tuning: its settings, its progress, what becomes of it.

use leptos::prelude::*;
use ternary::session::{Keep, MatrixDiff, Sampled, TunePlan, TunePoint, TuneSettings, Work};

use crate::protocol::{Handle, Request, Source, Task, TextFile, Texts};
use crate::ui::state::{AdapterFiles, AppState, Asked, Load, Tab};
use crate::ui::widgets::figures;
use crate::ui::widgets::picked::Found;
use crate::ui::widgets::storage::storage;

/// Texts above this take longer to tokenise than anybody waits.
const LARGEST_TEXT: f64 = 32e6;
/// Names that are told of many.
const TOLD: usize = 6;
/// What a fine-tuning that is kept beside its model is called.
const TUNED: &str = "what was fine-tuned";

/// Set in the browser's storage while what it keeps of a fine-tuning is to go: deleting takes longer than leaving the page.
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

/// Signals of the fine-tuning, copied freely.
#[derive(Clone, Copy)]
pub struct Tuner {
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
    /// States that are kept from now on are of one that was given up, until the next has started.
    stale: StoredValue<bool>,
    /// Step and steps of a fine-tuning that an earlier visit left.
    pub unfinished: RwSignal<Option<(usize, usize)>>,
}

impl Tuner {
    pub fn new() -> Self {
        Tuner {
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
            stale: StoredValue::new(false),
            unfinished: RwSignal::new(None),
        }
    }

    /// Forgets a fine-tuning, not the settings.
    pub(crate) fn reset(self) {
        self.phase.set(Phase::None);
        self.pausing.set(false);
        self.plan.set(None);
        self.points.set(Vec::new());
        self.samples.set(Vec::new());
        self.changes.set(Vec::new());
        self.saved.set(None);
    }
}

impl AppState {
    /// Takes dropped or chosen texts to learn from, one after the other; `others` came with them.
    pub fn learn(self, files: Vec<Found>, others: Vec<String>) {
        let bytes: f64 = files.iter().map(|found| found.file.size()).sum();
        if bytes > LARGEST_TEXT {
            return self.fail(
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
            );
        }
        self.notice.set(None);
        self.panel_open.set(false);
        self.show(Tab::Tune);
        self.tuner.files.set(Some(vec!["Reading".to_owned()]));
        self.tuner.others.set_value(others);
        let files = files.into_iter().map(|Found { path, file }| TextFile {
            path,
            file: Handle(file),
        });
        self.ask_task(Asked::Texts, Task::ReadTexts(files.collect()));
    }

    pub(crate) fn texts_came(self, texts: Texts) {
        let Texts {
            text,
            taken,
            mut left_out,
            notes,
        } = texts;
        left_out.extend(self.tuner.others.get_value());
        if taken.is_empty() {
            return self.texts_failed(left_out.join("\n"));
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
        self.tuner.files.set(Some(lines));
        self.tuner.settings.update(|settings| settings.text = text);
        self.plan_tune();
    }

    pub(crate) fn texts_failed(self, problem: String) {
        self.tuner.files.set(None);
        self.fail("The text could not be read", problem);
    }

    /// Asks what the settings would take.
    pub fn plan_tune(self) {
        let t = self.tuner;
        let settings = t.settings.get_untracked();
        t.problem.set(None);
        if settings.text.trim().is_empty() || self.model.with_untracked(Option::is_none) {
            t.plan.set(None);
            return;
        }
        self.run_work(Asked::Plan, Work::PlanTune { settings });
    }

    pub fn start_tune(self) {
        self.notice.set(None);
        self.tuner.reset();
        self.tuner.problem.set(None);
        // It takes its place.
        self.tuner.unfinished.set(None);
        self.give_up();
        self.tuner.phase.set(Phase::Running);
        let settings = self.tuner.settings.get_untracked();
        self.run_work(Asked::Tune, Work::Tune { settings });
    }

    pub fn pause_tune(self) {
        self.tuner.pausing.set(true);
        self.request(&Request::Stop);
    }

    pub fn continue_tune(self) {
        self.notice.set(None);
        self.tuner.phase.set(Phase::Running);
        self.run_work(Asked::Tune, Work::ContinueTune);
    }

    /// Answers with the fine-tuned model from now on.
    pub fn keep_tune(self) {
        self.notice.set(None);
        let lora = |settings: &TuneSettings| settings.lora.is_some();
        let adapter = AdapterFiles {
            name: TUNED.to_owned(),
            base: None,
            files: Vec::new(),
        };
        let adapter = self.tuner.settings.with_untracked(lora).then_some(adapter);
        let load = Load::new(self.source(), self.device.get_untracked()).beside(adapter);
        self.loads.update(|loads| loads.push_back(load));
        self.run_work(Asked::Load, Work::KeepTune);
        self.forget_tune();
        self.show(Tab::Chat);
    }

    pub fn discard_tune(self) {
        self.tuner.reset();
        self.run_work(Asked::Nothing, Work::DiscardTune);
        self.forget_tune();
    }

    /// Takes up what an earlier visit left.
    pub fn restore_tune(self) {
        self.tuner.unfinished.set(None);
        self.load(Source::Tuning);
        self.ask_task(Asked::Tune, Task::RestoreTune);
    }

    pub fn forget_unfinished(self) {
        self.tuner.unfinished.set(None);
        self.forget_tune();
    }

    /// Deletes what the browser keeps of it.
    pub(crate) fn forget_tune(self) {
        self.give_up();
        self.ask_task(Asked::Nothing, Task::ForgetTune);
    }

    /// Whatever the browser keeps is not to be offered.
    pub(crate) fn give_up(self) {
        self.tuner.stale.set_value(true);
        if let Some(storage) = storage() {
            // Without it a fine-tuning may be offered once too often.
            storage.set_item(GIVEN_UP, "").ok();
        }
    }

    /// The browser keeps the state after `step`.
    pub(crate) fn tune_saved(self, step: usize) {
        if self.tuner.stale.get_value() {
            return;
        }
        if let Some(storage) = storage() {
            storage.remove_item(GIVEN_UP).ok();
        }
        self.tuner.saved.set(Some(step));
    }

    /// The browser keeps a fine-tuning of an earlier visit.
    pub(crate) fn tune_left(self, step: usize, steps: usize) {
        let given_up = storage().and_then(|storage| storage.get_item(GIVEN_UP).ok().flatten());
        match given_up {
            Some(_) => self.forget_tune(),
            None => self.tuner.unfinished.set(Some((step, steps))),
        }
    }

    pub fn save_tune(self, keep: Keep) {
        self.run_work(Asked::Other, Work::ExportTune { keep });
    }

    pub(crate) fn tune_started(
        self,
        plan: TunePlan,
        settings: TuneSettings,
        points: Vec<TunePoint>,
    ) {
        // What was written of the one before was told of before.
        self.tuner.stale.set_value(false);
        self.tuner.plan.set(Some(plan));
        self.tuner.settings.set(settings);
        self.tuner.points.set(points);
    }

    pub(crate) fn tune_stopped(self, done: bool) {
        let phase = if done { Phase::Done } else { Phase::Paused };
        self.tuner.phase.set(phase);
        self.tuner.pausing.set(false);
    }

    pub(crate) fn tune_failed(self, message: String) {
        // What was made until then is still there, if there was any.
        let made = self.tuner.points.with_untracked(|points| points.len() > 1);
        let phase = if made { Phase::Paused } else { Phase::None };
        self.tuner.phase.set(phase);
        self.tuner.pausing.set(false);
        self.fail("The fine-tuning stopped", message);
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
