//! What is done with a file before any weight of it is read, whatever is done with it afterwards.

use ternary_backend::{Backend, BackendOptions, DeviceInfo};
use ternary_common::bytes::ByteSource;
use ternary_common::platform::{Instant, peak_memory};
use ternary_common::tokenizer::{ChatTemplate, Tokenizer};
use ternary_core::config::CachePrecision;
use ternary_formats::onebit::OneBit;
use ternary_infer::{LoadPlan, Sampling};

use crate::context::{Fitted, Planning, fit};
use crate::device::open_backend;
use crate::endings::TurnMarks;
use crate::error::Result;
use crate::explore;
use crate::protocol::{DeviceChoice, ModelInfo};

/// What is asked for.
pub(crate) struct Wanted {
    pub device: DeviceChoice,
    /// 0 = all.
    pub threads: usize,
    pub context: Option<usize>,
    /// What keys and values may take; a longer context is shortened.
    pub cache_limit: Option<u64>,
    pub cache: CachePrecision,
}

/// A file, and the device for it.
pub(crate) struct Opened {
    pub file: OneBit,
    pub tokenizer: Option<Tokenizer>,
    pub template: Option<ChatTemplate>,
    /// Where the template begins the turn after a reply.
    pub marks: TurnMarks,
    pub backend: Box<dyn Backend>,
    pub device_reason: String,
    pub context: usize,
    pub plan: LoadPlan,
    /// The error if it does not fit.
    pub fits: Result<()>,
}

/// Open a `.1bit` and the device that was asked for.
pub(crate) async fn open(source: &dyn ByteSource, wanted: &Wanted) -> Result<Opened> {
    let file = OneBit::open(source).await?;
    let meta = &file.metadata;
    log::debug!(
        "{}: {} tensors, {total} bytes, config {:?}",
        source.name(),
        file.tensors.len(),
        meta.config,
        total = source.len()
    );
    let special = meta.special_tokens.clone().unwrap_or_default();
    let mut tokenizer = meta
        .tokenizer
        .as_deref()
        .map(Tokenizer::from_json)
        .transpose()?;
    // A template that cannot be used costs the chat only.
    let template = match meta.chat_template.as_deref().map(ChatTemplate::new) {
        Some(Err(e)) => {
            log::warn!("this model cannot chat, only continue texts: {e}");
            None
        }
        other => other.transpose()?.map(|t| t.with_tokens(special.clone())),
    };
    if let Some(tokenizer) = &mut tokenizer {
        tokenizer.add_ends(&special.end);
    }
    let options = BackendOptions {
        threads: wanted.threads,
        ..BackendOptions::default()
    };
    let (backend, device_reason) = open_backend(wanted.device, &options).await?;
    let planning = Planning {
        backend: backend.as_ref(),
        device_reason: &device_reason,
        file_bytes: source.len(),
        cache: wanted.cache,
    };
    let Fitted {
        context,
        plan,
        fits,
    } = fit(&planning, &meta.config, wanted.context, wanted.cache_limit)?;
    let whole = meta.config.max_seq_len;
    if wanted.context.is_none() && wanted.cache_limit.is_none() && context < whole {
        log::warn!(
            "the context is {context} of the model's {whole} tokens, to save memory; --context takes another"
        );
    }
    let texts = template.as_ref().zip(tokenizer.as_ref());
    Ok(Opened {
        marks: texts.map_or_else(TurnMarks::default, |(t, tokens)| TurnMarks::of(t, tokens)),
        file,
        tokenizer,
        template,
        backend,
        device_reason,
        context,
        plan,
        fits,
    })
}

/// A model that was loaded.
pub(crate) struct Described<'a> {
    pub file: &'a OneBit,
    pub source: &'a dyn ByteSource,
    pub context: usize,
    pub weight_bytes: usize,
    pub cache_bytes: usize,
    pub chat: bool,
    pub device: DeviceInfo,
    pub device_reason: String,
    /// When loading began.
    pub since: Instant,
}

impl Described<'_> {
    /// For people.
    pub fn info(self) -> Result<ModelInfo> {
        let meta = &self.file.metadata;
        Ok(ModelInfo {
            name: match meta.name.as_str() {
                "" => self.source.name(),
                name => name.to_owned(),
            },
            description: meta.description.clone(),
            file_bytes: self.source.len(),
            matrix_bytes: explore::matrix_bytes(self.file)?,
            parameters: meta.config.parameter_count(),
            context: self.context,
            bit_map: meta.config.bit_map(),
            config: meta.config.clone(),
            weight_bytes: self.weight_bytes,
            cache_bytes: self.cache_bytes,
            program_bytes: peak_memory(),
            chat: self.chat,
            sampling: Sampling::of_model(meta.sampling.as_ref(), meta.config.parameter_count()),
            adapters: Vec::new(),
            adapter: None,
            device: self.device,
            device_reason: self.device_reason,
            load_ms: self.since.elapsed().as_secs_f64() * 1e3,
        })
    }
}
