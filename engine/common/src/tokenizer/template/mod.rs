//! Chat templates in Jinja, as Hugging Face keeps them (`chat_template.jinja` or a key of
//! `tokenizer_config.json`).
//!
//! They come with models from anywhere: see [`guard`] for what keeps them from taking the machine.

mod args;
mod dates;
mod functions;
mod guard;
mod json;
mod numbers;
mod parts;
mod percent;
mod python;
mod sequences;
mod source;
mod spec;
mod str_format;
mod texts;
mod tools;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::machinery::{CodeGenerator, eval, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, ErrorKind};
use serde_json::Map;
use serde_json::Value as Json;

use crate::chat::{Message, Tool, ToolCall, with_calls, with_result};
use crate::error::{Error, Result};
use dates::Now;
use guard::Budget;
use ternary_core::layout::SpecialTokens;

pub use tools::TemplateTools;

/// The template of models trained here, on the special tokens that
/// [`Tokenizer::train`](super::Tokenizer::train) adds; for people it is
/// `config/chat_template.jinja`.
pub const CHAT_TEMPLATE: &str = include_str!("own.jinja");

const TOO_MANY_STEPS: &str = "it does not end within";
/// Macros that call themselves, at most so deep.
const RECURSION: usize = 100;

/// A piece of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// A piece of the rendered conversation.
    pub text: String,
    /// What somebody wrote, not the template: special tokens in it are letters.
    pub content: bool,
}

/// What a template asks of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// It refuses one that does not begin with a system message.
    pub needs_system: bool,
}

/// A chat template. Making one checks that it can be compiled; [`check`](Self::check) also tries
/// it.
///
/// ```
/// use ternary_common::chat::Message;
/// use ternary_common::tokenizer::ChatTemplate;
///
/// let template = ChatTemplate::new("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}")?;
/// let parts = template.render_parts(&[Message::new("user", "Hi")])?;
/// assert_eq!((parts[0].text.as_str(), parts[0].content), ("<|user|>", false));
/// assert_eq!((parts[1].text.as_str(), parts[1].content), ("Hi", true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    special: SpecialTokens,
    /// What it is given beside the messages: `tools`, for example.
    values: Map<String, Json>,
    /// Whether it was said that the system's message went into the first of the user's.
    told: Arc<AtomicBool>,
}

fn syntax() -> Result<SyntaxConfig> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(|e| Error::Template(e.to_string()))
}

/// Whether a rendering was ended because it took too long.
fn is_limit(e: &Error) -> bool {
    let said = e.to_string();
    said.contains(guard::TOO_LONG) || said.contains(TOO_MANY_STEPS)
}

/// One rendering's conditions, the same for the text and for the marks in it.
#[derive(Clone, Copy)]
struct Manner {
    /// Contents as a list of typed parts instead of texts.
    as_parts: bool,
    /// The assistant's next message is to follow.
    prompt: bool,
    now: Now,
}

impl ChatTemplate {
    /// # Errors
    /// What cannot be compiled, or is nested too deep.
    pub fn new(source: &str) -> Result<Self> {
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        let source = source::without_training_tags(source);
        let syntax = syntax()?;
        source::check(&source, &syntax)?;
        parse(&source, "chat", syntax).map_err(|e| Error::Template(e.to_string()))?;
        Ok(ChatTemplate {
            source,
            special: SpecialTokens::default(),
            values: Map::new(),
            told: Arc::default(),
        })
    }

    /// With these as `bos_token` and `eos_token`, which are empty otherwise.
    pub fn with_tokens(self, special: SpecialTokens) -> Self {
        ChatTemplate { special, ..self }
    }

    /// With these beside the messages, by the names that the template knows them by: `tools`, a
    /// list of functions, or `enable_thinking`, for example.
    pub fn with_values(self, values: Map<String, Json>) -> Self {
        ChatTemplate { values, ..self }
    }

    /// The same, told of these tools.
    #[must_use]
    pub fn with_tools(mut self, tools: &[Tool]) -> Self {
        if !tools.is_empty() {
            let list: Vec<Json> = tools.iter().map(Tool::json).collect();
            self.values.insert("tools".to_owned(), list.into());
        }
        self
    }

    /// What it is given beside the messages.
    pub(super) fn values(&self) -> &Map<String, Json> {
        &self.values
    }

