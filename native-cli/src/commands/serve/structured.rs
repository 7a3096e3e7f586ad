//! Replies that must have a form. The one place where a request's wish becomes a constraint.

use serde_json::Value;
use ternary::infer::{Compiler, Constraint, Form};

use super::fields::{Fields, Parameter, used, wrong};
use super::models::Ready;
use super::refusal::Refusal;

/// Of chat and text completions.
pub const RESPONSE_FORMAT: Parameter = used(
    "response_format",
    r##"{"$ref":"#/components/schemas/ResponseFormat"}"##,
    r#"{"type":"text"}"#,
    "What the reply has to be.",
);

/// OpenAI's `response_format`, or `text.format` of the Responses API, which has the schema's keys
/// beside the type.
pub fn of_format(format: Value, at: &str) -> Result<Option<Form>, Refusal> {
    let mut fields = Fields::nested(format, at)?;
    let kind = fields.needed_text("type")?;
    let form = match kind.as_str() {
        "text" => None,
        "json_object" => Some(Form::JsonObject),
        "regex" => Some(Form::Regex(fields.needed_text("regex")?)),
        "grammar" => Some(Form::Lark(fields.needed_text("grammar")?)),
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
            return Ok(Some(Form::JsonSchema(schema.to_string())));
        }
        other => {
            return Err(Refusal::invalid(
                fields.at("type"),
                format!("expected text, json_object, json_schema, regex or grammar, found {other}"),
            ));
        }
    };
    fields.end()?;
    Ok(form)
}

/// What keeps a reply in a form that the parameter `at` asks for.
pub fn asked(
    form: Option<&Form>,
    ready: &Ready,
    at: &str,
) -> Result<Option<Box<dyn Constraint>>, Refusal> {
    let Some(form) = form else {
        return Ok(None);
    };
    let made = ready.grammars().and_then(|grammars| {
        let constraint = grammars.constraint(form);
        constraint.map_err(|problem| problem.to_string())
    });
    made.map(Some).map_err(|why| Refusal::unsupported(at, why))
}
