//! Messages and tools as OpenAI's chat completions have them.

use serde_json::{Map, Value};
use ternary::chat::{Message, Tool, ToolCall, with_calls, with_result};
use ternary::session::{Demands, ToolChoice};

use crate::commands::serve::fields::{FLAG, Fields, OBJECT, Parameter, refused, used, wrong};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::talk::{self, Talk};

/// The parameters of a conversation.
pub const TALK: &[Parameter] = &[
    used(
        "messages",
        r##"{"type":"array","items":{"$ref":"#/components/schemas/Message"},"minItems":1}"##,
        r#"[{"role":"user","content":"Hello"}]"#,
        "The conversation; a last message of the assistant's is written on.",
    ),
    used(
        "tools",
        r##"{"type":"array","items":{"$ref":"#/components/schemas/Tool"}}"##,
        r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#,
        "Functions that the model may call.",
    ),
    used(
        "tool_choice",
        r##"{"$ref":"#/components/schemas/ToolChoice"}"##,
        "\"auto\"",
        "Whether they are called: auto, as the model likes; none; required; or one function.",
    ),
    used(
        "parallel_tool_calls",
        FLAG,
        "false",
        "false: a reply has one call at most, the first.",
    ),
    used(
        "chat_template_kwargs",
        OBJECT,
        r#"{"enable_thinking":false}"#,
        "More that the chat template is given. Not in OpenAI's API.",
    ),
    refused("functions", "an older form; use `tools`"),
    refused("function_call", "an older form; use `tool_choice`"),
];

/// A conversation.
pub fn talk(fields: &mut Fields) -> Result<Talk, Refusal> {
    let at = fields.at("messages");
    let list = fields.needed("messages")?;
    let Value::Array(list) = list else {
        return Err(wrong(&at, "a list of messages", &list));
    };
    if list.is_empty() {
        return Err(Refusal::invalid(at, "there are no messages"));
    }
    let messages: Vec<Message> = list
        .into_iter()
        .enumerate()
        .map(|(i, value)| message(value, &format!("{at}[{i}]")))
        .collect::<Result<_, _>>()?;
    let tools = fields.list("tools")?.unwrap_or_default();
    let tools = tools
        .into_iter()
        .enumerate()
        .map(|(i, value)| tool(value, &format!("tools[{i}]")))
        .collect::<Result<_, _>>()?;
    let choice = match fields.value("tool_choice") {
        None => ToolChoice::Auto,
        Some(value) => choice(value)?,
    };
    let talk = Talk {
        messages,
        demands: Demands {
            tools,
            choice,
            one_call: !fields.flag_or("parallel_tool_calls", true)?,
            form: None,
        },
        template_values: template_values(fields)?,
        ..Talk::default()
    };
    talk.check_choice("tool_choice")?;
    Ok(talk)
}

/// What the template is given beside messages and tools.
fn template_values(fields: &mut Fields) -> Result<Map<String, Value>, Refusal> {
    let values = fields.object("chat_template_kwargs")?.unwrap_or_default();
    for name in [
        "messages",
        "tools",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
    ] {
        if values.contains_key(name) {
            return Err(Refusal::invalid(
                format!("chat_template_kwargs.{name}"),
                "the server gives this to the template",
            ));
        }
    }
    Ok(values)
}

fn message(value: Value, at: &str) -> Result<Message, Refusal> {
    const TEXTS: &[&str] = &["text", "refusal", "input_text", "output_text"];
    let mut fields = Fields::nested(value, at)?;
    let role = fields.needed_text("role")?;
    let content_at = fields.at("content");
    let content = fields.value("content");
    let text = |content| talk::content_text(content, &content_at, TEXTS);
    let needed = || Refusal {
        code: Some("missing_required_parameter"),
        ..Refusal::invalid(&content_at, "it is required")
    };
    let mut message = match role.as_str() {
        "system" | "developer" => Message::new("system", text(content.ok_or_else(needed)?)?),
        "user" => Message::new("user", text(content.ok_or_else(needed)?)?),
        "assistant" => {
            let calls = calls(&mut fields)?;
            // What an answer of ours has is taken back, and what clients make of it.
            for name in ["annotations", "parsed"] {
                fields.value(name);
            }
            let refusal = fields.value("refusal");
            let thoughts = fields.text("reasoning_content")?;
            let content = match content.or(refusal) {
                Some(content) => text(content)?,
                None if calls.is_empty() => return Err(needed()),
                None => String::new(),
            };
            let mut message = match calls.is_empty() {
                true => Message::new("assistant", content),
                false => with_calls(&content, &calls),
            };
            if let Some(thoughts) = thoughts {
                message
                    .more
                    .insert("reasoning_content".to_owned(), thoughts.into());
            }
            message
        }
        "tool" => {
            let id = fields.needed_text("tool_call_id")?;
            let name = fields.text("name")?;
            with_result(&id, name.as_deref(), &text(content.ok_or_else(needed)?)?)
        }
        other => {
            return Err(Refusal::invalid(
                fields.at("role"),
                format!(
                    "expected system, developer, user, assistant or tool, found `{}`",
                    other.chars().take(40).collect::<String>()
                ),
            ));
        }
    };
    if let Some(name) = fields.text("name")? {
        message.more.insert("name".to_owned(), name.into());
    }
    fields.end()?;
    Ok(message)
}

