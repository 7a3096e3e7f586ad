//! Training: the loop, validation, checkpoints, metrics.

#[cfg(feature = "native")]
pub mod checkpoint;
mod memory;
#[cfg(feature = "native")]
mod run;
mod trainer;

pub use memory::MemoryPlan;
#[cfg(feature = "native")]
pub use run::{Observer, RunOptions, RunSummary, Update, run};
pub use trainer::{StepReport, Trainer};

#[cfg(test)]
#[cfg(feature = "native")]
pub(crate) mod tests;
