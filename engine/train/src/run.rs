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
use super::steps::{Due, StepDone, StepObserver, Steps, Unlogged, Validation, batches};
use super::tensorboard::Events;
use super::trainer::{Preferred, StepReport, Trainer};
use crate::error::{Error, Result};
use ternary_backend::BackendError;
use ternary_common::data::{BatchSource, Prefetch, Stream, StreamPlace, TokenData, TrainingData};
use ternary_common::error::IoContext;
use ternary_common::exact::Exact;
use ternary_common::platform::{Instant, Lock};
use ternary_core::config::TrainConfig;
use ternary_core::words::counted;

/// Where a run reads and writes.
#[derive(Debug)]
pub struct RunOptions {
    /// The run's folder; made if it is not there.
    pub output_dir: PathBuf,
    /// What every checkpoint has besides the weights.
    pub companions: Companions,
    /// Continue from the newest checkpoint in `output_dir`.
    pub resume: bool,
    /// Set to stop after the current step, with a checkpoint.
    pub stop: Arc<AtomicBool>,
    /// Write the figures of `metrics.jsonl` as TensorBoard's events, too.
    pub tensorboard: bool,
}

/// What an observer is told.
#[derive(Clone, Debug)]
pub enum Update<'a> {
    /// The run goes on from a checkpoint.
    Resumed {
        /// Steps done before.
        step: usize,
        /// The checkpoint.
        from: &'a Path,
    },
    /// A step's figures were read back.
    Step(StepReport),
    /// A line of `metrics.jsonl` has been written.
    Logged(LoggedStep),
    /// A checkpoint has been written.
    Saved {
        /// Its folder.
        path: &'a Path,
    },
    /// Something the user should know, not fatal.
    Warning(String),
}

/// The figures of a line of `metrics.jsonl` that people look at while they wait.
#[derive(Clone, Copy, Debug)]
pub struct LoggedStep {
    /// Steps done.
    pub step: usize,
    /// Mean of the steps since the last line, nats per token; NaN where nothing was learnt.
    pub train_loss: f64,
    /// Nats per token; measured at some steps only.
    pub val_loss: Option<f64>,
    /// Of the newest step.
    pub lr: f64,
    /// Since the last line, pauses left out.
    pub tokens_per_second: f64,
    /// Of preference pairs, since the last line.
    pub preferred: Option<Preferred>,
    /// Of held-back preference pairs, where they were measured.
    pub val_preferred: Option<Preferred>,
}

/// Receives a run's progress.
pub type Observer<'a> = &'a mut dyn FnMut(Update);

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Steps done.
    pub step: usize,
    /// Before `max_steps`: asked to, or because validation got no better.
    pub stopped: bool,
    /// Validations in a row without a lower loss, when they ended the run.
    pub out_of_patience: Option<usize>,
    /// Of the last line of `metrics.jsonl`; NaN before the first, and where nothing was learnt.
    pub train_loss: f64,
    /// Of the last validation that this run made itself, not before it was resumed: its step, and
    /// nats per token.
    pub validated: Option<(usize, f64)>,
    /// The newest.
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
    // Runs from before there was a choice say nothing, and were packed whole.
    let value = |train: &TrainConfig| {
        serde_json::to_value(TrainConfig {
            packing: Some(train.packing.unwrap_or_default()),
            ..train.clone()
        })
    };
    let (Ok(was), Ok(is)) = (value(was), value(is)) else {
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
        TrainingData::Tokens(t) => Box::new(Prefetch::new(batches(
            t,
            seq,
            train.seed,
            &trainer.config,
            train,
        )?)),
        TrainingData::Texts(t) => {
            let shuffle = train.shuffle_buffer;
            Box::new(Stream::new(t, seq, train.seed, vocab, shuffle, place)?)
        }
    })
}

/// Train to `max_steps`, or until stopped. The trainer must be new; with `resume` it is brought to
/// the newest checkpoint. Of [ranks](ternary_common::ranks) that train together, all call this, and
/// rank 0 alone reads and writes the folder.
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
///     tensorboard: false,
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
    let result = match trainer.leads() {
        true => run_in_folder(trainer, data, validation, options, observe).await,
        false => follow(trainer, data, validation).await,
    };
    result.map_err(|e| {
        let reported = match &e {
            Error::NotFinite { .. } | Error::NoValidation | Error::Io(_) | Error::Rank { .. } => {
                None
            }
            Error::Backend(BackendError::DeviceLost(_)) => Some(trainer.reported_step()),
            _ => return e,
        };
        match checkpoint::last_good(&options.output_dir) {
            Ok(last_good) => Error::RunFailed {
                cause: Box::new(e),
                reported,
                last_good,
            },
            Err(_) => e,
        }
    })
}

