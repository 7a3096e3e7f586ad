//! How many steps every stage makes, and what that was decided by.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use ternary_common::error::IoContext;
use ternary_core::config::{ModelConfig, TrainConfig};

const FILE: &str = "plan.json";
/// Version of the file's layout.
const SCHEMA: u32 = 1;
/// Validations of a stage.
const VALIDATIONS: usize = 5;
/// Share of the time that is left for what nobody measured: checkpoints, above all.
const MARGIN: f64 = 0.04;
/// Seconds between checkpoints.
const SAVE_SECONDS: f64 = 180.0;

/// What a stage learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// The text alone.
    Pretrain,
    /// The text and the float model.
    Distill,
}

impl StageKind {
    /// As it is called in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            StageKind::Pretrain => "pretrain",
            StageKind::Distill => "distill",
        }
    }
}

/// A stage of a conversion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What it learns from.
    pub kind: StageKind,
    /// How; the steps are what was planned.
    pub train: TrainConfig,
    /// Share of the time that is planned for it; none where its steps were given.
    pub share: Option<f64>,
}

/// Losses of the held-back text before anything is trained, nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Of the float model.
    pub float: f64,
    /// Of the float model with the norms that are put in; none where nothing is.
    pub sub_norms: Option<f64>,
    /// Of the model quantized as it is.
    pub quantized: f64,
}

/// What was asked for: a folder's conversion goes on only if it is the same again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The model to come.
    pub student: ModelConfig,
    /// As given, before steps were planned.
    pub stages: Vec<Stage>,
    /// To fit in.
    pub minutes: Option<f64>,
    /// Of the float model.
    pub teacher_checksum: u32,
    /// Of the text that is trained on.
    pub data_checksum: u32,
    /// Of the text that is measured on.
    pub held_back_checksum: u32,
}

impl Request {
    /// What is another in `other`, in words.
    fn differences(&self, other: &Request) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |what: &str, same: bool| {
            if !same {
                all.push(what.to_owned());
            }
        };
        add("the model", self.teacher_checksum == other.teacher_checksum);
        add(
            "the text",
            (self.data_checksum, self.held_back_checksum)
                == (other.data_checksum, other.held_back_checksum),
        );
        add("the minutes", self.minutes == other.minutes);
        let fields = |request: &Request| {
            let stages = request.stages.iter().map(serde_json::to_value);
            let values = std::iter::once(serde_json::to_value(&request.student)).chain(stages);
            let mut found = Vec::new();
            for value in values.filter_map(Result::ok) {
                let of = |value: &serde_json::Value| -> Vec<(String, serde_json::Value)> {
                    let fields = value.as_object().into_iter().flatten();
                    fields.map(|(k, v)| (k.clone(), v.clone())).collect()
                };
                found.extend(of(&value).into_iter().filter(|(name, _)| name != "train"));
                found.extend(of(&value["train"]));
            }
            found
        };
        let (own, theirs) = (fields(self), fields(other));
        if own.len() != theirs.len() {
            all.push("the stages".to_owned());
        }
        for ((name, was), (_, is)) in own.iter().zip(&theirs) {
            let text = format!("{name} (was {was}, is {is})");
            if was != is && !all.contains(&text) {
                all.push(text);
            }
        }
        all
    }
}

/// What a conversion does; kept in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    schema: u32,
    /// What was asked for.
    pub request: Request,
    /// With their steps; none has 0.
    pub stages: Vec<Stage>,
    /// Measured beforehand.
    pub before: Before,
    /// Seconds of a step of every stage, measured; 0 where no step was made.
    pub step_seconds: Vec<f64>,
}

/// What was measured before the steps are planned.
pub(super) struct Speeds {
    /// Since the command began.
    pub elapsed: f64,
    /// Of one validation.
    pub validation: f64,
    /// Of a step of every stage.
    pub steps: Vec<f64>,
}

