//! How a model is trained.

use serde::{Deserialize, Serialize};

use super::strict::{check_fields, typed};
use super::{ConfigError, LoraConfig, ModelConfig, QuantMode};

/// Steps, sequences and the like, at most: their products are counted in 64 bits.
const MOST: usize = 1 << 31;

/// Muon's momentum before it rises.
const MUON_FIRST_MOMENTUM: f64 = 0.85;

/// Shape of the learning rate after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrDecay {
    /// Half a cosine from the peak to `lr_min_ratio` of it.
    Cosine,
    /// A straight line from the peak to `lr_min_ratio` of it.
    Linear,
    /// The peak, then the cool-down (`lr_cooldown_fraction`) if there is one.
    Constant,
    /// Linear, multiplied by `lr_stage2_ratio` from `lr_stage2_start` on: the drop lets ternary
    /// weights settle (Ma et al. 2024, training tips for b1.58). Goes with `weight_decay_fraction`
    /// at the same step.
    TwoStage,
}

/// How matrices of the layers are changed by their gradients; everything else always by AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// AdamW (Loshchilov & Hutter 2019).
    AdamW,
    /// Muon (Jordan et al. 2024): the momentum's nearest half-orthogonal matrix, found by
    /// Newton–Schulz steps, as long as a step of AdamW (times 0.2·√max(rows, cols), Liu et al.
    /// 2025).
    Muon,
}

/// What is learnt from pairs of a preferred and a rejected answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// Direct preference optimization (Rafailov et al. 2023).
    Dpo,
}

/// What a token sees of the sequence that it is packed into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// All that is before it, documents that have ended included.
    #[default]
    Whole,
    /// Its own document only, whose positions begin at 0.
    Documents,
}

