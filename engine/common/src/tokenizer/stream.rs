//! Text from tokens as they come: a character may be spread over several tokens, so text is given
//! out only once it cannot change.
//!
//! Where the decoder joins tokens by their bytes, so does this: bytes that are no character become
//! U+FFFD one by one (as `String::from_utf8_lossy` has it), and never take the text behind them
//! along. Other decoders are asked for the text of a few tokens at a time.

use super::Tokenizer;
use crate::error::Result;

/// Tokens before a text that a decoder is shown for context.
const CONTEXT: usize = 8;
/// Tokens that are held back at most for the sake of a character that stays half.
const HELD: usize = 16;

/// Turns ids into text one by one, holding back bytes of a character that is not complete yet.
#[derive(Debug, Default)]
pub struct TextStream {
    /// Bytes of a character that is not whole yet.
    half: Vec<u8>,
    /// There has been text: a space at the beginning is one between words.
    begun: bool,
    /// Decoders that are asked: tokens, of which those before `prefix` no longer matter, and those
    /// before `read` have been given out.
    ids: Vec<u32>,
    prefix: usize,
    read: usize,
}

impl TextStream {
    /// A stream of what follows `before`: its first word keeps its space if there is text before
    /// it.
    pub fn after(tokenizer: &Tokenizer, before: &[u32]) -> Self {
        let is_text = |id: &&u32| tokenizer.special_text(**id).is_none();
        let text = before
            .iter()
            .rev()
            .take(CONTEXT)
            .take_while(is_text)
            .count();
        TextStream {
            begun: text > 0,
            ids: before[before.len() - text..].to_vec(),
            read: text,
            ..TextStream::default()
        }
    }

    /// A stream of what stands inside a text: its first word keeps its space.
    pub(super) fn within() -> Self {
        TextStream {
            begun: true,
            ..TextStream::default()
        }
    }

