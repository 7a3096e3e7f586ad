//! Functions that a model may call: how they are told, and how calls stand in a reply.
//!
//! Models write calls in a few forms. All of them are looked for at once: `<tool_call>` with JSON
//! (Hermes, Qwen, SmolLM3, Falcon) or with `<function=…>` (Qwen3-Coder), `<|tool_call|>` (Granite,
//! Phi), `[TOOL_CALLS]` (Mistral), `<|python_tag|>` and bare JSON (Llama 3), `<function=…>`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Message;

/// A function that a model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// What it is called by.
    pub name: String,
    /// What it does, in words.
    #[serde(default)]
    pub description: Option<String>,
    /// JSON schema of its arguments, an object's.
    pub parameters: Value,
    /// A call's arguments are held to the schema, also where the model calls by itself.
    #[serde(default)]
    pub strict: bool,
}

/// The name of a conversation's `number`th call: nine letters and digits, which Mistral's templates
/// insist on.
pub fn call_id(number: usize) -> String {
    format!("call{number:05}")
}

impl Tool {
    /// What a function's name is.
    pub const NAME: &str = "1 to 128 letters, digits, `_`, `-` and `.`";

    /// Whether `name` is [one](Self::NAME).
    pub fn may_be_called(name: &str) -> bool {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        !name.is_empty() && name.len() <= 128 && name.chars().all(fits)
    }

    /// Of a function that takes no arguments.
    pub fn no_parameters() -> Value {
        json!({"type": "object", "properties": {}})
    }

    /// As templates expect it.
    pub fn json(&self) -> Value {
        let mut function = Map::new();
        function.insert("name".into(), self.name.as_str().into());
        if let Some(description) = &self.description {
            function.insert("description".into(), description.as_str().into());
        }
        function.insert("parameters".into(), self.parameters.clone());
        json!({"type": "function", "function": function})
    }

    /// Whether an argument is a text by its schema.
    fn takes_text(&self, argument: &str) -> bool {
        self.parameters["properties"][argument]["type"] == "string"
    }
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// By which its result is given.
    pub id: String,
    /// The function's.
    pub name: String,
    /// JSON text of the arguments.
    pub arguments: String,
}

impl ToolCall {
    /// As templates expect it: with the arguments as an object.
    fn json(&self) -> Value {
        let arguments = serde_json::from_str(&self.arguments);
        let arguments = arguments.unwrap_or_else(|_| Value::from(self.arguments.as_str()));
        json!({"id": self.id, "type": "function",
            "function": {"name": self.name, "arguments": arguments}})
    }
}

/// A message of the assistant's that calls functions.
pub fn with_calls(content: &str, calls: &[ToolCall]) -> Message {
    let mut message = Message::new("assistant", content);
    let calls: Vec<Value> = calls.iter().map(ToolCall::json).collect();
    message.more.insert("tool_calls".into(), calls.into());
    message
}

/// What the call `id` of the function `name` gave.
pub fn with_result(id: &str, name: Option<&str>, content: &str) -> Message {
    let mut message = Message::new("tool", content);
    message.more.insert("tool_call_id".into(), id.into());
    if let Some(name) = name {
        message.more.insert("name".into(), name.into());
    }
    message
}

/// The calls of a message, behind its text, in the form of Hermes.
fn spoken(message: &Message, calls: &[Value]) -> Message {
    let mut text = message.content.clone();
    for call in calls {
        let function = &call["function"];
        let call = json!({"name": function["name"], "arguments": function["arguments"]});
        if !text.is_empty() {
            text.push('\n');
        }
        text += &format!("<tool_call>\n{call}\n</tool_call>");
    }
    plain(message, &message.role, text)
}

/// What takes a message's place: a text. Whether it is learnt stays.
fn plain(message: &Message, role: &str, text: impl Into<String>) -> Message {
    let mut plain = Message::new(role, text);
    if !message.is_learnt() {
        plain.never_learnt();
    }
    plain
}

/// A conversation for a template that leaves calls out: they are texts.
pub fn with_spoken_calls(messages: &[Message]) -> Vec<Message> {
    let spoken = |message: &Message| match message.more.get("tool_calls") {
        Some(Value::Array(calls)) => spoken(message, calls),
        _ => message.clone(),
    };
    messages.iter().map(spoken).collect()
}

