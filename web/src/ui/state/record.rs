//! A conversation as it is kept and exported: messages in OpenAI's shape, and what this page knows besides.

use std::collections::VecDeque;

use leptos::prelude::*;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use ternary_core::session::Message;

use super::conversation::{Exchange, Outcome};
use super::settings::Settings;

/// Of a first message, this much is a title.
const TITLE_LETTERS: usize = 60;

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
    /// Without the system prompt, which is a message.
    pub settings: Settings,
    pub messages: Vec<Message>,
    /// How the assistant's messages ended, in their order.
    pub replies: Vec<Option<Outcome>>,
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

impl Record {
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
        let first = self.messages.iter().find(|message| message.role == "user");
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
        if !system.trim().is_empty() {
            self.messages.push(Message::new("system", system));
        }
        for exchange in exchanges {
            let reply = exchange.reply.get_untracked();
            let outcome = exchange.outcome.get_untracked();
            self.messages
                .push(Message::new("user", exchange.prompt.clone()));
            // A prompt without an answer stands alone.
            if !reply.is_empty() {
                self.messages.push(Message::new("assistant", reply));
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
        for message in &self.messages {
            let text = message.content.clone();
            match message.role.as_str() {
                "system" => settings.system_prompt = text,
                "user" => exchanges.push(Exchange::new(first + exchanges.len(), text)),
                _ => {
                    if let Some(last) = exchanges.last() {
                        last.reply.set(text);
                        last.outcome.set(outcomes.pop_front().flatten());
                    }
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
        let mut before = "system";
        for (index, message) in self.messages.iter().enumerate() {
            let role = message.role.as_str();
            let fits = match role {
                "system" => index == 0,
                "user" => true,
                "assistant" => before == "user",
                _ => false,
            };
            if !fits {
                return Some(format!(
                    "message {} is of the role `{role}`; expected are `system` at the beginning, then `user` and `assistant` in turn",
                    index + 1
                ));
            }
            before = role;
        }
        (before == "system").then(|| "it holds no message of a `user`".to_owned())
    }
}

/// Several conversations in one file.
#[derive(Serialize, Deserialize)]
struct Several {
    conversations: Vec<Record>,
}

/// What tells a file's kind.
#[derive(Deserialize)]
struct Kind {
    conversations: Option<IgnoredAny>,
    messages: Option<IgnoredAny>,
}

/// The text of a file with one conversation, or with several.
pub fn export(records: &[Record], together: bool) -> Result<String, String> {
    match (records, together) {
        ([one], false) => serde_json::to_string_pretty(one),
        _ => serde_json::to_string_pretty(&Several {
            conversations: records.to_vec(),
        }),
    }
    .map_err(|problem| problem.to_string())
}

/// Whether a file's text is meant to be conversations.
pub fn is_export(text: &str) -> bool {
    serde_json::from_str(text)
        .is_ok_and(|kind: Kind| kind.conversations.is_some() || kind.messages.is_some())
}

/// The conversations in a file's text.
pub fn import(text: &str) -> Result<Vec<Record>, String> {
    let read = || -> serde_json::Result<Vec<Record>> {
        let kind: Kind = serde_json::from_str(text)?;
        Ok(match kind.conversations {
            Some(_) => serde_json::from_str::<Several>(text)?.conversations,
            None => vec![serde_json::from_str(text)?],
        })
    };
    let records = read().map_err(|problem| {
        format!("{problem}; expected are conversations as this page exports them")
    })?;
    for (index, record) in records.iter().enumerate() {
        if let Some(problem) = record.problem() {
            return Err(format!("conversation {}: {problem}", index + 1));
        }
    }
    Ok(records)
}
