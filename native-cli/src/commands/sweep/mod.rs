//! `onebit train --sweep`: trainings that differ in some fields, the worst of them given up early.
//! Each is a process and a run's folder of its own; the same command goes on where it stopped.

mod plan;
mod table;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ternary::config::TrainConfig;
use ternary::platform::on_interrupt;

use self::plan::{Plan, Trial};
use super::plot::Run;
use super::tokenize;
use crate::args::{Along, Cli, Metric, Train};
use crate::model;
use crate::output::{self, errln, outln};

/// A training of a trial.
struct Training {
    folder: PathBuf,
    arguments: Vec<OsString>,
    config: TrainConfig,
}

/// A trial with what came of it.
pub struct Tried {
    pub number: usize,
    pub fields: Trial,
    trainings: Vec<Training>,
    /// Steps of the last rung that it reached, and the loss of each seed there.
    pub reached: Option<(usize, Vec<f64>)>,
    /// Why it has none.
    pub failed: Option<String>,
}

impl Tried {
    /// Mean of the seeds'.
    pub fn loss(&self) -> f64 {
        match &self.reached {
            Some((_, losses)) => losses.iter().sum::<f64>() / losses.len() as f64,
            None => f64::INFINITY,
        }
    }
}

/// `a.sweep` is `path`.
pub fn run(a: &Train, path: &Path) -> Result<()> {
    ensure!(
        a.training.val_data_dir.is_some(),
        "--sweep compares losses on validation data: name it with --val-data-dir"
    );
    let text = model::read_small(path, "the sweep")?;
    let plan = Plan::read(&text).with_context(|| path.display().to_string())?;
    let dir = a.training.output_dir.as_path();
    let record = dir.join("sweep.json");
    if let Ok(before) = fs::read_to_string(&record) {
        let before: Value = serde_json::from_str(&before).unwrap_or_default();
        ensure!(
            before["plan"] == serde_json::to_value(&plan)?,
            "{} is of another sweep than {}; choose another --output-dir",
            record.display(),
            path.display()
        );
    }
    let vocab = tokenize::read(&a.tokenizer)?.0.vocab_size();
    let mut trials = trials(dir, &plan, vocab)?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // The training in front is told by the terminal, too; a second time ends this, as well.
    on_interrupt(move |interrupt| {
        if flag.swap(true, Ordering::Relaxed) {
            output::exit(interrupt.exit_code());
        }
    })?;
    let mut going: Vec<usize> = (0..trials.len()).collect();
    for (i, share) in plan.rungs.iter().enumerate() {
        if i > 0 {
            going.retain(|at| trials[*at].failed.is_none());
            going.sort_by(|a, b| trials[*a].loss().total_cmp(&trials[*b].loss()));
            going.truncate(plan.kept(going.len()));
        }
        errln!(
            "rung {} of {}: {} trials to {:.0} % of their steps",
            i + 1,
            plan.rungs.len(),
            going.len(),
            100.0 * share
        );
        for at in &going {
            let tried = &mut trials[*at];
            climb(tried, *share, &stop)?;
            let told = match &tried.failed {
                Some(reason) => reason.clone(),
                None => format!("loss {:.4}", tried.loss()),
            };
            errln!(
                "trial {} ({}): {told}",
                tried.number,
                table::fields(&tried.fields)
            );
            save(&record, &plan, &trials)?;
            if stop.load(Ordering::Relaxed) {
                errln!("stopped; the same command goes on");
                return Ok(());
            }
        }
    }
    let names: Vec<PathBuf> = table::best(&trials)
        .iter()
        .filter_map(|tried| tried.trainings.first())
        .map(|training| training.folder.clone())
        .collect();
    let table = table::markdown(&trials);
    outln!("{table}");
    write(&dir.join("sweep.md"), table.as_bytes())?;
    if !names.is_empty() {
        let picture = dir.join("sweep.svg");
        super::plot::run(&super::plot::of_validation(names, picture))?;
    }
    Ok(())
}

/// Every trial with the arguments of its trainings: all are checked before one begins.
fn trials(dir: &Path, plan: &Plan, vocab: usize) -> Result<Vec<Tried>> {
    let base = base_arguments(std::env::args_os(), plan);
    // What is odd about one is odd about all.
    let told = log::max_level();
    let mut all = Vec::new();
    for (i, fields) in plan.trials()?.into_iter().enumerate() {
        let number = i + 1;
        let own = dir.join(format!("trial-{number:03}"));
        let mut trainings = Vec::new();
        let seeds: Vec<Option<u64>> = match plan.seeds.is_empty() {
            true => vec![None],
            false => plan.seeds.iter().copied().map(Some).collect(),
        };
        for seed in seeds {
            let folder = match seed {
                Some(seed) => own.join(format!("seed-{seed}")),
                None => own.clone(),
            };
            let mut arguments = base.clone();
            for (field, value) in &fields {
                arguments.push("--set".into());
                arguments.push(format!("{field}={value}").into());
            }
            if let Some(seed) = seed {
                arguments.push(format!("--seed={seed}").into());
            }
            arguments.push("--output-dir".into());
            arguments.push(folder.clone().into());
            let train = Cli::train_of(&arguments)?;
            let (_, config) = super::train::read_config(&train, vocab)
                .with_context(|| format!("trial {number} ({})", table::fields(&fields)))?;
            log::set_max_level(told.min(log::LevelFilter::Error));
            trainings.push(Training {
                folder,
                arguments,
                config,
            });
        }
        all.push(Tried {
            number,
            fields,
            trainings,
            reached: None,
            failed: None,
        });
    }
    log::set_max_level(told);
    Ok(all)
}