/// What a run's checkpoints carry on.
struct Progress {
    /// The step it was resumed at.
    resumed: Option<usize>,
    tokens_seen: u64,
    /// Of the last validation, before or after it was resumed.
    val_loss: Option<f64>,
    /// The last one since then: its step, and its loss.
    validated: Option<(usize, f64)>,
    train_loss: f64,
    first_loss: Option<f64>,
    /// Sum and number of the losses since the last log line.
    unlogged: (f64, usize),
    best: Option<Best>,
    place: Option<StreamPlace>,
    seconds: f64,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            resumed: None,
            tokens_seen: 0,
            val_loss: None,
            validated: None,
            train_loss: f64::NAN,
            first_loss: None,
            unlogged: (0.0, 0),
            best: None,
            place: None,
            seconds: 0.0,
        }
    }
}

/// Bring the trainer to the newest checkpoint in `dir`.
fn resume(
    trainer: &mut Trainer,
    dir: &Path,
    checksum: u32,
    companions: &mut Companions,
    observe: Observer<'_>,
) -> Result<Progress> {
    let newest = checkpoint::newest(dir)?.ok_or_else(|| Error::NothingToResume {
        path: dir.to_owned(),
        run: checkpoint::run_of(dir),
    })?;
    let (state, had) = checkpoint::restore(trainer, &newest)?;
    if state.data_checksum != checksum {
        return Err(Error::ResumeData);
    }
    if state.teacher != trainer.teacher() {
        return Err(Error::ResumeTeacher);
    }
    // A template given once stays with the model.
    if companions.chat_template.is_none() {
        companions.chat_template = had.chat_template;
    }
    // Only a checkpoint that is kept has a file that names it.
    let kept = best::reconcile(dir, state.best.filter(|_| trainer.train.keep_best))?;
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
    Ok(Progress {
        resumed: Some(state.step),
        tokens_seen: state.tokens_seen,
        val_loss: state.last_val_loss,
        validated: None,
        train_loss: state.last_train_loss.unwrap_or(f64::NAN),
        first_loss: state.first_loss,
        unlogged: (state.unlogged.0.0, state.unlogged.1),
        best: if trainer.train.keep_best {
            kept
        } else {
            state.best
        },
        place: state.place,
        seconds: state.seconds,
    })
}

async fn run_in_folder(
    trainer: &mut Trainer,
    data: &TrainingData,
    validation: Option<&TokenData>,
    options: &RunOptions,
    observe: Observer<'_>,
) -> Result<RunSummary> {
    let dir = options.output_dir.as_path();
    let lock = || {
        let taken = format!(
            "another training is writing to {}; wait for it to end, or choose another --output-dir",
            dir.display()
        );
        Lock::take(&dir.join(".lock"), &taken)
    };
    // A run that is refused leaves nothing behind: a new folder is made once it is certain.
    let mut held = dir.is_dir().then(lock).transpose()?;
    let validation = validation
        .map(|d| Validation::new(d, trainer.seq, &trainer.config, &trainer.train))
        .transpose()
        .map_err(|e| Error::ValidationData(Box::new(e)))?;
    let checksum = data.checksum();
    let mut companions = options.companions.clone();
    let progress = if options.resume {
        resume(trainer, dir, checksum, &mut companions, observe)?
    } else if let Some(newest) = checkpoint::list(dir)?.pop() {
        return Err(Error::RunExists { path: newest });
    } else {
        Progress::default()
    };
    if trainer.train.early_stop_patience > 0 && validation.is_none() {
        return Err(Error::NoValidation);
    }
    trainer.same_as_first(checksum)?;
    let place = trainer.told(&progress.place)?;
    trainer.share().await?;
    let mut batches = source(data, trainer, place)?;
    if held.is_none() {
        std::fs::create_dir_all(dir).at("create", dir)?;
        held = Some(lock()?);
    }
    let mut run = FolderRun {
        metrics: JsonLines::open(dir.join("metrics.jsonl"), progress.resumed)?,
        events: options
            .tensorboard
            .then(|| Events::create(dir, progress.resumed))
            .transpose()?,
        statistics: statistics(trainer, validation.is_some(), dir, progress.resumed).await?,
        train: trainer.train.clone(),
        dir,
        companions,
        checksum,
        requested: &options.stop,
        began: Instant::now(),
        warned: false,
        silent: false,
        saved: None,
        out_of_patience: None,
        ending: false,
        progress,
        observe,
    };
    let mut steps = Steps {
        unlogged: Unlogged::new(run.progress.unlogged),
        trainer,
        batches: batches.as_mut(),
        validation: validation.as_ref(),
    };
    steps.run(&mut run).await?;
    let FolderRun {
        progress,
        saved,
        out_of_patience,
        ..
    } = run;
    drop(held);
    let checkpoint = match saved {
        Some(path) => path,
        None => checkpoint::resolve(dir)?,
    };
    Ok(RunSummary {
        step: trainer.step,
        stopped: trainer.step < trainer.train.max_steps,
        out_of_patience,
        train_loss: progress.train_loss,
        validated: progress.validated,
        checkpoint,
    })
}

