//! Anthropic's `/v1/messages` and `/v1/messages/count_tokens`.

mod input;
#[cfg(test)]
mod tests;
mod writer;

use axum::response::Response;
use serde_json::{Value, json};
use ternary::infer::Form;
use ternary::session::Demands;
use ternary::session::service::Request;

use crate::commands::serve::app::{Call, prepare};
use crate::commands::serve::body;
use crate::commands::serve::fields::{
    COUNT, FLAG, Fields, LIST, NUMBER, OBJECT, Parameter, TEXT, Tables, ignored, only, refused,
    used, wrong,
};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::structured;
use crate::commands::serve::talk::{self, Talk};
use crate::commands::serve::turn::Turn;
use crate::commands::serve::wishes::{Wishes, checked_stops};
use crate::commands::serve::writing;
use input::{choice, message, tool};
use writer::Writer;

/// What both endpoints take.
const TALK: &[Parameter] = &[
    used(
        "model",
        TEXT,
        "\"m\"",
        "A served model, or MODEL:ADAPTER. Not needed where one model is served.",
    ),
    used(
        "messages",
        LIST,
        r#"[{"role":"user","content":"Hello"}]"#,
        "The conversation; a last message of the assistant's is written on.",
    ),
    used(
        "system",
        r#"{"oneOf":[{"type":"string"},{"type":"array"}]}"#,
        "\"Be brief.\"",
        "What the model is told before the conversation.",
    ),
    used(
        "tools",
        LIST,
        r#"[{"name":"f","input_schema":{"type":"object"}}]"#,
        "Functions that the model may call.",
    ),
    used(
        "tool_choice",
        OBJECT,
        r#"{"type":"auto"}"#,
        "auto, any, none, or a tool; `disable_parallel_tool_use`: one call at most, the first.",
    ),
    used(
        "output_config",
        OBJECT,
        r#"{"format":{"type":"json_schema","schema":{"type":"object"}},"effort":"high"}"#,
        "`format`: what the reply has to be. `effort`: only high, its default.",
    ),
    used(
        "output_format",
        OBJECT,
        r#"{"type":"json_schema","schema":{"type":"object"}}"#,
        "An older name of `output_config.format`.",
    ),
    only(
        "thinking",
        r#"[{"type":"disabled"}]"#,
        "Models here have no such setting.",
    ),
    ignored("cache_control", OBJECT, "{}"),
    only("speed", r#"["standard"]"#, "There is one speed."),
    refused("container", "no code is run here"),
    refused("mcp_servers", "no tools are run here"),
    refused(
        "context_management",
        "a conversation is read as it is given; leave out what is to be forgotten",
    ),
    refused("inference_geo", "the model runs where this server does"),
];

pub const PARAMETERS: Tables = &[
    TALK,
    &[
        used(
            "max_tokens",
            COUNT,
            "16",
            "Tokens of the reply, at most; required.",
        ),
        used(
            "stop_sequences",
            LIST,
            r#"["\n\n"]"#,
            "The reply ends before any of these texts.",
        ),
        used(
            "temperature",
            NUMBER,
            "0.5",
            "How freely tokens are chosen; 0 = always the most likely one.",
        ),
        used(
            "top_p",
            NUMBER,
            "0.9",
            "Share of the probability to choose from.",
        ),
        used(
            "top_k",
            COUNT,
            "20",
            "So many of the most likely tokens are chosen from.",
        ),
        used("stream", FLAG, "true", "Answer by server-sent events."),
        ignored("metadata", OBJECT, "{}"),
        only(
            "service_tier",
            r#"["auto","standard_only"]"#,
            "There is one tier.",
        ),
    ],
];

pub const COUNT_PARAMETERS: Tables = &[TALK];

/// A request.
struct Ask {
    model: Option<String>,
    talk: Talk,
    wishes: Wishes,
    stream: bool,
}

/// What the reply has to be, by `output_config` or the older `output_format`, and which said so.
fn form(fields: &mut Fields) -> Result<(Option<Form>, &'static str), Refusal> {
    const AT: &str = "output_config.format";
    const OLD: &str = "output_format";
    let mut format = None;
    if let Some(config) = fields.value("output_config") {
        let mut config = Fields::nested(config, "output_config")?;
        format = config.value("format");
        if let Some(other) = config.text("effort")?.filter(|effort| effort != "high") {
            let other: String = other.chars().take(40).collect();
            let why = format!("models here have no such setting (`{other}`)");
            return Err(Refusal::unsupported("output_config.effort", why));
        }
        config.end()?;
    }
    let (format, at) = match (format, fields.value(OLD)) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid(
                OLD,
                format!("`{AT}` is given, too; leave one out"),
            ));
        }
        (Some(format), None) => (format, AT),
        (None, Some(format)) => (format, OLD),
        (None, None) => return Ok((None, AT)),
    };
    Ok((structured::of_format(format, at)?, at))
}

