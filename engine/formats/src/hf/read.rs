//! Hugging Face folders: `config.json`, safetensors in one file or several, tokenizer, chat
//! template.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::config::{CONFIG, Fields, Found, Method, unsupported};
use super::names::Names;
use crate::safetensors::head::{self as safetensors, Contents};
use crate::source::checkpoint::{Checkpoint, read};
use crate::source::storage::Storage;
use crate::source::{ImportError, Input};
use ternary_common::bytes::ByteSource;
use ternary_core::kind::{FileKind, KIND_BYTES, escaped, without_bom};
use ternary_core::layout::{Metadata, SamplingHints, SpecialTokens};
use ternary_core::params;

const INDEX: &str = "model.safetensors.index.json";
/// Largest JSON file read: tokenizers of 256k tokens take about 20 MB.
const MAX_JSON: u64 = 256 << 20;

pub(crate) async fn text(source: &dyn ByteSource) -> Result<String, ImportError> {
    let damaged = |message: String| ImportError::Damaged {
        file: source.name(),
        message,
    };
    if source.len() > MAX_JSON {
        return Err(damaged(format!(
            "{} bytes are too many for a text",
            source.len()
        )));
    }
    let bytes = read(source, 0, source.len() as usize).await?;
    let kind = FileKind::of(&bytes[..bytes.len().min(KIND_BYTES)]);
    if let Some(what) = kind.described() {
        return Err(damaged(format!("it is {what}")));
    }
    let text = String::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
    Ok(without_bom(&text).to_owned())
}

async fn json(input: &Input, name: &str) -> Result<Option<Value>, ImportError> {
    let Some(source) = input.get(name) else {
        return Ok(None);
    };
    let value = serde_json::from_str(&text(source).await?);
    value.map(Some).map_err(|e| ImportError::Damaged {
        file: source.name(),
        message: e.to_string(),
    })
}

/// `ignored`: fields of the configuration that the caller knows to be without a meaning.
pub(crate) async fn open<'a>(
    input: &'a Input,
    ignored: &[String],
) -> Result<Checkpoint<'a>, ImportError> {
    let config_json = json(input, CONFIG).await?.ok_or_else(|| {
        ImportError::Input(format!(
            "{CONFIG} is missing ({}); a model's folder has it beside its safetensors, and a GGUF file needs none",
            input.listed()
        ))
    })?;
    let mut warnings = Vec::new();
    let fields = Fields(&config_json);
    // First of all, what it is: nothing else matters of a model that cannot be run.
    let family = fields.family()?;
    fields.check_keys(ignored, &mut warnings)?;
    let (sources, found) = tensors(input, &mut warnings).await?;
    let mut names = Names::of(family, found, &mut warnings)?;
    names.tie(config_json["tie_word_embeddings"].as_bool());
    let (config, folds) = fields.model(&Found {
        has: &|part| names.has(part),
    })?;
    names.separate(family, &config)?;
    // 1bitLLM's models say no more of their quantization than the names of their norms.
    let method = match fields.quantization()? {
        Method::None if names.old_sub_norms => Method::Online { kept: Vec::new() },
        method => method,
    };
    let mut tensors = names.tensors;
    let mut factors = HashMap::new();
    let mut packed = Vec::new();
    for (name, t) in &tensors {
        if t.storage == Storage::PackedRows {
            packed.push(name.clone());
        }
    }
    for name in packed {
        let beside = format!("{name}_scale");
        let (t, scaling) = match (tensors.remove(&beside), &method) {
            (Some(t), Method::Packed(scaling)) => (t, *scaling),
            (None, _) => {
                return Err(ImportError::MissingTensor { tensor: beside });
            }
            (Some(_), _) => {
                return Err(unsupported(
                    &format!("packed matrix {name}"),
                    "in a model whose quantization_config is not of packed BitNet weights",
                    "quant_method bitnet, offline",
                ));
            }
        };
        factors.insert(name, (t, scaling));
    }
    if let Method::Packed(_) = method
        && factors.is_empty()
    {
        return Err(unsupported(
            "quantization_config",
            "of packed BitNet weights, but no matrix is packed (uint8)",
            "packed matrices, or quantization_mode online for float masters",
        ));
    }
    let quantized = !matches!(method, Method::None);
    let metadata = companions(input, &config_json, &mut warnings).await?;
    let mut checkpoint = Checkpoint {
        surprised: Cell::new(false),
        architecture: family.name().to_owned(),
        sources,
        tensors,
        odd: names.odd,
        factors,
        masters: match method {
            Method::Online { kept } => Some(kept),
            _ => None,
        },
        paired_rows: false,
        // BitNet rounds activations; of other ternary models the files do not tell, and floats are
        // right for all.
        int8_activations: Some(quantized),
        folds,
        config,
        metadata,
        warnings,
    };
    untie(&mut checkpoint).await?;
    Ok(checkpoint)
}

