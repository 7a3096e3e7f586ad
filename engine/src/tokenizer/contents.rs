//! Texts in which some parts are a template's and others somebody's words: special tokens are marks in the former and letters in the
//! latter.

use serde_json::Value;
use tokenizers::Tokenizer as HfTokenizer;

use super::{Tokenizer, library};
use crate::error::Result;

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub text: String,
    /// Somebody's words, in which the text of a special token is letters.
    pub content: bool,
}

/// Character that stands for the added token number `i` in [`renamed`]: of a private-use plane, which no text has.
fn stand_in(i: usize) -> Option<char> {
    char::from_u32(0xf_0000 + u32::try_from(i).ok()?).filter(|c| u32::from(*c) < 0xf_fffe)
}

impl Tokenizer {
    /// The ids of the parts as one text.
    pub fn encode_parts(&self, parts: &[Part]) -> Result<Vec<u32>> {
        let text: String = parts.iter().map(|part| part.text.as_str()).collect();
        let added = self.added_tokens();
        let typed =
            |part: &Part| part.content && added.iter().any(|token| part.text.contains(token));
        if !parts.iter().any(typed) {
            return self.encode(&text);
        }
        // The same tokenizer, in which the added tokens are called otherwise: what a person types cannot be one.
        let renamed = renamed(&self.to_json()?, &added)?;
        let text: String = parts
            .iter()
            .map(|part| match part.content {
                true => part.text.clone(),
                false => with_stand_ins(&part.text, &added),
            })
            .collect();
        let encoded = library(|| renamed.encode(text.as_str(), false))?;
        Ok(encoded.get_ids().to_vec())
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
    library(|| value.to_string().parse())
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
        // Contents without them are encoded as ever.
        let plain = [part("<|user|>", false), part("it <b>", true)];
        assert_eq!(
            t.encode_parts(&plain).unwrap(),
            t.encode("<|user|>it <b>").unwrap()
        );
    }
}
