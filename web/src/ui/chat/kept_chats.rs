//! The conversations kept in this browser: opening, keeping, naming, deleting, and files of them.
//!
//! Tabs share the database that keeps them, and tell each other what they changed.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use leptos::{ev, prelude::*};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::spawn_local;
use web_sys::{BroadcastChannel, File};

use super::Chat;
use super::away::Away;
use super::database::Database;
use super::record::{self, Head, Record};
use super::write_queue::Job;
use crate::ui::page::Step;
use crate::ui::widgets::files;

const CHANNEL: &str = "ternary-core.conversations";
/// A reply being written is kept this often, and changed settings this late, in milliseconds.
const OFTEN: f64 = 500.0;
const LATE: Duration = Duration::from_millis(500);

/// A conversation as it was before the reader changed or deleted it.
#[derive(Clone)]
pub struct Undo {
    pub told: String,
    before: Record,
}

#[derive(Clone, Copy)]
pub struct KeptChats {
    /// The newest first.
    pub heads: RwSignal<Vec<Head>>,
    /// The open conversation without its settings and messages. It has no id until something is
    /// said in it.
    pub record: RwSignal<Record>,
    /// One that was left while its reply is written.
    pub(super) away: RwSignal<Option<Away>>,
    /// One that is being read, to be open then.
    pub opening: RwSignal<Option<String>>,
    pub undo: RwSignal<Option<Undo>>,
    /// The browser has no place for any.
    pub nowhere: RwSignal<bool>,
    /// Those that the browser did not keep: only this tab has them.
    pub unkept: RwSignal<Vec<Record>>,
    /// The open one as it was handed over last.
    pub(super) handed: StoredValue<Record>,
    pub(super) handed_at: StoredValue<f64>,
    /// What this tab knows of those in the database.
    pub(super) revisions: StoredValue<HashMap<String, u32>>,
    pub(super) jobs: StoredValue<VecDeque<Job>>,
    /// What it was asked and has not answered.
    pub(super) asked: StoredValue<Option<Job>>,
    /// The keys in the browser's storage of pending writes.
    pub(super) saved_keys: StoredValue<Vec<String>>,
    pub(super) working: StoredValue<bool>,
    pub(super) database: StoredValue<Option<Rc<Database>>, LocalStorage>,
    channel: StoredValue<Option<BroadcastChannel>, LocalStorage>,
}

impl KeptChats {
    pub fn new() -> Self {
        Self {
            heads: RwSignal::new(Vec::new()),
            record: RwSignal::new(Record::default()),
            away: RwSignal::new(None),
            opening: RwSignal::new(None),
            undo: RwSignal::new(None),
            nowhere: RwSignal::new(false),
            unkept: RwSignal::new(Vec::new()),
            handed: StoredValue::new(Record::default()),
            handed_at: StoredValue::new(0.0),
            revisions: StoredValue::new(HashMap::new()),
            jobs: StoredValue::new(VecDeque::new()),
            asked: StoredValue::new(None),
            saved_keys: StoredValue::new(Vec::new()),
            working: StoredValue::new(false),
            database: StoredValue::new_local(None),
            channel: StoredValue::new_local(None),
        }
    }

    pub fn is_open(self, id: &str) -> bool {
        self.record.with(|record| record.id == id)
    }

    /// As the list shows it.
    pub(super) fn title(self, id: &str) -> Option<String> {
        self.heads.with(|heads| {
            let head = heads.iter().find(|head| head.id == id);
            head.map(|head| head.title.clone())
        })
    }

    /// Puts it into the list, which is sorted.
    pub(super) fn list(self, head: Head) {
        self.heads.update(|heads| {
            heads.retain(|other| other.id != head.id);
            let place = heads.partition_point(|other| other.updated > head.updated);
            heads.insert(place, head);
        });
    }

    /// Takes note of the revision in the database.
    pub(super) fn know(self, id: &str, revision: Option<u32>) {
        self.revisions.update_value(|all| {
            match revision {
                Some(revision) => all.insert(id.to_owned(), revision),
                None => all.remove(id),
            };
        });
    }

    pub(super) async fn database(self) -> Result<Rc<Database>, String> {
        if let Some(database) = self.database.get_value() {
            return Ok(database);
        }
        let database = Rc::new(Database::open().await?);
        self.database.set_value(Some(Rc::clone(&database)));
        Ok(database)
    }

