//! Text from tokens as they come: a character may be spread over several tokens, so text is given out only once it cannot change.

use super::Tokenizer;
use crate::error::Result;

#[derive(Debug, Default)]
pub struct TextStream {
    ids: Vec<u32>,
    /// Tokens before this one have been given out and no longer matter but as left context.
    prefix: usize,
    read: usize,
}

impl TextStream {
    /// Take one more token; returns the text that is now certain.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        self.ids.push(id);
        let before = tokenizer.decode(&self.ids[self.prefix..self.read])?;
        let now = tokenizer.decode(&self.ids[self.prefix..])?;
        // A trailing replacement character is half a character: wait for the rest.
        if now.ends_with('\u{fffd}') || now.len() <= before.len() {
            return Ok(String::new());
        }
        let new = now.get(before.len()..).unwrap_or_default().to_owned();
        self.prefix = self.read;
        self.read = self.ids.len();
        Ok(new)
    }

    /// What is left when no more tokens come.
    pub fn finish(&self, tokenizer: &Tokenizer) -> Result<String> {
        let before = tokenizer.decode(&self.ids[self.prefix..self.read])?;
        let now = tokenizer.decode(&self.ids[self.prefix..])?;
        Ok(now.get(before.len()..).unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_spread_over_tokens_come_whole() {
        let t = Tokenizer::train(std::iter::once("abc abc"), 261).unwrap();
        let text = "a漢🦀é b";
        let mut stream = TextStream::default();
        let mut out = String::new();
        for id in t.encode(text).unwrap() {
            let piece = stream.push(&t, id).unwrap();
            assert!(!piece.contains('\u{fffd}'));
            out += &piece;
        }
        out += &stream.finish(&t).unwrap();
        assert_eq!(out, text);
    }
}
