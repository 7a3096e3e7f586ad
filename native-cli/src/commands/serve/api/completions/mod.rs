//! `/v1/completions`: texts that are gone on with, with the probabilities of their tokens if asked.

#[cfg(test)]
mod tests;

use axum::response::Response;
use serde_json::{Map, Value, json};
use ternary::infer::Form;
use ternary::session::service::{Request, TokenLogprob, Update, Usage};

use super::chat::{Names, add_usage, finite, token_names, usage_json};
use super::prompt::{PROMPTS_SCHEMA, Prompt};
use crate::commands::serve::app::{Call, prepare};
use crate::commands::serve::body::{self, Events, Gone};
use crate::commands::serve::fields::{FLAG, Fields, OBJECT, Tables, ignored, only, refused, used};
use crate::commands::serve::ids;
use crate::commands::serve::models::{Chosen, Ready, now};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::replies::Replies;
use crate::commands::serve::structured::{self, RESPONSE_FORMAT};
use crate::commands::serve::turn::{End, Piece, Turn};
use crate::commands::serve::wishes::{
    COMMON, MAX_TOKENS, SAMPLING, STREAM, Streaming, Wishes, max_tokens,
};

pub const PARAMETERS: Tables = &[
    COMMON,
    SAMPLING,
    STREAM,
    &[
        used(
            "prompt",
            PROMPTS_SCHEMA,
            "\"Once\"",
            "A text, a list of texts, token ids, or a list of lists of token ids.",
        ),
        MAX_TOKENS,
        RESPONSE_FORMAT,
        used(
            "echo",
            FLAG,
            "true",
            "The prompt stands before the reply, in its probabilities too.",
        ),
        used(
            "logprobs",
            r#"{"type":"integer","minimum":0,"maximum":20}"#,
            "1",
            "Tell the probability of every token, and the likeliest so many.",
        ),
        only("best_of", "[1]", "Every reply is given."),
        refused("suffix", "texts are gone on with, not filled in"),
        only("store", "[false]", "Nothing is stored."),
        ignored("metadata", OBJECT, "{}"),
    ],
];

/// Tokens of a reply where nothing else is asked for, as in OpenAI's API.
const MAX_TOKENS_DEFAULT: usize = 16;

/// A request.
struct Ask {
    model: Option<String>,
    prompts: Vec<Prompt>,
    wishes: Wishes,
    /// What the reply has to be.
    form: Option<Form>,
    echo: bool,
    logprobs: Option<usize>,
    streaming: Streaming,
}

/// What is put before a reply: the prompt's text and tokens.
#[derive(Clone, Debug, Default)]
struct Echo {
    text: String,
    ids: Vec<u32>,
}

impl Ask {
    fn read(body: Value) -> Result<Self, Refusal> {
        let mut fields = Fields::of_body(body, PARAMETERS)?;
        let prompts = Prompt::list(fields.needed("prompt")?, "prompt")?;
        let mut wishes = Wishes::read(&mut fields)?;
        let most = max_tokens(&mut fields, &["max_tokens"], 0)?;
        wishes.max_tokens = most.unwrap_or(MAX_TOKENS_DEFAULT);
        let format = fields.value("response_format");
        let form = format.map(|format| structured::of_format(format, "response_format"));
        let logprobs = fields.integer("logprobs", 0..=super::chat::TOP_LOGPROBS)?;
        let ask = Ask {
            model: fields.text("model")?,
            prompts,
            wishes,
            form: form.transpose()?.flatten(),
            echo: fields.flag("echo")?,
            logprobs: logprobs.map(|n| n as usize),
            streaming: Streaming::read(&mut fields)?,
        };
        fields.end()?;
        if ask.wishes.max_tokens == 0 && !ask.echo {
            return Err(Refusal::invalid("max_tokens", "0 only with `echo`: true"));
        }
        Ok(ask)
    }