    pub(super) async fn read(self, id: &str) -> Result<Record, String> {
        let unkept = |all: &Vec<Record>| all.iter().find(|record| record.id == id).cloned();
        if let Some(record) = self.unkept.with_untracked(unkept) {
            return Ok(record);
        }
        let text = self.database().await?.get(id).await?;
        let text = text.ok_or("this browser does not have it; it may have been deleted")?;
        Record::read(&text).map_err(|problem| {
            format!("what the browser kept of it is damaged ({problem}); it can only be deleted")
        })
    }

    /// Tells the other tabs.
    pub(super) fn announce(self, id: &str) {
        self.channel.with_value(|channel| {
            if let Some(channel) = channel {
                // They list what is there when they are looked at again.
                channel.post_message(&JsValue::from_str(id)).ok();
            }
        });
    }
}

impl Chat {
    /// Lists what is there, and keeps what changes.
    pub(super) fn begin_keeping(self) {
        self.restore_pending_writes();
        self.enqueue(Job::List);
        Effect::new(move |_| {
            self.settings.track();
            set_timeout(move || self.keep_chat(), LATE);
        });
        // Leaving may be for good.
        let leave = move || {
            self.keep_chat();
            self.keep_away();
            self.save_pending_writes();
        };
        window_event_listener(ev::visibilitychange, move |_| leave());
        window_event_listener(ev::pagehide, move |_| leave());
        // Another tab, or the time in the browser's history, may have changed the list.
        window_event_listener(ev::focus, move |_| self.enqueue(Job::List));
        if let Ok(channel) = BroadcastChannel::new(CHANNEL) {
            let on_message = move |_: web_sys::MessageEvent| self.enqueue(Job::List);
            channel.set_onmessage(Some(
                Closure::<dyn Fn(_)>::new(on_message)
                    .into_js_value()
                    .unchecked_ref(),
            ));
            self.kept.channel.set_value(Some(channel));
        }
    }

    /// An empty conversation.
    pub fn new_chat(self) {
        self.leave_chat();
        self.kept.undo.set(None);
        self.show_record(Record {
            settings: self.settings.get_untracked(),
            ..Record::default()
        });
        self.page.set_moved(true);
    }

    pub fn open_chat(self, id: String) {
        self.leave_chat();
        self.kept.undo.set(None);
        if !self.come_back(&id) {
            self.kept.opening.set(Some(id.clone()));
            self.enqueue(Job::Open(id));
        }
        self.page.set_moved(true);
    }

    pub fn rename_chat(self, id: String, title: String) {
        if self.kept.record.with_untracked(|record| record.id == id) {
            self.kept.record.update(|record| record.title = title);
            self.keep_chat();
        } else {
            self.enqueue(Job::Rename(id, title));
        }
    }

    pub fn delete_chat(self, id: String) {
        if self.kept.record.with_untracked(|record| record.id == id) {
            self.end_chat();
            let before = self.snapshot();
            let told = format!("“{}” was deleted.", before.head().title);
            self.show_record(Record {
                settings: self.settings.get_untracked(),
                ..Record::default()
            });
            self.offer_undo(&told, before);
        }
        self.kept
            .heads
            .update(|heads| heads.retain(|head| head.id != id));
        self.kept
            .unkept
            .update(|all| all.retain(|record| record.id != id));
        self.enqueue(Job::Delete(id));
    }

    pub(super) fn offer_undo(self, told: &str, before: Record) {
        if !before.id.is_empty() {
            let told = told.to_owned();
            self.kept.undo.set(Some(Undo { told, before }));
        }
    }

    /// What was offered.
    pub fn undo(self) {
        if let Some(Undo { before, .. }) = self.kept.undo.try_update(Option::take).flatten() {
            self.end_chat();
            self.show_record(before.clone());
            self.enqueue(Job::Keep(Box::new(before)));
        }
        self.page.focus_prompt.notify();
    }

    /// Saves the open conversation as a file.
    pub fn export_chat(self) {
        let record = self.snapshot();
        let name = record.head().title;
        self.save_chats(&[record], false, &name);
    }

    pub fn export_all_chats(self) {
        self.keep_chat();
        self.enqueue(Job::ExportAll);
    }

