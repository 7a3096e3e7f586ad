//! How a tokenizer's decoder joins tokens: as bytes, each on its own, for the decoders that nearly
//! all language models have.

use tokenizers::Tokenizer as HfTokenizer;

use super::{Tokenizer, bytes};

/// A decoder that joins tokens by their bytes.
pub(super) struct Decoding {
    /// GPT-2's alphabet; otherwise SentencePiece's.
    pub byte_level: bool,
    /// One space is taken from the beginning of a text.
    pub strips_space: bool,
}

impl Decoding {
    /// None for decoders that look at neighbors (WordPiece, say).
    pub fn of(inner: &HfTokenizer) -> Option<Self> {
        let decoder = serde_json::to_value(inner.get_decoder()?).ok()?;
        let parts = match decoder["type"].as_str()? {
            "Sequence" => decoder["decoders"].as_array()?.clone(),
            _ => vec![decoder],
        };
        let mut found = Decoding {
            byte_level: false,
            strips_space: false,
        };
        for part in &parts {
            match part["type"].as_str()? {
                "ByteLevel" => found.byte_level = true,
                "Metaspace" => {
                    if part["replacement"] != "▁" {
                        return None;
                    }
                    let scheme = part["prepend_scheme"].as_str();
                    found.strips_space = match scheme {
                        Some(scheme) => scheme != "never",
                        None => part["add_prefix_space"] != false,
                    };
                }
                "Replace" if part["pattern"]["String"] == "▁" && part["content"] == " " => {}
                "ByteFallback" | "Fuse" => {}
                "Strip" if part["content"] == " " && part["stop"] == 0 => {
                    match part["start"].as_u64()? {
                        0 => {}
                        1 => found.strips_space = true,
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
        Some(found)
    }
}

/// What streaming needs of every token.
#[derive(Debug)]
pub(super) struct Pieces {
    /// By id; special tokens have none.
    pub bytes: Vec<Vec<u8>>,
    pub strips_space: bool,
}

impl Pieces {
    pub fn new(tokenizer: &Tokenizer, byte_level: bool) -> Self {
        let inner = tokenizer.inner();
        let added = inner.get_added_tokens_decoder();
        let mut bytes = vec![Vec::new(); tokenizer.vocab_size()];
        for (token, id) in inner.get_vocab(true) {
            if added.get(&id).is_none_or(|t| !t.special) {
                bytes[id as usize] = bytes::of_token(&token, byte_level);
            }
        }
        Pieces {
            bytes,
            strips_space: false,
        }
    }
}
