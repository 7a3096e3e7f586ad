//! A tokenizer's tokens, as grammars look at them.

use ternary_common::tokenizer::Tokenizer;
use ternary_grammar::Vocabulary;

/// The tokens of a tokenizer, for what compiles grammars.
pub fn vocabulary(tokenizer: &Tokenizer) -> Vocabulary {
    let mut words = tokenizer.token_bytes();
    let mut specials = Vec::new();
    for (id, word) in (0..).zip(&mut words) {
        if let Some(text) = tokenizer.special_text(id) {
            *word = text.as_bytes().to_vec();
            specials.push(id);
        }
    }
    Vocabulary {
        ends: (0..words.len() as u32)
            .filter(|id| tokenizer.is_end(*id))
            .collect(),
        specials,
        words,
    }
}
