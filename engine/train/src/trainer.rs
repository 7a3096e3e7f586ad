//! One model being trained on one backend: recorded programs, parameters, steps. No files, no
//! clocks.

use std::ops::Range;
use std::rc::Rc;

use super::diagnose;
use super::memory::{self, MemoryPlan};
use super::start::Start;
use super::sums::{self, Part, Turn};
use crate::error::{Error, Result};
use ternary_backend::{Backend, BackendError, DeviceKind, MemoryLimits, ProgramId, elements};
use ternary_common::data::{BatchSource, Batches, NO_TARGET, Windows};
#[cfg(feature = "native")]
use ternary_common::ranks::Ranks;
use ternary_core::config::{MatrixModes, ModelConfig, Optimizer, Preference, TrainConfig};
use ternary_core::params::{self, Param};
use ternary_core::quant::anneal_alpha;
use ternary_core::rng::Rng;
use ternary_formats::adapter::Base;
use ternary_model as model;
use ternary_model::program::{BufferId, BufferKind, Program, RunParams, STEP_FIGURES};
use ternary_model::{Distill, Objective, Relations, TrainProgram, UpdateProgram};

/// Figures of one optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Mean cross-entropy of the step's tokens, nats; or the mean loss of its preference pairs.
    pub loss: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// The learning rate of this step.
    pub lr: f64,
    /// Of the step, all micro-batches together.
    pub tokens: usize,
    /// What the loss is the mean of: of these, the targets that are learnt, or pairs.
    pub learnt: usize,
}

/// How far a student is from its teacher, nats per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// KL(teacher ‖ student) of the predictions, at the temperature.
    pub kl: f64,
    /// KL of the relations of queries, keys and values, those with a weight together; none where
    /// none has one.
    pub relations: Option<f64>,
}

/// How pairs of a chosen and a rejected answer are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preferred {
    /// Mean of β·(ln(π/π_ref) of the chosen answer − that of the rejected one).
    pub margin: f64,
    /// Share of the pairs whose margin is above 0.
    pub accuracy: f64,
}

/// A prepared micro-step.
pub(super) struct Step {
    pub id: ProgramId,
    /// By what a micro-batch's gradients are taken.
    pub parts: Rc<[Part]>,
    ids: BufferId,
    targets: BufferId,
    positions: Option<BufferId>,
    total: BufferId,
}

impl Step {
    pub fn prepare(backend: &mut dyn Backend, recorded: TrainProgram) -> Result<Self> {
        Ok(Step {
            parts: sums::parts(&recorded.program),
            ids: recorded.ids,
            targets: recorded.targets,
            positions: recorded.positions,
            total: recorded.total,
            id: backend.prepare(recorded.program)?,
        })
    }

    /// Give it a batch: these tokens of `windows`.
    fn write(
        &self,
        backend: &mut dyn Backend,
        windows: &Windows,
        tokens: Range<usize>,
    ) -> Result<()> {
        let mut write = |to, values: &[u32]| {
            backend.write(self.id, to, bytemuck::cast_slice(&values[tokens.clone()]))
        };
        write(self.ids, &windows.ids)?;
        write(self.targets, &windows.targets)?;
        if let Some(positions) = self.positions {
            write(positions, &windows.positions)?;
        }
        Ok(())
    }

    /// The losses that were added up.
    async fn measured(&self, backend: &mut dyn Backend) -> Result<f32> {
        let read = backend.read(self.id, &[self.total]).await?;
        Ok(elements::<f32>(&read[0])[0])
    }
}

