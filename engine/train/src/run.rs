//! A training run in a folder: steps, validation, metrics, checkpoints, resuming.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::best;
use super::checkpoint::{self, Best, Companions, TrainState};
use super::diagnose;
use super::lines::JsonLines;
use super::stats::Statistics;
use super::trainer::{StepReport, Trainer};
use crate::error::{Error, Result};
use ternary_backend::BackendError;
use ternary_common::data::{
    BatchSource, Batches, Prefetch, Stream, StreamPlace, TokenData, TrainingData,
};
use ternary_common::error::IoContext;
use ternary_common::exact::Exact;
use ternary_common::platform::{Instant, Lock};
use ternary_core::config::TrainConfig;

/// Where a run reads and writes.
#[derive(Debug)]
pub struct RunOptions {
    pub output_dir: PathBuf,
    pub companions: Companions,
    /// Continue from the newest checkpoint in `output_dir`.
    pub resume: bool,
    /// Set to stop after the current step, with a checkpoint.
    pub stop: Arc<AtomicBool>,
}

/// What an observer is told.
#[derive(Clone, Debug)]
pub enum Update<'a> {
    Resumed {
        step: usize,
        from: &'a Path,
    },
    Step(StepReport),
    /// A line of `metrics.jsonl` has been written.
    Logged(LoggedStep),
    Saved {
        path: &'a Path,
    },
    /// Something the user should know, not fatal.
    Warning(String),
}

/// The figures of a line of `metrics.jsonl` that people look at while they wait.
#[derive(Clone, Copy, Debug)]
pub struct LoggedStep {
    pub step: usize,
    /// Mean of the steps since the last line, nats per token.
    pub train_loss: f64,
    /// Nats per token; measured at some steps only.
    pub val_loss: Option<f64>,
    pub lr: f64,
    pub tokens_per_second: f64,
}

/// Receives a run's progress.
pub type Observer<'a> = &'a mut dyn FnMut(Update);

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunSummary {
    pub step: usize,
    /// Before `max_steps`: asked to, or because validation got no better.
    pub stopped: bool,
    /// Validations in a row without a lower loss, when they ended the run.
    pub out_of_patience: Option<usize>,
    pub train_loss: f64,
    pub val_loss: Option<f64>,
    pub checkpoint: PathBuf,
}

/// Settings of a resumed run that make it go on differently than it would have.
fn changes(was: &TrainConfig, is: &TrainConfig) -> Vec<String> {
    // These only say how often something is written or measured.
    const HARMLESS: [&str; 7] = [
        "save_every",
        "keep_last",
        "keep_best",
        "log_every",
        "eval_every",
        "eval_batches",
        "stats_every",
    ];
    let (Ok(was), Ok(is)) = (serde_json::to_value(was), serde_json::to_value(is)) else {
        return Vec::new();
    };
    let fields = was.as_object().into_iter().flatten();
    fields
        .filter(|(key, value)| !HARMLESS.contains(&key.as_str()) && is[*key] != **value)
        .map(|(key, value)| format!("{key} was {value}, is {}", is[key]))
        .collect()
}

/// Batches of `data` for the trainer, from its step on.
fn source(
    data: &TrainingData,
    trainer: &Trainer,
    place: Option<StreamPlace>,
) -> Result<Box<dyn BatchSource>> {
    let (train, seq, vocab) = (&trainer.train, trainer.seq, trainer.config.vocab_size);
    Ok(match data {
        TrainingData::Tokens(t) => {
            Box::new(Prefetch::new(Batches::new(t, seq, train.seed, vocab)?))
        }
        TrainingData::Texts(t) => {
            let shuffle = train.shuffle_buffer;
            Box::new(Stream::new(t, seq, train.seed, vocab, shuffle, place)?)
        }
    })
}

