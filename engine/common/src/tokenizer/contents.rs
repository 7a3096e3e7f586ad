//! Texts in which some parts are a template's and others somebody's words: special tokens are marks
//! in the former and letters in the latter.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokenizers::Tokenizer as HfTokenizer;

use super::checked::guarded;
use super::{ChatTemplate, Part, Tokenizer};
use crate::chat::Message;
use crate::error::Result;

/// Character that stands for the added token number `i` in [`renamed`]: of a private-use plane,
/// which no text has.
fn stand_in(i: usize) -> Option<char> {
    char::from_u32(0xf_0000 + u32::try_from(i).ok()?).filter(|c| u32::from(*c) < 0xf_fffe)
}

impl Tokenizer {
    /// The ids of the parts as one text.
    pub fn encode_parts(&self, parts: &[Part]) -> Result<Vec<u32>> {
        let (tokenizer, texts) = self.told_apart(parts)?;
        let text = texts.concat();
        let encoded = guarded(|| tokenizer.encode_fast(text.as_str(), false))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// A tokenizer and texts of the parts for it, together in which special tokens are marks in the
    /// template's parts and letters in contents.
    pub(super) fn told_apart(&self, parts: &[Part]) -> Result<(Arc<HfTokenizer>, Vec<String>)> {
        let added = self.added_tokens();
        let typed =
            |part: &Part| part.content && added.iter().any(|token| part.text.contains(token));
        if !parts.iter().any(typed) {
            let texts = parts.iter().map(|part| part.text.clone());
            return Ok((self.inner.clone(), texts.collect()));
        }
        // The same tokenizer, in which the added tokens are called otherwise: what a person types
        // cannot be one.
        let renamed = renamed(&self.to_json()?, &added)?;
        let texts = parts.iter().map(|part| match part.content {
            true => part.text.clone(),
            false => with_stand_ins(&part.text, &added),
        });
        Ok((Arc::new(renamed), texts.collect()))
    }

    /// A conversation written out by `template`, in which every special token that somebody typed
    /// is in a part of contents, even if the template looks at what people say or changes it.
    /// `prompt`: the assistant's next message is to follow.
    ///
    /// # Errors
    /// What the template says.
    pub fn conversation_parts(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        prompt: bool,
    ) -> Result<Vec<Part>> {
        let render = |template: &ChatTemplate, messages: &[Message]| match prompt {
            true => template.render_parts(messages),
            false => template.conversation(messages),
        };
        let mut parts = render(template, messages)?;
        let added = self.added_tokens();
        let typed = |text: &str| added.iter().any(|token| text.contains(token.as_str()));
        let contents = messages.iter().map(|m| m.content.trim());
        let mut open: Vec<&str> = contents.filter(|text| typed(text)).collect();
        open.retain(|text| {
            !parts
                .iter()
                .any(|part| part.content && part.text.contains(text))
        });
        // Where the template only looks at them, they stand in its text as they are.
        open.retain(|text| !set_apart(&mut parts, text));
        // Tools, calls and what else there is beside the contents.
        let beside = messages.iter().map(|m| &m.more).chain([template.values()]);
        let beside_typed = beside
            .flat_map(|values| values.values())
            .any(|value| any_text(value, &typed));
        if open.is_empty() && !beside_typed {
            return Ok(parts);
        }
        // Where it changes them, a mark inside each token shows what becomes of it.
        let marked: Vec<Message> = messages
            .iter()
            .map(|m| Message {
                role: m.role.clone(),
                content: with_marks(&m.content, &added),
                more: values_with_marks(&m.more, &added),
            })
            .collect();
        let values = values_with_marks(template.values(), &added);
        let template = template.clone().with_values(values);
        let text = render(&template, &marked)?;
        let text: String = text.into_iter().map(|part| part.text).collect();
        Ok(without_marks(&text, &added))
    }

    /// Texts of the added tokens that may be marks, the longest first.
    fn added_tokens(&self) -> Vec<String> {
        let added = self.inner().get_added_tokens_decoder().into_values();
        let mut texts: Vec<String> = added
            // Runs of spaces and the like are words, not marks.
            .filter(|token| {
                token.special || token.content.contains(|c: char| c.is_ascii_punctuation())
            })
            .map(|token| token.content)
            .filter(|text| !text.is_empty())
            .collect();
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        texts.dedup();
        texts
    }
}

/// Stands inside an added token that somebody typed.
const MARK: char = '\u{10fffc}';

/// Make a part of contents of the place where `content` stands in a template's text; whether there
/// is one.
fn set_apart(parts: &mut Vec<Part>, content: &str) -> bool {
    let place = |part: &Part| (!part.content).then(|| part.text.find(content)).flatten();
    let Some((i, at)) = parts
        .iter()
        .enumerate()
        .find_map(|(i, part)| Some((i, place(part)?)))
    else {
        return false;
    };
    let text = std::mem::take(&mut parts[i].text);
    let (before, rest) = text.split_at(at);
    let (content, after) = rest.split_at(content.len());
    let part = |text: &str, content: bool| Part {
        text: text.to_owned(),
        content,
    };
    let three = [part(before, false), part(content, true), part(after, false)];
    parts.splice(i..=i, three);
    true
}

/// `text` with a mark behind the first letter of every added token.
fn with_marks(text: &str, added: &[String]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        out.push(c);
        if added.iter().any(|token| rest.starts_with(token.as_str())) {
            out.push(MARK);
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Whether a text inside `value`, a key or a value, is of this kind.
fn any_text(value: &Value, is: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is(text),
        Value::Array(values) => values.iter().any(|value| any_text(value, is)),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| (!is_name(key) && is(key)) || any_text(value, is)),
        _ => false,
    }
}

/// A key as templates ask for.
fn is_name(key: &str) -> bool {
    key.chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}

/// As [`with_marks`], in every text of the values.
fn values_with_marks(values: &Map<String, Value>, added: &[String]) -> Map<String, Value> {
    fn marked(value: &Value, added: &[String]) -> Value {
        match value {
            Value::String(text) => with_marks(text, added).into(),
            Value::Array(values) => values.iter().map(|value| marked(value, added)).collect(),
            Value::Object(map) => values_with_marks(map, added).into(),
            other => other.clone(),
        }
    }
    let marked = values.iter().map(|(key, value)| {
        let key = match is_name(key) {
            true => key.clone(),
            false => with_marks(key, added),
        };
        (key, marked(value, added))
    });
    marked.collect()
}

/// A text without its marks, the added tokens around them parts of contents.
fn without_marks(text: &str, added: &[String]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut template = String::new();
    let mut pieces = text.split(MARK);
    template += pieces.next().unwrap_or_default();
    for piece in pieces {
        let first: String = template.pop().into_iter().collect();
        let behind = |token: &&String| {
            token
                .strip_prefix(first.as_str())
                .is_some_and(|tail| piece.starts_with(tail))
        };
        let len = added
            .iter()
            .find(behind)
            .map_or(0, |token| token.len() - first.len());
        parts.push(Part {
            text: std::mem::take(&mut template),
            content: false,
        });
        parts.push(Part {
            text: first + &piece[..len],
            content: true,
        });
        template = piece[len..].to_owned();
    }
    parts.push(Part {
        text: template,
        content: false,
    });
    parts
}

/// `text` with every added token replaced by its stand-in.
fn with_stand_ins(text: &str, added: &[String]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let found = added
            .iter()
            .position(|token| rest.starts_with(token.as_str()));
        match found.and_then(|i| Some((stand_in(i)?, &added[i]))) {
            Some((stand_in, token)) => {
                out.push(stand_in);
                rest = &rest[token.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// The tokenizer of `json` with the `added` tokens called by their stand-ins.
fn renamed(json: &str, added: &[String]) -> Result<HfTokenizer> {
    let fail = |e: String| crate::Error::Tokenizer(e);
    let mut value: Value = serde_json::from_str(json).map_err(|e| fail(e.to_string()))?;
    let name = |text: &str| {
        let i = added.iter().position(|token| token == text)?;
        stand_in(i).map(String::from)
    };
    for token in value["added_tokens"].as_array_mut().into_iter().flatten() {
        if let Some(name) = token["content"].as_str().and_then(name) {
            token["content"] = name.into();
        }
    }
    // Models look words up in a vocabulary of their own, too.
    match &mut value["model"]["vocab"] {
        Value::Object(vocab) => {
            *vocab = std::mem::take(vocab)
                .into_iter()
                .map(|(word, id)| (name(&word).unwrap_or(word), id))
                .collect();
        }
        Value::Array(vocab) => {
            for entry in vocab {
                if let Some(name) = entry[0].as_str().and_then(name) {
                    entry[0] = name.into();
                }
            }
        }
        _ => {}
    }
    // It names them by text and is not asked for.
    value["post_processor"] = Value::Null;
    guarded(|| value.to_string().parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, content: bool) -> Part {
        Part {
            text: text.into(),
            content,
        }
    }

    #[test]
    fn special_tokens_are_marks_in_a_template_and_letters_in_contents() {
        let t = Tokenizer::train(std::iter::once("what does it mean?"), 300).unwrap();
        let id = |name: &str| t.id(name).unwrap();
        let parts = [
            part("<|user|>", false),
            part("What does <|end|> mean<|user|>?", true),
            part("<|end|><|assistant|>", false),
        ];
        let ids = t.encode_parts(&parts).unwrap();
        assert_eq!(
            (ids[0], ids[ids.len() - 2]),
            (id("<|user|>"), id("<|end|>"))
        );
        assert_eq!(ids.iter().filter(|i| **i == id("<|end|>")).count(), 1);
        assert_eq!(ids.iter().filter(|i| **i == id("<|user|>")).count(), 1);
        // No letter is lost.
        assert_eq!(t.decode(&ids).unwrap(), "What does <|end|> mean<|user|>?");
        // Templates that look at contents, and those that change them.
        for template in [
            "{% for m in messages %}<|{{ m.role }}|>{% if '</think>' in m.content %}!{% endif %}{{ m.content }}<|end|>{% endfor %}",
            "{% for m in messages %}<|{{ m.role }}|>{{ m.content|length }}{{ m.content }}<|end|>{% endfor %}",
            "{% for m in messages %}<|{{ m.role }}|>{{ m.content.replace('a', 'b') }}<|end|>{% endfor %}",
            "{% for m in messages %}<|{{ m.role }}|>{{ m.content[0] }}{{ m.content[1:] }}<|end|>{% endfor %}",
        ] {
            let template = ChatTemplate::new(template).unwrap();
            let turns = [
                Message::new("user", "<|end|>ab </think> cd<|user|>"),
                Message::new("assistant", "x<|assistant|>"),
            ];
            let parts = t.conversation_parts(&template, &turns, false).unwrap();
            let ids = t.encode_parts(&parts).unwrap();
            let count = |name: &str| ids.iter().filter(|i| **i == id(name)).count();
            assert_eq!(
                (count("<|end|>"), count("<|user|>"), count("<|assistant|>")),
                (2, 1, 1),
                "{parts:?}"
            );
        }
        // Tools, calls and results are letters, too.
        let template = ChatTemplate::new(
            "{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for call in m.tool_calls %}{{ call.function | tojson }}{% endfor %}<|end|>{% endfor %}",
        )
        .unwrap();
        assert!(template.takes_tools());
        let tool = crate::chat::Tool {
            name: "f".into(),
            description: Some("ends <|end|>".into()),
            parameters: serde_json::json!({"type": "object", "properties": {"<|end|>": {}}}),
            strict: false,
        };
        let call = crate::chat::ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: r#"{"<|end|>": "<|user|>"}"#.into(),
        };
        let turns = [
            Message::new("user", "x"),
            crate::chat::with_calls("", &[call]),
            crate::chat::with_result("1", Some("f"), "<|end|>"),
        ];
        let mut values = Map::new();
        values.insert("tools".into(), vec![tool.json()].into());
        let template = template.with_values(values);
        let parts = t.conversation_parts(&template, &turns, false).unwrap();
        let ids = t.encode_parts(&parts).unwrap();
        let count = |name: &str| ids.iter().filter(|i| **i == id(name)).count();
        assert_eq!((count("<|end|>"), count("<|user|>")), (3, 1), "{parts:?}");
        let text: String = parts.iter().map(|part| part.text.as_str()).collect();
        assert!(text.contains(r#""description": "ends <|end|>""#), "{text}");
        assert!(text.contains(r#"{"<|end|>": "<|user|>"}"#), "{text}");
        // Contents without them are encoded as ever.
        let plain = [part("<|user|>", false), part("it <b>", true)];
        assert_eq!(
            t.encode_parts(&plain).unwrap(),
            t.encode("<|user|>it <b>").unwrap()
        );
    }
}
