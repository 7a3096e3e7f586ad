//! `onebit eval`.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, json};
use ternary::data::{Task, tasks};
use ternary::infer::{self, Answer, Asked, Estimate, Score};
use ternary::words::counted;

use crate::args::Eval;
use crate::output::{errln, outln};
use crate::{model, progress};

pub fn run(a: &Eval) -> Result<()> {
    match (&a.tasks, &a.data) {
        (Some(path), _) => questions(a, path),
        (None, Some(path)) => text(a, path),
        (None, None) => anyhow::bail!("--data or --tasks says what to evaluate on"),
    }
}

fn text(a: &Eval, path: &Path) -> Result<()> {
    let (mut session, _) = model::open(&a.model)?;
    let loaded = session.loaded()?;
    let text = model::evaluation(loaded, path)?;
    let bar = progress::bar(0, "evaluating {bar:30} {pos}/{len} tokens {eta}");
    let result = pollster::block_on(infer::evaluate_tokens(
        &mut loaded.model,
        &text,
        &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        },
    ))?;
    bar.finish_and_clear();
    if a.json {
        outln!("{}", serde_json::to_string(&result)?);
    } else {
        outln!("tokens           {}", result.tokens);
        outln!("loss             {:.4} nats/token", result.loss);
        outln!("perplexity       {:.3}", result.perplexity);
        outln!("bits per byte    {:.4}", result.bits_per_byte);
        outln!("word perplexity  {:.2}", result.word_perplexity);
    }
    Ok(())
}

fn questions(a: &Eval, path: &Path) -> Result<()> {
    // Before a model is loaded for them.
    let mut all = tasks(path)?;
    if let Some(limit) = a.limit {
        all.iter_mut()
            .for_each(|task| task.questions.truncate(limit as usize));
    }
    let (mut service, adapter) = model::service(&a.model, false)?;
    let count = all.iter().map(|task| task.questions.len() as u64).sum();
    let bar = progress::bar(count, "evaluating {bar:30} {pos}/{len} questions {eta}");
    let mut scores = Vec::new();
    for task in &all {
        let before = bar.position();
        let asked = asked(task);
        let mut tell = |done| bar.set_position(before + done as u64);
        let scored = pollster::block_on(service.score(&asked, adapter, &mut tell));
        let score = scored.with_context(|| format!("task {}", task.name))?;
        scores.push((task, score));
    }
    bar.finish_and_clear();
    if a.json {
        let mut results = Map::new();
        for (task, score) in &scores {
            results.insert(task.name.clone(), figures(task, score));
        }
        outln!("{}", json!({ "results": results }));
        return Ok(());
    }
    let width = scores
        .iter()
        .map(|(task, _)| task.name.len())
        .max()
        .unwrap_or(0)
        .max(4);
    outln!("{:width$}  questions  figure      value    stderr", "task");
    for (task, score) in &scores {
        let row = |name: &str, of: Option<Estimate>| {
            if let Some(Estimate { value, stderr }) = of {
                outln!(
                    "{:width$}  {:>9}  {name:10} {value:>6.4}  ± {stderr:.4}",
                    task.name,
                    score.questions
                );
            }
        };
        row("acc", Some(score.acc));
        row("acc_norm", score.acc_norm);
        row("perplexity", score.perplexity);
        if score.cut > 0 {
            errln!(
                "{}: the beginning of {} was left out to fit the model's context",
                task.name,
                counted(score.cut, "context")
            );
        }
    }
    Ok(())
}

fn asked(task: &Task) -> Vec<Asked<'_>> {
    task.questions
        .iter()
        .map(|question| {
            let answers = question.answers.iter().zip(&question.lengths);
            let answers = answers.map(|((context, continuation), letters)| Answer {
                context,
                continuation,
                letters: *letters,
            });
            (answers.collect(), question.right)
        })
        .collect()
}

/// As lm-evaluation-harness names them.
fn figures(task: &Task, score: &Score) -> serde_json::Value {
    let mut all = json!({
        "shape": task.shape.name(),
        "questions": score.questions,
        "cut": score.cut,
    });
    let found = [
        ("acc", Some(score.acc)),
        ("acc_norm", score.acc_norm),
        ("perplexity", score.perplexity),
    ];
    for (name, of) in found {
        if let Some(Estimate { value, stderr }) = of {
            all[name] = json!(value);
            all[format!("{name}_stderr")] = json!(stderr);
        }
    }
    all
}