/// A head that the configuration says to be the embedding, but that is another matrix in the files,
/// is used: somebody trained it.
async fn untie(c: &mut Checkpoint<'_>) -> Result<(), ImportError> {
    if !c.config.tie_word_embeddings {
        return Ok(());
    }
    let matrices = (
        c.tensors.get(params::EMBEDDING),
        c.tensors.get(params::LM_HEAD),
    );
    let (Some(embedding), Some(head)) = matrices else {
        return Ok(());
    };
    if c.equal(embedding, head).await? {
        c.tensors.remove(params::LM_HEAD);
    } else {
        c.warnings.push(format!(
            "{CONFIG} says that head and embedding are one matrix (tie_word_embeddings), but the files have two that differ; {} is used as the head",
            head.name
        ));
        c.config.tie_word_embeddings = false;
    }
    Ok(())
}

/// Every tensor of the folder, and the files they are in.
async fn tensors<'a>(
    input: &'a Input,
    warnings: &mut Vec<String>,
) -> Result<(Vec<&'a dyn ByteSource>, Contents), ImportError> {
    let files = weights(input, warnings).await?;
    let mut all = Contents::default();
    for (i, (name, source)) in files.iter().enumerate() {
        let contents = safetensors::open(*source, i).await?;
        for (tensor, t) in contents.tensors {
            if all.tensors.insert(tensor.clone(), t).is_some() {
                return Err(ImportError::Input(format!(
                    "tensor {tensor} is in {name} and in another file, too"
                )));
            }
        }
        all.odd.extend(contents.odd);
        all.aliases.extend(contents.aliases);
    }
    // Stored once, under another name.
    let aliases = std::mem::take(&mut all.aliases);
    for (alias, name) in aliases {
        if !all.tensors.contains_key(&alias)
            && let Some(t) = all.tensors.get(&name)
        {
            all.tensors.insert(alias, t.clone());
        }
    }
    let adapter = |name: &String| name.contains(".lora_A.") || name.contains(".lora_B.");
    if !all.tensors.is_empty() && all.tensors.keys().all(adapter) {
        return Err(ImportError::Input(ADAPTER.into()));
    }
    Ok((files.into_iter().map(|(_, source)| source).collect(), all))
}

/// What an adapter is told where a model is expected.
const ADAPTER: &str = "this is an adapter (LoRA), not a model: import its model, then give the adapter beside it, as in `onebit generate --model MODEL.1bit --adapter FOLDER`";

/// Why a folder with this adapter_config.json is no model.
pub(crate) async fn adapter(source: &dyn ByteSource) -> ImportError {
    let config = match text(source).await {
        Ok(text) => serde_json::from_str::<Value>(&text).unwrap_or_default(),
        Err(e) => return e,
    };
    let base = config["base_model_name_or_path"]
        .as_str()
        .unwrap_or_default();
    ImportError::Input(match base {
        "" => ADAPTER.into(),
        base => format!("{ADAPTER}. Its model is {}", escaped(base)),
    })
}

