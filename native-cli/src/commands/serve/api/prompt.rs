//! Prompts as texts or tokens, one or several.

use serde_json::Value;
use ternary::tokenizer::{END_OF_TEXT, Tokenizer};

use crate::commands::serve::fields::wrong;
use crate::commands::serve::refusal::Refusal;

/// Prompts of a request, at most.
const PROMPTS: usize = 2048;

/// The schema of [`Prompt::list`].
pub const PROMPTS_SCHEMA: &str = r#"{"oneOf":[{"type":"string"},{"type":"array","items":{"type":"string"},"minItems":1},{"type":"array","items":{"type":"integer"},"minItems":1},{"type":"array","items":{"type":"array","items":{"type":"integer"}},"minItems":1}]}"#;

/// A prompt of a text or of tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

impl Prompt {
    /// A text, a list of texts, token ids, or a list of lists of token ids.
    pub fn list(value: Value, at: &str) -> Result<Vec<Self>, Refusal> {
        let values = match value {
            Value::String(text) => return Ok(vec![Prompt::Text(text)]),
            Value::Array(values) => values,
            other => return Err(wrong(at, "a string or a list", &other)),
        };
        match values.first() {
            None => Err(Refusal::invalid(at, "the list is empty")),
            Some(Value::Number(_)) => Ok(vec![Self::ids(values, at)?]),
            Some(_) if values.len() > PROMPTS => {
                let message = format!("{} prompts; at most {PROMPTS} at once", values.len());
                Err(Refusal::invalid(at, message))
            }
            Some(_) => values
                .into_iter()
                .enumerate()
                .map(|(i, value)| match value {
                    Value::String(text) => Ok(Prompt::Text(text)),
                    Value::Array(ids) => Self::ids(ids, &format!("{at}[{i}]")),
                    other => Err(wrong(
                        &format!("{at}[{i}]"),
                        "a string or a list of token ids",
                        &other,
                    )),
                })
                .collect(),
        }
    }

    /// What the `nth` of several prompts is called in messages.
    pub fn place(at: &str, nth: usize, of: usize) -> String {
        match of {
            1 => at.to_owned(),
            _ => format!("{at}[{nth}]"),
        }
    }

    fn ids(values: Vec<Value>, at: &str) -> Result<Self, Refusal> {
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| wrong(at, "token ids", value))
        };
        Ok(Prompt::Ids(
            values.iter().map(id).collect::<Result<_, _>>()?,
        ))
    }

    /// Its tokens: those of a text with what the tokenizer begins texts with.
    pub fn encoded(&self, tokenizer: &Tokenizer, at: &str) -> Result<Vec<u32>, Refusal> {
        let mut ids = match self {
            Prompt::Text(text) => tokenizer.encode_to_continue(text).map_err(Refusal::of)?,
            Prompt::Ids(ids) => ids.clone(),
        };
        let most = tokenizer.vocab_size();
        if let Some(id) = ids.iter().find(|id| **id as usize >= most) {
            return Err(Refusal::invalid(
                at,
                format!("there is no token {id}; ids are below {most}"),
            ));
        }
        if ids.is_empty() {
            // Nothing to continue: begin a document.
            ids.extend(tokenizer.id(END_OF_TEXT));
        }
        match ids.is_empty() {
            true => Err(Refusal::invalid(at, "there is no token in it")),
            false => Ok(ids),
        }
    }

    pub fn text(&self, tokenizer: &Tokenizer) -> Result<String, Refusal> {
        match self {
            Prompt::Text(text) => Ok(text.clone()),
            Prompt::Ids(ids) => tokenizer.decode(ids).map_err(Refusal::of),
        }
    }
}
