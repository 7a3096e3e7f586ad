//! The conversations kept in this browser: opening, keeping, naming, deleting, and files of them.
//!
//! What is asked of the database waits in one queue, so that a conversation is never read before it was kept. Tabs share the
//! database and tell each other what they changed.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use leptos::{ev, prelude::*};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::spawn_local;
use web_sys::{BroadcastChannel, File};

use super::database::Database;
use super::record::{self, Head, Record};
use crate::ui::state::AppState;
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

/// What the database is asked.
#[derive(Clone)]
pub(crate) enum Job {
    List,
    Open(String),
    /// What another tab wrote in the open one.
    Refresh(String),
    Keep(Box<Record>),
    Rename(String, String),
    Delete(String),
    /// What a page that was left had no time for: a conversation's id, and its record, or nothing if it was deleted.
    TakeUp(String, String),
    ExportAll,
}

#[derive(Clone, Copy)]
pub struct Chats {
    /// The newest first.
    pub heads: RwSignal<Vec<Head>>,
    /// The open conversation without its settings and messages. It has no id until something is said in it.
    pub record: RwSignal<Record>,
    /// One that is being read, to be open then.
    pub opening: RwSignal<Option<String>>,
    pub undo: RwSignal<Option<Undo>>,
    /// The browser has no place for any.
    pub nowhere: RwSignal<bool>,
    /// Those that the browser did not keep: only this tab has them.
    pub unkept: RwSignal<Vec<Record>>,
    /// The open one as it was handed over last.
    handed: StoredValue<Record>,
    handed_at: StoredValue<f64>,
    /// What this tab knows of those in the database.
    pub(crate) revisions: StoredValue<HashMap<String, u32>>,
    pub(crate) jobs: StoredValue<VecDeque<Job>>,
    /// What it was asked and has not answered.
    pub(crate) asked: StoredValue<Option<Job>>,
    /// The keys in the browser's storage of what waits.
    pub(crate) left: StoredValue<Vec<String>>,
    working: StoredValue<bool>,
    database: StoredValue<Option<Rc<Database>>, LocalStorage>,
    channel: StoredValue<Option<BroadcastChannel>, LocalStorage>,
}

impl Chats {
    pub fn new() -> Self {
        Self {
            heads: RwSignal::new(Vec::new()),
            record: RwSignal::new(Record::default()),
            opening: RwSignal::new(None),
            undo: RwSignal::new(None),
            nowhere: RwSignal::new(false),
            unkept: RwSignal::new(Vec::new()),
            handed: StoredValue::new(Record::default()),
            handed_at: StoredValue::new(0.0),
            revisions: StoredValue::new(HashMap::new()),
            jobs: StoredValue::new(VecDeque::new()),
            asked: StoredValue::new(None),
            left: StoredValue::new(Vec::new()),
            working: StoredValue::new(false),
            database: StoredValue::new_local(None),
            channel: StoredValue::new_local(None),
        }
    }

    pub fn is_open(self, id: &str) -> bool {
        self.record.with(|record| record.id == id)
    }

    /// Puts it into the list, which is sorted.
    pub(crate) fn list(self, head: Head) {
        self.heads.update(|heads| {
            heads.retain(|other| other.id != head.id);
            let place = heads.partition_point(|other| other.updated > head.updated);
            heads.insert(place, head);
        });
    }

    /// Takes note of the revision in the database.
    pub(crate) fn know(self, id: &str, revision: Option<u32>) {
        self.revisions.update_value(|all| {
            match revision {
                Some(revision) => all.insert(id.to_owned(), revision),
                None => all.remove(id),
            };
        });
    }

    pub(crate) async fn database(self) -> Result<Rc<Database>, String> {
        if let Some(database) = self.database.get_value() {
            return Ok(database);
        }
        let database = Rc::new(Database::open().await?);
        self.database.set_value(Some(Rc::clone(&database)));
        Ok(database)
    }

