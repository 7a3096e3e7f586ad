//! `onebit bench`: prefill and decode here, products, training steps and the suite
//! beside.

mod gemm;
mod parallel;
mod suite;
mod train;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;
use ternary::backend::bench::read_bandwidth;
use ternary::backend::cpu::simd::Level;
use ternary::config::{LayerBitMap, ModelConfig, QuantMode, WeightScale};
use ternary::format::{ByteSource, Dense, MemorySource, Metadata, Packing, encode};
use ternary::infer::{Ahead, Sampler, Sampling};
use ternary::params;
use ternary::session::{DeviceChoice, Session};
use ternary::words::counted;

use crate::args::{Bench, Head, Shape, Suite};
use crate::model::{self, LoadOptions};
use crate::output::{errln, outln};

/// Lengths of prompts where none are given.
const PROMPTS: [u32; 3] = [128, 512, 2048];

/// A measurement is not repeated beyond this.
const LONGEST: Duration = Duration::from_secs(10);

/// Tokens per second.
#[derive(Serialize)]
struct Speed {
    /// Of the prompt, or in the context before the first that is decoded.
    tokens: usize,
    tokens_per_second: f64,
}

#[derive(Serialize)]
struct Figures {
    device: String,
    processor: Option<String>,
    threads: usize,
    prefill: Vec<Speed>,
    decode: Vec<Speed>,
    weight_bytes: usize,
    read_bandwidth_gb_s: f64,
}

