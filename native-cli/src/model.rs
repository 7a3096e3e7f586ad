//! Opening what `--model` names.

use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use serde::de::IgnoredAny;
use serde_json::Value;
use ternary::adapter::Adapter;
use ternary::backend::{Backend, BackendOptions};
use ternary::config::{CachePrecision, LayerBitMap, ModelConfig, QuantMode};
use ternary::data::EvalText;
use ternary::data::{Encoder, STANDARD_INPUT, checksum, evaluation as evaluation_of, read_plain};
use ternary::format::FileSource;
use ternary::format::{
    ByteSource, Dense, FileKind, MemorySource, Metadata, OneBit, Packing, encode, without_bom,
};
use ternary::infer::{Form, Sampling};
use ternary::model::Parameters;
use ternary::model::Remap;
use ternary::session::service::{Service, ServiceOptions};
use ternary::session::{
    Beside, DeviceChoice, Event, LoadedModel, ModelInfo, Session, open_backend,
};
use ternary::tokenizer::{ChatTemplate, Tokenizer};
use ternary::train::checkpoint::{self, Companions};

use crate::args::{FormArgs, ModelArgs, SamplingArgs};
use crate::json;
use crate::output::errln;

/// The bytes of a `.1bit`: a file, or a checkpoint folder quantized in memory; with `bit_map`,
/// either in that map.
pub fn source(path: &Path, bit_map: Option<&Path>) -> Result<Rc<dyn ByteSource>> {
    if path.join(ternary::adapter::CONFIG_FILE).is_file() && !checkpoint::is_checkpoint_path(path) {
        bail!(
            "{} is an adapter, not a model: give its model with --model and this with --adapter",
            path.display()
        );
    }
    if bit_map.is_some() || checkpoint::is_checkpoint_path(path) {
        let mut opened = parameters(path)?;
        if let Some(bit_map) = bit_map {
            opened.remap(bit_map)?;
        }
        let bytes = opened.encode(path, Packing::Ternary2, Dense::No)?;
        return Ok(Rc::new(MemorySource::new(
            &path.display().to_string(),
            bytes,
        )));
    }
    if !path.exists() {
        bail!(
            "{} does not exist; expected a .1bit file or a checkpoint folder",
            path.display()
        );
    }
    Ok(Rc::new(FileSource::open(path)?))
}

/// A service for one request at a time, and the name of the adapter that `a` names; the device is
/// told on standard error.
pub fn service(a: &ModelArgs, drafts: bool) -> Result<(Service, Option<&'static str>)> {
    const ADAPTER: &str = "adapter";
    let adapter = a.adapter.as_deref().map(checkpoint::read_adapter);
    let adapter = adapter.transpose()?;
    let source = source(&a.model, a.bit_map.as_deref())?;
    let name = source.name();
    let options = ServiceOptions {
        device: a.device,
        threads: a.threads,
        context: a.context,
        cache: a.kv.into(),
        parallel: 1,
        drafts,
    };
    let mut service = pollster::block_on(Service::load(source, &options)).context(name)?;
    let named = adapter.is_some().then_some(ADAPTER);
    if let Some(adapter) = adapter {
        pollster::block_on(service.add_adapter(ADAPTER, adapter))?;
    }
    let info = service.info();
    errln!(
        "device: {} ({}), {}",
        info.device.kind,
        info.device.name,
        info.device_reason
    );
    Ok((service, named))
}

/// What guesses for the model at `model`, as `--draft` names it: None for the text itself.
pub fn draft(named: &Path, model: &Path) -> Result<Option<Rc<dyn ByteSource>>> {
    if named.as_os_str() == "lookup" {
        return Ok(None);
    }
    match named.extension().is_some_and(|end| end == "json") {
        true => source(model, Some(named)).map(Some),
        false => source(named, None).map(Some),
    }
}

/// A model as training sees it.
pub struct Opened {
    pub config: ModelConfig,
    /// Latents.
    pub parameters: Parameters,
    pub companions: Companions,
    /// Name, description and license of a `.1bit`, and how the model was trained; the rest is in
    /// the other fields.
    pub metadata: Metadata,
    /// The modes that the layers were trained in besides their own.
    pub random_modes: Vec<QuantMode>,
}

impl Opened {
    /// Put the model into the bit-map of a file.
    pub fn remap(&mut self, path: &Path) -> Result<()> {
        let map = bit_map(path, self.config.num_layers)?;
        self.remap_to(&map)
            .with_context(|| path.display().to_string())
    }

    pub fn remap_to(&mut self, map: &LayerBitMap) -> Result<()> {
        let remap = Remap::new(&self.config, &self.random_modes);
        self.config = remap.apply(&mut self.parameters, map)?;
        Ok(())
    }

