//! 1-bit and ternary (1.58-bit) language models: training, quantisation, inference and the `.1bit` format.
//!
//! The way of the data: config → tokenizer → batches → a model records a [`program::Program`] → a
//! [`backend::Backend`] runs it → train and infer loops → `.1bit`.
//!
//! Without the feature `std` (which `native`, `web` and `gpu` imply) there remain, in `no_std` with `alloc`: the quantisers, the
//! `.1bit` layout, unpacking of codes and [`board`], the forward pass of one token.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod adapter;
#[cfg(feature = "std")]
pub mod backend;
pub mod board;
pub mod config;
#[cfg(feature = "std")]
pub mod data;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
pub mod export;
pub mod format;
#[cfg(feature = "std")]
pub mod import;
#[cfg(feature = "std")]
pub mod infer;
#[cfg(feature = "std")]
pub mod kind;
pub mod math;
#[cfg(feature = "std")]
pub mod model;
pub mod params;
#[cfg(feature = "std")]
pub mod platform;
#[cfg(feature = "std")]
pub mod program;
pub mod quant;
#[cfg(test)]
mod reference;
pub mod rng;
#[cfg(feature = "std")]
pub mod search;
#[cfg(feature = "std")]
pub mod session;
#[cfg(feature = "std")]
pub mod tensors;
#[cfg(feature = "std")]
pub mod tokenizer;
#[cfg(feature = "std")]
pub mod train;

#[cfg(feature = "std")]
pub use error::{Error, IoContext, Result};
