//! Whether the GPU computes what the CPU does.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::json;
use ternary_backend::bench::checks::{self, Outcome};
use ternary_backend::bench::rates;
use ternary_backend::cpu::CpuBackend;
use ternary_backend::gpu::GpuBackend;
use ternary_backend::{Backend, BackendError, BackendOptions};
use ternary_common::bytes::ByteSource;
use ternary_common::data::{Batches, TokenData};
use ternary_common::platform::{self, Instant};
use ternary_common::tokenizer::Tokenizer;
use ternary_core::config::{ModelConfig, TrainConfig};
use ternary_core::rng::Rng;
use ternary_formats::onebit::OneBit;
use ternary_infer::{Ahead, Model, Sampler, Sampling};
use ternary_train::Trainer;

use super::SuiteOptions;
use super::part::Findings;
use crate::error::{Error, Result};

const PROMPTS: [&str; 3] = ["Once upon a time", "The little dog", "Lily wanted to"];

/// Two logits so close that rounding decides between them: an activation between two int8 codes may
/// fall to either side, and logits move by as much as this.
const TIE: f32 = 0.25;

/// Relative difference of a loss: sums in another order, and what the steps after make of it.
const LOSS_TOLERANCE: f64 = 1e-3;
/// The same where products round their operands to 11 bits: a gradient of a wrong size, or one that
/// saturates, is much further off.
const F16_LOSS_TOLERANCE: f64 = 1e-2;
const STEPS: usize = 100;
/// In a page, which compiles everything anew.
const FEW_STEPS: usize = 20;

/// With f16 products if it has them, and the caches of everyday use.
pub async fn open(f16_products: bool) -> Result<GpuBackend> {
    let options = BackendOptions {
        f16_products,
        cache_folder: platform::cache_folder(),
        ..BackendOptions::default()
    };
    Ok(GpuBackend::new(&options).await?)
}

fn disagrees(what: String) -> Error {
    Error::Disagrees(what)
}

pub async fn adapter(options: &SuiteOptions, found: &mut Findings<'_>) -> Result<()> {
    found.put("version", env!("CARGO_PKG_VERSION"));
    match &options.browser {
        Some(browser) => found.put("browser", browser),
        None => found.put("processor", platform::processor()),
    }
    let gpu = match open(true).await {
        // A page goes on with the CPU.
        Err(Error::Backend(e @ BackendError::NoAdapter(_))) if options.browser.is_some() => {
            found.put("cpu", CpuBackend::new(0).info().name);
            found.put("missing", e.to_string());
            return Ok(());
        }
        other => other?,
    };
    let adapter = gpu.adapter();
    found.say(&format!(
        "{} ({}), {}, subgroups of {} to {}; forms: {}",
        adapter.name,
        adapter.backend,
        adapter.driver.trim(),
        adapter.subgroup_sizes[0],
        adapter.subgroup_sizes[1],
        adapter.forms.join(", ")
    ));
    found.put("software", gpu.info().software);
    found.put("products", rates::products(&gpu));
    found.put("adapter", adapter);
    Ok(())
}

/// Widths of the cases: below, at and beyond those of quads, tiles and workgroups.
fn widths(quick: bool) -> &'static [usize] {
    if quick { &[65] } else { &[65, 257, 3, 1] }
}

