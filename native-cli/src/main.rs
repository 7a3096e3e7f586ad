//! `onebit`: arguments, progress bars and printing around ternary-core. No engine logic.
mod args;
mod bench;
mod chat;
mod download;
mod eval;
mod export;
mod export_other;
mod finetune;
mod generate;
mod import;
mod inspect;
mod logits;
mod manual;
mod merge;
mod model;
mod output;
mod plot;
mod progress;
mod search;
mod tokenize;
mod train;

use std::process::ExitCode;

use crate::output::errln;
use ternary::platform::{on_interrupt, quiet_gpu_probe, remove_drafts};
use ternary::session::DeviceChoice;

fn main() -> ExitCode {
    let code = run();
    output::flush_errors();
    code
}

fn run() -> ExitCode {
    let command = match args::Cli::from_arguments() {
        Ok(cli) => cli.command,
        Err(code) => return code,
    };
    if command
        .device()
        .is_some_and(|device| device != DeviceChoice::Cpu)
    {
        quiet_gpu_probe();
    }
    start_log();
    if let Err(e) = ternary::backend::cpu::simd::Level::chosen() {
        errln!("error: {e}");
        return ExitCode::FAILURE;
    }
    if !command.handles_interrupts()
        && let Err(e) = on_interrupt(|interrupt| {
            remove_drafts();
            output::exit(interrupt.exit_code());
        })
    {
        log::debug!("signals are not handled: {e}");
    }
    let result = match command {
        args::Command::Download(a) => download::run(&a),
        args::Command::Tokenize(a) => tokenize::run(&a),
        args::Command::Train(a) => train::run(&a),
        args::Command::Finetune(a) => finetune::run(&a),
        args::Command::Merge(a) => merge::run(&a),
        args::Command::Search(a) => search::run(&a),
        args::Command::EvalConfig(a) => search::eval_config(&a),
        args::Command::Eval(a) => eval::run(&a),
        args::Command::Generate(a) => generate::run(&a),
        args::Command::Logits(a) => logits::run(&a),
        args::Command::Chat(a) => chat::run(&a),
        args::Command::Import(a) => import::run(&a),
        args::Command::Export(a) => export::run(&a),
        args::Command::Inspect(a) => inspect::run(&a),
        args::Command::Plot(a) => plot::run(&a),
        args::Command::Bench(a) => bench::run(&a),
        args::Command::Completions(a) => manual::completions(&a),
        args::Command::Manual(a) => manual::run(&a),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            if let Some(train::Interrupted(interrupt)) = e.downcast_ref() {
                return ExitCode::from(interrupt.exit_code());
            }
            errln!("error: {}", output::shortened(&format!("{e:#}")));
            e.downcast_ref::<search::Unsatisfied>()
                .map_or(ExitCode::FAILURE, |_| ExitCode::from(search::UNSATISFIED))
        }
    }
}

/// What the library has to say: warnings, unless RUST_LOG asks for more.
fn start_log() {
    use std::io::Write;
    let filter = env_logger::Env::default().default_filter_or("warn");
    env_logger::Builder::from_env(filter)
        .target(env_logger::Target::Pipe(Box::new(output::LogWriter)))
        .format(|out, record| match record.level() {
            log::Level::Warn => writeln!(out, "warning: {}", record.args()),
            level => writeln!(out, "[{level} {}] {}", record.target(), record.args()),
        })
        .init();
}
