//! One model being trained on one backend: recorded programs, parameters, steps. No files, no clocks.

use super::diagnose;
use crate::backend::{Backend, ProgramId, elements};
use crate::config::{ModelConfig, TrainConfig};
use crate::data::{BatchSource, Batches};
use crate::error::{Error, Result};
use crate::model::{self, Objective, TrainProgram, params};
use crate::program::{BufferId, Elem, Knobs};
use crate::quant::anneal_alpha;
use crate::rng::Rng;

/// Figures of one optimiser step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Mean cross-entropy of the step's tokens, nats.
    pub loss: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    pub lr: f64,
    pub tokens: usize,
}

struct Step {
    id: ProgramId,
    ids: BufferId,
    targets: BufferId,
    losses: BufferId,
}

/// A model, its optimiser and a backend, one step at a time; [`run`](super::run) adds files.
///
/// ```
/// use ternary_core::backend::cpu::CpuBackend;
/// use ternary_core::config::{ModelConfig, TrainConfig};
/// use ternary_core::data::{Batches, TokenData};
/// use ternary_core::train::Trainer;
///
/// let config = ModelConfig {
///     vocab_size: 10, hidden_size: 16, num_heads: 2, num_layers: 1, intermediate_size: 32, max_seq_len: 8,
///     embed_init_std: 0.02, ..ModelConfig::default()
/// };
/// let train = TrainConfig { lr: 0.02, lr_warmup_steps: 0, max_steps: 30, ..TrainConfig::default() };
/// let ids: Vec<u32> = (0..500).map(|i| i % 10).collect();
/// let mut batches = Batches::new(&TokenData::from_ids(&ids, 10)?, 8, 1, 10)?;
/// let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config, train)?;
/// let first = pollster::block_on(trainer.step(&mut batches))?;
/// for _ in 0..29 {
///     pollster::block_on(trainer.step(&mut batches))?;
/// }
/// let windows = batches.fixed(4);
/// assert!(pollster::block_on(trainer.validation_loss(&batches, &windows))? < first.loss);
/// # Ok::<(), ternary_core::Error>(())
/// ```
pub struct Trainer {
    backend: Box<dyn Backend>,
    pub config: ModelConfig,
    pub train: TrainConfig,
    pub seq: usize,
    micro: Step,
    validate: Step,
    update: (ProgramId, BufferId),
    /// Optimiser steps done.
    pub step: usize,
}

impl Trainer {
    /// Record the programs and give every parameter its initial value.
    pub fn new(
        mut backend: Box<dyn Backend>,
        config: ModelConfig,
        train: TrainConfig,
    ) -> Result<Self> {
        config.validate()?;
        train.validate()?;
        let seq = train.seq_len.unwrap_or(config.max_seq_len);
        if seq > config.max_seq_len {
            return Err(Error::Training(format!(
                "seq_len {seq} is longer than max_seq_len {}",
                config.max_seq_len
            )));
        }
        for p in params::all(&config) {
            let values = p.init(&config, train.seed);
            backend.upload(
                &format!("param.{}", p.name),
                Elem::F32,
                bytemuck::cast_slice(&values),
            )?;
        }
        if config.use_rope {
            let table =
                model::rope_values(config.max_seq_len, config.head_dim(), config.rope_theta);
            backend.upload(model::ROPE_TABLE, Elem::F32, bytemuck::cast_slice(&table))?;
        }
        let objective = Objective {
            z_loss: train.z_loss as f32,
            dropout: train.dropout as f32,
        };
        let mut prepare = |backward: bool| -> Result<Step> {
            let TrainProgram {
                program,
                ids,
                targets,
                losses,
            } = model::record_train(&config, train.batch_size, seq, objective, backward);
            Ok(Step {
                id: backend.prepare(program)?,
                ids,
                targets,
                losses,
            })
        };
        let micro = prepare(true)?;
        let validate = prepare(false)?;
        let update = model::record_update(&config, &train);
        let update = (backend.prepare(update.program)?, update.norms);
        Ok(Trainer {
            backend,
            config,
            train,
            seq,
            micro,
            validate,
            update,
            step: 0,
        })
    }

    /// Sum of the losses of one micro-batch.
    async fn run(
        &mut self,
        validate: bool,
        ids: &[u32],
        targets: &[u32],
        knobs: &Knobs,
    ) -> Result<f64> {
        let step = if validate {
            &self.validate
        } else {
            &self.micro
        };
        self.backend
            .write(step.id, step.ids, bytemuck::cast_slice(ids))?;
        self.backend
            .write(step.id, step.targets, bytemuck::cast_slice(targets))?;
        self.backend.run(step.id, knobs)?;
        let read = self.backend.read(step.id, &[step.losses]).await?;
        let losses: Vec<f32> = elements(&read[0]);
        Ok(losses[..ids.len()].iter().map(|l| f64::from(*l)).sum())
    }

