//! The conversion itself: what is measured beforehand, then stage after stage.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value;

use super::plan::{Before, Plan, Request, Speeds, Stage, StageKind};
use super::student::float_config;
use super::{measure, sub_norms};
use crate::checkpoint::{self, Companions};
use crate::error::{Error, Result};
use crate::files;
use crate::run::{self, RunOptions, Update};
use crate::start::{Start, Teacher, check_relations};
use crate::steps::Validation;
use crate::trainer::{self, Trainer};
use ternary_backend::Backend;
use ternary_common::data::{Batches, TokenData, TrainingData};
use ternary_common::error::IoContext;
use ternary_common::platform::{Instant, Lock};
use ternary_core::config::{ModelConfig, TrainConfig};
use ternary_model::Parameters;

/// Largest share of the time that one validation may take.
const VALIDATION_SHARE: f64 = 0.015;
/// Tokens of a validation: at least, unless they take too long, and at most.
const VALIDATION_TOKENS: [usize; 2] = [1 << 11, 1 << 14];
/// Where steps are given, so many times as many are trained on as a validation has.
const TRAINED_PER_VALIDATED: usize = 20;
/// Steps that the speed is measured by, after one that is not counted.
const TIMED_STEPS: usize = 2;

/// A float model to be made ternary, and how.
#[derive(Debug)]
pub struct Conversion {
    /// The float model.
    pub teacher: Teacher,
    /// The model to come, see [`student_config`](super::student_config).
    pub student: ModelConfig,
    /// In their order; steps are planned for those with a share of the time, others have theirs.
    pub stages: Vec<Stage>,
    /// To fit in, measuring included.
    pub minutes: Option<f64>,
    /// The text to train on.
    pub data: TokenData,
    /// The text to measure on.
    pub held_back: TokenData,
    /// What every checkpoint has besides the weights.
    pub companions: Companions,
    /// The conversion's folder; made if it is not there.
    pub dir: PathBuf,
    /// Set to stop after the current step, with a checkpoint.
    pub stop: Arc<AtomicBool>,
}

/// What an observer is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something that takes a while begins.
    Doing(&'static str),
    /// What was measured, and what is going to be done; `resumed` if that was decided before.
    Planned {
        /// With steps.
        plan: &'a Plan,
        /// The folder had it.
        resumed: bool,
    },
    /// A stage begins or goes on.
    Begins {
        /// Of the plan's stages.
        index: usize,
        /// The stage.
        stage: &'a Stage,
    },
    /// A stage's progress.
    Run(Update<'a>),
}

/// A loss of the held-back text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// Nats per token.
    pub loss: f64,
    /// Tokens that had been trained on.
    pub tokens: usize,
}

/// How a conversion ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// From the float model to the last stage that was finished.
    pub figures: Vec<Figure>,
    /// The newest checkpoint; none where no step was made.
    pub checkpoint: Option<PathBuf>,
    /// Asked to, before the last stage ended.
    pub stopped: bool,
}

