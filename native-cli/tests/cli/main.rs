//! Every command of `onebit`, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod board;
mod checkpoints;
mod convert;
mod data;
mod download;
mod errors;
mod finetune;
mod guards;
mod import;
mod infer;
mod interop;
mod look;
mod manual;
mod outputs;
mod plot;
mod preference;
mod search;
mod shapes;
mod stats;
mod sweep;
mod tokenize;
mod train;
