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
    /// Other keys that templates read: `tool_calls`, `tool_call_id`, `name`.
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

    /// The same with another content.
    pub(crate) fn saying(&self, content: impl Into<String>) -> Self {
        Message {
            role: self.role.clone(),
            content: content.into(),
            more: self.more.clone(),
        }
    }
}
