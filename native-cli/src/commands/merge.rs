//! `onebit merge`.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::Path;
use std::rc::Rc;
use ternary::adapter::{Adapter, base_checksum};
use ternary::data::EvalText;
use ternary::format::{ByteSource, Dense, MemorySource, Metadata, Packing, encode};
use ternary::infer;
use ternary::train::checkpoint;
use ternary::train::merge::{MatrixChange, merge};
use ternary::words::counted;

use crate::args::Merge;
use crate::commands::export;
use crate::model::{self, LoadOptions};
use crate::output;
use crate::output::{errln, outln};

/// A merge that changes less than one code in so many is warned of.
const LITTLE: usize = 1000;

/// Nats per token of the same text.
#[derive(Serialize)]
struct Losses {
    before: f64,
    unmerged: f64,
    merged: f64,
}

#[derive(Serialize)]
struct Report {
    matrices: Vec<MatrixChange>,
    losses: Option<Losses>,
}

pub fn run(a: &Merge) -> Result<()> {
    let path = a
        .model
        .adapter
        .as_ref()
        .context("--adapter is missing: which adapter is to be merged?")?;
    if a.output.extension().is_some_and(|e| e == "1bit") {
        output::check(&a.output, &[&a.model.model])?;
    } else if a.output.exists() {
        bail!(
            "--output {} exists; name a new folder for the checkpoint, or a .1bit file",
            a.output.display()
        );
    } else {
        output::check_is_folder("--output", &a.output, ", or a .1bit file")?;
    }
    let adapter = checkpoint::read_adapter(path)?;
    let base = model::parameters(&a.model.model)?;
    adapter
        .check(&base.config, base_checksum(&base.config, &base.parameters))
        .with_context(|| path.display().to_string())?;
    let merged = merge(&base.config, base.parameters, &adapter)?;
    let metadata = Metadata {
        config: base.config.clone(),
        tokenizer: Some(base.companions.tokenizer.clone()),
        chat_template: base.companions.chat_template.clone(),
        ..base.metadata
    };
    let bytes = encode(metadata, &merged.parameters, Packing::Ternary2, Dense::No)?;
    if a.output.extension().is_some_and(|e| e == "1bit") {
        export::write(&a.output, &bytes)?;
    } else {
        checkpoint::write_model(
            &a.output,
            &base.config,
            &merged.parameters,
            &base.companions,
        )?;
    }
    let losses = a
        .data
        .as_ref()
        .map(|data| -> Result<Losses> {
            let base = model::source(&a.model.model, None)?;
            let file = Rc::new(MemorySource::new(&a.output.display().to_string(), bytes));
            // Read once, as a pipe can be; the tokens are the same.
            let mut text = None;
            let mut loss = |source, adapter| loss(a, source, adapter, (data, &mut text));
            Ok(Losses {
                before: loss(base.clone(), None)?,
                unmerged: loss(base, Some(adapter.clone()))?,
                merged: loss(file, None)?,
            })
        })
        .transpose()?;
    let report = Report {
        matrices: merged.changes,
        losses,
    };
    if a.json {
        outln!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    let count = |of: fn(&MatrixChange) -> usize| report.matrices.iter().map(of).sum::<usize>();
    let changed = count(|m| m.changed.unwrap_or(0));
    let codes = count(|m| m.changed.map_or(0, |_| m.weights));
    if changed * LITTLE < codes {
        errln!(
            "warning: {changed} of {} changed: the adapter is smaller than the steps between codes, and hardly any of it is left \
             in the merged model. Use it unmerged (--adapter), or fine-tune with --mode full",
            counted(codes, "code")
        );
    }
    errln!("{}", a.output.display());
    Ok(())
}

fn loss(
    a: &Merge,
    source: Rc<dyn ByteSource>,
    adapter: Option<Adapter>,
    (data, text): (&Path, &mut Option<EvalText>),
) -> Result<f64> {
    let (mut session, _) = model::load(source, adapter, LoadOptions::of(&a.model))?;
    let loaded = session.loaded()?;
    let text = match text {
        Some(text) => text,
        none => none.insert(model::evaluation(loaded, data)?),
    };
    let mut silent = |_, _| {};
    let result = infer::evaluate_tokens(&mut loaded.model, text, &mut silent);
    Ok(pollster::block_on(result)?.loss)
}

fn print(report: &Report) {
    for m in &report.matrices {
        match m.changed {
            Some(changed) => outln!(
                "{:44} {:8} {changed} of {} changed ({:.2} %)",
                m.name,
                m.mode,
                counted(m.weights, "code"),
                100.0 * changed as f64 / m.weights.max(1) as f64
            ),
            None => outln!(
                "{:44} {:8} {}, not quantized",
                m.name,
                m.mode,
                counted(m.weights, "weight")
            ),
        }
    }
    if let Some(l) = &report.losses {
        outln!(
            "loss {:.4} before, {:.4} with the adapter, {:.4} merged",
            l.before,
            l.unmerged,
            l.merged
        );
    }
}