/// Make a float model ternary on `backend`, or go on with that.
///
/// # Errors
/// A model that is not one of floats, a folder with another conversion, too little time, and what
/// training says.
pub async fn convert(
    mut c: Conversion,
    mut backend: Box<dyn Backend>,
    observe: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let began = Instant::now();
    c.teacher.config = float_config(&c.teacher.config)?;
    let first = first_stage(&c.stages)?;
    let seq = trainer::seq_len(&c.student, first)?;
    let request = Request {
        student: c.student.clone(),
        stages: c.stages.clone(),
        minutes: c.minutes,
        teacher_checksum: c.teacher.checksum(),
        data_checksum: c.data.checksum(),
        held_back_checksum: c.held_back.checksum(),
    };
    let known = Plan::read(&c.dir, &request)?;
    // What is refused is refused before there is a folder.
    let batches = Batches::new(&c.data, seq, first.seed, c.student.vocab_size)?;
    held_back(&c, first, seq)?;
    for stage in &c.stages {
        if stage.kind == StageKind::Distill {
            check_relations(&c.student, &stage.train, &c.teacher.config)?;
        }
    }
    std::fs::create_dir_all(&c.dir).at("create", &c.dir)?;
    let taken = format!(
        "another conversion is writing to {}; wait for it to end, or choose another folder",
        c.dir.display()
    );
    let _lock = Lock::take(&c.dir.join(".lock"), &taken)?;

    let resumed = known.is_some();
    let mut start = None;
    let plan = match known {
        Some(plan) => plan,
        None => {
            let fitted = fit(&c, backend.as_mut(), first, &batches, observe).await?;
            let made = prepare(&c, backend, request, &fitted, &batches, began, observe).await?;
            start = Some(fitted);
            backend = made.1;
            made.0.written(&c.dir)?
        }
    };
    observe(Event::Planned {
        plan: &plan,
        resumed,
    });
    let data = TrainingData::from(c.data.clone());
    let mut stopped = false;
    for (index, stage) in plan.stages.iter().enumerate() {
        let folder = c.dir.join(stage.kind.name());
        let newest = checkpoint::newest(&folder)?;
        let done = newest.as_ref().map(|path| steps_of(path)).transpose()?;
        if done == Some(stage.train.max_steps) {
            continue;
        }
        observe(Event::Begins { index, stage });
        let before = index.checked_sub(1).map(|before| plan.stages[before].kind);
        let parameters = match (&newest, before) {
            (Some(path), _) => checkpoint::load(path)?.tensors,
            (None, Some(before)) => {
                let last = checkpoint::resolve(&c.dir.join(before.name()))?;
                checkpoint::load(&last)?.tensors
            }
            (None, None) => match start.take() {
                Some(fitted) => fitted,
                None => fit(&c, backend.as_mut(), first, &batches, observe).await?,
            },
        };
        let from = beginning(stage, &c.teacher, parameters);
        let student = c.student.clone();
        let mut trainer = Trainer::from_start(backend, student, stage.train.clone(), from)?;
        let options = RunOptions {
            output_dir: folder,
            companions: c.companions.clone(),
            resume: newest.is_some(),
            stop: c.stop.clone(),
            tensorboard: false,
        };
        let summary = run::run(
            &mut trainer,
            &data,
            Some(&c.held_back),
            &options,
            &mut |update| observe(Event::Run(update)),
        )
        .await;
        backend = trainer.into_backend();
        backend.clear();
        join_metrics(&c.dir, &plan)?;
        if summary?.stopped {
            stopped = true;
            break;
        }
    }
    join_metrics(&c.dir, &plan)?;
    let (figures, checkpoint) = figures(&c.dir, &plan)?;
    Ok(Outcome {
        plan,
        figures,
        checkpoint,
        stopped,
    })
}