/// Make the steps of a run that rank 0 writes down.
async fn follow(
    trainer: &mut Trainer,
    data: &TrainingData,
    validation: Option<&TokenData>,
) -> Result<RunSummary> {
    trainer.same_as_first(data.checksum())?;
    let place = trainer.told(&None::<StreamPlace>)?;
    trainer.share().await?;
    let mut batches = source(data, trainer, place)?;
    let validation = validation
        .map(|d| Validation::new(d, trainer.seq, &trainer.config, &trainer.train))
        .transpose()
        .map_err(|e| Error::ValidationData(Box::new(e)))?;
    let mut follower = Follower {
        train: trainer.train.clone(),
        validated: None,
    };
    let mut steps = Steps {
        unlogged: Unlogged::new((0.0, 0)),
        trainer,
        batches: batches.as_mut(),
        validation: validation.as_ref(),
    };
    steps.run(&mut follower).await?;
    Ok(RunSummary {
        step: trainer.step,
        stopped: trainer.step < trainer.train.max_steps,
        out_of_patience: None,
        train_loss: f64::NAN,
        validated: follower.validated,
        checkpoint: PathBuf::new(),
    })
}

/// A rank that only computes.
struct Follower {
    train: TrainConfig,
    validated: Option<(usize, f64)>,
}

impl StepObserver for Follower {
    type Error = Error;

    fn due(&self, step: usize, last: bool) -> Due {
        due(&self.train, step, last)
    }

    fn on_reports(&mut self, _reports: &[StepReport]) {}

    async fn on_step(&mut self, _steps: &mut Steps<'_>, done: StepDone) -> Result<()> {
        let validated = done.val_loss.map(|loss| (done.step, loss));
        self.validated = validated.or(self.validated);
        Ok(())
    }

    fn stops(&self) -> bool {
        false
    }
}

/// The statistics of every matrix and their file, if they are wanted.
async fn statistics(
    trainer: &mut Trainer,
    validated: bool,
    dir: &Path,
    resumed: Option<usize>,
) -> Result<Option<(Statistics, JsonLines)>> {
    let wanted = match trainer.train.stats_every {
        // The codes beside adapters never change; asked for, `TrainConfig::validate` refuses them.
        _ if trainer.train.lora.is_some() => false,
        None => validated,
        Some(every) => every > 0,
    };
    if !wanted {
        return Ok(None);
    }
    let lines = JsonLines::open(dir.join("layers.jsonl"), resumed)?;
    Ok(Some((Statistics::new(trainer).await?, lines)))
}

