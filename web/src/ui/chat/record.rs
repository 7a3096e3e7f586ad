//! A conversation as it is kept and exported: messages in OpenAI's shape, and what this page knows
//! besides.

use std::collections::{BTreeMap, VecDeque};

use js_sys::{Array, JSON};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use ternary::chat::with_spoken_calls;
use ternary::session::Message;

use wasm_bindgen::{JsCast, JsValue};

use super::conversation::{Exchange, Outcome};
use super::settings::Settings;
use super::tools::{self, Speech};
use super::versions::Versions;
use crate::js::{describe, field};
use crate::protocol::Origin;

/// Of a first message, this much is a title.
const TITLE_LETTERS: usize = 60;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    /// What a call gave.
    Tool,
}

impl Role {
    const ALL: [Self; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];

    /// As OpenAI's messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }

    /// None of a message that is of another role.
    pub fn of(message: &Message) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == message.role)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub id: String,
    /// Raised whenever it is kept: shows that another tab kept it meanwhile.
    pub revision: u32,
    /// The name it was given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Times as ISO 8601.
    pub created: String,
    pub updated: String,
    /// The model that replied last.
    pub model: String,
    /// Where that is found again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Without the system prompt, which is a message.
    pub settings: Settings,
    pub messages: Vec<Message>,
    /// How the assistant's messages ended, in their order.
    pub replies: Vec<Option<Outcome>>,
    /// What else was replied to the last prompt.
    #[serde(skip_serializing_if = "Versions::is_empty")]
    pub versions: Versions,
    /// The same of the prompts before it, by their place among the prompts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier_versions: BTreeMap<usize, Versions>,
    /// The oldest exchanges that the model no longer reads.
    pub forgotten: usize,
}

/// What a list shows of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    pub id: String,
    pub revision: u32,
    pub title: String,
    pub updated: String,
    pub model: String,
    /// What is kept can't be read.
    #[serde(skip)]
    pub damaged: bool,
}

impl Head {
    /// Nothing if it can't be read.
    pub fn read(text: Option<String>) -> Option<Self> {
        serde_json::from_str(&text?).ok()
    }

    pub fn text(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|problem| problem.to_string())
    }
}

