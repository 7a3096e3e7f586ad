//! Turns of conversations as data sets hold them, in OpenAI's words or in ShareGPT's, and the
//! messages that they are.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::chat::{Message, Tool, ToolCall, call_id, with_calls, with_result};

/// A field that is there, whatever its value: unlike null, absence is a mistake.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A turn. Other fields say nothing to learn (`id`, `annotations`, `refusal`, …).
#[derive(Deserialize)]
pub(super) struct Turn {
    #[serde(alias = "from")]
    role: String,
    /// None where it is not there, which is a mistake; null says that nothing was said.
    #[serde(alias = "value", default, deserialize_with = "there")]
    content: Option<Option<Content>>,
    /// 0 where the assistant's words are not learnt, as in OpenAI's files for fine-tuning.
    #[serde(default)]
    weight: Value,
    #[serde(default)]
    tool_calls: Value,
    /// What `tool_calls` was called before there could be several.
    #[serde(default)]
    function_call: Value,
    #[serde(default)]
    tool_call_id: Value,
    #[serde(default)]
    name: Value,
}

/// What is said.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a content must be a text, or a list of parts with texts"
)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
pub(super) struct Part {
    text: Option<String>,
}

impl Content {
    /// None where no part has a text. `heard` counts the parts that have none.
    fn text(self, heard: &mut Heard) -> Option<String> {
        match self {
            Content::Text(text) => Some(text),
            Content::Parts(parts) => {
                let all = parts.len();
                let texts: Vec<String> = parts.into_iter().filter_map(|part| part.text).collect();
                heard.other_parts += (all - texts.len()) as u64;
                (!texts.is_empty()).then(|| texts.concat())
            }
        }
    }

    pub(super) fn into_text(self, heard: &mut Heard) -> String {
        self.text(heard).unwrap_or_default()
    }
}

/// What the owner of a conversation should know of how it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Replies without anything in them, which are not learnt.
    pub silent: u64,
    /// Parts of contents that are no texts, which are left out: pictures, files, thoughts.
    pub other_parts: u64,
}

/// Which roles turns may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roles {
    /// Those that are learnt from, or read.
    Known,
    /// Whatever a template makes of them.
    Any,
}

/// Longest name of a role, in bytes.
const LONGEST_ROLE: usize = 64;

const KNOWN: &str = "expected system (or developer), user (human, prompter), assistant (gpt, chatgpt, bot, model, ai, bard, bing, claude, \
     function_call) or tool (function, observation, function_response, tool_response, ipython)";

/// Whose turn a role marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
    /// The assistant, with calls of tools as JSON in the content.
    Calls,
    Tool,
}

impl Speaker {
    fn of(role: &str) -> Option<Self> {
        Some(match role.trim().to_lowercase().as_str() {
            "system" | "developer" => Speaker::System,
            "user" | "human" | "prompter" => Speaker::User,
            "assistant" | "gpt" | "chatgpt" | "bot" | "model" | "ai" | "bard" | "bing"
            | "claude" => Speaker::Assistant,
            "function_call" | "tool_call" => Speaker::Calls,
            "tool" | "function" | "observation" | "function_response" | "tool_response"
            | "ipython" => Speaker::Tool,
            _ => return None,
        })
    }

    fn role(self) -> &'static str {
        match self {
            Speaker::System => "system",
            Speaker::User => "user",
            Speaker::Assistant | Speaker::Calls => "assistant",
            Speaker::Tool => "tool",
        }
    }
}

impl Turn {
    pub(super) fn new(role: &str, content: Content) -> Self {
        Turn {
            role: role.to_owned(),
            content: Some(Some(content)),
            weight: Value::Null,
            tool_calls: Value::Null,
            function_call: Value::Null,
            tool_call_id: Value::Null,
            name: Value::Null,
        }
    }

    /// Roles become part of what the template marks the turns with, so they hold nothing that marks
    /// are made of.
    fn check(&self) -> Result<(), String> {
        let marks = |c: char| c.is_control() || "<>|[]{}".contains(c);
        match self.role.len() <= LONGEST_ROLE && !self.role.contains(marks) {
            true => Ok(()),
            false => Err(format!(
                "role {:?} is no name of a role, such as user or assistant",
                self.role.chars().take(LONGEST_ROLE).collect::<String>()
            )),
        }
    }

    fn is_learnt(&self) -> Result<bool, String> {
        match (&self.weight, self.weight.as_f64()) {
            (Value::Null, _) => Ok(true),
            (_, Some(weight)) if weight == 0.0 || weight == 1.0 => Ok(weight == 1.0),
            (other, _) => Err(format!(
                "weight is {other}; expected 1 (the message is learnt) or 0 (it is not)"
            )),
        }
    }
}

