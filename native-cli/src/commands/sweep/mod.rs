//! `onebit train --sweep`: trainings that differ in some fields, the worst of them given up early.
//! Each is a process and a run's folder of its own; the same command goes on where it stopped.

mod plan;
mod settings;
mod table;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ternary::config::{ModelConfig, TrainConfig};
use ternary::platform::{Lock, on_interrupt};
use ternary::words::counted;

use self::plan::{Plan, Trial};
use super::plot::Run;
use super::{tokenize, train};
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
    let lock = || {
        let taken = format!(
            "another sweep or training is writing to {}; wait for it to end, or choose another --output-dir",
            dir.display()
        );
        Lock::take(&dir.join(".lock"), &taken)
    };
    // A sweep that is refused leaves nothing behind: a new folder is made once it is certain.
    let mut held = dir.is_dir().then(lock).transpose()?;
    let tokenizer = tokenize::read(&a.tokenizer)?;
    let (mut trials, configs) = trials(dir, &plan, tokenizer.0.vocab_size())?;
    if plan.trials.is_some_and(|asked| asked > trials.len()) {
        errln!(
            "the fields make {} that differ, fewer than `trials` asks for",
            counted(trials.len(), "trial")
        );
    }
    let asked = json!({
        "plan": plan,
        "fields": settings::fields(&configs)?,
        "sources": settings::sources(a, &tokenizer)?,
    });
    if held.is_none() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        held = Some(lock()?);
    }
    let record = Record {
        path: dir.join("sweep.json"),
        // Numbers that are read may differ in their last digit from those that were written.
        asked: serde_json::from_str(&asked.to_string())?,
    };
    record.check(path, &trials)?;
    record.save(&trials)?;
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
            "rung {} of {}: {} to {:.0} % of the steps",
            i + 1,
            plan.rungs.len(),
            counted(going.len(), "trial"),
            100.0 * share
        );
        for at in &going {
            let tried = &mut trials[*at];
            if climb(tried, *share, &stop)? {
                let told = match &tried.failed {
                    Some(reason) => reason.clone(),
                    None => format!("loss {:.4}", tried.loss()),
                };
                errln!(
                    "trial {} ({}): {told}",
                    tried.number,
                    table::fields(&tried.fields)
                );
            }
            record.save(&trials)?;
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
    drop(held);
    Ok(())
}

/// `sweep.json`: what was asked for, and what came of it.
struct Record {
    path: PathBuf,
    asked: Value,
}

impl Record {
    /// Whether what lies in the folder was asked for in the same words; `plan` is the sweep's file.
    fn check(&self, plan: &Path, trials: &[Tried]) -> Result<()> {
        let path = self.path.display();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let before = trials.iter().flat_map(|tried| &tried.trainings);
                if let Some(training) = before.into_iter().find(|one| one.folder.exists()) {
                    bail!(
                        "{} exists, but {path} is not there to say what it was trained with; choose another --output-dir",
                        training.folder.display()
                    );
                }
                return Ok(());
            }
            Err(e) => return Err(e).with_context(|| format!("cannot read {path}")),
        };
        let before: Value = serde_json::from_str(&text)
            .with_context(|| format!("{path} is damaged; choose another --output-dir"))?;
        ensure!(
            before["plan"] == self.asked["plan"],
            "{path} is of another sweep than {}; choose another --output-dir",
            plan.display()
        );
        ensure!(
            before["sources"].is_object() && before["fields"].is_object(),
            "{path} does not say with what data and settings its trials were trained; choose another --output-dir"
        );
        let differences = settings::differences(&before, &self.asked);
        ensure!(
            differences.is_empty(),
            "{path} is of a sweep with other data or settings: {}; give the same to go on, or choose another --output-dir",
            differences.join("; ")
        );
        Ok(())
    }

    fn save(&self, trials: &[Tried]) -> Result<()> {
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
        let mut all = self.asked.clone();
        all["trials"] = trials.into();
        write(&self.path, serde_json::to_string_pretty(&all)?.as_bytes())
    }
}

/// What trainings are made with.
type Configs = Vec<(ModelConfig, TrainConfig)>;

/// Every trial with the arguments of its trainings, and the configs of all trainings: they are
/// checked before one begins.
fn trials(dir: &Path, plan: &Plan, vocab: usize) -> Result<(Vec<Tried>, Configs)> {
    let base = base_arguments(std::env::args_os(), plan);
    // What is odd about one is odd about all.
    let told = log::max_level();
    let (mut all, mut configs) = (Vec::new(), Vec::new());
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
            let (model, config) = train::read_config(&train, vocab)
                .with_context(|| format!("trial {number} ({})", table::fields(&fields)))?;
            log::set_max_level(told.min(log::LevelFilter::Error));
            configs.push((model, config.clone()));
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
    Ok((all, configs))
}

/// The command's arguments without those that every training has of its own.
fn base_arguments(all: impl Iterator<Item = OsString>, plan: &Plan) -> Vec<OsString> {
    let mut own: Vec<String> = ["sweep", "output-dir"].map(str::to_owned).to_vec();
    own.extend(plan.fields.keys().map(|field| field.replace('_', "-")));
    if plan.fields.contains_key("layer_bit_map") {
        own.push("bit-map".to_owned());
    }
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
            // The one flag whose value stands behind `=` or not at all.
            skip = !joined && name != "random-modes";
            continue;
        }
        kept.push(argument);
    }
    kept
}

/// Train to `share` of the steps, unless that has been done. False if it was stopped before.
fn climb(tried: &mut Tried, share: f64, stop: &AtomicBool) -> Result<bool> {
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
            let problem = train(training, steps, max_steps)?;
            if problem.is_some() && !stop.load(Ordering::Relaxed) {
                tried.failed = problem;
                return Ok(true);
            }
            loss = loss_at(&training.folder, steps);
        }
        match loss {
            Some(loss) => losses.push(loss),
            None if stop.load(Ordering::Relaxed) => return Ok(false),
            None => {
                tried.failed = Some("no finite validation loss".to_owned());
                return Ok(true);
            }
        }
    }
    tried.reached = Some((steps, losses));
    Ok(true)
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
