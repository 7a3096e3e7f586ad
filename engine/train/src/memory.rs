//! What a training run allocates, known before it does.

use std::fmt;

use super::start::check_relations;
use super::trainer::{Programs, seq_len};
use crate::error::{Error, MemoryShortage, Result};
use ternary_backend::{Backend, DeviceKind, MemoryLimits, MemoryUse};
use ternary_common::bytes::Size;
use ternary_core::config::{LoraConfig, ModelConfig, TrainConfig};
use ternary_core::params::{self, Param};
use ternary_model::program::BufferKind;

/// Bytes that training takes on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// f32 latents; with adapters, the frozen model's weights besides.
    pub parameters: u64,
    /// f32, of everything that is trained.
    pub gradients: u64,
    /// AdamW's m and v.
    pub moments: u64,
    /// Activations, forward weights and their gradients within a step, after sharing.
    pub activations: u64,
    /// Batches, losses, tables, a teacher, sums over micro-batches.
    pub other: u64,
    /// The largest single buffer.
    pub largest: u64,
}

impl MemoryPlan {
    /// The plan of training `config` by `train` on an empty backend of this kind.
    pub fn new(backend: &dyn Backend, config: &ModelConfig, train: &TrainConfig) -> Result<Self> {
        Self::with_teacher(backend, config, train, None)
    }

    /// As [`MemoryPlan::new`], with the model that is learnt from.
    pub fn with_teacher(
        backend: &dyn Backend,
        config: &ModelConfig,
        train: &TrainConfig,
        teacher: Option<&ModelConfig>,
    ) -> Result<Self> {
        config.validate()?;
        train.validate()?;
        if let Some(lora) = &train.lora {
            lora.validate(config)?;
        }
        if let Some(teacher) = teacher {
            check_relations(config, train, teacher)?;
        }
        let programs = Programs::record(config, train, teacher, seq_len(config, train)?);
        let trained = params::trained(config, train.lora.as_ref());
        let trained = trained.iter().map(Param::len).sum();
        let mut plan = Self::from(backend.plan(&programs.all()));
        if train.sync_every > 0 {
            plan.other += 4 * trained as u64;
        }
        Ok(plan.beside(backend, train, trained))
    }

    /// With what a trainer keeps beside the backend: sums of gradients over micro-batches, and what
    /// a round of local steps began with. It counts where the backend's memory is the same.
    pub(super) fn beside(
        mut self,
        backend: &dyn Backend,
        train: &TrainConfig,
        trained: usize,
    ) -> Self {
        if backend.info().kind == DeviceKind::Cpu {
            let sums = usize::from(train.accumulation_steps > 1);
            let starts = usize::from(train.sync_every > 0);
            self.other += (4 * trained * (sums + starts)) as u64;
        }
        self
    }

    /// Bytes of everything together.
    pub fn total(&self) -> u64 {
        self.parameters + self.gradients + self.moments + self.activations + self.other
    }

    fn fits(&self, limits: &MemoryLimits) -> bool {
        limits.buffer.is_none_or(|most| self.largest <= most)
            && limits.total.is_none_or(|most| self.total() <= most)
    }
}

impl From<MemoryUse> for MemoryPlan {
    fn from(used: MemoryUse) -> Self {
        let of = |kind: BufferKind| -> u64 {
            let all = used.shared.iter();
            let matching = all.filter(|(name, _)| BufferKind::of(name) == Some(kind));
            matching.map(|(_, bytes)| bytes).sum()
        };
        let parameters = of(BufferKind::Param) + of(BufferKind::Frozen);
        let gradients = of(BufferKind::Grad);
        let moments = of(BufferKind::FirstMoment) + of(BufferKind::SecondMoment);
        MemoryPlan {
            parameters,
            gradients,
            moments,
            activations: used.scratch,
            other: used.total() - used.scratch - parameters - gradients - moments,
            largest: used.largest,
        }
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (parameters {}, gradients {}, moments {}, activations {}, other {})",
            Size(self.total()),
            Size(self.parameters),
            Size(self.gradients),
            Size(self.moments),
            Size(self.activations),
            Size(self.other)
        )
    }
}

/// An error if `plan` is more than `limits` allow: it says which batch size would fit.
pub(super) fn check(
    backend: &dyn Backend,
    config: &ModelConfig,
    train: &TrainConfig,
    teacher: Option<&ModelConfig>,
    plan: &MemoryPlan,
    limits: &MemoryLimits,
    has_base: bool,
) -> Result<()> {
    if plan.fits(limits) {
        return Ok(());
    }
    let fitting_batch = largest_batch(backend, config, train, teacher, limits)?;
    let adapter = TrainConfig {
        batch_size: 1,
        lora: Some(LoraConfig::default()),
        ..train.clone()
    };
    let adapter_fits = has_base
        && train.lora.is_none()
        && MemoryPlan::with_teacher(backend, config, &adapter, teacher)?.fits(limits);
    Err(Error::Memory(Box::new(MemoryShortage {
        plan: *plan,
        limits: *limits,
        device: backend.info().kind,
        fitting_batch,
        adapter_fits,
    })))
}