/// Train to `max_steps`, or until stopped. The trainer must be new; with `resume` it is brought to
/// the newest checkpoint.
///
/// # Errors
/// Data or folders that do not fit, files that cannot be written, and a training that leaves the
/// finite numbers or its device: the error then names the step, the parameter if there is one, and
/// the last good checkpoint.
///
/// ```
/// use ternary_backend::cpu::CpuBackend;
/// use ternary_core::config::{ModelConfig, TrainConfig};
/// use ternary_common::data::{TokenData, TrainingData};
/// use ternary_train::{RunOptions, Trainer, checkpoint::Companions, run};
///
/// let config = ModelConfig {
///     vocab_size: 10, hidden_size: 16, num_heads: 2, num_layers: 1, intermediate_size: 32, max_seq_len: 8, ..ModelConfig::default()
/// };
/// let train = TrainConfig { max_steps: 3, ..TrainConfig::default() };
/// let ids: Vec<u32> = (0..500).map(|i| i % 10).collect();
/// let data = TrainingData::from(TokenData::from_ids(&ids, 10)?);
/// let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config, train)?;
/// let dir = tempfile::tempdir().unwrap();
/// let options = RunOptions {
///     output_dir: dir.path().join("run"),
///     companions: Companions { tokenizer: "{}".into(), chat_template: None },
///     resume: false,
///     stop: Default::default(),
/// };
/// let summary = pollster::block_on(run(&mut trainer, &data, None, &options, &mut |_| {}))?;
/// assert!(summary.step == 3 && summary.checkpoint.ends_with("step-0000003"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn run(
    trainer: &mut Trainer,
    data: &TrainingData,
    validation: Option<&TokenData>,
    options: &RunOptions,
    observe: Observer<'_>,
) -> Result<RunSummary> {
    let result = steps(trainer, data, validation, options, observe).await;
    result.map_err(|e| {
        let what = match &e {
            Error::Training(what) => what.clone(),
            Error::Io { .. } => e.to_string(),
            Error::Backend(BackendError::DeviceLost(_)) => format!(
                "{e}. Training stopped; the last step known to be good is {}",
                trainer.reported_step()
            ),
            _ => return e,
        };
        match checkpoint::last_good(&options.output_dir) {
            Ok(Some(good)) => Error::Training(format!(
                "{what}. The last good checkpoint is {}",
                good.display()
            )),
            Ok(None) => Error::Training(format!("{what}. There is no good checkpoint yet")),
            Err(_) => e,
        }
    })
}

