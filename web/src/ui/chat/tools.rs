//! Functions that the model may call, in a conversation.
//!
//! A reply's calls stand behind its text, and what they gave is a prompt of its own: both as
//! [`with_spoken_calls`] and [`explained`](ternary::chat::explained) write them, so that a
//! conversation stays a list of texts. In messages they are what OpenAI's are.

use serde_json::Value;
use ternary::chat::{Tool, ToolCall, call_id, with_calls, with_result, with_spoken_calls};
use ternary::session::Message;
use ternary_markdown::split_calls;

const BEGIN: &str = "<tool_response>\n";
const BETWEEN: &str = "\n</tool_response>\n<tool_response>\n";
const END: &str = "\n</tool_response>";
/// What the field for tools shows to those who ask for an example.
pub const EXAMPLE: &str = r#"[
  {
    "name": "get_weather",
    "description": "The weather of a city, now.",
    "parameters": {
      "type": "object",
      "properties": { "city": { "type": "string" } },
      "required": ["city"]
    }
  }
]"#;

/// A call as it stands in a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    pub name: String,
    pub arguments: Value,
}

/// The calls in a reply.
pub fn calls(reply: &str) -> Vec<Called> {
    let called = |json: &&str| {
        let mut value: Value = serde_json::from_str(json).ok()?;
        Some(Called {
            name: value["name"].as_str()?.to_owned(),
            arguments: value["arguments"].take(),
        })
    };
    let (_, calls) = split_calls(reply);
    calls.iter().filter_map(called).collect()
}

/// A reply's text with calls behind it.
pub fn with_calls_behind(text: &str, calls: &[ToolCall]) -> String {
    let spoken = with_spoken_calls(&[with_calls(text.trim_end(), calls)]);
    spoken.into_iter().map(|message| message.content).collect()
}

/// The prompt that says what calls gave.
pub fn results_prompt(results: &[String]) -> String {
    format!("{BEGIN}{}{END}", results.join(BETWEEN))
}

/// What calls gave, if a prompt says that.
pub fn results(prompt: &str) -> Option<Vec<&str>> {
    let inner = prompt.strip_prefix(BEGIN)?.strip_suffix(END)?;
    Some(inner.split(BETWEEN).collect())
}

/// Makes messages of a conversation's texts, one after the other.
#[derive(Default)]
pub struct Speech {
    /// Calls so far, by which they are named.
    count: usize,
    /// Those whose results are to come.
    open: Vec<ToolCall>,
}

impl Speech {
    /// A prompt, or one message for what each call gave.
    pub fn prompt(&mut self, prompt: &str) -> Vec<Message> {
        let open = std::mem::take(&mut self.open);
        match results(prompt) {
            Some(results) if results.len() == open.len() => {
                let both = open.iter().zip(results);
                both.map(|(call, result)| with_result(&call.id, Some(&call.name), result))
                    .collect()
            }
            _ => vec![Message::new("user", prompt)],
        }
    }

    /// A reply.
    pub fn reply(&mut self, reply: &str) -> Message {
        let calls = calls(reply);
        if calls.is_empty() {
            return Message::new("assistant", reply);
        }
        let name = |called: Called| {
            self.count += 1;
            ToolCall {
                id: call_id(self.count),
                name: called.name,
                arguments: called.arguments.to_string(),
            }
        };
        self.open = calls.into_iter().map(name).collect();
        let (text, _) = split_calls(reply);
        with_calls(text, &self.open)
    }
}

/// The functions in a text: a list of them, or one, each as OpenAI's requests have it or without
/// the frame around it.
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &str) -> Result<Vec<Tool>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let value: Value =
        serde_json::from_str(text).map_err(|problem| format!("this is not JSON: {problem}"))?;
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let mut tools: Vec<Tool> = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let tool = tool(value).map_err(|problem| format!("function {}: {problem}", index + 1))?;
        if tools.iter().any(|other| other.name == tool.name) {
            return Err(format!("there are two functions named `{}`", tool.name));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn tool(value: &Value) -> Result<Tool, String> {
    let function = value.get("function").unwrap_or(value);
    let name = function.get("name").and_then(Value::as_str);
    let name = name.ok_or("it has no `name`; expected is a text")?;
    if !Tool::may_be_called(name) {
        return Err(format!("a `name` has {}", Tool::NAME));
    }
    let parameters = match function.get("parameters") {
        None => Tool::no_parameters(),
        Some(schema @ Value::Object(_)) => schema.clone(),
        Some(_) => return Err("`parameters` is not an object; expected is a JSON schema".into()),
    };
    let description = function.get("description").and_then(Value::as_str);
    let strict = match function.get("strict") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(strict)) => *strict,
        Some(_) => return Err("`strict` is neither true nor false".into()),
    };
    Ok(Tool {
        name: name.to_owned(),
        description: description.map(str::to_owned),
        parameters,
        strict,
    })
}

/// What is wrong with a JSON schema, as far as that is seen without compiling it.
///
/// # Errors
/// That.
pub fn check_schema(text: &str) -> Result<(), String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err("a JSON schema is an object, like {\"type\": \"object\"}".to_owned()),
        Err(problem) => Err(format!("this is not JSON: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_with_calls_becomes_messages() {
        let call = ToolCall {
            id: String::new(),
            name: "weather".into(),
            arguments: "{\"city\":\"Bonn\"}".into(),
        };
        let reply = with_calls_behind("Let me see.", &[call.clone(), call]);
        assert_eq!(calls(&reply).len(), 2);
        assert_eq!(calls(&reply)[0].name, "weather");
        let mut speech = Speech::default();
        assert_eq!(speech.prompt("Hi"), [Message::new("user", "Hi")]);
        let message = speech.reply(&reply);
        assert_eq!(message.content, "Let me see.");
        assert_eq!(message.more["tool_calls"][1]["id"], "call00002");
        assert_eq!(
            message.more["tool_calls"][0]["function"]["arguments"]["city"],
            "Bonn"
        );
        // One result too few answers none of them.
        let few = results_prompt(&["sunny".into()]);
        assert_eq!(Speech::default().prompt(&few)[0].role, "user");
        let both = results_prompt(&["sunny".into(), "rain\nand wind".into()]);
        let told = speech.prompt(&both);
        assert_eq!(told.len(), 2);
        assert_eq!(
            (told[1].role.as_str(), told[1].content.as_str()),
            ("tool", "rain\nand wind")
        );
        assert_eq!(told[1].more["tool_call_id"], "call00002");
        // A reply without calls is as it is.
        let plain = speech.reply("It rains.");
        assert!(plain.more.is_empty() && plain.content == "It rains.");
    }

    #[test]
    fn functions_are_read_in_both_shapes_and_refused_with_a_reason() {
        let tools = read(EXAMPLE).unwrap();
        assert_eq!(tools[0].name, "get_weather");
        let framed = r#"{"type": "function", "function": {"name": "now"}}"#;
        assert_eq!(read(framed).unwrap()[0].parameters["type"], "object");
        assert!(read(" \n").unwrap().is_empty());
        let twice = r#"[{"name": "a"}, {"name": "a"}]"#;
        for (text, why) in [
            ("[", "not JSON"),
            ("7", "no `name`"),
            (r#"[{"name": "a"}, {"name": "b c"}]"#, "function 2"),
            (r#"{"name": "a", "parameters": []}"#, "JSON schema"),
            (twice, "two functions"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(why), "{text}: {problem}");
        }
        assert!(check_schema("{}").is_ok() && check_schema("[]").is_err());
    }
}