/// Writes what the steps of a run come to into its folder.
struct FolderRun<'a> {
    dir: &'a Path,
    train: TrainConfig,
    companions: Companions,
    /// Of the training data.
    checksum: u32,
    metrics: JsonLines,
    events: Option<Events>,
    statistics: Option<(Statistics, JsonLines)>,
    progress: Progress,
    began: Instant,
    /// Set from outside to end the run.
    requested: &'a AtomicBool,
    /// It was said that the loss is above uniform guessing.
    warned: bool,
    /// It was said that there are steps of which nothing is learnt.
    silent: bool,
    /// The newest checkpoint of this run.
    saved: Option<PathBuf>,
    out_of_patience: Option<usize>,
    /// The step just made is the last one made.
    ending: bool,
    observe: Observer<'a>,
}

fn every(n: usize, step: usize) -> bool {
    n > 0 && step.is_multiple_of(n)
}

/// What is due after a step, on every rank.
fn due(train: &TrainConfig, step: usize, last: bool) -> Due {
    let due = [
        every(train.log_every, step),
        every(train.save_every, step),
        train.stats_every.is_some_and(|n| every(n, step)),
        // What the first loss was helps to say what is wrong later.
        step == 1,
    ];
    Due {
        report: last || due.contains(&true),
        validate: last || every(train.eval_every, step),
    }
}

impl StepObserver for FolderRun<'_> {
    type Error = Error;

    fn due(&self, step: usize, last: bool) -> Due {
        due(&self.train, step, last)
    }

    fn on_reports(&mut self, reports: &[StepReport]) {
        for report in reports {
            if report.step == 1 && report.learnt > 0 {
                self.progress.first_loss.get_or_insert(report.loss);
            }
            self.progress.tokens_seen += report.tokens as u64;
            (self.observe)(Update::Step(*report));
        }
    }

    async fn on_step(&mut self, steps: &mut Steps<'_>, mut done: StepDone) -> Result<()> {
        // Between two synchronizations there is nothing to save.
        let stop = self.requested.load(Ordering::Relaxed) && steps.trainer.meets_at(done.step);
        if stop {
            let rest = steps.trainer.report().await?;
            steps.unlogged.add(&rest);
            self.on_reports(&rest);
            done.report = rest.last().copied().or(done.report);
        }
        let improved = self.judge(&done);
        self.write_statistics(steps, &done).await?;
        let log =
            every(self.train.log_every, done.step) || done.last || done.val_loss.is_some() || stop;
        if let Some(report) = done.report.filter(|_| log) {
            self.write_metrics(steps, &done, report).await?;
        }
        self.ending = stop || self.out_of_patience.is_some();
        if done.last || self.ending || every(self.train.save_every, done.step) || improved {
            self.save(steps, done.step, improved).await?;
        }
        Ok(())
    }

    fn stops(&self) -> bool {
        self.ending
    }
}

