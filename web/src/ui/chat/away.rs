//! A conversation that was left while its reply is written: the reply goes on, and is kept.

use leptos::prelude::*;

use super::Chat;
use super::conversation::Exchange;
use super::kept_chats::now;
use super::record::Record;
use super::settings::Settings;
use super::write_queue::Job;

#[derive(Clone)]
pub struct Away {
    /// Without its settings and messages.
    pub record: Record,
    settings: Settings,
    pub exchanges: Vec<Exchange>,
}

impl Chat {
    /// Keeps the open conversation, to open another. A reply that is being written goes on.
    pub(super) fn leave_chat(self) {
        self.keep_chat();
        if self.is_shown_reply_running() {
            self.kept.away.set(Some(Away {
                record: self.kept.record.get_untracked(),
                settings: self.settings.get_untracked(),
                exchanges: self.conversation.get_untracked(),
            }));
        }
    }

    /// The title of the conversation that a reply is written in, if it is not the open one.
    pub fn replies_elsewhere(self) -> Option<String> {
        let id = self
            .kept
            .away
            .with(|away| away.as_ref().map(|away| away.record.id.clone()))?;
        self.kept.title(&id)
    }

    /// Opens it again, as it is by now; false if it is another.
    pub(super) fn come_back(self, id: &str) -> bool {
        let is_it = |away: &Option<Away>| away.as_ref().is_some_and(|away| away.record.id == id);
        if !self.kept.away.with_untracked(is_it) {
            return false;
        }
        if let Some(away) = self.kept.away.try_update(Option::take).flatten() {
            self.settings.set(away.settings);
            self.conversation.set(away.exchanges);
            self.kept.opening.set(None);
            self.kept.record.set(away.record);
            self.kept.handed.set_value(self.snapshot());
        }
        true
    }

    /// Hands it over to be kept.
    pub(super) fn keep_away(self) {
        let Some(mut away) = self.kept.away.get_untracked() else {
            return;
        };
        away.record.updated = now();
        let record = away.record.filled(&away.settings, &away.exchanges);
        self.kept.handed_at.set_value(js_sys::Date::now());
        self.enqueue(Job::Keep(Box::new(record)));
    }

    /// Its reply has ended.
    pub(super) fn end_away(self) {
        self.keep_away();
        self.kept.away.set(None);
    }
}
