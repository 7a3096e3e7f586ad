//! Fine-tuning a loaded model on a text: `onebit finetune`'s programs and recipe, in steps between
//! which a session stays reachable.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::context::shortened;
use super::explore::MatrixDiff;
use super::protocol::Event;
use super::{LoadedModel, StopHandle, open_backend};
use crate::DeviceChoice;
use crate::error::{Error, Result};
use ternary_backend::BackendOptions;
use ternary_backend::cpu::CpuBackend;
use ternary_common::bytes::MemorySource;
use ternary_common::data::{Batches, TokenData};
use ternary_common::platform::{self, Instant};
use ternary_common::tokenizer::{END_OF_TEXT, TextStream};
use ternary_core::config::{LoraConfig, ModelConfig, TrainConfig};
use ternary_core::params::{self, ParamKind};
use ternary_core::quant::{is_latent, quantize};
use ternary_formats::adapter::{Adapter, base_checksum};
use ternary_formats::onebit::{Dense, OneBit, Packing, encode};
use ternary_infer::{Model, Sampler, Sampling};
use ternary_model::Parameters;
use ternary_train::merge::merge;
use ternary_train::{Start, Trainer, snapshot_note};

/// Share of the text, its end, that is held back to measure on.
const HELD_BACK: f64 = 0.1;
/// Tokens per sequence unless set: context enough for a style, and quick steps.
const SEQ_LEN: usize = 128;
/// Points of a chart, about.
const POINTS: usize = 200;
/// Validations, samples and saved states of a run, about.
const LOOKS: usize = 10;
const SAMPLE_TOKENS: usize = 60;

/// What a fine-tuning is asked to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TuneSettings {
    pub text: String,
    /// Adapters beside the frozen model; none: every weight is trained.
    pub lora: Option<LoraConfig>,
    pub steps: usize,
    /// Unset: what suits the kind.
    pub learning_rate: Option<f64>,
    pub batch_size: usize,
    /// Tokens per sequence. Unset: 128, or as many as model and text allow.
    pub seq_len: Option<usize>,
    pub seed: u64,
    /// What the samples continue; empty: the text's first words.
    pub sample_prompt: String,
}

impl Default for TuneSettings {
    fn default() -> Self {
        TuneSettings {
            text: String::new(),
            lora: None,
            steps: 100,
            learning_rate: None,
            batch_size: 4,
            seq_len: None,
            seed: 1,
            sample_prompt: String::new(),
        }
    }
}

/// What a fine-tuning takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunePlan {
    pub steps: usize,
    pub learning_rate: f64,
    pub seq_len: usize,
    /// Tokens of the text that are trained on, and those held back.
    pub tokens: usize,
    pub held_back: usize,
    /// Parameters trained.
    pub trained: usize,
    /// Bytes on the device.
    pub memory_bytes: u64,
}

/// A point of the curves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunePoint {
    /// Steps done.
    pub step: usize,
    /// Mean loss of the steps since the last point, nats per token; none before the first step.
    pub loss: Option<f64>,
    /// Loss of what is held back.
    pub validation: Option<f64>,
    pub learning_rate: f64,
    pub tokens_per_second: f64,
}

/// A text by the model as it is at a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    pub step: usize,
    pub prompt: String,
    pub text: String,
}

/// What becomes of a fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Keep {
    /// A `.1bit`, adapters merged into it.
    Model,
    /// The adapters, in one safetensors file.
    Adapter,
}

/// What a state holds besides the tensors.
#[derive(Serialize, Deserialize)]
struct Note {
    settings: TuneSettings,
    points: Vec<TunePoint>,
    /// CRC-32 of the codes of the model it was made from.
    base: u32,
}

/// Steps done of a state's fine-tuning, and steps in all.
///
/// # Errors
/// A damaged state.
pub fn tune_progress(state: &[u8]) -> Result<(usize, usize)> {
    let note = Note::of(state)?;
    let done = note.points.last().map_or(0, |point| point.step);
    Ok((done, note.settings.steps))
}

impl Note {
    fn of(state: &[u8]) -> Result<Self> {
        serde_json::from_str(&snapshot_note(state)?)
            .map_err(|e| Error::Checkpoint(format!("the saved fine-tuning is damaged: {e}")))
    }
}

/// The text that is trained on, and the one held back: whole lines from its end, a tenth of it.
pub fn hold_back(text: &str) -> (&str, &str) {
    let mut at = text.len() - (text.len() as f64 * HELD_BACK) as usize;
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    // A text of one line is cut within it.
    let at = text[..at].rfind('\n').map_or(at, |line| line + 1);
    text.split_at(at)
}

