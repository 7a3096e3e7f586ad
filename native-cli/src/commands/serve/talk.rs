//! A conversation with tools, whichever API it came by, and the prompt that a model's template
//! makes of it.

use serde_json::{Map, Value};
use ternary::chat::{Message, Tool, ToolReader};
use ternary::session::service::Request;
use ternary::session::{Demands, ToolChoice, chat_parts, encode_chat};
use ternary::tokenizer::ChatTemplate;

use super::fields::{Fields, wrong};
use super::ids;
use super::models::Ready;
use super::refusal::Refusal;
use super::structured;

/// A conversation.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    pub messages: Vec<Message>,
    pub demands: Demands,
    /// The parameter that demands a form.
    pub form_at: &'static str,
    /// More that the template is given.
    pub template_values: Map<String, Value>,
}

impl Talk {
    /// The template with what it is given, and the messages as it can take them.
    fn prepared(&self, ready: &Ready) -> Result<(ChatTemplate, Vec<Message>), Refusal> {
        let Some(template) = &ready.template else {
            return Err(Refusal::invalid(
                "model",
                "this model has no chat template; it continues texts (/v1/completions)",
            )
            .with_code("no_chat_template"));
        };
        let template = template.clone().with_values(self.template_values.clone());
        Ok(self.demands.prepared(template, ready.knows, &self.messages))
    }

    /// The prompt's tokens.
    pub fn prompt(&self, ready: &Ready) -> Result<Vec<u32>, Refusal> {
        let (template, messages) = self.prepared(ready)?;
        encode_chat(&ready.tokenizer, &template, &messages).map_err(Refusal::from)
    }

    /// The prompt's text.
    pub fn text(&self, ready: &Ready) -> Result<String, Refusal> {
        let (template, messages) = self.prepared(ready)?;
        let parts = chat_parts(&ready.tokenizer, &template, &messages)?;
        Ok(parts.into_iter().map(|part| part.text).collect())
    }

    /// `request` with this conversation's prompt.
    pub fn asked(
        &self,
        ready: &Ready,
        prompt: &[u32],
        request: Request,
    ) -> Result<Request, Refusal> {
        let at = match (&self.demands.form, &self.demands.choice) {
            (None, _) | (_, ToolChoice::Always(_)) => "tools",
            (Some(_), _) => self.form_at,
        };
        let constraint = structured::asked(self.demands.form().as_ref(), ready, at)?;
        Ok(Request {
            prompt: prompt.to_vec(),
            goes_on: self.messages.last().is_some_and(|m| {
                m.role == "assistant" && !m.content.is_empty() && m.more.is_empty()
            }),
            in_turns: true,
            // Some models' calls begin with special tokens.
            show_specials: !self.demands.offered().is_empty(),
            constraint,
            ..request
        })
    }

    /// What finds calls in a reply, if there are tools to call.
    pub fn reader(&self) -> Option<ToolReader> {
        self.demands.reader(ids::call)
    }

    /// A choice must be of tools that are there.
    pub fn check_choice(&self, at: &str) -> Result<(), Refusal> {
        let tools = &self.demands.tools;
        match &self.demands.choice {
            ToolChoice::Always(Some(name)) if !tools.iter().any(|tool| tool.name == *name) => {
                Err(Refusal::invalid(at, format!("there is no tool `{name}`")))
            }
            ToolChoice::Always(_) if tools.is_empty() => {
                Err(Refusal::invalid(at, "there are no `tools` to choose from"))
            }
            _ => Ok(()),
        }
    }
}

/// A function by its parts, which stand under these names.
pub fn tool(fields: &mut Fields, schema: &str) -> Result<Tool, Refusal> {
    let at = fields.at("name");
    let name = fields.needed_text("name")?;
    if !Tool::may_be_called(&name) {
        return Err(Refusal::invalid(
            at,
            format!("a function's name has {}", Tool::NAME),
        ));
    }
    let description = fields.text("description")?;
    let parameters = match fields.value(schema) {
        Some(Value::Object(parameters)) => {
            let takes = |kind: &&Value| match kind {
                Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
                kind => *kind == "object",
            };
            if let Some(kind) = parameters.get("type").filter(|kind| !takes(kind)) {
                let at = format!("{}.type", fields.at(schema));
                return Err(wrong(&at, "\"object\": arguments have names", kind));
            }
            parameters.into()
        }
        Some(other) => return Err(wrong(&fields.at(schema), "a JSON schema", &other)),
        None => Tool::no_parameters(),
    };
    Ok(Tool {
        name,
        description,
        parameters,
        strict: fields.flag("strict")?,
    })
}

/// What goes before the conversation, where it stands beside it: an empty text is none, for which
/// templates may have words of their own.
pub fn system(text: String) -> Option<Message> {
    (!text.is_empty()).then(|| Message::new("system", text))
}

