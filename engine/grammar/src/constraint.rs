//! Replies that must have a form: which tokens may come next.

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// What a reply has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// A JSON value that this schema accepts, given as JSON.
    JsonSchema(String),
    /// Any JSON object.
    JsonObject,
    /// What this regular expression matches as a whole, in the syntax of Rust's `regex`.
    Regex(String),
    /// A text of this grammar, in llguidance's variant of Lark.
    Lark(String),
    /// Any text, in which calls of functions may stand.
    Calls(Calls),
    /// A call of one of these functions: a JSON object with its `name` and `arguments`.
    Call(Vec<Callable>),
}

/// Calls in a text: whatever looks like one is one of these functions, with arguments that its
/// schema accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// Those that may be called.
    pub functions: Vec<Callable>,
    /// What begins calls, and ends them.
    pub marks: Vec<Mark>,
}

/// A function that may be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Callable {
    /// What it is called by.
    pub name: String,
    /// A JSON schema of its arguments, an object's, given as JSON.
    pub parameters: String,
}

/// What stands around calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Before them.
    pub begin: String,
    /// Behind them; without it, or where it is missing, the reply's end is.
    pub end: Option<String>,
    /// What stands between.
    pub inside: Inside,
}

/// How calls stand behind a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Inside {
    /// JSON: an object with `name` and `arguments` or `parameters`, or a list of them.
    Json,
    /// As that, or names, each with its arguments behind it.
    JsonOrNamed,
    /// None that a schema could hold: such a mark does not come.
    Never,
}

/// A set of token ids, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u32>,
}

impl TokenSet {
    /// No token of a vocabulary of `vocab`.
    pub fn none(vocab: usize) -> Self {
        TokenSet {
            words: vec![0; vocab.div_ceil(32)],
        }
    }

    /// From words of 32 ids each, the lowest id in the lowest bit.
    pub fn from_words(words: Vec<u32>) -> Self {
        TokenSet { words }
    }

    /// Put `id` in; ids beyond the vocabulary are left out.
    pub fn allow(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut(id as usize / 32) {
            *word |= 1 << (id % 32);
        }
    }

    /// See [`TokenSet::from_words`].
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Whether `id` is in it.
    pub fn allows(&self, id: u32) -> bool {
        let word = self.words.get(id as usize / 32);
        word.is_some_and(|word| word >> (id % 32) & 1 == 1)
    }

    /// How many are in it.
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

/// Makes constraints for one model's tokens.
pub trait Compiler {
    /// What follows `form`, from its beginning.
    ///
    /// # Errors
    /// A form that is wrong, or asks for what cannot be had; of a schema also where.
    fn constraint(&self, form: &Form) -> Result<Box<dyn Constraint>>;
}

/// What a reply has to be: a grammar, a schema, one of some words. It follows the reply token by
/// token.
pub trait Constraint: Send {
    /// The tokens that may come next. Tokens that end a reply are among them where it may end.
    ///
    /// # Errors
    /// The grammar took too long, or is at odds with what was accepted.
    fn allowed(&mut self) -> Result<TokenSet>;

    /// Go on behind `id`, which was allowed.
    ///
    /// # Errors
    /// It was not.
    fn accept(&mut self, id: u32) -> Result<()>;

    /// Whether the reply is complete and nothing may follow.
    fn is_complete(&self) -> bool;
}
