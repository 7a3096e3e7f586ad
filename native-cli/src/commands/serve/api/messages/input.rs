//! Conversation and tools of a request.

use serde_json::{Value, json};
use ternary::chat::{Message, Tool, ToolCall, with_calls, with_result};
use ternary::session::ToolChoice;

use crate::commands::serve::fields::{Fields, wrong};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::talk;

/// A message, which may be several here: results of tools are messages of their own.
pub fn message(value: Value, at: &str, messages: &mut Vec<Message>) -> Result<(), Refusal> {
    let mut fields = Fields::nested(value, at)?;
    let role_at = fields.at("role");
    let role = fields.needed_text("role")?;
    if !matches!(role.as_str(), "user" | "assistant") {
        return Err(Refusal::invalid(role_at, "expected user or assistant"));
    }
    let content_at = fields.at("content");
    let blocks = match fields.needed("content")? {
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Array(blocks) => blocks,
        other => return Err(wrong(&content_at, "a string or a list of blocks", &other)),
    };
    fields.end()?;
    let (mut text, mut calls) = (String::new(), Vec::new());
    for (i, block) in blocks.into_iter().enumerate() {
        let mut block = Fields::nested(block, &format!("{content_at}[{i}]"))?;
        let type_at = block.at("type");
        let kind = block.needed_text("type")?;
        match (kind.as_str(), role.as_str()) {
            ("text", _) => {
                text += &block.needed_text("text")?;
                block.value("citations");
            }
            ("tool_use", "assistant") => {
                let (id, name) = (block.needed_text("id")?, block.needed_text("name")?);
                let arguments = block.object("input")?.unwrap_or_default();
                calls.push(ToolCall {
                    id,
                    name,
                    arguments: Value::from(arguments).to_string(),
                });
            }
            ("tool_result", "user") => {
                let id = block.needed_text("tool_use_id")?;
                let at = block.at("content");
                let content = match block.value("content") {
                    None => String::new(),
                    Some(content) => talk::content_text(content, &at, &["text"])?,
                };
                let content = match block.flag("is_error")? {
                    true => format!("Error: {content}"),
                    false => content,
                };
                messages.push(with_result(&id, None, &content));
            }
            // They are the model's own and not given to it again.
            ("thinking" | "redacted_thinking", "assistant") => {
                for name in ["thinking", "signature", "data"] {
                    block.value(name);
                }
            }
            _ => {
                let kind: String = kind.chars().take(40).collect();
                let why =
                    format!("blocks of type `{kind}` are not read in messages of the {role}'s");
                return Err(Refusal::unsupported(type_at, why));
            }
        }
        block.value("cache_control");
        block.end()?;
    }
    if !calls.is_empty() {
        messages.push(with_calls(&text, &calls));
    } else if !text.is_empty() || messages.last().is_none_or(|m| m.role != "tool") {
        messages.push(Message::new(&role, text));
    }
    Ok(())
}

pub fn tool(value: Value, at: &str) -> Result<Tool, Refusal> {
    let mut fields = Fields::nested(value, at)?;
    let type_at = fields.at("type");
    if let Some(kind) = fields.text("type")?.filter(|kind| kind != "custom") {
        let kind: String = kind.chars().take(40).collect();
        let why = format!("only tools of the client's can be called here, not `{kind}`");
        return Err(Refusal::unsupported(type_at, why));
    }
    fields.value("cache_control");
    let tool = talk::tool(&mut fields, "input_schema")?;
    fields.end()?;
    Ok(tool)
}

/// Which tools are called, and whether one at most.
pub fn choice(value: Value) -> Result<(ToolChoice, bool), Refusal> {
    let mut fields = Fields::nested(value, "tool_choice")?;
    let kind = fields.needed_text("type")?;
    let one_call = fields.flag("disable_parallel_tool_use")?;
    let choice = match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::Never,
        "any" => ToolChoice::Always(None),
        "tool" => ToolChoice::Always(Some(fields.needed_text("name")?)),
        _ => {
            let message = "expected auto, any, none or tool";
            return Err(Refusal::invalid("tool_choice.type", message));
        }
    };
    fields.end()?;
    Ok((choice, one_call))
}
