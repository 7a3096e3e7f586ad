//! tokenizer.json of the two common kinds, with pieces that a test names.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// The special tokens of [`Tokenizer::byte_level`].
const SPECIALS: [&str; 5] = [
    "<|endoftext|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
];

/// A tokenizer.json, and the id of each text that a test may name.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// The content of tokenizer.json; change it as you like.
    pub json: Value,
    /// Pieces, special tokens and single ASCII characters, by their text.
    ids: HashMap<String, u32>,
}

/// How a [`Tokenizer::sentence_piece`] begins and ends what it encodes.
#[derive(Clone, Copy, Debug)]
pub struct SentencePiece {
    pub bos: bool,
    pub eos: bool,
}

impl Default for SentencePiece {
    fn default() -> Self {
        SentencePiece {
            bos: true,
            eos: false,
        }
    }
}

/// GPT-2's alphabet: the printable character that stands for each byte.
pub fn byte_chars() -> [char; 256] {
    let plain = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    std::array::from_fn(|b| {
        let b = b as u32;
        let code = if plain(b) {
            b
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).expect("below the surrogates")
    })
}

fn added(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true})
}

/// A vocabulary that grows by one id at a time.
#[derive(Default)]
struct Vocab {
    entries: Map<String, Value>,
    ids: HashMap<String, u32>,
}

impl Vocab {
    /// `key` is what the file calls it, `text` what tests call it.
    fn push(&mut self, key: String, text: &str) -> u32 {
        let id = self.entries.len() as u32;
        let old = self.entries.insert(key, json!(id));
        assert!(old.is_none(), "the piece {text:?} is there twice");
        self.ids.insert(text.to_string(), id);
        id
    }
}

impl Tokenizer {
    /// 256 bytes, then `pieces`, then the special tokens `<|endoftext|>`, `<|system|>`, `<|user|>`,
    /// `<|assistant|>` and `<|end|>`. There are no merges: text is encoded byte by byte, pieces are
    /// only ever decoded.
    pub fn byte_level(pieces: &[&str]) -> Self {
        Self::byte_level_with(pieces, &SPECIALS)
    }

    /// As [`Tokenizer::byte_level`], with other special tokens.
    pub fn byte_level_with(pieces: &[&str], specials: &[&str]) -> Self {
        let chars = byte_chars();
        let mut vocab = Vocab::default();
        for (byte, &c) in chars.iter().enumerate() {
            let text = if byte < 128 {
                char::from(byte as u8).to_string()
            } else {
                format!("<byte {byte}>")
            };
            vocab.push(c.to_string(), &text);
        }
        for piece in pieces {
            vocab.push(piece.bytes().map(|b| chars[b as usize]).collect(), piece);
        }
        let added_tokens: Vec<Value> = specials
            .iter()
            .map(|s| added(vocab.push(s.to_string(), s), s))
            .collect();
        let byte_level = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens, "normalizer": null,
            "pre_tokenizer": byte_level(false), "post_processor": null, "decoder": byte_level(true),
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab.entries, "merges": []},
        });
        Tokenizer {
            json,
            ids: vocab.ids,
        }
    }

    /// Llama 2's layout: `<unk>`, `<s>`, `</s>`, the 256 bytes, `▁` and the printable characters of
    /// ASCII, then `pieces` (a space in them is a space). One space is put before what is encoded
    /// and taken away before what is decoded.
    pub fn sentence_piece(pieces: &[&str], ends: SentencePiece) -> Self {
        let mut vocab = Vocab::default();
        let added_tokens: Vec<Value> = ["<unk>", "<s>", "</s>"]
            .iter()
            .map(|s| added(vocab.push(s.to_string(), s), s))
            .collect();
        for byte in 0..256 {
            let name = format!("<0x{byte:02X}>");
            vocab.push(name.clone(), &name);
        }
        vocab.push("▁".into(), "▁");
        for c in '!'..='~' {
            vocab.push(c.to_string(), &c.to_string());
        }
        for piece in pieces {
            vocab.push(piece.replace(' ', "▁"), piece);
        }
        let special = |id: &str, kind: usize| json!({"SpecialToken": {"id": id, "type_id": kind}});
        let sequence = |id: &str, kind: usize| json!({"Sequence": {"id": id, "type_id": kind}});
        let mut used = Map::new();
        let mut single = vec![sequence("A", 0)];
        for (wanted, token, id, at) in [(ends.bos, "<s>", 1, 0), (ends.eos, "</s>", 2, usize::MAX)]
        {
            if wanted {
                single.insert(at.min(single.len()), special(token, 0));
                used.insert(
                    token.into(),
                    json!({"id": token, "ids": [id], "tokens": [token]}),
                );
            }
        }
        let mut pair = single.clone();
        pair.push(sequence("B", 1));
        let post = (!used.is_empty()).then(|| {
            json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": used})
        });
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": null, "post_processor": post,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocab.entries, "merges": []},
        });
        Tokenizer {
            json,
            ids: vocab.ids,
        }
    }

    /// The id of a piece, a special token or a single ASCII character.
    pub fn id(&self, text: &str) -> u32 {
        match self.ids.get(text) {
            Some(&id) => id,
            None => panic!("the scripted tokenizer has no {text:?}"),
        }
    }

    /// How many tokens there are, so how many rows an embedding needs.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.ids.values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The vocabulary's keys as the file has them, by id.
    pub fn keys(&self) -> Vec<String> {
        let vocab = self.json["model"]["vocab"].as_object();
        let mut keys: Vec<(u64, String)> = vocab
            .into_iter()
            .flatten()
            .filter_map(|(key, id)| Some((id.as_u64()?, key.clone())))
            .collect();
        keys.sort();
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// The ids of special tokens.
    pub fn specials(&self) -> Vec<u32> {
        let all = self.json["added_tokens"].as_array();
        all.into_iter()
            .flatten()
            .filter_map(|t| Some(t["id"].as_u64()? as u32))
            .collect()
    }
}