    /// Whether it tells the model of tools.
    pub fn takes_tools(&self) -> bool {
        let name = "tool_to_look_for";
        let tool = Tool {
            name: name.to_owned(),
            description: Some("Looks.".to_owned()),
            parameters: serde_json::json!({"type": "object", "properties": {}}),
            strict: false,
        };
        let told = self.clone().with_tools(&[tool]);
        let text = told.render(&[Message::new("user", "Hello")]);
        text.is_ok_and(|text| text.contains(name))
    }

    /// Whether it leaves out the calls of tools in the assistant's messages.
    pub fn drops_calls(&self) -> bool {
        let name = "tool_to_look_for";
        let call = ToolCall {
            // As Mistral's insist on.
            id: "lookforit".to_owned(),
            name: name.to_owned(),
            arguments: "{}".to_owned(),
        };
        let talk = [
            Message::new("user", "Hello"),
            with_calls("", &[call]),
            with_result("lookforit", Some(name), "found"),
        ];
        let talk = self.render(&talk);
        // One that fails says so when it is asked.
        talk.is_ok_and(|text| !text.contains(name))
    }

    /// Try it on a conversation.
    ///
    /// # Errors
    /// As [`render_parts`](Self::render_parts).
    pub fn check(&self) -> Result<Checked> {
        let system = Message::new("system", "Be kind.");
        let turns = ["user", "assistant", "user"].map(|role| Message::new(role, "Hello"));
        let tried = |before: &[Message]| -> Result<()> {
            self.render_parts(&[before, &turns[..1]].concat())?;
            self.render_parts(&[before, &turns].concat())?;
            Ok(())
        };
        let result = tried(&[]);
        if result.as_ref().map_or_else(is_limit, |()| true) {
            return result.map(|()| Checked::default());
        }
        match tried(&[system]) {
            Ok(()) => Ok(Checked { needs_system: true }),
            // What is wrong without one is what somebody would see.
            Err(_) => result.map(|()| Checked::default()),
        }
    }

