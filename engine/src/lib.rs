//! 1-bit and ternary (1.58-bit) language models: training, quantisation, inference and the `.1bit` format.
//!
//! The way of the data: config → tokenizer → batches → a model records a [`program::Program`] → a
//! [`backend::Backend`] runs it → train and infer loops → `.1bit`.

pub mod adapter;
pub mod backend;
pub mod config;
pub mod data;
mod error;
pub mod format;
pub mod infer;
pub mod math;
pub mod model;
pub mod platform;
pub mod program;
pub mod quant;
#[cfg(test)]
mod reference;
pub mod rng;
pub mod search;
pub mod session;
pub mod tensors;
pub mod tokenizer;
pub mod train;

pub use error::{Error, IoContext, Result};
