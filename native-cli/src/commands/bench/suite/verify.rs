//! Whether the GPU computes what the CPU does.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde_json::json;
use ternary::backend::bench::checks::{self, Outcome};
use ternary::backend::cpu::CpuBackend;
use ternary::backend::gpu::GpuBackend;
use ternary::backend::{Backend, BackendOptions};
use ternary::config::{ModelConfig, TrainConfig};
use ternary::data::{Batches, TokenData};
use ternary::format::{MemorySource, OneBit};
use ternary::infer::Model;
use ternary::platform;
use ternary::rng::Rng;
use ternary::tokenizer::Tokenizer;
use ternary::train::Trainer;

use super::part::Findings;
use crate::args::Bench;
use crate::output::errln;

/// The model that ships with the page.
const SHIPPED: &[u8] = include_bytes!("../../../../../web/models/stories.1bit");
const PROMPTS: [&str; 3] = ["Once upon a time", "The little dog", "Lily wanted to"];

/// Two logits so close that rounding decides between them: an activation between two int8 codes may
/// fall to either side, and logits move by as much as this.
const TIE: f32 = 0.25;

/// Relative difference of a loss: sums in another order, and what the steps after make of it.
const LOSS_TOLERANCE: f64 = 1e-3;
const STEPS: usize = 100;

/// With f16 products if it has them, and the caches of everyday use.
pub fn open(f16_products: bool) -> Result<GpuBackend> {
    let options = BackendOptions {
        f16_products,
        cache_folder: platform::cache_folder(),
        ..BackendOptions::default()
    };
    Ok(pollster::block_on(GpuBackend::new(&options))?)
}

pub fn adapter(found: &mut Findings) -> Result<()> {
    let gpu = open(true)?;
    let adapter = gpu.adapter();
    errln!(
        "  {} ({}), {}, subgroups of {} to {}; forms: {}",
        adapter.name,
        adapter.backend,
        adapter.driver.trim(),
        adapter.subgroup_sizes[0],
        adapter.subgroup_sizes[1],
        adapter.forms.join(", ")
    );
    found.put("software", gpu.info().software)?;
    found.put("products", ternary::backend::bench::rates::products(&gpu))?;
    found.put("processor", platform::processor())?;
    found.put("version", env!("CARGO_PKG_VERSION"))?;
    found.put("adapter", adapter)
}

/// Widths of the cases: below, at and beyond those of quads, tiles and workgroups.
fn widths(quick: bool) -> &'static [usize] {
    if quick { &[65] } else { &[65, 257, 3, 1] }
}

pub fn operations(a: &Bench, found: &mut Findings) -> Result<()> {
    let mut gpu = open(false)?;
    let cases = checks::cases(widths(a.quick));
    let mut by_operation: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    let mut wrong: Vec<Outcome> = Vec::new();
    let mut compared = 0;
    for (i, case) in cases.iter().enumerate() {
        if !found.fits(
            &format!("{} of {} cases", cases.len() - i, cases.len()),
            0.5,
        )? {
            break;
        }
        for outcome in pollster::block_on(checks::check(&mut gpu, case)) {
            compared += 1;
            let (count, worst) = by_operation.entry(outcome.operation.clone()).or_default();
            *count += 1;
            *worst = worst.max(outcome.error);
            if outcome.problem.is_some() {
                errln!(
                    "  {} {} {}: {}",
                    outcome.operation,
                    outcome.shape,
                    outcome.form.unwrap_or_default(),
                    outcome.problem.as_deref().unwrap_or_default()
                );
                wrong.push(outcome);
                found.put("wrong", &wrong)?;
            }
        }
        if i % 25 == 24 || i + 1 == cases.len() {
            found.put("compared", compared)?;
            found.put("operations", operations_json(&by_operation))?;
            errln!(
                "  {} of {} cases, {compared} comparisons",
                i + 1,
                cases.len()
            );
        }
    }
    found.put("compared", compared)?;
    found.put("operations", operations_json(&by_operation))?;
    ensure!(compared > 0, "nothing was compared");
    ensure!(
        wrong.is_empty(),
        "{} of {compared} results differ from the CPU's",
        wrong.len()
    );
    Ok(())
}

fn operations_json(all: &BTreeMap<String, (usize, f64)>) -> serde_json::Value {
    let rows = all.iter().map(
        |(name, (count, worst))| json!({"operation": name, "compared": count, "error": worst}),
    );
    rows.collect()
}

