//! Compiles the forms of replies for the engine, which runs beside it in the same worker:
//! `web/src/worker/grammar.rs` calls it, token by token.
//!
//! What goes wrong is thrown as the JSON of a [`ternary_grammar::Error`].

use ternary_grammar::{Compiler, Constraint, Error, Form, Vocabulary};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

/// Compiles forms for one model's tokens.
#[wasm_bindgen]
pub struct Grammars(ternary_grammar::Grammars);

/// Follows one reply.
#[wasm_bindgen]
pub struct Follower(Box<dyn Constraint>);

/// For a model's tokens, as [`Vocabulary::joined`] gives them.
#[wasm_bindgen]
pub fn compiler(
    bytes: &[u8],
    lengths: &[u32],
    specials: Vec<u32>,
    ends: Vec<u32>,
) -> Result<Grammars, JsValue> {
    let vocabulary = Vocabulary::of_joined(bytes, lengths, specials, ends);
    let made = ternary_grammar::Grammars::new(&vocabulary);
    made.map(Grammars).map_err(thrown)
}

#[wasm_bindgen]
impl Grammars {
    /// What follows a form, which is given as JSON.
    pub fn follow(&self, form: &str) -> Result<Follower, JsValue> {
        let form: Form = serde_json::from_str(form)
            .map_err(|problem| thrown(Error::Grammar(problem.to_string())))?;
        self.0.constraint(&form).map(Follower).map_err(thrown)
    }
}

#[wasm_bindgen]
impl Follower {
    /// The tokens that may come next, a bit each.
    pub fn allowed(&mut self) -> Result<Vec<u32>, JsValue> {
        let set = self.0.allowed().map_err(thrown)?;
        Ok(set.words().to_vec())
    }

    /// Goes on behind a token.
    pub fn accept(&mut self, id: u32) -> Result<(), JsValue> {
        self.0.accept(id).map_err(thrown)
    }

    /// Whether the reply is complete.
    pub fn is_complete(&self) -> bool {
        self.0.is_complete()
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn thrown(problem: Error) -> JsValue {
    let text = serde_json::to_string(&problem);
    JsValue::from_str(&text.unwrap_or_else(|_| problem.to_string()))
}

/// It only answers.
fn main() {}
