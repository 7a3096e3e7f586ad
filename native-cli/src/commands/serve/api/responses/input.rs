//! Conversation and tools of a request.

use serde_json::Value;
use ternary::chat::{Message, Tool, ToolCall, with_calls, with_result};
use ternary::session::ToolChoice;

use crate::commands::serve::fields::{Fields, wrong};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::talk;

/// The conversation of `input`.
pub fn input(value: Value, messages: &mut Vec<Message>) -> Result<(), Refusal> {
    let items = match value {
        Value::String(text) => {
            messages.push(Message::new("user", text));
            return Ok(());
        }
        Value::Array(items) => items,
        other => return Err(wrong("input", "a string or a list of items", &other)),
    };
    if items.is_empty() {
        return Err(Refusal::invalid("input", "there are no items"));
    }
    // Calls that follow each other, or a message, are one turn.
    let mut calls: Vec<ToolCall> = Vec::new();
    let mut spoken: Option<String> = None;
    let flush =
        |calls: &mut Vec<ToolCall>, spoken: &mut Option<String>, messages: &mut Vec<Message>| {
            let text = spoken.take();
            if calls.is_empty() {
                messages.extend(text.map(|text| Message::new("assistant", text)));
            } else {
                messages.push(with_calls(&text.unwrap_or_default(), calls));
                calls.clear();
            }
        };
    for (i, item) in items.into_iter().enumerate() {
        let mut item = Fields::nested(item, &format!("input[{i}]"))?;
        let type_at = item.at("type");
        let kind = item.text("type")?.unwrap_or_else(|| "message".to_owned());
        // What an answer of ours has is taken back.
        for name in ["id", "status"] {
            item.value(name);
        }
        match kind.as_str() {
            "message" => {
                let role_at = item.at("role");
                let role = item.needed_text("role")?;
                let at = item.at("content");
                let content = item.needed("content")?;
                let types = &["input_text", "output_text", "text", "refusal"];
                let text = talk::content_text(content, &at, types)?;
                match role.as_str() {
                    "assistant" => {
                        flush(&mut calls, &mut spoken, messages);
                        spoken = Some(text);
                    }
                    "user" | "system" | "developer" => {
                        flush(&mut calls, &mut spoken, messages);
                        let role = if role == "user" { "user" } else { "system" };
                        messages.push(Message::new(role, text));
                    }
                    _ => {
                        return Err(Refusal::invalid(
                            role_at,
                            "expected user, assistant, system or developer",
                        ));
                    }
                }
            }
            "function_call" => calls.push(ToolCall {
                id: item.needed_text("call_id")?,
                name: item.needed_text("name")?,
                arguments: item.needed_text("arguments")?,
            }),
            "function_call_output" => {
                flush(&mut calls, &mut spoken, messages);
                let id = item.needed_text("call_id")?;
                let at = item.at("output");
                let output = item.needed("output")?;
                let output = talk::content_text(output, &at, &["input_text", "output_text"])?;
                messages.push(with_result(&id, None, &output));
            }
            other => {
                let other: String = other.chars().take(40).collect();
                let why = format!("items of type `{other}` are not read here");
                return Err(Refusal::unsupported(type_at, why));
            }
        }
        item.end()?;
    }
    flush(&mut calls, &mut spoken, messages);
    Ok(())
}

pub fn tool(value: Value, at: &str) -> Result<Tool, Refusal> {
    let mut fields = Fields::nested(value, at)?;
    let kind = fields.needed_text("type")?;
    if kind != "function" {
        let kind: String = kind.chars().take(40).collect();
        let why = format!("only functions can be called here, not `{kind}`");
        return Err(Refusal::unsupported(fields.at("type"), why));
    }
    let tool = talk::tool(&mut fields, "parameters")?;
    fields.end()?;
    Ok(tool)
}

pub fn choice(value: Value) -> Result<ToolChoice, Refusal> {
    match value.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::Never),
        Some("required") => return Ok(ToolChoice::Always(None)),
        _ => {}
    }
    if !value.is_object() {
        return Err(wrong(
            "tool_choice",
            "auto, none, required or a function",
            &value,
        ));
    }
    let mut fields = Fields::nested(value, "tool_choice")?;
    let kind = fields.needed_text("type")?;
    if kind != "function" {
        return Err(Refusal::unsupported(
            "tool_choice.type",
            "only functions can be called here",
        ));
    }
    let name = fields.needed_text("name")?;
    fields.end()?;
    Ok(ToolChoice::Always(Some(name)))
}
