//! Templates and tools: what one tells the model of them, and what it is given instead.

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
