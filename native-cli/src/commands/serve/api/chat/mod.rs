//! `/v1/chat/completions`.

#[cfg(test)]
mod tests;

use axum::response::Response;
use serde_json::{Value, json};
use ternary::session::service::{Request, TokenLogprob, Usage};

use super::openai_messages::{self, TALK};
use crate::commands::serve::app::{Call, prepare};
use crate::commands::serve::body::{self, Events, Gone};
use crate::commands::serve::fields::{FLAG, Fields, OBJECT, Tables, ignored, only, refused, used};
use crate::commands::serve::ids;
use crate::commands::serve::models::{Chosen, Ready, now};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::replies::Replies;
use crate::commands::serve::structured::{self, RESPONSE_FORMAT};
use crate::commands::serve::talk::Talk;
use crate::commands::serve::turn::{End, Piece, Turn};
use crate::commands::serve::wishes::{
    COMMON, MAX_TOKENS_OF_CHAT, SAMPLING, STREAM, Streaming, Wishes, max_tokens,
};

pub const PARAMETERS: Tables = &[
    COMMON,
    TALK,
    SAMPLING,
    STREAM,
    &[
        MAX_TOKENS_OF_CHAT,
        used(
            "max_completion_tokens",
            r#"{"type":"integer","minimum":1}"#,
            "16",
            "Tokens of the reply, at most; without it, until the context is full.",
        ),
        used(
            "logprobs",
            FLAG,
            "true",
            "Tell the probability of every token.",
        ),
        used(
            "top_logprobs",
            r#"{"type":"integer","minimum":0,"maximum":20}"#,
            "0",
            "Tell the likeliest so many beside it.",
        ),
        RESPONSE_FORMAT,
        only("store", "[false]", "Nothing is stored."),
        ignored("metadata", OBJECT, "{}"),
        only("modalities", r#"[["text"]]"#, "Replies are texts."),
        only(
            "verbosity",
            r#"["medium"]"#,
            "Models here have no such setting.",
        ),
        refused(
            "reasoning_effort",
            "models here have no such setting; see chat_template_kwargs",
        ),
        refused("audio", "replies are texts"),
        refused("prediction", "predicted replies are not used"),
        refused("web_search_options", "there is no search"),
    ],
];

/// Tokens beside each, at most.
pub const TOP_LOGPROBS: i64 = 20;

/// A request.
struct Ask {
    model: Option<String>,
    talk: Talk,
    wishes: Wishes,
    logprobs: Option<usize>,
    streaming: Streaming,
}

impl Ask {
    fn read(body: Value) -> Result<Self, Refusal> {
        let mut fields = Fields::of_body(body, PARAMETERS)?;
        let mut talk = openai_messages::talk(&mut fields)?;
        let mut wishes = Wishes::read(&mut fields)?;
        let most = max_tokens(&mut fields, &["max_completion_tokens", "max_tokens"], 1)?;
        wishes.max_tokens = most.unwrap_or(usize::MAX);
        if let Some(format) = fields.value("response_format") {
            talk.demands.form = structured::of_format(format, "response_format")?;
            talk.form_at = "response_format";
        }
        let on = fields.flag("logprobs")?;
        let top = fields.integer("top_logprobs", 0..=TOP_LOGPROBS)?;
        if top.is_some_and(|top| top > 0) && !on {
            return Err(Refusal::invalid(
                "top_logprobs",
                "only with `logprobs`: true",
            ));
        }
        let ask = Ask {
            model: fields.text("model")?,
            talk,
            wishes,
            logprobs: on.then(|| top.unwrap_or(0) as usize),
            streaming: Streaming::read(&mut fields)?,
        };
        fields.end()?;
        Ok(ask)
    }

    /// One for every reply.
    fn requests(&self, ready: &Ready) -> Result<Vec<Request>, Refusal> {
        let prompt = self.talk.prompt(ready)?;
        ready.check_length(&prompt, "messages")?;
        (0..self.wishes.n)
            .map(|nth| {
                let request = Request {
                    logprobs: self.logprobs,
                    ..self.wishes.request(ready, nth)?
                };
                self.talk.asked(ready, &prompt, request)
            })
            .collect()
    }
}

pub async fn answer(mut call: Call) -> Result<Response, Refusal> {
    let ask = Ask::read(std::mem::take(&mut call.value))?;
    let chosen = call.choose(ask.model.as_deref())?;
    let (ask, requests) = prepare(&chosen, move |ready| {
        let requests = ask.requests(ready)?;
        Ok((ask, requests))
    })
    .await?;
    let turns: Vec<Turn> = requests
        .iter()
        .map(|_| Turn::new(ask.talk.reader()))
        .collect();
    let replies = call.ask(&chosen, requests)?;
    let shape = Shape {
        id: ids::new("chatcmpl-"),
        created: now(),
        model: chosen.id(),
        logprobs: ask.logprobs.is_some(),
        usage: ask.streaming.usage,
    };
    match ask.streaming.on {
        true => Ok(body::events(|events| {
            stream(shape, chosen, replies, turns, events)
        })),
        false => whole(&shape, &chosen, replies, turns).await,
    }
}

/// The usage of several replies to one prompt.
pub fn add_usage(total: &mut Usage, usage: Usage) {
    total.prompt_tokens = usage.prompt_tokens;
    total.cached_tokens = total.cached_tokens.max(usage.cached_tokens);
    total.generated_tokens += usage.generated_tokens;
    total.drafted_tokens += usage.drafted_tokens;
    total.accepted_tokens += usage.accepted_tokens;
}

/// As OpenAI's chat and text completions tell it.
pub fn usage_json(usage: Usage) -> Value {
    json!({"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.generated_tokens,
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens}})
}