    /// For every prompt as many requests as there are to be replies, with what is echoed.
    fn requests(&self, ready: &Ready) -> Result<Vec<(Request, Echo)>, Refusal> {
        let mut all = Vec::new();
        for (nth, prompt) in self.prompts.iter().enumerate() {
            let at = Prompt::place("prompt", nth, self.prompts.len());
            let ids = prompt.encoded(&ready.tokenizer, &at)?;
            match self.wishes.max_tokens {
                // Nothing is written behind a prompt that is only looked at.
                0 if ids.len() > ready.context => {
                    return Err(Refusal::too_long_to_read(&at, ids.len(), ready.context));
                }
                0 => {}
                _ => ready.check_length(&ids, &at)?,
            }
            let echo = match self.echo {
                true => Echo {
                    text: prompt.text(&ready.tokenizer)?,
                    ids: ids.clone(),
                },
                false => Echo::default(),
            };
            for nth in 0..self.wishes.n {
                let request = Request {
                    prompt: ids.clone(),
                    logprobs: self.logprobs,
                    prompt_logprobs: self.logprobs.filter(|_| self.echo),
                    goes_on: true,
                    constraint: structured::asked(self.form.as_ref(), ready, "response_format")?,
                    ..self.wishes.request(ready, nth)?
                };
                all.push((request, echo.clone()));
            }
        }
        Ok(all)
    }
}

pub async fn answer(mut call: Call) -> Result<Response, Refusal> {
    let ask = Ask::read(std::mem::take(&mut call.value))?;
    let chosen = call.choose(ask.model.as_deref())?;
    let (ask, asked) = prepare(&chosen, move |ready| {
        let asked = ask.requests(ready)?;
        Ok((ask, asked))
    })
    .await?;
    let (requests, echoes): (Vec<Request>, Vec<Echo>) = asked.into_iter().unzip();
    let choices: Vec<Choice> = echoes
        .into_iter()
        .map(|echo| Choice::new(ask.echo.then_some(echo), ask.logprobs))
        .collect();
    let most = chosen.model.capacity();
    if ask.prompts.len() > 1 && requests.len() > most {
        let message = format!(
            "{} replies were asked for; at most {most} run and wait here (--parallel and --queue together): send fewer at once",
            requests.len()
        );
        return Err(Refusal::invalid("prompt", message));
    }
    let replies = call.ask(&chosen, requests)?;
    let shape = Shape {
        id: ids::new("cmpl-"),
        created: now(),
        model: chosen.id(),
        n: ask.wishes.n,
        usage: ask.streaming.usage,
    };
    match ask.streaming.on {
        true => Ok(body::events(|events| {
            stream(shape, chosen, replies, choices, events)
        })),
        false => whole(&shape, &chosen, replies, choices).await,
    }
}

/// A reply being read.
struct Choice {
    turn: Turn,
    echo: Option<Echo>,
    /// Tokens to tell beside each; None: no probabilities at all.
    top: Option<usize>,
    /// Characters of the tokens before.
    offset: usize,
    /// Bytes behind there: the beginning of a character.
    begun: Vec<u8>,
}

/// A token, with its probability if it has one.
type Scored = (u32, Option<TokenLogprob>);

impl Choice {
    fn new(echo: Option<Echo>, top: Option<usize>) -> Self {
        Choice {
            turn: Turn::default(),
            echo,
            top,
            offset: 0,
            begun: Vec::new(),
        }
    }

    /// Go on with an update: a text with its tokens, and the end.
    fn take(&mut self, update: Update) -> (Option<(String, Vec<Scored>)>, Option<End>) {
        if let Update::Prompt { logprobs } = update {
            let piece = self.echo.take().map(|echo| {
                let mut scores = logprobs.into_iter();
                let scored = echo.ids.into_iter().enumerate();
                // The first token has none.
                let scored = scored.map(|(i, id)| (id, (i > 0).then(|| scores.next()).flatten()));
                (echo.text, scored.collect())
            });
            return (piece, None);
        }
        let (piece, end) = self.turn.take(update);
        let scored = |piece: Piece| {
            let tokens = piece.logprobs.into_iter();
            let tokens = tokens.map(|token| (token.id, Some(token))).collect();
            (piece.text, tokens)
        };
        (piece.map(scored), end)
    }

    /// The probabilities of some tokens.
    fn logprobs(&mut self, tokens: &[Scored], names: Names) -> Value {
        let Some(most) = self.top else {
            return Value::Null;
        };
        let name = |id: u32| token_name(names(id));
        let mut begun = std::mem::take(&mut self.begun);
        let (mut texts, mut values) = (Vec::new(), Vec::new());
        let (mut tops, mut offsets) = (Vec::new(), Vec::new());
        for (id, score) in tokens {
            let text = name(*id);
            offsets.push(self.offset);
            begun.extend(names(*id));
            self.offset += take_whole(&mut begun);
            values.push(score.as_ref().map(|score| finite(score.logprob)));
            tops.push(score.as_ref().filter(|_| most > 0).map(|score| {
                let mut top = Map::new();
                // Tokens of one text: the likelier comes first.
                for (id, logprob) in &score.top {
                    top.entry(name(*id))
                        .or_insert_with(|| finite(*logprob).into());
                }
                top
            }));
            texts.push(text);
        }
        self.begun = begun;
        json!({"tokens": texts, "token_logprobs": values, "top_logprobs": tops,
            "text_offset": offsets})
    }
}

