//! A GGUF file's vocabulary as a `tokenizer.json`: byte-level BPE (`gpt2`) with its pre-tokenizers,
//! and SentencePiece's BPE (`llama`).

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::container::Gguf;
use super::pre_tokenizer::{self, PreTokenizer};
use crate::source::ImportError;
use ternary_common::tokenizer::Tokenizer;

pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";
/// All tokens that end a text.
pub(crate) const END_IDS: &str = "tokenizer.ggml.eos_token_ids";
const PRE: &str = "tokenizer.ggml.pre";
/// What to do where a name is missing or not known.
const ADVICE: &str = "Import the model's Hugging Face folder instead, whose tokenizer.json says it all, or name the nearest of these with --pre-tokenizer";
/// What a token is, as GGUF numbers it.
pub(crate) mod token_kind {
    pub const NORMAL: f32 = 1.0;
    pub const UNKNOWN: f32 = 2.0;
    pub const CONTROL: f32 = 3.0;
    pub const USER_DEFINED: f32 = 4.0;
    pub const UNUSED: f32 = 5.0;
    pub const BYTE: f32 = 6.0;
}
use token_kind::{BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED};

/// Longest token of a SentencePiece vocabulary, in bytes; those of published ones have less than
/// 200.
const MAX_TOKEN: usize = 4096;

/// The id of a special token; SentencePiece vocabularies have theirs in known places.
pub(super) fn special_id(file: &Gguf, name: &str) -> Option<u32> {
    let usual = match (file.text("tokenizer.ggml.model"), name) {
        (Some("llama"), "bos") => Some(1),
        (Some("llama"), "eos") => Some(2),
        _ => None,
    };
    match file.integer(&format!("tokenizer.ggml.{name}_token_id")) {
        Some(id) => u32::try_from(id).ok(),
        None => usual,
    }
}

struct Vocabulary<'a> {
    file: &'a Gguf,
    tokens: &'a [String],
    /// Of every token; empty where the file has none.
    kinds: &'a [f32],
}

