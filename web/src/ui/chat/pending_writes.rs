//! What is still to be written as the page is left.
//!
//! A database needs time, which a page that is left does not have. What it has not answered then
//! goes into the browser's storage, which takes it at once, and into the database at the next
//! visit.

use leptos::prelude::*;

use super::Chat;
use super::record::Record;
use super::write_queue::{Done, Job};
use crate::ui::widgets::storage::storage;

/// Before a conversation's id: a key of what was not written.
const KEY_PREFIX: &str = "ternary-core.left.";

impl Chat {
    /// Puts what is still to be written into the browser's storage.
    pub(super) fn save_pending_writes(self) {
        let kept = self.kept;
        let Some(storage) = storage() else {
            return;
        };
        let waiting = kept.jobs.get_value();
        for job in kept.asked.get_value().into_iter().chain(waiting) {
            let (id, text) = match job {
                Job::Keep(mut record) => {
                    let known = kept
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
            let key = format!("{KEY_PREFIX}{id}");
            // Where there is no room the database may still be fast enough.
            storage.set_item(&key, &text).ok();
            kept.saved_keys.update_value(|keys| keys.push(key));
        }
    }

    /// Everything was written.
    pub(super) fn forget_pending_writes(self) {
        let keys = self.kept.saved_keys.try_update_value(std::mem::take);
        if let Some(storage) = storage() {
            for key in keys.unwrap_or_default() {
                storage.remove_item(&key).ok();
            }
        }
    }

    pub(super) fn restore_pending_writes(self) {
        let Some(storage) = storage() else {
            return;
        };
        for index in (0..storage.length().unwrap_or(0)).rev() {
            let key = storage.key(index).ok().flatten().unwrap_or_default();
            if let Some(id) = key.strip_prefix(KEY_PREFIX)
                && let Ok(Some(text)) = storage.get_item(&key)
            {
                self.enqueue(Job::Restore(id.to_owned(), text));
                self.kept.saved_keys.update_value(|keys| keys.push(key));
            }
        }
    }

    pub(super) async fn restore_write(self, id: String, text: &str) -> Done {
        let kept = self.kept;
        if text.is_empty() {
            return self.remove_chat(id).await;
        }
        let Ok(record) = Record::read(text) else {
            // Another version's; the database has what was kept before.
            return Ok(());
        };
        let mut revision = record.revision;
        if let Ok(kept) = kept.read(&id).await
            && kept.revision == revision + 1
            && record.goes_on_from(&kept)
        {
            // What was asked last was written after all.
            revision = kept.revision;
        }
        kept.know(&id, (revision > 0).then_some(revision));
        self.put_chat(record).await
    }
}