impl Record {
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|problem| problem.to_string())
    }

    pub fn text(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|problem| problem.to_string())
    }

    /// Whether all that `earlier` says is in it, and at most its last message was written on.
    pub fn goes_on_from(&self, earlier: &Self) -> bool {
        let Some((last, before)) = earlier.messages.split_last() else {
            return true;
        };
        let same = self.messages.get(before.len());
        self.messages.starts_with(before)
            && same.is_some_and(|message| {
                message.role == last.role && message.content.starts_with(&last.content)
            })
    }

    pub fn head(&self) -> Head {
        Head {
            id: self.id.clone(),
            revision: self.revision,
            title: self.shown_title(),
            updated: self.updated.clone(),
            model: self.model.clone(),
            damaged: false,
        }
    }

    fn shown_title(&self) -> String {
        if !self.title.is_empty() {
            return self.title.clone();
        }
        let is_first = |message: &&Message| Role::of(message) == Some(Role::User);
        let first = self.messages.iter().find(is_first);
        let line = first.and_then(|message| message.content.trim().lines().next());
        let line = line.unwrap_or("Conversation");
        let mut title: String = line.chars().take(TITLE_LETTERS).collect();
        if title.len() < line.len() {
            title.push('…');
        }
        title
    }

    /// With these settings and exchanges.
    pub fn filled(mut self, settings: &Settings, exchanges: &[Exchange]) -> Self {
        self.settings = settings.clone();
        let system = std::mem::take(&mut self.settings.system_prompt);
        (self.messages, self.replies) = (Vec::new(), Vec::new());
        let versions = exchanges
            .iter()
            .map(|exchange| exchange.versions.get_untracked());
        let mut versions: Vec<Versions> = versions.collect();
        self.versions = versions.pop().unwrap_or_default();
        let earlier = versions.into_iter().enumerate();
        self.earlier_versions = earlier
            .filter(|(_, versions)| !versions.is_empty())
            .collect();
        if !system.trim().is_empty() {
            self.messages
                .push(Message::new(Role::System.name(), system));
        }
        let mut speech = Speech::default();
        for exchange in exchanges {
            let reply = exchange.reply.get_untracked();
            let outcome = exchange.outcome.get_untracked();
            self.messages.extend(speech.prompt(&exchange.prompt));
            // A prompt without an answer stands alone.
            if !reply.is_empty() {
                self.messages.push(speech.reply(&reply));
                self.replies.push(outcome);
            }
        }
        self
    }

    /// Its settings and exchanges, numbered from `first` on.
    pub fn contents(&self, first: usize) -> (Settings, Vec<Exchange>) {
        let mut settings = self.settings.clone();
        let mut outcomes: VecDeque<Option<Outcome>> = self.replies.iter().copied().collect();
        let mut exchanges: Vec<Exchange> = Vec::new();
        let mut results: Vec<String> = Vec::new();
        for message in with_spoken_calls(&self.messages) {
            let text = message.content.clone();
            if Role::of(&message) == Some(Role::Tool) {
                // Those of one reply are one prompt.
                if !results.is_empty() {
                    exchanges.pop();
                }
                results.push(text);
                let prompt = tools::results_prompt(&results);
                exchanges.push(Exchange::new(first + exchanges.len(), prompt));
                continue;
            }
            results.clear();
            match Role::of(&message) {
                Some(Role::System) => settings.system_prompt = text,
                Some(Role::User) => exchanges.push(Exchange::new(first + exchanges.len(), text)),
                _ => {
                    if let Some(last) = exchanges.last() {
                        last.reply.set(text);
                        last.outcome.set(outcomes.pop_front().flatten());
                    }
                }
            }
        }
        if let Some((last, before)) = exchanges.split_last() {
            last.versions.set(self.versions.clone());
            for (place, versions) in &self.earlier_versions {
                if let Some(exchange) = before.get(*place) {
                    exchange.versions.set(versions.clone());
                }
            }
        }
        for exchange in &exchanges {
            // What was being written when the page was left.
            exchange
                .outcome
                .update(|outcome| *outcome = Some(outcome.unwrap_or(Outcome::Interrupted)));
        }
        (settings, exchanges)
    }

    /// What would make it no conversation.
    fn problem(&self) -> Option<String> {
        let mut before = Role::System;
        for (index, message) in self.messages.iter().enumerate() {
            let fitting = Role::of(message).filter(|role| match role {
                Role::System => index == 0,
                Role::User => true,
                Role::Assistant => matches!(before, Role::User | Role::Tool),
                Role::Tool => matches!(before, Role::Assistant | Role::Tool),
            });
            let Some(role) = fitting else {
                let role = &message.role;
                return Some(format!(
                    "message {} is of the role `{role}`; expected are `system` at the beginning, then `user` and `assistant` in turn, with `tool` behind an `assistant` that calls one",
                    index + 1
                ));
            };
            before = role;
        }
        (before == Role::System).then(|| "it holds no message of a `user`".to_owned())
    }
}

/// The text of a file with one conversation, or with several under `conversations`.
pub fn export(records: &[Record], together: bool) -> Result<String, String> {
    let texts: Result<Vec<String>, _> = records.iter().map(Record::text).collect();
    let texts = texts?.join(",");
    let text = match together {
        true => format!("{{\"conversations\":[{texts}]}}"),
        false => texts,
    };
    // With line breaks, for people to read.
    let value = JSON::parse(&text).map_err(describe)?;
    let pretty = JSON::stringify_with_replacer_and_space(&value, &JsValue::NULL, &2.into());
    pretty.map(String::from).map_err(describe)
}

/// Whether a file's text is meant to be conversations.
pub fn is_export(text: &str) -> bool {
    JSON::parse(text).is_ok_and(|value| {
        ["conversations", "messages"]
            .iter()
            .any(|name| !field(&value, name).is_undefined())
    })
}

/// The conversations in a file's text.
pub fn import(text: &str) -> Result<Vec<Record>, String> {
    let expected = |problem: String| {
        format!("{problem}; expected are conversations as this page exports them")
    };
    let value = JSON::parse(text).map_err(|thrown| expected(describe(thrown)))?;
    let several = field(&value, "conversations");
    let values = match several.dyn_ref::<Array>() {
        Some(several) => several.to_vec(),
        None => vec![value],
    };
    let mut records = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let of = |problem: String| expected(format!("conversation {}: {problem}", index + 1));
        let text = JSON::stringify(value).map_err(|thrown| of(describe(thrown)))?;
        let record = Record::read(&String::from(text)).map_err(of)?;
        if let Some(problem) = record.problem() {
            return Err(of(problem));
        }
        records.push(record);
    }
    Ok(records)
}
