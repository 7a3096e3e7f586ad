//! A float model made ternary: RMSNorms before its output projections, weights that pass gradually
//! from floats to codes while training goes on, then distillation of the float model's predictions
//! and attention relations (BitDistill, Wu et al. 2025, arXiv 2510.13998).
//!
//! | in the conversion's folder | |
//! |---|---|
//! | `plan.json` | what was asked for, what was measured beforehand, the steps of every stage |
//! | `pretrain/`, `distill/` | the stages, each a [run](crate::run()) like any other |
//! | `metrics.jsonl` | the stages' lines one after another, steps counted through |
//!
//! The same call goes on where an earlier one ended, and comes to the same weights.

mod measure;
mod plan;
mod stages;
mod student;
mod sub_norms;
#[cfg(test)]
mod tests;

pub use plan::{Before, Plan, Stage, StageKind};
pub use stages::{Conversion, Event, Figure, Outcome, convert};
pub use student::{float_config, student_config};
