//! Templates and tools: what one tells the model of them, and what it is given instead.

use std::borrow::Cow;

use super::ChatTemplate;
use crate::chat::{Message, Tool, explained, with_spoken_calls};

/// What a chat template knows of tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TemplateTools {
    /// It tells the model of them.
    pub takes: bool,
    /// It leaves out the calls in the assistant's messages.
    pub drops_calls: bool,
}

impl TemplateTools {
    /// Find out, by rendering.
    pub fn of(template: &ChatTemplate) -> Self {
        TemplateTools {
            takes: template.takes_tools(),
            drops_calls: template.drops_calls(),
        }
    }

    /// Both as a conversation is written: as they are, where it is not about tools.
    pub fn written<'a>(
        self,
        template: &'a ChatTemplate,
        tools: &[Tool],
        messages: &'a [Message],
    ) -> (Cow<'a, ChatTemplate>, Cow<'a, [Message]>) {
        if tools.is_empty() && !messages.iter().any(Message::is_about_tools) {
            return (Cow::Borrowed(template), messages.into());
        }
        let (template, messages) = self.prepared(template.clone(), tools, messages);
        (Cow::Owned(template), messages.into())
    }

    /// The template with the tools, and the messages as it can take them.
    pub fn prepared(
        self,
        template: ChatTemplate,
        tools: &[Tool],
        messages: &[Message],
    ) -> (ChatTemplate, Vec<Message>) {
        match (self.takes, self.drops_calls) {
            (false, _) => (template, explained(messages, tools)),
            (true, true) => (template.with_tools(tools), with_spoken_calls(messages)),
            (true, false) => (template.with_tools(tools), messages.to_vec()),
        }
    }
}