/// Data and configuration of a fine-tuning.
struct Recipe {
    train: TrainConfig,
    config: ModelConfig,
    batches: Batches,
    validation: Batches,
    windows: Vec<usize>,
    plan: TunePlan,
}

/// A fine-tuning between two steps.
pub(super) struct Tuning {
    settings: TuneSettings,
    recipe: Recipe,
    trainer: Trainer,
    /// Latents that it started from.
    base: Parameters,
    base_crc: u32,
    /// Codes that it started from; of adapters none: they leave the codes alone.
    codes: HashMap<String, Vec<i8>>,
    points: Vec<TunePoint>,
}

fn tokens(loaded: &LoadedModel, text: &str) -> Result<TokenData> {
    let tokenizer = loaded.tokenizer()?;
    let ids = tokenizer.encode(text)?;
    Ok(TokenData::from_ids(&ids, tokenizer.vocab_size() as u32)?)
}

impl Recipe {
    fn new(loaded: &LoadedModel, settings: &TuneSettings) -> Result<Self> {
        loaded.unadapted()?;
        let config = loaded.file.metadata.config.clone().for_finetuning();
        let (text, held) = hold_back(&settings.text);
        let (data, held) = (tokens(loaded, text)?, tokens(loaded, held)?);
        // Both need two windows.
        let room = (data.len().min(held.len()).saturating_sub(1)) / 2;
        let most = config.max_seq_len.min(room);
        if most < 4 {
            return Err(Error::Request(format!(
                "the text is too short to learn from: {} tokens, of which {} are held back; give at least a page",
                data.len() + held.len(),
                held.len()
            )));
        }
        let seq = settings.seq_len.unwrap_or(SEQ_LEN).clamp(4, most);
        let base = TrainConfig::finetune(settings.lora.clone());
        let train = TrainConfig {
            lr: settings.learning_rate.unwrap_or(base.lr),
            max_steps: settings.steps,
            lr_warmup_steps: TrainConfig::finetune_warmup(settings.steps),
            batch_size: settings.batch_size,
            seq_len: Some(seq),
            seed: settings.seed,
            ..base
        };
        train.validate()?;
        if let Some(lora) = &train.lora {
            lora.validate(&config)?;
        }
        let vocab = config.vocab_size;
        let batches = Batches::new(&data, seq, train.seed, vocab)?;
        let validation = Batches::new(&held, seq, 0, vocab)?;
        let trained = params::trained(&config, train.lora.as_ref());
        Ok(Recipe {
            windows: validation.fixed(train.eval_batches.max(1) * train.batch_size),
            plan: TunePlan {
                steps: train.max_steps,
                learning_rate: train.lr,
                seq_len: seq,
                tokens: data.len(),
                held_back: held.len(),
                trained: trained.iter().map(|p| p.len()).sum(),
                memory_bytes: 0,
            },
            batches,
            validation,
            train,
            config,
        })
    }
}

/// What a fine-tuning of the loaded model would take.
pub(super) async fn plan(
    loaded: &LoadedModel,
    settings: &TuneSettings,
    device: DeviceChoice,
    threads: usize,
) -> Result<TunePlan> {
    let recipe = Recipe::new(loaded, settings)?;
    let (backend, _) = open_backend(device, &options(threads)).await?;
    let memory = ternary_train::MemoryPlan::new(backend.as_ref(), &recipe.config, &recipe.train)?;
    Ok(TunePlan {
        memory_bytes: memory.total(),
        ..recipe.plan
    })
}

fn options(threads: usize) -> BackendOptions {
    BackendOptions {
        threads,
        ..BackendOptions::default()
    }
}

/// Codes of every matrix with latents.
fn codes(config: &ModelConfig, latents: &Parameters) -> HashMap<String, Vec<i8>> {
    let all = params::all(config).into_iter();
    all.filter_map(|p| match p.kind {
        ParamKind::Matrix(m) if is_latent(m.mode) => {
            let q = quantize(latents.get(&m.name)?, m.rows, m.cols, &m.quant);
            Some((m.name, q.codes))
        }
        _ => None,
    })
    .collect()
}