    /// The prompt for the assistant's next message.
    ///
    /// # Errors
    /// As [`render_parts`](Self::render_parts).
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        let parts = self.render_parts(messages)?;
        Ok(parts.into_iter().map(|part| part.text).collect())
    }

    /// The prompt for the assistant's next message, cut into the template's text and the messages'
    /// contents. Contents that the template changed, beyond white space around them, are part of
    /// its text.
    ///
    /// A template that refuses a system's message, or leaves it out, gets it in front of the first
    /// of the user's.
    ///
    /// # Errors
    /// What the template refuses, or cannot do within its limits.
    pub fn render_parts(&self, messages: &[Message]) -> Result<Vec<Part>> {
        self.written_out(messages, true)
    }

    /// A conversation to learn from, cut as a [prompt](Self::render_parts) is: nothing is to
    /// follow.
    ///
    /// # Errors
    /// As [`render_parts`](Self::render_parts).
    pub fn conversation(&self, messages: &[Message]) -> Result<Vec<Part>> {
        self.written_out(messages, false)
    }

    fn written_out(&self, messages: &[Message], prompt: bool) -> Result<Vec<Part>> {
        let result = self.rendered(messages, prompt);
        let [system, rest @ ..] = messages else {
            return result;
        };
        if system.role != "system" {
            return result;
        }
        // Its text is there, perhaps changed: a mark in its place would be.
        let heard = |parts: &Vec<Part>| {
            let text: String = parts.iter().map(|part| part.text.as_str()).collect();
            let mark = parts::mark(0);
            text.contains(system.content.trim()) || {
                let mut marked = messages.to_vec();
                marked[0].content.clone_from(&mark);
                let text = self.rendered(&marked, prompt).unwrap_or_default();
                text.iter().any(|part| part.text.contains(&mark))
            }
        };
        if result.as_ref().is_ok_and(heard) || result.as_ref().is_err_and(is_limit) {
            return result;
        }
        let Some(user) = rest.iter().position(|m| m.role == "user") else {
            return result;
        };
        let mut folded = rest.to_vec();
        folded[user].content = format!("{}\n\n{}", system.content, folded[user].content);
        match self.rendered(&folded, prompt) {
            Ok(parts) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    log::warn!(
                        "the model's chat template takes no system message; it goes in front of the user's first one"
                    );
                }
                Ok(parts)
            }
            Err(_) => result,
        }
    }

    /// With contents as texts, or as typed parts where texts do not come out.
    fn rendered(&self, messages: &[Message], prompt: bool) -> Result<Vec<Part>> {
        let mut failure = None;
        let now = Now::read();
        for as_parts in [false, true] {
            let manner = Manner {
                as_parts,
                prompt,
                now,
            };
            let text = match self.run(messages, manner) {
                Ok(text) => text,
                // It would take as long another time.
                Err(e) if is_limit(&e) => return Err(e),
                Err(e) => {
                    failure.get_or_insert(e);
                    continue;
                }
            };
            // A template that prints the parts themselves cannot read them.
            let shown = "'type': 'text'";
            if as_parts
                && text.contains(shown)
                && !messages.iter().any(|m| m.content.contains(shown))
            {
                continue;
            }
            let render = |marked: &[Message]| self.run(marked, manner).ok();
            let (parts, heard) = parts::cut(&text, messages, &render);
            if heard {
                return Ok(parts);
            }
            failure
                .get_or_insert_with(|| Error::Template("it leaves out what the user says".into()));
        }
        Err(failure.unwrap_or_else(|| Error::Template("it gives no text".into())))
    }

    /// The whole text.
    fn run(&self, messages: &[Message], manner: Manner) -> Result<String> {
        let size = |values: &Map<String, Json>| match values.is_empty() {
            true => 0,
            false => serde_json::to_string(values).map_or(0, |text| text.len()),
        };
        let bytes = messages
            .iter()
            .map(|m| m.role.len() + m.content.len() + size(&m.more))
            .sum::<usize>();
        let bytes = bytes + size(&self.values);
        let budget = Arc::new(Budget::new(messages.len(), bytes));
        let values: Vec<Value> = messages
            .iter()
            .map(|m| {
                let content = match manner.as_parts {
                    true => serde_json::json!([{"type": "text", "text": m.content}]),
                    false => Json::from(m.content.as_str()),
                };
                // As plain maps, so that a template may also ask for keys that are not there.
                let mut map = Map::new();
                map.insert("role".to_owned(), Json::from(m.role.as_str()));
                map.insert("content".to_owned(), content);
                map.extend(m.more.clone());
                Value::from(Serde(map))
            })
            .collect();
        let token = |text: &Option<String>| Value::from(text.clone().unwrap_or_default());
        let mut root: BTreeMap<String, Value> = ["tools", "documents"]
            .map(|name| (name.to_owned(), Value::from(())))
            .into();
        let given = self.values.iter();
        root.extend(given.map(|(name, value)| (name.clone(), Value::from(Serde(value)))));
        root.extend([
            ("messages".to_owned(), Value::from(values)),
            ("add_generation_prompt".to_owned(), manner.prompt.into()),
            ("bos_token".to_owned(), token(&self.special.bos)),
            ("eos_token".to_owned(), token(&self.special.eos)),
        ]);
        let root = Value::from(root);
        let mut env = Environment::new();
        env.set_fuel(Some(budget.steps));
        env.set_recursion_limit(RECURSION);
        functions::add(&mut env, &budget, manner.now);
        let mut text = String::new();
        let run = || -> Result<(), minijinja::Error> {
            let syntax = syntax()
                .map_err(|e| minijinja::Error::new(ErrorKind::SyntaxError, e.to_string()))?;
            let ast = parse(&self.source, "chat", syntax)?;
            let mut generator = CodeGenerator::new("chat", &self.source);
            generator.compile_stmt(&ast);
            let (instructions, blocks) = generator.finish();
            let instructions = guard::guarded(&instructions);
            let blocks: BTreeMap<_, _> = blocks
                .iter()
                .map(|(name, block)| (*name, guard::guarded(block)))
                .collect();
            let mut out = make_string_output(&mut text);
            eval(
                &env,
                &instructions,
                root,
                &blocks,
                &mut out,
                AutoEscape::None,
            )?;
            Ok(())
        };
        let result = run();
        match result {
            Ok(()) => Ok(text),
            Err(e) => {
                let raised = budget
                    .raised
                    .lock()
                    .ok()
                    .and_then(|mut raised| raised.take());
                Err(Error::Template(match raised {
                    Some(said) => format!("it refuses the conversation: {said}"),
                    None if e.kind() == ErrorKind::OutOfFuel => {
                        format!("{TOO_MANY_STEPS} {} steps", budget.steps)
                    }
                    // What the limits say is a sentence of its own.
                    None => match e.detail() {
                        Some(said) if said.starts_with("it ") => said.to_owned(),
                        _ => e.to_string(),
                    },
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
