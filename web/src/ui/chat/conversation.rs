//! Asking and being answered.

use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use ternary::session::{Command, Event, FinishReason, Message, Stats};

use super::Chat;
use super::record::{Record, Role};
use super::tools::{self, Speech};
use super::versions::Versions;
use crate::protocol::Response;
use crate::ui::page::{Mode, Step};

/// How a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Finished(FinishReason, Stats),
    Failed,
    /// The reader left while it was written.
    Interrupted,
}

impl Outcome {
    /// Whether the model would have written more.
    pub fn is_cut(self) -> bool {
        !matches!(self, Outcome::Finished(FinishReason::End, _))
    }
}

/// A prompt and its reply. The parts change on their own, so that a token redraws one text and
/// nothing else.
#[derive(Clone)]
pub struct Exchange {
    pub id: usize,
    pub prompt: String,
    pub reply: ArcRwSignal<String>,
    /// `None` while the reply is being written.
    pub outcome: ArcRwSignal<Option<Outcome>>,
    /// None while there is only one reply.
    pub versions: ArcRwSignal<Versions>,
}

impl Exchange {
    pub fn new(id: usize, prompt: String) -> Self {
        Self {
            id,
            prompt,
            reply: ArcRwSignal::new(String::new()),
            outcome: ArcRwSignal::new(None),
            versions: ArcRwSignal::default(),
        }
    }
}

/// The reply being written.
#[derive(Clone)]
pub struct Running {
    pub exchange: Exchange,
    pub tokens: usize,
    /// Its prompt was just written, and stands nowhere else.
    is_new: bool,
    /// When the first token came, in milliseconds of the page's clock.
    first_token: f64,
    /// Tokens a second so far; 0 until there are two.
    pub speed: f64,
}

impl Running {
    fn is_unanswered(&self) -> bool {
        self.is_new && self.tokens == 0
    }
}

/// Notes in `record` that the oldest `messages` of those that were sent were not read.
fn forget(record: &mut Record, all: &[Exchange], messages: usize) {
    let mut left = messages;
    for (index, exchange) in all.iter().enumerate().skip(record.forgotten) {
        if left == 0 {
            break;
        }
        record.forgotten = index + 1;
        // Those without a reply were not sent.
        if exchange.reply.with_untracked(|reply| !reply.is_empty()) {
            left = left.saturating_sub(2);
        }
    }
}

impl Chat {
    /// The exchanges of the present mode.
    pub fn exchanges(self) -> RwSignal<Vec<Exchange>> {
        match self.page.mode.get() {
            Mode::Chat => self.conversation,
            Mode::Text => self.texts,
        }
    }

    /// Asks what the draft says.
    pub fn send(self) {
        let prompt = self.draft.get_untracked();
        if prompt.trim().is_empty() {
            return;
        }
        let ready = untrack(|| self.engine.ready());
        self.held.set(!ready);
        if ready {
            self.draft.set(String::new());
            self.ask(prompt);
        }
    }

    /// Asks `prompt` in the present mode.
    pub fn ask(self, prompt: String) {
        self.kept.undo.set(None);
        let exchange = Exchange::new(self.number_exchanges(1), prompt);
        untrack(|| self.exchanges()).update(|all| all.push(exchange.clone()));
        self.run(exchange);
        self.running.update(|running| {
            if let Some(running) = running {
                running.is_new = true;
            }
        });
    }

    /// Asks `prompt` in place of the one of the exchange `id`. What came after it goes, and can be
    /// had back.
    pub fn ask_instead(self, id: usize, prompt: String) {
        let place = |all: &Vec<Exchange>| all.iter().position(|exchange| exchange.id == id);
        let Some(place) = self.conversation.with_untracked(place) else {
            return;
        };
        let before = self.snapshot();
        let exchange = Exchange::new(self.number_exchanges(1), prompt);
        self.conversation.update(|all| {
            all.truncate(place);
            all.push(exchange.clone());
        });
        self.kept
            .record
            .update(|record| record.forgotten = record.forgotten.min(place));
        self.run(exchange);
        self.offer_undo(
            "The message was changed, and the replies from there on are new.",
            before,
        );
    }

    /// Writes the last reply again.
    pub fn regenerate(self) {
        if let Some(exchange) = self.last_when_ready() {
            let before = self.snapshot();
            let had_text = exchange.reply.with_untracked(|reply| !reply.is_empty());
            exchange.begin_version();
            self.run(exchange);
            if had_text && self.page.mode.get_untracked() == Mode::Chat {
                self.offer_undo("Reply regenerated.", before);
            }
            self.page.focus_prompt.notify();
        }
    }

    /// Writes on where the last reply ended.
    pub fn write_on(self) {
        if let Some(exchange) = self.last_when_ready() {
            self.run(exchange);
            self.page.focus_prompt.notify();
        }
    }

    pub(super) fn last_when_ready(self) -> Option<Exchange> {
        let last = untrack(|| self.exchanges().with(|all| all.last().cloned()));
        last.filter(|_| untrack(|| self.engine.ready()))
    }

    /// The first of so many new numbers.
    pub(super) fn number_exchanges(self, count: usize) -> usize {
        let first = self.exchange_count.get_value();
        self.exchange_count.set_value(first + count);
        first
    }

    /// An empty conversation, or no texts.
    pub fn clear(self) {
        match self.page.mode.get_untracked() {
            Mode::Chat => self.new_chat(),
            Mode::Text => {
                self.engine.stop_reply();
                self.texts.set(Vec::new());
            }
        }
        self.page.focus_prompt.notify();
    }

