//! Tokenizers: any Hugging Face `tokenizer.json`; training a byte-level BPE; streaming text out of tokens; chat templates.

mod bytes;
mod checked;
mod stream;
mod template;

pub use stream::TextStream;
pub use template::{ChatTemplate, Part};

use std::collections::HashMap;

use std::collections::HashSet;

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

/// A tokenizer and the ids that end a text.
///
/// ```
/// use ternary_core::tokenizer::Tokenizer;
///
/// let text = "the cat sat on the mat, the cat ran";
/// let tokenizer = Tokenizer::train(std::iter::once(text), 270)?;
/// let ids = tokenizer.encode("the cat")?;
/// assert!(ids.len() < "the cat".len());
/// assert_eq!(tokenizer.decode(&ids)?, "the cat");
/// let again = Tokenizer::from_json(&tokenizer.to_json()?)?;
/// assert_eq!(again.vocab_size(), tokenizer.vocab_size());
/// # Ok::<(), ternary_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    inner: HfTokenizer,
    ends: HashSet<u32>,
    vocab_size: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocab_size())
    }
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

    /// A `tokenizer.json` without the tokens for which a model of `rows` rows has none, and their texts: they are letters then.
    /// Nothing where it has none of them.
    ///
    /// # Errors
    /// What is no JSON.
    pub fn within(json: &str, rows: usize) -> Result<Option<(String, Vec<String>)>> {
        checked::within(json, rows)
    }

    fn new(inner: HfTokenizer) -> Self {
        let ends = END_NAMES
            .iter()
            .filter_map(|name| inner.token_to_id(name))
            .collect();
        let last = inner.get_vocab(true).into_values().max();
        Tokenizer {
            inner,
            ends,
            vocab_size: last.map_or(0, |id| id as usize + 1),
        }
    }

    /// The `tokenizer.json`.
    pub fn to_json(&self) -> Result<String> {
        self.inner
            .to_string(false)
            .map_err(|e| Error::Tokenizer(e.to_string()))
    }

    /// Train a byte-level BPE (Sennrich et al. 2016; GPT-2's pre-tokenisation) of exactly or at most `vocab_size` tokens on `texts`.
    /// Deterministic for the same texts in the same order, however they are cut at ends of lines. Documents are parted at
    /// `<|endoftext|>`. The texts are counted as they come and not kept.
    pub fn train<T: AsRef<str> + Send>(
        texts: impl Iterator<Item = T> + Send,
        vocab_size: usize,
    ) -> Result<Self> {
        let least = 256 + SPECIAL_TOKENS.len();
        if vocab_size < least {
            return Err(Error::Tokenizer(format!(
                "a vocabulary of {vocab_size} is too small: 256 bytes and {} special tokens need {least}",
                SPECIAL_TOKENS.len()
            )));
        }
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
                        .map(|(s, _, _)| s.to_owned())
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

    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = checked::guarded(|| self.inner.encode(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`encode`](Self::encode), with the tokens that the tokenizer puts around a text: one for its beginning, say.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = checked::guarded(|| self.inner.encode(text, true))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of `ids`, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        checked::guarded(|| self.inner.decode(ids, true))
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Bytes of every token by id: joined, they are the text that [`decode`](Self::decode) gives. Special tokens have none.
    pub fn token_bytes(&self) -> Vec<Vec<u8>> {
        let decoder = serde_json::to_string(&self.inner.get_decoder()).unwrap_or_default();
        let byte_level = decoder.contains("ByteLevel");
        let added = self.inner.get_added_tokens_decoder();
        let mut all = vec![Vec::new(); self.vocab_size];
        for (token, id) in self.inner.get_vocab(true) {
            if added.get(&id).is_none_or(|t| !t.special) {
                all[id as usize] = bytes::of_token(&token, byte_level);
            }
        }
        all
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
        }
        let end = t.id(END_OF_TEXT).unwrap();
        assert_eq!(t.encode(END_OF_TEXT).unwrap(), [end]);
        assert!(t.is_end(end));
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