    pub(crate) async fn read(self, id: &str) -> Result<Record, String> {
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
    pub(crate) fn announce(self, id: &str) {
        self.channel.with_value(|channel| {
            if let Some(channel) = channel {
                // They list what is there when they are looked at again.
                channel.post_message(&JsValue::from_str(id)).ok();
            }
        });
    }
}

impl AppState {
    /// Lists what is there, and keeps what changes.
    pub(crate) fn begin_chats(self) {
        self.take_up_what_was_left();
        self.do_next(Job::List);
        Effect::new(move |_| {
            self.settings.track();
            set_timeout(move || self.keep_chat(), LATE);
        });
        // Leaving may be for good.
        let leave = move || {
            self.keep_chat();
            self.leave_word();
        };
        window_event_listener(ev::visibilitychange, move |_| leave());
        window_event_listener(ev::pagehide, move |_| leave());
        // Another tab, or the time in the browser's history, may have changed the list.
        window_event_listener(ev::focus, move |_| self.do_next(Job::List));
        if let Ok(channel) = BroadcastChannel::new(CHANNEL) {
            let heard = move |_: web_sys::MessageEvent| self.do_next(Job::List);
            channel.set_onmessage(Some(
                Closure::<dyn Fn(_)>::new(heard)
                    .into_js_value()
                    .unchecked_ref(),
            ));
            self.chats.channel.set_value(Some(channel));
        }
    }

    /// An empty conversation.
    pub fn new_chat(self) {
        self.leave_chat();
        self.chats.undo.set(None);
        self.show_record(Record {
            settings: self.settings.get_untracked(),
            ..Record::default()
        });
        self.moved.set_value(true);
    }

    pub fn open_chat(self, id: String) {
        self.leave_chat();
        self.chats.undo.set(None);
        self.chats.opening.set(Some(id.clone()));
        self.do_next(Job::Open(id));
        self.moved.set_value(true);
    }

    pub fn rename_chat(self, id: String, title: String) {
        if self.chats.record.with_untracked(|record| record.id == id) {
            self.chats.record.update(|record| record.title = title);
            self.keep_chat();
        } else {
            self.do_next(Job::Rename(id, title));
        }
    }

    pub fn delete_chat(self, id: String) {
        if self.chats.record.with_untracked(|record| record.id == id) {
            self.leave_chat();
            let before = self.snapshot();
            let told = format!("“{}” was deleted.", before.head().title);
            self.show_record(Record {
                settings: self.settings.get_untracked(),
                ..Record::default()
            });
            self.offer_undo(&told, before);
        }
        self.chats
            .heads
            .update(|heads| heads.retain(|head| head.id != id));
        self.chats
            .unkept
            .update(|all| all.retain(|record| record.id != id));
        self.do_next(Job::Delete(id));
    }

    pub(crate) fn offer_undo(self, told: &str, before: Record) {
        if !before.id.is_empty() {
            let told = told.to_owned();
            self.chats.undo.set(Some(Undo { told, before }));
        }
    }

    /// What was offered.
    pub fn undo(self) {
        if let Some(Undo { before, .. }) = self.chats.undo.try_update(Option::take).flatten() {
            self.leave_chat();
            self.show_record(before.clone());
            self.do_next(Job::Keep(Box::new(before)));
        }
        self.focus_prompt.notify();
    }

    /// Saves the open conversation as a file.
    pub fn export_chat(self) {
        let record = self.snapshot();
        let name = record.head().title;
        self.save_chats(&[record], false, &name);
    }

    pub fn export_all_chats(self) {
        self.keep_chat();
        self.do_next(Job::ExportAll);
    }