/// Makes messages of turns, one conversation at a time.
struct Reader<'a> {
    roles: Roles,
    /// Calls of tools so far.
    calls: usize,
    /// Ids and names of those whose results have not come.
    open: VecDeque<(String, String)>,
    heard: &'a mut Heard,
}

/// The messages of a conversation.
///
/// # Errors
/// What is wrong with which message.
pub(super) fn messages_of(
    turns: Vec<Turn>,
    roles: Roles,
    heard: &mut Heard,
) -> Result<Vec<Message>, String> {
    let mut reader = Reader {
        roles,
        calls: 0,
        open: VecDeque::new(),
        heard,
    };
    let read = |(i, turn)| {
        let message = reader.message(turn);
        message.map_err(|what| format!("message {}: {what}", i + 1))
    };
    turns.into_iter().enumerate().map(read).collect()
}

impl Reader<'_> {
    fn message(&mut self, turn: Turn) -> Result<Message, String> {
        turn.check()?;
        let learnt = turn.is_learnt()?;
        let speaker = match (Speaker::of(&turn.role), self.roles) {
            (Some(speaker), _) => speaker,
            (None, Roles::Known) => {
                return Err(format!("role {:?} is not known; {KNOWN}", turn.role));
            }
            (None, Roles::Any) => {
                let text = turn.content.flatten();
                let text = text.map_or(String::new(), |content| content.into_text(self.heard));
                return Ok(Message::new(&turn.role, text));
            }
        };
        // Calls are all that the assistant says with a message of calls alone.
        let calls = !(turn.tool_calls.is_null() && turn.function_call.is_null());
        if turn.content.is_none() && !(calls && speaker == Speaker::Assistant) {
            return Err(NO_CONTENT.to_owned());
        }
        let content = turn.content.flatten();
        let mut content = content.and_then(|content| content.text(self.heard));
        match speaker {
            Speaker::System | Speaker::User => {
                Ok(Message::new(speaker.role(), content.unwrap_or_default()))
            }
            Speaker::Tool => {
                let (id, name) = self.open.pop_front().unzip();
                let given = |value: &Value| value.as_str().map(str::to_owned);
                let name = given(&turn.name).or(name);
                let text = content.unwrap_or_default();
                Ok(match given(&turn.tool_call_id).or(id) {
                    Some(id) => with_result(&id, name.as_deref(), &text),
                    None => Message::new("tool", text),
                })
            }
            Speaker::Assistant | Speaker::Calls => {
                let mut calls = self.calls(&turn.tool_calls)?;
                calls.extend(self.calls(&turn.function_call)?);
                if speaker == Speaker::Calls
                    && let Some(text) = &content
                    && let Ok(json) = serde_json::from_str::<Value>(text)
                {
                    calls.extend(self.calls(&json)?);
                    content = None;
                }
                self.open = calls
                    .iter()
                    .map(|c| (c.id.clone(), c.name.clone()))
                    .collect();
                let empty = content.is_none() && calls.is_empty();
                let text = content.unwrap_or_default();
                let mut message = match calls.is_empty() {
                    true => Message::new("assistant", text),
                    false => with_calls(&text, &calls),
                };
                self.heard.silent += u64::from(empty && learnt);
                if empty || !learnt {
                    message.never_learnt();
                }
                Ok(message)
            }
        }
    }

    /// The calls in `tool_calls` or `function_call`: a list or one, or their JSON as a text.
    fn calls(&mut self, value: &Value) -> Result<Vec<ToolCall>, String> {
        let (list, parsed);
        let all = match value {
            Value::Null => return Ok(Vec::new()),
            Value::String(text) if text.trim().is_empty() => return Ok(Vec::new()),
            Value::String(text) => {
                parsed = serde_json::from_str::<Value>(text)
                    .ok()
                    .filter(|value| value.is_array() || value.is_object() || value.is_null())
                    .ok_or_else(|| format!("calls of tools are {value}; {CALLS}"))?;
                return self.calls(&parsed);
            }
            Value::Array(all) => all.as_slice(),
            one => {
                list = [one.clone()];
                &list
            }
        };
        all.iter().map(|call| self.call(call)).collect()
    }

    fn call(&mut self, call: &Value) -> Result<ToolCall, String> {
        let function = match &call["function"] {
            Value::Object(_) => &call["function"],
            _ => call,
        };
        let name = function["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("a call of a tool has no name; {CALLS}"))?;
        let arguments = match (&function["arguments"], &function["parameters"]) {
            (Value::Null, other) | (other, _) => match other {
                Value::Null => "{}".to_owned(),
                Value::String(text) if text.trim().is_empty() => "{}".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        };
        self.calls += 1;
        let id = call["id"].as_str().filter(|id| !id.is_empty());
        Ok(ToolCall {
            id: id.map_or_else(|| call_id(self.calls), str::to_owned),
            name: name.to_owned(),
            arguments,
        })
    }
}

const NO_CONTENT: &str = "it has no content; expected \"content\" beside \"role\", or \"value\" beside \"from\": a text, or a list of \
     parts with texts (null where nothing is said)";

const CALLS: &str =
    "expected a list of {\"function\": {\"name\": …, \"arguments\": {…}}}, as OpenAI has them";

/// The functions in a document's `tools`, a list or its JSON as a text, and whether anything in it
/// is none.
pub(super) fn tools_of(value: &Value) -> (Vec<Tool>, bool) {
    let all = match value {
        Value::Null => return (Vec::new(), false),
        Value::String(text) if text.trim().is_empty() => return (Vec::new(), false),
        Value::String(text) => {
            return match serde_json::from_str::<Value>(text) {
                Ok(parsed) if !parsed.is_string() => tools_of(&parsed),
                _ => (Vec::new(), true),
            };
        }
        Value::Array(all) => all,
        _ => return (Vec::new(), true),
    };
    let tools: Vec<Tool> = all.iter().filter_map(tool).collect();
    let odd = tools.len() < all.len();
    (tools, odd)
}

fn tool(value: &Value) -> Option<Tool> {
    let function = match &value["function"] {
        Value::Object(_) => &value["function"],
        _ => value,
    };
    let name = function["name"].as_str().filter(|name| !name.is_empty())?;
    let schema = ["parameters", "input_schema"].map(|key| &function[key]);
    let schema = schema.into_iter().find(|schema| schema.is_object());
    Some(Tool {
        name: name.to_owned(),
        description: function["description"].as_str().map(str::to_owned),
        parameters: schema.cloned().unwrap_or_else(Tool::no_parameters),
        strict: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(turns: Value) -> Result<(Vec<Message>, u64), String> {
        let turns: Vec<Turn> = serde_json::from_value(turns).unwrap();
        let mut heard = Heard::default();
        messages_of(turns, Roles::Known, &mut heard).map(|messages| (messages, heard.silent))
    }

    #[test]
    fn a_message_without_a_content_is_refused_and_parts_left_out_are_counted() {
        for turn in [
            json!({"role": "user", "contents": "x"}),
            json!({"role": "system", "text": "x"}),
            json!({"role": "assistant", "text": "x"}),
            json!({"role": "assistant", "text": "x", "tool_calls": null}),
            json!({"role": "tool", "output": "x"}),
            json!({"from": "human", "text": "x"}),
        ] {
            let turns = json!([{"role": "user", "content": "hi"}, turn]);
            let e = read(turns).unwrap_err();
            assert!(
                e.starts_with("message 2: it has no content; expected \"content\""),
                "{turn}: {e}"
            );
        }
        let parts = json!([{"role": "user", "content": [
            {"type": "text", "text": "What is "}, {"type": "image_url", "image_url": {"url": "x"}},
            {"type": "text", "text": "this?"},
        ]}]);
        let mut heard = Heard::default();
        let turns: Vec<Turn> = serde_json::from_value(parts).unwrap();
        let messages = messages_of(turns, Roles::Known, &mut heard).unwrap();
        assert_eq!(messages, [Message::new("user", "What is this?")]);
        assert_eq!((heard.silent, heard.other_parts), (0, 1));
    }

    #[test]
    fn roles_are_known_in_their_usual_names_and_no_others() {
        for (names, role) in [
            (&["system", "System", "developer"][..], "system"),
            (&["user", "human", "Human", "prompter"], "user"),
            (
                &[
                    "assistant",
                    "ASSISTANT",
                    "gpt",
                    "chatgpt",
                    "bot",
                    "model",
                    "bard",
                    "bing",
                ],
                "assistant",
            ),
            (&["tool", "function", "observation", "ipython"], "tool"),
        ] {
            for name in names {
                let (messages, _) = read(json!([{"from": name, "value": "x"}])).unwrap();
                assert_eq!(messages, [Message::new(role, "x")], "{name}");
            }
        }
        for name in ["asistant", "bob", "", "assistant/analysis"] {
            let turns = json!([{"role": "user", "content": "x"}, {"role": name, "content": "y"}]);
            let e = read(turns).unwrap_err();
            for word in ["message 2", name, "not known", "expected system", "gpt"] {
                assert!(e.contains(word), "{e}");
            }
        }
        // What a template is tried on may have any.
        let turns = vec![Turn::new("bob", Content::Text("x".into()))];
        let messages = messages_of(turns, Roles::Any, &mut Heard::default()).unwrap();
        assert_eq!(messages, [Message::new("bob", "x")]);
    }

    #[test]
    fn weights_say_what_is_learnt() {
        for (weight, learnt) in [
            (json!(0), false),
            (json!(0.0), false),
            (json!(1), true),
            (json!(null), true),
        ] {
            let (messages, silent) = read(json!([
                {"role": "user", "content": "x", "weight": 0, "name": "Ann"},
                {"role": "assistant", "content": "y", "weight": weight, "refusal": null, "id": 7},
            ]))
            .unwrap();
            assert_eq!((messages[1].is_learnt(), silent), (learnt, 0), "{weight}");
            assert!(messages[0].more.is_empty());
        }
        for weight in [json!(0.5), json!(2), json!("0"), json!(true), json!([1])] {
            let turns = json!([{"role": "assistant", "content": "y", "weight": weight}]);
            let e = read(turns).unwrap_err();
            assert!(
                e.contains("message 1: weight is ") && e.contains("expected 1"),
                "{e}"
            );
        }
    }

    #[test]
    fn calls_are_read_in_every_spelling_and_nothing_said_is_not_learnt() {
        let call = |id: &str| {
            let call = ToolCall {
                id: id.into(),
                name: "weather".into(),
                arguments: r#"{"city":"Bern"}"#.into(),
            };
            with_calls("", &[call])
        };
        let function = json!({"name": "weather", "arguments": {"city": "Bern"}});
        let text = r#"{"name": "weather", "arguments": "{\"city\":\"Bern\"}"}"#;
        for reply in [
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": null, "type": "function", "function": function}]}),
            json!({"role": "assistant", "tool_calls": [function]}),
            json!({"role": "assistant", "tool_calls": json!([function]).to_string()}),
            json!({"role": "assistant", "content": null, "function_call": function}),
            json!({"from": "function_call", "value": text}),
        ] {
            let (messages, silent) =
                read(json!([reply, {"role": "function", "content": "sunny"}])).unwrap();
            assert_eq!(messages[0], call(&call_id(1)), "{reply}");
            let result = with_result(&call_id(1), Some("weather"), "sunny");
            assert_eq!((&messages[1], silent), (&result, 0), "{reply}");
        }
        let (messages, _) = read(json!([
            {"role": "assistant", "tool_calls": [{"id": "a", "function": function}]},
            {"role": "tool", "tool_call_id": "b", "name": "other", "content": "sunny"},
        ]))
        .unwrap();
        assert_eq!(
            messages,
            [call("a"), with_result("b", Some("other"), "sunny")]
        );
        for (reply, learnt) in [
            (json!({"role": "assistant", "content": null}), false),
            (
                json!({"role": "assistant", "content": [{"type": "refusal"}]}),
                false,
            ),
            (json!({"role": "assistant", "tool_calls": []}), false),
            (json!({"role": "assistant", "content": ""}), true),
        ] {
            let (messages, silent) = read(json!([reply])).unwrap();
            assert_eq!(
                (messages[0].is_learnt(), silent),
                (learnt, u64::from(!learnt)),
                "{reply}"
            );
        }
        for calls in [
            json!([{"id": "1"}]),
            json!(7),
            json!("call me"),
            json!([{"name": ""}]),
        ] {
            let turns = json!([{"role": "assistant", "content": "x", "tool_calls": calls}]);
            let e = read(turns).unwrap_err();
            assert!(
                e.contains("message 1: ") && e.contains("expected a list"),
                "{e}"
            );
        }
    }

    #[test]
    fn tools_are_functions_in_every_spelling() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let flat = json!({"name": "weather", "description": "Looks.", "parameters": schema});
        let claude = json!({"name": "weather", "description": "Looks.", "input_schema": schema});
        for list in [
            json!([flat]),
            json!([claude]),
            json!([{"type": "function", "function": flat}]),
            json!(json!([flat]).to_string()),
        ] {
            let (tools, odd) = tools_of(&list);
            assert!(!odd && tools.len() == 1, "{list}");
            assert_eq!(tools[0].parameters, schema);
        }
        assert_eq!(tools_of(&json!(null)), (Vec::new(), false));
        for none in [
            json!("hammer"),
            json!(["hammer"]),
            json!({"a": 1}),
            json!([{"a": 1}]),
        ] {
            assert_eq!(tools_of(&none), (Vec::new(), true), "{none}");
        }
    }
}
