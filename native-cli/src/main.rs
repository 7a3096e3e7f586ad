//! `onebit`: arguments, progress bars and printing around ternary-core. No engine logic.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program prints"
)]

mod args;
mod progress;
mod tokenize;
mod train;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let result = match args::Cli::parse().command {
        args::Command::Tokenize(a) => tokenize::run(&a),
        args::Command::Train(a) => train::run(&a),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}