/// Optimizer, schedule and batch. Command-line flags override these field by field.
///
/// ```
/// use ternary_core::config::TrainConfig;
///
/// let json = serde_json::json!({"lr": 4e-3, "lr_warmup_steps": 100, "max_steps": 2000});
/// let train = TrainConfig::from_value(json)?;
/// assert_eq!(train.lr_at(99), 4e-3);
/// let e = TrainConfig::from_value(serde_json::json!({"max_step": 10})).unwrap_err();
/// assert!(e.to_string().contains("did you mean `max_steps`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Of the layers' matrices.
    pub optimizer: Optimizer,
    /// Peak learning rate.
    pub lr: f64,
    /// Muon's peak rate; `lr` when unset. It follows the same schedule.
    pub muon_lr: Option<f64>,
    /// Muon's momentum.
    pub muon_momentum: f64,
    /// Steps over which the momentum rises linearly from 0.85.
    pub muon_warmup_steps: usize,
    /// Newton–Schulz steps.
    pub muon_iterations: usize,
    /// From the peak to the end.
    pub lr_decay: LrDecay,
    /// Steps over which the rate rises from 0 to its peak.
    pub lr_warmup_steps: usize,
    /// The schedule ends at this share of the peak.
    pub lr_min_ratio: f64,
    /// Last share of the steps in which a constant rate falls linearly to its end; 0 = never.
    pub lr_cooldown_fraction: f64,
    /// Share of the steps after which the second stage begins.
    pub lr_stage2_start: f64,
    /// What the second stage multiplies the rate by.
    pub lr_stage2_ratio: f64,
    /// Optimizer steps in all.
    pub max_steps: usize,
    /// Sequences per micro-batch.
    pub batch_size: usize,
    /// Tokens per sequence; the model's `max_seq_len` when unset.
    pub seq_len: Option<usize>,
    /// Micro-batches per optimizer step.
    pub accumulation_steps: usize,
    /// Steps that each of several processes makes by itself before all go on from one model; 0 =
    /// none: gradients are summed in every step.
    pub sync_every: usize,
    /// Rate of the step that they make together then.
    pub outer_lr: f64,
    /// Its Nesterov momentum.
    pub outer_momentum: f64,
    /// AdamW's decay of the first moment.
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment, so that nothing is divided by 0.
    pub eps: f64,
    /// Decoupled (AdamW), on matrices only.
    pub weight_decay: f64,
    /// Share of the steps with weight decay; none afterwards.
    pub weight_decay_fraction: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub clip_norm: f64,
    /// Weight of the squared log-partition (z-loss, PaLM §5.1).
    pub z_loss: f64,
    /// Rate of dropout on the embedding and on every branch before it joins the residual stream.
    pub dropout: f64,
    /// Steps between checkpoints; 0 = only at the end.
    pub save_every: usize,
    /// Newest checkpoints kept.
    pub keep_last: usize,
    /// Save whenever a validation gives the lowest loss so far, and keep that checkpoint besides.
    pub keep_best: bool,
    /// Stop when so many validations in a row have brought no lower loss; 0 = never. The best
    /// checkpoint must be kept.
    pub early_stop_patience: usize,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: usize,
    /// Steps between validations; 0 = only at the end.
    pub eval_every: usize,
    /// Validation batches per measurement.
    pub eval_batches: usize,
    /// Steps between statistics of every matrix (`layers.jsonl`); 0 = none, unset = with each
    /// validation. Adapters have none.
    pub stats_every: Option<usize>,
    /// Of everything random: initial weights, order of the data, dropout.
    pub seed: u64,
    /// Windows shuffled together when texts are streamed; three times as many are in memory.
    pub shuffle_buffer: usize,
    /// What a token sees of its sequence, as the data were marked; whole when unset.
    pub packing: Option<Packing>,
    /// Train low-rank adapters beside the frozen model; unset = train the model itself.
    pub lora: Option<LoraConfig>,
    /// Modes that the layers' matrices are in by turns, so that one checkpoint serves many
    /// bit-maps; none = always those of the bit-map.
    pub random_modes: Vec<QuantMode>,
    /// With a teacher: w of (1 − w)·cross-entropy + w·T²·KL(teacher ‖ student) (Hinton et al.
    /// 2015).
    pub distill_weight: f64,
    /// T: both distributions are softmax(logits / T).
    pub distill_temperature: f64,
    /// With a teacher: weights of the divergences between how queries, keys and values of a layer
    /// relate to each other, and how the teacher's do (MiniLMv2, Wang et al. 2021); 0 = off.
    pub distill_relations: [f64; 3],
    /// The layer whose relations are learnt, from 0; the last when unset. The teacher's is the one
    /// at the same share of its depth.
    pub distill_relation_layer: Option<usize>,
    /// Learn which of two answers is preferred, with adapters: the model without them is the
    /// reference. Sequences then are pairs, and `batch_size` counts both.
    pub preference: Option<Preference>,
    /// β of −ln σ(β·(ln(π/π_ref) of the preferred answer − that of the rejected one)).
    pub preference_beta: f64,
    /// Share of the steps over which the weights of the forward pass go from floats to their
    /// quantized values, (1 − λ)·W + λ·Q(W) with λ from 0 to 1: for a training that starts from a
    /// float model.
    pub quantize_fraction: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            optimizer: Optimizer::AdamW,
            lr: 1e-3,
            muon_lr: None,
            muon_momentum: 0.95,
            muon_warmup_steps: 300,
            muon_iterations: 5,
            lr_decay: LrDecay::Cosine,
            lr_warmup_steps: 100,
            lr_min_ratio: 0.1,
            lr_cooldown_fraction: 0.0,
            lr_stage2_start: 0.5,
            lr_stage2_ratio: 0.6,
            max_steps: 1000,
            batch_size: 8,
            seq_len: None,
            accumulation_steps: 1,
            sync_every: 0,
            outer_lr: 0.7,
            outer_momentum: 0.9,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            weight_decay_fraction: 1.0,
            clip_norm: 1.0,
            z_loss: 0.0,
            dropout: 0.0,
            save_every: 500,
            keep_last: 3,
            keep_best: true,
            early_stop_patience: 0,
            log_every: 10,
            eval_every: 100,
            eval_batches: 20,
            stats_every: None,
            seed: 1,
            shuffle_buffer: 8192,
            packing: None,
            lora: None,
            random_modes: Vec::new(),
            distill_weight: 0.5,
            distill_temperature: 2.0,
            distill_relations: [0.0; 3],
            distill_relation_layer: None,
            preference: None,
            preference_beta: 0.1,
            quantize_fraction: 0.0,
        }
    }
}

impl TrainConfig {
    /// The peak rate of a fine-tuning of `config`'s model, or of adapters beside it: measured on
    /// held-out text (docs/results.md). Codes turn where a latent crosses a threshold, which takes
    /// larger steps than weights that are used as they are; adapters begin as nothing and take
    /// larger ones than either.
    pub fn finetune_lr(config: &ModelConfig, adapters: bool) -> f64 {
        let map = config.bit_map();
        let has_codes = map
            .layer_modes
            .iter()
            .any(|layer| config.matrices().any(|kind| layer.get(kind).is_latent()));
        match (has_codes, adapters) {
            (true, false) => 2e-3,
            (true, true) => 5e-3,
            (false, false) => 1e-4,
            (false, true) => 1e-3,
        }
    }