impl Tuning {
    /// A fine-tuning of the loaded model, before its first step.
    pub async fn new(
        loaded: &LoadedModel,
        settings: TuneSettings,
        device: DeviceChoice,
        threads: usize,
    ) -> Result<Self> {
        let mut recipe = Recipe::new(loaded, &settings)?;
        let base = loaded.file.latents(loaded.source.as_ref()).await?;
        let (backend, _) = open_backend(device, &options(threads)).await?;
        let start = Start {
            parameters: Some(base.clone()),
            name: loaded.info.name.clone(),
            teacher: None,
        };
        let (config, train) = (recipe.config.clone(), recipe.train.clone());
        let trainer = Trainer::from_start(backend, config, train, &start)?;
        recipe.plan.memory_bytes = trainer.memory().total();
        Ok(Tuning {
            codes: match settings.lora {
                Some(_) => HashMap::new(),
                None => codes(&recipe.config, &base),
            },
            base_crc: base_checksum(&recipe.config, &base).codes,
            base,
            settings,
            recipe,
            trainer,
            points: Vec::new(),
        })
    }

    /// The fine-tuning of a state.
    ///
    /// # Errors
    /// A damaged state, and one of another model.
    pub async fn restore(
        loaded: &LoadedModel,
        state: &[u8],
        device: DeviceChoice,
        threads: usize,
    ) -> Result<Self> {
        let note = Note::of(state)?;
        let mut tuning = Tuning::new(loaded, note.settings, device, threads).await?;
        if tuning.base_crc != note.base {
            return Err(Error::Checkpoint(format!(
                "the saved fine-tuning belongs to another model than {}; load that one first",
                loaded.info.name
            )));
        }
        tuning.trainer.restore_snapshot(state)?;
        tuning.points = note.points;
        Ok(tuning)
    }

    pub fn started(&self) -> Event {
        Event::TuneStarted {
            plan: self.recipe.plan,
            settings: Box::new(self.settings.clone()),
            points: self.points.clone(),
        }
    }

    pub fn stopped(&self) -> Event {
        Event::TuneStopped {
            step: self.trainer.step,
            done: self.trainer.step >= self.recipe.train.max_steps,
        }
    }

    /// Steps until the end, or until `stop`.
    pub async fn run(
        &mut self,
        loaded: &LoadedModel,
        stop: &StopHandle,
        emit: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let steps = self.recipe.train.max_steps;
        let point_every = (steps / POINTS).max(1);
        let look_every = (steps / LOOKS).max(1);
        if self.points.is_empty() {
            self.look(loaded, TunePoint::at(0), emit).await?;
        }
        let (mut sum, mut count, mut tokens) = (0.0, 0usize, 0usize);
        let mut since = Instant::now();
        while self.trainer.step < steps {
            let step = self.trainer.step + 1;
            let last = step == steps;
            let look = last || step.is_multiple_of(look_every);
            let report = look || step.is_multiple_of(point_every);
            let reports = self.trainer.step(&mut self.recipe.batches, report).await?;
            for report in &reports {
                sum += report.loss;
                count += 1;
                tokens += report.tokens;
            }
            if report && count > 0 {
                let point = TunePoint {
                    loss: Some(sum / count as f64),
                    learning_rate: reports.last().map_or(0.0, |r| r.lr),
                    tokens_per_second: tokens as f64 / since.elapsed().as_secs_f64().max(1e-9),
                    ..TunePoint::at(step)
                };
                (sum, count, tokens) = (0.0, 0, 0);
                if look {
                    self.look(loaded, point, emit).await?;
                    emit(self.state().await?);
                } else {
                    self.point(point, emit);
                }
                since = Instant::now();
            }
            platform::yield_now().await;
            if stop.is_set() && !last {
                emit(self.state().await?);
                break;
            }
        }
        emit(self.stopped());
        Ok(())
    }

    fn point(&mut self, point: TunePoint, emit: &mut dyn FnMut(Event)) {
        self.points.push(point);
        emit(Event::TunePoint { point });
    }

    /// A point with validation, and beside it a sample and what changed.
    async fn look(
        &mut self,
        loaded: &LoadedModel,
        point: TunePoint,
        emit: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let recipe = &self.recipe;
        let loss = self
            .trainer
            .validation_loss(&recipe.validation, &recipe.windows)
            .await?;
        let validation = Some(loss);
        self.point(
            TunePoint {
                validation,
                ..point
            },
            emit,
        );
        let step = point.step;
        let sample = self.sample(loaded).await?;
        emit(Event::TuneSample { sample });
        if !self.codes.is_empty() {
            let now = codes(&self.recipe.config, &self.trainer.parameters().await?);
            let mut changes = Vec::new();
            for p in params::all(&self.recipe.config) {
                if let (Some(then), Some(now)) = (self.codes.get(&p.name), now.get(&p.name)) {
                    let pairs = then.iter().zip(now);
                    changes.push(MatrixDiff {
                        name: p.name,
                        weights: now.len(),
                        changed: Some(pairs.filter(|(a, b)| a != b).count()),
                    });
                }
            }
            emit(Event::TuneChanges { step, changes });
        }
        Ok(())
    }