    /// Keeps the conversations of a file beside those that are there, and opens the last.
    pub fn import_chats(self, file_name: &str, text: &str) {
        let records = match record::import(text) {
            Ok(records) => records,
            Err(problem) => {
                let problem = format!("{file_name}: {problem}");
                return self.fail("The conversations could not be imported", problem);
            }
        };
        let mut id = String::new();
        for record in records {
            id = new_id();
            let or_now = |time: String| if time.is_empty() { now() } else { time };
            self.do_next(Job::Keep(Box::new(Record {
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
                Err(problem) => self.fail("The file could not be read", problem),
            }
        });
    }

    /// The open conversation as it is.
    pub(crate) fn snapshot(self) -> Record {
        let record = self.chats.record.get_untracked();
        self.settings.with_untracked(|settings| {
            self.chat
                .with_untracked(|chat| record.filled(settings, chat))
        })
    }

    /// Hands the open conversation over to be kept, if anything in it changed.
    pub(crate) fn keep_chat(self) {
        if self.chat.with_untracked(Vec::is_empty) {
            return;
        }
        let chats = self.chats;
        let record = self.snapshot();
        if chats.handed.with_value(|handed| *handed == record) {
            return;
        }
        let said = chats
            .handed
            .with_value(|handed| handed.messages != record.messages);
        chats.record.update(|record| {
            let now = now();
            if record.id.is_empty() {
                (record.id, record.created) = (new_id(), now.clone());
            }
            if said {
                record.updated = now;
            }
        });
        let record = self.snapshot();
        chats.handed.set_value(record.clone());
        chats.handed_at.set_value(js_sys::Date::now());
        self.do_next(Job::Keep(Box::new(record)));
    }

    pub(crate) fn keep_chat_now_and_then(self) {
        if js_sys::Date::now() - self.chats.handed_at.get_value() > OFTEN {
            self.keep_chat();
        }
    }

    /// Ends what is written in the open conversation, and keeps it.
    pub(crate) fn leave_chat(self) {
        if self.running.with_untracked(Option::is_some) {
            self.stop();
        }
        self.keep_chat();
    }

    /// Makes it the open conversation.
    pub(crate) fn show_record(self, record: Record) {
        let first = self.number_exchanges(record.messages.len());
        let (settings, exchanges) = record.contents(first);
        self.settings.set(settings);
        self.chat.set(exchanges);
        self.chats.opening.set(None);
        self.chats.record.set(Record {
            messages: Vec::new(),
            replies: Vec::new(),
            ..record
        });
        self.chats.handed.set_value(self.snapshot());
    }

    pub(crate) fn do_next(self, job: Job) {
        let chats = self.chats;
        chats.jobs.update_value(|jobs| jobs.push_back(job));
        if chats.working.get_value() {
            return;
        }
        chats.working.set_value(true);
        spawn_local(async move {
            while let Some(job) = chats.jobs.try_update_value(VecDeque::pop_front).flatten() {
                chats.asked.set_value(Some(job.clone()));
                self.work_on(job).await;
            }
            chats.asked.set_value(None);
            chats.working.set_value(false);
            self.take_word_back();
        });
    }

    pub(crate) async fn work_on(self, job: Job) {
        let done = match job {
            Job::List => self.list_chats().await,
            Job::Open(id) => self.read_chat(id, false).await,
            Job::Refresh(id) => self.read_chat(id, true).await,
            Job::Keep(record) => self.put_chat(*record).await,
            Job::Rename(id, title) => match self.chats.read(&id).await {
                Ok(record) => self.put_chat(Record { title, ..record }).await,
                Err(problem) => Err(("The conversation could not be renamed", problem)),
            },
            Job::Delete(id) => self.remove_chat(id).await,
            Job::TakeUp(id, text) => self.take_up(id, &text).await,
            Job::ExportAll => self.save_all_chats().await,
        };
        if let Err((title, problem)) = done {
            // Opened anew next time: it may have been closed under this tab.
            self.chats.database.set_value(None);
            self.fail(title, problem);
        }
    }

    pub(crate) async fn list_chats(self) -> Done {
        let chats = self.chats;
        let read = async { chats.database().await?.heads().await };
        let Ok(kept) = read.await else {
            // Told when something is to be kept.
            chats.nowhere.set(true);
            return Ok(());
        };
        chats.nowhere.set(false);
        let mut heads: Vec<Head> = kept
            .into_iter()
            .map(|(id, text)| {
                let head = Head::read(text);
                match head {
                    Some(head) => Head { id, ..head },
                    None => Head {
                        id,
                        title: "Damaged conversation".to_owned(),
                        damaged: true,
                        ..Head::default()
                    },
                }
            })
            .collect();
        chats.unkept.with_untracked(|all| {
            heads.retain(|head| all.iter().all(|record| record.id != head.id));
            heads.extend(all.iter().map(Record::head));
        });
        heads.sort_by(|a, b| b.updated.cmp(&a.updated));
        // Another tab wrote in the conversation that is open here.
        let open = chats.record.with_untracked(|record| record.id.clone());
        let newer = heads
            .iter()
            .find(|head| head.id == open)
            .is_some_and(|head| {
                let known = chats.revisions.with_value(|all| all.get(&open).copied());
                known.is_some_and(|known| known < head.revision)
            });
        if newer && self.running.with_untracked(Option::is_none) {
            self.do_next(Job::Refresh(open));
        }
        if chats.heads.with_untracked(|before| *before != heads) {
            chats.heads.set(heads);
        }
        Ok(())
    }

    pub(crate) async fn read_chat(self, id: String, again: bool) -> Done {
        let read = self.chats.read(&id).await;
        // What was said here meanwhile stays.
        let keeps = |jobs: &VecDeque<Job>| jobs.iter().any(|job| matches!(job, Job::Keep(_)));
        let changed = !self.chats.record.with_untracked(|record| record.id == id)
            || self.running.with_untracked(Option::is_some)
            || self.chats.jobs.with_value(keeps);
        if again && changed {
            return Ok(());
        }
        match read {
            Ok(record) => {
                // Kept as one's own from now on.
                self.chats.know(&id, Some(record.revision));
                self.show_record(record);
                Ok(())
            }
            Err(problem) => {
                self.chats.opening.set(None);
                Err(("The conversation could not be opened", problem))
            }
        }
    }

    pub(crate) async fn put_chat(self, mut record: Record) -> Done {
        let chats = self.chats;
        let known = |id: &String| chats.revisions.with_value(|all| all.get(id).copied());
        let mut revision = known(&record.id);
        loop {
            record.revision = revision.unwrap_or(0) + 1;
            let head = record.head();
            let put = async {
                let texts = (head.text()?, record.text()?);
                let untouched = |there: Option<String>| {
                    let there = Head::read(there);
                    there.is_none_or(|there| Some(there.revision) == revision)
                };
                let database = chats.database().await?;
                database
                    .put(&record.id, (&texts.0, &texts.1), untouched)
                    .await
            };
            match put.await {
                Ok(true) => break,
                Ok(false) => {
                    // Another tab wrote in it: both are kept.
                    let id = new_id();
                    record.title = format!("{} (2)", head.title);
                    chats.record.update(|open| {
                        if open.id == record.id {
                            (open.id, open.title) = (id.clone(), record.title.clone());
                        }
                    });
                    chats.handed.update_value(|handed| {
                        if handed.id == record.id {
                            (handed.id, handed.title) = (id.clone(), record.title.clone());
                        }
                    });
                    (record.id, revision) = (id, None);
                    self.fail(
                        "Two tabs wrote in this conversation",
                        format!(
                            "The other tab's is kept as it is. This tab's goes on as “{}”.",
                            record.title
                        ),
                    );
                }
                Err(problem) => {
                    let first = chats.unkept.with_untracked(Vec::is_empty);
                    chats.unkept.update(|all| {
                        all.retain(|other| other.id != record.id);
                        all.push(record);
                    });
                    chats.list(head);
                    return match first {
                        true => Err((
                            "The conversation is not kept",
                            format!(
                                "{problem}. It is there until this tab is closed: export it, or make room by deleting kept models or conversations."
                            ),
                        )),
                        false => Ok(()),
                    };
                }
            }
        }
        chats.know(&record.id, Some(record.revision));
        chats.list(record.head());
        // A reply that grows is told of when it is done.
        if self.running.with_untracked(Option::is_none) {
            chats.announce(&record.id);
        }
        // There is room again.
        let mut waiting = chats.unkept.try_update(std::mem::take).unwrap_or_default();
        waiting.retain(|other| other.id != record.id);
        for other in waiting {
            self.do_next(Job::Keep(Box::new(other)));
        }
        Ok(())
    }

    pub(crate) async fn remove_chat(self, id: String) -> Done {
        let chats = self.chats;
        let delete = async { chats.database().await?.delete(&id).await };
        let done = delete
            .await
            .map_err(|problem| ("The conversation could not be deleted", problem));
        chats.know(&id, None);
        chats.announce(&id);
        self.do_next(Job::List);
        done
    }

    pub(crate) async fn save_all_chats(self) -> Done {
        let mut records = Vec::new();
        let mut damaged = 0;
        for head in self.chats.heads.get_untracked() {
            match self.chats.read(&head.id).await {
                Ok(record) => records.push(record),
                Err(_) => damaged += 1,
            }
        }
        self.save_chats(&records, true, "conversations");
        match damaged {
            0 => Ok(()),
            count => Err((
                "Not all conversations are in the file",
                format!("{count} could not be read."),
            )),
        }
    }

    pub(crate) fn save_chats(self, records: &[Record], together: bool, name: &str) {
        let name = format!("{}.json", name.replace(['/', '\\', ':'], "-"));
        let saved =
            record::export(records, together).and_then(|text| files::save(&name, text.as_bytes()));
        if let Err(problem) = saved {
            self.fail("The file could not be saved", problem);
        }
    }
}

/// A failure's title and detail.
pub(crate) type Done = Result<(), (&'static str, String)>;

fn now() -> String {
    String::from(js_sys::Date::new_0().to_iso_string())
}

/// Another than any tab ever gave.
fn new_id() -> String {
    let random = (js_sys::Math::random() * f64::from(u32::MAX)) as u32;
    format!("{:x}-{random:08x}", js_sys::Date::now() as u64)
}
