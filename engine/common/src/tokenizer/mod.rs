//! Tokenizers: any Hugging Face `tokenizer.json`; training a byte-level BPE; streaming text out of
//! tokens; chat templates.

mod bytes;
mod checked;
mod contents;
mod pieces;
mod stream;
mod template;
mod turns;

pub use stream::TextStream;
pub use template::{CHAT_TEMPLATE, ChatTemplate, Checked, Part, TemplateTools};
pub use turns::TurnToken;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use pieces::{Decoding, Pieces};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer};

use crate::error::{Error, Result};

/// Ends a document; separates the documents of a training text.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// The special tokens of tokenizers trained here: end of document, then the chat template's marks.
pub const SPECIAL_TOKENS: [&str; 5] = [
    END_OF_TEXT,
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
];
/// Other names for tokens that end a text, as found in published tokenizers.
const END_NAMES: [&str; 8] = [
    END_OF_TEXT,
    "<|end|>",
    "</s>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<eos>",
    "<|eos|>",
];

/// Tokens of a trained vocabulary, at most: far more than any in use.
const MOST_TOKENS: usize = 1 << 24;

/// Characters of a word that a vocabulary is trained on, at most. A merge costs the trainer the
/// square of a word's length, so a genome or a picture in base64, one word of a megabyte, is
/// learned from in pieces.
const LONGEST_WORD: usize = 256;

/// A word in pieces of [`LONGEST_WORD`] characters at most.
fn in_lengths(word: &str) -> Vec<String> {
    if word.len() <= LONGEST_WORD {
        return vec![word.to_owned()];
    }
    let chars: Vec<char> = word.chars().collect();
    chars
        .chunks(LONGEST_WORD)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// A tokenizer and the ids that end a text.
///
/// ```
/// use ternary_common::tokenizer::Tokenizer;
///
/// let text = "the cat sat on the mat, the cat ran";
/// let tokenizer = Tokenizer::train(std::iter::once(text), 270)?;
/// let ids = tokenizer.encode("the cat")?;
/// assert!(ids.len() < "the cat".len());
/// assert_eq!(tokenizer.decode(&ids)?, "the cat");
/// let again = Tokenizer::from_json(&tokenizer.to_json()?)?;
/// assert_eq!(again.vocab_size(), tokenizer.vocab_size());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<HfTokenizer>,
    ends: HashSet<u32>,
    /// Texts of the special tokens.
    specials: HashMap<u32, String>,
    vocab_size: usize,
    pieces: Arc<OnceLock<Option<Pieces>>>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocab_size())
    }
}

/// Whether the words of a text are encoded one by one. The library keeps what it made of each.
fn parts_words(inner: &HfTokenizer) -> bool {
    use tokenizers::{NormalizedString, OffsetReferential, OffsetType, PreTokenizedString};
    use tokenizers::{Normalizer as _, PreTokenizer as _};
    let Some(pre_tokenizer) = inner.get_pre_tokenizer() else {
        return false;
    };
    let mut text = NormalizedString::from("some words, one by one");
    let normalized = inner.get_normalizer().map(|n| n.normalize(&mut text));
    let mut text = PreTokenizedString::from(text);
    let parted = pre_tokenizer.pre_tokenize(&mut text);
    let parts = text.get_splits(OffsetReferential::Original, OffsetType::None);
    // What cannot do that is told of when a text is encoded.
    normalized.is_none_or(|n| n.is_ok()) && parted.is_ok() && parts.len() > 1
}

impl Tokenizer {
    /// From the contents of a `tokenizer.json`. Truncation and padding saved in it are not obeyed.
    ///
    /// # Errors
    /// What is no tokenizer.json, or one that cannot be used safely.
    pub fn from_json(json: &str) -> Result<Self> {
        static TOLD: std::sync::Once = std::sync::Once::new();
        let checked = checked::check(json)?;
        if !checked.dropped.is_empty() {
            TOLD.call_once(|| {
                let what = checked.dropped.join(" and ");
                log::warn!(
                    "tokenizer.json asks for {what}, which is not done: texts are encoded whole"
                );
            });
        }
        let inner =
            checked::guarded(|| checked.json.parse::<HfTokenizer>()).map_err(|e| match e {
                Error::Tokenizer(e) => Error::Tokenizer(format!("not a tokenizer.json: {e}")),
                other => other,
            })?;
        checked::guarded(|| Ok(Self::new(inner)))
    }

