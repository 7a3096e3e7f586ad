//! Conversations.

use serde::{Deserialize, Serialize};

/// A chat message in OpenAI's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    /// The text, without the template's marks.
    pub content: String,
}

impl Message {
    /// A message by `role`: "system", "user" or "assistant".
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Message {
            role: role.to_owned(),
            content: content.into(),
        }
    }
}
