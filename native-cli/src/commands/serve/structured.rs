//! Replies that must have a form. The one place where a request's wish becomes a constraint.

use serde_json::{Value, json};
use ternary::chat::Tool;
use ternary::infer::{self, Constraint};

use super::fields::{Fields, wrong};
use super::models::Ready;
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

    /// As the engine takes it.
    fn grammar(&self) -> infer::Form {
        match self {
            Form::JsonObject => infer::Form::JsonObject,
            Form::JsonSchema(schema) => infer::Form::JsonSchema(schema.to_string()),
            // The plainest form of a call, which is found in any reply.
            Form::ToolCall(tools) => {
                let call = |tool: &Tool| {
                    json!({
                        "type": "object",
                        "properties": {
                            "name": { "const": tool.name },
                            "arguments": tool.parameters,
                        },
                        "required": ["name", "arguments"],
                        "additionalProperties": false,
                    })
                };
                let calls: Vec<Value> = tools.iter().map(call).collect();
                infer::Form::JsonSchema(json!({ "anyOf": calls }).to_string())
            }
        }
    }
}

/// What keeps a reply in this form.
pub fn constraint(form: &Form, ready: &Ready) -> Result<Box<dyn Constraint>, String> {
    let constraint = ready.grammars()?.constraint(&form.grammar());
    constraint.map_err(|problem| problem.to_string())
}
