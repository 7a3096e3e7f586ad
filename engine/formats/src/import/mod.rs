//! Published models into `.1bit` files: Hugging Face folders (safetensors) and GGUF files. Tensors
//! are read one after another, in bands of rows where their layout allows it, so that memory is
//! bounded by the largest tensor; ternary codes are carried over as they are.

mod convert;
mod plan;
#[cfg(test)]
mod tests;

pub use crate::source::{ImportError, Input};

use serde::{Deserialize, Serialize};

use crate::gguf;
use crate::hf::{self, config::CONFIG};
pub use crate::onebit::Written;
use crate::onebit::{Writer, encoded_len};
use crate::source::LISTED;
use crate::source::checkpoint::Checkpoint;
use plan::Plan;
use ternary_common::bytes::ByteSink;
use ternary_common::tokenizer::{ChatTemplate, Tokenizer};
use ternary_core::config::{ModelConfig, QuantMode};
use ternary_core::layout::Metadata;
use ternary_core::params;

/// What is chosen rather than found.
#[derive(Clone, Debug)]
pub struct Options {
    /// Mode of embedding and head, but for those that [`keep_head`](Self::keep_head) is about.
    pub head: QuantMode,
    /// Whether embedding and head that are ternary or binary in the file stay as they are.
    pub keep_head: bool,
    /// Mode of body matrices that are floats in the file: F32, F16 or 8-bit. Unset: 8-bit where all
    /// of them are, which halves F16 and moves the perplexity of such models by about 0.3 %; F16
    /// beside matrices of codes, whose activations are often int8.
    pub body: Option<QuantMode>,
    /// A mode for every matrix instead, as
    /// [`LayerBitMap::from_json`](ternary_core::config::LayerBitMap::from_json) takes it.
    pub bit_map: Option<String>,
    /// Whether the activations that enter quantized matrices are int8; unset: as the model was
    /// trained, where that is known.
    pub int8_activations: Option<bool>,
    /// A shorter context than the model's: the KV cache grows with it.
    pub context: Option<usize>,
    /// llama.cpp's name of the way that a GGUF file's vocabulary cuts texts into words, whatever
    /// the file says.
    pub pre_tokenizer: Option<String>,
    /// What the model is called, whatever its files say.
    pub name: Option<String>,
    /// Fields of a configuration that are not known here and that change nothing, as the caller
    /// knows.
    pub ignored_keys: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            head: QuantMode::F16,
            keep_head: true,
            body: None,
            bit_map: None,
            int8_activations: None,
            context: None,
            pre_tokenizer: None,
            name: None,
            ignored_keys: Vec::new(),
        }
    }
}

/// How far an import is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Bytes of the `.1bit`.
    pub done: u64,
    pub total: u64,
    pub tensor: String,
}

/// A tensor of the `.1bit` that an import writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its place in the `.1bit`.
    pub index: usize,
    pub name: String,
    /// Of a matrix.
    pub mode: Option<QuantMode>,
    pub bytes: u64,
}

/// What an import is going to write.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Equal plans have each tensor at the same place in the `.1bit`.
    pub plan: u32,
    /// Of the `.1bit`.
    pub total: u64,
    /// The tensors in the order in which they are written.
    pub parts: Vec<Part>,
}

/// Follows an import.
pub trait Observer {
    /// Nothing is written yet. Gives what of this plan is in the sink already, and is left as it
    /// is. Comes once more if the files turn out to need another plan.
    ///
    /// # Errors
    /// End the import.
    fn planned(&mut self, _: Planned) -> Result<Vec<Written>, String> {
        Ok(Vec::new())
    }

    /// A tensor is about to be written.
    fn begins(&mut self, progress: Progress);

    /// Its bytes are in the sink.
    ///
    /// # Errors
    /// End the import.
    fn written(&mut self, _: Written) -> Result<(), String> {
        Ok(())
    }
}

