//! Speed of training steps, of random models on random tokens.

use ternary_backend::Backend;
use ternary_common::data::{Batches, TokenData};
use ternary_common::platform::Instant;
use ternary_core::config::{ModelConfig, TrainConfig, WeightScale};
use ternary_core::rng::Rng;
use ternary_train::Trainer;

use crate::error::Result;

/// A model to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainShape {
    /// 2 layers, hidden 64, FFN 128, context 32, vocabulary 65; batch 4.
    Tiny,
    /// 4 layers, hidden 128, FFN 512, context 64, vocabulary 65; batch 12.
    Small,
    /// 6 layers, hidden 256, SwiGLU 688, context 256, vocabulary 65; batch 8.
    M5,
    /// 8 layers, hidden 512, SwiGLU 1472, context 512, vocabulary 50257, untied; batch 4.
    M78,
    /// 24 layers, hidden 1024, SwiGLU 2752, context 1024, vocabulary 50257; batch 4.
    M350,
}

impl TrainShape {
    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            TrainShape::Tiny => "tiny",
            TrainShape::Small => "small",
            TrainShape::M5 => "5m",
            TrainShape::M78 => "78m",
            TrainShape::M350 => "350m",
        }
    }
}

/// A model and the batch it is trained on.
struct Sizes {
    layers: usize,
    hidden: usize,
    heads: usize,
    ffn: usize,
    swiglu: bool,
    tied: bool,
    vocab: usize,
    context: usize,
    batch: usize,
}

fn sizes(shape: TrainShape) -> Sizes {
    match shape {
        TrainShape::Tiny => Sizes {
            layers: 2,
            hidden: 64,
            heads: 2,
            ffn: 128,
            swiglu: false,
            tied: true,
            vocab: 65,
            context: 32,
            batch: 4,
        },
        TrainShape::Small => Sizes {
            layers: 4,
            hidden: 128,
            heads: 4,
            ffn: 512,
            swiglu: false,
            tied: true,
            vocab: 65,
            context: 64,
            batch: 12,
        },
        TrainShape::M5 => Sizes {
            layers: 6,
            hidden: 256,
            heads: 8,
            ffn: 688,
            swiglu: true,
            tied: true,
            vocab: 65,
            context: 256,
            batch: 8,
        },
        TrainShape::M350 => Sizes {
            layers: 24,
            hidden: 1024,
            heads: 16,
            ffn: 2752,
            swiglu: true,
            tied: true,
            vocab: 50_257,
            context: 1024,
            batch: 4,
        },
        TrainShape::M78 => Sizes {
            layers: 8,
            hidden: 512,
            heads: 8,
            ffn: 1472,
            swiglu: true,
            tied: false,
            vocab: 50_257,
            context: 512,
            batch: 4,
        },
    }
}

/// Steps before the clock starts: pipelines are compiled, memory is touched.
const WARM_UP: usize = 1;
/// Beyond what any measurement makes: the schedule of learning rates wants to know.
const MOST_STEPS: usize = 10_000;

/// Floating-point operations of a step's products.
pub(super) fn flops_per_step(shape: TrainShape) -> f64 {
    let s = sizes(shape);
    flops_per_token(&s, &config(&s)) * (s.batch * s.context) as f64
}

/// Forward and backward: 6 for each weight of a matrix, and attention's products with half of the
/// context on average.
fn flops_per_token(s: &Sizes, config: &ModelConfig) -> f64 {
    let read_only = if s.tied { 0 } else { s.vocab * s.hidden };
    let products = 6 * (config.parameter_count() - read_only);
    (products + 6 * s.layers * s.context * s.hidden) as f64
}

/// With what `config/recommended.json` says of weights.
fn config(s: &Sizes) -> ModelConfig {
    ModelConfig {
        use_residual_scaling: false,
        use_dynamic_threshold: false,
        weight_scale: WeightScale::Tensor,
        ste_scale_factor: 1.0,
        anneal_fraction: 0.0,
        vocab_size: s.vocab,
        hidden_size: s.hidden,
        num_heads: s.heads,
        num_layers: s.layers,
        intermediate_size: s.ffn,
        max_seq_len: s.context,
        use_swiglu: s.swiglu,
        use_rope: true,
        tie_word_embeddings: s.tied,
        ..ModelConfig::default()
    }
}

/// What some steps took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Of the model.
    pub parameters: usize,
    /// Sequences a step.
    pub batch: usize,
    /// Tokens a sequence.
    pub context: usize,
    /// That were measured.
    pub steps: usize,
    /// Of all steps.
    pub seconds: f64,
    /// Of the last one that was read.
    pub loss: f64,
    /// Memory.
    pub planned_bytes: u64,
    /// Floating-point operations.
    pub flops_per_token: f64,
}

impl Measured {
    /// Of all steps.
    pub fn tokens_per_second(&self) -> f64 {
        (self.steps * self.batch * self.context) as f64 / self.seconds
    }
}

/// Train a model of `shape` on random tokens until `enough(steps, seconds)`; `tell` is told what it
/// takes.
///
/// # Errors
/// It does not fit the memory, or the device failed.
pub async fn train(
    backend: Box<dyn Backend>,
    shape: TrainShape,
    batch: Option<usize>,
    enough: impl Fn(usize, f64) -> bool,
    tell: &mut dyn FnMut(&str),
) -> Result<Measured> {
    let s = sizes(shape);
    let config = config(&s);
    let train = TrainConfig {
        batch_size: batch.unwrap_or(s.batch),
        max_steps: MOST_STEPS,
        ..TrainConfig::default()
    };
    let parameters = config.parameter_count();
    let flops_per_token = flops_per_token(&s, &config);
    let (vocab, batch) = (config.vocab_size, train.batch_size);

    let mut rng = Rng::new(1);
    let ids: Vec<u32> = (0..batch * s.context * 4 + 1)
        .map(|_| rng.below(vocab as u64) as u32)
        .collect();
    let data = TokenData::from_ids(&ids, vocab as u32)?;
    let mut batches = Batches::new(&data, s.context, 1, vocab)?;
    let mut trainer = Trainer::new(backend, config, train)?;
    let plan = trainer.memory();
    tell(&format!(
        "{:.2}M parameters; memory: {plan}",
        parameters as f64 / 1e6
    ));

    for step in 1..=WARM_UP {
        trainer.step(&mut batches, step == WARM_UP).await?;
    }
    let start = Instant::now();
    let (mut steps, mut loss) = (0, f64::NAN);
    loop {
        steps += 1;
        // Reading waits for all that is queued; so that most steps are queued, the last of eight
        // reads.
        let over = enough(steps, start.elapsed().as_secs_f64());
        let read = over || steps % 8 == 0;
        let reports = trainer.step(&mut batches, read).await?;
        loss = reports.last().map_or(loss, |r| r.loss);
        if over {
            break;
        }
    }
    Ok(Measured {
        parameters,
        batch,
        context: s.context,
        steps,
        seconds: start.elapsed().as_secs_f64(),
        loss,
        planned_bytes: plan.total(),
        flops_per_token,
    })
}
