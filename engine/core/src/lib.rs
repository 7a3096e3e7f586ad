//! What a model is, without an operating system: its configuration, the quantizers, the names of
//! its parameters, the layout of `.1bit`, and [`board`], the forward pass of one token. `no_std`
//! with `alloc`; the feature `std` (on by default) adds the run-time tiles of weights, latents and
//! the training configuration.

#![warn(missing_docs)]
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod board;
pub mod config;
pub mod kind;
pub mod layout;
pub mod math;
pub mod params;
pub mod quant;
pub mod rng;
pub mod sampling;
pub mod words;
