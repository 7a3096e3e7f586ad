//! What is still to be written as the page is left.
//!
//! A database needs time, which a page that is left does not have. What it has not answered then goes into the browser's storage,
//! which takes it at once, and into the database at the next visit.

use leptos::prelude::*;

use super::kept_chats::{Done, Job};
use super::record::Record;
use crate::ui::state::AppState;
use crate::ui::widgets::storage::storage;

/// Before a conversation's id: a key of what was not written.
const LEFT: &str = "ternary-core.left.";

impl AppState {
    /// Leaves word in the browser's storage of what is still to be written.
    pub(crate) fn leave_word(self) {
        let chats = self.chats;
        let Some(storage) = storage() else {
            return;
        };
        let waiting = chats.jobs.get_value();
        for job in chats.asked.get_value().into_iter().chain(waiting) {
            let (id, text) = match job {
                Job::Keep(mut record) => {
                    let known = chats
                        .revisions
                        .with_value(|all| all.get(&record.id).copied());
                    record.revision = known.unwrap_or(record.revision);
                    let Ok(text) = record.text() else {
                        continue;
                    };
                    (record.id, text)
                }
                Job::Delete(id) => (id, String::new()),
                _ => continue,
            };
            let key = format!("{LEFT}{id}");
            // Where there is no room the database may still be fast enough.
            storage.set_item(&key, &text).ok();
            chats.left.update_value(|left| left.push(key));
        }
    }

    /// Everything was written.
    pub(crate) fn take_word_back(self) {
        let left = self.chats.left.try_update_value(std::mem::take);
        if let Some(storage) = storage() {
            for key in left.unwrap_or_default() {
                storage.remove_item(&key).ok();
            }
        }
    }

    pub(crate) fn take_up_what_was_left(self) {
        let Some(storage) = storage() else {
            return;
        };
        for index in (0..storage.length().unwrap_or(0)).rev() {
            let key = storage.key(index).ok().flatten().unwrap_or_default();
            if let Some(id) = key.strip_prefix(LEFT)
                && let Ok(Some(text)) = storage.get_item(&key)
            {
                self.do_next(Job::TakeUp(id.to_owned(), text));
                self.chats.left.update_value(|left| left.push(key));
            }
        }
    }

    pub(crate) async fn take_up(self, id: String, text: &str) -> Done {
        let chats = self.chats;
        if text.is_empty() {
            return self.remove_chat(id).await;
        }
        let Ok(record) = Record::read(text) else {
            // Another version's; the database has what was kept before.
            return Ok(());
        };
        let mut revision = record.revision;
        if let Ok(kept) = chats.read(&id).await
            && kept.revision == revision + 1
            && record.goes_on_from(&kept)
        {
            // What was asked last was written after all.
            revision = kept.revision;
        }
        chats.know(&id, (revision > 0).then_some(revision));
        self.put_chat(record).await
    }
}