/// Cross-entropy in nats by a validation program of `batch` sequences of `seq` tokens over
/// `windows` of the data (token offsets), and the targets that it is of. Of `size` processes number
/// `rank` measures its share, batch by batch, with 0 for the others'; one alone has one sum.
pub(super) async fn window_losses(
    backend: &mut dyn Backend,
    program: &Step,
    [batch, seq]: [usize; 2],
    (rank, size): (usize, usize),
    data: &Batches,
    windows: &[usize],
) -> Result<(Vec<f32>, usize)> {
    let mut count = 0;
    let mut losses = vec![0.0; windows.len().div_ceil(batch)];
    backend.upload(model::VALIDATION_LOSS, bytemuck::bytes_of(&0f32))?;
    for (i, part) in windows.chunks(batch).enumerate() {
        let mut windows = Windows::default();
        for at in part {
            data.window(*at, &mut windows)?;
        }
        count += count_learnt(&windows.targets);
        if i % size != rank {
            continue;
        }
        // A short last batch is padded; padded targets are ignored.
        let rows = batch * seq;
        windows.ids.resize(rows, 0);
        windows.targets.resize(rows, NO_TARGET);
        windows.positions.resize(rows, 0);
        let run_params = RunParams {
            rows: rows as u32,
            ..RunParams::default()
        };
        program.write(backend, &windows, 0..rows)?;
        backend.run(program.id, &run_params)?;
        if size > 1 {
            losses[i] = program.measured(backend).await?;
            backend.upload(model::VALIDATION_LOSS, bytemuck::bytes_of(&0f32))?;
        }
        backend.throttle().await?;
    }
    if size == 1 {
        losses = vec![program.measured(backend).await?];
    }
    match count {
        0 => Err(Error::NothingMeasured),
        count => Ok((losses, count)),
    }
}

struct Update {
    id: ProgramId,
    norms: BufferId,
    history: BufferId,
}

/// The programs of a training run, in the order in which they are prepared.
pub(super) struct Programs {
    /// One for every bit-map that is trained in.
    micro: Vec<TrainProgram>,
    validate: TrainProgram,
    update: UpdateProgram,
}

impl Programs {
    pub fn record(
        config: &ModelConfig,
        train: &TrainConfig,
        teacher: Option<&ModelConfig>,
        seq: usize,
    ) -> Self {
        let objective = Objective {
            lora: train.lora.as_ref(),
            distill: teacher.map(|teacher| Distill {
                teacher,
                weight: train.distill_weight as f32,
                temperature: train.distill_temperature as f32,
                relations: relations(config, train, teacher),
            }),
            z_loss: train.z_loss as f32,
            dropout: train.dropout as f32,
            packing: train.packing.unwrap_or_default(),
            preference: train
                .preference
                .map(|Preference::Dpo| train.preference_beta as f32),
        };
        let record = |config: &ModelConfig, backward| {
            model::record_train(config, train.batch_size, seq, objective, backward)
        };
        let mut micro: Vec<TrainProgram> = random_maps(config, train)
            .map(|config| record(&config, true))
            .collect();
        if micro.is_empty() {
            micro.push(record(config, true));
        }
        Programs {
            micro,
            validate: record(config, false),
            update: model::record_update(config, train),
        }
    }

    pub fn all(&self) -> Vec<&Program> {
        let micro = self.micro.iter().map(|m| &m.program);
        micro
            .chain([&self.validate.program, &self.update.program])
            .collect()
    }
}

/// What is learnt of the teacher's relations, if anything.
fn relations(
    config: &ModelConfig,
    train: &TrainConfig,
    teacher: &ModelConfig,
) -> Option<Relations> {
    let weights = train.distill_relations.map(|weight| weight as f32);
    let layer = relation_layer(config, train);
    let share = (layer + 1) as f64 / config.num_layers as f64;
    let depth = libm::round(share * teacher.num_layers as f64) as usize;
    weights
        .iter()
        .any(|weight| *weight > 0.0)
        .then_some(Relations {
            layer,
            teacher_layer: depth.max(1) - 1,
            weights,
        })
}

/// The layer whose relations follow the teacher's.
pub(super) fn relation_layer(config: &ModelConfig, train: &TrainConfig) -> usize {
    let last = config.num_layers - 1;
    train.distill_relation_layer.unwrap_or(last)
}

/// Bit-maps that a training in random modes takes by turns.
const RANDOM_MAPS: usize = 32;