pub async fn operations(options: &SuiteOptions, found: &mut Findings<'_>) -> Result<()> {
    let mut gpu = open(false).await?;
    let cases = checks::cases(widths(options.quick));
    let mut by_operation: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    let mut wrong: Vec<Outcome> = Vec::new();
    let mut compared = 0;
    for (i, case) in cases.iter().enumerate() {
        if !found.fits(
            &format!("{} of {} cases", cases.len() - i, cases.len()),
            0.5,
        ) {
            break;
        }
        for outcome in checks::check(&mut gpu, case).await {
            compared += 1;
            let (count, worst) = by_operation.entry(outcome.operation.clone()).or_default();
            *count += 1;
            *worst = worst.max(outcome.error);
            if let Some(problem) = &outcome.problem {
                found.say(&format!(
                    "{} {} {}: {problem}",
                    outcome.operation,
                    outcome.shape,
                    outcome.form.unwrap_or_default(),
                ));
                wrong.push(outcome);
                found.put("wrong", &wrong);
            }
        }
        if i % 25 == 24 || i + 1 == cases.len() {
            found.put("compared", compared);
            found.put("operations", operations_json(&by_operation));
            found.say(&format!(
                "{} of {} cases, {compared} comparisons",
                i + 1,
                cases.len()
            ));
        }
    }
    found.put("compared", compared);
    found.put("operations", operations_json(&by_operation));
    match (compared, wrong.len()) {
        (0, _) => Err(disagrees("nothing was compared".to_owned())),
        (_, 0) => Ok(()),
        (_, wrong) => Err(disagrees(format!(
            "{wrong} of {compared} results differ from the CPU's"
        ))),
    }
}

fn operations_json(all: &BTreeMap<String, (usize, f64)>) -> serde_json::Value {
    let rows = all.iter().map(
        |(name, (count, worst))| json!({"operation": name, "compared": count, "error": worst}),
    );
    rows.collect()
}

pub async fn text(
    options: &SuiteOptions,
    shipped: Option<Rc<dyn ByteSource>>,
    found: &mut Findings<'_>,
) -> Result<()> {
    let (prompts, tokens) = if options.quick {
        (1, 16)
    } else {
        (PROMPTS.len(), 96)
    };
    let source = shipped.ok_or(Error::NoModel)?;
    let file = OneBit::open(source.as_ref()).await?;
    let tokenizer = file.metadata.tokenizer.as_deref();
    let tokenizer = Tokenizer::from_json(tokenizer.ok_or(Error::NoTokenizer)?)?;
    let cpu: Box<dyn Backend> = Box::new(CpuBackend::new(0));
    let mut cpu = Model::load(cpu, &file, source.as_ref(), &mut |_| {}).await?;
    let gpu: Box<dyn Backend> = Box::new(open(false).await?);
    let mut gpu = Model::load(gpu, &file, source.as_ref(), &mut |_| {}).await?;
    for prompt in &PROMPTS[..prompts] {
        if !found.fits(prompt, 2.0) {
            break;
        }
        cpu.truncate(0);
        gpu.truncate(0);
        let mut next = tokenizer.encode(prompt)?;
        let mut written = Vec::new();
        let (mut same, mut ties) = (0, 0);
        for at in 0..tokens {
            let want = likeliest_first(cpu.feed(&next, &[], 1.0).await?);
            let got = likeliest_first(gpu.feed(&next, &[], 1.0).await?);
            let (Some((id, first)), Some((other, _))) = (want.first(), got.first()) else {
                return Err(Error::NoLogits);
            };
            if id == other {
                same += 1;
            } else {
                // The CPU's own logit of what the GPU chose.
                let gap = want
                    .iter()
                    .find(|(c, _)| c == other)
                    .map_or(f32::INFINITY, |c| first - c.1);
                if gap.is_nan() || gap > TIE {
                    return Err(disagrees(format!(
                        "after {at} tokens of {prompt:?} the GPU goes on with token {other}, the CPU with \
                         {id}, whose logit is larger by {gap}"
                    )));
                }
                ties += 1;
            }
            written.push(*id);
            // Both go on from the CPU's text, so that each token is a comparison.
            next = vec![*id];
        }
        let text = tokenizer.decode(&written)?;
        found.say(&format!(
            "{prompt:?}: {same} of {tokens} tokens the same, {ties} near ties"
        ));
        let ids = tokenizer.encode(prompt)?;
        let host = continued(&mut gpu, &ids, tokens, false).await?;
        if continued(&mut gpu, &ids, tokens, true).await? != host {
            return Err(disagrees(format!(
                "behind {prompt:?} the GPU chooses other tokens than the host does from its logits"
            )));
        }
        found.push(
            "prompts",
            json!({"prompt": prompt, "text": text, "tokens": tokens, "same": same, "ties": ties}),
        );
    }
    Ok(())
}

