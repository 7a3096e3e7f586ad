//! What the model wrote to one prompt, time and again, and how the conversation went on from each.

use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use super::Chat;
use super::conversation::{Exchange, Outcome};
use crate::ui::page::Mode;

/// All replies to one prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// As they were when another was shown last; the one that is shown may be longer by now, and
    /// what follows it is in the conversation.
    all: Vec<Version>,
    /// The one that is shown.
    at: usize,
}

/// One of them. Those of earlier pages were written without names, and with nothing after them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Version {
    reply: String,
    outcome: Option<Outcome>,
    /// What was asked and replied after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    then: Vec<Turn>,
}

/// An exchange that is not shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Turn {
    prompt: String,
    reply: String,
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Versions::is_empty")]
    versions: Versions,
}

impl Versions {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The one that is shown, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        (self.at, self.all.len())
    }

    /// The numbers, from 1 on, of those that the conversation went on from and that are not shown.
    pub fn went_on(&self) -> impl Iterator<Item = usize> {
        let others = self.all.iter().enumerate();
        let others =
            others.filter(|(index, version)| *index != self.at && !version.then.is_empty());
        others.map(|(index, _)| index + 1)
    }

    fn keep(&mut self, version: Version) {
        match self.all.get_mut(self.at) {
            Some(shown) => *shown = version,
            None => self.all.push(version),
        }
    }

    /// Shows the next one or the one before, and hands over what follows it.
    fn turn(&mut self, forward: bool) -> Option<Version> {
        self.at = match forward {
            true => (self.at + 1).min(self.all.len().saturating_sub(1)),
            false => self.at.saturating_sub(1),
        };
        let shown = self.all.get_mut(self.at)?;
        let then = std::mem::take(&mut shown.then);
        Some(Version {
            then,
            ..shown.clone()
        })
    }
}

impl Exchange {
    /// Begins another version, beside those that are not empty.
    pub(super) fn begin_version(&self) {
        let shown = self.version(Vec::new());
        self.versions.update(|versions| {
            versions.keep(shown);
            versions.all.retain(|version| !version.reply.is_empty());
            versions.at = versions.all.len();
            if versions.at > 0 {
                versions.all.push(Version::default());
            }
        });
        self.reply.set(String::new());
    }

    /// What is shown, and what follows it.
    fn version(&self, then: Vec<Turn>) -> Version {
        Version {
            reply: self.reply.get_untracked(),
            outcome: self.outcome.get_untracked(),
            then,
        }
    }

    fn to_turn(&self) -> Turn {
        Turn {
            prompt: self.prompt.clone(),
            reply: self.reply.get_untracked(),
            outcome: self.outcome.get_untracked(),
            versions: self.versions.get_untracked(),
        }
    }

    fn of_turn(id: usize, turn: Turn) -> Self {
        let exchange = Self::new(id, turn.prompt);
        exchange.reply.set(turn.reply);
        exchange.outcome.set(Some(ended(turn.outcome)));
        exchange.versions.set(turn.versions);
        exchange
    }
}

/// What is not shown is not written on: the page was left meanwhile.
fn ended(outcome: Option<Outcome>) -> Outcome {
    outcome.unwrap_or(Outcome::Interrupted)
}

impl Chat {
    /// Shows the version after the one that is shown, or the one before, and the conversation as it
    /// went on from that one.
    pub fn turn(self, exchange: &Exchange, forward: bool) {
        if !untrack(|| self.engine.ready()) {
            return;
        }
        let shown = untrack(|| self.exchanges());
        let place = |all: &Vec<Exchange>| all.iter().position(|other| other.id == exchange.id);
        let Some(place) = shown.with_untracked(place) else {
            return;
        };
        // Continued texts do not follow each other.
        let follows = self.page.mode.get_untracked() == Mode::Chat;
        let after =
            |all: &Vec<Exchange>| all.iter().skip(place + 1).map(Exchange::to_turn).collect();
        let after: Vec<Turn> = match follows {
            true => shown.with_untracked(after),
            false => Vec::new(),
        };
        let before = after.len();
        let version = exchange.version(after);
        let turned = exchange.versions.try_update(|versions| {
            versions.keep(version);
            versions.turn(forward)
        });
        let Some(version) = turned.flatten() else {
            return;
        };
        exchange.reply.set(version.reply);
        exchange.outcome.set(Some(ended(version.outcome)));
        let count = version.then.len();
        if before + count > 0 {
            let first = self.number_exchanges(count);
            let turns = version.then.into_iter().enumerate();
            let then = turns.map(|(index, turn)| Exchange::of_turn(first + index, turn));
            self.stay.set_value(true);
            shown.update(|all| {
                all.truncate(place + 1);
                all.extend(then);
            });
            self.kept
                .record
                .update(|record| record.forgotten = record.forgotten.min(place));
            // It would bring back the conversation as it was before this.
            self.kept.undo.set(None);
        }
        self.keep_chat();
    }
}
