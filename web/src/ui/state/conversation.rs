//! Asking and being answered.

use leptos::prelude::*;
use ternary_core::session::{Command, FinishReason, Message, Stats};

use super::{AppState, Asked, Tab};
use crate::protocol::Request;

/// What the prompt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Turns, through the model's chat template.
    Chat,
    /// Plain continuation; each stands alone.
    Text,
}

/// How a reply ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Finished(FinishReason, Stats),
    Failed,
}

/// A prompt and its reply. The parts change on their own, so that a token redraws one text and nothing else.
#[derive(Clone)]
pub struct Exchange {
    pub id: usize,
    pub prompt: String,
    pub reply: ArcRwSignal<String>,
    /// `None` while the reply is being written.
    pub outcome: ArcRwSignal<Option<Outcome>>,
}

/// The reply being written.
#[derive(Clone)]
pub struct Running {
    pub exchange: Exchange,
    pub tokens: usize,
    /// When the first token came, in milliseconds of the page's clock.
    first_token: f64,
    /// Tokens a second so far; 0 until there are two.
    pub speed: f64,
}

impl AppState {
    /// The exchanges of the present mode.
    pub fn exchanges(self) -> RwSignal<Vec<Exchange>> {
        match self.mode.get() {
            Mode::Chat => self.chat,
            Mode::Text => self.texts,
        }
    }

    /// Shows a part of the page.
    pub fn show(self, tab: Tab) {
        match tab {
            Tab::Chat => self.mode.set(Mode::Chat),
            Tab::Text => self.mode.set(Mode::Text),
            Tab::Map | Tab::Tune => self.enter_workshop(),
        }
        self.tab.set(tab);
    }

    /// What the prompt is for from now on; other parts of the page stay shown.
    pub(super) fn set_mode(self, mode: Mode) {
        self.mode.set(mode);
        if matches!(self.tab.get_untracked(), Tab::Chat | Tab::Text) {
            self.tab.set(match mode {
                Mode::Chat => Tab::Chat,
                Mode::Text => Tab::Text,
            });
        }
    }

    /// Asks what the draft says.
    pub fn send(self) {
        let prompt = self.draft.get_untracked();
        if prompt.trim().is_empty() || !untrack(|| self.ready()) {
            return;
        }
        self.draft.set(String::new());
        self.ask(prompt);
    }

    /// Asks `prompt` in the present mode.
    pub fn ask(self, prompt: String) {
        let exchanges = untrack(|| self.exchanges());
        let id = self.exchange_count.get_value();
        self.exchange_count.set_value(id + 1);
        let exchange = Exchange {
            id,
            prompt,
            reply: ArcRwSignal::new(String::new()),
            outcome: ArcRwSignal::new(None),
        };
        exchanges.update(|all| all.push(exchange.clone()));
        self.run(exchange);
    }

    /// Writes the last reply again.
    pub fn regenerate(self) {
        let last = untrack(|| self.exchanges().with(|all| all.last().cloned()));
        if let Some(exchange) = last.filter(|_| untrack(|| self.ready())) {
            exchange.reply.set(String::new());
            self.run(exchange);
            self.focus_prompt.notify();
        }
    }

    /// Writes on where the last continuation ended.
    pub fn write_on(self) {
        let last = self.texts.with_untracked(|all| all.last().cloned());
        if let Some(exchange) = last.filter(|_| untrack(|| self.ready())) {
            self.run(exchange);
            self.focus_prompt.notify();
        }
    }

    pub fn stop(self) {
        self.request(&Request::Stop);
    }

    /// Empties the present mode's conversation.
    pub fn clear(self) {
        if self.running.with_untracked(Option::is_some) {
            self.stop();
        }
        untrack(|| self.exchanges()).set(Vec::new());
        self.focus_prompt.notify();
    }

    fn run(self, exchange: Exchange) {
        self.notice.set(None);
        let settings = self.settings.get_untracked();
        let sampling = settings.sampling();
        let command = match self.mode.get_untracked() {
            Mode::Chat => Command::Chat {
                messages: self.messages(&settings.system_prompt),
                sampling,
            },
            Mode::Text => Command::Generate {
                prompt: exchange.prompt.clone() + &exchange.reply.get_untracked(),
                sampling,
            },
        };
        exchange.outcome.set(None);
        self.running.set(Some(Running {
            exchange,
            tokens: 0,
            first_token: 0.0,
            speed: 0.0,
        }));
        self.run_command(Asked::Reply, command);
    }

    /// The conversation so far, ending with the prompt to answer.
    fn messages(self, system_prompt: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        if !system_prompt.trim().is_empty() {
            messages.push(Message::new("system", system_prompt));
        }
        self.chat.with_untracked(|all| {
            for (index, exchange) in all.iter().enumerate() {
                let reply = exchange.reply.get_untracked();
                let is_last = index + 1 == all.len();
                // A prompt that never got an answer would stand as two turns of one speaker.
                if reply.is_empty() && !is_last {
                    continue;
                }
                messages.push(Message::new("user", exchange.prompt.clone()));
                if !is_last {
                    messages.push(Message::new("assistant", reply));
                }
            }
        });
        messages
    }

    pub(super) fn reply_grew(self, text: &str) {
        self.running.update(|running| {
            let Some(running) = running else { return };
            running.exchange.reply.update(|reply| reply.push_str(text));
            let now = js_sys::Date::now();
            if running.tokens == 0 {
                running.first_token = now;
            } else {
                running.speed =
                    running.tokens as f64 * 1000.0 / (now - running.first_token).max(1.0);
            }
            running.tokens += 1;
        });
    }

    pub(super) fn reply_finished(self, reason: FinishReason, stats: Stats) {
        self.end_reply(Outcome::Finished(reason, stats));
    }

    pub(super) fn reply_failed(self, message: String) {
        self.end_reply(Outcome::Failed);
        self.fail("The model could not answer", message);
    }

    pub(super) fn end_reply(self, outcome: Outcome) {
        if let Some(running) = self.running.try_update(Option::take).flatten() {
            running.exchange.outcome.set(Some(outcome));
        }
    }
}
