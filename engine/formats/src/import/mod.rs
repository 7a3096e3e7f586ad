//! Published models into `.1bit` files: Hugging Face folders (safetensors) and GGUF files. Tensors are read one after another, in bands of
//! rows where their layout allows it, so that memory is bounded by the largest tensor; ternary codes are carried over as they are.

mod checkpoint;
mod convert;
mod gguf;
mod gguf_model;
mod gguf_vocab;
mod hf;
mod hf_config;
mod plan;
mod pre_tokenizer;
mod safetensors;
mod storage;
#[cfg(test)]
mod tests;

pub(crate) use gguf_model::gguf_name;
pub(crate) use gguf_vocab::token_kind;
pub(crate) use pre_tokenizer::PreTokenizer;
pub(crate) use storage::Storage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::onebit::{Packing, Writer, encoded_len};
use checkpoint::Checkpoint;
use plan::Plan;
use ternary_common::bytes::{ByteSink, ByteSource};
use ternary_common::tokenizer::{ChatTemplate, Tokenizer};
use ternary_core::config::{ConfigError, ModelConfig, QuantMode};
use ternary_core::layout::{FormatError, Metadata};

/// Ternary codes stay the two bits they mostly come in.
const PACKING: Packing = Packing::Ternary2;

/// Names of files that a message tells at most.
const LISTED: usize = 6;

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{file}: {message}")]
    Damaged { file: String, message: String },
    #[error("{what} is {found}; supported: {supported}")]
    Unsupported {
        what: String,
        found: String,
        supported: String,
    },
    #[error("{0}")]
    Input(String),
    #[error("tensor {tensor} is missing from the model's files")]
    MissingTensor { tensor: String },
    #[error("tensor {tensor} has shape {found:?}; the configuration asks for {expected:?}")]
    Shape {
        tensor: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error("tensor {tensor}: {message}")]
    Tensor { tensor: String, message: String },
    #[error("the model's configuration: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// The files of a model by name: a folder's, or one GGUF file.
#[derive(Default)]
pub struct Input {
    files: BTreeMap<String, Box<dyn ByteSource>>,
}

impl Input {
    pub fn add(&mut self, name: &str, source: Box<dyn ByteSource>) {
        self.files.insert(name.to_owned(), source);
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn get(&self, name: &str) -> Option<&dyn ByteSource> {
        self.files.get(name).map(AsRef::as_ref)
    }

    /// What is here, for messages.
    fn listed(&self) -> String {
        let names: Vec<&str> = self.files.keys().map(String::as_str).collect();
        match names.as_slice() {
            [] => "no file is here".into(),
            [first @ .., _] if first.len() >= LISTED => format!(
                "{} files are here: {}, …",
                names.len(),
                names[..LISTED].join(", ")
            ),
            all => format!("here: {}", all.join(", ")),
        }
    }

    fn ending(&self, end: &str) -> Vec<(&str, &dyn ByteSource)> {
        let all = self.files.iter();
        all.filter(|(name, _)| name.ends_with(end))
            .map(|(name, source)| (name.as_str(), source.as_ref()))
            .collect()
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

/// What is chosen rather than found.
#[derive(Clone, Debug)]
pub struct Options {
    /// Mode of embedding and head: F32, F16 or 8-bit.
    pub head: QuantMode,
    /// Mode of body matrices that are floats in the file: F32, F16 or 8-bit.
    pub body: QuantMode,
    /// A mode for every matrix instead, as [`LayerBitMap::from_json`](ternary_core::config::LayerBitMap::from_json) takes it.
    pub bit_map: Option<String>,
    /// Whether the activations that enter quantised matrices are int8; unset: as the model was trained, where that is known.
    pub int8_activations: Option<bool>,
    /// A shorter context than the model's: the KV cache grows with it.
    pub context: Option<usize>,
    /// llama.cpp's name of the way that a GGUF file's vocabulary cuts texts into words, whatever the file says.
    pub pre_tokenizer: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            head: QuantMode::F16,
            body: QuantMode::F16,
            bit_map: None,
            int8_activations: None,
            context: None,
            pre_tokenizer: None,
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

/// What was imported.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of the `.1bit`.
    pub bytes: u64,
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
    let (checkpoint, plan, mut metadata) = prepare(input, options).await?;
    let mut sizes = Vec::new();
    for head in [QuantMode::F16, QuantMode::EightBit] {
        if let Some(map) = &mut metadata.config.layer_bit_map {
            (map.embedding, map.lm_head) = (head, head);
        }
        sizes.push((head, encoded_len(&metadata, PACKING)?));
    }
    Ok(Survey {
        architecture: checkpoint.architecture,
        parameters: plan.config.parameter_count(),
        config: plan.config,
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
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ImportError> {
    let (checkpoint, plan, metadata) = prepare(input, options).await?;
    let mut writer = Writer::new(sink, metadata, PACKING)?;
    convert::convert(&checkpoint, &plan, &mut writer, progress).await?;
    Ok(Report {
        bytes: writer.finish().await?,
        architecture: checkpoint.architecture,
        config: plan.config,
        warnings: checkpoint.warnings,
    })
}

/// Look at tokenizer and chat template while there is still somebody to tell.
fn companions(c: &mut Checkpoint<'_>) -> Result<(), ImportError> {
    let vocab_size = c.config.vocab_size;
    let special = c.metadata.special_tokens.clone().unwrap_or_default();
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
) -> Result<(Checkpoint<'a>, Plan, Metadata), ImportError> {
    let ggufs = input.ending(".gguf");
    let adapter = input.get(crate::adapter::CONFIG_FILE);
    let mut checkpoint = match (input.get(hf_config::CONFIG), adapter, ggufs.as_slice()) {
        (Some(_), ..) => hf::open(input).await?,
        (None, Some(source), []) => return Err(hf::adapter(source).await),
        (None, _, []) => hf::open(input).await?,
        (None, _, ggufs) => gguf_model::open(ggufs, options.pre_tokenizer.as_deref()).await?,
    };
    companions(&mut checkpoint)?;
    let plan = plan::plan(&checkpoint, options).await?;
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
    Ok((checkpoint, plan, metadata))
}