fn calls(fields: &mut Fields) -> Result<Vec<ToolCall>, Refusal> {
    let at = fields.at("tool_calls");
    let list = fields.list("tool_calls")?.unwrap_or_default();
    let call = |(i, value): (usize, Value)| {
        let mut call = Fields::nested(value, &format!("{at}[{i}]"))?;
        let id = call.needed_text("id")?;
        function_type(&mut call)?;
        let inner = call.needed("function")?;
        let mut function = Fields::nested(inner, &call.at("function"))?;
        let name = function.needed_text("name")?;
        let arguments = function.needed_text("arguments")?;
        function.value("parsed_arguments");
        function.end()?;
        // Streams have it, and some clients give it back.
        call.value("index");
        call.end()?;
        Ok(ToolCall {
            id,
            name,
            arguments,
        })
    };
    list.into_iter().enumerate().map(call).collect()
}

fn function_type(fields: &mut Fields) -> Result<(), Refusal> {
    let at = fields.at("type");
    match fields.text("type")?.as_deref() {
        None | Some("function") => Ok(()),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            let why = format!("only functions can be called here, not `{other}`");
            Err(Refusal::unsupported(at, why))
        }
    }
}

fn tool(value: Value, at: &str) -> Result<Tool, Refusal> {
    let mut fields = Fields::nested(value, at)?;
    function_type(&mut fields)?;
    let inner = fields.needed("function")?;
    let mut function = Fields::nested(inner, &fields.at("function"))?;
    let tool = talk::tool(&mut function, "parameters")?;
    function.end()?;
    fields.end()?;
    Ok(tool)
}

fn choice(value: Value) -> Result<ToolChoice, Refusal> {
    match value.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::Never),
        Some("required") => return Ok(ToolChoice::Always(None)),
        Some(_) => {
            return Err(wrong(
                "tool_choice",
                "auto, none, required or a function",
                &value,
            ));
        }
        None => {}
    }
    let mut fields = Fields::nested(value, "tool_choice")?;
    function_type(&mut fields)?;
    let inner = fields.needed("function")?;
    fields.end()?;
    let mut function = Fields::nested(inner, "tool_choice.function")?;
    let name = function.needed_text("name")?;
    function.end()?;
    Ok(ToolChoice::Always(Some(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Talk, Refusal> {
        let mut fields = Fields::of_body(body, &[TALK])?;
        let talk = talk(&mut fields)?;
        fields.end()?;
        Ok(talk)
    }

    #[test]
    fn a_conversation_with_calls_and_results() {
        let talk = read(json!({
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": " kind."}]},
                {"role": "user", "content": "Weather?", "name": "ann"},
                {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": true,
                "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "chat_template_kwargs": {"enable_thinking": false},
        }))
        .unwrap();
        assert_eq!(talk.messages[0], Message::new("system", "Be kind."));
        assert_eq!(talk.messages[1].more["name"], "ann");
        assert_eq!(
            talk.messages[2].more["tool_calls"][0]["function"]["arguments"]["a"],
            1
        );
        assert_eq!(talk.messages[3].more["tool_call_id"], "c1");
        assert_eq!(talk.demands.tools[0].description.as_deref(), Some("d"));
        assert!(talk.demands.tools[0].strict);
        assert_eq!(talk.demands.choice, ToolChoice::Always(Some("f".into())));
        assert_eq!(talk.template_values["enable_thinking"], false);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let messages =
            |message: Value| json!({"messages": [{"role": "user", "content": "x"}, message]});
        for (body, name) in [
            (json!({}), "messages"),
            (json!({"messages": "hi"}), "messages"),
            (json!({"messages": []}), "messages"),
            (messages(json!("hi")), "messages[1]"),
            (messages(json!({"content": "x"})), "messages[1].role"),
            (
                messages(json!({"role": "robot", "content": "x"})),
                "messages[1].role",
            ),
            (messages(json!({"role": "user"})), "messages[1].content"),
            (
                messages(json!({"role": "user", "content": 5})),
                "messages[1].content",
            ),
            (
                messages(
                    json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
                ),
                "messages[1].content[0].type",
            ),
            (
                messages(json!({"role": "user", "content": "x", "weight": 1})),
                "messages[1].weight",
            ),
            (
                messages(json!({"role": "tool", "content": "x"})),
                "messages[1].tool_call_id",
            ),
            (
                messages(json!({"role": "assistant"})),
                "messages[1].content",
            ),
            (
                messages(
                    json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}),
                ),
                "messages[1].tool_calls[0].type",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "web_search"}]}),
                "tools[0].type",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function", "function": {"name": "a b"}}]}),
                "tools[0].function.name",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x"}], "tool_choice": "required"}),
                "tool_choice",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x"}], "tool_choice": "sometimes"}),
                "tool_choice",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x"}], "parallel_tool_calls": 1}),
                "parallel_tool_calls",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x"}], "functions": []}),
                "functions",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"tools": 1}}),
                "chat_template_kwargs.tools",
            ),
        ] {
            let refusal = read(body).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some(name), "{}", refusal.message);
        }
    }
}
