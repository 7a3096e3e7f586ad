//! Chat templates in Jinja, as Hugging Face keeps them (`chat_template.jinja` or a key of `tokenizer_config.json`).

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, context};

use super::python;
use crate::error::{Error, Result};
use crate::format::SpecialTokens;
use crate::session::Message;

#[derive(Debug)]
pub struct ChatTemplate {
    env: Environment<'static>,
    special: SpecialTokens,
}

impl ChatTemplate {
    pub fn new(source: &str) -> Result<Self> {
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|e| Error::Template(e.to_string()))?;
        env.set_syntax(syntax);
        env.add_function(
            "raise_exception",
            |text: String| -> Result<String, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
            },
        );
        env.add_template_owned("chat", source.to_owned())
            .map_err(|e| Error::Template(e.to_string()))?;
        env.set_unknown_method_callback(python::method);
        Ok(ChatTemplate {
            env,
            special: SpecialTokens::default(),
        })
    }

    /// With these as `bos_token` and `eos_token`, which are empty otherwise.
    pub fn with_tokens(self, special: SpecialTokens) -> Self {
        ChatTemplate { special, ..self }
    }

    /// The prompt for the assistant's next message.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        self.render_with(messages, true)
    }

    pub fn render_parts(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<super::Part>> {
        let text = self.render_with(messages, add_generation_prompt)?;
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        for m in messages {
            let content = m.content.trim();
            if let Some((before, after)) = rest.split_once(content).filter(|_| !content.is_empty())
            {
                parts.push(super::Part {
                    text: before.into(),
                    content: false,
                });
                parts.push(super::Part {
                    text: content.into(),
                    content: true,
                });
                rest = after;
            }
        }
        parts.push(super::Part {
            text: rest.into(),
            content: false,
        });
        Ok(parts)
    }

    fn render_with(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        // As plain maps, so that a template may also ask for keys that are not there.
        let messages: Vec<BTreeMap<&str, String>> = messages
            .iter()
            .map(|m| BTreeMap::from([("role", m.role.clone()), ("content", m.content.clone())]))
            .collect();
        self.env
            .get_template("chat")
            .and_then(|t| {
                let token = |text: &Option<String>| text.clone().unwrap_or_default();
                let (bos_token, eos_token) = (token(&self.special.bos), token(&self.special.eos));
                t.render(context! { messages, add_generation_prompt, bos_token, eos_token })
            })
            .map_err(|e| Error::Template(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_template_marks_turns() {
        let t = ChatTemplate::new(include_str!("../../../config/chat_template.jinja")).unwrap();
        let text = t
            .render(&[
                Message::new("user", " Hi! "),
                Message::new("assistant", "Hello."),
                Message::new("user", "Bye"),
            ])
            .unwrap();
        assert_eq!(
            text,
            "<|user|>Hi!<|end|><|assistant|>Hello.<|end|><|user|>Bye<|end|><|assistant|>"
        );
    }

    #[test]
    fn templates_of_others_find_their_tokens_and_methods() {
        let source = "{{ bos_token }}{% for m in messages %}{% set c = m['content'].strip() %}{% if c.startswith('H') %}\
            [{{ m.role.upper() }}] {{ c.split('.')[0].replace('l', 'L') }}{{ eos_token }}{% endif %}{% endfor %}";
        let special = SpecialTokens {
            bos: Some("<s>".into()),
            eos: Some("</s>".into()),
            end: Vec::new(),
        };
        let t = ChatTemplate::new(source).unwrap().with_tokens(special);
        let text = t.render(&[
            Message::new("user", " Hello. You. "),
            Message::new("user", "x"),
        ]);
        assert_eq!(text.unwrap(), "<s>[USER] HeLLo</s>");
    }

    #[test]
    fn errors_say_where() {
        assert!(ChatTemplate::new("{% for %}").is_err());
        let t = ChatTemplate::new("{{ raise_exception('no system role') }}").unwrap();
        assert!(
            t.render(&[])
                .unwrap_err()
                .to_string()
                .contains("no system role")
        );
    }
}