/// A conversation for a template that knows no tools: they are explained to the model in the
/// system's message, in the form of Hermes; calls and results are texts.
pub fn explained(messages: &[Message], tools: &[Tool]) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    for message in messages {
        let calls = message.more.get("tool_calls").and_then(Value::as_array);
        match (message.role.as_str(), calls) {
            ("tool", _) => {
                let text = format!("<tool_response>\n{}\n</tool_response>", message.content);
                match out.last_mut() {
                    // Turns alternate: results of several calls are one.
                    Some(last) if last.content.ends_with("</tool_response>") => {
                        last.content += "\n";
                        last.content += &text;
                    }
                    _ => out.push(Message::new("user", text)),
                }
            }
            (_, Some(calls)) => out.push(spoken(message, calls)),
            (role, None) => out.push(plain(message, role, message.content.clone())),
        }
    }
    if tools.is_empty() {
        return out;
    }
    let signatures: Vec<String> = tools.iter().map(|tool| tool.json().to_string()).collect();
    let text = format!(
        "You may call functions. Their signatures are in <tools></tools>:\n<tools>\n{}\n</tools>\n\
         To call one, answer with a JSON object of its name and arguments in \
         <tool_call></tool_call>, and with nothing after it:\n<tool_call>\n\
         {{\"name\": \"NAME\", \"arguments\": {{}}}}\n</tool_call>\n\
         What it gives comes back in <tool_response></tool_response>.",
        signatures.join("\n")
    );
    match out.first_mut() {
        Some(first) if first.role == "system" => {
            first.content += "\n\n";
            first.content += &text;
        }
        _ => out.insert(0, Message::new("system", text)),
    }
    out
}

/// A mark that begins calls, and the one that ends them; without one the reply's end does.
struct Mark {
    begin: &'static str,
    end: Option<&'static str>,
}

/// What begins calls in replies, and ends them, where anything does.
pub fn call_marks() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    MARKS.iter().map(|mark| (mark.begin, mark.end))
}

const MARKS: [Mark; 5] = [
    Mark {
        begin: "<tool_call>",
        end: Some("</tool_call>"),
    },
    Mark {
        begin: "<|tool_call|>",
        end: Some("<|/tool_call|>"),
    },
    Mark {
        begin: "<function=",
        end: Some("</function>"),
    },
    Mark {
        begin: "[TOOL_CALLS]",
        end: None,
    },
    Mark {
        begin: "<|python_tag|>",
        end: None,
    },
];

/// What a reply's text so far may be.
#[derive(Clone, Copy)]
enum Place {
    /// Nothing but white space came.
    Start,
    Text,
    /// The whole reply may be JSON of calls.
    Json,
    /// Behind the mark of this number.
    Call(usize),
}

/// Finds calls in a reply as it comes, piece by piece.
pub struct ToolReader {
    tools: Vec<Tool>,
    place: Place,
    held: String,
    calls: Vec<ToolCall>,
    most: usize,
    new_id: Box<dyn FnMut() -> String + Send>,
}

impl ToolReader {
    /// For a reply to a request with these tools. `new_id` names calls.
    pub fn new(tools: Vec<Tool>, new_id: impl FnMut() -> String + Send + 'static) -> Self {
        ToolReader {
            tools,
            place: Place::Start,
            held: String::new(),
            calls: Vec::new(),
            most: usize::MAX,
            new_id: Box::new(new_id),
        }
    }

    /// Calls behind the first so many are left out.
    pub fn at_most(self, calls: usize) -> Self {
        ToolReader {
            most: calls,
            ..self
        }
    }