/// JSON has no infinity.
pub fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

/// Bytes of tokens.
pub type Names<'a> = &'a dyn Fn(u32) -> Vec<u8>;

fn logprobs_json(all: &[TokenLogprob], names: Names) -> Value {
    let one = |id: u32, logprob: f32| {
        let bytes = names(id);
        json!({"token": String::from_utf8_lossy(&bytes), "logprob": finite(logprob), "bytes": bytes})
    };
    let content: Vec<Value> = all
        .iter()
        .map(|token| {
            let mut value = one(token.id, token.logprob);
            let top: Vec<Value> = token.top.iter().map(|(id, p)| one(*id, *p)).collect();
            value["top_logprobs"] = top.into();
            value
        })
        .collect();
    json!({"content": content, "refusal": null})
}

/// What all parts of an answer say.
struct Shape {
    id: String,
    created: u64,
    model: String,
    logprobs: bool,
    /// Tokens are told in a last event.
    usage: bool,
}

impl Shape {
    fn logprobs(&self, all: &[TokenLogprob], names: Names) -> Value {
        match self.logprobs {
            true => logprobs_json(all, names),
            false => Value::Null,
        }
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = json!({"id": self.id, "object": "chat.completion.chunk",
            "created": self.created, "model": self.model, "choices": choices});
        if self.usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The first event of a reply.
    fn begin(&self, index: usize) -> Value {
        self.chunk(
            json!([{"index": index, "delta": {"role": "assistant", "content": ""},
            "logprobs": null, "finish_reason": null}]),
        )
    }

    fn piece(&self, index: usize, piece: &Piece, names: Names) -> Value {
        self.chunk(json!([{"index": index, "delta": {"content": piece.text},
            "logprobs": self.logprobs(&piece.logprobs, names), "finish_reason": null}]))
    }

    /// The events at a reply's end: each call whole, then the reason.
    fn end(&self, index: usize, end: &End) -> Vec<Value> {
        let calls = end.calls.iter().enumerate().map(|(i, call)| {
            let call = json!({"index": i, "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments}});
            self.chunk(json!([{"index": index, "delta": {"tool_calls": [call]},
                "logprobs": null, "finish_reason": null}]))
        });
        let mut events: Vec<Value> = calls.collect();
        events.push(
            self.chunk(json!([{"index": index, "delta": {}, "logprobs": null,
            "finish_reason": end.finish_reason()}])),
        );
        events
    }

    /// The event after all replies.
    fn usage(&self, usage: Usage) -> Option<Value> {
        self.usage.then(|| {
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = usage_json(usage);
            chunk
        })
    }

    fn choice(&self, index: usize, piece: &Piece, end: &End, names: Names) -> Value {
        let mut message = json!({"role": "assistant", "content": piece.text, "refusal": null});
        if !end.calls.is_empty() {
            let calls = end.calls.iter().map(|call| {
                json!({"id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments}})
            });
            message["tool_calls"] = calls.collect();
            if piece.text.trim().is_empty() {
                message["content"] = Value::Null;
            }
        }
        json!({"index": index, "message": message,
            "logprobs": self.logprobs(&piece.logprobs, names),
            "finish_reason": end.finish_reason()})
    }

    fn whole(&self, choices: Vec<Value>, usage: Usage) -> Value {
        json!({"id": self.id, "object": "chat.completion", "created": self.created,
            "model": self.model, "choices": choices, "usage": usage_json(usage)})
    }
}

/// The bytes of a model's tokens.
pub fn token_names(chosen: &Chosen) -> impl Fn(u32) -> Vec<u8> {
    |id| match chosen.model.ready() {
        Ok(ready) => ready.token_bytes(id).to_vec(),
        Err(_) => Vec::new(),
    }
}

/// A piece without the probabilities of tokens that end a reply, which are not part of its text.
fn without_ends(mut piece: Piece, chosen: &Chosen) -> Option<Piece> {
    if let Ok(ready) = chosen.model.ready() {
        piece
            .logprobs
            .retain(|token| !ready.tokenizer.is_end(token.id));
    }
    (!piece.text.is_empty() || !piece.logprobs.is_empty()).then_some(piece)
}

async fn stream(
    shape: Shape,
    chosen: Chosen,
    mut replies: Replies,
    mut turns: Vec<Turn>,
    events: Events,
) -> Result<(), Gone> {
    for index in 0..turns.len() {
        events.data(&shape.begin(index)).await?;
    }
    let mut total = Usage::default();
    loop {
        let (index, update) = match replies.next().await {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(refusal) => return events.data(&refusal.openai()).await,
        };
        let (piece, end) = turns[index].take(update);
        let piece = piece.and_then(|piece| without_ends(piece, &chosen));
        if let Some(piece) = piece {
            let event = shape.piece(index, &piece, &token_names(&chosen));
            events.data(&event).await?;
        }
        if let Some(end) = end {
            add_usage(&mut total, end.usage);
            for event in shape.end(index, &end) {
                events.data(&event).await?;
            }
        }
    }
    if let Some(event) = shape.usage(total) {
        events.data(&event).await?;
    }
    events.done().await
}

async fn whole(
    shape: &Shape,
    chosen: &Chosen,
    mut replies: Replies,
    mut turns: Vec<Turn>,
) -> Result<Response, Refusal> {
    let mut texts: Vec<Piece> = turns.iter().map(|_| Piece::default()).collect();
    let mut ends: Vec<End> = turns.iter().map(|_| End::default()).collect();
    let mut total = Usage::default();
    while let Some((index, update)) = replies.next().await? {
        let (piece, end) = turns[index].take(update);
        let piece = piece.and_then(|piece| without_ends(piece, chosen));
        if let Some(mut piece) = piece {
            texts[index].text += &piece.text;
            texts[index].logprobs.append(&mut piece.logprobs);
        }
        if let Some(end) = end {
            add_usage(&mut total, end.usage);
            ends[index] = end;
        }
    }
    let names = token_names(chosen);
    let choices = texts.iter().zip(&ends).enumerate();
    let choices = choices
        .map(|(index, (piece, end))| shape.choice(index, piece, end, &names))
        .collect();
    Ok(body::json(&shape.whole(choices, total)))
}
