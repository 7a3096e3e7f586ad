//! What is wrong with a value of a configuration, in plain words: the field, what it holds and what
//! it may hold, where `serde` says "expected usize".

use alloc::format;
use alloc::string::{String, ToString};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// What `serde` says of `value`, which makes no `T`.
fn problem<T: DeserializeOwned>(value: &Value) -> Option<String> {
    let read = serde_json::from_value::<T>(value.clone());
    read.err().map(|e| e.to_string())
}

/// What to say of `fields`, which make no `T`, in which every field has a default.
pub(super) fn described<T: DeserializeOwned>(fields: &Value, message: &str) -> String {
    let alone = |(field, value): (&String, &Value)| {
        let one = Value::Object(Map::from_iter([(field.clone(), value.clone())]));
        problem::<T>(&one).map(|message| (field.clone(), one, message))
    };
    let mut each = fields.as_object().into_iter().flatten();
    let Some((field, one, message)) = each.find_map(alone) else {
        return plain(message);
    };
    let expected = message.rsplit_once("expected ");
    let fields = ["missing field", "unknown field"];
    let is_field = fields.iter().any(|what| message.starts_with(what));
    let Some((_, expected)) = expected.filter(|_| !is_field) else {
        return format!("`{field}`: {}", plain(&message));
    };
    // A name of an enumeration as an object's key, as those with contents are written.
    let (name, at, expected) = match expected {
        "unit" | "map with a single key" => (field.clone(), format!("/{field}"), "string"),
        _ => {
            let (name, at) = place::<T>(&one, &field, &message);
            (name, at, expected)
        }
    };
    let found = one.pointer(&at).unwrap_or(&Value::Null);
    // The names of an enumeration are told of where there is a text, so one is tried.
    let choices = || {
        let mut tried = one.clone();
        *tried.pointer_mut(&at)? = "?".into();
        let problem = problem::<T>(&tried)?;
        let (what, choices) = problem.rsplit_once("expected ")?;
        what.starts_with("unknown ").then(|| words(choices, found))
    };
    let expected = match expected.contains("string") {
        true => choices().unwrap_or_else(|| words(expected, found)),
        false => words(expected, found),
    };
    format!("`{name}` is {}; expected {expected}", shown(found))
}

/// The name and the pointer of the value that `message` is about, in `one`, an object with nothing
/// but `field`.
fn place<T: DeserializeOwned>(one: &Value, field: &str, message: &str) -> (String, String) {
    let (mut name, mut at) = (field.to_string(), format!("/{field}"));
    let same = |value: &Value| problem::<T>(value).as_deref() == Some(message);
    loop {
        let inner = match one.pointer(&at) {
            // Without the field that is wrong, the message is another, as it is without a tag.
            Some(Value::Object(fields)) => {
                let wrong = |key: &&String| {
                    let mut less = one.clone();
                    let fields = less.pointer_mut(&at).and_then(Value::as_object_mut);
                    fields.is_some_and(|fields| fields.remove(*key).is_some()) && !same(&less)
                };
                let last = fields.keys().filter(wrong).max_by_key(|key| *key != "type");
                last.map(|key| (format!(".{key}"), key.clone()))
            }
            // With the first that is wrong as the last, it is the same already; without any of them
            // it is only where the list itself is wrong.
            Some(Value::Array(values)) if !message.starts_with("invalid length") => {
                let first = |len: usize| {
                    let mut less = one.clone();
                    let list = less.pointer_mut(&at).and_then(Value::as_array_mut);
                    list.into_iter().for_each(|list| list.truncate(len));
                    same(&less)
                };
                let mut places = (0..values.len()).filter(|_| !first(0));
                let wrong = places.find(|i| first(i + 1));
                wrong.map(|i| (format!("[{i}]"), i.to_string()))
            }
            _ => None,
        };
        let Some((shown, key)) = inner else {
            return (name, at);
        };
        name += &shown;
        at += "/";
        at += &key.replace('~', "~0").replace('/', "~1");
    }
}

/// What a message of `serde` says, in plain words.
pub(super) fn plain(message: &str) -> String {
    let parts = message.split_once(": ").and_then(|(kind, rest)| {
        let wrong = ["invalid type", "invalid value", "invalid length"].contains(&kind);
        rest.rsplit_once(", expected ").filter(|_| wrong)
    });
    let Some((found, expected)) = parts else {
        return message.to_string();
    };
    let (expected, line) = match expected.rfind(" at line ") {
        Some(at) => expected.split_at(at),
        None => (expected, ""),
    };
    // A kind, and mostly a value behind it.
    let found = match found {
        "sequence" => "a list",
        "map" => "an object",
        other => match other.split_once(['`', '"']) {
            Some((kind, _)) => other[kind.len()..].trim_matches('`'),
            None => other,
        },
    };
    format!(
        "found {found}; expected {}{line}",
        words(expected, &Value::Null)
    )
}

