//! What is asked of the conversations' database, one after the other: a conversation is never read
//! before it was kept.

use std::collections::VecDeque;

use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::Chat;
use super::away::Away;
use super::kept_chats::new_id;
use super::record::{Head, Record};
use crate::ui::page::Step;

/// What the database is asked.
#[derive(Clone)]
pub(super) enum Job {
    List,
    Open(String),
    /// What another tab wrote in the open one.
    Refresh(String),
    Keep(Box<Record>),
    Rename(String, String),
    Delete(String),
    /// What a page that was left had no time for: a conversation's id, and its record, or nothing
    /// if it was deleted.
    Restore(String, String),
    ExportAll,
}

/// A failure's title and detail.
pub(super) type Done = Result<(), (&'static str, String)>;

impl Chat {
    pub(super) fn enqueue(self, job: Job) {
        let kept = self.kept;
        kept.jobs.update_value(|jobs| jobs.push_back(job));
        if kept.working.get_value() {
            return;
        }
        kept.working.set_value(true);
        spawn_local(async move {
            while let Some(job) = kept.jobs.try_update_value(VecDeque::pop_front).flatten() {
                kept.asked.set_value(Some(job.clone()));
                self.work_on(job).await;
            }
            kept.asked.set_value(None);
            kept.working.set_value(false);
            self.forget_pending_writes();
        });
    }

    pub(super) async fn work_on(self, job: Job) {
        let again = job.clone();
        let done = match job {
            Job::List => self.list_chats().await,
            Job::Open(id) => self.read_chat(id, false).await,
            Job::Refresh(id) => self.read_chat(id, true).await,
            Job::Keep(record) => self.put_chat(*record).await,
            Job::Rename(id, title) => match self.kept.read(&id).await {
                Ok(record) => self.put_chat(Record { title, ..record }).await,
                Err(problem) => Err(("The conversation could not be renamed", problem)),
            },
            Job::Delete(id) => self.remove_chat(id).await,
            Job::Restore(id, text) => self.restore_write(id, &text).await,
            Job::ExportAll => self.save_all_chats().await,
        };
        if let Err((title, problem)) = done {
            // Opened anew next time: it may have been closed under this tab.
            self.kept.database.set_value(None);
            let step = match again {
                Job::Keep(record) => Step::new("export-unkept", "Export it", move || {
                    let name = record.head().title;
                    self.save_chats(std::slice::from_ref(&record), false, &name);
                }),
                again => Step::again(move || self.enqueue(again.clone())),
            };
            self.page.offer(title, problem, [step]);
        }
    }

    pub(super) async fn list_chats(self) -> Done {
        let kept = self.kept;
        let read = async { kept.database().await?.heads().await };
        let Ok(found) = read.await else {
            // Told when something is to be kept.
            kept.nowhere.set(true);
            return Ok(());
        };
        kept.nowhere.set(false);
        let mut heads: Vec<Head> = found
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
        kept.unkept.with_untracked(|all| {
            heads.retain(|head| all.iter().all(|record| record.id != head.id));
            heads.extend(all.iter().map(Record::head));
        });
        heads.sort_by(|a, b| b.updated.cmp(&a.updated));
        // Another tab wrote in the conversation that is open here.
        let open = kept.record.with_untracked(|record| record.id.clone());
        let newer = heads
            .iter()
            .find(|head| head.id == open)
            .is_some_and(|head| {
                let known = kept.revisions.with_value(|all| all.get(&open).copied());
                known.is_some_and(|known| known < head.revision)
            });
        if newer && self.running.with_untracked(Option::is_none) {
            self.enqueue(Job::Refresh(open));
        }
        if kept.heads.with_untracked(|before| *before != heads) {
            kept.heads.set(heads);
        }
        Ok(())
    }

    pub(super) async fn read_chat(self, id: String, again: bool) -> Done {
        let read = self.kept.read(&id).await;
        // What was said here meanwhile stays.
        let keeps = |jobs: &VecDeque<Job>| jobs.iter().any(|job| matches!(job, Job::Keep(_)));
        let changed = !self.kept.record.with_untracked(|record| record.id == id)
            || self.running.with_untracked(Option::is_some)
            || self.kept.jobs.with_value(keeps);
        if again && changed {
            return Ok(());
        }
        match read {
            Ok(record) => {
                // Kept as one's own from now on.
                self.kept.know(&id, Some(record.revision));
                self.show_record(record);
                Ok(())
            }
            Err(problem) => {
                self.kept.opening.set(None);
                Err(("The conversation could not be opened", problem))
            }
        }
    }

    pub(super) async fn put_chat(self, mut record: Record) -> Done {
        let kept = self.kept;
        let known = |id: &String| kept.revisions.with_value(|all| all.get(id).copied());
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
                let database = kept.database().await?;
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
                    kept.record.update(|open| {
                        if open.id == record.id {
                            (open.id, open.title) = (id.clone(), record.title.clone());
                        }
                    });
                    kept.away.update(|away| {
                        if let Some(Away { record: left, .. }) = away
                            && left.id == record.id
                        {
                            (left.id, left.title) = (id.clone(), record.title.clone());
                        }
                    });
                    kept.handed.update_value(|handed| {
                        if handed.id == record.id {
                            (handed.id, handed.title) = (id.clone(), record.title.clone());
                        }
                    });
                    (record.id, revision) = (id, None);
                    self.page.fail(
                        "Two tabs wrote in this conversation",
                        format!(
                            "The other tab's is kept as it is. This tab's goes on as “{}”.",
                            record.title
                        ),
                    );
                }
                Err(problem) => {
                    let first = kept.unkept.with_untracked(Vec::is_empty);
                    kept.unkept.update(|all| {
                        all.retain(|other| other.id != record.id);
                        all.push(record);
                    });
                    kept.list(head);
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
        kept.know(&record.id, Some(record.revision));
        kept.list(record.head());
        // A reply that grows is told of when it is done.
        if self.running.with_untracked(Option::is_none) {
            kept.announce(&record.id);
        }
        // There is room again.
        let mut waiting = kept.unkept.try_update(std::mem::take).unwrap_or_default();
        waiting.retain(|other| other.id != record.id);
        for other in waiting {
            self.enqueue(Job::Keep(Box::new(other)));
        }
        Ok(())
    }

    pub(super) async fn remove_chat(self, id: String) -> Done {
        let kept = self.kept;
        let delete = async { kept.database().await?.delete(&id).await };
        let done = delete
            .await
            .map_err(|problem| ("The conversation could not be deleted", problem));
        kept.know(&id, None);
        kept.announce(&id);
        self.enqueue(Job::List);
        done
    }

    pub(super) async fn save_all_chats(self) -> Done {
        let mut records = Vec::new();
        let mut damaged = 0;
        for head in self.kept.heads.get_untracked() {
            match self.kept.read(&head.id).await {
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
}
