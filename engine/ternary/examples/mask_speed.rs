//! What it takes to hold a reply to a form: preparing the tokens once, compiling the form, and the
//! set of allowed tokens before each token, for forms from a plain object to a large schema.
//!
//! `cargo run --release -p ternary --example mask_speed -- TOKENIZER.json|MODEL.1bit [TOKENS]`
//!
//! With TOKENS, such as 128000, the vocabulary is filled up to so many: with pairs of its words, as
//! larger vocabularies have them.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ternary::format::{FileSource, OneBit};
use ternary::infer::{Compiler, Form, Grammars, Vocabulary, vocabulary};
use ternary::rng::Rng;
use ternary::tokenizer::Tokenizer;

/// Two properties without anything free.
const PLAIN: &str = r#"{
    "type": "object",
    "properties": { "sky": { "enum": ["blue", "grey", "black"] }, "degrees": { "type": "integer", "minimum": -40, "maximum": 50 } },
    "required": ["sky", "degrees"],
    "additionalProperties": false
}"#;
/// A card of a person, with a list, an enumeration, bounds and free strings.
const CARD: &str = r#"{
    "type": "object",
    "properties": {
        "name": { "type": "string" },
        "email": { "type": "string", "format": "email", "maxLength": 40 },
        "age": { "type": "integer", "minimum": 0, "maximum": 130 },
        "likes": { "type": "array", "items": { "type": "string", "maxLength": 20 }, "maxItems": 5 },
        "kind": { "enum": ["customer", "supplier", "both"] },
        "address": {
            "type": "object",
            "properties": { "street": { "type": "string" }, "zip": { "type": "string", "pattern": "^[0-9]{5}$" } },
            "required": ["street", "zip"],
            "additionalProperties": false
        }
    },
    "required": ["name", "email", "age", "likes", "kind", "address"],
    "additionalProperties": false
}"#;
/// An order: recursive, with alternatives, every kind of bound, formats, and long enumerations.
const HEAVY: &str = r##"{
    "$defs": {
        "money": { "type": "string", "pattern": "^-?[0-9]{1,9}(\\.[0-9]{2})?$" },
        "country": { "enum": ["AR", "AT", "AU", "BE", "BR", "CA", "CH", "CL", "CN", "CO", "CZ", "DE", "DK", "EG", "ES", "FI", "FR", "GB", "GR",
            "HK", "HU", "ID", "IE", "IL", "IN", "IS", "IT", "JP", "KE", "KR", "LU", "MX", "MY", "NG", "NL", "NO", "NZ", "PE", "PH", "PL", "PT",
            "RO", "RS", "RU", "SA", "SE", "SG", "SI", "SK", "TH", "TR", "TW", "UA", "US", "VN", "ZA"] },
        "place": {
            "type": "object",
            "properties": {
                "lines": { "type": "array", "items": { "type": "string", "minLength": 1, "maxLength": 35 }, "minItems": 1, "maxItems": 4 },
                "zip": { "type": "string", "pattern": "^[0-9A-Z][0-9A-Z -]{2,9}$" },
                "country": { "$ref": "#/$defs/country" },
                "at": { "type": "object", "properties": {
                    "lat": { "type": "number", "minimum": -90, "maximum": 90 },
                    "lon": { "type": "number", "minimum": -180, "maximum": 180 } },
                    "required": ["lat", "lon"], "additionalProperties": false }
            },
            "required": ["lines", "zip", "country"],
            "additionalProperties": false
        },
        "item": {
            "type": "object",
            "properties": {
                "kind": { "const": "item" },
                "sku": { "type": "string", "format": "uuid" },
                "title": { "type": "string", "maxLength": 80 },
                "count": { "type": "integer", "minimum": 1, "maximum": 999 },
                "price": { "$ref": "#/$defs/money" },
                "labels": { "type": "object", "patternProperties": { "^[a-z]{2}(-[A-Z]{2})?$": { "type": "string", "maxLength": 40 } },
                    "additionalProperties": false }
            },
            "required": ["kind", "sku", "title", "count", "price"],
            "additionalProperties": false
        },
        "bundle": {
            "type": "object",
            "properties": {
                "kind": { "const": "bundle" },
                "title": { "type": "string", "maxLength": 80 },
                "parts": { "type": "array", "items": { "anyOf": [{ "$ref": "#/$defs/item" }, { "$ref": "#/$defs/bundle" }] }, "minItems": 1, "maxItems": 8 },
                "discount": { "anyOf": [{ "$ref": "#/$defs/money" }, { "type": "number", "minimum": 0, "maximum": 1 }, { "type": "null" }] }
            },
            "required": ["kind", "title", "parts", "discount"],
            "additionalProperties": false
        }
    },
    "type": "object",
    "properties": {
        "id": { "type": "string", "format": "uuid" },
        "placed": { "type": "string", "format": "date-time" },
        "due": { "anyOf": [{ "type": "string", "format": "date" }, { "type": "null" }] },
        "customer": { "type": "object", "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": 60 },
            "email": { "type": "string", "format": "email" },
            "vat": { "type": ["string", "null"], "pattern": "^[A-Z]{2}[0-9A-Z]{8,12}$" },
            "address": { "$ref": "#/$defs/place" } },
            "required": ["name", "email", "vat", "address"], "additionalProperties": false },
        "lines": { "type": "array", "items": { "anyOf": [{ "$ref": "#/$defs/item" }, { "$ref": "#/$defs/bundle" }] }, "minItems": 1, "maxItems": 50 },
        "from": { "type": "string", "format": "ipv4" },
        "note": { "type": "string" },
        "extra": { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } }
    },
    "required": ["id", "placed", "due", "customer", "lines", "from", "note", "extra"],
    "additionalProperties": false
}"##;
/// Replies to a form, of tokens drawn from those allowed.
const REPLIES: u64 = 20;
/// Tokens of a reply at most.
const LONGEST: usize = 300;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("give a tokenizer.json or a .1bit, and a number of tokens if it is to have more")?;
    let json = match Path::new(&path).extension().and_then(|e| e.to_str()) {
        Some("1bit") => {
            let source = FileSource::open(path.as_ref())?;
            let file = pollster::block_on(OneBit::open(&source))?;
            file.metadata
                .tokenizer
                .ok_or("the model has no tokenizer")?
        }
        _ => std::fs::read_to_string(&path)?,
    };
    let mut vocabulary = vocabulary(&Tokenizer::from_json(&json)?);
    if let Some(tokens) = arguments.next() {
        fill(&mut vocabulary, tokens.parse()?);
    }
    let began = Instant::now();
    let grammars = Grammars::new(&vocabulary)?;
    let prepared = began.elapsed();
    let tokens = vocabulary.words.len();
    println!("vocabulary of {tokens}: prepared in {prepared:.1?}");
    println!("form         compiled  first mask    masks      mean    median  95 % below  longest");
    for (name, form) in [
        ("any object", Form::JsonObject),
        ("plain", Form::JsonSchema(PLAIN.to_owned())),
        ("card", Form::JsonSchema(CARD.to_owned())),
        ("heavy", Form::JsonSchema(HEAVY.to_owned())),
    ] {
        measure(name, &form, &grammars, tokens as u32)?;
    }
    Ok(())
}