    /// Keeps the conversations of a file beside those that are there, and opens the last.
    pub fn import_chats(self, file_name: &str, text: &str) {
        let records = match record::import(text) {
            Ok(records) => records,
            Err(problem) => {
                let problem = format!("{file_name}: {problem}");
                let title = "The conversations could not be imported";
                return self.page.offer(title, problem, [Step::ChooseFile]);
            }
        };
        let mut id = String::new();
        for record in records {
            id = new_id();
            let or_now = |time: String| if time.is_empty() { now() } else { time };
            self.enqueue(Job::Keep(Box::new(Record {
                id: id.clone(),
                revision: 0,
                created: or_now(record.created.clone()),
                updated: or_now(record.updated.clone()),
                ..record
            })));
        }
        if !id.is_empty() {
            self.open_chat(id);
        }
    }

    pub fn import_chat_file(self, file: File) {
        spawn_local(async move {
            match files::text(&file).await {
                Ok(text) => self.import_chats(&file.name(), &text),
                Err(problem) => {
                    let steps = [Step::ChooseFile];
                    self.page
                        .offer("The file could not be read", problem, steps);
                }
            }
        });
    }

    /// The open conversation as it is.
    pub(super) fn snapshot(self) -> Record {
        let record = self.kept.record.get_untracked();
        self.settings.with_untracked(|settings| {
            self.conversation
                .with_untracked(|chat| record.filled(settings, chat))
        })
    }

    /// Hands the open conversation over to be kept, if anything in it changed.
    pub(super) fn keep_chat(self) {
        if self.conversation.with_untracked(Vec::is_empty) {
            return;
        }
        let kept = self.kept;
        let record = self.snapshot();
        if kept.handed.with_value(|handed| *handed == record) {
            return;
        }
        let said = kept
            .handed
            .with_value(|handed| handed.messages != record.messages);
        kept.record.update(|record| {
            let now = now();
            if record.id.is_empty() {
                (record.id, record.created) = (new_id(), now.clone());
            }
            if said {
                record.updated = now;
            }
        });
        let record = self.snapshot();
        kept.handed.set_value(record.clone());
        kept.handed_at.set_value(js_sys::Date::now());
        self.enqueue(Job::Keep(Box::new(record)));
    }

    /// Keeps the open conversation after something was taken out of it: one with nothing left is
    /// none.
    pub(super) fn keep_or_forget_chat(self) {
        if self.conversation.with_untracked(|all| !all.is_empty()) {
            return self.keep_chat();
        }
        let id = self.kept.record.with_untracked(|record| record.id.clone());
        self.kept
            .heads
            .update(|heads| heads.retain(|head| head.id != id));
        self.enqueue(Job::Delete(id));
        self.show_record(Record {
            settings: self.settings.get_untracked(),
            ..Record::default()
        });
    }

    pub(super) fn keep_chat_now_and_then(self) {
        if js_sys::Date::now() - self.kept.handed_at.get_value() > OFTEN {
            self.keep_chat();
            self.keep_away();
        }
    }

    /// Ends what is written in the open conversation, and keeps it.
    fn end_chat(self) {
        if self.is_shown_reply_running() {
            self.engine.stop_reply();
        }
        self.keep_chat();
    }

    /// Makes it the open conversation.
    pub(super) fn show_record(self, record: Record) {
        let first = self.number_exchanges(record.messages.len());
        let (settings, exchanges) = record.contents(first);
        self.settings.set(settings);
        self.conversation.set(exchanges);
        self.kept.opening.set(None);
        self.kept.record.set(Record {
            messages: Vec::new(),
            replies: Vec::new(),
            ..record
        });
        self.kept.handed.set_value(self.snapshot());
    }

    pub(super) fn save_chats(self, records: &[Record], together: bool, name: &str) {
        let name = format!("{}.json", name.replace(['/', '\\', ':'], "-"));
        let saved =
            record::export(records, together).and_then(|text| files::save(&name, text.as_bytes()));
        if let Err(problem) = saved {
            self.page.fail("The file could not be saved", problem);
        }
    }
}

pub(super) fn now() -> String {
    String::from(js_sys::Date::new_0().to_iso_string())
}

/// Another than any tab ever gave.
pub(super) fn new_id() -> String {
    let random = (js_sys::Math::random() * f64::from(u32::MAX)) as u32;
    format!("{:x}-{random:08x}", js_sys::Date::now() as u64)
}