impl Plan {
    /// The plan in a folder, if there is one; it must be of the same request.
    pub(super) fn read(dir: &Path, request: &Request) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        let json = |cause| Error::Json {
            path: path.clone(),
            cause,
        };
        let plan: Plan = serde_json::from_str(&text).map_err(json)?;
        // Numbers that were read may differ in their last digit from those that were written.
        let asked = serde_json::to_string(request).map_err(json)?;
        let request: &Request = &serde_json::from_str(&asked).map_err(json)?;
        if plan.schema != SCHEMA {
            return Err(Error::Schema {
                path,
                found: plan.schema,
                newest: SCHEMA,
            });
        }
        if plan.request != *request {
            return Err(Error::OtherConversion {
                path: dir.to_owned(),
                changed: plan.request.differences(request).join(", "),
            });
        }
        Ok(Some(plan))
    }

    /// Write it into a folder; returns it as [`Plan::read`] does, so that whoever goes on later
    /// computes with the same numbers.
    pub(super) fn written(self, dir: &Path) -> Result<Self> {
        let text = serde_json::to_string_pretty(&self).expect("a plan is JSON");
        files::write(&dir.join(FILE), text.as_bytes())?;
        Ok(Self::read(dir, &self.request)?.unwrap_or(self))
    }

    /// Steps for the stages of a request, so that it ends in time.
    pub(super) fn new(
        request: Request,
        mut stages: Vec<Stage>,
        before: Before,
        speeds: &Speeds,
    ) -> Result<Self> {
        let seconds = request.minutes.map(|minutes| {
            let all = minutes * 60.0 * (1.0 - MARGIN) - speeds.elapsed;
            let validations = (VALIDATIONS * stages.len()) as f64 * speeds.validation;
            let given: f64 = stages
                .iter()
                .zip(&speeds.steps)
                .filter(|(stage, _)| stage.share.is_none())
                .map(|(stage, seconds)| stage.train.max_steps as f64 * seconds)
                .sum();
            all - validations - given
        });
        let shares: f64 = stages.iter().filter_map(|stage| stage.share).sum();
        for (stage, step) in stages.iter_mut().zip(&speeds.steps) {
            if let (Some(share), Some(seconds)) = (stage.share, seconds) {
                let steps = seconds.max(0.0) * share / shares / step.max(1e-9);
                stage.train.max_steps = steps as usize;
                if stage.train.max_steps == 0 {
                    return Err(Error::NoTime {
                        minutes: request.minutes.unwrap_or_default(),
                        elapsed: speeds.elapsed,
                        stage: stage.kind.name(),
                        step: *step,
                    });
                }
            }
        }
        let paired = stages.into_iter().zip(speeds.steps.iter().copied());
        let (mut stages, step_seconds): (Vec<Stage>, Vec<f64>) = paired
            .filter(|(stage, _)| stage.train.max_steps > 0)
            .unzip();
        for (i, (stage, seconds)) in stages.iter_mut().zip(&step_seconds).enumerate() {
            let train = &mut stage.train;
            train.eval_every = train.max_steps.div_ceil(VALIDATIONS);
            train.log_every = train.log_every.min(train.eval_every);
            if train.save_every == 0 {
                train.save_every = ((SAVE_SECONDS / seconds.max(1e-9)) as usize).max(1);
            }
            train.lr_warmup_steps = TrainConfig::finetune_warmup(train.max_steps);
            // Only the first stage begins with floats.
            if i > 0 {
                train.quantize_fraction = 0.0;
            }
        }
        Ok(Plan {
            schema: SCHEMA,
            request,
            stages,
            before,
            step_seconds,
        })
    }

    /// Tokens that a stage sees.
    pub fn tokens(&self, stage: &Stage) -> usize {
        let train = &stage.train;
        let seq = train.seq_len.unwrap_or(self.request.student.max_seq_len);
        train.max_steps * train.batch_size * train.accumulation_steps * seq
    }
}