impl FolderRun<'_> {
    fn seconds(&self) -> f64 {
        self.progress.seconds + self.began.elapsed().as_secs_f64()
    }

    /// Whether the step's model is the best so far and to be kept. Notices when no better one is
    /// to be expected.
    fn judge(&mut self, done: &StepDone) -> bool {
        let Some(loss) = done.val_loss else {
            return false;
        };
        let (train, progress) = (&self.train, &mut self.progress);
        progress.val_loss = Some(loss);
        progress.validated = Some((done.step, loss));
        let better = loss.is_finite() && progress.best.is_none_or(|b| loss < b.val_loss.0);
        if better {
            progress.best = Some(Best {
                step: done.step,
                val_loss: Exact(loss),
            });
        }
        let since_best = progress.best.map_or(0, |b| done.step - b.step);
        let stale = since_best / train.eval_every.max(1);
        if train.early_stop_patience > 0 && stale >= train.early_stop_patience {
            self.out_of_patience = Some(stale);
        }
        better && train.keep_best
    }

    /// Write the statistics of every matrix, if they are due.
    async fn write_statistics(&mut self, steps: &mut Steps<'_>, done: &StepDone) -> Result<()> {
        let due = match self.train.stats_every {
            Some(n) => every(n, done.step),
            None => done.val_loss.is_some(),
        };
        if due && let Some((statistics, lines)) = &mut self.statistics {
            let begun = Instant::now();
            let matrices = statistics.measure(steps.trainer).await?;
            lines.line(&json!({"step": done.step, "matrices": matrices}))?;
            steps.unlogged.exclude(begun.elapsed());
        }
        Ok(())
    }

    /// Write a line of metrics.
    async fn write_metrics(
        &mut self,
        steps: &mut Steps<'_>,
        done: &StepDone,
        report: StepReport,
    ) -> Result<()> {
        let train_loss = steps.unlogged.mean_loss();
        let speed = steps.unlogged.tokens_per_second();
        self.progress.train_loss = train_loss;
        let mut line = json!({
            "step": done.step,
            "train_loss": train_loss,
            "learning_rate": report.lr,
            "tokens_per_second": speed,
            "grad_norm": report.grad_norm,
            "tokens": self.progress.tokens_seen,
            "seconds": self.seconds(),
        });
        if let Some(loss) = done.val_loss {
            line["val_loss"] = json!(loss);
        }
        if let Some(divergence) = steps.trainer.divergence().await? {
            line["kl"] = json!(divergence.kl);
            if let Some(relations) = divergence.relations {
                line["relation_kl"] = json!(relations);
            }
        }
        let preferred = steps.trainer.preferred().await?;
        let held_back = steps
            .trainer
            .validated()
            .filter(|_| done.val_loss.is_some());
        for (of, figures) in [("", preferred), ("val_", held_back)] {
            if let Some(figures) = figures {
                line[format!("{of}reward_margin")] = json!(figures.margin);
                line[format!("{of}reward_accuracy")] = json!(figures.accuracy);
            }
        }
        self.metrics.line(&line)?;
        if let Some(events) = &mut self.events {
            events.line(&line)?;
        }
        (self.observe)(Update::Logged(LoggedStep {
            step: done.step,
            train_loss,
            val_loss: done.val_loss,
            lr: report.lr,
            tokens_per_second: speed,
            preferred,
            val_preferred: held_back,
        }));
        if train_loss.is_nan() && !self.silent {
            self.silent = true;
            (self.observe)(Update::Warning(format!(
                "nothing was learnt since the last line: in these sequences of {} the assistant says nothing. Longer sequences, larger \
                 batches or shorter prompts help, and so does learning all words (--train-on all); `onebit data` shows what is learnt",
                counted(steps.trainer.seq, "token")
            )));
        }
        let (config, train) = (&steps.trainer.config, &self.train);
        let uniform = libm::log(config.vocab_size as f64);
        let warm = done.step > train.lr_warmup_steps.max(50);
        if !self.warned && warm && train_loss > uniform {
            self.warned = true;
            let first = self.progress.first_loss;
            let warning = diagnose::above_uniform(train_loss, uniform, first, config, train);
            (self.observe)(Update::Warning(warning));
        }
        steps.unlogged = Unlogged::new((0.0, 0));
        Ok(())
    }

    /// Write a checkpoint, and remove those that are no longer kept.
    async fn save(&mut self, steps: &mut Steps<'_>, step: usize, improved: bool) -> Result<()> {
        let begun = Instant::now();
        let (dir, train, progress) = (self.dir, &self.train, &self.progress);
        let train_loss = progress.train_loss;
        let mut state = TrainState::new(step, train, progress.tokens_seen, self.checksum);
        state.last_val_loss = progress.val_loss;
        state.last_train_loss = train_loss.is_finite().then_some(train_loss);
        state.first_loss = progress.first_loss;
        state.unlogged = (Exact(steps.unlogged.losses.0), steps.unlogged.losses.1);
        state.best = progress.best;
        state.place = steps.batches.place();
        state.teacher = steps.trainer.teacher();
        state.seconds = self.seconds();
        let kept = progress.best.filter(|_| train.keep_best);
        let path = loop {
            match checkpoint::save(steps.trainer, dir, &self.companions, &state).await {
                // An old checkpoint is worth less than the newest.
                Err(Error::Io(e)) if e.cause.kind() == std::io::ErrorKind::StorageFull => {
                    let Some(old) = checkpoint::make_room(dir, kept)? else {
                        return Err(e.into());
                    };
                    (self.observe)(Update::Warning(format!(
                        "the disk is full: {} has been removed to make room",
                        old.display()
                    )));
                }
                saved => break saved?,
            }
        };
        if improved && let Some(best) = progress.best {
            best.write(dir)?;
        }
        checkpoint::prune(dir, train.keep_last, kept)?;
        (self.observe)(Update::Saved { path: &path });
        self.saved = Some(path);
        steps.unlogged.exclude(begun.elapsed());
        Ok(())
    }
}
