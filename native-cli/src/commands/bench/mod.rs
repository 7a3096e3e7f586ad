//! `onebit bench`: prefill and decode here, products and training steps beside.

mod gemm;
mod train;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use ternary::backend::cpu::simd::Level;
use ternary::config::{LayerBitMap, ModelConfig, QuantMode, WeightScale};
use ternary::format::{ByteSource, Dense, MemorySource, Metadata, Packing, encode};
use ternary::params;
use ternary::session::{DeviceChoice, Session};

use crate::args::{Bench, Head, Shape};
use crate::model::{self, LoadOptions};
use crate::output::{errln, outln};

/// Prompt tokens of the prefill measurement.
const PROMPT: usize = 128;

struct Figures {
    threads: usize,
    prefill: f64,
    decode: f64,
    bandwidth: f64,
    weight_bytes: usize,
    device: String,
}

pub fn run(a: &Bench) -> Result<()> {
    if a.simd_levels {
        Level::available()
            .iter()
            .for_each(|level| outln!("{}", level.name()));
        return Ok(());
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
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let counts: Vec<usize> = match (a.device, cores) {
        (DeviceChoice::Cpu, 2..) => vec![1, cores],
        (DeviceChoice::Cpu, _) => vec![1],
        _ => vec![cores],
    };
    let mut all = Vec::new();
    for threads in counts {
        let (mut session, info) = model::load(
            source.clone(),
            None,
            LoadOptions {
                device: a.device,
                threads,
                context: None,
                cache: a.kv.into(),
            },
        )?;
        let context = info.context;
        ensure!(
            context >= 3,
            "a context of {context} is too short to measure; it needs at least 3 tokens"
        );
        all.push(Figures {
            threads,
            prefill: median(a.repeat, || prefill(&mut session))?,
            decode: median(a.repeat, || decode(&mut session, a.tokens))?,
            bandwidth: read_bandwidth(threads),
            weight_bytes: info.weight_bytes,
            device: format!("{} ({})", info.device.kind, info.device.name),
        });
    }
    if a.json {
        let rows: Vec<_> = all
            .iter()
            .map(|f| {
                json!({"device": f.device, "threads": f.threads, "prefill_tokens_per_second": f.prefill,
                    "decode_tokens_per_second": f.decode, "weight_bytes": f.weight_bytes, "read_bandwidth_gb_s": f.bandwidth})
            })
            .collect();
        outln!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    outln!(
        "{:>7} {:>14} {:>13} {:>13} {:>12} {:>8}",
        "threads",
        "prefill tok/s",
        "decode tok/s",
        "weights read",
        "bandwidth",
        "share"
    );
    for f in &all {
        let read = f.decode * f.weight_bytes as f64 / 1e9;
        outln!(
            "{:>7} {:>14.1} {:>13.1} {:>8.2} GB/s {:>7.2} GB/s {:>6.0} %",
            f.threads,
            f.prefill,
            f.decode,
            read,
            f.bandwidth,
            100.0 * read / f.bandwidth
        );
    }
    Ok(())
}

fn median(repeat: usize, mut f: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut all = (0..repeat.max(1))
        .map(|_| f())
        .collect::<Result<Vec<_>>>()?;
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}

fn prefill(session: &mut Session) -> Result<f64> {
    let m = &mut session.loaded()?.model;
    let n = PROMPT.min(m.config().max_seq_len - 1);
    let ids: Vec<u32> = (0..n as u32)
        .map(|i| i % m.config().vocab_size as u32)
        .collect();
    m.truncate(0);
    let start = Instant::now();
    pollster::block_on(m.feed(&ids, &[], 1.0))?;
    Ok(n as f64 / start.elapsed().as_secs_f64())
}

fn decode(session: &mut Session, tokens: usize) -> Result<f64> {
    let m = &mut session.loaded()?.model;
    let n = tokens.min(m.config().max_seq_len - 2);
    m.truncate(0);
    pollster::block_on(m.feed(&[1], &[], 1.0))?;
    let start = Instant::now();
    for _ in 0..n {
        pollster::block_on(m.feed(&[1], &[], 1.0))?;
    }
    Ok(n as f64 / start.elapsed().as_secs_f64())
}

/// Sums a buffer as eight streams side by side, a cache line of each in turn: one stream alone
/// waits for its own prefetches.
fn sum_streams(data: &[u64]) -> u64 {
    let mut acc = [0u64; 8];
    let stream = data.len() / 8;
    for at in (0..stream - stream % 8).step_by(8) {
        for s in 0..8 {
            let line = &data[s * stream + at..][..8];
            for (a, v) in acc.iter_mut().zip(line) {
                *a = a.wrapping_add(*v);
            }
        }
    }
    acc.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Best of several passes summing 256 MB of memory per thread, in GB/s.
fn read_bandwidth(threads: usize) -> f64 {
    let len = (256 << 20) / 8;
    let data: Vec<Vec<u64>> = (0..threads).map(|i| vec![i as u64 + 1; len]).collect();
    let mut best = 0.0f64;
    for _ in 0..5 {
        let start = Instant::now();
        let total: u64 = std::thread::scope(|s| {
            let sums: Vec<_> = data
                .iter()
                .map(|part| s.spawn(|| sum_streams(part)))
                .collect();
            sums.into_iter()
                .filter_map(|h| h.join().ok())
                .fold(0, u64::wrapping_add)
        });
        std::hint::black_box(total);
        best = best.max((threads * len * 8) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    best
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
        max_seq_len: 512,
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
