//! Fine-tuning a loaded model on a text: `onebit finetune`'s programs and recipe, in steps between
//! which a session stays reachable.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::shortened;
use super::explore::MatrixDiff;
use super::prompts::{self, Prompt, SAMPLE_TOKENS};
use super::protocol::Event;
use super::weights::{self, WeightSource};
use super::{LoadedModel, StopHandle, WatchHandle, open_backend};
use crate::DeviceChoice;
use crate::error::{Error, Result};
use ternary_backend::BackendOptions;
use ternary_backend::cpu::CpuBackend;
use ternary_common::bytes::MemorySource;
use ternary_common::data::{Batches, CONTEXT, Conversation, FIRST, TokenData, marked_turns};
use ternary_common::platform::Instant;
use ternary_common::tokenizer::TemplateTools;
use ternary_core::config::{LoraConfig, ModelConfig, Packing as SequencePacking, TrainConfig};
use ternary_core::params::{self, ParamKind};
use ternary_core::quant::quantize;
use ternary_formats::adapter::{Adapter, base_checksum};
use ternary_formats::onebit::{Dense, OneBit, Packing, encode};
use ternary_infer::{LoadOptions, Model};
use ternary_model::Parameters;
use ternary_train::merge::merge;
use ternary_train::{
    Due, Start, StepDone, StepObserver, StepReport, Steps, Trainer, Unlogged, Validation,
    snapshot_note,
};

/// Share of the text, its end, that is held back to measure on.
const HELD_BACK: f64 = 0.1;
/// Tokens per sequence unless set: context enough for a style, and quick steps.
const SEQ_LEN: usize = 128;
/// Points of a chart, about.
const POINTS: usize = 200;
/// Validations, samples and saved states of a run, about.
const VALIDATIONS: usize = 10;
/// Between two looks at the weights of the matrix that is watched: each takes a quick model a step.
const WATCHED_EVERY: Duration = Duration::from_millis(500);

/// What a fine-tuning is asked to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TuneSettings {
    /// What is learnt; the last tenth of it is held back.
    pub text: String,
    /// Conversations that the assistant's words are learnt of, besides the text; the last tenth of
    /// them is held back.
    pub conversations: Vec<Conversation>,
    /// Adapters beside the frozen model; none: every weight is trained.
    pub lora: Option<LoraConfig>,
    /// Optimizer steps.
    pub steps: usize,
    /// Unset: what suits the kind.
    pub learning_rate: Option<f64>,
    /// Sequences per step.
    pub batch_size: usize,
    /// Tokens per sequence. Unset: 128, or as many as model and text allow.
    pub seq_len: Option<usize>,
    /// Of the order of the data, of adapters and of samples.
    pub seed: u64,
    /// What the samples continue; empty: first words of the text, or held-back questions.
    pub sample_prompt: String,
}