    async fn state(&mut self) -> Result<Event> {
        let note = Note {
            settings: self.settings.clone(),
            points: self.points.clone(),
            base: self.base_crc,
        };
        let note = serde_json::to_string(&note).map_err(|e| Error::Checkpoint(e.to_string()))?;
        Ok(Event::TuneState {
            step: self.trainer.step,
            state: self.trainer.snapshot(&note).await?,
        })
    }

    /// The adapters as they are.
    pub async fn adapter(&mut self) -> Result<Option<Adapter>> {
        let (Some(lora), Some(base)) = (self.recipe.train.lora.clone(), self.trainer.base()) else {
            return Ok(None);
        };
        Ok(Some(Adapter {
            base: base.clone(),
            tensors: self.trainer.parameters().await?,
            lora,
        }))
    }

    /// A `.1bit` of the model as it is, adapters merged into it.
    pub async fn model(&mut self, loaded: &LoadedModel) -> Result<Vec<u8>> {
        let parameters = match self.adapter().await? {
            Some(adapter) => merge(&self.recipe.config, self.base.clone(), &adapter)?.parameters,
            None => self.trainer.parameters().await?,
        };
        let mut metadata = loaded.file.metadata.clone();
        metadata.name = tuned_name(&loaded.info.name);
        metadata.training = serde_json::json!({
            "fine_tuned_from": loaded.info.name,
            "step": self.trainer.step,
            "train": self.recipe.train,
            "before": metadata.training,
        });
        Ok(encode(metadata, &parameters, Packing::Ternary2, Dense::No)?)
    }

    /// What the model as it is writes. On the CPU: the device keeps its memory for the training.
    async fn sample(&mut self, loaded: &LoadedModel) -> Result<Sampled> {
        let tokenizer = loaded.tokenizer()?;
        let prompt = match self.settings.sample_prompt.trim() {
            "" => {
                let words = self.settings.text.split_whitespace().take(4);
                words.collect::<Vec<_>>().join(" ")
            }
            prompt => prompt.to_owned(),
        };
        let mut next = tokenizer.encode(&prompt)?;
        if next.is_empty() {
            next.extend(tokenizer.id(END_OF_TEXT));
        }
        let backend = Box::new(CpuBackend::new(1));
        // A training leaves no memory for more than it takes.
        let context = loaded.info.context.min(next.len() + SAMPLE_TOKENS);
        let mut model = match self.adapter().await? {
            Some(adapter) => {
                let file = shortened(&loaded.file, context);
                let source = loaded.source.as_ref();
                Model::load_adapted(backend, &file, source, Some(&adapter), &mut |_| {}).await?
            }
            None => {
                let source = MemorySource::new("sample", self.model(loaded).await?);
                let file = OneBit::open(&source).await?;
                Model::load(backend, &shortened(&file, context), &source, &mut |_| {}).await?
            }
        };
        let context = model.config().max_seq_len;
        let count = SAMPLE_TOKENS.min(context.saturating_sub(next.len()));
        let mut sampler = Sampler::new(&Sampling {
            seed: self.settings.seed,
            ..Sampling::default()
        });
        let mut stream = TextStream::after(tokenizer, &next);
        let mut text = String::new();
        for _ in 0..count {
            let candidates = model.feed(&next, &[], 1.0).await?;
            let Some(id) = sampler
                .choose(candidates)
                .filter(|id| !tokenizer.is_end(*id))
            else {
                break;
            };
            text += &stream.push(tokenizer, id)?;
            next = vec![id];
        }
        text += &stream.finish(tokenizer)?;
        Ok(Sampled {
            step: self.trainer.step,
            prompt,
            text,
        })
    }
}

impl TunePoint {
    fn at(step: usize) -> Self {
        TunePoint {
            step,
            loss: None,
            validation: None,
            learning_rate: 0.0,
            tokens_per_second: 0.0,
        }
    }
}

/// What a model is called once it was fine-tuned.
pub(super) fn tuned_name(name: &str) -> String {
    let end = ", fine-tuned";
    match name.ends_with(end) {
        true => name.to_owned(),
        false => format!("{name}{end}"),
    }
}
