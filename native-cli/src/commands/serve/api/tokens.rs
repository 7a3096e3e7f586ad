//! `/tokenize`, `/detokenize` and `/apply-template`: what a model sees of a text or a conversation.

use axum::response::Response;
use serde_json::{Value, json};

use super::openai_messages::{self, TALK};
use super::prompt::Prompt;
use crate::commands::serve::app::{Call, prepare};
use crate::commands::serve::body;
use crate::commands::serve::fields::{FLAG, Fields, LIST, TEXT, Tables, used, wrong};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::wishes::COMMON;

pub const TOKENIZE: Tables = &[
    COMMON,
    &[
        used("content", TEXT, "\"Hello\"", "The text."),
        used(
            "add_special",
            FLAG,
            "true",
            "With the tokens that the tokenizer begins texts with.",
        ),
        used("with_pieces", FLAG, "true", "Tell the text of every token."),
    ],
];

pub const DETOKENIZE: Tables = &[COMMON, &[used("tokens", LIST, "[1]", "Token ids.")]];

pub const TEMPLATE: Tables = &[COMMON, TALK];

pub async fn tokenize(mut call: Call) -> Result<Response, Refusal> {
    let mut fields = Fields::of_body(std::mem::take(&mut call.value), TOKENIZE)?;
    let text = fields.needed_text("content")?;
    let special = fields.flag("add_special")?;
    let pieces = fields.flag("with_pieces")?;
    let model = fields.text("model")?;
    fields.end()?;
    let chosen = call.choose(model.as_deref())?;
    let answer = prepare(&chosen, move |ready| {
        let ids = match special {
            true => ready.tokenizer.encode_to_continue(&text),
            false => ready.tokenizer.encode(&text),
        };
        let ids = ids.map_err(Refusal::of)?;
        let count = ids.len();
        let tokens: Value = match pieces {
            false => json!(ids),
            true => ids
                .iter()
                .map(|id| json!({"id": id, "piece": String::from_utf8_lossy(ready.token_bytes(*id))}))
                .collect(),
        };
        Ok(json!({"tokens": tokens, "count": count, "max_model_len": ready.context}))
    })
    .await?;
    Ok(body::json(&answer))
}

pub async fn detokenize(mut call: Call) -> Result<Response, Refusal> {
    let mut fields = Fields::of_body(std::mem::take(&mut call.value), DETOKENIZE)?;
    let tokens = fields.needed("tokens")?;
    let model = fields.text("model")?;
    fields.end()?;
    let list = match &tokens {
        Value::Array(list) if list.iter().all(Value::is_number) => list,
        _ => return Err(wrong("tokens", "a list of token ids", &tokens)),
    };
    let prompts = match list.is_empty() {
        true => Vec::new(),
        false => Prompt::list(tokens, "tokens")?,
    };
    let chosen = call.choose(model.as_deref())?;
    let text = prepare(&chosen, move |ready| match prompts.first() {
        None => Ok(String::new()),
        Some(prompt) => {
            let ids = prompt.encoded(&ready.tokenizer, "tokens")?;
            // What `/tokenize` made of the text comes back as it was, special tokens too.
            let text = ready.tokenizer.decode_with_specials(&ids);
            text.map_err(Refusal::of)
        }
    })
    .await?;
    Ok(body::json(&json!({"content": text})))
}

pub async fn apply_template(mut call: Call) -> Result<Response, Refusal> {
    let mut fields = Fields::of_body(std::mem::take(&mut call.value), TEMPLATE)?;
    let talk = openai_messages::talk(&mut fields)?;
    let model = fields.text("model")?;
    fields.end()?;
    let chosen = call.choose(model.as_deref())?;
    let answer = prepare(&chosen, move |ready| {
        let tokens = talk.prompt(ready)?;
        let count = tokens.len();
        Ok(json!({"prompt": talk.text(ready)?, "tokens": tokens, "count": count}))
    })
    .await?;
    Ok(body::json(&answer))
}