/// The model in the bit-maps of a training in random modes: all layers in one mode each, then half
/// of the rest random by layer and half by matrix. They follow from the seed.
fn random_maps(config: &ModelConfig, train: &TrainConfig) -> impl Iterator<Item = ModelConfig> {
    let modes = &train.random_modes;
    let mut rng = Rng::named(train.seed, "random modes");
    let count = if modes.is_empty() { 0 } else { RANDOM_MAPS };
    (0..count).map(move |i| {
        let mut map = config.bit_map();
        let mut draw = || modes[rng.below(modes.len() as u64) as usize];
        for layer in &mut map.layer_modes {
            let mut matrices = MatrixModes::all(modes.get(i).copied().unwrap_or_else(&mut draw));
            if i >= modes.len() && i % 2 == 1 {
                for kind in config.matrices() {
                    matrices.set(kind, draw());
                }
            }
            *layer = matrices.into();
        }
        ModelConfig {
            layer_bit_map: Some(map),
            ..config.clone()
        }
    })
}

/// Targets whose loss counts.
fn count_learnt(targets: &[u32]) -> usize {
    targets.iter().filter(|id| **id != NO_TARGET).count()
}

/// Bytes of a buffer that no machine has.
const LARGEST: u128 = 1 << 44;

/// Tokens per sequence.
pub(super) fn seq_len(config: &ModelConfig, train: &TrainConfig) -> Result<usize> {
    let seq = train.seq_len.unwrap_or(config.max_seq_len);
    if seq > config.max_seq_len {
        return Err(Error::SequenceTooLong {
            seq,
            context: config.max_seq_len,
        });
    }
    // In numbers that cannot overflow: what is recorded and planned counts in usize.
    let rows = train.batch_size as u128 * seq as u128;
    let widest = [
        config.vocab_size,
        config.intermediate_size,
        config.hidden_size,
        config.num_heads.saturating_mul(config.head_dim()),
        config.num_heads.saturating_mul(seq),
    ];
    let widest = widest.into_iter().max().unwrap_or(1) as u128;
    let bytes = 4 * rows * widest;
    if bytes > LARGEST {
        return Err(Error::BatchTooLarge {
            batch: train.batch_size,
            seq,
            bytes,
        });
    }
    Ok(seq)
}

/// A model, its optimizer and a backend, one step at a time; [`run`](super::run()) adds files.
///
/// ```
/// use ternary_backend::cpu::CpuBackend;
/// use ternary_core::config::{ModelConfig, TrainConfig};
/// use ternary_common::data::{Batches, TokenData};
/// use ternary_train::Trainer;
///
/// let config = ModelConfig {
///     vocab_size: 10, hidden_size: 16, num_heads: 2, num_layers: 1, intermediate_size: 32, max_seq_len: 8,
///     embed_init_std: 0.02, ..ModelConfig::default()
/// };
/// let train = TrainConfig { lr: 0.02, lr_warmup_steps: 0, max_steps: 30, ..TrainConfig::default() };
/// let ids: Vec<u32> = (0..500).map(|i| i % 10).collect();
/// let mut batches = Batches::new(&TokenData::from_ids(&ids, 10)?, 8, 1, 10)?;
/// let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config, train)?;
/// let first = pollster::block_on(trainer.step(&mut batches, true))?[0];
/// for _ in 0..29 {
///     pollster::block_on(trainer.step(&mut batches, true))?;
/// }
/// let windows = batches.fixed(4);
/// assert!(pollster::block_on(trainer.validation_loss(&batches, &windows))? < first.loss);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer {
    pub(super) backend: Box<dyn Backend>,
    /// Of the model.
    pub config: ModelConfig,
    /// Of the training.
    pub train: TrainConfig,
    /// Tokens per sequence.
    pub seq: usize,
    pub(super) micro: Vec<Step>,
    /// Of the micro-batches made so far, by part.
    pub(super) sums: Vec<Vec<f32>>,
    /// Who trains with this one.
    #[cfg(feature = "native")]
    pub(super) ranks: Option<Ranks>,
    /// What a round of local steps began with, by parameter.
    pub(super) round_start: Vec<Vec<f32>>,
    validate: Step,
    update: Update,
    /// Optimizer steps done.
    pub step: usize,
    /// Targets of the last of these, whose figures are not read back yet.
    pending: Vec<usize>,
    /// What adapters are trained beside.
    base: Option<Base>,
    /// The teacher's checksum.
    teacher: Option<u32>,
    /// Tokens whose divergence from the teacher, or pairs whose margins, have not been read back.
    unread: usize,
    /// Of the last validation.
    validated: Option<Preferred>,
    /// Whether the backend has chosen how it computes the programs.
    tuned: bool,
}