    /// What makes ids of texts, with the model's own chat template.
    pub fn encoder(&self, tokenizer: &Tokenizer) -> Encoder {
        let template = self.companions.chat_template.as_deref();
        // One that cannot be used costs the chat only.
        Encoder::new(tokenizer, template.and_then(|t| ChatTemplate::new(t).ok()))
    }

    /// What a `.1bit` of it says before the tensors.
    pub fn file_metadata(&self) -> Metadata {
        Metadata {
            config: self.config.clone(),
            tokenizer: Some(self.companions.tokenizer.clone()),
            chat_template: self.companions.chat_template.clone(),
            ..self.metadata.clone()
        }
    }

    /// The bytes of a `.1bit`.
    pub fn encode(&self, path: &Path, packing: Packing, dense: Dense) -> Result<Vec<u8>> {
        encode(self.file_metadata(), &self.parameters, packing, dense)
            .with_context(|| format!("cannot export {}", path.display()))
    }
}

/// The bit-map in a file, for a model of `layers` layers.
pub fn bit_map(path: &Path, layers: usize) -> Result<LayerBitMap> {
    let text = read_small(path, "the bit-map")?;
    LayerBitMap::from_json(&text, layers).with_context(|| path.display().to_string())
}

/// The latents of a checkpoint folder, or those that a `.1bit` can come from.
pub fn parameters(path: &Path) -> Result<Opened> {
    parameters_to_train(path, |_| Ok(None))
}

/// The latents of a checkpoint folder, or for a `.1bit` and a seed what training goes on from. Of
/// what is not trained itself there is no `seed`; it is asked for once the config is known.
pub fn parameters_to_train(
    path: &Path,
    seed: impl FnOnce(&ModelConfig) -> Result<Option<u64>>,
) -> Result<Opened> {
    if checkpoint::is_checkpoint_path(path) {
        let loaded = checkpoint::load(&checkpoint::resolve(path)?)?;
        let state = loaded.state.as_ref();
        return Ok(Opened {
            config: loaded.config,
            parameters: loaded.tensors,
            companions: loaded.companions,
            random_modes: state.map_or(Vec::new(), |s| s.train.random_modes.clone()),
            metadata: Metadata {
                training: state.map_or(Ok(Value::Null), serde_json::to_value)?,
                ..Metadata::default()
            },
        });
    }
    read(source(path, None)?, path, seed)
}

/// The latents that a `.1bit` can come from; `path` is what errors name.
pub fn of_source(source: Rc<dyn ByteSource>, path: &Path) -> Result<Opened> {
    read(source, path, |_| Ok(None))
}

fn read(
    source: Rc<dyn ByteSource>,
    path: &Path,
    seed: impl FnOnce(&ModelConfig) -> Result<Option<u64>>,
) -> Result<Opened> {
    let file = pollster::block_on(OneBit::open(source.as_ref()))
        .with_context(|| path.display().to_string())?;
    let seed = seed(&file.metadata.config)?;
    let parameters = pollster::block_on(async {
        match seed {
            Some(seed) => file.drawn_latents(source.as_ref(), seed).await,
            None => file.latents(source.as_ref()).await,
        }
    });
    let parameters = parameters.with_context(|| path.display().to_string())?;
    let mut metadata = file.metadata;
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
        // Its codes are of one map, whatever it was trained in.
        random_modes: Vec::new(),
    })
}

/// A session with the model loaded; the device is told on standard error.
pub fn open(a: &ModelArgs) -> Result<(Session, ModelInfo)> {
    let adapter = a
        .adapter
        .as_ref()
        .map(|path| checkpoint::read_adapter(path))
        .transpose()?;
    let source = source(&a.model, a.bit_map.as_deref())?;
    load(source, adapter, LoadOptions::of(a))
}

/// How a model is loaded.
pub struct LoadOptions {
    pub device: DeviceChoice,
    /// 0 = all.
    pub threads: usize,
    pub context: Option<usize>,
    pub cache: CachePrecision,
}

impl LoadOptions {
    /// What the flags ask for.
    pub fn of(a: &ModelArgs) -> Self {
        LoadOptions {
            device: a.device,
            threads: a.threads,
            context: a.context,
            cache: a.kv.into(),
        }
    }
}

pub fn load(
    source: Rc<dyn ByteSource>,
    adapter: Option<Adapter>,
    options: LoadOptions,
) -> Result<(Session, ModelInfo)> {
    let adapter = adapter.map(|adapter| Beside {
        name: "adapter".to_owned(),
        adapter: Rc::new(adapter),
    });
    let mut session = Session::with_threads(options.threads).with_context(options.context);
    session.set_cache_precision(options.cache);
    let mut result = None;
    pollster::block_on(
        session.load_adapted(source, adapter, options.device, &mut |event| match event {
            Event::Loaded { model } => result = Some(Ok(*model)),
            Event::Error { message } => result = Some(Err(anyhow::anyhow!(message))),
            _ => {}
        }),
    );
    let info = result.context("the session did not answer")??;
    errln!(
        "device: {} ({}), {}; loaded in {:.0} ms",
        info.device.kind,
        info.device.name,
        info.device_reason,
        info.load_ms
    );
    Ok((session, info))
}

