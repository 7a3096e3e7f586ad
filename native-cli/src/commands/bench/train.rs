//! Training steps on random tokens: `onebit bench --train`.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use ternary::config::{ModelConfig, TrainConfig};
use ternary::data::{Batches, TokenData};
use ternary::platform;
use ternary::rng::Rng;
use ternary::train::Trainer;

use crate::args::{Bench, TrainShape};
use crate::model;
use crate::output::{errln, outln};

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

pub fn run(a: &Bench, shape: TrainShape) -> Result<()> {
    let s = sizes(shape);
    let config = ModelConfig {
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
    };
    let steps = a.steps.max(1);
    let train = TrainConfig {
        batch_size: a.batch.unwrap_or(s.batch),
        max_steps: WARM_UP + steps,
        ..TrainConfig::default()
    };
    let backend = model::open_device(a.device, &a.backend_options())?;
    let info = backend.info();
    let parameters = config.parameter_count();
    let vocab = config.vocab_size;
    let tokens = train.batch_size * s.context;

    let mut rng = Rng::new(1);
    let ids: Vec<u32> = (0..tokens * 4 + 1)
        .map(|_| rng.below(vocab as u64) as u32)
        .collect();
    let data = TokenData::from_ids(&ids, vocab as u32)?;
    let mut batches = Batches::new(&data, s.context, 1, vocab)?;
    let mut trainer = Trainer::new(backend, config, train)?;
    let plan = trainer.memory();
    errln!("{:.2}M parameters; memory: {plan}", parameters as f64 / 1e6);

    let mut make = |steps: usize| -> Result<f64> {
        let mut loss = f64::NAN;
        for step in 1..=steps {
            let reports = pollster::block_on(trainer.step(&mut batches, step == steps))?;
            loss = reports.last().map_or(loss, |r| r.loss);
        }
        Ok(loss)
    };
    make(WARM_UP)?;
    let start = Instant::now();
    let loss = make(steps)?;
    let seconds = start.elapsed().as_secs_f64();
    let speed = (steps * tokens) as f64 / seconds;
    let peak = platform::peak_memory();
    if a.json {
        outln!(
            "{}",
            json!({"device": info.name, "kind": info.kind, "parameters": parameters, "batch_size": tokens / s.context,
                "context": s.context, "steps": steps, "tokens_per_second": speed, "seconds_per_step": seconds / steps as f64,
                "loss": loss, "planned_bytes": plan.total(), "peak_rss_bytes": peak})
        );
        return Ok(());
    }
    outln!(
        "{speed:.1} tok/s, {:.3} s a step of {tokens} tokens, loss {loss:.3}",
        seconds / steps as f64
    );
    if let Some(peak) = peak {
        outln!(
            "peak resident memory {:.1} MiB",
            peak as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}