impl Trainer {
    /// Record the programs and give every parameter its initial value.
    pub fn new(backend: Box<dyn Backend>, config: ModelConfig, train: TrainConfig) -> Result<Self> {
        Self::from_start(backend, config, train, Start::default())
    }

    /// As [`Trainer::new`], from given parameters or with a teacher. With `train.lora`, adapters
    /// are trained and the model stays as it is.
    ///
    /// # Errors
    /// A teacher or adapters that do not fit the model, and more memory than there is.
    pub fn from_start(
        mut backend: Box<dyn Backend>,
        config: ModelConfig,
        train: TrainConfig,
        mut start: Start,
    ) -> Result<Self> {
        let seq = seq_len(&config, &train)?;
        start.check(&config, &train, seq)?;
        let teacher = start.teacher.as_ref().map(|t| t.config.clone());
        let teacher = teacher.as_ref();
        let plan = MemoryPlan::with_teacher(backend.as_ref(), &config, &train, teacher)?;
        let has_base = start.parameters.is_some();
        let check = |backend: &dyn Backend, limits: &MemoryLimits| {
            memory::check(backend, &config, &train, teacher, &plan, limits, has_base)
        };
        let mut limits = backend.limits();
        // What is given makes room as it goes over.
        if backend.info().kind == DeviceKind::Cpu {
            limits.total = limits.total.map(|total| total + start.bytes());
        }
        check(backend.as_ref(), &limits)?;
        let base = start.base(&config, &train)?;
        let checksum = start.teacher.as_ref().map(|t| t.checksum());
        match Self::allocate(backend.as_mut(), &config, &train, &mut start, seq) {
            Ok((micro, validate, update)) => Ok(Trainer {
                backend,
                base,
                teacher: checksum,
                config,
                train,
                seq,
                micro,
                sums: Vec::new(),
                #[cfg(feature = "native")]
                ranks: None,
                round_start: Vec::new(),
                validate,
                update,
                step: 0,
                pending: Vec::new(),
                unread: 0,
                validated: None,
                tuned: false,
            }),
            // The device has less than it said: what it gave until now is what there is.
            Err(Error::Backend(e @ BackendError::OutOfMemory { .. })) => {
                let limits = MemoryLimits {
                    total: Some(backend.memory().total()),
                    ..backend.limits()
                };
                check(backend.as_ref(), &limits)?;
                Err(e.into())
            }
            Err(e) => Err(e),
        }
    }

    fn allocate(
        backend: &mut dyn Backend,
        config: &ModelConfig,
        train: &TrainConfig,
        start: &mut Start,
        seq: usize,
    ) -> Result<(Vec<Step>, Step, Update)> {
        start.upload(backend, config, train)?;
        if train.sync_every > 0 {
            for p in params::trained(config, train.lora.as_ref()) {
                let name = BufferKind::OuterMoment.named(&p.name);
                backend.reserve(&name, p.len() * size_of::<f32>())?;
            }
        }
        let teacher = start.teacher.as_ref().map(|t| &t.config);
        let programs = Programs::record(config, train, teacher, seq);
        let mut prepare = |recorded| Step::prepare(backend, recorded);
        let micro = programs.micro.into_iter().map(&mut prepare);
        let micro = micro.collect::<Result<_>>()?;
        let validate = prepare(programs.validate)?;
        let update = programs.update;
        Ok((
            micro,
            validate,
            Update {
                norms: update.norms,
                history: update.history,
                id: backend.prepare(update.program)?,
            },
        ))
    }