/// The command's arguments without those that every training has of its own.
fn base_arguments(all: impl Iterator<Item = OsString>, plan: &Plan) -> Vec<OsString> {
    let mut own: Vec<String> = ["sweep", "output-dir"].map(str::to_owned).to_vec();
    own.extend(plan.fields.keys().map(|field| field.replace('_', "-")));
    if !plan.seeds.is_empty() {
        own.push("seed".to_owned());
    }
    let mut kept = Vec::new();
    let mut skip = false;
    for argument in all.skip(1) {
        if std::mem::take(&mut skip) {
            continue;
        }
        let text = argument.to_string_lossy();
        let flag = text.strip_prefix("--").unwrap_or_default();
        let (name, joined) = match flag.split_once('=') {
            Some((name, _)) => (name, true),
            None => (flag, false),
        };
        if own.iter().any(|own| own == name) {
            skip = !joined;
            continue;
        }
        kept.push(argument);
    }
    kept
}

/// Train to `share` of the steps, unless that has been done.
fn climb(tried: &mut Tried, share: f64, stop: &AtomicBool) -> Result<()> {
    let mut losses = Vec::new();
    let mut steps = 0;
    for training in &tried.trainings {
        let TrainConfig {
            max_steps,
            eval_every,
            ..
        } = training.config;
        // Where validation is measured.
        let wanted = (share * max_steps as f64).ceil() as usize;
        steps = match share < 1.0 && eval_every > 0 {
            true => wanted.next_multiple_of(eval_every).min(max_steps),
            false => wanted.min(max_steps),
        };
        let mut loss = loss_at(&training.folder, steps);
        if loss.is_none() {
            if let Some(problem) = train(training, steps, max_steps)? {
                tried.failed = Some(problem);
                return Ok(());
            }
            loss = loss_at(&training.folder, steps);
        }
        match loss {
            Some(loss) => losses.push(loss),
            None if stop.load(Ordering::Relaxed) => return Ok(()),
            None => {
                tried.failed = Some("no finite validation loss".to_owned());
                return Ok(());
            }
        }
    }
    tried.reached = Some((steps, losses));
    Ok(())
}

/// The validation loss at a step, or the last one before it if the run got there.
fn loss_at(folder: &Path, steps: usize) -> Option<f64> {
    let run = Run::read(folder).ok()?;
    let reached = run.curve(Metric::TrainLoss, Along::Step).ok()?;
    let last = reached.points.last()?.0;
    let losses = run.curve(Metric::ValLoss, Along::Step).ok()?;
    let before = losses
        .points
        .iter()
        .rev()
        .find(|(step, _)| *step <= steps as f64);
    let (_, loss) = before.filter(|_| last >= steps as f64)?;
    loss.is_finite().then_some(*loss)
}

/// Train in a process of its own; what it says goes to its folder. Returns what went wrong.
fn train(training: &Training, steps: usize, max_steps: usize) -> Result<Option<String>> {
    let folder = &training.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let log = folder.join("log.txt");
    let to = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let program = std::env::current_exe().context("this program's own file is not known")?;
    let mut command = Command::new(program);
    command.args(&training.arguments).stdin(Stdio::null());
    if steps < max_steps {
        command.arg(format!("--pause-at={steps}"));
    }
    if !ternary::train::checkpoint::list(folder)?.is_empty() {
        command.arg("--resume");
    }
    let status = command
        .stdout(to.try_clone()?)
        .stderr(to)
        .status()
        .context("cannot start a training")?;
    if status.success() {
        return Ok(None);
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Ok(Some(format!(
        "failed: {}; {} has all of it",
        last.unwrap_or("it said nothing")
            .trim_start_matches("error: "),
        log.display()
    )))
}

fn save(path: &Path, plan: &Plan, trials: &[Tried]) -> Result<()> {
    let trials: Vec<Value> = trials
        .iter()
        .map(|tried| {
            let (steps, losses) = match &tried.reached {
                Some((steps, losses)) => (Some(*steps), losses.as_slice()),
                None => (None, &[][..]),
            };
            json!({
                "trial": tried.number,
                "fields": tried.fields,
                "steps": steps,
                "losses": losses,
                "failed": tried.failed,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "plan": plan, "trials": trials }))?;
    write(path, text.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    output::replace(path, |draft| {
        fs::write(draft, bytes).with_context(|| format!("cannot write {}", path.display()))
    })
}

/// Refuse what a sweep does by itself.
pub fn check(a: &Train) -> Result<()> {
    if a.training.resume {
        bail!("--sweep goes on by itself where it stopped: leave --resume out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trainings_get_the_commands_other_arguments() {
        let plan =
            Plan::read(r#"{"fields": {"lr": [1], "batch_size": [2]}, "seeds": [1]}"#).unwrap();
        let said = "onebit train --config c.json --sweep s.json --lr 3e-3 --batch-size=8 \
                    --output-dir out --seed 5 --set dropout=0.1 --threads 1";
        let all = said.split_whitespace().map(OsString::from);
        let kept = base_arguments(all, &plan);
        let kept: Vec<_> = kept.iter().map(|a| a.to_string_lossy()).collect();
        assert_eq!(
            kept.join(" "),
            "train --config c.json --set dropout=0.1 --threads 1"
        );
    }
}