impl<F: FnMut(Progress)> Observer for F {
    fn begins(&mut self, progress: Progress) {
        self(progress);
    }
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of the `.1bit`.
    pub bytes: u64,
    /// Of the files with the weights.
    pub source_bytes: u64,
    /// As the file calls it: `bitnet`, `llama`, …
    pub architecture: String,
    pub config: ModelConfig,
    /// What a user should know: no tokenizer, say.
    pub warnings: Vec<String>,
}

/// What an import would make, found without writing anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// As the file calls it: `bitnet`, `llama`, …
    pub architecture: String,
    pub parameters: usize,
    pub config: ModelConfig,
    /// Bytes of the files with the weights.
    pub source_bytes: u64,
    /// Bytes of the `.1bit` with embedding and head as the files have them; `None` where they are
    /// floats there, which have to be given a mode.
    pub kept: Option<u64>,
    /// Bytes of the `.1bit`, by the mode of embedding and head.
    pub sizes: Vec<(QuantMode, u64)>,
    /// What a user should know: no tokenizer, say.
    pub warnings: Vec<String>,
}

/// Look at the model of `input`: everything is checked that can be without reading every weight.
///
/// # Errors
/// What is damaged, missing or not supported, by name.
pub async fn survey(input: &Input, options: &Options) -> Result<Survey, ImportError> {
    let (checkpoint, plan, mut metadata) = prepare(input, options, false).await?;
    let ends = [params::EMBEDDING, params::LM_HEAD];
    let has_codes = ends.iter().any(|name| {
        let found = plan.found.get(*name);
        found.is_some_and(|found| *found != plan::Found::Floats)
    });
    let kept = match has_codes && options.keep_head {
        true => Some(encoded_len(&metadata, plan.packing)?),
        false => None,
    };
    let mut sizes = Vec::new();
    for head in [QuantMode::F16, QuantMode::EightBit] {
        if let Some(map) = &mut metadata.config.layer_bit_map {
            (map.embedding, map.lm_head) = (head, head);
        }
        plan::granularity(&mut metadata.config, &plan.found)?;
        let packing = plan::packing(&checkpoint, &metadata.config, &plan.found);
        sizes.push((head, encoded_len(&metadata, packing)?));
    }
    Ok(Survey {
        source_bytes: checkpoint.source_bytes(),
        architecture: checkpoint.architecture,
        parameters: plan.config.parameter_count(),
        config: plan.config,
        kept,
        sizes,
        warnings: checkpoint.warnings,
    })
}

/// Read the model of `input` and write it as a `.1bit`.
///
/// # Errors
/// What is damaged, missing or not supported, by name. What was written until then is no `.1bit`.
pub async fn import(
    input: &Input,
    options: &Options,
    sink: &mut dyn ByteSink,
    observer: &mut dyn Observer,
) -> Result<Report, ImportError> {
    // Few files of 2-bit blocks have the code that is not ternary, and only reading all of them
    // tells: the plan without it comes first.
    let mut check = false;
    let (checkpoint, plan, bytes) = loop {
        let (checkpoint, plan, metadata) = prepare(input, options, check).await?;
        let mut writer = Writer::new(sink, metadata, plan.packing)?;
        match convert::convert(&checkpoint, &plan, &mut writer, observer).await {
            Err(_) if checkpoint.surprised.get() && !check => check = true,
            Err(problem) => return Err(problem),
            Ok(()) => {
                let bytes = writer.finish().await?;
                break (checkpoint, plan, bytes);
            }
        }
    };
    Ok(Report {
        bytes,
        source_bytes: checkpoint.source_bytes(),
        architecture: checkpoint.architecture,
        config: plan.config,
        warnings: checkpoint.warnings,
    })
}

