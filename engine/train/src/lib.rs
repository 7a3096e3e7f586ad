//! Training: the loop, validation, checkpoints, metrics.

#![warn(missing_docs)]

#[cfg(feature = "native")]
mod best;
#[cfg(feature = "native")]
pub mod checkpoint;
#[cfg(feature = "native")]
pub mod convert;
mod diagnose;
mod error;
#[cfg(feature = "native")]
mod files;
#[cfg(feature = "native")]
mod lines;
mod memory;
pub mod merge;
mod outer;
#[cfg(feature = "native")]
mod run;
mod snapshot;
mod start;
#[cfg(feature = "native")]
mod stats;
mod steps;
mod sums;
#[cfg(feature = "native")]
mod tensorboard;
#[cfg(feature = "native")]
mod together;
mod trainer;

pub use error::{Error, MemoryShortage, Result, SnapshotError};
pub use memory::MemoryPlan;
#[cfg(feature = "native")]
pub use run::{LoggedStep, Observer, RunOptions, RunSummary, Update, run};
pub use snapshot::snapshot_note;
pub use start::{Start, Teacher};
#[cfg(feature = "native")]
pub use stats::{CodeStats, MatrixStats};
pub use steps::{Due, StepDone, StepObserver, Steps, Unlogged, Validation};
pub use trainer::{Divergence, Preferred, StepReport, Trainer};

#[cfg(test)]
mod tests;
