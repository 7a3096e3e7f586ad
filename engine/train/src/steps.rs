//! The loop over optimizer steps. A run in a folder and a fine-tuning in a page are observers of
//! it: they say what is due when, and what is done about it.

use std::time::Duration;

use super::trainer::{StepReport, Trainer};
use crate::error::{Error, Result};
use ternary_common::data::{BatchSource, Batches, TokenData};
use ternary_common::platform::{self, Instant};
use ternary_core::config::{ModelConfig, TrainConfig};

/// The windows of `data` that are trained or measured on.
pub(crate) fn batches(
    data: &TokenData,
    seq: usize,
    seed: u64,
    config: &ModelConfig,
    train: &TrainConfig,
) -> Result<Batches> {
    let vocab = config.vocab_size;
    Ok(match train.preference {
        Some(_) => Batches::of_pairs(data, seq, seed, vocab)?,
        None => Batches::new(data, seq, seed, vocab)?,
    })
}

/// The windows that a training is validated on, the same each time.
#[derive(Clone, Debug)]
pub struct Validation {
    batches: Batches,
    /// Where they begin, in tokens.
    windows: Vec<usize>,
}

impl Validation {
    /// `eval_batches` batches of windows of `seq` tokens, evenly spread over `data`.
    ///
    /// # Errors
    /// Data of fewer than `2 * seq + 1` tokens.
    pub fn new(
        data: &TokenData,
        seq: usize,
        config: &ModelConfig,
        train: &TrainConfig,
    ) -> Result<Self> {
        let batches = batches(data, seq, 0, config, train)?;
        let windows = batches.fixed(train.eval_batches.max(1) * train.batch_size);
        Ok(Validation { batches, windows })
    }

    /// Mean cross-entropy by a prepared program of a batch and sequence of these sizes, nats per
    /// token.
    #[cfg(feature = "native")]
    pub(crate) async fn loss_of(
        &self,
        backend: &mut dyn ternary_backend::Backend,
        program: &super::trainer::Step,
        sizes: [usize; 2],
    ) -> Result<f64> {
        let (batches, windows) = (&self.batches, &self.windows);
        let alone = (0, 1);
        let (losses, count) =
            super::trainer::window_losses(backend, program, sizes, alone, batches, windows).await?;
        Ok(losses.into_iter().map(f64::from).sum::<f64>() / count as f64)
    }

    /// Mean cross-entropy, nats per token.
    pub async fn loss(&self, trainer: &mut Trainer) -> Result<f64> {
        trainer.validation_loss(&self.batches, &self.windows).await
    }
}

/// The steps that no log line or point has reported yet.
#[derive(Clone, Copy, Debug)]
pub struct Unlogged {
    /// Sum of the steps' losses, and their number.
    pub losses: (f64, usize),
    tokens: usize,
    since: Instant,
}

impl Unlogged {
    /// From now on, after steps whose losses were summed before.
    pub fn new(losses: (f64, usize)) -> Self {
        Unlogged {
            losses,
            tokens: 0,
            since: Instant::now(),
        }
    }

    /// Counts steps that were read back. One of context only has no loss.
    pub fn add(&mut self, reports: &[StepReport]) {
        for report in reports {
            self.losses.0 += report.loss;
            self.losses.1 += usize::from(report.learnt > 0);
            self.tokens += report.tokens;
        }
    }

    /// Mean loss of the steps, nats per token.
    pub fn mean_loss(&self) -> f64 {
        self.losses.0 / self.losses.1 as f64
    }

    /// Training speed; what was excluded does not slow it down.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.since.elapsed().as_secs_f64().max(1e-9)
    }

    /// Leaves out time that was not spent on steps.
    pub fn exclude(&mut self, pause: Duration) {
        self.since += pause;
    }
}

/// What is due after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Read the step's figures back, which waits for the device.
    pub report: bool,
    /// Measure the loss of the validation windows.
    pub validate: bool,
}

/// A step that was just made.
#[derive(Clone, Copy, Debug)]
pub struct StepDone {
    /// Steps done, this one included.
    pub step: usize,
    /// The last of the training.
    pub last: bool,
    /// Figures of the newest step read back with this one.
    pub report: Option<StepReport>,
    /// Nats per token, if validation was due.
    pub val_loss: Option<f64>,
}

/// What a training does between its steps.
pub trait StepObserver {
    /// What may go wrong between the steps, and in them.
    type Error: From<Error>;

    /// What is due after `step`, which may be the `last`.
    fn due(&self, step: usize, last: bool) -> Due;

    /// Figures were read back: a step's, and those of earlier steps that had not been.
    fn on_reports(&mut self, reports: &[StepReport]);

    /// A step was made, and validated if that was due.
    fn on_step(
        &mut self,
        steps: &mut Steps<'_>,
        done: StepDone,
    ) -> impl Future<Output = Result<(), Self::Error>>;

    /// Whether the training ends before its last step. Asked after every step.
    fn stops(&self) -> bool;
}

/// A training between two steps.
pub struct Steps<'a> {
    /// The model and its optimizer.
    pub trainer: &'a mut Trainer,
    /// What it is trained on.
    pub batches: &'a mut dyn BatchSource,
    /// What it is measured on, if anything.
    pub validation: Option<&'a Validation>,
    /// What the next line or point will report.
    pub unlogged: Unlogged,
}

impl Steps<'_> {
    /// Train to `max_steps`, or until the observer stops. In a page other messages are handled
    /// after each step.
    ///
    /// # Errors
    /// What steps, validation and the observer say.
    pub async fn run<O: StepObserver>(&mut self, observer: &mut O) -> Result<(), O::Error> {
        let max = self.trainer.train.max_steps;
        while self.trainer.step < max {
            let step = self.trainer.step + 1;
            let last = step == max;
            let due = observer.due(step, last);
            let report = due.report || due.validate;
            let reports = self.trainer.step(self.batches, report).await?;
            self.unlogged.add(&reports);
            observer.on_reports(&reports);
            let val_loss = match self.validation {
                Some(validation) if due.validate => {
                    let begun = Instant::now();
                    let loss = validation.loss(self.trainer).await?;
                    self.unlogged.exclude(begun.elapsed());
                    Some(loss)
                }
                _ => None,
            };
            let done = StepDone {
                step,
                last,
                report: reports.last().copied(),
                val_loss,
            };
            observer.on_step(self, done).await?;
            platform::yield_now().await;
            if self.trainer.all_stop(observer.stops())? {
                break;
            }
        }
        Ok(())
    }
}
