//! Inputs that broke similar programs: one test for each kind, named for what it protects. Models
//! are scripted, so that their reply is known beforehand.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod support;

mod command_line;
mod hostile;
mod imports;
mod templates;
mod texts;
mod tokenizers;
mod training;