/// `NAME-00001-of-00003.safetensors`: the name before the numbers, the number and how many there
/// are.
fn numbered(name: &str) -> Option<(&str, usize, usize)> {
    let stem = name.strip_suffix(".safetensors")?;
    let (before, of) = stem.rsplit_once("-of-")?;
    let (base, number) = before.rsplit_once('-')?;
    Some((base, number.parse().ok()?, of.parse().ok()?))
}

/// The files of the weights: the whole model's, or all its parts.
async fn weights<'a>(
    input: &'a Input,
    warnings: &mut Vec<String>,
) -> Result<Vec<(&'a str, &'a dyn ByteSource)>, ImportError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let whole = input.files.get_key_value(WHOLE);
    let in_parts = input.get(INDEX).is_some();
    let whole = whole.filter(|(_, source)| !(in_parts && source.is_empty()));
    if let Some((name, source)) = whole {
        if in_parts {
            warnings.push(format!(
                "{WHOLE} is taken; {INDEX} beside it, which is of a model in parts, is not read"
            ));
        }
        return Ok(vec![(name, source.as_ref())]);
    }
    let adapter = |name: &str| name.starts_with("adapter_");
    let mut found = input.ending(".safetensors");
    found.retain(|(name, _)| found_is_model(name, adapter));
    if found.is_empty() && input.get(INDEX).is_none() {
        if input.ending(".safetensors").is_empty() {
            return Err(ImportError::Input(format!(
                "there is no .safetensors file and no .gguf file ({}); of other formats transformers makes safetensors: \
                 AutoModelForCausalLM.from_pretrained(\"FOLDER\").save_pretrained(\"NEW\")",
                input.listed()
            )));
        }
        let all = input.ending(".safetensors");
        return Err(ImportError::Input(
            match all.iter().find(|(name, _)| !adapter(name)) {
                Some((name, _)) => format!(
                    "{name} is not in the layout of Hugging Face transformers; the folder needs {WHOLE}, or its parts ({})",
                    input.listed()
                ),
                None => ADAPTER.into(),
            },
        ));
    }
    if let Some(index) = json(input, INDEX).await? {
        let index: Index = serde_json::from_value(index).map_err(|e| ImportError::Damaged {
            file: INDEX.into(),
            message: e.to_string(),
        })?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        let missing: Vec<&str> = names
            .iter()
            .filter(|name| input.get(name).is_none())
            .map(|name| name.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(found
                .into_iter()
                .filter(|(name, _)| names.iter().any(|n| n == name))
                .collect());
        }
        // An index of another upload: what is here may be whole all the same.
        let mut here: Vec<String> = Vec::new();
        for (i, (_, source)) in found.iter().enumerate() {
            here.extend(safetensors::open(*source, i).await?.tensors.into_keys());
        }
        let lacks = index.weight_map.keys().find(|name| !here.contains(name));
        if found.is_empty() || lacks.is_some() {
            return Err(ImportError::Input(format!(
                "{INDEX} names {}, which is not here ({}); download what is missing",
                listed(&missing),
                input.listed()
            )));
        }
        warnings.push(format!(
            "{INDEX} names {}, which is not here; all its tensors are in the other files",
            listed(&missing)
        ));
        return Ok(found);
    }
    if let [_] = found.as_slice() {
        let part = numbered(found[0].0).filter(|(.., of)| *of > 1);
        if let Some((_, number, of)) = part {
            return Err(ImportError::Input(format!(
                "{} is part {number} of {of}; the other parts are missing",
                found[0].0
            )));
        }
        return Ok(found);
    }
    // Parts say by their names how many there are.
    let first = found.iter().find_map(|(name, _)| numbered(name));
    if let Some((base, _, of)) = first {
        let part = |name: &str, n: usize| {
            numbered(name).is_some_and(|(b, i, o)| (b, i, o) == (base, n, of))
        };
        let missing: Vec<String> = (1..=of.min(MAX_PARTS))
            .filter(|n| !found.iter().any(|(name, _)| part(name, *n)))
            .map(|n| format!("part {n} of {of}"))
            .collect();
        if !missing.is_empty() {
            return Err(ImportError::Input(format!(
                "{} is missing ({})",
                missing.join(", "),
                input.listed()
            )));
        }
        if found
            .iter()
            .all(|(name, _)| numbered(name).is_some_and(|(b, ..)| b == base))
        {
            return Ok(found);
        }
        let others = found
            .iter()
            .filter(|(name, _)| numbered(name).is_none_or(|(b, ..)| b != base));
        let others: Vec<&str> = others.map(|(name, _)| *name).collect();
        warnings.push(format!(
            "{} beside the model's {of} parts is not read",
            listed(&others)
        ));
        found.retain(|(name, _)| numbered(name).is_some_and(|(b, ..)| b == base));
        return Ok(found);
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    Err(ImportError::Input(format!(
        "several safetensors files are here ({}) without {INDEX}",
        names.join(", ")
    )))
}

