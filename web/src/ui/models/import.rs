//! Published models: looking at one, importing it, loading what it became. Another worker does it,
//! so that the loaded model goes on answering.

use std::sync::Arc;

use leptos::prelude::*;
use ternary::import::Survey;
use ternary::session::{Event, FilePart};

use super::Models;
use super::hub::Wanted;
use crate::protocol::{
    Choices, Files, Found, Notification, Request, RequestId, Response, Source, Task,
};
use crate::ui::engine::{Connection, Program};
use crate::ui::page::{Step, Tab};

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
    /// What is written, once that is known.
    pub parts: RwSignal<Arc<Vec<FilePart>>>,
    pub choices: RwSignal<Choices>,
    /// What of the hub is imported, and what was found of it there.
    pub(super) wanted: StoredValue<Option<Wanted>>,
    pub found: RwSignal<Option<Found>, LocalStorage>,
    /// When the first bytes were written, in milliseconds of the page's clock, and those that were
    /// there before.
    began: StoredValue<Option<(f64, u64)>>,
    /// Unfinished imports that this visit is not asked about again.
    pub put_off: RwSignal<Vec<String>>,
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
            parts: RwSignal::new(Arc::default()),
            choices: RwSignal::new(Choices::default()),
            wanted: StoredValue::new(None),
            found: RwSignal::new_local(None),
            began: StoredValue::new(None),
            put_off: RwSignal::new(Vec::new()),
            connection: StoredValue::new_local(None),
            writing: StoredValue::new(None),
        }
    }

    /// Seconds that the rest takes at the present speed; none as long as that can't be said.
    pub fn left(self) -> Option<f64> {
        let (done, total, _) = self.progress.get();
        let (since, before) = self.began.get_value()?;
        let seconds = (js_sys::Date::now() - since) / 1000.0;
        let came = done.saturating_sub(before);
        (seconds > 1.0 && came > 0)
            .then(|| seconds * (total - done.min(total)) as f64 / came as f64)
    }
}

impl Models {
    /// Looks at the files of a published model; what they are is shown before anything is written.
    pub fn import(self, files: Files) {
        if self.begin_import(files.clone(), None) {
            self.ask_importer(Request::Task(Task::Survey(files)));
        }
    }

    /// Starts the importer; false if it has other work, or can't be started.
    pub(super) fn begin_import(self, files: Files, wanted: Option<Wanted>) -> bool {
        if self.importer.writing.get_value().is_some() {
            self.page.fail(
                "Another model is being imported",
                "Wait for it to end, or cancel it.".to_owned(),
            );
            return false;
        }
        self.end_import();
        self.page.notice.set(None);
        self.page.panel_open.set(false);
        self.importer.files.set(Some(files));
        self.importer.wanted.set_value(wanted);
        let on_notification = move |notification| {
            if let Notification::Panicked(message) = notification {
                self.on_import_failed(message);
            }
        };
        match Connection::start(Program::Full, on_notification) {
            Ok(connection) => {
                self.importer.connection.set_value(Some(connection));
                true
            }
            Err(problem) => {
                self.on_import_failed(problem);
                false
            }
        }
    }

    pub(super) fn start_import(self) {
        let choices = self.importer.choices.get_untracked();
        self.importer.survey.set(None);
        // Another attempt does not ask again.
        let finishes = self.importer.wanted.try_update_value(|wanted| {
            let wanted = wanted.as_mut()?;
            wanted.choices = Some(choices);
            wanted.finishes.clone()
        });
        if let Some(files) = self.importer.files.get_untracked() {
            let request = self.ask_importer(Request::Task(Task::Import {
                files,
                choices,
                finishes: finishes.flatten(),
            }));
            self.importer.writing.set_value(request);
        }
    }

    pub(super) fn cancel_import(self) {
        match self.importer.writing.get_value() {
            // What was written has to be put in order first.
            Some(request) => drop(self.ask_importer(Request::Cancel(request))),
            None => self.end_import(),
        }
        self.page.focus_prompt.notify();
    }

    fn on_import_response(self, response: Response) {
        match response {
            Response::Found(found) => self.on_found(*found),
            Response::Surveyed(survey) => self.importer.survey.set(Some(*survey)),
            Response::Importing {
                done,
                total,
                tensor,
            } => {
                let i = self.importer;
                if i.began.get_value().is_none() {
                    i.began.set_value(Some((js_sys::Date::now(), done)));
                }
                i.progress.set((done, total, tensor));
            }
            Response::Kept { id, name } => {
                self.end_import();
                self.load(Source::Stored { id, name });
                self.store.persist();
                if self.page.tab.get_untracked() == Tab::Models {
                    self.page.show(Tab::Chat);
                }
            }
            Response::Parts(parts) => self.importer.parts.set(Arc::new(parts)),
            Response::BeganAgain => self.page.inform(
                "The import begins again",
                "The model's files at the hub are others now, or this page is a newer one: what was here of it can't be used."
                    .to_owned(),
            ),
            Response::Cancelled => self.end_import(),
            Response::Event(Event::Error { message }) => self.on_import_failed(message),
            _ => {}
        }
    }

    fn on_import_failed(self, message: String) {
        let wanted = self.importer.wanted.get_value();
        self.end_import();
        let title = "The model could not be imported";
        match wanted {
            // Of another site it may come at another attempt.
            Some(wanted) => {
                self.failed_of_hub.set_value(Some(wanted));
                let steps = [
                    Step::again(move || self.load_again()),
                    self.page.to_models(),
                ];
                self.page.offer(title, message, steps);
            }
            None => self.page.offer(title, message, [Step::ChooseFile]),
        }
    }

    fn end_import(self) {
        let i = self.importer;
        i.connection.set_value(None);
        i.writing.set_value(None);
        i.wanted.set_value(None);
        i.choices.set(Choices::default());
        i.found.set(None);
        i.began.set_value(None);
        i.survey.set(None);
        i.progress.set((0, 0, String::new()));
        i.parts.set(Arc::default());
        i.files.set(None);
        self.store.list();
    }

    pub(super) fn ask_importer(self, request: Request) -> Option<RequestId> {
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
