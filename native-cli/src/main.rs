//! `onebit`: arguments, progress bars and printing around ternary-core. No engine logic.
mod args;
mod cluster;
mod commands;
mod json;
mod manual;
mod model;
mod output;
mod progress;

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
    start_log(command.log_filter());
    if let Some(warning) = args::warning() {
        errln!("warning: {warning}");
    }
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
        args::Command::Download(a) => commands::download::run(&a),
        args::Command::Tokenize(a) => commands::tokenize::run(&a),
        args::Command::Template(a) => commands::template::run(&a),
        args::Command::Data(a) => commands::data::run(&a),
        args::Command::Train(a) => cluster::run(|ranks| commands::train::run(&a, ranks)),
        args::Command::Finetune(a) => cluster::run(|ranks| commands::finetune::run(&a, ranks)),
        args::Command::Convert(a) => {
            cluster::alone("convert").and_then(|()| commands::convert::run(&a))
        }
        args::Command::Merge(a) => commands::merge::run(&a),
        args::Command::Search(a) => cluster::run(|ranks| commands::search::run(&a, ranks)),
        args::Command::EvalConfig(a) => commands::search::eval_config(&a),
        args::Command::Eval(a) => commands::eval::run(&a),
        args::Command::Generate(a) => commands::generate::run(&a),
        args::Command::Logits(a) => commands::logits::run(&a),
        args::Command::Chat(a) => commands::chat::run(&a),
        args::Command::Serve(a) => commands::serve::run(&a),
        args::Command::Import(a) => commands::import::run(&a),
        args::Command::Export(a) => commands::export::run(&a),
        args::Command::Inspect(a) => commands::inspect::run(&a),
        args::Command::Plot(a) => commands::plot::run(&a),
        args::Command::Bench(a) => commands::bench::run(&a),
        args::Command::Completions(a) => manual::completions(&a),
        args::Command::Manual(a) => manual::run(&a),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            if let Some(commands::watch::Interrupted(interrupt)) = e.downcast_ref() {
                return ExitCode::from(interrupt.exit_code());
            }
            errln!("error: {}", output::shortened(&format!("{e:#}")));
            e.downcast_ref::<commands::search::Unsatisfied>()
                .map_or(ExitCode::FAILURE, |_| {
                    ExitCode::from(commands::search::UNSATISFIED)
                })
        }
    }
}

/// What the library has to say: by default `filter`, unless RUST_LOG asks for more.
fn start_log(filter: &str) {
    use std::io::Write;
    let filter = env_logger::Env::default().default_filter_or(filter);
    env_logger::Builder::from_env(filter)
        .target(env_logger::Target::Pipe(Box::new(output::LogWriter)))
        .format(|out, record| match record.level() {
            log::Level::Warn => writeln!(out, "warning: {}", record.args()),
            level => writeln!(out, "[{level} {}] {}", record.target(), record.args()),
        })
        .init();
}