/// What `serde` expected where it found `found`.
fn words(expected: &str, found: &Value) -> String {
    let number = found.as_f64();
    let quoted = found.as_str().and_then(|text| text.trim().parse().ok());
    let quoted = quoted.is_some_and(f64::is_finite);
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => {
            let most = match expected {
                "u8" => "255",
                "u16" => "65535",
                "u32" => "4294967295",
                _ => "18446744073709551615",
            };
            match number {
                _ if quoted => "a whole number, without quotes".to_string(),
                Some(number) if number < 0.0 => "a whole number that is not negative".to_string(),
                Some(_) if found.is_u64() => format!("a whole number of at most {most}"),
                Some(number) if number >= u64::MAX as f64 => {
                    format!("a whole number of at most {most}")
                }
                Some(_) => "a whole number, without a decimal point".to_string(),
                None => "a whole number".to_string(),
            }
        }
        "f32" | "f64" if quoted => "a number, without quotes".to_string(),
        "f32" | "f64" => "a number".to_string(),
        "a boolean" if found.is_string() => "true or false, without quotes".to_string(),
        "a boolean" => "true or false".to_string(),
        "a string" | "a borrowed string" | "string" | "str" | "string or map" => {
            "a text in quotes".to_string()
        }
        "a sequence" => "a list, in square brackets".to_string(),
        "a map" => "an object, in braces".to_string(),
        _ => match expected.split_once(' ') {
            Some(("struct" | "internally", _)) => "an object, in braces".to_string(),
            _ => match expected.strip_prefix("an array of length ") {
                Some(length) => format!("a list of {length}"),
                None => expected.replace('`', "\""),
            },
        },
    }
}

