//! Conversations.

mod tools;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use tools::{
    Tool, ToolCall, ToolReader, call_id, call_marks, explained, with_calls, with_result,
    with_spoken_calls,
};

/// A chat message in OpenAI's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// "system", "user", "assistant" or "tool".
    pub role: String,
    /// The text, without the template's marks.
    pub content: String,
    /// Other keys: `tool_calls`, `tool_call_id` and `name`, which templates read, and `weight`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Message {
    /// A message by `role`: "system", "user" or "assistant".
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Message {
            role: role.to_owned(),
            content: content.into(),
            more: Map::new(),
        }
    }

    /// Say that nothing is learnt of it, by OpenAI's `weight`.
    pub fn never_learnt(&mut self) {
        self.more.insert("weight".to_owned(), 0.into());
    }

    /// Whether a training may learn it: its `weight` is not 0.
    pub fn is_learnt(&self) -> bool {
        self.more.get("weight").and_then(Value::as_f64) != Some(0.0)
    }

    /// Whether it calls tools, or is what one gave.
    pub fn is_about_tools(&self) -> bool {
        self.role == "tool" || self.more.contains_key("tool_calls")
    }

    /// The same with another content.
    pub(crate) fn saying(&self, content: impl Into<String>) -> Self {
        Message {
            role: self.role.clone(),
            content: content.into(),
            more: self.more.clone(),
        }
    }
}
