//! What a reply of a conversation may and must be: tools to call, and a form.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ternary_common::chat::{Message, Tool, ToolReader, call_id, call_marks};
use ternary_common::tokenizer::{ChatTemplate, TemplateTools};
use ternary_infer::{Callable, Calls, Form, Inside, Mark};

/// Whether tools are to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// The model is not told of them.
    Never,
    /// Any, or the one of this name.
    Always(Option<String>),
}

/// What is asked of a reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Demands {
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it does.
    pub choice: ToolChoice,
    /// A reply has one call at most: the first.
    pub one_call: bool,
    /// What a reply has to be that is no call; without it, what `choice` makes of it.
    pub form: Option<Form>,
}

impl Demands {
    /// The tools that the model is told of.
    pub fn offered(&self) -> &[Tool] {
        match self.choice {
            ToolChoice::Never => &[],
            _ => &self.tools,
        }
    }

    /// What finds calls in a reply, if there are tools to call. `new_id` names them.
    pub fn reader(&self, new_id: impl FnMut() -> String + Send + 'static) -> Option<ToolReader> {
        let offered = self.offered();
        let most = if self.one_call { 1 } else { usize::MAX };
        (!offered.is_empty()).then(|| ToolReader::new(offered.to_vec(), new_id).at_most(most))
    }

    /// What the reply has to be, if anything.
    pub fn form(&self) -> Option<Form> {
        match (&self.form, &self.choice) {
            (_, ToolChoice::Always(name)) => {
                let wanted = |tool: &&Tool| name.as_ref().is_none_or(|name| *name == tool.name);
                let functions = self.tools.iter().filter(wanted);
                Some(Form::Call(functions.map(with_schema).collect()))
            }
            (Some(form), _) => Some(form.clone()),
            (None, ToolChoice::Auto) if self.tools.iter().any(|tool| tool.strict) => {
                Some(Form::Calls(calls_in_text(&self.tools)))
            }
            (None, _) => None,
        }
    }

    /// The template with the tools, and the messages as it can take them.
    pub fn prepared(
        &self,
        template: ChatTemplate,
        knows: TemplateTools,
        messages: &[Message],
    ) -> (ChatTemplate, Vec<Message>) {
        knows.prepared(template, self.offered(), messages)
    }
}

/// Names for the calls of the reply to a conversation.
pub(crate) fn numbered(messages: &[Message]) -> impl FnMut() -> String + Send + 'static {
    let calls = |message: &Message| {
        let calls = message.more.get("tool_calls").and_then(Value::as_array);
        calls.map_or(0, Vec::len)
    };
    let mut number: usize = messages.iter().map(calls).sum();
    move || {
        number += 1;
        call_id(number)
    }
}

/// A tool whose arguments are held to its schema.
fn with_schema(tool: &Tool) -> Callable {
    Callable {
        name: tool.name.clone(),
        parameters: tool.parameters.to_string(),
    }
}

/// Calls of these tools in whatever the model says, in the forms that are found in a reply.
fn calls_in_text(tools: &[Tool]) -> Calls {
    let function = |tool: &Tool| match tool.strict {
        true => with_schema(tool),
        false => Callable {
            name: tool.name.clone(),
            parameters: json!({ "type": "object" }).to_string(),
        },
    };
    let mark = |(begin, end): (&str, Option<&str>)| Mark {
        begin: begin.to_owned(),
        end: end.map(str::to_owned),
        inside: match begin {
            // Arguments are texts between marks of their own, there.
            "<function=" => Inside::Never,
            "[TOOL_CALLS]" => Inside::JsonOrNamed,
            _ => Inside::Json,
        },
    };
    Calls {
        functions: tools.iter().map(function).collect(),
        marks: call_marks().map(mark).collect(),
    }
}