fn read_talk(fields: &mut Fields) -> Result<Talk, Refusal> {
    let list = fields.needed("messages")?;
    let Value::Array(list) = list else {
        return Err(wrong("messages", "a list of messages", &list));
    };
    if list.is_empty() {
        return Err(Refusal::invalid("messages", "there are no messages"));
    }
    let mut messages = Vec::new();
    if let Some(system) = fields.value("system") {
        let text = talk::content_text(system, "system", &["text"])?;
        messages.extend(talk::system(text));
    }
    for (i, value) in list.into_iter().enumerate() {
        message(value, &format!("messages[{i}]"), &mut messages)?;
    }
    let tools = fields.list("tools")?.unwrap_or_default();
    let tools = tools
        .into_iter()
        .enumerate()
        .map(|(i, value)| tool(value, &format!("tools[{i}]")))
        .collect::<Result<_, _>>()?;
    let choice = fields.value("tool_choice").map(choice).transpose()?;
    let (choice, one_call) = choice.unwrap_or_default();
    let (form, form_at) = form(fields)?;
    let talk = Talk {
        messages,
        demands: Demands {
            tools,
            choice,
            one_call,
            form,
        },
        form_at,
        ..Talk::default()
    };
    talk.check_choice("tool_choice")?;
    Ok(talk)
}

impl Ask {
    fn read(body: Value) -> Result<Self, Refusal> {
        let mut fields = Fields::of_body(body, PARAMETERS)?;
        let talk = read_talk(&mut fields)?;
        let max_tokens = fields.needed_count("max_tokens", 1)?;
        let stops = fields.texts("stop_sequences")?;
        let ask = Ask {
            model: fields.text("model")?,
            talk,
            wishes: Wishes {
                temperature: fields.number("temperature", 0.0..=2.0)?,
                top_p: Wishes::top_p(&mut fields)?,
                top_k: Wishes::top_k(&mut fields, 0)?,
                max_tokens,
                stop: checked_stops(stops, "stop_sequences")?,
                ..Wishes::default()
            },
            stream: fields.flag("stream")?,
        };
        fields.end()?;
        Ok(ask)
    }
}

pub async fn answer(mut call: Call) -> Result<Response, Refusal> {
    let ask = Ask::read(std::mem::take(&mut call.value))?;
    let chosen = call.choose(ask.model.as_deref())?;
    let (ask, request) = prepare(&chosen, move |ready| {
        let prompt = ask.talk.prompt(ready)?;
        ready.check_length(&prompt, "messages")?;
        let request: Request = ask.wishes.request(ready, 0)?;
        let request = ask.talk.asked(ready, &prompt, request)?;
        Ok((ask, request))
    })
    .await?;
    let writer = Writer::new(&chosen.id(), request.prompt.len());
    let turn = Turn::new(ask.talk.reader());
    let replies = call.ask(&chosen, vec![request])?;
    writing::answer(writer, replies, turn, ask.stream).await
}

/// Tokens that a conversation takes as a prompt.
pub async fn count(mut call: Call) -> Result<Response, Refusal> {
    let mut fields = Fields::of_body(std::mem::take(&mut call.value), COUNT_PARAMETERS)?;
    let talk = read_talk(&mut fields)?;
    let model = fields.text("model")?;
    fields.end()?;
    let chosen = call.choose(model.as_deref())?;
    let tokens = prepare(&chosen, move |ready| Ok(talk.prompt(ready)?.len())).await?;
    Ok(body::json(&json!({"input_tokens": tokens})))
}