    /// A `tokenizer.json` without what is not obeyed, and what that was.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn cleaned(json: &str) -> Result<(String, Vec<&'static str>)> {
        let checked = checked::check(json)?;
        Ok((checked.json, checked.dropped))
    }

    /// A `tokenizer.json` without the tokens for which a model of `rows` rows has none, and their
    /// texts: they are letters then. Nothing where it has none of them.
    ///
    /// # Errors
    /// What is no JSON.
    pub fn within(json: &str, rows: usize) -> Result<Option<(String, Vec<String>)>> {
        checked::within(json, rows)
    }

    fn new(mut inner: HfTokenizer) -> Self {
        // Every thread would keep what it made of thousands of texts.
        if !parts_words(&inner) {
            let mut model = inner.get_model().clone();
            model.resize_cache(0);
            inner.with_model(model);
        }
        let ends = END_NAMES
            .iter()
            .filter_map(|name| inner.token_to_id(name))
            .collect();
        let last = inner.get_vocab(true).into_values().max();
        Tokenizer {
            specials: inner
                .get_added_tokens_decoder()
                .into_iter()
                .filter(|(_, token)| token.special && !token.content.is_empty())
                .map(|(id, token)| (id, token.content))
                .collect(),
            inner: Arc::new(inner),
            ends,
            vocab_size: last.map_or(0, |id| id as usize + 1),
            pieces: Arc::default(),
        }
    }

    fn inner(&self) -> &HfTokenizer {
        &self.inner
    }

    /// The `tokenizer.json`.
    pub fn to_json(&self) -> Result<String> {
        self.inner
            .to_string(false)
            .map_err(|e| Error::Tokenizer(e.to_string()))
    }

    /// # Errors
    /// A vocabulary that [`train`](Self::train) would refuse.
    pub fn check_vocab(vocab_size: usize) -> Result<()> {
        let least = 256 + SPECIAL_TOKENS.len();
        let fail = |what: String| {
            Err(Error::Tokenizer(format!(
                "a vocabulary of {vocab_size} is too {what}"
            )))
        };
        match vocab_size {
            n if n < least => fail(format!(
                "small: 256 bytes and {} special tokens need {least}",
                SPECIAL_TOKENS.len()
            )),
            n if n > MOST_TOKENS => fail(format!(
                "large: at most {MOST_TOKENS} tokens can be told apart"
            )),
            _ => Ok(()),
        }
    }

    /// Train a byte-level BPE (Sennrich et al. 2016; GPT-2's pre-tokenization) of exactly or at
    /// most `vocab_size` tokens on `texts`. Deterministic for the same texts in the same order,
    /// however they are cut at ends of lines. Documents are parted at `<|endoftext|>`. The texts
    /// are counted as they come and not kept.
    pub fn train<T: AsRef<str> + Send>(
        texts: impl Iterator<Item = T> + Send,
        vocab_size: usize,
    ) -> Result<Self> {
        Self::check_vocab(vocab_size)?;
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| Error::Tokenizer(e.to_string());
        let mut trainer = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(vocab_size)
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(
                SPECIAL_TOKENS
                    .iter()
                    .map(|t| AddedToken::from(*t, true))
                    .collect(),
            )
            .build();
        let mut inner = HfTokenizer::new(BPE::default());
        let bytes = ByteLevel::new(false, true, true);
        inner.with_pre_tokenizer(Some(bytes));
        inner.with_decoder(Some(bytes));
        // Special tokens of the text must not be learned as words.
        let parts = texts.flat_map(|t| {
            t.as_ref()
                .split(['<', '>'])
                .filter(|part| !(part.starts_with('|') && part.ends_with('|')))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        let mut model = BPE::default();
        {
            use tokenizers::Trainer as _;
            use tokenizers::{PreTokenizedString, PreTokenizer as _};
            trainer
                .feed(parts, |text| {
                    let mut pre = PreTokenizedString::from(text);
                    bytes.pre_tokenize(&mut pre)?;
                    Ok(pre
                        .get_splits(
                            tokenizers::OffsetReferential::Original,
                            tokenizers::OffsetType::Byte,
                        )
                        .into_iter()
                        .flat_map(|(word, _, _)| in_lengths(word))
                        .collect())
                })
                .map_err(fail)?;
            let special = trainer.train(&mut model).map_err(fail)?;
            inner.with_model(model);
            inner.add_special_tokens(special).map_err(fail)?;
        }
        Ok(Self::new(inner))
    }

    /// Every id is below this. Tokenizers with unused ids have fewer tokens than it says.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Every token's text and id, special ones included.
    pub fn vocabulary(&self) -> HashMap<String, u32> {
        self.inner.get_vocab(true).into_iter().collect()
    }

    /// The ids of a text as it stands; special tokens that are written in it count as such.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(checked::guarded(|| self.inner.encode_fast(text, false))?
            .get_ids()
            .to_vec())
    }

    /// As [`encode`](Self::encode), with the tokens that the tokenizer puts around a text.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>> {
        Ok(checked::guarded(|| self.inner.encode(text, true))?
            .get_ids()
            .to_vec())
    }

    /// As [`encode`](Self::encode), with the tokens that the tokenizer puts before a text: one for
    /// its beginning, say. Those that it puts after a text are left out: the text is to be
    /// continued.
    pub fn encode_to_continue(&self, text: &str) -> Result<Vec<u32>> {
        let encoded = checked::guarded(|| self.inner.encode(text, true))?;
        let added = encoded.get_special_tokens_mask();
        let end = added
            .iter()
            .rposition(|mask| *mask == 0)
            .map_or(0, |last| last + 1);
        // Of an empty text only the first tokens can be meant, and an end closes nothing.
        let ids = encoded.get_ids();
        let end = match end {
            0 => ids
                .iter()
                .position(|id| self.is_end(*id))
                .unwrap_or(ids.len()),
            end => end,
        };
        Ok(ids[..end].to_vec())
    }

    /// Text of `ids`, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut stream = TextStream::default();
        let mut text = String::new();
        for id in ids {
            text += &stream.push(self, *id)?;
        }
        Ok(text + &stream.finish(self)?)
    }

    /// As [`decode`](Self::decode), with the texts of special tokens in their places.
    pub fn decode_with_specials(&self, ids: &[u32]) -> Result<String> {
        let (mut text, mut stream) = (String::new(), TextStream::default());
        for id in ids {
            match self.special_text(*id) {
                None => text += &stream.push(self, *id)?,
                Some(special) => {
                    text += &std::mem::take(&mut stream).finish(self)?;
                    text += special;
                    stream = TextStream::within();
                }
            }
        }
        Ok(text + &stream.finish(self)?)
    }

    /// Text of `ids` as the library joins it.
    fn decode_whole(&self, ids: &[u32]) -> Result<String> {
        checked::guarded(|| self.inner.decode(ids, true))
    }

    /// The id of a token by its exact text, special ones included.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Bytes of every token by id: joined, they are the text that [`decode`](Self::decode) gives.
    /// Special tokens have none.
    pub fn token_bytes(&self) -> Vec<Vec<u8>> {
        let byte_level = Decoding::of(&self.inner).is_none_or(|d| d.byte_level);
        Pieces::new(self, byte_level).bytes
    }

    /// What streaming needs of every token; none where the library has to join tokens.
    fn pieces(&self) -> Option<&Pieces> {
        let make = || {
            let decoding = Decoding::of(&self.inner)?;
            let pieces = Pieces::new(self, decoding.byte_level);
            Some(Pieces {
                strips_space: decoding.strips_space,
                ..pieces
            })
        };
        self.pieces.get_or_init(make).as_ref()
    }

    /// The text of a special token.
    pub fn special_text(&self, id: u32) -> Option<&str> {
        self.specials.get(&id).map(String::as_str)
    }

    /// Texts and ids of the special tokens that stand in `text`, in order.
    pub fn specials_in(&self, text: &str) -> Vec<(String, u32)> {
        let mut found: Vec<(usize, &str, u32)> = Vec::new();
        for (id, special) in &self.specials {
            let places = text.match_indices(special.as_str());
            found.extend(places.map(|(at, text)| (at, text, *id)));
        }
        found.sort_unstable();
        found
            .into_iter()
            .map(|(_, text, id)| (text.to_owned(), id))
            .collect()
    }

    /// Let `ids`, too, end a text or turn.
    pub fn add_ends(&mut self, ids: &[u32]) {
        self.ends.extend(ids);
    }

    /// Whether `id` ends a text or turn.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_bpe_survives_json_and_any_text() {
        let text = "the cat sat on the mat. the cat ran.<|endoftext|>\nthe dog sat.".repeat(20);
        let t = Tokenizer::train(std::iter::once(text.as_str()), 290).unwrap();
        assert!(t.vocab_size() <= 290 && t.vocab_size() > 261);
        let back = Tokenizer::from_json(&t.to_json().unwrap()).unwrap();
        for text in ["the cat", "ÄÖ ünï 漢字 🦀\n\ttabs", "", "x<|user|>y"] {
            let ids = t.encode(text).unwrap();
            assert_eq!(ids, back.encode(text).unwrap());
            let plain = text.replace("<|user|>", "");
            let bytes = t.token_bytes();
            let joined: Vec<u8> = ids
                .iter()
                .flat_map(|id| bytes[*id as usize].clone())
                .collect();
            assert_eq!(joined, plain.as_bytes());
            assert_eq!(t.decode(&ids).unwrap(), plain);
            assert_eq!(t.decode_with_specials(&ids).unwrap(), text);
        }
        let end = t.id(END_OF_TEXT).unwrap();
        assert_eq!(t.encode(END_OF_TEXT).unwrap(), [end]);
        assert!(t.is_end(end));
    }

    #[test]
    fn tokenizers_that_take_a_text_for_one_word_are_known() {
        let t = Tokenizer::train(std::iter::once("x"), 261).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&t.to_json().unwrap()).unwrap();
        let mut parted = |normalizer, pre_tokenizer| {
            value["normalizer"] = normalizer;
            value["pre_tokenizer"] = pre_tokenizer;
            let t = Tokenizer::from_json(&value.to_string()).unwrap();
            // Without what it keeps, it encodes alike.
            assert_eq!(t.encode("x x").unwrap(), t.encode("x x").unwrap());
            parts_words(t.inner())
        };
        use serde_json::{Value::Null, json};
        let marks = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
        let spaces = json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false });
        let metaspace = |split: bool| json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": split });
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
        for (normalizer, pre_tokenizer, parts) in [
            (Null, bytes, true),
            (Null, spaces.clone(), true),
            (Null, metaspace(true), true),
            // Gemma's and Llama's.
            (marks.clone(), spaces, false),
            (marks, Null, false),
            (Null, metaspace(false), false),
        ] {
            let shown = format!("{normalizer} {pre_tokenizer}");
            assert_eq!(parted(normalizer, pre_tokenizer), parts, "{shown}");
        }
    }

    #[test]
    fn ids_with_gaps_are_below_the_vocabulary() {
        let t = Tokenizer::train(std::iter::once("x"), 261).unwrap();
        let json = t.to_json().unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
        value["added_tokens"][4]["id"] = 70_000.into();
        let vocab = value["model"]["vocab"].as_object_mut().unwrap();
        vocab.insert("<|end|>".into(), 70_000.into());
        let gap = Tokenizer::from_json(&value.to_string()).unwrap();
        let id = gap.id("<|end|>").unwrap() as usize;
        assert!(id >= 70_000 && gap.vocab_size() == id + 1);
    }

    #[test]
    fn bad_input_is_an_error() {
        assert!(Tokenizer::from_json("{").is_err());
        let e = Tokenizer::train(std::iter::once("x"), 100).unwrap_err();
        assert!(e.to_string().contains("261"), "{e}");
    }
}
