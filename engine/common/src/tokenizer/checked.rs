//! A tokenizer.json of a stranger, checked before the library reads it: some files make the library
//! panic, or take memory that no text would need. What only changes the length of what is encoded
//! (truncation, padding) or makes it random is dropped.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use serde_json::Value;
use tokenizers::utils::SysRegex;

use crate::error::{Error, Result};
use ternary_core::kind::{FileKind, without_bom};

/// Ids are below this, or below so many times the number of tokens: tables are as long as the
/// largest id.
const MAX_ID: u64 = 1 << 17;
const IDS_PER_TOKEN: u64 = 8;
/// Longest text that replaces a match, in bytes.
const MAX_REPLACEMENT: usize = 1024;
/// Longest word that WordPiece looks into, in characters: its time grows with the square. BERT's
/// own limit is 100.
const MAX_WORD_PIECE_CHARS: u64 = 256;
/// Parts inside a part.
const MAX_DEPTH: usize = 16;
/// Matches of a pattern are looked for here: none may be empty.
const PROBE: &str = "The 2 cats,\n\tand 漢字: über-_ <x>.";

/// A tokenizer.json that the library can read, and what was left out of it.
#[derive(Debug)]
pub(super) struct Checked {
    pub json: String,
    pub dropped: Vec<&'static str>,
}

fn refuse<T>(message: impl std::fmt::Display) -> Result<T> {
    Err(Error::Tokenizer(format!(
        "this tokenizer.json cannot be used: {message}"
    )))
}

pub(super) fn check(text: &str) -> Result<Checked> {
    let text = without_bom(text);
    let kind = FileKind::of(text.as_bytes());
    if kind != FileKind::Other
        && let Some(what) = kind.described()
    {
        return Err(Error::Tokenizer(format!(
            "the file is no tokenizer.json but {what}"
        )));
    }
    let mut json: Value = serde_json::from_str(text)
        .map_err(|e| Error::Tokenizer(format!("not a tokenizer.json: {e}")))?;
    if !json.is_object() {
        return Err(Error::Tokenizer(
            "not a tokenizer.json: it is no object".into(),
        ));
    }
    let mut dropped = Vec::new();
    for name in ["truncation", "padding"] {
        if json.get(name).is_some_and(|v| !v.is_null()) {
            json[name] = Value::Null;
            dropped.push(name);
        }
    }
    if json["model"]["dropout"].as_f64().is_some_and(|p| p != 0.0) {
        json["model"]["dropout"] = Value::Null;
        dropped.push("dropout");
    }
    const LONGEST: &str = "max_input_chars_per_word";
    let longest = &json["model"][LONGEST];
    if json["model"]["type"] == "WordPiece"
        && longest.as_u64().is_none_or(|n| n > MAX_WORD_PIECE_CHARS)
        && !longest.is_null()
    {
        json["model"][LONGEST] = MAX_WORD_PIECE_CHARS.into();
        dropped.push(LONGEST);
    }
    ids(&json)?;
    model(&json["model"])?;
    for name in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        part(&json[name], 0)?;
    }
    let json = match dropped.is_empty() {
        true => text.to_owned(),
        false => json.to_string(),
    };
    Ok(Checked { json, dropped })
}

/// Every token of the vocabulary with its id.
fn vocabulary(json: &Value) -> Vec<(&str, u64)> {
    let vocab = &json["model"]["vocab"];
    let map = vocab.as_object().into_iter().flatten();
    let map = map.filter_map(|(token, id)| Some((token.as_str(), id.as_u64()?)));
    let list = vocab.as_array().into_iter().flatten().enumerate();
    let list = list.filter_map(|(id, entry)| Some((entry[0].as_str()?, id as u64)));
    map.chain(list).collect()
}

fn added(json: &Value) -> impl Iterator<Item = (&str, u64)> {
    let all = json["added_tokens"].as_array().into_iter().flatten();
    all.filter_map(|t| Some((t["content"].as_str()?, t["id"].as_u64()?)))
}

