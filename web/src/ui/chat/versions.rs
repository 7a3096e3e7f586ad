//! What the model wrote to one prompt, time and again.

use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use super::Chat;
use super::conversation::{Exchange, Outcome};

/// All replies to one prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// As they were when another was shown last; the one that is shown may be longer by now.
    all: Vec<(String, Option<Outcome>)>,
    /// The one that is shown.
    at: usize,
}

impl Versions {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The one that is shown, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        (self.at, self.all.len())
    }

    fn keep(&mut self, reply: String, outcome: Option<Outcome>) {
        match self.all.get_mut(self.at) {
            Some(shown) => *shown = (reply, outcome),
            None => self.all.push((reply, outcome)),
        }
    }
}

impl Exchange {
    /// Begins another version, beside those that are not empty.
    pub(super) fn begin_version(&self) {
        let (reply, outcome) = (self.reply.get_untracked(), self.outcome.get_untracked());
        self.versions.update(|versions| {
            versions.keep(reply, outcome);
            versions.all.retain(|(reply, _)| !reply.is_empty());
            versions.at = versions.all.len();
            if versions.at > 0 {
                versions.all.push((String::new(), None));
            }
        });
        self.reply.set(String::new());
    }
}

impl Chat {
    /// Shows the version after the one that is shown, or the one before.
    pub fn turn(self, exchange: &Exchange, forward: bool) {
        if !untrack(|| self.engine.ready()) {
            return;
        }
        let (reply, outcome) = (
            exchange.reply.get_untracked(),
            exchange.outcome.get_untracked(),
        );
        let shown = exchange.versions.try_update(|versions| {
            versions.keep(reply, outcome);
            versions.at = match forward {
                true => (versions.at + 1).min(versions.all.len() - 1),
                false => versions.at.saturating_sub(1),
            };
            versions.all.get(versions.at).cloned()
        });
        if let Some((reply, outcome)) = shown.flatten() {
            exchange.reply.set(reply);
            exchange.outcome.set(outcome);
            self.keep_chat();
        }
    }
}