    /// What fine-tuning starts from: [that rate](Self::finetune_lr), no decay, and a warm-up of 3 %
    /// of the steps ([`Self::finetune_warmup`]).
    pub fn finetune(config: &ModelConfig, lora: Option<LoraConfig>) -> Self {
        let base = TrainConfig {
            lr: Self::finetune_lr(config, lora.is_some()),
            weight_decay: 0.0,
            max_steps: 500,
            lora,
            ..TrainConfig::default()
        };
        TrainConfig {
            lr_warmup_steps: Self::finetune_warmup(base.max_steps),
            ..base
        }
    }

    /// Warm-up steps of a fine-tuning of `max_steps`.
    pub fn finetune_warmup(max_steps: usize) -> usize {
        (0.03 * max_steps as f64).round() as usize
    }

    /// Parse and check the `training` part of a config.
    pub fn from_value(value: serde_json::Value) -> Result<Self, ConfigError> {
        check_fields("train config", &Self::default(), &value)?;
        let config: Self = typed("train config", value)?;
        config.validate()?;
        Ok(config)
    }

    /// Refuse values that are out of range or contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.lora.is_some() && !self.random_modes.is_empty() {
            return Err(ConfigError::Invalid(
                "training config: random_modes changes the modes of a model that lora keeps frozen; use one of them".into(),
            ));
        }
        if self.lora.is_some() && self.optimizer == Optimizer::Muon {
            return Err(ConfigError::Invalid(
                "training config: optimizer muon is for the layers' matrices, which lora keeps frozen; leave it out".into(),
            ));
        }
        let fail = |message: String| Err(ConfigError::Invalid(message));
        if self.early_stop_patience > 0 && (!self.keep_best || self.eval_every == 0) {
            return fail(
                "early_stop_patience needs keep_best and eval_every: it stops at a model that was measured and kept".into(),
            );
        }
        for (name, every) in [
            ("save_every", self.save_every),
            ("eval_every", self.eval_every),
        ] {
            if self.sync_every > 0 && !every.is_multiple_of(self.sync_every) {
                return fail(format!(
                    "{name} is {every}, sync_every {}: between two synchronizations there is no one model to save or to measure; make {name} a multiple of sync_every",
                    self.sync_every
                ));
            }
        }
        if self.muon_lr.is_some() && self.optimizer != Optimizer::Muon {
            return fail(
                "muon_lr is set, but optimizer is adamw, which has one rate for all; set optimizer to muon, or leave muon_lr out".into(),
            );
        }
        if self.preference.is_some() {
            if self.lora.is_none() {
                return fail(
                    "preference needs lora: the model without its adapters is the reference".into(),
                );
            }
            if self.z_loss > 0.0 {
                return fail(
                    "preference compares answers, z_loss is of single tokens; leave it out".into(),
                );
            }
            if !self.batch_size.is_multiple_of(2) {
                return fail(format!(
                    "batch_size is {}; with preference it must be even: sequences come in pairs",
                    self.batch_size
                ));
            }
        }
        if self.lora.is_some() && self.stats_every.is_some_and(|every| every > 0) {
            return fail(
                "stats_every has nothing to say about adapters: the codes beside them never change; leave it out".into(),
            );
        }
        for (name, value) in [
            ("batch_size", self.batch_size),
            ("accumulation_steps", self.accumulation_steps),
            ("max_steps", self.max_steps),
            ("log_every", self.log_every),
            ("keep_last", self.keep_last),
            ("shuffle_buffer", self.shuffle_buffer),
            ("seq_len", self.seq_len.unwrap_or(1)),
        ] {
            if value == 0 {
                return fail(format!("{name} is 0; it must be at least 1"));
            }
            if value > MOST {
                return fail(format!(
                    "{name} is {value}; the largest supported value is {MOST}"
                ));
            }
        }
        let batch = self.batch_size * self.accumulation_steps;
        if batch > MOST {
            return fail(format!(
                "batch_size {} and accumulation_steps {} make steps of {batch} sequences; at most {MOST} are supported",
                self.batch_size, self.accumulation_steps
            ));
        }
        for (name, value, low, high) in [
            ("lr", self.lr, 0.0, 10.0),
            ("muon_lr", self.muon_lr.unwrap_or(0.0), 0.0, 10.0),
            ("muon_momentum", self.muon_momentum, 0.0, 0.999_999),
            ("muon_iterations", self.muon_iterations as f64, 1.0, 20.0),
            ("outer_lr", self.outer_lr, 0.0, 10.0),
            ("outer_momentum", self.outer_momentum, 0.0, 0.999_999),
            ("lr_min_ratio", self.lr_min_ratio, 0.0, 1.0),
            ("lr_cooldown_fraction", self.lr_cooldown_fraction, 0.0, 1.0),
            ("lr_stage2_start", self.lr_stage2_start, 0.0, 1.0),
            ("lr_stage2_ratio", self.lr_stage2_ratio, 0.0, 1.0),
            (
                "weight_decay_fraction",
                self.weight_decay_fraction,
                0.0,
                1.0,
            ),
            ("dropout", self.dropout, 0.0, 0.99),
            ("beta1", self.beta1, 0.0, 0.999_999),
            ("beta2", self.beta2, 0.0, 0.999_999),
            // Above 0 as an f32, too: a weight that never had a gradient divides by it.
            ("eps", self.eps, 1e-30, 1.0),
            ("weight_decay", self.weight_decay, 0.0, 10.0),
            ("clip_norm", self.clip_norm, 0.0, f64::MAX),
            ("z_loss", self.z_loss, 0.0, 1.0),
            ("distill_weight", self.distill_weight, 0.0, 1.0),
            ("distill_temperature", self.distill_temperature, 0.1, 100.0),
            // As an f32 above 0, too.
            ("preference_beta", self.preference_beta, 1e-6, 100.0),
            ("quantize_fraction", self.quantize_fraction, 0.0, 1.0),
            ("distill_relations", self.distill_relations[0], 0.0, 1e6),
            ("distill_relations", self.distill_relations[1], 0.0, 1e6),
            ("distill_relations", self.distill_relations[2], 0.0, 1e6),
        ] {
            if !(low..=high).contains(&value) {
                return fail(format!(
                    "{name} is {value}; it must be between {low} and {high}"
                ));
            }
        }
        Ok(())
    }

    /// How much of a quantized weight is still a float at `step` (0-based): from 1 to 0 over
    /// `quantize_fraction` of the steps.
    pub fn float_share_at(&self, step: usize) -> f32 {
        let span = libm::floor(self.max_steps as f64 * self.quantize_fraction);
        if (step as f64) < span {
            (1.0 - step as f64 / span) as f32
        } else {
            0.0
        }
    }

    /// Learning rate at `step` (0-based): linear warm-up, then the chosen decay.
    pub fn lr_at(&self, step: usize) -> f64 {
        if step < self.lr_warmup_steps {
            return self.lr * (step + 1) as f64 / self.lr_warmup_steps as f64;
        }
        let span = self.max_steps.saturating_sub(self.lr_warmup_steps).max(1);
        let t = ((step - self.lr_warmup_steps) as f64 / span as f64).min(1.0);
        let low = self.lr * self.lr_min_ratio;
        let linear = |t: f64| self.lr + (low - self.lr) * t;
        match self.lr_decay {
            LrDecay::Constant => {
                let left = self.max_steps as f64 * self.lr_cooldown_fraction;
                let into = step as f64 - (self.max_steps as f64 - left);
                linear(if into > 0.0 { into / left } else { 0.0 })
            }
            LrDecay::Linear => linear(t),
            LrDecay::TwoStage => {
                let second = step >= self.share_of_steps(self.lr_stage2_start);
                linear(t) * if second { self.lr_stage2_ratio } else { 1.0 }
            }
            LrDecay::Cosine => {
                low + (self.lr - low) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * t))
            }
        }
    }

    /// Muon's momentum at `step` (0-based).
    pub fn muon_momentum_at(&self, step: usize) -> f64 {
        let start = MUON_FIRST_MOMENTUM.min(self.muon_momentum);
        let risen = (step + 1) as f64 / self.muon_warmup_steps.max(1) as f64;
        start + (self.muon_momentum - start) * risen.min(1.0)
    }

    /// Muon's rate beside `lr`.
    pub fn muon_ratio(&self) -> f64 {
        match self.muon_lr {
            Some(rate) if self.lr > 0.0 => rate / self.lr,
            _ => 1.0,
        }
    }

    /// Weight decay at `step` (0-based).
    pub fn weight_decay_at(&self, step: usize) -> f64 {
        if step < self.share_of_steps(self.weight_decay_fraction) {
            self.weight_decay
        } else {
            0.0
        }
    }

    fn share_of_steps(&self, share: f64) -> usize {
        (self.max_steps as f64 * share).round() as usize
    }
}