const WHOLE: &str = "model.safetensors";
/// Parts that a model can have.
const MAX_PARTS: usize = 1000;

fn found_is_model(name: &str, adapter: impl Fn(&str) -> bool) -> bool {
    !adapter(name) && !name.starts_with("optimizer") && !name.starts_with("consolidated")
}

fn listed(names: &[&str]) -> String {
    match names {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        all => all.join(", "),
    }
}

/// Tokenizer, chat template, special tokens, name.
async fn companions(
    input: &Input,
    config: &Value,
    warnings: &mut Vec<String>,
) -> Result<Metadata, ImportError> {
    let tokenizer = match input.get("tokenizer.json") {
        Some(source) => Some(text(source).await?),
        None => {
            warnings.push(
                "there is no tokenizer.json: the model can be run on token ids only. Of a tokenizer.model or a vocab.json \
                 transformers makes one: AutoTokenizer.from_pretrained(\"FOLDER\").save_pretrained(\"FOLDER\")"
                    .into(),
            );
            None
        }
    };
    let settings = json(input, "tokenizer_config.json")
        .await?
        .unwrap_or_default();
    let generation = json(input, "generation_config.json")
        .await?
        .unwrap_or_default();
    let chat_template = match input.get("chat_template.jinja") {
        // A file of no bytes is no text of any kind.
        Some(source) if source.is_empty() => Some(String::new()),
        Some(source) => Some(text(source).await?),
        None => template(&settings["chat_template"]),
    };
    // A token's text, or an object that has it.
    let token = |name: &str| {
        let value = &settings[name];
        let text = value.as_str().or(value["content"].as_str());
        text.map(str::to_owned)
    };
    let mut end = Vec::new();
    for value in [&generation["eos_token_id"], &config["eos_token_id"]] {
        let several = value.as_array().into_iter().flatten();
        let ids = several.chain([value]).filter_map(Value::as_u64);
        end.extend(ids.filter_map(|id| u32::try_from(id).ok()));
    }
    end.sort_unstable();
    end.dedup();
    let path = config["_name_or_path"].as_str().unwrap_or_default();
    Ok(Metadata {
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        tokenizer,
        chat_template,
        special_tokens: Some(SpecialTokens {
            bos: token("bos_token"),
            eos: token("eos_token"),
            end,
        }),
        sampling: sampling(&generation),
        ..Metadata::default()
    })
}

/// What generation_config.json says of sampling.
fn sampling(generation: &Value) -> Option<SamplingHints> {
    let number = |name: &str| generation[name].as_f64().map(|value| value as f32);
    let greedy = generation["do_sample"] == false;
    let hints = SamplingHints {
        temperature: match greedy {
            true => Some(0.0),
            false => number("temperature"),
        },
        top_p: number("top_p"),
        top_k: generation["top_k"].as_u64().and_then(|k| k.try_into().ok()),
        repetition_penalty: number("repetition_penalty"),
    };
    hints.said()
}

/// A template, or the one called default among several.
fn template(value: &Value) -> Option<String> {
    let named = value.as_array().into_iter().flatten();
    let default = named.into_iter().find(|t| t["name"] == "default");
    let text = value
        .as_str()
        .or(default.and_then(|t| t["template"].as_str()));
    text.map(str::to_owned)
}