/// What the first stage starts from.
async fn fit(
    c: &Conversion,
    backend: &mut dyn Backend,
    train: &TrainConfig,
    batches: &Batches,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Parameters> {
    if c.student.use_sub_norm && !c.teacher.config.use_sub_norm {
        observe(Event::Doing("fitting norms before the output projections"));
    }
    let seq = trainer::seq_len(&c.student, train)?;
    sub_norms::with_sub_norms(backend, &c.teacher, &c.student, train, batches, seq).await
}

fn first_stage(stages: &[Stage]) -> Result<&TrainConfig> {
    let made = |stage: &&Stage| stage.share.is_some() || stage.train.max_steps > 0;
    let first = stages.iter().find(made);
    first.map(|stage| &stage.train).ok_or(Error::NoStages)
}

fn held_back(c: &Conversion, train: &TrainConfig, seq: usize) -> Result<Validation> {
    Validation::new(&c.held_back, seq, &c.student, train)
        .map_err(|e| Error::ValidationData(Box::new(e)))
}

fn beginning(stage: &Stage, teacher: &Teacher, parameters: Parameters) -> Start {
    Start {
        parameters: Some(parameters),
        name: String::new(),
        teacher: (stage.kind == StageKind::Distill).then(|| teacher.clone()),
    }
}

fn steps_of(checkpoint: &Path) -> Result<usize> {
    Ok(checkpoint::state(checkpoint)?.map_or(0, |state| state.step))
}

/// Measure the model and the speed, and plan by it. Nothing of what is measured changes anything
/// but the plan.
async fn prepare(
    c: &Conversion,
    mut backend: Box<dyn Backend>,
    request: Request,
    start: &Parameters,
    batches: &Batches,
    began: Instant,
    observe: &mut dyn FnMut(Event),
) -> Result<(Plan, Box<dyn Backend>)> {
    let mut stages = c.stages.clone();
    let first = first_stage(&c.stages)?;
    let seq = trainer::seq_len(&c.student, first)?;
    observe(Event::Doing("measuring the float model"));
    let teacher = &c.teacher;
    let once = TrainConfig {
        eval_batches: 1,
        ..first.clone()
    };
    let timed = Instant::now();
    let one = held_back(c, &once, seq)?;
    let float = (&teacher.config, &teacher.parameters);
    measure::loss(backend.as_mut(), float.0, float.1, &once, &one).await?;
    let batch_seconds = timed.elapsed().as_secs_f64();
    let [least, most] = VALIDATION_TOKENS;
    let tokens = match c.minutes {
        Some(_) => most,
        None => {
            let steps = c.stages.iter().map(|stage| stage.train.max_steps);
            let trained = steps.sum::<usize>() * first.batch_size * first.accumulation_steps * seq;
            (trained / TRAINED_PER_VALIDATED).clamp(least, most)
        }
    };
    let wanted = tokens.div_ceil(first.batch_size * seq).max(1);
    let in_time = c.minutes.map_or(wanted, |minutes| {
        (minutes * 60.0 * VALIDATION_SHARE / batch_seconds.max(1e-9)) as usize
    });
    let eval_batches = in_time.clamp(1, wanted);
    for stage in &mut stages {
        stage.train.eval_batches = eval_batches;
    }
    let train = TrainConfig {
        eval_batches,
        ..first.clone()
    };
    let validation = held_back(c, &train, seq)?;
    let timed = Instant::now();
    let mut before = Before {
        float: measure::loss(backend.as_mut(), float.0, float.1, &train, &validation).await?,
        sub_norms: None,
        quantized: 0.0,
    };
    let validation_seconds = timed.elapsed().as_secs_f64();
    if c.student.use_sub_norm && !teacher.config.use_sub_norm {
        let config = ModelConfig {
            use_sub_norm: true,
            ..teacher.config.clone()
        };
        let backend = backend.as_mut();
        before.sub_norms = Some(measure::loss(backend, &config, start, &train, &validation).await?);
    }
    before.quantized =
        measure::loss(backend.as_mut(), &c.student, start, &train, &validation).await?;

    let mut steps = Vec::new();
    for stage in &c.stages {
        if stage.share.is_none() && stage.train.max_steps == 0 {
            steps.push(0.0);
            continue;
        }
        observe(Event::Doing("measuring the speed"));
        let from = beginning(stage, teacher, start.clone());
        let timing = TrainConfig {
            max_steps: TIMED_STEPS + 1,
            ..stage.train.clone()
        };
        let mut trainer = Trainer::from_start(backend, c.student.clone(), timing, from)?;
        let mut batches = batches.clone();
        trainer.step(&mut batches, true).await?;
        let timed = Instant::now();
        for _ in 0..TIMED_STEPS {
            trainer.step(&mut batches, true).await?;
        }
        steps.push(timed.elapsed().as_secs_f64() / TIMED_STEPS as f64);
        backend = trainer.into_backend();
        backend.clear();
    }
    let speeds = Speeds {
        elapsed: began.elapsed().as_secs_f64(),
        validation: validation_seconds,
        steps,
    };
    Ok((Plan::new(request, stages, before, &speeds)?, backend))
}

/// The stages' metrics as those of one run.
fn join_metrics(dir: &Path, plan: &Plan) -> Result<()> {
    let mut all = Vec::new();
    let mut before = 0;
    let mut tokens_before = 0;
    let mut seconds_before = 0.0;
    for stage in &plan.stages {
        let path = dir.join(stage.kind.name()).join("metrics.jsonl");
        if !path.is_file() {
            break;
        }
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        let mut seconds = 0.0;
        for line in text.lines() {
            // A crash may have cut the last line short; the stage writes it again.
            let Ok(mut line) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            line["stage"] = stage.kind.name().into();
            line["step"] = (line["step"].as_u64().unwrap_or(0) + before).into();
            line["tokens"] = (line["tokens"].as_u64().unwrap_or(0) + tokens_before).into();
            seconds = line["seconds"].as_f64().unwrap_or(seconds);
            line["seconds"] = (seconds + seconds_before).into();
            writeln!(all, "{line}").at("write", &path)?;
        }
        before += stage.train.max_steps as u64;
        tokens_before += plan.tokens(stage) as u64;
        seconds_before += seconds;
    }
    files::write(&dir.join("metrics.jsonl"), &all)
}

/// The losses so far, and the newest checkpoint.
fn figures(dir: &Path, plan: &Plan) -> Result<(Vec<Figure>, Option<PathBuf>)> {
    let figure = |what, loss| Figure {
        what,
        loss,
        tokens: 0,
    };
    let before = &plan.before;
    let mut all = vec![figure("float", before.float)];
    all.extend(
        before
            .sub_norms
            .map(|loss| figure("float with sub-norms", loss)),
    );
    all.push(figure("just quantized", before.quantized));
    let (mut newest, mut tokens) = (None, 0);
    for stage in &plan.stages {
        let Some(path) = checkpoint::newest(&dir.join(stage.kind.name()))? else {
            break;
        };
        let state = checkpoint::state(&path)?;
        newest = Some(path);
        let finished = state.filter(|state| state.step == stage.train.max_steps);
        let Some(loss) = finished.and_then(|state| state.last_val_loss) else {
            break;
        };
        tokens += plan.tokens(stage);
        all.push(Figure {
            what: match stage.kind {
                StageKind::Pretrain => "after pretraining",
                StageKind::Distill => "after distillation",
            },
            loss,
            tokens,
        });
    }
    Ok((all, newest))
}