    /// Go on with `text`; what of the reply is text and can be shown now.
    pub fn push(&mut self, text: &str) -> String {
        self.held += text;
        let mut shown = String::new();
        loop {
            match self.place {
                Place::Start => {
                    let text = self.held.trim_start();
                    const LIST: &str = "[TOOL_CALLS]";
                    self.place = match text.chars().next() {
                        None => return shown,
                        Some('{') => Place::Json,
                        Some('[') if !text.starts_with(LIST) => match LIST.starts_with(text) {
                            true => return shown,
                            false => Place::Json,
                        },
                        Some(_) => Place::Text,
                    };
                }
                Place::Json => return shown,
                Place::Text => {
                    let found = MARKS.iter().enumerate().filter_map(|(i, mark)| {
                        let at = self.held.find(mark.begin)?;
                        Some((at, i))
                    });
                    let Some((at, i)) = found.min() else {
                        let keep = self.may_begin();
                        shown.extend(self.held.drain(..keep));
                        return shown;
                    };
                    let before: String = self.held.drain(..at).collect();
                    // White space between calls is not text.
                    if self.calls.is_empty() || !before.trim().is_empty() {
                        shown += &before;
                    }
                    self.place = Place::Call(i);
                }
                Place::Call(i) => {
                    let mark = &MARKS[i];
                    let begun = &self.held[mark.begin.len()..];
                    let Some((end, at)) = mark.end.and_then(|end| Some((end, begun.find(end)?)))
                    else {
                        return shown;
                    };
                    let len = mark.begin.len() + at + end.len();
                    let whole: String = self.held.drain(..len).collect();
                    if !self.take(&whole, mark) {
                        shown += &whole;
                    }
                    self.place = Place::Text;
                }
            }
        }
    }

    /// The rest of the text, and the calls. White space around calls is not text.
    pub fn finish(mut self) -> (String, Vec<ToolCall>) {
        let held = std::mem::take(&mut self.held);
        let taken = match self.place {
            Place::Start | Place::Text => false,
            Place::Json => {
                let calls = in_json(&held).filter(|calls| {
                    let known = |name: &String| self.tools.iter().any(|tool| tool.name == *name);
                    calls.iter().all(|(name, _)| known(name))
                });
                calls.is_some_and(|calls| self.add(calls))
            }
            Place::Call(i) => self.take(&held, &MARKS[i]),
        };
        let rest = match taken || (!self.calls.is_empty() && held.trim().is_empty()) {
            true => String::new(),
            false => held,
        };
        self.calls.truncate(self.most);
        (rest, self.calls)
    }

    /// Up to where `held` may be shown: what follows may be the beginning of a mark, or white space
    /// before one.
    fn may_begin(&self) -> usize {
        let from = (0..self.held.len())
            .filter(|at| self.held.is_char_boundary(*at))
            .find(|at| {
                let tail = &self.held[*at..];
                MARKS.iter().any(|mark| mark.begin.starts_with(tail))
            })
            .unwrap_or(self.held.len());
        self.held[..from].trim_end().len()
    }

    /// The calls between a mark and its end, which may be missing; whether there are any.
    fn take(&mut self, whole: &str, mark: &Mark) -> bool {
        let inner = whole.strip_prefix(mark.begin).unwrap_or(whole);
        let inner = mark
            .end
            .and_then(|end| inner.strip_suffix(end))
            .unwrap_or(inner);
        let calls = match mark.begin {
            "<function=" => self.in_function(inner),
            "[TOOL_CALLS]" => in_json(inner).or_else(|| named(inner)),
            _ => match inner.trim_start().strip_prefix("<function=") {
                Some(function) => {
                    let function = function.trim_end();
                    self.in_function(function.strip_suffix("</function>").unwrap_or(function))
                }
                None => in_json(inner),
            },
        };
        calls.is_some_and(|calls| self.add(calls))
    }

    fn add(&mut self, calls: Vec<(String, String)>) -> bool {
        for (name, arguments) in calls {
            let id = (self.new_id)();
            self.calls.push(ToolCall {
                id,
                name,
                arguments,
            });
        }
        true
    }

