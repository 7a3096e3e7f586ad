//! Conversations to learn from: their tokens, the assistant's told apart.

use super::source::CONTEXT;
use crate::chat::Message;
use crate::error::Result;
use crate::tokenizer::{CHAT_TEMPLATE, ChatTemplate, END_OF_TEXT, SPECIAL_TOKENS, Tokenizer};

/// The project's template, for tokenizers that have its marks.
pub fn own_template(tokenizer: &Tokenizer) -> Option<ChatTemplate> {
    let has_mark = |mark: &&str| tokenizer.id(mark).is_some();
    let all = SPECIAL_TOKENS.iter().all(has_mark);
    all.then(|| {
        ChatTemplate::new(CHAT_TEMPLATE).expect("the project's own template is parsed in a test")
    })
}

/// The ids of a conversation, closed by `<|endoftext|>` if it `ends` and the tokenizer has it;
/// [`CONTEXT`] is set in all but the assistant's. The last token is the assistant's if nothing else
/// says that its message is over.
///
/// # Errors
/// What the template says.
pub fn marked_turns(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    ends: bool,
) -> Result<Vec<u32>> {
    let tokens = tokenizer.encode_turns(template, messages)?;
    let last = tokens.last();
    let open = last.is_some_and(|token| token.assistant && !tokenizer.is_end(token.id));
    let mark = |id: u32, assistant: bool| if assistant { id } else { id | CONTEXT };
    let end = tokenizer.id(END_OF_TEXT).filter(|_| ends);
    let ids = tokens.iter().map(|token| mark(token.id, token.assistant));
    Ok(ids.chain(end.map(|id| mark(id, open))).collect())
}
