//! Published models: looking at one, importing it, loading what it became. Another engine does it, so that the loaded model goes on answering.

use leptos::prelude::*;
use ternary::config::QuantMode;
use ternary::import::Survey;
use ternary::session::Event;

use crate::protocol::{Files, Report, Request, Source, Task};
use crate::ui::engine::{Engine, Program};
use crate::ui::state::AppState;

/// Signals of the import, copied freely.
#[derive(Clone, Copy)]
pub struct Importer {
    /// What is looked at or imported.
    pub files: RwSignal<Option<Files>, LocalStorage>,
    /// What was found, as long as the reader is asked.
    pub survey: RwSignal<Option<Survey>>,
    /// Bytes of the `.1bit` written and in all, and the tensor under way; in all is 0 until the first.
    pub progress: RwSignal<(u64, u64, String)>,
    /// Precision of embedding and head.
    pub head: RwSignal<QuantMode>,
    engine: StoredValue<Option<Engine>, LocalStorage>,
    /// The import itself has begun.
    writing: StoredValue<bool>,
}

impl Importer {
    pub fn new() -> Self {
        Importer {
            files: RwSignal::new_local(None),
            survey: RwSignal::new(None),
            progress: RwSignal::new((0, 0, String::new())),
            head: RwSignal::new(QuantMode::F16),
            engine: StoredValue::new_local(None),
            writing: StoredValue::new(false),
        }
    }
}

impl AppState {
    /// Looks at the files of a published model; what they are is shown before anything is written.
    pub fn import(self, files: Files) {
        if self.importer.writing.get_value() {
            return self.fail(
                "Another model is being imported",
                "Wait for it to end, or cancel it.".to_owned(),
            );
        }
        self.end_import();
        self.notice.set(None);
        self.panel_open.set(false);
        self.importer.files.set(Some(files));
        match Engine::start(Program::Workshop, move |report| self.hear_importer(report)) {
            Ok(engine) => self.importer.engine.set_value(Some(engine)),
            Err(problem) => self.import_failed(problem),
        }
    }

    pub fn start_import(self) {
        let head = self.importer.head.get_untracked();
        self.importer.survey.set(None);
        self.importer.writing.set_value(true);
        self.ask_importer(|files| Task::Import { files, head });
    }

    pub fn cancel_import(self) {
        if self.importer.writing.get_value() {
            // What was written has to be taken away first.
            self.tell_importer(&Request::Cancel);
        } else {
            self.end_import();
        }
        self.focus_prompt.notify();
    }

    pub(crate) fn hear_importer(self, report: Report) {
        match report {
            Report::Ready => self.ask_importer(Task::Survey),
            Report::Surveyed(survey) => self.importer.survey.set(Some(*survey)),
            Report::Importing {
                done,
                total,
                tensor,
            } => self.importer.progress.set((done, total, tensor)),
            Report::Imported { id, name } => {
                self.end_import();
                self.load(Source::Stored { id, name });
                self.persist();
            }
            Report::Cancelled => self.end_import(),
            Report::Event(Event::Error { message }) | Report::Panicked(message) => {
                self.import_failed(message);
            }
            // Its session has no model.
            _ => {}
        }
    }

    pub(crate) fn import_failed(self, message: String) {
        self.end_import();
        self.fail("The model could not be imported", message);
    }

    pub(crate) fn end_import(self) {
        let i = self.importer;
        i.engine.set_value(None);
        i.writing.set_value(false);
        i.survey.set(None);
        i.progress.set((0, 0, String::new()));
        i.files.set(None);
        self.list_kept();
    }

    pub(crate) fn ask_importer(self, task: impl Fn(Files) -> Task) {
        if let Some(files) = self.importer.files.get_untracked() {
            self.tell_importer(&Request::Task(task(files)));
        }
    }

    pub(crate) fn tell_importer(self, request: &Request) {
        let sent = self.importer.engine.with_value(|engine| match engine {
            Some(engine) => engine.send(request),
            None => Err("it is not running".to_owned()),
        });
        if let Err(problem) = sent {
            self.import_failed(format!("The importer can't be asked: {problem}"));
        }
    }
}