    /// Knobs of the step about to be made.
    fn knobs(&self, rows: usize) -> Knobs {
        let (t, c) = (self.step + 1, &self.train);
        let bias = |beta: f64| (1.0 / (1.0 - libm::pow(beta, t as f64))) as f32;
        Knobs {
            rows: rows as u32,
            grad_scale: 1.0 / (rows * c.accumulation_steps) as f32,
            anneal: anneal_alpha(self.step, c.max_steps, self.config.anneal_fraction),
            arenas: self.config.arenas_at(self.step),
            lr: c.lr_at(self.step) as f32,
            weight_decay: c.weight_decay_at(self.step) as f32,
            bias1: bias(c.beta1),
            bias2: bias(c.beta2),
            ..Knobs::default()
        }
    }

    /// One optimiser step: `accumulation_steps` micro-batches, then the update. A loss that is not finite stops before the update, so
    /// the parameters stay those of the last good step.
    pub async fn step(&mut self, data: &mut dyn BatchSource) -> Result<StepReport> {
        let (batch, micro) = (self.train.batch_size, self.train.accumulation_steps);
        let rows = batch * self.seq;
        let mut knobs = self.knobs(rows);
        let mut loss = 0.0;
        for i in 0..micro {
            let first = ((self.step * micro + i) * batch) as u64;
            let (mut ids, mut targets) = (Vec::new(), Vec::new());
            data.fill(first, batch, &mut ids, &mut targets)?;
            let counters = [self.step as u64, i as u64];
            knobs.seed = Rng::counted(self.train.seed, &counters).next_u64() as u32;
            loss += self.run(false, &ids, &targets, &knobs).await?;
        }
        let loss = loss / (rows * micro) as f64;
        if !loss.is_finite() {
            let cause = diagnose::not_finite(self).await?;
            return Err(Error::Training(format!(
                "the loss is {loss} at step {}: {cause}; lower --lr, raise --lr-warmup-steps or check the data",
                self.step + 1
            )));
        }
        self.backend.run(self.update.0, &knobs)?;
        let read = self.backend.read(self.update.0, &[self.update.1]).await?;
        let norms: Vec<f32> = elements(&read[0]);
        let grad_norm = norms.iter().map(|n| f64::from(*n)).sum::<f64>().sqrt();
        if !grad_norm.is_finite() {
            let all = params::all(&self.config);
            let at = norms.iter().position(|n| !n.is_finite()).unwrap_or(0);
            return Err(Error::Training(format!(
                "the gradient of {} is not finite at step {}; lower --lr or raise --lr-warmup-steps",
                all[at].name,
                self.step + 1
            )));
        }
        self.step += 1;
        Ok(StepReport {
            step: self.step,
            loss,
            grad_norm,
            lr: f64::from(knobs.lr),
            tokens: rows * micro,
        })
    }

    /// Mean cross-entropy in nats over `windows` of the data (token offsets), with the hard quantiser.
    pub async fn validation_loss(&mut self, data: &Batches, windows: &[usize]) -> Result<f64> {
        let batch = self.train.batch_size;
        let (mut sum, mut count) = (0.0, 0usize);
        for part in windows.chunks(batch) {
            let (mut ids, mut targets) = (Vec::new(), Vec::new());
            for at in part {
                data.window(*at, &mut ids, &mut targets)?;
            }
            count += ids.len();
            // A short last batch is padded; padded targets are ignored.
            ids.resize(batch * self.seq, 0);
            targets.resize(batch * self.seq, u32::MAX);
            let knobs = Knobs {
                rows: ids.len() as u32,
                ..Knobs::default()
            };
            sum += self.run(true, &ids, &targets, &knobs).await?;
        }
        Ok(sum / count.max(1) as f64)
    }

    /// Squared gradient norms of the last step, one per parameter in the order of [`params::all`].
    pub async fn squared_gradients(&mut self) -> Result<Vec<f32>> {
        let read = self.backend.read(self.update.0, &[self.update.1]).await?;
        Ok(elements(&read[0]))
    }

    /// Values of a parameter.
    pub async fn parameter(&mut self, name: &str) -> Result<Vec<f32>> {
        self.buffer(&format!("param.{name}")).await
    }

    /// Any shared f32 buffer ("param.…", "m.…", "v.…").
    pub async fn buffer(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(elements(&self.backend.download(name).await?))
    }

    /// Overwrite a shared f32 buffer; its size must fit.
    pub fn set_buffer(&mut self, name: &str, values: &[f32]) -> Result<()> {
        Ok(self
            .backend
            .upload(name, Elem::F32, bytemuck::cast_slice(values))?)
    }
}
