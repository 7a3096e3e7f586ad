//! What is shown of a training, and how it is asked to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use indicatif::ProgressBar;
use ternary::platform::{Interrupt, on_interrupt};
use ternary::train::{Preferred, Update};

use crate::output::{self, errln};
use crate::progress;

/// Signals that end a training after the current step.
pub struct Interrupts {
    /// Set by the first signal.
    pub stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Option<Interrupt>>>,
}

impl Interrupts {
    /// From now on. A second signal ends the program at once.
    pub fn listen() -> Result<Self> {
        Self::listen_and(|_| {})
    }

    /// The same, with `more` to do when the first one comes.
    pub fn listen_and(more: impl Fn(Interrupt) + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked: Arc<Mutex<Option<Interrupt>>> = Arc::default();
        let (flag, why) = (stop.clone(), asked.clone());
        on_interrupt(move |interrupt| {
            if flag.swap(true, Ordering::Relaxed) {
                output::exit(interrupt.exit_code());
            }
            *why.lock().unwrap_or_else(PoisonError::into_inner) = Some(interrupt);
            errln!(
                "\nstopping after this step, with a checkpoint{}",
                match interrupt {
                    Interrupt::Interrupt => "; press Ctrl-C again to quit without one",
                    Interrupt::Terminate | Interrupt::Hangup => "",
                }
            );
            more(interrupt);
        })?;
        Ok(Interrupts { stop, asked })
    }

    /// How the program ends. Ctrl-C is a usual way to end a training; whoever sends a signal wants
    /// to know that it was heeded.
    pub fn result(&self) -> Result<()> {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.filter(|asked| *asked != Interrupt::Interrupt) {
            Some(asked) => Err(Interrupted(asked).into()),
            None => Ok(()),
        }
    }
}

/// Ended early by a signal, with everything saved.
#[derive(Debug)]
pub struct Interrupted(pub Interrupt);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ended by a signal; it goes on from the checkpoint")
    }
}

impl std::error::Error for Interrupted {}

/// A training loss for people; there is none where nothing was learnt.
pub fn loss(train_loss: f64) -> String {
    match train_loss.is_nan() {
        true => "no loss".to_owned(),
        false => format!("loss {train_loss:.4}"),
    }
}

/// A run's progress: a bar on a terminal, lines elsewhere.
pub struct Watch {
    bar: ProgressBar,
    max: usize,
}

impl Watch {
    /// Of a run of `max` steps.
    pub fn new(max: usize) -> Self {
        let bar = match output::is_quiet() {
            true => ProgressBar::hidden(),
            false => progress::bar(
                max as u64,
                "{bar:24} {pos}/{len} {msg} {elapsed}, {eta} left",
            ),
        };
        Watch { bar, max }
    }

    pub fn show(&self, update: &Update) {
        let bar = &self.bar;
        match update {
            Update::Resumed { step, from } => {
                bar.set_position(*step as u64);
                bar.reset_eta();
                bar.suspend(|| errln!("resumed at step {step} from {}", from.display()));
            }
            Update::Step(r) => bar.set_position(r.step as u64),
            Update::Logged(line) => {
                let val = line
                    .val_loss
                    .map_or(String::new(), |loss| format!(", validation {loss:.4}"));
                let told_apart = |p: &Preferred| {
                    format!(
                        ", margin {:.3}, accuracy {:.1} %",
                        p.margin,
                        100.0 * p.accuracy
                    )
                };
                let [train, val_pairs] = [line.preferred, line.val_preferred]
                    .map(|p| p.as_ref().map_or(String::new(), told_apart));
                let text = format!(
                    "{}{train}{val}{val_pairs}, lr {:.1e}, {:.0} tok/s",
                    loss(line.train_loss),
                    line.lr,
                    line.tokens_per_second
                );
                if bar.is_hidden() {
                    errln!("step {}/{}: {text}", line.step, self.max);
                }
                bar.set_message(text);
            }
            Update::Saved { path } => bar.suspend(|| errln!("saved {}", path.display())),
            Update::Warning(text) => bar.suspend(|| errln!("warning: {text}")),
        }
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
