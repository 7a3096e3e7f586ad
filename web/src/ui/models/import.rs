//! Published models: looking at one, importing it, loading what it became. Another worker does it,
//! so that the loaded model goes on answering.

use leptos::prelude::*;
use ternary::config::QuantMode;
use ternary::import::Survey;
use ternary::session::Event;

use super::Models;
use crate::protocol::{Files, Notification, Request, RequestId, Response, Source, Task};
use crate::ui::engine::{Connection, Program};

/// Signals of the import, copied freely.
#[derive(Clone, Copy)]
pub struct Importer {
    /// What is looked at or imported.
    pub files: RwSignal<Option<Files>, LocalStorage>,
    /// What was found, as long as the reader is asked.
    pub survey: RwSignal<Option<Survey>>,
    /// Bytes of the `.1bit` written and in all, and the tensor under way; in all is 0 until the
    /// first.
    pub progress: RwSignal<(u64, u64, String)>,
    /// Precision of embedding and head; `None`: as they are where they are ternary or binary.
    pub head: RwSignal<Option<QuantMode>>,
    connection: StoredValue<Option<Connection>, LocalStorage>,
    /// The import itself, once it has begun.
    writing: StoredValue<Option<RequestId>>,
}

impl Importer {
    pub fn new() -> Self {
        Importer {
            files: RwSignal::new_local(None),
            survey: RwSignal::new(None),
            progress: RwSignal::new((0, 0, String::new())),
            head: RwSignal::new(None),
            connection: StoredValue::new_local(None),
            writing: StoredValue::new(None),
        }
    }
}

impl Models {
    /// Looks at the files of a published model; what they are is shown before anything is written.
    pub fn import(self, files: Files) {
        if self.importer.writing.get_value().is_some() {
            return self.page.fail(
                "Another model is being imported",
                "Wait for it to end, or cancel it.".to_owned(),
            );
        }
        self.end_import();
        self.page.notice.set(None);
        self.page.panel_open.set(false);
        self.importer.files.set(Some(files.clone()));
        let on_notification = move |notification| {
            if let Notification::Panicked(message) = notification {
                self.on_import_failed(message);
            }
        };
        match Connection::start(Program::Full, on_notification) {
            Ok(connection) => self.importer.connection.set_value(Some(connection)),
            Err(problem) => return self.on_import_failed(problem),
        }
        self.ask_importer(Request::Task(Task::Survey(files)));
    }

    pub(super) fn start_import(self) {
        let head = self.importer.head.get_untracked();
        self.importer.survey.set(None);
        if let Some(files) = self.importer.files.get_untracked() {
            let request = self.ask_importer(Request::Task(Task::Import { files, head }));
            self.importer.writing.set_value(request);
        }
    }

    pub(super) fn cancel_import(self) {
        match self.importer.writing.get_value() {
            // What was written has to be taken away first.
            Some(request) => drop(self.ask_importer(Request::Cancel(request))),
            None => self.end_import(),
        }
        self.page.focus_prompt.notify();
    }

    fn on_import_response(self, response: Response) {
        match response {
            Response::Surveyed(survey) => self.importer.survey.set(Some(*survey)),
            Response::Importing {
                done,
                total,
                tensor,
            } => self.importer.progress.set((done, total, tensor)),
            Response::Kept { id, name } => {
                self.end_import();
                self.load(Source::Stored { id, name });
                self.store.persist();
            }
            Response::Cancelled => self.end_import(),
            Response::Event(Event::Error { message }) => self.on_import_failed(message),
            _ => {}
        }
    }

    fn on_import_failed(self, message: String) {
        self.end_import();
        self.page.fail("The model could not be imported", message);
    }

    fn end_import(self) {
        let i = self.importer;
        i.connection.set_value(None);
        i.writing.set_value(None);
        i.survey.set(None);
        i.progress.set((0, 0, String::new()));
        i.files.set(None);
        self.store.list();
    }

    fn ask_importer(self, request: Request) -> Option<RequestId> {
        let asked = match self.importer.connection.get_value() {
            Some(connection) => connection.request(request, move |_, response| {
                self.on_import_response(response)
            }),
            None => Err("it is not running".to_owned()),
        };
        match asked {
            Ok(request) => Some(request),
            Err(problem) => {
                self.on_import_failed(format!("The importer can't be asked: {problem}"));
                None
            }
        }
    }
}