/// A token as a text. Parts of characters, of which many would be the same U+FFFD, are spelled as
/// OpenAI's API spells them: `bytes:\xe2\x80`.
fn token_name(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| {
        let spelled = e.as_bytes().iter().map(|byte| format!("\\x{byte:02x}"));
        format!("bytes:{}", spelled.collect::<String>())
    })
}

/// Takes the characters that are whole off the front, and answers how many: what follows may be
/// the beginning of one.
fn take_whole(bytes: &mut Vec<u8>) -> usize {
    let mut count = 0;
    loop {
        let (valid, wrong) = match std::str::from_utf8(bytes) {
            Ok(text) => (text.len(), None),
            Err(e) => (e.valid_up_to(), e.error_len()),
        };
        let text = String::from_utf8_lossy(&bytes[..valid]);
        count += text.chars().count();
        // What is no character stands as one.
        let Some(len) = wrong else {
            bytes.drain(..valid);
            return count;
        };
        count += 1;
        bytes.drain(..valid + len);
    }
}

/// What all parts of an answer say.
struct Shape {
    id: String,
    created: u64,
    model: String,
    /// Replies to each prompt.
    n: usize,
    usage: bool,
}

impl Shape {
    fn answer(&self, choices: Value, usage: Option<Usage>) -> Value {
        let mut answer = json!({"id": self.id, "object": "text_completion",
            "created": self.created, "model": self.model, "choices": choices});
        if let Some(usage) = usage {
            answer["usage"] = usage_json(usage);
        }
        answer
    }

    fn event(&self, index: usize, text: &str, logprobs: Value, reason: Option<&str>) -> Value {
        let choice =
            json!([{"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}]);
        let mut event = self.answer(choice, None);
        if self.usage {
            event["usage"] = Value::Null;
        }
        event
    }

    /// Of all replies; a prompt counts once.
    fn add(&self, total: &mut Usage, index: usize, usage: Usage) {
        let prompts = total.prompt_tokens;
        add_usage(total, usage);
        let first = index.is_multiple_of(self.n);
        total.prompt_tokens = prompts + if first { usage.prompt_tokens } else { 0 };
    }
}

async fn stream(
    shape: Shape,
    chosen: Chosen,
    mut replies: Replies,
    mut choices: Vec<Choice>,
    events: Events,
) -> Result<(), Gone> {
    let mut total = Usage::default();
    loop {
        let (index, update) = match replies.next().await {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(refusal) => return events.data(&refusal.openai()).await,
        };
        let choice = &mut choices[index];
        let (piece, end) = choice.take(update);
        if let Some((text, tokens)) = piece {
            let logprobs = choice.logprobs(&tokens, &token_names(&chosen));
            events
                .data(&shape.event(index, &text, logprobs, None))
                .await?;
        }
        if let Some(end) = end {
            shape.add(&mut total, index, end.usage);
            let reason = Some(end.finish_reason());
            events
                .data(&shape.event(index, "", Value::Null, reason))
                .await?;
        }
    }
    if shape.usage {
        events.data(&shape.answer(json!([]), Some(total))).await?;
    }
    events.done().await
}

async fn whole(
    shape: &Shape,
    chosen: &Chosen,
    mut replies: Replies,
    mut choices: Vec<Choice>,
) -> Result<Response, Refusal> {
    let mut texts = vec![(String::new(), Vec::new()); choices.len()];
    let mut reasons = vec!["stop"; choices.len()];
    let mut total = Usage::default();
    while let Some((index, update)) = replies.next().await? {
        let (piece, end) = choices[index].take(update);
        if let Some((text, mut tokens)) = piece {
            texts[index].0 += &text;
            texts[index].1.append(&mut tokens);
        }
        if let Some(end) = end {
            shape.add(&mut total, index, end.usage);
            reasons[index] = end.finish_reason();
        }
    }
    let names = token_names(chosen);
    let list: Vec<Value> = texts
        .into_iter()
        .enumerate()
        .map(|(index, (text, tokens))| {
            let logprobs = choices[index].logprobs(&tokens, &names);
            json!({"text": text, "index": index, "logprobs": logprobs,
                "finish_reason": reasons[index]})
        })
        .collect();
    Ok(body::json(&shape.answer(list.into(), Some(total))))
}
