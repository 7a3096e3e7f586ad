//! `/v1/embeddings`: the mean of the last hidden states, of length 1.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ternary::infer::Sampling;
use ternary::session::service::{Request, Update};

use super::prompt::{PROMPTS_SCHEMA, Prompt};
use crate::commands::serve::app::{Call, prepare};
use crate::commands::serve::body;
use crate::commands::serve::fields::{Fields, Tables, refused, used};
use crate::commands::serve::models::Ready;
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::wishes::COMMON;

pub const PARAMETERS: Tables = &[
    COMMON,
    &[
        used(
            "input",
            PROMPTS_SCHEMA,
            "\"Hello\"",
            "A text, a list of texts, token ids, or a list of lists of token ids.",
        ),
        used(
            "encoding_format",
            r#"{"type":"string","enum":["float","base64"]}"#,
            "\"float\"",
            "Numbers, or the bytes of f32 values in base64.",
        ),
        refused("dimensions", "an embedding has the model's hidden size"),
    ],
];

/// A request.
struct Ask {
    model: Option<String>,
    inputs: Vec<Prompt>,
    base64: bool,
}

impl Ask {
    fn read(body: Value) -> Result<Self, Refusal> {
        let mut fields = Fields::of_body(body, PARAMETERS)?;
        let inputs = Prompt::list(fields.needed("input")?, "input")?;
        let base64 = match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => {
                return Err(Refusal::invalid(
                    "encoding_format",
                    "expected float or base64",
                ));
            }
        };
        let model = fields.text("model")?;
        fields.end()?;
        Ok(Ask {
            model,
            inputs,
            base64,
        })
    }

    fn requests(&self, ready: &Ready) -> Result<Vec<Request>, Refusal> {
        let one = |(nth, input): (usize, &Prompt)| {
            let at = Prompt::place("input", nth, self.inputs.len());
            let prompt = input.encoded(&ready.tokenizer, &at)?;
            if prompt.len() > ready.context {
                return Err(Refusal::too_long_to_read(&at, prompt.len(), ready.context));
            }
            Ok(Request {
                prompt,
                embed: true,
                sampling: Sampling {
                    max_tokens: 0,
                    ..Sampling::default()
                },
                ..Request::default()
            })
        };
        self.inputs.iter().enumerate().map(one).collect()
    }
}

/// Of f32 values, the lowest byte first.
fn in_base64(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

pub async fn answer(mut call: Call) -> Result<Response, Refusal> {
    let ask = Ask::read(std::mem::take(&mut call.value))?;
    let chosen = call.choose(ask.model.as_deref())?;
    let (ask, requests) = prepare(&chosen, move |ready| {
        let requests = ask.requests(ready)?;
        Ok((ask, requests))
    })
    .await?;
    let mut embeddings = vec![Value::Null; requests.len()];
    let mut tokens = 0;
    // As many at a time as there is room for: a list counts as its texts one after the other.
    let most = chosen.model.capacity().min(PIECE);
    let mut left = requests.into_iter().peekable();
    let mut first = 0;
    while left.peek().is_some() {
        let piece: Vec<Request> = left.by_ref().take(most).collect();
        let count = piece.len();
        let mut replies = call.ask(&chosen, piece)?;
        while let Some((index, update)) = replies.next().await? {
            match update {
                Update::Embedding(values) => {
                    let value = match ask.base64 {
                        true => in_base64(&values).into(),
                        false => json!(values),
                    };
                    embeddings[first + index] = value;
                }
                Update::Finished { usage, .. } => tokens += usage.prompt_tokens,
                _ => {}
            }
        }
        first += count;
    }
    let data = embeddings.into_iter().enumerate();
    let data: Vec<Value> = data
        .map(|(index, embedding)| {
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    Ok(body::json(
        &json!({"object": "list", "data": data, "model": chosen.id(),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}),
    ))
}

/// Texts of one request that are handed to the model at once: others want their turn.
const PIECE: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::super::testing::{self, Setup};
    use super::*;

    #[test]
    fn inputs_are_looked_at_and_not_gone_on_with() {
        let ready = testing::ready(&Setup::default());
        let ask = Ask::read(json!({"input": ["a", "b"], "encoding_format": "base64", "user": "u"}));
        let ask = ask.unwrap();
        let requests = ask.requests(&ready).unwrap();
        assert_eq!((requests.len(), ask.base64), (2, true));
        assert!(requests[0].embed && requests[0].sampling.max_tokens == 0);
        assert_eq!(in_base64(&[1.0, -2.0]), "AACAPwAAAMA=");
        let short = testing::ready(&Setup {
            context: 4,
            ..Setup::default()
        });
        let long = Ask::read(json!({"input": ["a", "abcdefg"]})).unwrap();
        let refusal = long.requests(&short).err().unwrap();
        assert_eq!(refusal.param.as_deref(), Some("input[1]"));
        for words in ["takes 7 tokens", "context is 4 tokens", "pieces of 4"] {
            assert!(refusal.message.contains(words), "{}", refusal.message);
        }
        assert!(!refusal.message.contains("reply"), "{}", refusal.message);
        for (body, name) in [
            (json!({}), "input"),
            (json!({"input": {}}), "input"),
            (json!({"input": "a", "dimensions": 8}), "dimensions"),
            (
                json!({"input": "a", "encoding_format": "hex"}),
                "encoding_format",
            ),
        ] {
            let refusal = Ask::read(body).err().unwrap();
            assert_eq!(refusal.param.as_deref(), Some(name));
        }
    }
}
