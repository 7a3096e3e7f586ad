//! What it takes to hold a reply to a JSON schema: compiling the schema, and the set of allowed
//! tokens before each token.
//!
//! `cargo run --release -p ternary --example mask_speed -- TOKENIZER.json|MODEL.1bit`
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::path::Path;
use std::time::{Duration, Instant};

use ternary::format::{FileSource, OneBit};
use ternary::infer::{Compiler, Form, Grammars, vocabulary};
use ternary::rng::Rng;
use ternary::tokenizer::Tokenizer;

/// A card of a person, with a list, an enumeration, bounds and free strings.
const SCHEMA: &str = r#"{
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
/// Replies, of tokens drawn from those allowed.
const REPLIES: u64 = 20;
/// Tokens of a reply at most.
const LONGEST: usize = 300;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("give a tokenizer.json or a .1bit")?;
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
    let tokenizer = Tokenizer::from_json(&json)?;
    let began = Instant::now();
    let grammars = Grammars::new(&vocabulary(&tokenizer))?;
    let prepared = began.elapsed();
    let form = Form::JsonSchema(SCHEMA.to_owned());
    let mut compiled = Duration::ZERO;
    let mut masks = Vec::new();
    let mut rng = Rng::new(1);
    for _ in 0..REPLIES {
        let began = Instant::now();
        let mut constraint = grammars.constraint(&form)?;
        compiled += began.elapsed();
        for _ in 0..LONGEST {
            if constraint.is_complete() {
                break;
            }
            let began = Instant::now();
            let allowed = constraint.allowed()?;
            masks.push(began.elapsed());
            let vocab = tokenizer.vocab_size() as u32;
            let ids: Vec<u32> = (0..vocab).filter(|id| allowed.allows(*id)).collect();
            let Some(id) = ids.get(rng.below(ids.len().max(1) as u64) as usize) else {
                break;
            };
            constraint.accept(*id)?;
        }
    }
    masks.sort();
    let at = |share: f64| masks[((masks.len() - 1) as f64 * share) as usize];
    let mean = masks.iter().sum::<Duration>() / masks.len() as u32;
    let vocab = tokenizer.vocab_size();
    println!("vocabulary of {vocab}: prepared in {prepared:.1?}");
    println!("a schema is compiled in {:.1?}", compiled / REPLIES as u32);
    println!(
        "{} masks: mean {mean:.1?}, median {:.1?}, 95 % below {:.1?}, longest {:.1?}",
        masks.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    );
    Ok(())
}
