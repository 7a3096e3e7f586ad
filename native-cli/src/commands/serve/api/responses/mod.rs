//! `/v1/responses`: OpenAI's newer API, texts and tools.

mod input;
#[cfg(test)]
mod tests;
mod writer;

use axum::response::Response;
use serde_json::{Map, Value, json};
use ternary::session::Demands;
use ternary::session::service::Request;

use crate::commands::serve::app::{Call, prepare};
use crate::commands::serve::fields::{
    COUNT, FLAG, Fields, LIST, NUMBER, OBJECT, TEXT, Tables, only, refused, used,
};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::structured;
use crate::commands::serve::talk::{self, Talk};
use crate::commands::serve::turn::Turn;
use crate::commands::serve::wishes::{COMMON, Wishes};
use crate::commands::serve::writing;
use input::{choice, input, tool};
use writer::Writer;

pub const PARAMETERS: Tables = &[
    COMMON,
    &[
        used(
            "input",
            r#"{"oneOf":[{"type":"string"},{"type":"array"}]}"#,
            "\"Hello\"",
            "A text, or messages, calls and results.",
        ),
        used(
            "instructions",
            TEXT,
            "\"Be brief.\"",
            "What the model is told before the conversation.",
        ),
        used(
            "tools",
            LIST,
            r#"[{"type":"function","name":"f","parameters":{"type":"object"}}]"#,
            "Functions that the model may call.",
        ),
        used(
            "tool_choice",
            r#"{"oneOf":[{"type":"string"},{"type":"object"}]}"#,
            "\"auto\"",
            "auto, none, required, or a function.",
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
            "max_output_tokens",
            COUNT,
            "16",
            "Tokens of the reply, at most.",
        ),
        used(
            "text",
            OBJECT,
            r#"{"format":{"type":"text"}}"#,
            "`format`: what the reply has to be.",
        ),
        used("stream", FLAG, "true", "Answer by server-sent events."),
        used("metadata", OBJECT, "{}", "Given back."),
        only(
            "stream_options",
            r#"[{},{"include_obfuscation":false}]"#,
            "Events are not padded.",
        ),
        used(
            "parallel_tool_calls",
            FLAG,
            "false",
            "false: a reply has one call at most, the first.",
        ),
        only("store", "[false]", "Nothing is stored."),
        only("background", "[false]", "Requests are answered at once."),
        only(
            "truncation",
            r#"["disabled"]"#,
            "A conversation that is too long is refused.",
        ),
        only("include", "[[]]", "There is nothing more to include."),
        only(
            "top_logprobs",
            "[0]",
            "Probabilities are told by /v1/chat/completions.",
        ),
        refused(
            "previous_response_id",
            "nothing is stored; send the whole conversation as `input`",
        ),
        refused(
            "conversation",
            "nothing is stored; send the whole conversation as `input`",
        ),
        only("reasoning", "[{}]", "Models here have no such setting."),
        refused("prompt", "there are no stored prompts"),
        refused("max_tool_calls", "no tools are run here"),
    ],
];

/// A request.
struct Ask {
    model: Option<String>,
    talk: Talk,
    wishes: Wishes,
    stream: bool,
    /// What is given back as it came.
    echoed: Map<String, Value>,
}

impl Ask {
    fn read(body: Value) -> Result<Self, Refusal> {
        let mut echoed = Map::new();
        for (name, default) in [
            ("instructions", Value::Null),
            ("max_output_tokens", Value::Null),
            ("metadata", json!({})),
            ("parallel_tool_calls", json!(true)),
            ("temperature", Value::Null),
            ("text", json!({"format": {"type": "text"}})),
            ("tool_choice", json!("auto")),
            ("tools", json!([])),
            ("top_p", Value::Null),
        ] {
            let given = body.get(name).filter(|value| !value.is_null());
            echoed.insert(name.to_owned(), given.cloned().unwrap_or(default));
        }
        let mut fields = Fields::of_body(body, PARAMETERS)?;
        let mut messages = Vec::new();
        if let Some(text) = fields.text("instructions")? {
            messages.extend(talk::system(text));
        }
        input(fields.needed("input")?, &mut messages)?;
        let tools = fields.list("tools")?.unwrap_or_default();
        let tools = tools
            .into_iter()
            .enumerate()
            .map(|(i, value)| tool(value, &format!("tools[{i}]")))
            .collect::<Result<_, _>>()?;
        let choice = fields.value("tool_choice").map(choice).transpose()?;
        let form = match fields.value("text") {
            None => None,
            Some(text) => {
                let mut text = Fields::nested(text, "text")?;
                let format = text.value("format");
                if let Some(other) = text.text("verbosity")?.filter(|v| v != "medium") {
                    let other: String = other.chars().take(40).collect();
                    let why = format!("models here have no such setting (`{other}`)");
                    return Err(Refusal::unsupported("text.verbosity", why));
                }
                text.end()?;
                format
                    .map(|format| structured::of_format(format, "text.format"))
                    .transpose()?
                    .flatten()
            }
        };
        fields.object("metadata")?;
        let talk = Talk {
            messages,
            demands: Demands {
                tools,
                choice: choice.unwrap_or_default(),
                one_call: !fields.flag_or("parallel_tool_calls", true)?,
                form,
            },
            form_at: "text.format",
            ..Talk::default()
        };
        talk.check_choice("tool_choice")?;
        let ask = Ask {
            model: fields.text("model")?,
            talk,
            wishes: Wishes {
                temperature: fields.number("temperature", 0.0..=2.0)?,
                top_p: Wishes::top_p(&mut fields)?,
                max_tokens: fields.count("max_output_tokens", 1)?.unwrap_or(usize::MAX),
                ..Wishes::default()
            },
            stream: fields.flag("stream")?,
            echoed,
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
        ready.check_length(&prompt, "input")?;
        let request: Request = ask.wishes.request(ready, 0)?;
        let request = ask.talk.asked(ready, &prompt, request)?;
        Ok((ask, request))
    })
    .await?;
    let sampling = (request.sampling.temperature, request.sampling.top_p);
    let turn = Turn::new(ask.talk.reader());
    let replies = call.ask(&chosen, vec![request])?;
    let writer = Writer::new(chosen.id(), ask.echoed, sampling);
    writing::answer(writer, replies, turn, ask.stream).await
}