/// The backend that `--device` asks for, told in a line.
pub fn open_device(choice: DeviceChoice, options: &BackendOptions) -> Result<Box<dyn Backend>> {
    let (backend, why) = pollster::block_on(open_backend(choice, options))?;
    let info = backend.info();
    errln!("device: {} ({}), {why}", info.kind, info.name);
    Ok(backend)
}

/// How replies are sampled: as the flags say and, where they say nothing, as suits the model.
pub struct ChosenSampling {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    pub repetition_penalty: Option<f32>,
    /// What no model has a say in.
    pub rest: Sampling,
}

impl ChosenSampling {
    /// Of a model that `own` suits.
    pub fn of(&self, own: &Sampling) -> Sampling {
        let temperature = self.temperature.unwrap_or(own.temperature);
        // Whoever wants the likeliest tokens wants them unchanged.
        let penalty = match self.temperature {
            Some(0.0) => 1.0,
            _ => own.repetition_penalty,
        };
        Sampling {
            temperature,
            top_p: self.top_p.unwrap_or(own.top_p),
            top_k: self.top_k.unwrap_or(own.top_k),
            repetition_penalty: self.repetition_penalty.unwrap_or(penalty),
            ..self.rest.clone()
        }
    }
}

/// As the flags say, which are refused before a model is loaded if they cannot be. `seed`: where
/// none is given.
pub fn sampling(a: &SamplingArgs, seed: impl FnOnce() -> u64) -> Result<ChosenSampling> {
    let chosen = ChosenSampling {
        temperature: a.temperature,
        top_p: a.top_p,
        // llama.cpp's -1: all there are.
        top_k: a.top_k.map(|k| usize::try_from(k).unwrap_or(0)),
        repetition_penalty: a.repetition_penalty,
        rest: Sampling {
            seed: match a.seed {
                Some(seed) => u64::try_from(seed).unwrap_or_else(|_| random_seed()),
                None => seed(),
            },
            // Until the context is full.
            max_tokens: usize::try_from(a.max_tokens).unwrap_or(usize::MAX),
            stop: a.stop.clone(),
            ..Sampling::default()
        },
    };
    chosen.of(&Sampling::default()).validate()?;
    Ok(chosen)
}

/// What a text has to be.
pub fn form(a: &FormArgs) -> Result<Option<Form>> {
    if a.json_object {
        return Ok(Some(Form::JsonObject));
    }
    if let Some(path) = &a.json_schema {
        let text = read_text(path)?;
        serde_json::from_str::<IgnoredAny>(&text)
            .with_context(|| format!("--json-schema {}: it is not JSON", path.display()))?;
        return Ok(Some(Form::JsonSchema(text)));
    }
    if let Some(path) = &a.grammar {
        return Ok(Some(Form::Lark(read_text(path)?)));
    }
    Ok(a.regex.clone().map(Form::Regex))
}

/// A seed that nobody has chosen.
pub fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// A small text file, without a byte order mark. `what` it is, for messages: "the tokenizer".
pub fn read_small(path: &Path, what: &str) -> Result<String> {
    let name = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {what} {name}"))?;
    if let Some(kind) = FileKind::of(&bytes).described() {
        bail!(
            "{name} is not {what}; it is {}",
            kind.replace("FILE", &name.to_string())
        );
    }
    let text = String::from_utf8(bytes)
        .with_context(|| format!("cannot read {what} {name}: it is not UTF-8 text"))?;
    Ok(without_bom(&text).to_owned())
}

/// The JSON of a configuration file.
pub fn read_json(path: &Path) -> Result<Value> {
    let name = path.display();
    let text = read_small(path, "the configuration")?;
    json::read(&text).map_err(|e| {
        let what = if e.is_data() { "" } else { " is no JSON" };
        anyhow::Error::from(e).context(format!("{name}{what}"))
    })
}

/// The text of a file; `-` is standard input.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = match path.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
            bytes
        }
        false => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
    };
    let name = match path.as_os_str() == "-" {
        true => STANDARD_INPUT.to_owned(),
        false => path.display().to_string(),
    };
    Ok(read_plain(&name, &bytes)?)
}

/// What is at `path`, in the tokens of a loaded model.
pub fn evaluation(loaded: &LoadedModel, path: &Path) -> Result<EvalText> {
    let tokenizer = loaded.tokenizer()?;
    let json = loaded.tokenizer_json().unwrap_or_default();
    // One that cannot be used costs the chat only.
    let template = loaded
        .chat_template()
        .and_then(|t| ChatTemplate::new(t).ok());
    let encoder = Encoder::new(tokenizer, template);
    Ok(evaluation_of(path, &encoder, checksum(json))?)
}