    /// What is trained: every parameter, or the adapters.
    pub fn trained(&self) -> Vec<Param> {
        params::trained(&self.config, self.train.lora.as_ref())
    }

    /// What the optimizer keeps of a parameter between steps.
    pub(crate) fn moments(&self, p: &Param) -> &'static [BufferKind] {
        use BufferKind::{FirstMoment, OuterMoment, SecondMoment};
        let local = self.train.sync_every > 0;
        match (self.train.optimizer, p.muon()) {
            (Optimizer::Muon, Some(_)) if local => &[FirstMoment, OuterMoment],
            (Optimizer::Muon, Some(_)) => &[FirstMoment],
            _ if local => &[FirstMoment, SecondMoment, OuterMoment],
            _ => &[FirstMoment, SecondMoment],
        }
    }

    /// The frozen model that adapters are trained beside.
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    /// The teacher's checksum, where there is one.
    pub fn teacher(&self) -> Option<u32> {
        self.teacher
    }

    /// Mean divergences from the teacher, of the steps since this was last asked; none without a
    /// teacher or steps.
    pub async fn divergence(&mut self) -> Result<Option<Divergence>> {
        if self.teacher.is_none() || self.unread == 0 {
            return Ok(None);
        }
        let tokens = std::mem::take(&mut self.unread);
        let related = self.train.distill_relations.iter().any(|w| *w > 0.0);
        Ok(Some(Divergence {
            kl: self.take_sum(model::KL).await? / tokens as f64,
            relations: match related {
                true => Some(self.take_sum(model::RELATION_KL).await? / tokens as f64),
                false => None,
            },
        }))
    }

    /// Of the pairs of the steps since this was last asked; none without pairs.
    pub async fn preferred(&mut self) -> Result<Option<Preferred>> {
        if self.train.preference.is_none() || self.unread == 0 {
            return Ok(None);
        }
        let pairs = std::mem::take(&mut self.unread);
        self.take_preferred(0, pairs).await.map(Some)
    }

    /// Of the pairs of the last validation; none without pairs.
    pub fn validated(&self) -> Option<Preferred> {
        self.validated
    }

    /// The means of what was added up over `pairs`, which begins anew: of training (0) or of
    /// validation (1).
    async fn take_preferred(&mut self, phase: usize, pairs: usize) -> Result<Preferred> {
        Ok(Preferred {
            margin: self.take_sum(model::MARGINS[phase]).await? / pairs as f64,
            accuracy: self.take_sum(model::WINS[phase]).await? / pairs as f64,
        })
    }

    /// What was added up in a shared buffer, which begins anew.
    async fn take_sum(&mut self, name: &str) -> Result<f64> {
        let sum = self.buffer(name).await?;
        self.set_buffer(name, &[0.0])?;
        Ok(f64::from(sum[0]))
    }

    /// The program of the micro-batches of the step about to be made.
    fn micro_program(&self) -> usize {
        let counters = [self.step as u64, RANDOM_MAPS as u64];
        let mut rng = Rng::counted(self.train.seed, &counters);
        rng.below(self.micro.len() as u64) as usize
    }

    /// The number of this process among those that train together, and how many they are.
    pub fn place(&self) -> (usize, usize) {
        #[cfg(feature = "native")]
        if let Some(ranks) = &self.ranks {
            return (ranks.rank(), ranks.size());
        }
        (0, 1)
    }

    /// Whether this process writes files and speaks for all.
    pub fn leads(&self) -> bool {
        self.place().0 == 0
    }

    /// RunParams of the step about to be made, whose loss is the mean of `learnt` targets.
    fn run_params(&self, rows: usize, learnt: usize) -> RunParams {
        let (t, c) = (self.step + 1, &self.train);
        let bias = |beta: f64| (1.0 / (1.0 - libm::pow(beta, t as f64))) as f32;
        RunParams {
            rows: rows as u32,
            grad_scale: 1.0 / learnt.max(1) as f32,
            float_share: c.float_share_at(self.step),
            anneal: anneal_alpha(self.step, c.max_steps, self.config.anneal_fraction),
            arenas: self.config.arenas_at(self.step),
            lr: c.lr_at(self.step) as f32,
            weight_decay: c.weight_decay_at(self.step) as f32,
            bias1: bias(c.beta1),
            bias2: bias(c.beta2),
            momentum: c.muon_momentum_at(self.step) as f32,
            ..RunParams::default()
        }
    }

    /// One optimizer step: `accumulation_steps` micro-batches, then the update. The figures of this
    /// and of earlier steps that had not been read back are returned with `report`, and at the
    /// latest when the backend's history is full; a backend that does not queue always returns
    /// them. A step whose gradient is not finite leaves the parameters alone, and is an error when
    /// its figures are read.
    pub async fn step(
        &mut self,
        data: &mut dyn BatchSource,
        report: bool,
    ) -> Result<Vec<StepReport>> {
        if !self.tuned {
            self.backend.tune().await?;
            self.tuned = true;
        }
        let (batch, micro) = (self.train.batch_size, self.train.accumulation_steps);
        let rows = batch * self.seq;
        let mut windows = Windows::default();
        let first = (self.step * micro * batch) as u64;
        data.fill(first, micro * batch, &mut windows)?;
        let (rank, size) = self.place();
        let local = self.train.sync_every > 0;
        if local {
            self.begin_round().await?;
        }
        let program = self.micro_program();
        let dealt = (0..micro).map(|i| (i, i * rows..(i + 1) * rows));
        let mine: Vec<_> = dealt.filter(|(i, _)| i % size == rank).collect();
        let counted = |targets: &[u32]| match self.train.preference {
            Some(_) => targets.len() / (2 * self.seq),
            None => count_learnt(targets),
        };
        let learnt = match local {
            true => mine
                .iter()
                .map(|(_, tokens)| counted(&windows.targets[tokens.clone()]))
                .sum(),
            false => counted(&windows.targets),
        };
        let of = if local { mine.len() } else { micro };
        // Where runs are queued, sums stay on the device as long as one process makes them.
        let apart = of > 1 && ((size > 1 && !local) || !self.backend.queues());
        let mut run_params = self.run_params(rows, learnt);
        for (nth, (i, tokens)) in mine.into_iter().enumerate() {
            let counters = [self.step as u64, i as u64];
            run_params.seed = Rng::counted(self.train.seed, &counters).next_u64() as u32;
            self.micro[program].write(self.backend.as_mut(), &windows, tokens)?;
            if apart {
                let index = if local { nth } else { i };
                self.run_apart(program, Turn { index, of }, &run_params)
                    .await?;
            } else {
                self.backend.run(self.micro[program].id, &run_params)?;
            }
        }
        if apart {
            self.put_sums(program, of).await?;
        }
        let run_params = RunParams {
            pos: (self.step % model::HISTORY) as u32,
            ..run_params
        };
        self.backend.run(self.update.id, &run_params)?;
        self.step += 1;
        if local && self.meets_at(self.step) {
            self.end_round().await?;
        }
        self.pending.push(learnt);
        if self.teacher.is_some() || self.train.preference.is_some() {
            self.unread += learnt;
        }
        if report || !self.backend.queues() || self.pending.len() == model::HISTORY {
            return self.report().await;
        }
        self.backend.throttle().await?;
        Ok(Vec::new())
    }

    /// Whether all end here: rank 0 says so, where the ranks are at one model.
    pub(super) fn all_stop(&mut self, wanted: bool) -> Result<bool> {
        #[cfg(feature = "native")]
        if self.ranks.is_some() {
            return Ok(self.meets_at(self.step) && self.told(&wanted)?);
        }
        Ok(wanted)
    }

    /// Steps whose figures have been read back and found good.
    pub fn reported_step(&self) -> usize {
        self.step - self.pending.len()
    }

    /// Figures of the steps that have not been read back.
    pub async fn report(&mut self) -> Result<Vec<StepReport>> {
        if self.pending.is_empty() {
            return Ok(Vec::new());
        }
        let read = self
            .backend
            .read(self.update.id, &[self.update.history])
            .await?;
        let history: Vec<f32> = elements(&read[0]);
        let tokens = self.train.batch_size * self.seq * self.train.accumulation_steps;
        let steps = self.reported_step()..self.step;
        let mut reports = Vec::with_capacity(self.pending.len());
        for (step, learnt) in steps.zip(self.pending.clone()) {
            let at = step % model::HISTORY * STEP_FIGURES;
            let [loss, squares, bad] = [history[at], history[at + 1], history[at + 2]];
            let loss = f64::from(loss) / learnt.max(1) as f64;
            let grad_norm = f64::from(squares).sqrt();
            if !loss.is_finite() || !grad_norm.is_finite() {
                let cause = diagnose::not_finite(self).await?;
                return Err(Error::NotFinite {
                    step: step + 1,
                    loss,
                    parameter: self.trained().get(bad as usize).map(|p| p.name.clone()),
                    cause,
                });
            }
            reports.push(StepReport {
                step: step + 1,
                loss,
                grad_norm,
                lr: self.train.lr_at(step),
                tokens,
                learnt,
            });
        }
        self.pending.clear();
        Ok(reports)
    }

    /// Mean cross-entropy in nats over `windows` of the data (token offsets), with the hard
    /// quantizer; of preference pairs, their mean loss.
    pub async fn validation_loss(&mut self, data: &Batches, windows: &[usize]) -> Result<f64> {
        let sizes = [self.train.batch_size, self.seq];
        let place = self.place();
        let backend = self.backend.as_mut();
        let (losses, count) =
            window_losses(backend, &self.validate, sizes, place, data, windows).await?;
        let losses = match place {
            (_, 1) => losses,
            _ => self.all_losses(losses)?,
        };
        // In the order in which one process adds them up.
        let sum = losses.into_iter().fold(0.0, |a, b| a + b);
        let mut of = count;
        if self.train.preference.is_some() {
            of = windows.len() / 2;
            self.validated = Some(self.take_preferred(1, of).await?);
        }
        Ok(f64::from(sum) / of as f64)
    }

    /// Sums over the micro-batches of a validation, of which each rank has measured some; the
    /// others are 0.
    fn all_losses(&mut self, mine: Vec<f32>) -> Result<Vec<f32>> {
        #[cfg(feature = "native")]
        if let Some(ranks) = &mut self.ranks {
            return ranks.sum(mine).map_err(|e| self.rank_error(e));
        }
        Ok(mine)
    }

    /// The backend, with all that the training left on it.
    #[cfg(feature = "native")]
    pub(crate) fn into_backend(self) -> Box<dyn Backend> {
        self.backend
    }

    /// What is allocated.
    pub fn memory(&self) -> MemoryPlan {
        let trained = self.trained().iter().map(Param::len).sum();
        MemoryPlan::from(self.backend.memory()).beside(self.backend.as_ref(), &self.train, trained)
    }

    /// Squared gradient norms of the last step, one per parameter in the order of
    /// [`Trainer::trained`].
    pub async fn squared_gradients(&mut self) -> Result<Vec<f32>> {
        let read = self
            .backend
            .read(self.update.id, &[self.update.norms])
            .await?;
        Ok(elements(&read[0]))
    }

    /// Values of a parameter.
    pub async fn parameter(&mut self, name: &str) -> Result<Vec<f32>> {
        self.buffer(&BufferKind::Param.named(name)).await
    }

    /// Any shared f32 buffer ("param.…", "m.…", "v.…").
    pub async fn buffer(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(elements(&self.backend.download(name).await?))
    }

    /// Overwrite a shared f32 buffer; its size must fit.
    pub fn set_buffer(&mut self, name: &str, values: &[f32]) -> Result<()> {
        Ok(self.backend.upload(name, bytemuck::cast_slice(values))?)
    }
}
