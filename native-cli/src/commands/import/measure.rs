//! What the precisions of an import cost, measured on a text.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use ternary::config::{CachePrecision, QuantMode};
use ternary::format::FileSource;
use ternary::import::{Input, Options};
use ternary::infer::{Comparison, compare};
use ternary::platform::Draft;
use ternary::session::{DeviceChoice, Session};
use ternary::words::counted;

use crate::{model, progress};

/// More of a text says little more.
const MOST_TOKENS: usize = 4096;

/// Compare the `.1bit` that was imported with one of the same `input` in which nothing is rounded.
pub fn measure(
    input: &Input,
    options: &Options,
    imported: &Path,
    text: &Path,
) -> Result<Comparison> {
    let exact = Options {
        head: QuantMode::F32,
        keep_head: options.keep_head,
        body: Some(QuantMode::F32),
        bit_map: None,
        int8_activations: options.int8_activations,
        context: options.context,
        pre_tokenizer: options.pre_tokenizer.clone(),
        name: None,
        ignored_keys: options.ignored_keys.clone(),
    };
    let (draft, _) = Draft::beside(imported)?;
    super::write(input, &exact, draft.path())?;
    let mut opened = open(imported)?;
    let mut reference = open(draft.path())?;
    let opened = opened.loaded()?;
    let text = model::evaluation(opened, text)
        .with_context(|| format!("cannot measure on {}", text.display()))?;
    let ids = &text.ids[..text.ids.len().min(MOST_TOKENS)];
    let bar = progress::bar(
        ids.len() as u64,
        "measuring {bar:30} {pos}/{len} tokens {eta}",
    );
    let found = pollster::block_on(compare(
        &mut opened.model,
        &mut reference.loaded()?.model,
        ids,
        &mut |done, _| bar.set_position(done as u64),
    ))?;
    bar.finish_and_clear();
    Ok(found)
}

/// A model whose keys and values are not rounded either.
fn open(path: &Path) -> Result<Session> {
    let options = model::LoadOptions {
        device: DeviceChoice::Cpu,
        threads: 0,
        context: None,
        cache: CachePrecision::F32,
    };
    let (session, _) = model::load(Rc::new(FileSource::open(path)?), None, options)?;
    Ok(session)
}

/// What was found, for people.
pub fn sentence(found: &Comparison) -> String {
    format!(
        "measured on {}: perplexity {:.3}, and {:.3} in f32 ({:+.2} %); logits differ by {:.2} %, the most likely token is the same \
         at {:.1} % of the places",
        counted(found.tokens, "token"),
        found.perplexity,
        found.reference_perplexity,
        100.0 * (found.perplexity / found.reference_perplexity - 1.0),
        100.0 * found.logits_error,
        100.0 * found.same_token,
    )
}
