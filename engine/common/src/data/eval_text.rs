//! A text to measure a model on.

use crate::tokenizer::{END_OF_TEXT, Tokenizer};

/// A text as it is evaluated: its tokens, and what the figures are related to.
#[derive(Clone, Debug, Default)]
pub struct EvalText {
    /// The text's tokens.
    pub ids: Vec<u32>,
    /// UTF-8 bytes.
    pub bytes: usize,
    /// Separated by white space, with every line end counted as one.
    pub words: usize,
}

impl EvalText {
    /// A text without anything in it: preceded by `<|endoftext|>` where the tokenizer has it, so
    /// that its first token is predicted too.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        EvalText {
            ids: tokenizer.id(END_OF_TEXT).into_iter().collect(),
            ..EvalText::default()
        }
    }

    /// Go on with `text`, whose tokens are `ids`.
    pub fn push(&mut self, ids: &[u32], text: &str) {
        self.ids.extend(ids);
        self.bytes += text.len();
        self.words += text.split_whitespace().count() + text.matches('\n').count();
    }
}