    /// Take one more token; returns the text that is now certain.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        let Some(pieces) = tokenizer.pieces() else {
            return self.ask(tokenizer, id);
        };
        let mut bytes = pieces.bytes.get(id as usize).map_or(&[][..], Vec::as_slice);
        if !self.begun && !bytes.is_empty() {
            self.begun = true;
            if pieces.strips_space {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
        }
        self.half.extend_from_slice(bytes);
        Ok(self.certain(false))
    }

    /// The characters that are whole, with U+FFFD for bytes that will never be one; with `all` half
    /// ones, too.
    fn certain(&mut self, all: bool) -> String {
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.half) {
                Ok(rest) => {
                    text += rest;
                    self.half.clear();
                    return text;
                }
                Err(e) => {
                    let valid = e.valid_up_to();
                    text += std::str::from_utf8(&self.half[..valid]).unwrap_or_default();
                    let bad = match e.error_len() {
                        Some(bad) => bad,
                        None if all => self.half.len() - valid,
                        None => {
                            self.half.drain(..valid);
                            return text;
                        }
                    };
                    text.push('\u{fffd}');
                    self.half.drain(..valid + bad);
                }
            }
        }
    }

    /// [`TextStream::push`] where the library joins tokens.
    fn ask(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        self.ids.push(id);
        let now = tokenizer.decode_whole(&self.ids[self.prefix..])?;
        let held = self.ids.len() - self.read;
        if now.ends_with('\u{fffd}') && held < HELD {
            return Ok(String::new());
        }
        self.new_text(tokenizer, &now)
    }

    /// What `now`, the text from `prefix` on, has beyond what was given out.
    fn new_text(&mut self, tokenizer: &Tokenizer, now: &str) -> Result<String> {
        let before = tokenizer.decode_whole(&self.ids[self.prefix..self.read])?;
        let same = before
            .bytes()
            .zip(now.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        let new = now[now.floor_char_boundary(same)..].to_owned();
        // Context enough for a decoder that looks at neighbors.
        (self.prefix, self.read) = (self.read, self.ids.len());
        Ok(new)
    }

    /// What is left when no more tokens come.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        if tokenizer.pieces().is_some() {
            return Ok(self.certain(true));
        }
        if self.read == self.ids.len() {
            return Ok(String::new());
        }
        let now = tokenizer.decode_whole(&self.ids[self.prefix..])?;
        self.new_text(tokenizer, &now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn streamed(t: &Tokenizer, before: &[u32], ids: &[u32]) -> (String, Vec<String>) {
        let mut stream = TextStream::after(t, before);
        let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(t, *id).unwrap()).collect();
        pieces.push(stream.finish(t).unwrap());
        (pieces.concat(), pieces)
    }

    /// Bytes, then words, with SentencePiece's decoder: the library's `<0xE6>` and `▁`.
    fn sentence_piece(decoder: serde_json::Value) -> Tokenizer {
        let mut vocab = serde_json::Map::new();
        for (i, special) in ["<unk>", "<s>", "</s>"].iter().enumerate() {
            vocab.insert((*special).into(), i.into());
        }
        for byte in 0..256 {
            vocab.insert(format!("<0x{byte:02X}>"), (3 + byte).into());
        }
        for word in ["▁", "▁Once", "▁upon", "▁there", "n"] {
            vocab.insert(word.into(), vocab.len().into());
        }
        let added = |id: u32, text: &str| {
            serde_json::json!({"id": id, "content": text, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true})
        };
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")], "decoder": decoder,
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": []},
        });
        Tokenizer::from_json(&json.to_string()).unwrap()
    }

    fn decoders() -> [Tokenizer; 2] {
        let strip = serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        let metaspace = serde_json::json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}]});
        [strip, metaspace].map(sentence_piece)
    }

    #[test]
    fn the_first_generated_word_keeps_its_space() {
        for t in decoders() {
            let id = |word: &str| t.id(word).unwrap();
            let prompt = [1, id("▁Once"), id("▁upon")];
            let reply = [id("▁there"), id("▁"), id("n")];
            assert_eq!(streamed(&t, &prompt, &reply).0, " there n");
            // At the beginning of a text it is the tokenizer's own.
            assert_eq!(streamed(&t, &[1], &reply).0, "there n");
            assert_eq!(t.decode(&reply).unwrap(), "there n");
        }
    }

    #[test]
    fn text_behind_a_stray_byte_is_not_lost() {
        for t in decoders() {
            let byte = |b: u32| 3 + b;
            let ids = [0xe6, 0xe6, 0xbc, 0xa2, 0x80].map(byte);
            let (text, pieces) =
                streamed(&t, &[], &[&ids[..], &[t.id("▁there").unwrap()]].concat());
            assert_eq!(text, "\u{fffd}漢\u{fffd} there");
            assert_eq!(pieces[3], "漢");
        }
    }

    #[test]
    fn characters_spread_over_tokens_come_whole() {
        let t = Tokenizer::train(std::iter::once("abc abc"), 261).unwrap();
        let text = "a漢🦀é b";
        let (out, pieces) = streamed(&t, &[], &t.encode(text).unwrap());
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')));
        assert_eq!(out, text);
    }

    #[test]
    fn decoders_that_look_at_neighbors_are_asked() {
        let vocab = serde_json::json!({"[UNK]": 0, "un": 1, "##happy": 2, "cat": 3, "##s": 4});
        let json = serde_json::json!({"version": "1.0", "added_tokens": [],
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab}});
        let t = Tokenizer::from_json(&json.to_string()).unwrap();
        let ids = [1, 2, 3, 4, 3];
        assert_eq!(streamed(&t, &[], &ids).0, "unhappy cats cat");
        assert_eq!(streamed(&t, &[1, 2], &[3, 4]).0, " cats");
    }

    proptest! {
        #[test]
        fn a_stream_is_the_lossy_text_of_the_bytes(ids in prop::collection::vec(0u32..256, 0..60)) {
            let t = Tokenizer::train(std::iter::once("x"), 261).unwrap();
            let all = t.token_bytes();
            let bytes: Vec<u8> = ids.iter().flat_map(|id| all[*id as usize].clone()).collect();
            prop_assert_eq!(streamed(&t, &[], &ids).0, String::from_utf8_lossy(&bytes));
        }
    }
}