/// Pairs of words that are neighbors by their ids, until there are so many tokens.
fn fill(vocabulary: &mut Vocabulary, tokens: usize) {
    let special = |id: &usize| vocabulary.specials.contains(&(*id as u32));
    let own: Vec<Vec<u8>> = (0..vocabulary.words.len())
        .filter(|id| !special(id))
        .map(|id| vocabulary.words[id].clone())
        .filter(|word| !word.is_empty())
        .collect();
    let mut known: HashSet<Vec<u8>> = own.iter().cloned().collect();
    for step in 1..own.len() {
        for (i, word) in own.iter().enumerate() {
            if vocabulary.words.len() >= tokens {
                return;
            }
            let pair = [&word[..], &own[(i + step) % own.len()]].concat();
            if known.insert(pair.clone()) {
                vocabulary.words.push(pair);
            }
        }
    }
}

/// Writes replies of a form, and tells what they took.
fn measure(
    name: &str,
    form: &Form,
    grammars: &Grammars,
    tokens: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut compiled, mut first) = (Duration::ZERO, Duration::ZERO);
    let mut masks = Vec::new();
    let mut rng = Rng::new(1);
    for _ in 0..REPLIES {
        let began = Instant::now();
        let mut constraint = grammars.constraint(form)?;
        compiled += began.elapsed();
        for nth in 0..LONGEST {
            if constraint.is_complete() {
                break;
            }
            let began = Instant::now();
            let allowed = constraint.allowed()?;
            masks.push(began.elapsed());
            if nth == 0 {
                first += began.elapsed();
            }
            let ids: Vec<u32> = (0..tokens).filter(|id| allowed.allows(*id)).collect();
            let Some(id) = ids.get(rng.below(ids.len().max(1) as u64) as usize) else {
                break;
            };
            constraint.accept(*id)?;
        }
    }
    masks.sort();
    let at = |share: f64| masks[((masks.len() - 1) as f64 * share) as usize];
    let mean = masks.iter().sum::<Duration>() / masks.len() as u32;
    println!(
        "{name:12} {:>8.1?}  {:>10.1?} {:>8}  {mean:>8.1?}  {:>8.1?}  {:>10.1?}  {:>7.1?}",
        compiled / REPLIES as u32,
        first / REPLIES as u32,
        masks.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    );
    Ok(())
}