/// Tokens drawn behind `prompt`, by the host or by the device itself.
async fn continued(
    model: &mut Model,
    prompt: &[u32],
    tokens: usize,
    by_device: bool,
) -> Result<Vec<u32>> {
    model.truncate(0);
    let mut sampler = Sampler::new(&Sampling {
        repetition_penalty: 1.0,
        ..Sampling::default()
    });
    let mut ahead = Ahead::default();
    let mut written = Vec::with_capacity(tokens);
    let mut next = prompt.to_vec();
    while written.len() < tokens {
        let id = match next[..] {
            [last] if by_device => {
                let wanted = tokens - written.len();
                model
                    .feed_ahead(&mut ahead, last, &mut sampler, wanted)
                    .await?
            }
            _ => sampler.choose(model.feed(&next, &[], 1.0).await?),
        };
        let id = id.ok_or(Error::NoLogits)?;
        written.push(id);
        next = vec![id];
    }
    Ok(written)
}

fn likeliest_first(mut candidates: Vec<(u32, f32)>) -> Vec<(u32, f32)> {
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
    candidates
}

pub async fn training_steps(options: &SuiteOptions, found: &mut Findings<'_>) -> Result<()> {
    let steps = match (options.quick, &options.browser) {
        (true, Some(_)) => FEW_STEPS,
        _ => STEPS,
    };
    let want = losses(Box::new(CpuBackend::new(0)), options.quick, steps).await?;
    found.put("cpu", &want);
    let start = Instant::now();
    let got = losses(Box::new(open(false).await?), options.quick, steps).await?;
    let took = start.elapsed().as_secs_f64();
    found.put("gpu", &got);
    let worst = apart(&got, &want, LOSS_TOLERANCE)?;
    found.put("apart", worst);
    found.say(&format!(
        "loss {:.3} to {:.3}; off by {worst:.1e} at most",
        want.first().copied().unwrap_or_default(),
        want.last().copied().unwrap_or_default()
    ));
    let rounding = open(true).await?;
    let rounds = rates::products(&rounding).len() > 1;
    if rounds && found.fits("steps with operands in f16", 1.5 * took) {
        let got = losses(Box::new(rounding), options.quick, steps).await?;
        let worst = apart(&got, &want, F16_LOSS_TOLERANCE)?;
        found.put("apart_f16", worst);
        found.say(&format!(
            "with operands of products in f16 off by {worst:.1e}"
        ));
    }
    Ok(())
}

/// How far losses are from the CPU's, relative to these.
fn apart(got: &[f64], want: &[f64], tolerance: f64) -> Result<f64> {
    if got.len() != want.len() || got.is_empty() {
        return Err(disagrees(format!(
            "{} losses, the CPU has {}",
            got.len(),
            want.len()
        )));
    }
    let worst = got
        .iter()
        .zip(want)
        .map(|(got, want)| (got - want).abs() / want)
        .fold(0.0, f64::max);
    let finite = got.iter().all(|loss| loss.is_finite());
    if !finite || worst > tolerance {
        return Err(disagrees(format!(
            "losses are off by {worst:.1e}, more than {tolerance:.0e}"
        )));
    }
    Ok(worst)
}

/// Of the first steps of a small training.
async fn losses(backend: Box<dyn Backend>, quick: bool, steps: usize) -> Result<Vec<f64>> {
    let (hidden, context, batch) = if quick { (32, 16, 4) } else { (128, 64, 8) };
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
    for step in 1..=steps {
        let reports = trainer.step(&mut batches, step % 10 == 0).await?;
        losses.extend(reports.iter().map(|r| r.loss));
    }
    Ok(losses)
}
