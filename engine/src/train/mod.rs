//! Training: the loop, validation, checkpoints, metrics.

#[cfg(feature = "native")]
pub mod checkpoint;
#[cfg(feature = "native")]
mod run;
mod trainer;

#[cfg(feature = "native")]
pub use run::{Observer, RunOptions, RunSummary, Update, run};
pub use trainer::{StepReport, Trainer};

#[cfg(test)]
#[cfg(feature = "native")]
pub(crate) mod tests;