fn ids(json: &Value) -> Result<()> {
    let all: Vec<(&str, u64)> = vocabulary(json).into_iter().chain(added(json)).collect();
    let limit = MAX_ID.max(IDS_PER_TOKEN * all.len() as u64);
    match all.iter().find(|(_, id)| *id >= limit) {
        Some((token, id)) => refuse(format!(
            "token {token:?} has id {id}; with {} tokens, ids must be below {limit}",
            all.len()
        )),
        None => Ok(()),
    }
}

fn model(model: &Value) -> Result<()> {
    if let Some(pieces) = model["vocab"].as_array() {
        let empty = |entry: &Value| entry[0].as_str().is_some_and(str::is_empty);
        if pieces.is_empty() || pieces.iter().any(empty) {
            return refuse("its vocabulary is empty, or has an empty token");
        }
        let unknown = model["unk_id"].as_u64();
        if unknown.is_some_and(|id| id >= pieces.len() as u64) {
            return refuse("unk_id is outside the vocabulary");
        }
    }
    // The library cuts the prefix off the right part of every merge.
    let prefix = model["continuing_subword_prefix"]
        .as_str()
        .unwrap_or_default();
    if model["type"] != "WordPiece" && !prefix.is_empty() {
        for merge in model["merges"].as_array().into_iter().flatten() {
            let text = merge.as_str().and_then(|m| Some(m.split_once(' ')?.1));
            let right = text.or(merge[1].as_str()).unwrap_or_default();
            if !right.starts_with(prefix) {
                return refuse(format!(
                    "merge {merge} does not go on with the continuing_subword_prefix {prefix:?}"
                ));
            }
        }
    }
    Ok(())
}

fn short(text: &Value, what: &str) -> Result<()> {
    match text.as_str() {
        Some(text) if text.len() > MAX_REPLACEMENT => refuse(format!(
            "{what} puts in a text of {} bytes; at most {MAX_REPLACEMENT} are supported",
            text.len()
        )),
        _ => Ok(()),
    }
}

/// A normalizer, pre-tokenizer, post-processor or decoder, or a sequence of them.
fn part(part: &Value, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return refuse("its parts are nested too deep");
    }
    for name in ["normalizers", "pretokenizers", "processors", "decoders"] {
        for inner in part[name].as_array().into_iter().flatten() {
            self::part(inner, depth + 1)?;
        }
    }
    let number = |name: &str| part[name].as_u64().unwrap_or(0);
    match part["type"].as_str().unwrap_or_default() {
        "Precompiled" => charsmap(part["precompiled_charsmap"].as_str().unwrap_or_default()),
        "Prepend" => short(&part["prepend"], "Prepend"),
        "Replace" => {
            short(&part["content"], "Replace")?;
            if part["pattern"]["String"] == "" {
                return refuse("a Replace has an empty pattern");
            }
            if let Some(pattern) = part["pattern"]["Regex"].as_str() {
                let regex = SysRegex::new(pattern).map_err(|e| Error::Tokenizer(e.to_string()))?;
                let empty = |text: &str| regex.find_iter(text).any(|(from, to)| from == to);
                if empty("") || empty(PROBE) {
                    return refuse(format!(
                        "the Replace pattern {pattern:?} matches nothing at all"
                    ));
                }
            }
            Ok(())
        }
        "FixedLength" if part["length"].as_u64() == Some(0) => refuse("a FixedLength has length 0"),
        // The library cuts from both ends of what may be one character.
        "Strip"
            if part["content"].is_string() && number("stop") > u64::from(number("start") == 0) =>
        {
            refuse("a Strip decoder cuts off more than one character at the end")
        }
        "TemplateProcessing" => template(part),
        _ => Ok(()),
    }
}

/// Texts put around a text: only tokens that are listed, only the text there is.
fn template(part: &Value) -> Result<()> {
    let known = &part["special_tokens"];
    for (name, token) in known.as_object().into_iter().flatten() {
        let (ids, tokens) = (token["ids"].as_array(), token["tokens"].as_array());
        if ids.map(Vec::len) != tokens.map(Vec::len) || ids.is_some_and(|ids| ids.len() > 16) {
            return refuse(format!(
                "special token {name:?} has other ids than tokens, or too many"
            ));
        }
    }
    for form in ["single", "pair"] {
        for piece in part[form].as_array().into_iter().flatten() {
            let special = piece["SpecialToken"]["id"].as_str();
            if let Some(name) = special
                && known.get(name).is_none()
            {
                return refuse(format!(
                    "its template uses {name:?}, which it does not list"
                ));
            }
            if form == "single" && piece["Sequence"]["id"] == "B" {
                return refuse("its template for one text uses a second one");
            }
        }
    }
    Ok(())
}