/// The `tokenizer.json`, if the file has a vocabulary. `pre` names how words are cut, whatever the
/// file says.
pub(crate) fn tokenizer(
    file: &Gguf,
    pre: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Option<String>, ImportError> {
    let Some(model) = file.text("tokenizer.ggml.model") else {
        return Ok(None);
    };
    let unsupported = |what: &str, found: &str, supported: &str| ImportError::Unsupported {
        what: what.into(),
        found: format!("`{found}`"),
        supported: supported.into(),
    };
    if model == "no_vocab" {
        return Ok(None);
    }
    let damaged = |message: String| ImportError::Damaged {
        file: "the vocabulary".into(),
        message,
    };
    let tokens = file
        .texts(TOKENS)
        .ok_or_else(|| damaged(format!("{TOKENS} is missing")))?;
    let kinds = file
        .numbers("tokenizer.ggml.token_type")
        .unwrap_or_default();
    if !kinds.is_empty() && kinds.len() != tokens.len() {
        return Err(damaged(format!(
            "{} token types for {} tokens",
            kinds.len(),
            tokens.len()
        )));
    }
    if file.flag("tokenizer.ggml.add_eos_token") == Some(true) {
        warnings.push("the file asks for an end-of-text token behind every text (add_eos_token), which is left out: a model that is to go on must not read that it ended".into());
    }
    let v = Vocabulary {
        file,
        tokens,
        kinds,
    };
    let json = match model {
        "gpt2" => v.byte_level(v.words(pre, warnings)?, &damaged)?,
        "llama" => v.sentence_piece(&damaged)?,
        other => {
            let supported = "gpt2, llama. Import the model's Hugging Face folder instead";
            return Err(unsupported("tokenizer.ggml.model", other, supported));
        }
    };
    let text = json.to_string();
    Tokenizer::from_json(&text).map_err(|e| damaged(e.to_string()))?;
    Ok(Some(text))
}

impl Vocabulary<'_> {
    fn kind(&self, id: usize) -> f32 {
        self.kinds.get(id).copied().unwrap_or(NORMAL)
    }

    /// Token → id, in an order that is always the same. Of two tokens with one text the first is
    /// kept, as the second can never be written.
    fn ids(&self) -> BTreeMap<&str, usize> {
        let mut ids = BTreeMap::new();
        for (id, token) in self.tokens.iter().enumerate() {
            ids.entry(token.as_str()).or_insert(id);
        }
        ids
    }

    /// Control tokens and those added by a user.
    fn added(&self) -> Vec<Json> {
        (0..self.tokens.len())
            .filter(|id| [CONTROL, USER_DEFINED, UNKNOWN].contains(&self.kind(*id)))
            .map(|id| {
                json!({
                    "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": self.kind(id) != USER_DEFINED,
                })
            })
            .collect()
    }

    /// What is put around a text: the beginning-of-text token if the file asks for it.
    fn post_processor(&self, default: bool) -> Json {
        let asked = self
            .file
            .flag("tokenizer.ggml.add_bos_token")
            .unwrap_or(default);
        let id = special_id(self.file, "bos").map(|id| id as usize);
        let id = id.filter(|_| asked);
        let Some((id, token)) = id.and_then(|id| Some((id, self.tokens.get(id)?))) else {
            return Json::Null;
        };
        let special = json!({"SpecialToken": {"id": token, "type_id": 0}});
        let text = |name: &str, kind: usize| json!({"Sequence": {"id": name, "type_id": kind}});
        let special_again = json!({"SpecialToken": {"id": token, "type_id": 1}});
        let mut tokens = serde_json::Map::new();
        tokens.insert(
            token.clone(),
            json!({"id": token, "ids": [id], "tokens": [token]}),
        );
        json!({
            "type": "TemplateProcessing",
            "single": [special, text("A", 0)],
            "pair": [special, text("A", 0), special_again, text("B", 1)],
            "special_tokens": tokens,
        })
    }

    /// How texts are cut into words: as asked for, as the file says, or as its vocabulary tells.
    fn words(
        &self,
        asked: Option<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<&'static PreTokenizer, ImportError> {
        let found = self.file.text(PRE);
        let wanted = asked.or(found.filter(|name| *name != "default"));
        if let Some(name) = wanted {
            return PreTokenizer::named(name).ok_or_else(|| ImportError::Unsupported {
                what: match asked {
                    Some(_) => "the pre-tokenizer asked for".into(),
                    None => PRE.into(),
                },
                found: format!("`{name}`"),
                supported: format!("{}. {ADVICE}", pre_tokenizer::known()),
            });
        }
        let guess = self.known_vocabulary().or(found);
        let Some(words) = guess.and_then(PreTokenizer::named) else {
            return Err(ImportError::Unsupported {
                what: PRE.into(),
                found: "missing, so how texts are cut into words is not known".into(),
                supported: format!("{}. {ADVICE}", pre_tokenizer::known()),
            });
        };
        let said = match found {
            Some(_) => {
                "names `default`, which older programs wrote for any model, as the way texts are cut into words"
            }
            None => "does not say how texts are cut into words",
        };
        let taken = match found == guess {
            true => "that is done".to_owned(),
            false => format!("by its tokens it is `{}`", words.name()),
        };
        warnings.push(format!(
            "the file {said}; {taken}. If the model writes badly, import its Hugging Face folder, or name another way with --pre-tokenizer"
        ));
        Ok(words)
    }

    /// How words are cut where the tokens leave no doubt whose they are. Old converters wrote
    /// nothing, or `default`, for vocabularies that were new then.
    fn known_vocabulary(&self) -> Option<&'static str> {
        let has = |token: &str| self.tokens.iter().any(|t| t == token);
        match self.tokens.len() {
            _ if has("<|begin_of_text|>") && (has("<|eot_id|>") || has("<|end_of_text|>")) => {
                Some("llama-bpe")
            }
            150_000.. if has("<|im_start|>") && has("<|endoftext|>") => Some("qwen2"),
            131_072 if has("[INST]") && has("[AVAILABLE_TOOLS]") => Some("tekken"),
            // StarCoder's are cut alike.
            49_152 if has("<repo_name>") && has("<|endoftext|>") => Some("smollm"),
            50_257 if self.tokens.last().is_some_and(|t| t == "<|endoftext|>") => Some("gpt-2"),
            _ => None,
        }
    }

    fn byte_level(
        &self,
        words: &PreTokenizer,
        damaged: &dyn Fn(String) -> ImportError,
    ) -> Result<Json, ImportError> {
        let key = "tokenizer.ggml.merges";
        let merges = self
            .file
            .texts(key)
            .ok_or_else(|| damaged(format!("{key} is missing")))?;
        let pairs = merges.iter().map(|m| {
            // A space inside a token is never written as one.
            let pair = m
                .split_once(' ')
                .ok_or_else(|| damaged(format!("`{m}` is no merge")))?;
            Ok(json!([pair.0, pair.1]))
        });
        let pairs = pairs.collect::<Result<Vec<Json>, ImportError>>()?;
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": self.added(),
            "normalizer": null,
            "pre_tokenizer": words.json(),
            "post_processor": self.post_processor(words.add_bos),
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": words.ignore_merges,
                "vocab": self.ids(), "merges": pairs,
            },
        }))
    }

    /// SentencePiece joins the neighbors whose union has the highest score; as BPE that is every
    /// way to cut a token in two, by score.
    fn sentence_piece(&self, damaged: &dyn Fn(String) -> ImportError) -> Result<Json, ImportError> {
        let key = "tokenizer.ggml.scores";
        let scores = self
            .file
            .numbers(key)
            .filter(|s| s.len() == self.tokens.len());
        let scores = scores
            .ok_or_else(|| damaged(format!("{key} is missing, or not one for each token")))?;
        let ids = self.ids();
        let mut merges = Vec::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if [CONTROL, UNKNOWN, BYTE].contains(&self.kind(id)) {
                continue;
            }
            // Every way to cut it is looked at.
            if token.len() > MAX_TOKEN {
                return Err(damaged(format!("token {id} has {} bytes", token.len())));
            }
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                    merges.push((scores[id], id, *l, *r, left, right));
                }
            }
        }
        // Equal scores: the longer left part first, as the converters of Hugging Face do it.
        merges.sort_by(|a, b| {
            let lengths = |m: &(f32, usize, usize, usize, &str, &str)| {
                (m.4.chars().count(), m.5.chars().count())
            };
            b.0.total_cmp(&a.0)
                .then_with(|| lengths(b).cmp(&lengths(a)))
        });
        let pairs: Vec<Json> = merges.iter().map(|m| json!([m.4, m.5])).collect();
        let unknown = (0..self.tokens.len()).find(|id| self.kind(*id) == UNKNOWN);
        let prefix = self
            .file
            .flag("tokenizer.ggml.add_space_prefix")
            .unwrap_or(true);
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let mut normalizers = vec![spaces];
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": self.added(),
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "post_processor": self.post_processor(true),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown.map(|id| &self.tokens[id]),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
                "ignore_merges": false, "vocab": ids, "merges": pairs,
            },
        }))
    }
}
