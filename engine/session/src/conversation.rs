//! The prompt that a conversation becomes.

use ternary_common::chat::Message;
use ternary_common::tokenizer::{ChatTemplate, Part, Tokenizer};

use crate::error::Result;

/// The prompt of a conversation in pieces. A last message of the assistant's is one to write on.
///
/// # Errors
/// What the template says.
pub fn chat_parts(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<Part>> {
    Ok(match messages {
        [before @ .., begun] if begun.role == "assistant" && begun.more.is_empty() => {
            let mut parts = tokenizer.conversation_parts(template, before, true)?;
            parts.push(Part {
                text: begun.content.clone(),
                content: true,
            });
            parts
        }
        _ => tokenizer.conversation_parts(template, messages, true)?,
    })
}

/// The prompt of a conversation. The template writes all the special tokens there are; in the
/// messages they are letters.
///
/// # Errors
/// What the template says.
pub fn encode_chat(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<u32>> {
    let parts = chat_parts(tokenizer, template, messages)?;
    Ok(tokenizer.encode_parts(&parts)?)
}