    /// `NAME>{JSON}`, or `NAME>` and `<parameter=KEY>VALUE</parameter>`s.
    fn in_function(&self, text: &str) -> Option<Vec<(String, String)>> {
        let (name, body) = text.split_once('>')?;
        let name = name.trim().to_owned();
        if name.is_empty() {
            return None;
        }
        let body = body.trim();
        if body.starts_with('{') {
            let arguments: Map<String, Value> = serde_json::from_str(body).ok()?;
            return Some(vec![(name, Value::from(arguments).to_string())]);
        }
        let tool = self.tools.iter().find(|tool| tool.name == name);
        let mut arguments = Map::new();
        for part in body.split("<parameter=").skip(1) {
            let (key, value) = part.split_once('>')?;
            let value = value.split("</parameter>").next()?;
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            let text = || Value::from(value);
            let value = match tool.is_some_and(|tool| tool.takes_text(key.trim())) {
                true => text(),
                false => serde_json::from_str(value.trim()).unwrap_or_else(|_| text()),
            };
            arguments.insert(key.trim().to_owned(), value);
        }
        Some(vec![(name, Value::from(arguments).to_string())])
    }
}

/// Mistral's newer form: `NAME[ARGS]{JSON}` or `NAME{JSON}`, one call behind the other.
fn named(text: &str) -> Option<Vec<(String, String)>> {
    let mut calls = Vec::new();
    for part in text.split("[TOOL_CALLS]") {
        let (name, arguments) = part.split_at(part.find('{')?);
        let name = name.trim().trim_end_matches("[ARGS]").trim();
        let arguments: Map<String, Value> = serde_json::from_str(arguments.trim()).ok()?;
        if name.is_empty() {
            return None;
        }
        calls.push((name.to_owned(), Value::from(arguments).to_string()));
    }
    Some(calls)
}

/// Calls as JSON: an object, a list, or several objects one behind the other.
fn in_json(text: &str) -> Option<Vec<(String, String)>> {
    let mut rest = text.trim();
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = values.next()?.ok()?;
        let at = values.byte_offset();
        add_calls(value, &mut calls)?;
        rest = rest[at..].trim_start_matches([';', ',']).trim_start();
    }
    (!calls.is_empty()).then_some(calls)
}

