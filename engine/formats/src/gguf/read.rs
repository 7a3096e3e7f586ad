//! GGUF files as checkpoints.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use super::architecture::{self, ARCHITECTURE};
use super::config::Fields;
use super::container::{self as gguf, Gguf};
use super::rope::{self, Divisors};
use super::{keys, names, read_vocab as gguf_vocab};
use crate::source::ImportError;
use crate::source::checkpoint::{Checkpoint, Scaling};
use ternary_common::bytes::ByteSource;
use ternary_core::layout::{Metadata, SamplingHints, SpecialTokens};

/// The parts of a file that was split, in order, as one.
async fn joined(sources: &[(&str, &dyn ByteSource)]) -> Result<Gguf, ImportError> {
    let mut parts: Vec<(usize, Gguf)> = Vec::new();
    for (i, (_, source)) in sources.iter().enumerate() {
        let part = gguf::open(*source, i).await?;
        let number = part.integer("split.no").unwrap_or(0).max(0) as usize;
        parts.push((number, part));
    }
    let names = || {
        sources
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let count = |part: &Gguf| part.integer("split.count").unwrap_or(1).max(1) as usize;
    let of = parts.first().map_or(1, |(_, part)| count(part));
    if parts.iter().any(|(_, part)| count(part) != of) || (of == 1 && parts.len() > 1) {
        return Err(ImportError::Input(format!(
            "{} GGUF files are here that are not parts of one model ({}); name the one to import",
            parts.len(),
            names()
        )));
    }
    parts.sort_by_key(|(number, _)| *number);
    let missing: Vec<String> = (0..of)
        .filter(|number| !parts.iter().any(|(n, _)| n == number))
        .map(|number| (number + 1).to_string())
        .collect();
    if !missing.is_empty() || parts.len() > of {
        let number = parts.first().map_or(0, |(number, _)| *number);
        return Err(ImportError::Input(match (parts.len(), number) {
            (1, 1..) => format!(
                "{} is part {} of {of} of a model that was split: give part 1, with the others beside it",
                names(),
                number + 1
            ),
            _ if missing.is_empty() => {
                format!("some of {} are the same part of one model", names())
            }
            _ => format!(
                "the model was split into {of} files, and part {} of {of} is not here ({}); put all parts into one folder, under their own names",
                missing.join(", "),
                names()
            ),
        }));
    }
    let mut whole: Option<Gguf> = None;
    for (_, part) in parts {
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => {
                for t in part.tensors {
                    if whole.tensors.iter().any(|old| old.name == t.name) {
                        return Err(t.damaged("it is in two parts of the model".into()));
                    }
                    whole.tensors.push(t);
                }
            }
        }
    }
    let whole = whole.ok_or_else(|| ImportError::Input("there is no GGUF file".into()))?;
    let total = whole.integer("split.tensors.count");
    if let Some(total) = total.filter(|n| *n != whole.tensors.len() as i64 && of > 1) {
        return Err(ImportError::Input(format!(
            "the parts have {} tensors together; the model has {total}: they are parts of different files",
            whole.tensors.len()
        )));
    }
    Ok(whole)
}

/// A GGUF file, or all parts of one that was split; `pre` names how the vocabulary's words are cut.
pub(crate) async fn open<'a>(
    sources: &[(&str, &'a dyn ByteSource)],
    pre: Option<&str>,
) -> Result<Checkpoint<'a>, ImportError> {
    let file = joined(sources).await?;
    if file.text("general.type") == Some("adapter") {
        return Err(ImportError::Input(format!(
            "{} is an adapter, not a model: import its model, and give the adapter as PEFT saves it with --adapter",
            sources.first().map_or("it", |(name, _)| name)
        )));
    }
    let named = file.text(ARCHITECTURE);
    let (Some(architecture), Some(decoder)) = (named, named.and_then(architecture::decoder)) else {
        return Err(ImportError::Unsupported {
            what: ARCHITECTURE.into(),
            found: named.map_or_else(|| "missing".into(), |name| format!("`{name}`")),
            supported: architecture::supported(),
        });
    };
    let fields = Fields {
        file: &file,
        architecture,
        decoder,
    };
    keys::check(&file.values, architecture, &|own| fields.reads(own))?;
    let mut tensors = BTreeMap::new();
    let mut factors = HashMap::new();
    let mut divisors = Divisors::default();
    for t in &file.tensors {
        if let Some(place) = divisors.place(&t.name) {
            let (_, source) = sources[t.file];
            *place = Some(rope::divisors(source, t).await?);
            continue;
        }
        let scaled = t.name.strip_suffix(".scale");
        match scaled.and_then(|name| names::ours(&format!("{name}.weight"))) {
            Some(matrix) => {
                factors.insert(matrix, (t.clone(), Scaling::Multiply));
            }
            // Unknown ones keep their name, and are refused by it.
            None => {
                let name = names::ours(&t.name).unwrap_or_else(|| t.name.clone());
                tensors.insert(name, t.clone());
            }
        }
    }
    let (config, folds) = fields.model(&mut tensors, divisors)?;
    let mut warnings = Vec::new();
    let metadata = metadata(&file, pre, &mut warnings)?;
    Ok(Checkpoint {
        surprised: Cell::new(false),
        architecture: architecture.to_owned(),
        sources: sources.iter().map(|(_, source)| *source).collect(),
        tensors,
        odd: BTreeMap::new(),
        factors,
        masters: None,
        paired_rows: decoder.paired_rows,
        int8_activations: decoder.int8_activations,
        folds,
        config,
        metadata,
        warnings,
    })
}

fn metadata(
    file: &Gguf,
    pre: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Metadata, ImportError> {
    let tokenizer = gguf_vocab::tokenizer(file, pre, warnings)?;
    if tokenizer.is_none() {
        warnings.push("the file has no vocabulary: the model can be run on token ids only".into());
    }
    let id = |name: &str| gguf_vocab::special_id(file, name);
    let tokens = file.texts(gguf_vocab::TOKENS).unwrap_or_default();
    let token = |name: &str| tokens.get(id(name)? as usize).cloned();
    let text = |key: &str| file.text(key).unwrap_or_default().to_owned();
    let several = file.numbers(gguf_vocab::END_IDS).unwrap_or_default();
    let mut end: Vec<u32> = Vec::new();
    let usual = ["eos", "eot", "eom"].into_iter().filter_map(id);
    for id in usual.chain(several.iter().map(|id| *id as u32)) {
        if !end.contains(&id) {
            end.push(id);
        }
    }
    Ok(Metadata {
        name: text("general.name"),
        description: text("general.description"),
        license: text("general.license"),
        tokenizer,
        chat_template: file.text("tokenizer.chat_template").map(str::to_owned),
        special_tokens: Some(SpecialTokens {
            bos: token("bos"),
            eos: token("eos"),
            end,
        }),
        sampling: sampling(file),
        ..Metadata::default()
    })
}

/// What `general.sampling` says.
fn sampling(file: &Gguf) -> Option<SamplingHints> {
    let number = |name: &str| {
        let value = file.float(&format!("general.sampling.{name}"));
        value.map(|value| value as f32)
    };
    let top_k = file.integer("general.sampling.top_k");
    let hints = SamplingHints {
        temperature: number("temp"),
        top_p: number("top_p"),
        top_k: top_k.and_then(|k| k.try_into().ok()),
        repetition_penalty: number("penalty_repeat"),
    };
    hints.said()
}
