//! Opening what `--model` names.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ternary_core::adapter::Adapter;
use ternary_core::config::ModelConfig;
use ternary_core::format::{
    ByteSource, Dense, FormatError, MemorySource, Metadata, OneBit, Packing, encode,
};
use ternary_core::infer::Sampling;
use ternary_core::platform::FileSource;
use ternary_core::session::{DeviceChoice, Event, ModelInfo, Session};
use ternary_core::tensors::Parameters;
use ternary_core::train::checkpoint::{self, Companions};

use crate::args::{ModelArgs, SamplingArgs};

/// The bytes of a `.1bit`: a file, or a checkpoint folder quantised in memory.
pub fn source(path: &Path) -> Result<Box<dyn ByteSource>> {
    if checkpoint::is_checkpoint_path(path) {
        let dir = checkpoint::resolve(path)?;
        let bytes = encode_checkpoint(&dir, Metadata::default(), Packing::Ternary2, Dense::No)?;
        return Ok(Box::new(MemorySource::new(
            &dir.display().to_string(),
            bytes,
        )));
    }
    if !path.exists() {
        bail!(
            "{} does not exist; --model takes a .1bit file or a checkpoint folder",
            path.display()
        );
    }
    Ok(Box::new(FileSource::open(path)?))
}

/// A model as training sees it.
pub struct Opened {
    pub config: ModelConfig,
    /// Latents.
    pub parameters: Parameters,
    pub companions: Companions,
    /// Name, description and licence of a `.1bit`.
    pub metadata: Metadata,
}

/// The latents of a checkpoint folder, or those that a `.1bit` can come from.
pub fn parameters(path: &Path) -> Result<Opened> {
    if checkpoint::is_checkpoint_path(path) {
        let loaded = checkpoint::load(&checkpoint::resolve(path)?)?;
        return Ok(Opened {
            config: loaded.config,
            parameters: loaded.tensors,
            companions: loaded.companions,
            metadata: Metadata::default(),
        });
    }
    let source = source(path)?;
    let read = async {
        let file = OneBit::open(source.as_ref()).await?;
        let parameters = file.latents(source.as_ref()).await?;
        Ok::<_, FormatError>((file.metadata, parameters))
    };
    let (mut metadata, parameters) =
        pollster::block_on(read).with_context(|| path.display().to_string())?;
    let tokenizer = metadata
        .tokenizer
        .take()
        .with_context(|| format!("{}: the model carries no tokenizer", path.display()))?;
    Ok(Opened {
        config: metadata.config.clone(),
        parameters,
        companions: Companions {
            tokenizer,
            chat_template: metadata.chat_template.take(),
        },
        metadata,
    })
}

/// A checkpoint folder as the bytes of a `.1bit`; `metadata` gives name, description and licence.
pub fn encode_checkpoint(
    dir: &Path,
    metadata: Metadata,
    packing: Packing,
    dense: Dense,
) -> Result<Vec<u8>> {
    let loaded = checkpoint::load(dir)?;
    let training = loaded
        .state
        .map_or(Ok(serde_json::Value::Null), serde_json::to_value)?;
    let metadata = Metadata {
        config: loaded.config,
        tokenizer: Some(loaded.companions.tokenizer),
        chat_template: loaded.companions.chat_template,
        training,
        ..metadata
    };
    encode(metadata, &loaded.tensors, packing, dense)
        .with_context(|| format!("cannot export {}", dir.display()))
}

/// A session with the model loaded; the device is told on standard error.
pub fn open(a: &ModelArgs) -> Result<(Session, ModelInfo)> {
    let adapter = a
        .adapter
        .as_ref()
        .map(|path| checkpoint::read_adapter(path))
        .transpose()?;
    let source = source(&a.model)?;
    load(source.as_ref(), adapter.as_ref(), a.device, a.threads)
}

pub fn load(
    source: &dyn ByteSource,
    adapter: Option<&Adapter>,
    device: DeviceChoice,
    threads: usize,
) -> Result<(Session, ModelInfo)> {
    let mut session = Session::with_threads(threads);
    let mut result = None;
    pollster::block_on(
        session.load_adapted(source, adapter, device, &mut |event| match event {
            Event::Loaded { model } => result = Some(Ok(*model)),
            Event::Error { message } => result = Some(Err(anyhow::anyhow!(message))),
            _ => {}
        }),
    );
    let info = result.context("the session did not answer")??;
    eprintln!(
        "device: {} ({}), {}",
        info.device.kind, info.device.name, info.device_reason
    );
    Ok((session, info))
}

pub fn sampling(a: &SamplingArgs) -> Sampling {
    let default = if a.temperature == 0.0 { 1.0 } else { 1.1 };
    Sampling {
        temperature: a.temperature,
        top_p: a.top_p,
        top_k: a.top_k,
        repetition_penalty: a.repetition_penalty.unwrap_or(default),
        seed: a.seed,
        max_tokens: a.max_tokens,
        stop: a.stop.clone(),
    }
}