pub fn text(a: &Bench, found: &mut Findings) -> Result<()> {
    let (prompts, tokens) = if a.quick {
        (1, 16)
    } else {
        (PROMPTS.len(), 96)
    };
    let load = |backend: Box<dyn Backend>| -> Result<(Model, Tokenizer)> {
        let source = MemorySource::new("stories.1bit", SHIPPED.to_vec());
        let file = pollster::block_on(OneBit::open(&source))?;
        let tokenizer = file.metadata.tokenizer.clone().unwrap_or_default();
        let model = pollster::block_on(Model::load(backend, &file, &source, &mut |_| {}))?;
        Ok((model, Tokenizer::from_json(&tokenizer)?))
    };
    let (mut cpu, tokenizer) = load(Box::new(CpuBackend::new(0)))?;
    let (mut gpu, _) = load(Box::new(open(false)?))?;
    for prompt in &PROMPTS[..prompts] {
        if !found.fits(prompt, 2.0)? {
            break;
        }
        cpu.truncate(0);
        gpu.truncate(0);
        let mut next = tokenizer.encode(prompt)?;
        let mut written = Vec::new();
        let (mut same, mut ties) = (0, 0);
        for at in 0..tokens {
            let [want, got] = [&mut cpu, &mut gpu].map(|model| {
                pollster::block_on(model.feed(&next, &[], 1.0)).map(|mut candidates| {
                    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
                    candidates
                })
            });
            let (want, got) = (want?, got?);
            let (Some((id, first)), Some((other, _))) = (want.first(), got.first()) else {
                bail!("a model has no candidates");
            };
            if id == other {
                same += 1;
            } else {
                // The CPU's own logit of what the GPU chose.
                let gap = want
                    .iter()
                    .find(|(c, _)| c == other)
                    .map_or(f32::INFINITY, |c| first - c.1);
                ensure!(
                    gap <= TIE,
                    "after {at} tokens of {prompt:?} the GPU goes on with token {other}, the CPU with \
                     {id}, whose logit is larger by {gap}"
                );
                ties += 1;
            }
            written.push(*id);
            // Both go on from the CPU's text, so that each token is a comparison.
            next = vec![*id];
        }
        let text = tokenizer.decode(&written)?;
        errln!("  {prompt:?}: {same} of {tokens} tokens the same, {ties} near ties");
        found.push(
            "prompts",
            json!({"prompt": prompt, "text": text, "tokens": tokens, "same": same, "ties": ties}),
        )?;
    }
    Ok(())
}

pub fn training_steps(a: &Bench, found: &mut Findings) -> Result<()> {
    let (hidden, context, batch) = if a.quick { (32, 16, 4) } else { (128, 64, 8) };
    let curve = |backend: Box<dyn Backend>| -> Result<Vec<f64>> {
        let config = ModelConfig {
            vocab_size: 65,
            hidden_size: hidden,
            num_heads: 4,
            num_layers: 2,
            intermediate_size: 2 * hidden,
            max_seq_len: context,
            use_swiglu: true,
            use_rope: true,
            // Codes of activations that round the other way would hide what else differs.
            activation_bits: None,
            anneal_fraction: 0.2,
            ..ModelConfig::default()
        };
        let train = TrainConfig {
            batch_size: batch,
            max_steps: STEPS,
            lr: 1e-3,
            ..TrainConfig::default()
        };
        // A cycle, with noise that nothing can learn.
        let mut rng = Rng::new(1);
        let ids: Vec<u32> = (0..40_000u32)
            .map(|i| match rng.below(8) {
                0 => rng.below(65) as u32,
                _ => i * 7 % 65,
            })
            .collect();
        let data = TokenData::from_ids(&ids, 65)?;
        let mut batches = Batches::new(&data, context, 1, 65)?;
        let mut trainer = Trainer::new(backend, config, train)?;
        let mut losses = Vec::new();
        for step in 1..=STEPS {
            let reports = pollster::block_on(trainer.step(&mut batches, step % 10 == 0))?;
            losses.extend(reports.iter().map(|r| r.loss));
        }
        Ok(losses)
    };
    let want = curve(Box::new(CpuBackend::new(0)))?;
    found.put("cpu", &want)?;
    let got = curve(Box::new(open(false)?))?;
    found.put("gpu", &got)?;
    ensure!(
        got.len() == want.len(),
        "{} losses, the CPU has {}",
        got.len(),
        want.len()
    );
    let worst = got
        .iter()
        .zip(&want)
        .map(|(got, want)| (got - want).abs() / want)
        .fold(0.0, f64::max);
    found.put("error", worst)?;
    errln!(
        "  loss {:.3} to {:.3}; off by {worst:.1e} at most",
        want.first().copied().unwrap_or_default(),
        want.last().copied().unwrap_or_default()
    );
    ensure!(
        worst <= LOSS_TOLERANCE,
        "losses are off by {worst:.1e}, more than {LOSS_TOLERANCE:.0e}"
    );
    Ok(())
}