/// A text, or a list of parts that are texts of one of these types.
pub fn content_text(value: Value, at: &str, types: &[&str]) -> Result<String, Refusal> {
    let parts = match value {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => return Err(wrong(at, "a string or a list of parts", &other)),
    };
    let mut text = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let mut part = Fields::nested(part, &format!("{at}[{i}]"))?;
        let kind = part.needed_text("type")?;
        if !types.contains(&kind.as_str()) {
            let why = format!("parts of type `{kind}` are not read here; this model reads texts");
            return Err(Refusal::unsupported(part.at("type"), why));
        }
        text += &match kind.as_str() {
            "refusal" => part.needed_text("refusal")?,
            _ => part.needed_text("text")?,
        };
        // Prefixes are kept of themselves; and what an answer of ours has is taken back.
        for name in ["cache_control", "annotations", "logprobs", "citations"] {
            part.value(name);
        }
        part.end()?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{self, Setup};
    use super::*;

    fn weather() -> Tool {
        Tool {
            name: "weather".into(),
            description: None,
            parameters: json!({"type": "object", "properties": {"city": {"type": "string"}}}),
            strict: false,
        }
    }

    #[test]
    fn tools_go_to_templates_that_take_them_and_are_explained_to_others() {
        let talk = Talk {
            messages: vec![Message::new("user", "Hi <|end|>")],
            demands: Demands {
                tools: vec![weather()],
                ..Demands::default()
            },
            ..Talk::default()
        };
        let plain = testing::ready(&Setup::default());
        assert!(!plain.knows.takes);
        let text = talk.text(&plain).unwrap();
        assert!(text.contains("<tools>\n{\"type\":\"function\""), "{text}");
        let knows = testing::ready(&Setup {
            template: Some(testing::TOOL_TEMPLATE),
            ..Setup::default()
        });
        assert!(knows.knows.takes);
        let text = talk.text(&knows).unwrap();
        assert!(
            text.starts_with("<|system|>{\"type\": \"function\""),
            "{text}"
        );
        assert!(!knows.knows.drops_calls);
        // One that tells of tools and not of their calls.
        let deaf = testing::ready(&Setup {
            template: Some(
                "{% for t in tools %}{{ t | tojson }}{% endfor %}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}",
            ),
            ..Setup::default()
        });
        assert!(deaf.knows.takes && deaf.knows.drops_calls);
        let call = ternary::chat::ToolCall {
            id: "a".into(),
            name: "weather".into(),
            arguments: "{}".into(),
        };
        let called = Talk {
            messages: vec![
                Message::new("user", "Hi"),
                ternary::chat::with_calls("", &[call]),
                ternary::chat::with_result("a", None, "sunny"),
            ],
            ..talk.clone()
        };
        let text = called.text(&deaf).unwrap();
        assert!(
            text.contains("<tool_call>\n{\"name\":\"weather\""),
            "{text}"
        );
        // What is typed is letters.
        let prompt = talk.prompt(&knows).unwrap();
        let end = knows.tokenizer.id("<|end|>").unwrap();
        assert_eq!(prompt.iter().filter(|id| **id == end).count(), 2);
        let request = talk.asked(&knows, &prompt, Request::default()).unwrap();
        assert!(request.in_turns && request.show_specials && !request.goes_on);
        // Tools that are not to be called are not told of.
        let chosen = |choice| {
            let mut talk = talk.clone();
            talk.demands.choice = choice;
            talk
        };
        let never = chosen(ToolChoice::Never);
        assert!(!never.text(&knows).unwrap().contains("weather"));
        assert!(never.reader().is_none() && talk.reader().is_some());
        let always = chosen(ToolChoice::Always(None));
        assert!(request.constraint.is_none());
        let request = always.asked(&knows, &prompt, Request::default()).unwrap();
        assert!(request.constraint.is_some());
    }

    #[test]
    fn schemas_of_functions_have_definitions_and_are_named_where_they_are_wrong() {
        let ready = testing::ready(&Setup::default());
        let asked = |choice: ToolChoice, strict: bool, city: Value| {
            let parameters = json!({"type": "object", "$defs": {"City": city},
                "properties": {"city": {"$ref": "#/$defs/City"}}, "required": ["city"]});
            let tool = Tool {
                parameters,
                strict,
                ..weather()
            };
            let demands = Demands {
                tools: vec![tool],
                choice,
                ..Demands::default()
            };
            let talk = Talk {
                messages: vec![Message::new("user", "Hi")],
                demands,
                ..Talk::default()
            };
            talk.asked(&ready, &[1], Request::default())
        };
        let city = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        for (choice, strict) in [(ToolChoice::Always(None), false), (ToolChoice::Auto, true)] {
            let request = asked(choice.clone(), strict, city.clone()).unwrap();
            assert!(request.constraint.is_some());
            let refusal = asked(choice, strict, json!({"not": {}})).err().unwrap();
            assert_eq!(refusal.param.as_deref(), Some("tools"));
            for part in ["weather's parameters", "#/$defs/City", "`not`"] {
                assert!(refusal.message.contains(part), "{}", refusal.message);
            }
        }
    }

    #[test]
    fn a_model_without_a_template_says_so() {
        let ready = testing::ready(&Setup {
            template: None,
            ..Setup::default()
        });
        let refusal = Talk::default().prompt(&ready).unwrap_err();
        assert_eq!(refusal.code, Some("no_chat_template"));
    }

    #[test]
    fn a_last_message_of_the_assistants_is_written_on() {
        let ready = testing::ready(&Setup::default());
        let talk = Talk {
            messages: vec![
                Message::new("user", "Hi"),
                Message::new("assistant", "Well, "),
            ],
            ..Talk::default()
        };
        let text = talk.text(&ready).unwrap();
        assert!(text.ends_with("<|assistant|>Well, "), "{text}");
        let request = talk.asked(&ready, &[1], Request::default()).unwrap();
        assert!(request.goes_on);
    }
}
