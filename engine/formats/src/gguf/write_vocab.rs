//! A `tokenizer.json` as a GGUF vocabulary.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::pre_tokenizer::PreTokenizer;
use super::read_vocab::{END_IDS, token_kind};
use super::write::Values;
use crate::export::model::ExportError;
use ternary_common::tokenizer::Tokenizer;
use ternary_core::layout::Metadata;

/// Vocabulary, merges, special tokens and chat template.
pub(crate) fn describe(v: &mut Values, meta: &Metadata) -> Result<(), ExportError> {
    let Some(text) = &meta.tokenizer else {
        v.text("tokenizer.ggml.model", "no_vocab");
        return Ok(());
    };
    let json: Json =
        serde_json::from_str(text).map_err(|e| ExportError::Tokenizer(e.to_string()))?;
    let tokenizer =
        Tokenizer::from_json(text).map_err(|e| ExportError::Tokenizer(e.to_string()))?;
    let model = &json["model"];
    let merges = merges(&json)?;
    let sentence_piece = model["byte_fallback"] == true;
    v.text(
        "tokenizer.ggml.model",
        if sentence_piece { "llama" } else { "gpt2" },
    );
    v.text(
        "tokenizer.ggml.pre",
        if sentence_piece {
            "default"
        } else {
            words(&json)?
        },
    );

    let size = meta.config.vocab_size;
    let mut tokens: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![token_kind::UNUSED; size];
    let mut set = |id: u64, token: &str, kind: f32| -> Result<(), ExportError> {
        let slot = usize::try_from(id)
            .ok()
            .filter(|id| *id < size)
            .ok_or_else(|| {
                ExportError::Tokenizer(format!(
                    "token `{token}` has id {id}; the model has {size} tokens"
                ))
            })?;
        tokens[slot] = token.to_owned();
        kinds[slot] = kind;
        Ok(())
    };
    let unknown = model["unk_token"].as_str();
    for (token, id) in tokenizer.vocabulary() {
        let byte = sentence_piece && token.len() == 6 && token.starts_with("<0x");
        let kind = match byte {
            true => token_kind::BYTE,
            false if unknown == Some(&token) => token_kind::UNKNOWN,
            false => token_kind::NORMAL,
        };
        set(id.into(), &token, kind)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(token)) = (added["id"].as_u64(), added["content"].as_str()) else {
            continue;
        };
        if unknown != Some(token) {
            let special = added["special"] == true;
            set(
                id,
                token,
                if special {
                    token_kind::CONTROL
                } else {
                    token_kind::USER_DEFINED
                },
            )?;
        }
    }
    if sentence_piece {
        // The sooner two parts are joined, the higher the score of the whole.
        let mut rank = HashMap::new();
        for (i, (left, right)) in merges.iter().enumerate() {
            rank.entry(format!("{left}{right}")).or_insert(i);
        }
        let last = merges.len() as f32;
        let score = |token: &String| rank.get(token).map_or(-last, |i| -(*i as f32));
        let scores: Vec<f32> = tokens
            .iter()
            .zip(&kinds)
            .map(|(token, kind)| {
                if *kind == token_kind::NORMAL {
                    score(token)
                } else {
                    0.0
                }
            })
            .collect();
        v.floats("tokenizer.ggml.scores", &scores);
        let prepends = json["normalizer"].to_string().contains("\"Prepend\"");
        v.flag("tokenizer.ggml.add_space_prefix", prepends);
    } else {
        let lines: Vec<String> = merges.iter().map(|(l, r)| format!("{l} {r}")).collect();
        v.texts("tokenizer.ggml.merges", &lines);
    }
    v.texts("tokenizer.ggml.tokens", &tokens);
    let kinds: Vec<i32> = kinds.iter().map(|kind| *kind as i32).collect();
    v.integers("tokenizer.ggml.token_type", &kinds);

    let special = meta.special_tokens.clone().unwrap_or_default();
    let id = |text: &Option<String>| text.as_ref().and_then(|t| tokenizer.id(t));
    let known = (0..size as u32).filter(|id| tokenizer.is_end(*id));
    let mut ends: Vec<u32> = id(&special.eos).into_iter().collect();
    for id in special.end.iter().copied().chain(known) {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    let begin = id(&special.bos).or(ends.first().copied());
    let begins = begin.map(|id| ("bos", id));
    // llama.cpp stops at each of these three.
    let stops = ["eos", "eot", "eom"].into_iter().zip(ends.iter().copied());
    for (key, id) in begins.into_iter().chain(stops) {
        v.number(&format!("tokenizer.ggml.{key}_token_id"), id as usize);
    }
    // Ollama at all of these.
    if ends.len() > 1 {
        let all: Vec<i32> = ends.iter().map(|id| *id as i32).collect();
        v.integers(END_IDS, &all);
    }
    let whole = tokenizer
        .encode_document("")
        .map_err(|e| ExportError::Tokenizer(e.to_string()))?;
    v.flag(
        "tokenizer.ggml.add_bos_token",
        begin.is_some() && whole.first() == begin.as_ref(),
    );
    if let Some(template) = &meta.chat_template {
        v.text("tokenizer.chat_template", template);
    }
    Ok(())
}

/// Pairs in order, written in either of the two ways that there are.
fn merges(json: &Json) -> Result<Vec<(String, String)>, ExportError> {
    let bad = |m: &Json| ExportError::Tokenizer(format!("`{m}` is no merge"));
    let model = &json["model"];
    if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
        return Err(ExportError::Tokenizer(format!(
            "a model of type {}; GGUF takes BPE",
            model["type"]
        )));
    }
    let all = model["merges"].as_array().into_iter().flatten();
    all.map(|m| match (m.as_str(), m[0].as_str(), m[1].as_str()) {
        (Some(line), ..) => {
            let (left, right) = line.split_once(' ').ok_or_else(|| bad(m))?;
            Ok((left.to_owned(), right.to_owned()))
        }
        (None, Some(left), Some(right)) => Ok((left.to_owned(), right.to_owned())),
        _ => Err(bad(m)),
    })
    .collect()
}

/// llama.cpp's name of the way words are split.
fn words(json: &Json) -> Result<&'static str, ExportError> {
    let pre = &json["pre_tokenizer"];
    let known = PreTokenizer::of(pre).map(PreTokenizer::name);
    known.ok_or_else(|| {
        ExportError::Tokenizer(format!(
            "words are split in a way that llama.cpp has no name for: {pre}"
        ))
    })
}
