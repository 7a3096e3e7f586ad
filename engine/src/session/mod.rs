//! The only door for the page and the command line.

mod device;
mod generate;
mod protocol;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use device::open_backend;
pub use protocol::{Command, DeviceChoice, Event, FinishReason, Message, ModelInfo, Stats};

use crate::adapter::Adapter;
use crate::backend::BackendOptions;
use crate::error::{Error, Result};
use crate::format::{ByteSource, OneBit};
use crate::infer::Model;
use crate::platform::Instant;
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// Ends the running reply after its current token. Cheap to clone; works from a message handler while the session is busy.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A model ready to answer.
#[derive(Debug)]
pub struct Loaded {
    pub model: Model,
    pub tokenizer: Option<Tokenizer>,
    pub template: Option<ChatTemplate>,
    pub info: ModelInfo,
}

/// One user's model and what it is doing. Commands go in, events come out.
///
/// ```
/// use ternary_core::infer::Sampling;
/// use ternary_core::platform::FileSource;
/// use ternary_core::session::{Command, DeviceChoice, Event, Session};
///
/// let source = FileSource::open("tests/fixtures/v1.1bit".as_ref())?;
/// let mut session = Session::with_threads(1);
/// let mut text = String::new();
/// let mut emit = |event| match event {
///     Event::Token { text: piece } => text += &piece,
///     Event::Error { message } => panic!("{message}"),
///     _ => {}
/// };
/// pollster::block_on(session.load(&source, DeviceChoice::Cpu, &mut emit));
/// let sampling = Sampling { temperature: 0.0, max_tokens: 8, ..Sampling::default() };
/// let prompt = "The cat".into();
/// pollster::block_on(session.handle(Command::Generate { prompt, sampling }, &mut emit));
/// assert!(!text.is_empty());
/// # Ok::<(), ternary_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Session {
    loaded: Option<Loaded>,
    stop: StopHandle,
    threads: usize,
}

impl Session {
    pub fn new() -> Self {
        Self::default()
    }

    /// Limit the CPU backend's threads; 0 = all.
    pub fn with_threads(threads: usize) -> Self {
        Session {
            threads,
            ..Self::default()
        }
    }

    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The loaded model, for evaluation and inspection.
    pub fn loaded(&mut self) -> Result<&mut Loaded> {
        self.loaded
            .as_mut()
            .ok_or_else(|| Error::Request("no model is loaded".into()))
    }

    /// Open a `.1bit` and load it. Emits `Progress`, then `Loaded` or `Error`; after an error the model loaded before still works.
    pub async fn load(
        &mut self,
        source: &dyn ByteSource,
        device: DeviceChoice,
        emit: &mut dyn FnMut(Event),
    ) {
        self.load_adapted(source, None, device, emit).await;
    }

    /// As [`Session::load`], with an adapter beside the model.
    pub async fn load_adapted(
        &mut self,
        source: &dyn ByteSource,
        adapter: Option<&Adapter>,
        device: DeviceChoice,
        emit: &mut dyn FnMut(Event),
    ) {
        match self.try_load(source, adapter, device, emit).await {
            Ok(info) => emit(Event::Loaded {
                model: Box::new(info),
            }),
            Err(e) => emit(Event::Error {
                message: format!("{}: {e}", source.name()),
            }),
        }
    }

    async fn try_load(
        &mut self,
        source: &dyn ByteSource,
        adapter: Option<&Adapter>,
        device: DeviceChoice,
        emit: &mut dyn FnMut(Event),
    ) -> Result<ModelInfo> {
        let start = Instant::now();
        let file = OneBit::open(source).await?;
        let meta = &file.metadata;
        let special = meta.special_tokens.clone().unwrap_or_default();
        let mut tokenizer = meta
            .tokenizer
            .as_deref()
            .map(Tokenizer::from_json)
            .transpose()?;
        let template = meta
            .chat_template
            .as_deref()
            .map(ChatTemplate::new)
            .transpose()?
            .map(|t| t.with_tokens(special.clone()));
        if let Some(tokenizer) = &mut tokenizer {
            tokenizer.add_ends(&special.end);
        }
        let (backend, device_reason) = open_backend(
            device,
            &BackendOptions {
                threads: self.threads,
                ..BackendOptions::default()
            },
        )
        .await?;
        let total = source.len();
        let model = Model::load_adapted(backend, &file, source, adapter, &mut |done| {
            emit(Event::Progress { done, total });
        })
        .await?;
        let info = ModelInfo {
            name: if meta.name.is_empty() {
                source.name()
            } else {
                meta.name.clone()
            },
            description: meta.description.clone(),
            file_bytes: total,
            parameters: meta.config.parameter_count(),
            bit_map: meta.config.bit_map(),
            config: meta.config.clone(),
            weight_bytes: model.weight_bytes(),
            cache_bytes: model.cache_bytes(),
            chat: template.is_some(),
            device: model.device(),
            device_reason,
            load_ms: start.elapsed().as_secs_f64() * 1e3,
        };
        self.loaded = Some(Loaded {
            model,
            tokenizer,
            template,
            info: info.clone(),
        });
        Ok(info)
    }

    /// Do what `command` says. Emits `Token`s, then `Finished` or `Error`.
    pub async fn handle(&mut self, command: Command, emit: &mut dyn FnMut(Event)) {
        self.stop.clear();
        let stop = self.stop.clone();
        let result = match (self.loaded.as_mut(), command) {
            (None, Command::Reset) => Ok(()),
            (None, _) => Err(Error::Request(
                "no model is loaded yet; load a .1bit file first".into(),
            )),
            (Some(loaded), Command::Reset) => {
                loaded.model.truncate(0);
                Ok(())
            }
            (Some(loaded), Command::Generate { prompt, sampling }) => {
                match loaded.tokenizer().and_then(|t| t.encode_document(&prompt)) {
                    Ok(ids) => generate::run(loaded, ids, &sampling, &stop, emit).await,
                    Err(e) => Err(e),
                }
            }
            (Some(loaded), Command::Chat { messages, sampling }) => {
                match loaded.chat_prompt(&messages) {
                    Ok(ids) => generate::run(loaded, ids, &sampling, &stop, emit).await,
                    Err(e) => Err(e),
                }
            }
        };
        if let Err(e) = result {
            emit(Event::Error {
                message: e.to_string(),
            });
        }
    }
}

impl Loaded {
    fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::Request("this model carries no tokenizer, so it cannot read text".into())
        })
    }

    /// The template writes all the special tokens there are.
    fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or_else(|| {
            Error::Request("this model has no chat template; continue a text instead".into())
        })?;
        self.tokenizer()?.encode(&template.render(messages)?)
    }
}

#[cfg(test)]
mod tests;