pub fn run(a: &Bench) -> Result<()> {
    if a.simd_levels {
        let levels = Level::available();
        let names: Vec<&str> = levels.iter().map(|level| level.name()).collect();
        match a.json {
            true => outln!("{}", json!(names)),
            false => names.iter().for_each(|name| outln!("{name}")),
        }
        return Ok(());
    }
    if let Some(Suite::Gpu) = a.suite {
        return suite::run(a);
    }
    if !a.gemm.is_empty() {
        return gemm::run(a);
    }
    if let Some(shape) = a.train {
        return train::run(a, shape);
    }
    let source: Rc<dyn ByteSource> = match (&a.model, a.synthetic) {
        (Some(path), _) => model::source(path, None)?,
        (None, Some(shape)) => Rc::new(synthetic(shape, a.head)?),
        (None, None) => {
            anyhow::bail!("give --model PATH, or --synthetic 5m or 100m for a random model")
        }
    };
    if !a.parallel.is_empty() {
        return parallel::run(a, source);
    }
    let all = ternary::platform::threads();
    let counts: Vec<usize> = match (a.device, a.threads) {
        (DeviceChoice::Cpu, 0) => {
            let powers = std::iter::successors(Some(1), |n| Some(2 * n));
            powers.take_while(|n| *n < all).chain([all]).collect()
        }
        (_, 0) => vec![all],
        (_, n) => vec![n],
    };
    let mut figures = Vec::new();
    for threads in counts {
        figures.push(measure(a, source.clone(), threads)?);
    }
    if a.json {
        outln!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    Ok(())
}

fn measure(a: &Bench, source: Rc<dyn ByteSource>, threads: usize) -> Result<Figures> {
    let options = LoadOptions {
        device: a.device,
        threads,
        context: None,
        cache: a.kv.into(),
    };
    let (mut session, info) = model::load(source, None, options)?;
    let context = info.context;
    ensure!(
        context >= 3,
        "a context of {context} is too short to measure; it needs at least 3 tokens"
    );
    let decoded = a.tokens.min(context - 2);
    let prompts = match a.prefill[..] {
        [] => &PROMPTS[..],
        _ => &a.prefill,
    };
    let fits = |tokens: &u32, more: usize| *tokens as usize + more <= context;
    // Not counted: memory is cleared by the system when it is first touched.
    if let Some(tokens) = prompts.iter().find(|n| fits(n, 1)) {
        prefill_speed(&mut session, *tokens as usize)?;
    }
    let mut prefill = Vec::new();
    for tokens in prompts.iter().filter(|n| fits(n, 1)) {
        let tokens = *tokens as usize;
        prefill.push(Speed {
            tokens,
            tokens_per_second: median(a.repeat, || prefill_speed(&mut session, tokens))?,
        });
    }
    let mut decode = Vec::new();
    for tokens in a.context.iter().filter(|n| fits(n, decoded + 1)) {
        let tokens = *tokens as usize;
        decode.push(Speed {
            tokens,
            tokens_per_second: median(a.repeat, || decode_speed(&mut session, tokens, decoded))?,
        });
    }
    ensure!(
        !prefill.is_empty() || !decode.is_empty(),
        "none of --prefill {} and --context {} fits in a context of {}; give smaller \
         ones",
        list(prompts),
        list(&a.context),
        counted(context, "token")
    );
    Ok(Figures {
        device: format!("{} ({})", info.device.kind, info.device.name),
        processor: ternary::platform::processor(),
        threads,
        prefill,
        decode,
        weight_bytes: info.weight_bytes,
        read_bandwidth_gb_s: read_bandwidth(threads) / 1e9,
    })
}

fn list(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(",")
}

/// A line for every number of threads; tokens per second.
fn print(all: &[Figures]) {
    let Some(first) = all.first() else { return };
    let processor = first
        .processor
        .as_deref()
        .unwrap_or("a processor without a name");
    outln!("{processor}; {}", first.device);
    let mut head = format!("{:>7}", "threads");
    for speed in &first.prefill {
        head += &format!("{:>14}", format!("prefill {}", speed.tokens));
    }
    for speed in &first.decode {
        head += &format!("{:>13}", format!("decode @{}", speed.tokens));
    }
    outln!(
        "{head}  {:>12} {:>10} {:>6}",
        "weights read",
        "bandwidth",
        "share"
    );
    for f in all {
        let mut line = format!("{:>7}", f.threads);
        for speed in &f.prefill {
            line += &format!("{:>14.1}", speed.tokens_per_second);
        }
        for speed in &f.decode {
            line += &format!("{:>13.1}", speed.tokens_per_second);
        }
        let read =
            f.decode.first().map_or(0.0, |d| d.tokens_per_second) * f.weight_bytes as f64 / 1e9;
        let share = 100.0 * read / f.read_bandwidth_gb_s;
        outln!(
            "{line}  {read:>7.1} GB/s {:>5.1} GB/s {share:>4.0} %",
            f.read_bandwidth_gb_s
        );
    }
}

fn median(repeat: usize, mut f: impl FnMut() -> Result<f64>) -> Result<f64> {
    let start = Instant::now();
    let mut all = vec![f()?];
    while all.len() < repeat && start.elapsed() < LONGEST {
        all.push(f()?);
    }
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}

fn prefill_speed(session: &mut Session, tokens: usize) -> Result<f64> {
    let m = &mut session.loaded()?.model;
    let vocab = m.config().vocab_size as u32;
    let ids: Vec<u32> = (0..tokens as u32).map(|i| i % vocab).collect();
    m.truncate(0);
    let start = Instant::now();
    pollster::block_on(m.feed(&ids, &[], 1.0))?;
    Ok(tokens as f64 / start.elapsed().as_secs_f64())
}

/// One token is decoded before those that count.
fn decode_speed(session: &mut Session, context: usize, tokens: usize) -> Result<f64> {
    let m = &mut session.loaded()?.model;
    m.truncate(0);
    pollster::block_on(m.pretend(context))?;
    pollster::block_on(m.feed(&[1], &[], 1.0))?;
    let mut sampler = Sampler::new(&Sampling {
        temperature: 0.0,
        repetition_penalty: 1.0,
        ..Sampling::default()
    });
    let (mut ahead, mut next) = (Ahead::default(), 1);
    let start = Instant::now();
    for wanted in (1..=tokens).rev() {
        // As a reply is made on this device.
        if m.runs_ahead() {
            let token = m.feed_ahead(&mut ahead, next, &mut sampler, wanted);
            next = pollster::block_on(token)?.unwrap_or(next);
        } else {
            pollster::block_on(m.feed(&[1], &[], 1.0))?;
        }
    }
    Ok(tokens as f64 / start.elapsed().as_secs_f64())
}

/// A random ternary model.
fn synthetic(shape: Shape, head: Head) -> Result<MemorySource> {
    let (hidden_size, num_heads, num_layers, intermediate_size, vocab_size) = match shape {
        Shape::M100 => (768, 12, 12, 2048, 32000),
        Shape::M5 => (256, 4, 4, 512, 4096),
    };
    let mut map = LayerBitMap::sandwich(num_layers, QuantMode::Ternary);
    (map.embedding, map.lm_head) = (head.mode(), head.mode());
    let config = ModelConfig {
        vocab_size,
        hidden_size,
        num_heads,
        num_layers,
        intermediate_size,
        max_seq_len: 8448,
        use_swiglu: true,
        use_rope: true,
        weight_scale: WeightScale::Tensor,
        use_dynamic_threshold: false,
        layer_bit_map: Some(map),
        ..ModelConfig::default()
    };
    errln!(
        "making a random model of {:.1}M parameters",
        config.parameter_count() as f64 / 1e6
    );
    let values: HashMap<String, Vec<f32>> = params::all(&config)
        .into_iter()
        .map(|p| (p.name.clone(), p.init(&config, 1)))
        .collect();
    let metadata = Metadata {
        config,
        ..Metadata::default()
    };
    let bytes = encode(metadata, &values, Packing::Ternary2, Dense::No)
        .context("cannot make the synthetic model")?;
    Ok(MemorySource::new("synthetic", bytes))
}
