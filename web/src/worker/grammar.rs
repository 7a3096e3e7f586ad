//! Holds replies to a form, with the compiler that is a program of its own (`web/grammar`): it is
//! fetched with the first reply that must have one, and runs in this worker.

use std::cell::RefCell;

use ternary::infer::{Compiler, Constraint, Form, TokenSet, Vocabulary};
use ternary::session::{CompilerMaker, GrammarError, Session};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::part;
use crate::js::describe;

#[wasm_bindgen]
extern "C" {
    #[derive(Clone)]
    type Program;
    #[wasm_bindgen(method, catch)]
    fn compiler(
        this: &Program,
        bytes: &[u8],
        lengths: &[u32],
        specials: &[u32],
        ends: &[u32],
    ) -> Result<Grammars, JsValue>;

    type Grammars;
    #[wasm_bindgen(method, catch)]
    fn follow(this: &Grammars, form: &str) -> Result<Follower, JsValue>;
    #[wasm_bindgen(method)]
    fn free(this: &Grammars);

    type Follower;
    #[wasm_bindgen(method, catch)]
    fn allowed(this: &Follower) -> Result<Vec<u32>, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn accept(this: &Follower, id: u32) -> Result<(), JsValue>;
    #[wasm_bindgen(method)]
    fn is_complete(this: &Follower) -> bool;
    #[wasm_bindgen(method)]
    fn free(this: &Follower);
}

thread_local! {
    /// What follows replies: a constraint may go to another thread, and these may not.
    static FOLLOWERS: RefCell<Vec<Option<Follower>>> = const { RefCell::new(Vec::new()) };
}

/// Sees to it that the session can hold replies to a form.
///
/// # Errors
/// The program could not be fetched.
pub async fn provide(session: &mut Session) -> Result<(), String> {
    if session.has_compilers() {
        return Ok(());
    }
    let program = part("grammar").await.map_err(|thrown| {
        format!(
            "what holds replies to a form could not be fetched: {}",
            describe(thrown)
        )
    })?;
    let program = wasm_bindgen::JsCast::unchecked_into::<Program>(program);
    session.set_compilers(Box::new(Maker(program)));
    Ok(())
}

struct Maker(Program);

impl CompilerMaker for Maker {
    fn compiler(&self, vocabulary: &Vocabulary) -> Result<Box<dyn Compiler>, GrammarError> {
        let (bytes, lengths) = vocabulary.joined();
        let (specials, ends) = (&vocabulary.specials, &vocabulary.ends);
        let made = self.0.compiler(&bytes, &lengths, specials, ends);
        Ok(Box::new(Remote(made.map_err(told)?)))
    }
}

struct Remote(Grammars);

impl Compiler for Remote {
    fn constraint(&self, form: &Form) -> Result<Box<dyn Constraint>, GrammarError> {
        let form = serde_json::to_string(form);
        let form = form.map_err(|problem| GrammarError::Grammar(problem.to_string()))?;
        let follower = self.0.follow(&form).map_err(told)?;
        let place = FOLLOWERS.with_borrow_mut(|all| {
            let free = all.iter().position(Option::is_none);
            let place = free.unwrap_or_else(|| {
                all.push(None);
                all.len() - 1
            });
            all[place] = Some(follower);
            place
        });
        Ok(Box::new(Place(place)))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.0.free();
    }
}

/// Of a follower.
struct Place(usize);

impl Place {
    fn ask<T>(&self, ask: impl FnOnce(&Follower) -> Result<T, JsValue>) -> Result<T, GrammarError> {
        FOLLOWERS.with_borrow(|all| match all.get(self.0) {
            Some(Some(follower)) => ask(follower).map_err(told),
            _ => Err(GrammarError::Grammar("nothing follows it".to_owned())),
        })
    }
}

impl Constraint for Place {
    fn allowed(&mut self) -> Result<TokenSet, GrammarError> {
        self.ask(Follower::allowed).map(TokenSet::from_words)
    }

    fn accept(&mut self, id: u32) -> Result<(), GrammarError> {
        self.ask(|follower| follower.accept(id))
    }

    fn is_complete(&self) -> bool {
        let complete = self.ask(|follower| Ok(follower.is_complete()));
        complete.is_ok_and(|complete| complete)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let follower = FOLLOWERS.with_borrow_mut(|all| all.get_mut(self.0).and_then(Option::take));
        if let Some(follower) = follower {
            follower.free();
        }
    }
}

/// What the program threw: an error as JSON, or a failure of its own.
fn told(thrown: JsValue) -> GrammarError {
    let error = thrown
        .as_string()
        .and_then(|text| serde_json::from_str(&text).ok());
    error.unwrap_or_else(|| GrammarError::Grammar(describe(thrown)))
}