fn add_calls(value: Value, calls: &mut Vec<(String, String)>) -> Option<()> {
    match value {
        Value::Array(values) => {
            for value in values {
                add_calls(value, calls)?;
            }
            Some(())
        }
        Value::Object(mut call) => {
            if let Some(inner @ Value::Object(_)) = call.remove("function") {
                return add_calls(inner, calls);
            }
            let name = call.get("name")?.as_str()?.to_owned();
            let arguments = call
                .remove("arguments")
                .or_else(|| call.remove("parameters"));
            let arguments = match arguments {
                None | Some(Value::Null) => "{}".to_owned(),
                // Some write the JSON as a text.
                Some(Value::String(text)) => text,
                Some(arguments) => arguments.to_string(),
            };
            calls.push((name, arguments));
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather() -> Tool {
        Tool {
            name: "weather".into(),
            description: Some("The weather of a city.".into()),
            parameters: json!({"type": "object", "properties": {
                "city": {"type": "string"}, "days": {"type": "integer"}}}),
            strict: false,
        }
    }

    /// What is shown, and the calls, of a reply in pieces of `size` characters.
    fn read(reply: &str, size: usize) -> (String, Vec<(String, String)>) {
        let mut count = 0;
        let mut reader = ToolReader::new(vec![weather()], move || {
            count += 1;
            format!("call{count}")
        });
        let chars: Vec<char> = reply.chars().collect();
        let mut shown = String::new();
        for piece in chars.chunks(size) {
            shown += &reader.push(&piece.iter().collect::<String>());
        }
        let (rest, calls) = reader.finish();
        let calls = calls.into_iter().map(|call| (call.name, call.arguments));
        (shown + &rest, calls.collect())
    }

    #[test]
    fn calls_behind_the_last_allowed_are_left_out() {
        let call = r#"<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>"#;
        let several =
            r#"[{"name": "weather", "arguments": {}}, {"name": "weather", "arguments": {}}]"#;
        for reply in [call.repeat(3), several.to_owned(), call.to_owned()] {
            let mut one = ToolReader::new(vec![weather()], String::new).at_most(1);
            assert_eq!(one.push(&reply), "");
            let (rest, calls) = one.finish();
            assert_eq!((rest.as_str(), calls.len()), ("", 1), "{reply}");
        }
    }

    #[test]
    fn calls_are_found_in_every_form_however_the_reply_is_cut() {
        let one = r#"{"city":"Bern"}"#;
        for reply in [
            r#"<tool_call>
{"name": "weather", "arguments": {"city": "Bern"}}
</tool_call>"#,
            r#"<tool_call>{"name": "weather", "arguments": "{\"city\":\"Bern\"}"}"#,
            "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</parameter>\n</function>\n</tool_call>",
            r#"<function=weather>{"city": "Bern"}</function>"#,
            r#"{"name": "weather", "parameters": {"city": "Bern"}}"#,
            r#"{"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}"#,
            r#"<|python_tag|>{"name": "weather", "parameters": {"city": "Bern"}}"#,
            r#"[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Bern"}}]"#,
            r#"[TOOL_CALLS]weather[ARGS]{"city": "Bern"}"#,
            r#"[TOOL_CALLS]weather{"city": "Bern"}"#,
            r#"<|tool_call|>[{"name": "weather", "arguments": {"city": "Bern"}}]<|/tool_call|>"#,
            r#"[{"name": "weather", "arguments": {"city": "Bern"}}]"#,
        ] {
            for size in [1, 3, 1000] {
                let (text, calls) = read(reply, size);
                assert_eq!(
                    (text.as_str(), calls),
                    ("", vec![("weather".to_owned(), one.to_owned())]),
                    "{reply} by {size}"
                );
            }
        }
    }

    #[test]
    fn text_around_calls_is_shown_and_several_calls_are_kept_in_order() {
        for size in [1, 4, 1000] {
            let (text, calls) = read(
                "Let me see.\n<tool_call>{\"name\": \"a\"}</tool_call>\n<tool_call>{\"name\": \"b\", \
                 \"arguments\": {\"n\": 1}}</tool_call>",
                size,
            );
            assert_eq!(text.trim_end(), "Let me see.");
            let names: Vec<&str> = calls.iter().map(|call| call.0.as_str()).collect();
            assert_eq!(names, ["a", "b"]);
            assert_eq!(
                (calls[0].1.as_str(), calls[1].1.as_str()),
                ("{}", r#"{"n":1}"#)
            );
            let two =
                r#"<|python_tag|>{"name": "a", "parameters": {}}; {"name": "b", "parameters": {}}"#;
            assert_eq!(read(two, size).1.len(), 2);
        }
    }

    #[test]
    fn what_is_no_call_is_text() {
        for reply in [
            "plain words",
            "3 < 4 and [1, 2]",
            r#"{"answer": 42}"#,
            r#"{"name": "nobody", "arguments": {}}"#,
            "[1, 2, 3]",
            "<tool_call>not json</tool_call>",
            "a <tool",
            "[TOOL",
            "<function=>{}</function>",
            "{",
            "  [TOOL_CALLS] what?",
        ] {
            for size in [1, 2, 1000] {
                assert_eq!(read(reply, size), (reply.to_owned(), Vec::new()), "{reply}");
            }
        }
    }

    #[test]
    fn tools_are_explained_where_the_template_does_not() {
        let call = ToolCall {
            id: "a".into(),
            name: "weather".into(),
            arguments: r#"{"city": "Bern"}"#.into(),
        };
        let talk = [
            Message::new("system", "Be brief."),
            Message::new("user", "Weather?"),
            with_calls("", &[call]),
            with_result("a", Some("weather"), "sunny"),
            with_result("b", None, "cold"),
        ];
        let told = explained(&talk, &[weather()]);
        let roles: Vec<&str> = told.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        assert!(told[0].content.starts_with("Be brief.\n\nYou may call"));
        assert!(told[0].content.contains(r#""name":"weather""#));
        assert!(
            told[2]
                .content
                .contains(r#"{"name":"weather","arguments":{"city":"Bern"}}"#)
        );
        assert_eq!(told[3].content.matches("<tool_response>").count(), 2);
        assert!(told.iter().all(|m| m.more.is_empty()));
        let spoken = with_spoken_calls(&talk);
        assert_eq!((&spoken[2], &spoken[3]), (&told[2], &talk[3]));
        // Without tools only the history is written out.
        assert_eq!(explained(&talk, &[])[0].content, "Be brief.");
        assert_eq!(explained(&talk[1..2], &[weather()])[0].role, "system");
    }
}
