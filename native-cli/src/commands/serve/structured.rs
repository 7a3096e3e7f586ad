//! Replies that must have a form. The one place where a request's wish becomes a constraint.

use serde_json::Value;
use ternary::chat::Tool;
use ternary::infer::Constraint;
use ternary::tokenizer::Tokenizer;

use super::fields::{Fields, wrong};
use super::refusal::Refusal;

/// What a reply has to be.
#[derive(Clone, Debug)]
pub enum Form {
    /// Any JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema(Value),
    /// Calls of one of these tools.
    ToolCall(Vec<Tool>),
}

impl Form {
    /// OpenAI's `response_format`, or `text.format` of the Responses API, which has the schema's
    /// keys beside the type.
    pub fn of_format(format: Value, at: &str) -> Result<Option<Self>, Refusal> {
        let mut fields = Fields::nested(format, at)?;
        let kind = fields.needed_text("type")?;
        let form = match kind.as_str() {
            "text" => None,
            "json_object" => Some(Form::JsonObject),
            "json_schema" => {
                let mut inner = match fields.value("json_schema") {
                    Some(inner) => {
                        let at = fields.at("json_schema");
                        fields.end()?;
                        Fields::nested(inner, &at)?
                    }
                    None => fields,
                };
                for name in ["name", "description", "strict"] {
                    inner.value(name);
                }
                let at = inner.at("schema");
                let schema = inner.needed("schema")?;
                if !schema.is_object() {
                    return Err(wrong(&at, "a JSON schema", &schema));
                }
                inner.end()?;
                return Ok(Some(Form::JsonSchema(schema)));
            }
            other => {
                return Err(Refusal::invalid(
                    fields.at("type"),
                    format!("expected text, json_object or json_schema, found {other}"),
                ));
            }
        };
        fields.end()?;
        Ok(form)
    }

    /// For messages.
    fn name(&self) -> String {
        match self {
            Form::JsonObject => "JSON objects".to_owned(),
            Form::JsonSchema(schema) => format!(
                "a schema of {} keys",
                schema.as_object().map_or(0, serde_json::Map::len)
            ),
            Form::ToolCall(tools) => format!("a call of one of {} tools", tools.len()),
        }
    }
}

/// What keeps a reply in this form.
pub fn constraint(form: &Form, tokenizer: &Tokenizer) -> Result<Box<dyn Constraint>, String> {
    Err(format!(
        "replies in the form of {} are not built in yet (a vocabulary of {} tokens)",
        form.name(),
        tokenizer.vocab_size()
    ))
}