/// SentencePiece's table of normalizations: a trie of u32 (a double array, as Darts makes them) and
/// the texts that it leads to. Followed everywhere, so that no text can lead the library out of it.
fn charsmap(base64: &str) -> Result<()> {
    let damaged = |what: &str| refuse(format!("its precompiled_charsmap {what}"));
    let Some(bytes) = from_base64(base64) else {
        return damaged("is no base64");
    };
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else {
        return damaged("is too short");
    };
    let len = u32::from_le_bytes(*len) as usize / 4 * 4;
    let Some((trie, texts)) = rest.split_at_checked(len) else {
        return damaged("ends inside its table");
    };
    let units: Vec<u32> = trie
        .as_chunks()
        .0
        .iter()
        .map(|b| u32::from_le_bytes(*b))
        .collect();
    let Ok(texts) = std::str::from_utf8(texts) else {
        return damaged("has texts that are no UTF-8");
    };
    let offset = |unit: u32| ((unit >> 10) as usize) << ((unit & (1 << 9)) >> 6);
    let Some(first) = units.first() else {
        return damaged("is empty");
    };
    let mut seen: HashSet<usize> = HashSet::new();
    let mut open = vec![offset(*first)];
    while let Some(node) = open.pop() {
        if !seen.insert(node) {
            continue;
        }
        for c in 1..=255u32 {
            let at = node ^ c as usize;
            let Some(unit) = units.get(at) else {
                return damaged("leads out of its table");
            };
            if unit & (1 << 31 | 0xff) != c {
                continue;
            }
            let next = at ^ offset(*unit);
            if unit >> 8 & 1 == 1 {
                let text = units.get(next).map(|v| (v & 0x7fff_ffff) as usize);
                let text = text.and_then(|at| texts.get(at..));
                let Some(text) = text else {
                    return damaged("leads out of its texts");
                };
                if text.find('\0').unwrap_or(text.len()) > MAX_REPLACEMENT {
                    return damaged("puts in a very long text");
                }
            }
            open.push(next);
        }
    }
    Ok(())
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

/// The same tokenizer without the tokens whose ids a model of `rows` rows does not know, and those
/// tokens.
pub(super) fn within(text: &str, rows: usize) -> Result<Option<(String, Vec<String>)>> {
    let mut json: Value = serde_json::from_str(without_bom(text))
        .map_err(|e| Error::Tokenizer(format!("not a tokenizer.json: {e}")))?;
    let above = |id: &Value| id.as_u64().is_some_and(|id| id >= rows as u64);
    let all = vocabulary(&json).into_iter().chain(added(&json));
    let gone: BTreeSet<(u64, String)> = all
        .filter(|(_, id)| *id >= rows as u64)
        .map(|(token, id)| (id, token.to_owned()))
        .collect();
    if gone.is_empty() {
        return Ok(None);
    }
    let names: HashSet<String> = gone.iter().map(|(_, token)| token.clone()).collect();
    if let Some(added) = json.get_mut("added_tokens").and_then(Value::as_array_mut) {
        added.retain(|t| !above(&t["id"]));
    }
    let model = &mut json["model"];
    if let Some(vocab) = model["vocab"].as_object_mut() {
        vocab.retain(|_, id| !above(id));
    }
    if let Some(pieces) = model["vocab"].as_array_mut() {
        pieces.truncate(rows);
    }
    let known: HashMap<String, Value> = match model["vocab"].as_object() {
        Some(vocab) => vocab.clone().into_iter().collect(),
        None => HashMap::new(),
    };
    let prefix = model["continuing_subword_prefix"]
        .as_str()
        .unwrap_or_default()
        .len();
    if let Some(merges) = model["merges"].as_array_mut() {
        merges.retain(|merge| {
            let text = merge.as_str().and_then(|m| m.split_once(' '));
            let pair = text.or_else(|| Some((merge[0].as_str()?, merge[1].as_str()?)));
            pair.is_some_and(|(left, right)| {
                let whole = format!("{left}{}", right.get(prefix..).unwrap_or_default());
                known.contains_key(left) && known.contains_key(right) && known.contains_key(&whole)
            })
        });
    }
    unframe(&mut json["post_processor"], &names, rows as u64);
    Ok(Some((
        json.to_string(),
        gone.into_iter().map(|(_, token)| token).collect(),
    )))
}

/// Take tokens out of what is put around a text.
fn unframe(part: &mut Value, names: &HashSet<String>, rows: u64) {
    if !part.is_object() {
        return;
    }
    let inner = part.get_mut("processors").and_then(Value::as_array_mut);
    for inner in inner.into_iter().flatten() {
        unframe(inner, names, rows);
    }
    let beyond = |pair: &Value| pair[1].as_u64().is_some_and(|id| id >= rows);
    if beyond(&part["sep"]) || beyond(&part["cls"]) {
        *part = Value::Null;
        return;
    }
    let mut gone: HashSet<String> = names.clone();
    if let Some(special) = part
        .get_mut("special_tokens")
        .and_then(Value::as_object_mut)
    {
        special.retain(|name, token| {
            let mut ids = token["ids"].as_array().into_iter().flatten();
            let keep = !ids.any(|id| id.as_u64().is_some_and(|id| id >= rows));
            if !keep {
                gone.insert(name.clone());
            }
            keep
        });
    }
    for form in ["single", "pair"] {
        if let Some(pieces) = part.get_mut(form).and_then(Value::as_array_mut) {
            let named = |piece: &Value| {
                piece["SpecialToken"]["id"]
                    .as_str()
                    .is_some_and(|id| gone.contains(id))
            };
            pieces.retain(|piece| !named(piece));
        }
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Call the library; a panic of it is an error. Where panics end the program (a page), only the
/// checks above help.
pub(super) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let was = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    QUIET.set(was);
    match result {
        Ok(result) => result.map_err(|e| Error::Tokenizer(e.to_string())),
        Err(_) => Err(Error::Tokenizer(
            "this model's tokenizer.json makes the tokenizer fail; it is damaged, or of a kind that is not supported".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        ternary_scripted::Tokenizer::byte_level(&["ab"]).json
    }

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut json = base();
        change(&mut json);
        check(&json.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn parts_that_break_the_library_are_refused() {
        type Change = fn(&mut Value);
        let changes: [(Change, &str); 14] = [
            (
                |j| j["added_tokens"][0]["id"] = json!(1u64 << 31),
                "2147483648",
            ),
            // A table of a megabyte for a file of a kilobyte.
            (|j| j["model"]["vocab"]["ab"] = json!(200_000), "200000"),
            (
                |j| j["model"]["vocab"]["ab"] = json!(1u64 << 40),
                "1099511627776",
            ),
            (
                |j| {
                    j["normalizer"] =
                        json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"})
                },
                "empty pattern",
            ),
            (
                |j| {
                    j["decoder"] =
                        json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y"})
                },
                "matches nothing",
            ),
            (
                |j| j["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": "////////////////////////"}]}),
                "charsmap",
            ),
            (
                |j| j["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": ""}),
                "charsmap",
            ),
            (
                |j| j["normalizer"] = json!({"type": "Prepend", "prepend": "x".repeat(2000)}),
                "2000 bytes",
            ),
            (
                |j| j["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0}),
                "FixedLength",
            ),
            (
                |j| j["decoder"] = json!({"type": "Strip", "content": " ", "start": 1, "stop": 1}),
                "Strip",
            ),
            (
                |j| {
                    j["model"]["continuing_subword_prefix"] = json!("####");
                    j["model"]["merges"] = json!([["a", "b"]]);
                },
                "prefix",
            ),
            (
                |j| j["post_processor"] = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}], "pair": [], "special_tokens": {}}),
                "does not list",
            ),
            (
                |j| j["post_processor"] = json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}], "pair": [], "special_tokens": {}}),
                "second",
            ),
            (
                |j| j["model"] = json!({"type": "Unigram", "unk_id": 0, "vocab": []}),
                "empty",
            ),
        ];
        for (change, word) in changes {
            let e = refused(change);
            assert!(e.contains(word), "{word}: {e}");
        }
        assert!(
            check("version https://git-lfs.github.com/spec/v1\n")
                .unwrap_err()
                .to_string()
                .contains("git lfs pull")
        );
        assert!(
            check("<!DOCTYPE html>")
                .unwrap_err()
                .to_string()
                .contains("HTML")
        );
        assert!(check("[1]").is_err());
    }

    #[test]
    fn what_changes_lengths_or_is_random_is_left_out() {
        let mut json = base();
        json["truncation"] =
            json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({"strategy": {"Fixed": 1u64 << 40}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
        json["model"]["dropout"] = json!(0.5);
        let checked = check(&json.to_string()).unwrap();
        assert_eq!(checked.dropped, ["truncation", "padding", "dropout"]);
        let t = super::super::Tokenizer::from_json(&format!("\u{feff}{json}")).unwrap();
        assert_eq!(t.encode("hello").unwrap().len(), 5);
    }

    #[test]
    fn long_words_cost_word_piece_no_more_than_their_length() {
        let longest = |value: Value| {
            let mut json = json!({"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": value, "vocab": {"[UNK]": 0, "a": 1, "##a": 2}}});
            json["added_tokens"] = json!([]);
            let checked = check(&json.to_string()).unwrap();
            let read: Value = serde_json::from_str(&checked.json).unwrap();
            (
                read["model"]["max_input_chars_per_word"].clone(),
                checked.dropped,
            )
        };
        assert_eq!(longest(json!(100)), (json!(100), vec![]));
        let bounded = (json!(256), vec!["max_input_chars_per_word"]);
        for value in [json!(1_000_000_000), json!(257), json!(1e300)] {
            assert_eq!(longest(value), bounded);
        }
    }

    #[test]
    fn a_real_charsmap_is_followed() {
        // A trie of one entry: "a" becomes "b".
        let mut units = vec![0u32; 1024];
        units[0] = 256 << 10;
        // At 256 ^ 'a'; its value stands at 512, whose own branches are free.
        units[256 ^ 0x61] = 0x61 | 1 << 8 | (256 ^ 0x61 ^ 512) << 10;
        let mut bytes: Vec<u8> = [(4 * units.len()) as u32]
            .iter()
            .chain(&units)
            .flat_map(|u| u.to_le_bytes())
            .chain(*b"b\0")
            .collect();
        let encode = |bytes: &[u8]| {
            const LETTERS: &[u8] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut out = String::new();
            for three in bytes.chunks(3) {
                let n = three.iter().fold(0u32, |n, b| n << 8 | u32::from(*b))
                    << (8 * (3 - three.len()));
                for i in 0..=three.len() {
                    out.push(char::from(LETTERS[(n >> (18 - 6 * i) & 63) as usize]));
                }
            }
            out + &"=".repeat((3 - bytes.len() % 3) % 3)
        };
        assert_eq!(from_base64(&encode(&bytes)).unwrap(), bytes);
        charsmap(&encode(&bytes)).unwrap();
        bytes.truncate(bytes.len() - 200);
        charsmap(&encode(&bytes)).unwrap_err();
    }

    #[test]
    fn tokens_that_a_model_has_no_rows_for_become_letters() {
        let t = ternary_scripted::Tokenizer::byte_level_with(&["ab"], &["<end>", "<pad>"]);
        let (text, gone) = within(&t.json.to_string(), t.len() - 1).unwrap().unwrap();
        assert_eq!(gone, ["<pad>"]);
        let t = super::super::Tokenizer::from_json(&text).unwrap();
        assert_eq!(t.encode("<pad>").unwrap().len(), 5);
        assert_eq!(t.encode("<end>").unwrap().len(), 1);
        assert!(within(&text, t.vocab_size()).unwrap().is_none());
    }
}