/// A value, shortened.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{LayerBitMap, ModelConfig, TrainConfig};
    use super::*;

    /// Names of Rust's types, and serde's words, that nobody who writes JSON knows.
    const FOREIGN: [&str; 17] = [
        "usize",
        "u32",
        "u64",
        "expected f32",
        "f64",
        "i64",
        "boolean",
        "sequence",
        "struct",
        "enum",
        "variant",
        "array of",
        "a map",
        "invalid",
        "integer",
        "floating",
        "unit",
    ];

    fn check(said: &str, words: &[&str]) {
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        for word in FOREIGN {
            assert!(!said.contains(word), "{word:?} is in: {said}");
        }
    }

    #[test]
    fn a_value_of_another_kind_is_told_of_in_plain_words() {
        for (fields, words) in [
            (
                json!({"lr": "abc"}),
                &["`lr` is \"abc\"; expected a number"][..],
            ),
            (
                json!({"lr": "1e-3"}),
                &["`lr` is \"1e-3\"", "number, without quotes"],
            ),
            (json!({"lr": null}), &["`lr` is null; expected a number"]),
            (
                json!({"max_steps": [5]}),
                &["`max_steps` is [5]; expected a whole number"],
            ),
            (
                json!({"lr": "expected x, expected y"}),
                &["`lr` is \"expected x, expected y\"; expected a number"],
            ),
            (
                json!({"max_steps": [5, 6], "lr": 1}),
                &["`max_steps` is [5,6]; expected a whole number"],
            ),
            (
                json!({"max_steps": {"a": 1}}),
                &["`max_steps` is {\"a\":1}; expected a whole number"],
            ),
            (
                json!({"distill_relations": [1]}),
                &["`distill_relations` is [1]; expected a list of 3"],
            ),
            (
                json!({"max_steps": 2.0}),
                &["`max_steps` is 2.0", "without a decimal point"],
            ),
            (
                json!({"max_steps": -3}),
                &["`max_steps` is -3", "not negative"],
            ),
            (
                json!({"max_steps": 1e30}),
                &["`max_steps` is 1e+30", "whole number of at most"],
            ),
            (
                json!({"seed": "7"}),
                &["`seed` is \"7\"", "whole number, without quotes"],
            ),
            (
                json!({"keep_best": 1}),
                &["`keep_best` is 1; expected true or false"],
            ),
            (
                json!({"keep_best": "true"}),
                &["`keep_best` is \"true\"", "without quotes"],
            ),
            (
                json!({"lr_decay": "cosin"}),
                &["`lr_decay` is \"cosin\"", "\"cosine\"", "\"two-stage\""],
            ),
            (
                json!({"lr_decay": 3}),
                &["`lr_decay` is 3", "\"cosine\"", "\"two-stage\""],
            ),
            (
                json!({"lr_decay": {"cosine": 1}}),
                &["`lr_decay` is {\"cosine\":1}; expected one of \"cosine\""],
            ),
            (
                json!({"optimizer": ["muon"]}),
                &["`optimizer` is [\"muon\"]", "\"adamw\" or \"muon\""],
            ),
            (
                json!({"random_modes": "ternary"}),
                &["`random_modes` is \"ternary\"; expected a list"],
            ),
            (
                json!({"random_modes": ["f16", 3]}),
                &["`random_modes[1]` is 3", "f16, eightbit"],
            ),
            (
                json!({"random_modes": ["f16", "int4"]}),
                &["`random_modes[1]` is \"int4\"", "f16, eightbit"],
            ),
            (
                json!({"distill_relations": [1, 2]}),
                &["`distill_relations` is [1,2]", "a list of 3"],
            ),
            (
                json!({"distill_relations": [1, "x", "x"]}),
                &["`distill_relations[1]` is \"x\"; expected a number"],
            ),
            (
                json!({"distill_relations": 1}),
                &["`distill_relations` is 1; expected a list of 3"],
            ),
            (json!({"lora": 8}), &["`lora` is 8; expected an object"]),
            (
                json!({"lora": {"alpha": 2, "rank": "x"}}),
                &["`lora.rank` is \"x\"; expected a whole number"],
            ),
            (
                json!({"lora": {"targets": ["q", "w"]}}),
                &["`lora.targets[1]` is \"w\"", "q, k, v"],
            ),
            (
                json!({"lora": {"targets": ["q", 7]}}),
                &["`lora.targets[1]` is 7", "q, k, v"],
            ),
            (
                json!({"lora": {"rnak": 8}}),
                &["`lora`: unknown field `rnak`", "`rank`"],
            ),
        ] {
            let e = TrainConfig::from_value(fields).unwrap_err().to_string();
            check(&e, words);
            check(&e, &["train config: "]);
        }
        for (fields, words) in [
            (
                json!({"num_layers": "2"}),
                &["`num_layers` is \"2\"", "a whole number, without quotes"][..],
            ),
            (
                json!({"activation_bits": 5_000_000_000_u64}),
                &["`activation_bits` is 5000000000", "at most 4294967295"],
            ),
            (
                json!({"use_rope": "yes"}),
                &["`use_rope` is \"yes\"; expected true or false"],
            ),
            (
                json!({"activation": "swish"}),
                &["`activation` is \"swish\"", "\"silu\""],
            ),
            (
                json!({"activation": false}),
                &["`activation` is false", "\"silu\""],
            ),
            (
                json!({"windowed_layers": {"0": true}}),
                &["`windowed_layers` is {\"0\":true}; expected a list"],
            ),
            (
                json!({"windowed_layers": [0, "x"]}),
                &["`windowed_layers[1]` is \"x\"; expected a whole number"],
            ),
            (
                json!({"rope_scaling": "linear"}),
                &["`rope_scaling` is \"linear\"; expected an object"],
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": "two"}}),
                &["`rope_scaling.factor` is \"two\"; expected a number"],
            ),
            (
                json!({"rope_scaling": {"type": "lin", "factor": 2}}),
                &["`rope_scaling.type` is \"lin\"", "\"linear\""],
            ),
            (
                json!({"rope_scaling": {"factor": 2}}),
                &["`rope_scaling`: missing field `type`"],
            ),
            (
                json!({"rope_scaling": {"type": "factors", "factors": [1, null]}}),
                &["`rope_scaling.factors[1]` is null; expected a number"],
            ),
            (
                json!({"layer_bit_map": {"embedding": "f16", "layer_modes": "ternary", "lm_head": "f16"}}),
                &["`layer_bit_map.layer_modes` is \"ternary\"; expected a list"],
            ),
            (
                json!({"layer_bit_map": {"embedding": 16, "layer_modes": [], "lm_head": "f16"}}),
                &["`layer_bit_map.embedding` is 16", "f16, eightbit"],
            ),
            (
                json!({"layer_bit_map": {"embedding": "f16", "layer_modes": ["f16", 2], "lm_head": "f16"}}),
                &["`layer_bit_map.layer_modes[1]` is 2", "a mode's name"],
            ),
            (
                json!({"biases": {"x".repeat(99): "y".repeat(99)}}),
                &["`biases` is {\"xxx", " …; expected a list"],
            ),
        ] {
            let e = ModelConfig::from_value(fields).unwrap_err().to_string();
            check(&e, words);
            check(&e, &["model config: "]);
        }
    }

    #[test]
    fn a_bit_map_of_another_kind_is_told_of_with_its_line() {
        for (text, words) in [
            (
                "{\"embedding\": 16}",
                &["found 16; expected a text", "at line 1"][..],
            ),
            (
                "{\"embedding\": \"f16\",\n\"layer_modes\": \"f16\"}",
                &["found \"f16\"; expected a list", "at line 2"],
            ),
            ("[3]", &["found 3; expected a text"]),
            ("\"f16\"", &["found \"f16\"; expected an object"]),
        ] {
            let e = LayerBitMap::from_json(text, 1).unwrap_err().to_string();
            check(&e, words);
        }
    }
}