impl Default for TuneSettings {
    fn default() -> Self {
        TuneSettings {
            text: String::new(),
            conversations: Vec::new(),
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
    /// Optimizer steps.
    pub steps: usize,
    /// The peak.
    pub learning_rate: f64,
    /// Tokens per sequence.
    pub seq_len: usize,
    /// Tokens of the text that are trained on, and those held back.
    pub tokens: usize,
    /// Tokens that are measured on only.
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
    /// Of the last step.
    pub learning_rate: f64,
    /// Since the last point.
    pub tokens_per_second: f64,
}

/// What the model writes as it is at a step. At the first step and at the last it answers to the
/// same few prompts, in between to the first of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// Steps done.
    pub step: usize,
    /// What the text continues.
    pub prompt: String,
    /// Without the prompt.
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
    /// What the model wrote before.
    #[serde(default)]
    before: Vec<Sampled>,
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
        serde_json::from_str(&snapshot_note(state)?).map_err(Error::DamagedTuning)
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
    validation: Validation,
    plan: TunePlan,
}

/// A fine-tuning between two steps.
pub(super) struct Tuning {
    trainer: Trainer,
    batches: Batches,
    validation: Validation,
    record: TuneRecord,
}

/// What is known of a fine-tuning besides its trainer.
struct TuneRecord {
    settings: TuneSettings,
    plan: TunePlan,
    /// Latents that it started from.
    base: Parameters,
    base_crc: u32,
    /// Codes that it started from; of adapters none: they leave the codes alone.
    codes: HashMap<String, Vec<i8>>,
    points: Vec<TunePoint>,
    /// What the model wrote before the first step.
    before: Vec<Sampled>,
}

/// The conversations that are trained on, and those held back: the last tenth, at least one of
/// several.
pub(super) fn hold_back_turns(all: &[Conversation]) -> (&[Conversation], &[Conversation]) {
    let held = (all.len() as f64 * HELD_BACK).ceil() as usize;
    all.split_at(all.len() - held.min(all.len() / 2))
}

fn tokens(loaded: &LoadedModel, text: &str, talks: &[Conversation]) -> Result<TokenData> {
    let tokenizer = loaded.tokenizer()?;
    let mut ids = tokenizer.encode(text)?;
    if !talks.is_empty() {
        let template = prompts::template(loaded)?;
        let knows = TemplateTools::of(&template);
        for talk in talks {
            let (template, messages) = knows.written(&template, &talk.tools, &talk.messages);
            let mut turns = marked_turns(tokenizer, &template, &messages, true)?;
            if let Some(first) = turns.first_mut() {
                *first |= FIRST | CONTEXT;
            }
            ids.extend(turns);
        }
    }
    Ok(TokenData::from_marked(&ids, tokenizer.vocab_size() as u32)?)
}

impl Recipe {
    fn new(loaded: &LoadedModel, settings: &TuneSettings) -> Result<Self> {
        loaded.unadapted()?;
        let config = loaded.file.metadata.config.clone().for_finetuning();
        let (text, held) = hold_back(&settings.text);
        let (turns, held_turns) = hold_back_turns(&settings.conversations);
        let data = tokens(loaded, text, turns)?;
        let held = tokens(loaded, held, held_turns)?;
        // Both need two windows.
        let room = (data.len().min(held.len()).saturating_sub(1)) / 2;
        let most = config.max_seq_len.min(room);
        if most < 4 {
            return Err(Error::TextTooShort {
                tokens: data.len() + held.len(),
                held_back: held.len(),
            });
        }
        let seq = settings.seq_len.unwrap_or(SEQ_LEN).clamp(4, most);
        let base = TrainConfig::finetune(&config, settings.lora.clone());
        let train = TrainConfig {
            lr: settings.learning_rate.unwrap_or(base.lr),
            max_steps: settings.steps,
            lr_warmup_steps: TrainConfig::finetune_warmup(settings.steps),
            batch_size: settings.batch_size,
            seq_len: Some(seq),
            seed: settings.seed,
            packing: (!settings.conversations.is_empty()).then_some(SequencePacking::Documents),
            ..base
        };
        train.validate()?;
        if let Some(lora) = &train.lora {
            lora.validate(&config)?;
        }
        let vocab = config.vocab_size;
        let batches = Batches::new(&data, seq, train.seed, vocab)?;
        let validation = Validation::new(&held, seq, &config, &train)?;
        let trained = params::trained(&config, train.lora.as_ref());
        Ok(Recipe {
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
        ParamKind::Matrix(m) if m.mode.is_latent() => {
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
        let (file, source) = (&loaded.file, loaded.source.as_ref());
        let base = match settings.lora {
            // It stays as it is; adapters are merged into it as `onebit merge` does.
            Some(_) => file.latents(source).await?,
            None => file.drawn_latents(source, settings.seed).await?,
        };
        let (backend, _) = open_backend(device, &options(threads)).await?;
        let start = Start {
            parameters: Some(base.clone()),
            name: loaded.info.name.clone(),
            teacher: None,
        };
        let (config, train) = (recipe.config.clone(), recipe.train.clone());
        let trainer = Trainer::from_start(backend, config, train, start)?;
        recipe.plan.memory_bytes = trainer.memory().total();
        let codes = match settings.lora {
            Some(_) => HashMap::new(),
            None => codes(&recipe.config, &base),
        };
        Ok(Tuning {
            trainer,
            batches: recipe.batches,
            validation: recipe.validation,
            record: TuneRecord {
                codes,
                base_crc: base_checksum(&recipe.config, &base).codes,
                base,
                settings,
                plan: recipe.plan,
                points: Vec::new(),
                before: Vec::new(),
            },
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
        if tuning.record.base_crc != note.base {
            return Err(Error::ForeignTuning {
                name: loaded.info.name.clone(),
            });
        }
        tuning.trainer.restore_snapshot(state)?;
        tuning.record.points = note.points;
        tuning.record.before = note.before;
        Ok(tuning)
    }

    pub fn started(&self) -> Event {
        Event::TuneStarted {
            plan: self.record.plan,
            settings: Box::new(self.record.settings.clone()),
            points: self.record.points.clone(),
            before: self.record.before.clone(),
        }
    }

    pub fn stopped(&self) -> Event {
        Event::TuneStopped {
            step: self.trainer.step,
            done: self.trainer.step >= self.trainer.train.max_steps,
        }
    }

    /// Steps until the end, or until `stop`.
    pub async fn run(
        &mut self,
        loaded: &LoadedModel,
        (stop, watch): (&StopHandle, &WatchHandle),
        emit: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let max = self.trainer.train.max_steps;
        let begun = !self.record.points.is_empty();
        let mut observer = TuneObserver {
            record: &mut self.record,
            loaded,
            stop,
            watch,
            told: None,
            emit,
            point_every: (max / POINTS).max(1),
            validate_every: (max / VALIDATIONS).max(1),
        };
        if !begun {
            let loss = self.validation.loss(&mut self.trainer).await?;
            let point = TunePoint::at(0);
            observer.validated(&mut self.trainer, point, loss).await?;
        }
        let mut steps = Steps {
            trainer: &mut self.trainer,
            batches: &mut self.batches,
            validation: Some(&self.validation),
            unlogged: Unlogged::new((0.0, 0)),
        };
        steps.run(&mut observer).await?;
        if self.trainer.step < max {
            emit(self.record.state(&mut self.trainer).await?);
        }
        emit(self.stopped());
        Ok(())
    }

    /// What the steps so far made of a matrix's weights, if they change them.
    pub async fn tell_weights(&mut self, name: &str, emit: &mut dyn FnMut(Event)) -> Result<()> {
        self.record
            .tell_weights(&mut self.trainer, name, emit)
            .await
    }

    /// The adapters as they are.
    pub async fn adapter(&mut self) -> Result<Option<Adapter>> {
        adapter(&mut self.trainer).await
    }

    /// A `.1bit` of the model as it is, adapters merged into it.
    pub async fn model(&mut self, loaded: &LoadedModel) -> Result<Vec<u8>> {
        self.record.model(&mut self.trainer, loaded).await
    }
}

/// The adapters as they are.
async fn adapter(trainer: &mut Trainer) -> Result<Option<Adapter>> {
    let (Some(lora), Some(base)) = (trainer.train.lora.clone(), trainer.base().cloned()) else {
        return Ok(None);
    };
    Ok(Some(Adapter {
        base,
        tensors: trainer.parameters().await?,
        lora,
    }))
}

/// Tells of a fine-tuning while it runs.
struct TuneObserver<'a> {
    record: &'a mut TuneRecord,
    loaded: &'a LoadedModel,
    stop: &'a StopHandle,
    watch: &'a WatchHandle,
    /// When the weights of the watched matrix were told last.
    told: Option<Instant>,
    emit: &'a mut dyn FnMut(Event),
    point_every: usize,
    validate_every: usize,
}

impl StepObserver for TuneObserver<'_> {
    type Error = Error;

    fn due(&self, step: usize, last: bool) -> Due {
        Due {
            report: step.is_multiple_of(self.point_every),
            validate: last || step.is_multiple_of(self.validate_every),
        }
    }

    fn on_reports(&mut self, _: &[StepReport]) {}

    async fn on_step(&mut self, steps: &mut Steps<'_>, done: StepDone) -> Result<()> {
        self.tell_watched(steps.trainer, done.last).await?;
        let due = done.val_loss.is_some() || self.due(done.step, done.last).report;
        let Some(report) = done.report.filter(|_| due) else {
            return Ok(());
        };
        let point = TunePoint {
            loss: Some(steps.unlogged.mean_loss()),
            learning_rate: report.lr,
            tokens_per_second: steps.unlogged.tokens_per_second(),
            ..TunePoint::at(done.step)
        };
        if let Some(loss) = done.val_loss {
            self.validated(steps.trainer, point, loss).await?;
            let state = self.record.state(steps.trainer).await?;
            (self.emit)(state);
        } else {
            self.point(point);
        }
        steps.unlogged = Unlogged::new((0.0, 0));
        Ok(())
    }

    fn stops(&self) -> bool {
        self.stop.is_set()
    }
}

impl TuneObserver<'_> {
    /// Tells what became of the matrix that is looked at, not after every quick step.
    async fn tell_watched(&mut self, trainer: &mut Trainer, last: bool) -> Result<()> {
        let Some(name) = self.watch.name() else {
            return Ok(());
        };
        let new = self.watch.take_new();
        let rested = self.told.is_none_or(|told| told.elapsed() >= WATCHED_EVERY);
        if !new && !rested && !last {
            return Ok(());
        }
        if new {
            // Whoever asks for it waits until the fine-tuning stands still.
            let from = WeightSource::Model;
            if let Ok(weights) = weights::weights(self.loaded, None, from, &name).await {
                let weights = Box::new(weights);
                (self.emit)(Event::Weights { weights });
            }
        }
        self.record.tell_weights(trainer, &name, self.emit).await?;
        self.told = Some(Instant::now());
        Ok(())
    }

    fn point(&mut self, point: TunePoint) {
        self.record.points.push(point);
        (self.emit)(Event::TunePoint { point });
    }

    /// A point with a validation loss, and with it a sample and what changed.
    async fn validated(
        &mut self,
        trainer: &mut Trainer,
        point: TunePoint,
        loss: f64,
    ) -> Result<()> {
        self.point(TunePoint {
            validation: Some(loss),
            ..point
        });
        let mut prompts = prompts::of(self.loaded, &self.record.settings)?;
        if point.step > 0 && point.step < trainer.train.max_steps {
            prompts.truncate(1);
        }
        let samples = self.record.samples(trainer, self.loaded, prompts).await?;
        if point.step == 0 {
            self.record.before.clone_from(&samples);
        }
        for sample in samples {
            (self.emit)(Event::TuneSample { sample });
        }
        if !self.record.codes.is_empty() {
            let changes = self.record.changes(trainer).await?;
            let step = point.step;
            (self.emit)(Event::TuneChanges { step, changes });
        }
        Ok(())
    }
}

impl TuneRecord {
    /// How many codes of every matrix are others than at the start.
    async fn changes(&self, trainer: &mut Trainer) -> Result<Vec<MatrixDiff>> {
        let parameters = trainer.parameters().await?;
        let now = codes(&trainer.config, &parameters);
        let mut changes = Vec::new();
        for p in params::all(&trainer.config) {
            if let (Some(then), Some(now)) = (self.codes.get(&p.name), now.get(&p.name)) {
                let pairs = then.iter().zip(now);
                changes.push(MatrixDiff {
                    name: p.name,
                    weights: now.len(),
                    changed: Some(pairs.filter(|(a, b)| a != b).count()),
                });
            }
        }
        Ok(changes)
    }

    /// Tells what became of a matrix, if its codes are trained.
    async fn tell_weights(
        &self,
        trainer: &mut Trainer,
        name: &str,
        emit: &mut dyn FnMut(Event),
    ) -> Result<()> {
        if self.codes.contains_key(name) {
            let latents = trainer.parameter(name).await?;
            let matrix = weights::matrix(&trainer.config, name)?;
            if let Some(weights) = weights::tuned(&matrix, &latents) {
                let weights = Box::new(weights);
                emit(Event::TuneWeights { weights });
            }
        }
        Ok(())
    }

    async fn state(&self, trainer: &mut Trainer) -> Result<Event> {
        let note = Note {
            settings: self.settings.clone(),
            points: self.points.clone(),
            before: self.before.clone(),
            base: self.base_crc,
        };
        let note = serde_json::to_string(&note).expect("settings and points are JSON");
        Ok(Event::TuneState {
            step: trainer.step,
            state: trainer.snapshot(&note).await?,
        })
    }

    /// A `.1bit` of the model as it is, adapters merged into it.
    async fn model(&self, trainer: &mut Trainer, loaded: &LoadedModel) -> Result<Vec<u8>> {
        let parameters = match adapter(trainer).await? {
            Some(adapter) => merge(&trainer.config, self.base.clone(), &adapter)?.parameters,
            None => trainer.parameters().await?,
        };
        let mut metadata = loaded.file.metadata.clone();
        metadata.name = tuned_name(&loaded.info.name);
        metadata.training = serde_json::json!({
            "fine_tuned_from": loaded.info.name,
            "step": trainer.step,
            "train": trainer.train,
            "before": metadata.training,
        });
        Ok(encode(metadata, &parameters, Packing::Ternary2, Dense::No)?)
    }

    /// What the model as it is writes. On the CPU: the device keeps its memory for the training.
    async fn samples(
        &self,
        trainer: &mut Trainer,
        loaded: &LoadedModel,
        prompts: Vec<Prompt>,
    ) -> Result<Vec<Sampled>> {
        let backend = Box::new(CpuBackend::new(1));
        // A training leaves no memory for more than it takes.
        let longest = prompts.iter().map(|prompt| prompt.ids.len()).max();
        let context = loaded
            .info
            .context
            .min(longest.unwrap_or(0) + SAMPLE_TOKENS);
        let mut model = match adapter(trainer).await? {
            Some(adapter) => {
                let file = shortened(&loaded.file, context);
                let source = loaded.source.as_ref();
                let options = LoadOptions {
                    adapter: Some(&adapter),
                    ..LoadOptions::default()
                };
                Model::load_with(backend, &file, source, options, &mut |_| {}).await?
            }
            None => {
                let source = MemorySource::new("sample", self.model(trainer, loaded).await?);
                let file = OneBit::open(&source).await?;
                Model::load(backend, &shortened(&file, context), &source, &mut |_| {}).await?
            }
        };
        let mut samples = Vec::new();
        for prompt in prompts {
            model.truncate(0);
            samples.push(Sampled {
                step: trainer.step,
                text: prompts::continued(&mut model, loaded, &prompt, self.settings.seed).await?,
                prompt: prompt.shown,
            });
        }
        Ok(samples)
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