/// Look at tokenizer and chat template while there is still somebody to tell.
fn companions(c: &mut Checkpoint<'_>) -> Result<(), ImportError> {
    let vocab_size = c.config.vocab_size;
    let mut special = c.metadata.special_tokens.clone().unwrap_or_default();
    let beyond = special
        .end
        .extract_if(.., |id| *id as usize >= vocab_size)
        .map(|id| id.to_string())
        .collect::<Vec<_>>();
    if !beyond.is_empty() {
        let end = match (&special.eos, special.end.as_slice()) {
            (None, []) => "; no token ends a reply, which goes on to the longest allowed",
            _ => "",
        };
        c.warnings.push(format!(
            "eos_token_id names {}, but the model has only {vocab_size} tokens: left out{end}",
            beyond.join(", ")
        ));
        c.metadata.special_tokens = Some(special.clone());
    }
    let damaged = |e: ternary_common::Error| ImportError::Damaged {
        file: "tokenizer.json".into(),
        message: e.to_string(),
    };
    if let Some(text) = &mut c.metadata.tokenizer {
        if let Some((fewer, gone)) = Tokenizer::within(text, vocab_size).map_err(damaged)? {
            let listed: Vec<&str> = gone.iter().map(String::as_str).take(LISTED).collect();
            c.warnings.push(format!(
                "the tokenizer knows tokens that the model's {vocab_size} rows are not enough for: {}{}. In texts they are letters",
                listed.join(", "),
                if gone.len() > LISTED { ", …" } else { "" }
            ));
            *text = fewer;
        }
        let (text, dropped) = Tokenizer::cleaned(text).map_err(damaged)?;
        if !dropped.is_empty() {
            c.warnings.push(format!(
                "tokenizer.json asks for {}, which is left out: texts are encoded whole",
                dropped.join(" and ")
            ));
        }
        Tokenizer::from_json(&text).map_err(damaged)?;
        c.metadata.tokenizer = Some(text);
    }
    if let Some(source) = &c.metadata.chat_template {
        if source.trim().is_empty() {
            c.metadata.chat_template = None;
            c.warnings
                .push("the chat template is empty: the model can only continue texts".into());
            return Ok(());
        }
        let tried = ChatTemplate::new(source).and_then(|t| t.with_tokens(special).check());
        match tried {
            Ok(checked) if checked.needs_system => c.warnings.push(
                "the chat template refuses a conversation without a system message: give it one, as in `onebit chat --system TEXT`".into(),
            ),
            Ok(_) => {}
            Err(e) => c
                .warnings
                .push(format!("the model cannot chat, only continue texts: {e}")),
        }
    }
    Ok(())
}

/// The model as its files describe it, what becomes of it, and what the `.1bit` says of it.
async fn prepare<'a>(
    input: &'a Input,
    options: &Options,
    check: bool,
) -> Result<(Checkpoint<'a>, Plan, Metadata), ImportError> {
    let ggufs = input.ending(".gguf");
    let adapter = input.get(crate::adapter::CONFIG_FILE);
    let mut checkpoint = match (input.get(CONFIG), adapter, ggufs.as_slice()) {
        (None, Some(source), []) => return Err(hf::read::adapter(source).await),
        (Some(_), ..) | (None, _, []) => {
            if let Some(name) = &options.pre_tokenizer {
                return Err(ImportError::Input(format!(
                    "--pre-tokenizer {name} is for a GGUF file's vocabulary; this folder has a tokenizer.json, which says by itself how texts are cut: leave the option out"
                )));
            }
            hf::read::open(input, &options.ignored_keys).await?
        }
        (None, _, ggufs) => {
            if let Some(key) = options.ignored_keys.first() {
                return Err(ImportError::Input(format!(
                    "--ignore-key {key} is for a field of {CONFIG}, which a GGUF file does not have: leave the option out"
                )));
            }
            gguf::read::open(ggufs, options.pre_tokenizer.as_deref()).await?
        }
    };
    companions(&mut checkpoint)?;
    let plan = plan::plan(&checkpoint, options, check).await?;
    let empty = checkpoint.odd.iter().filter(|(_, why)| *why == "empty");
    let notes: Vec<String> = empty
        .map(|(name, _)| {
            format!(
                "tensor {} is left out: it is empty",
                ternary_core::kind::escaped(name)
            )
        })
        .collect();
    checkpoint.warnings.extend(notes);
    let metadata = Metadata {
        config: plan.config.clone(),
        ..std::mem::take(&mut checkpoint.metadata)
    };
    let metadata = match &options.name {
        Some(name) => Metadata {
            name: name.clone(),
            ..metadata
        },
        None => metadata,
    };
    Ok((checkpoint, plan, metadata))
}