async fn steps(
    trainer: &mut Trainer,
    data: &TrainingData,
    validation: Option<&TokenData>,
    options: &RunOptions,
    observe: Observer<'_>,
) -> Result<RunSummary> {
    let dir = &options.output_dir;
    let lock = || {
        let taken = format!(
            "another training is writing to {}; wait for it to end, or choose another --output-dir",
            dir.display()
        );
        Lock::take(&dir.join(".lock"), &taken)
    };
    // A run that is refused leaves nothing behind: a new folder is made once it is certain.
    let mut held = dir.is_dir().then(lock).transpose()?;
    let (vocab, seq) = (trainer.config.vocab_size, trainer.seq);
    let validation = validation
        .map(|d| Batches::new(d, seq, 0, vocab))
        .transpose()
        .map_err(|e| Error::Data(format!("validation data: {e}")))?;
    let checksum = data.checksum();
    let mut tokens_seen = 0u64;
    let mut companions = options.companions.clone();
    let mut resumed = None;
    let (mut val_loss, mut train_loss, mut first_loss) = (None, f64::NAN, None);
    let (mut sum, mut steps) = (0.0, 0usize);
    let (mut best, mut place, mut seconds) = (None, None, 0.0);
    if options.resume {
        let newest = checkpoint::newest(dir)?.ok_or_else(|| {
            Error::Checkpoint(format!("--resume: {} has no checkpoint", dir.display()))
        })?;
        let (state, had) = checkpoint::restore(trainer, &newest)?;
        if state.data_checksum != checksum {
            return Err(Error::Checkpoint(
                "--resume: the training data differs from the checkpoint's; give the same --data-dir".into(),
            ));
        }
        if state.teacher != trainer.teacher() {
            return Err(Error::Checkpoint(
                "--resume: the run had another teacher, or none; give the same --teacher".into(),
            ));
        }
        // A template given once stays with the model.
        companions.chat_template = companions.chat_template.or(had.chat_template);
        tokens_seen = state.tokens_seen;
        resumed = Some(state.step);
        val_loss = state.last_val_loss;
        train_loss = state.last_train_loss.unwrap_or(f64::NAN);
        first_loss = state.first_loss;
        (sum, steps) = (state.unlogged.0.0, state.unlogged.1);
        // Only a checkpoint that is kept has a file that names it.
        let kept = best::reconcile(dir, state.best.filter(|_| trainer.train.keep_best))?;
        best = if trainer.train.keep_best {
            kept
        } else {
            state.best
        };
        (place, seconds) = (state.place, state.seconds);
        observe(Update::Resumed {
            step: state.step,
            from: &newest,
        });
        let changes = changes(&state.train, &trainer.train);
        if !changes.is_empty() {
            observe(Update::Warning(format!(
                "the run continues with other settings than it had: {}",
                changes.join(", ")
            )));
        }
    } else if let Some(newest) = checkpoint::list(dir)?.pop() {
        return Err(Error::Checkpoint(format!(
            "{} exists; add --resume to continue it or choose another --output-dir",
            newest.display()
        )));
    }
    if trainer.train.early_stop_patience > 0 && validation.is_none() {
        return Err(Error::Training(
            "early_stop_patience is set, but there is no validation data to judge by".into(),
        ));
    }
    let mut batches = source(data, trainer, place)?;
    if held.is_none() {
        std::fs::create_dir_all(dir).at("create", dir)?;
        held = Some(lock()?);
    }
    let mut metrics = JsonLines::open(dir.join("metrics.jsonl"), resumed)?;
    let train = trainer.train.clone();
    let statistics = match train.stats_every {
        // The codes beside adapters never change; asked for, `TrainConfig::validate` refuses them.
        _ if train.lora.is_some() => false,
        None => validation.is_some(),
        Some(every) => every > 0,
    };
    let mut statistics = if statistics {
        let lines = JsonLines::open(dir.join("layers.jsonl"), resumed)?;
        Some((Statistics::new(trainer).await?, lines))
    } else {
        None
    };
    let windows = validation
        .as_ref()
        .map(|v| v.fixed(train.eval_batches.max(1) * train.batch_size));
    let uniform = libm::log(vocab as f64);
    let mut warned = false;
    let (mut tokens, mut since) = (0usize, Instant::now());
    let began = Instant::now();
    let mut saved = None;
    let mut out_of_patience = None;

    while trainer.step < train.max_steps {
        let step = trainer.step + 1;
        let last = step == train.max_steps;
        let every = |n: usize| n > 0 && step.is_multiple_of(n);
        let due = [
            every(train.log_every),
            every(train.eval_every),
            every(train.save_every),
            train.stats_every.is_some_and(every),
            // What the first loss was helps to say what is wrong later.
            step == 1,
        ];
        let report = last || due.contains(&true);
        let mut reports = trainer.step(batches.as_mut(), report).await?;
        let mut seen = |reports: &[StepReport]| {
            for report in reports {
                sum += report.loss;
                first_loss = first_loss.or((report.step == 1).then_some(report.loss));
                observe(Update::Step(*report));
            }
        };
        seen(&reports);
        let stop = options.stop.load(Ordering::Relaxed);
        if stop {
            let rest = trainer.report().await?;
            seen(&rest);
            reports.extend(rest);
        }
        steps += reports.len();
        let made: usize = reports.iter().map(|r| r.tokens).sum();
        tokens += made;
        tokens_seen += made as u64;

        let (mut measured, mut improved) = (None, false);
        if let (Some(v), Some(windows)) = (&validation, &windows)
            && (last || every(train.eval_every))
        {
            let paused = Instant::now();
            let loss = trainer.validation_loss(v, windows).await?;
            (measured, val_loss) = (Some(loss), Some(loss));
            if loss.is_finite() && best.is_none_or(|b: Best| loss < b.val_loss.0) {
                improved = train.keep_best;
                best = Some(Best {
                    step,
                    val_loss: Exact(loss),
                });
            }
            since += paused.elapsed();
        }
        let due = train.stats_every.map_or(measured.is_some(), every);
        if due && let Some((statistics, lines)) = &mut statistics {
            let paused = Instant::now();
            let matrices = statistics.measure(trainer).await?;
            lines.line(&json!({"step": step, "matrices": matrices}))?;
            since += paused.elapsed();
        }
        if let Some(report) = reports.last()
            && (every(train.log_every) || last || measured.is_some() || stop)
        {
            train_loss = sum / steps as f64;
            let speed = tokens as f64 / since.elapsed().as_secs_f64().max(1e-9);
            let mut line = json!({
                "step": step,
                "train_loss": train_loss,
                "learning_rate": report.lr,
                "tokens_per_second": speed,
                "grad_norm": report.grad_norm,
                "tokens": tokens_seen,
                "seconds": seconds + began.elapsed().as_secs_f64(),
            });
            if let Some(loss) = measured {
                line["val_loss"] = json!(loss);
            }
            if let Some(kl) = trainer.divergence().await? {
                line["kl"] = json!(kl);
            }
            metrics.line(&line)?;
            observe(Update::Logged(LoggedStep {
                step,
                train_loss,
                val_loss: measured,
                lr: report.lr,
                tokens_per_second: speed,
            }));
            if !warned && step > train.lr_warmup_steps.max(50) && train_loss > uniform {
                warned = true;
                let (config, train) = (&trainer.config, &train);
                observe(Update::Warning(diagnose::above_uniform(
                    train_loss, uniform, first_loss, config, train,
                )));
            }
            (sum, steps) = (0.0, 0);
            (tokens, since) = (0, Instant::now());
        }
        let stale = best.map_or(0, |b: Best| (step - b.step) / train.eval_every.max(1));
        if measured.is_some() && train.early_stop_patience > 0 && stale >= train.early_stop_patience
        {
            out_of_patience = Some(stale);
        }
        let stop = stop || out_of_patience.is_some();
        if last || stop || every(train.save_every) || improved {
            let paused = Instant::now();
            let mut state = TrainState::new(step, &train, tokens_seen, checksum);
            (state.last_val_loss, state.last_train_loss) =
                (val_loss, train_loss.is_finite().then_some(train_loss));
            (state.first_loss, state.unlogged) = (first_loss, (Exact(sum), steps));
            state.best = best;
            state.place = batches.place();
            state.teacher = trainer.teacher();
            state.seconds = seconds + began.elapsed().as_secs_f64();
            let spared = best.filter(|_| trainer.train.keep_best);
            let path = loop {
                match checkpoint::save(trainer, dir, &companions, &state).await {
                    // An old checkpoint is worth less than the newest.
                    Err(Error::Io(e)) if e.cause.kind() == std::io::ErrorKind::StorageFull => {
                        let Some(old) = checkpoint::make_room(dir, spared)? else {
                            return Err(e.into());
                        };
                        observe(Update::Warning(format!(
                            "the disk is full: {} has been removed to make room",
                            old.display()
                        )));
                    }
                    saved => break saved?,
                }
            };
            if improved && let Some(best) = best {
                best.write(dir)?;
            }
            checkpoint::prune(dir, train.keep_last, best.filter(|_| train.keep_best))?;
            observe(Update::Saved { path: &path });
            saved = Some(path);
            since += paused.elapsed();
        }
        if stop {
            break;
        }
    }
    drop(held);
    let checkpoint = match saved {
        Some(path) => path,
        None => checkpoint::resolve(dir)?,
    };
    Ok(RunSummary {
        step: trainer.step,
        stopped: trainer.step < train.max_steps,
        out_of_patience,
        train_loss,
        val_loss,
        checkpoint,
    })
}