/// The largest batch size below the one asked for whose plan fits.
fn largest_batch(
    backend: &dyn Backend,
    config: &ModelConfig,
    train: &TrainConfig,
    teacher: Option<&ModelConfig>,
    limits: &MemoryLimits,
) -> Result<Option<usize>> {
    let fits = |batch_size: usize| -> Result<bool> {
        let train = TrainConfig {
            batch_size,
            ..train.clone()
        };
        Ok(MemoryPlan::with_teacher(backend, config, &train, teacher)?.fits(limits))
    };
    // The plan of `low` fits (0 stands for none), that of `high` does not.
    let (mut low, mut high) = (0, train.batch_size);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok((low > 0).then_some(low))
}

#[cfg(test)]
#[cfg(feature = "native")]
mod tests {
    use super::super::Trainer;
    use super::*;
    use ternary_backend::cpu::CpuBackend;

    fn config() -> ModelConfig {
        ModelConfig {
            vocab_size: 50,
            hidden_size: 32,
            num_heads: 4,
            num_layers: 2,
            intermediate_size: 64,
            max_seq_len: 32,
            ..ModelConfig::default()
        }
    }

    fn train(max_steps: usize) -> TrainConfig {
        TrainConfig {
            max_steps,
            batch_size: 4,
            lr_warmup_steps: 0,
            ..TrainConfig::default()
        }
    }

    #[test]
    fn the_plan_is_what_is_allocated() {
        let plan = MemoryPlan::new(&CpuBackend::new(1), &config(), &train(1)).unwrap();
        let trainer = Trainer::new(Box::new(CpuBackend::new(1)), config(), train(1)).unwrap();
        assert_eq!(plan, trainer.memory());
        let floats = 4 * config().parameter_count() as u64;
        assert_eq!((plan.parameters, plan.gradients), (floats, floats));
        assert_eq!(plan.moments, 2 * floats);
        let (wide, alone) = (
            TrainConfig {
                accumulation_steps: 2,
                sync_every: 1,
                save_every: 1,
                eval_every: 1,
                ..train(1)
            },
            plan.other,
        );
        let plan = MemoryPlan::new(&CpuBackend::new(1), &config(), &wide).unwrap();
        let trainer = Trainer::new(Box::new(CpuBackend::new(1)), config(), wide).unwrap();
        assert_eq!(plan, trainer.memory());
        assert_eq!(plan.other, alone + 3 * floats);
    }

    #[test]
    fn what_does_not_fit_says_which_batch_would() {
        let (backend, config) = (CpuBackend::new(1), config());
        let wanted = TrainConfig {
            batch_size: 64,
            ..train(1)
        };
        let plan = |batch_size| {
            let train = TrainConfig {
                batch_size,
                ..wanted.clone()
            };
            MemoryPlan::new(&backend, &config, &train).unwrap()
        };
        let check = |limits| check(&backend, &config, &wanted, None, &plan(64), &limits, false);
        let total = |bytes| MemoryLimits {
            total: Some(bytes),
            ..MemoryLimits::default()
        };
        assert!(check(total(plan(64).total())).is_ok());
        let error = check(total(plan(10).total())).unwrap_err().to_string();
        assert!(error.contains("--batch-size 10 would fit"), "{error}");
        let error = check(total(plan(10).total() - 1)).unwrap_err().to_string();
        assert!(error.contains("--batch-size 9 would fit"), "{error}");
        let error = check(total(100)).unwrap_err().to_string();
        assert!(error.contains("no batch size would"), "{error}");
        let buffer = MemoryLimits {
            buffer: Some(plan(64).largest - 1),
            ..MemoryLimits::default()
        };
        assert!(
            check(buffer)
                .unwrap_err()
                .to_string()
                .contains("--batch-size")
        );
    }

    #[test]
    fn where_no_batch_fits_an_adapter_may() {
        let (backend, config) = (CpuBackend::new(1), config());
        let all = TrainConfig {
            batch_size: 1,
            ..train(1)
        };
        let adapter = TrainConfig {
            lora: Some(LoraConfig::default()),
            ..all.clone()
        };
        let plan = |train: &TrainConfig| MemoryPlan::new(&backend, &config, train).unwrap();
        let limits = MemoryLimits {
            total: Some(plan(&adapter).total()),
            ..MemoryLimits::default()
        };
        assert!(plan(&all).total() > plan(&adapter).total());
        let advice = |train: &TrainConfig, has_base| {
            let problem = check(
                &backend,
                &config,
                train,
                None,
                &plan(train),
                &limits,
                has_base,
            );
            problem.unwrap_err().to_string()
        };
        let told = advice(&all, true);
        assert!(told.contains("--mode lora"), "{told}");
        // There is nothing to stand beside yet.
        let told = advice(&all, false);
        assert!(told.contains("a smaller model"), "{told}");
    }
}