    pub(super) fn run(self, exchange: Exchange) {
        self.page.notice.set(None);
        let settings = self.settings.get_untracked();
        let sampling = settings.sampling();
        let command = match self.page.mode.get_untracked() {
            Mode::Chat => {
                let model = self
                    .engine
                    .model
                    .with_untracked(|model| model.as_ref().map(|model| model.name.clone()));
                self.kept.record.update(|record| {
                    record.model = model.unwrap_or_default();
                    record.origin = self.engine.origin.get_untracked();
                });
                Command::Chat {
                    messages: self.messages(&settings.system_prompt),
                    sampling,
                    demands: settings.demands(),
                }
            }
            Mode::Text => Command::Generate {
                prompt: exchange.prompt.clone() + &exchange.reply.get_untracked(),
                sampling,
                form: settings.form(),
            },
        };
        exchange.outcome.set(None);
        self.running.set(Some(Running {
            exchange,
            tokens: 0,
            is_new: false,
            first_token: 0.0,
            speed: 0.0,
        }));
        self.engine
            .reply(command, move |_, response| self.on_response(response));
        self.keep_chat();
    }

    /// The conversation so far, ending with the prompt to answer, or with what is there of its
    /// answer.
    pub(super) fn messages(self, system_prompt: &str) -> Vec<Message> {
        let (mut messages, mut speech) = (Vec::new(), Speech::default());
        if !system_prompt.trim().is_empty() {
            messages.push(Message::new(Role::System.name(), system_prompt));
        }
        let forgotten = self.kept.record.with_untracked(|record| record.forgotten);
        self.conversation.with_untracked(|all| {
            for (index, exchange) in all.iter().enumerate().skip(forgotten) {
                let reply = exchange.reply.get_untracked();
                let is_last = index + 1 == all.len();
                // A prompt that never got an answer would stand as two turns of one speaker.
                if reply.is_empty() && !is_last {
                    continue;
                }
                messages.extend(speech.prompt(&exchange.prompt));
                if !reply.is_empty() {
                    messages.push(speech.reply(&reply));
                }
            }
        });
        messages
    }

    /// Takes note that the model did not read the oldest `messages` of those it was given.
    fn forget(self, messages: usize) {
        let kept = self.kept;
        if self.is_shown_reply_running() {
            let all = self.conversation.get_untracked();
            kept.record.update(|record| forget(record, &all, messages));
        }
        kept.away.update(|away| {
            if let Some(away) = away {
                forget(&mut away.record, &away.exchanges, messages);
            }
        });
    }

    fn on_response(self, response: Response) {
        match response {
            Response::Event(Event::Token { text }) => self.on_token(&text),
            Response::Event(Event::ToolCalls { calls }) => self.running.update(|running| {
                if let Some(running) = running {
                    let reply = &running.exchange.reply;
                    reply.update(|reply| *reply = tools::with_calls_behind(reply, &calls));
                }
            }),
            Response::Event(Event::Finished { reason, stats }) => {
                if stats.dropped_messages > 0 {
                    self.forget(stats.dropped_messages);
                }
                if stats.tokens_per_second > 0.0 {
                    self.engine.speed.set(Some(stats.tokens_per_second));
                }
                self.end_reply(Outcome::Finished(reason, stats));
            }
            Response::Event(Event::Error { message }) => {
                let running = self.running.get_untracked();
                self.end_reply(Outcome::Failed);
                let given_back = running
                    .filter(Running::is_unanswered)
                    .is_some_and(|running| self.give_back(&running.exchange));
                let step = match given_back {
                    true => Step::new("again", "Send it again", move || self.send()),
                    // It goes on from what is there of it.
                    false => Step::again(move || self.write_on()),
                };
                self.page
                    .offer("The model could not answer", message, [step]);
            }
            _ => {}
        }
    }

    /// A prompt that got no answer is to be changed, or sent again: back into the field with it.
    fn give_back(self, exchange: &Exchange) -> bool {
        let is_last = |all: &Vec<Exchange>| all.last().is_some_and(|last| last.id == exchange.id);
        let shown = untrack(|| self.exchanges());
        // What calls gave is no text for the field; it is sent again from where it is.
        let typed = tools::results(&exchange.prompt).is_none();
        let free = typed && self.draft.with_untracked(String::is_empty);
        // What is being written in the field meanwhile stays, and the prompt where it is.
        if !free || !shown.with_untracked(is_last) {
            return false;
        }
        shown.update(|all| drop(all.pop()));
        self.draft.set(exchange.prompt.clone());
        if self.page.mode.get_untracked() == Mode::Chat {
            self.keep_or_forget_chat();
        }
        true
    }

    fn on_token(self, text: &str) {
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
        self.keep_chat_now_and_then();
    }

    /// Whether the reply being written belongs to the conversation that is open.
    pub(super) fn is_shown_reply_running(self) -> bool {
        let running = self
            .running
            .with_untracked(|running| running.as_ref().map(|running| running.exchange.id));
        let last = self
            .conversation
            .with_untracked(|all| all.last().map(|last| last.id));
        running.is_some() && running == last
    }

    pub(super) fn end_reply(self, outcome: Outcome) {
        if let Some(running) = self.running.try_update(Option::take).flatten() {
            self.engine.reply_ended();
            running.exchange.outcome.set(Some(outcome));
            self.keep_chat();
            self.end_away();
        }
    }
}
