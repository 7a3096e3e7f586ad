//! Every flag, defined once: parsing and help come from here. A file per group of commands.

mod convert;
mod data;
mod import;
mod look;
mod manual;
mod model;
mod search;
mod serve;
mod train;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use ternary::session::DeviceChoice;
use ternary::words::counted;

pub use convert::Convert;
pub use data::{Data, Download, Template, Tokenize};
pub use import::{Activations, Import};
pub use look::{Along, Bench, Head, Inspect, Metric, Plot, Shape, Suite, TrainShape};
pub use manual::{Completions, Manual, ManualFormat};
pub use model::{
    BoardCache, Chat, Eval, Export, ExportFormat, FormArgs, Generate, GgufType, Logits, Merge,
    ModelArgs, PackMode, SamplingArgs,
};
pub use search::{EvalConfig, MeasureArgs, Search};
pub use serve::Serve;
pub use train::{
    Finetune, FinetuneMode, MixedPrecision, Setting, Train, TrainOn, TrainingArgs, field_name,
};

/// 1-bit and ternary language models: tokenize, train, search a precision for every layer,
/// evaluate, chat, import, export.
#[derive(Parser)]
#[command(name = "onebit", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What the program was called with.
    ///
    /// # Errors
    /// Help, the version or what is wrong with the arguments has been printed; the code to exit
    /// with.
    pub fn from_arguments() -> Result<Self, ExitCode> {
        let parsed = Cli::parsed(std::env::args_os());
        parsed.map_err(with_advice).map_err(|e| match e.print() {
            Err(problem) if !e.use_stderr() && problem.kind() != ErrorKind::BrokenPipe => {
                crate::output::errln!("error: cannot write to standard output: {problem}");
                ExitCode::FAILURE
            }
            _ => ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(1)),
        })
    }
}

/// Says what to do where a shell made several files of a pattern, and an option takes one.
fn with_advice(mut e: clap::Error) -> clap::Error {
    if e.kind() == clap::error::ErrorKind::UnknownArgument
        && let Some(ContextValue::String(argument)) = e.get(ContextKind::InvalidArg)
        && std::path::Path::new(argument).exists()
    {
        let advice = "an option takes one path; for several files name the folder that holds them, or join them: cat FILES | onebit … -";
        let advice = ContextValue::StyledStrs(vec![advice.into()]);
        e.insert(ContextKind::Suggested, advice);
    }
    e
}

impl Cli {
    fn parsed(arguments: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        // A negative number is a value that may be wrong, not an unknown flag.
        let numbers = |arg: clap::Arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        };
        let command = Cli::command().mut_subcommands(|c| c.mut_args(numbers));
        let matches = command.try_get_matches_from(arguments)?;
        Cli::from_arg_matches(&matches)
    }

    /// The training that these arguments ask for, the program's name left out.
    pub fn train_of(arguments: &[OsString]) -> anyhow::Result<Box<Train>> {
        let all = std::iter::once("onebit".into()).chain(arguments.iter().cloned());
        match Cli::parsed(all)?.command {
            Command::Train(train) => Ok(train),
            _ => anyhow::bail!("only `train` is swept"),
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    Download(Download),
    Tokenize(Tokenize),
    Template(Template),
    Data(Data),
    Train(Box<Train>),
    Finetune(Box<Finetune>),
    Convert(Box<Convert>),
    Merge(Merge),
    Search(Box<Search>),
    EvalConfig(EvalConfig),
    Eval(Eval),
    Generate(Generate),
    Logits(Logits),
    Chat(Chat),
    Serve(Box<Serve>),
    Import(Import),
    Export(Export),
    Inspect(Inspect),
    Plot(Plot),
    Bench(Bench),
    Completions(Completions),
    Manual(Manual),
}

impl Command {
    /// Whether it has something better to do than to end when it is asked to.
    pub fn handles_interrupts(&self) -> bool {
        matches!(
            self,
            Command::Train(_)
                | Command::Finetune(_)
                | Command::Convert(_)
                | Command::Generate(_)
                | Command::Chat(_)
                | Command::Serve(_)
        )
    }

    /// What is logged unless RUST_LOG says otherwise: a server tells of every request.
    pub fn log_filter(&self) -> &'static str {
        match self {
            Command::Serve(_) => "warn,onebit=info",
            _ => "warn",
        }
    }

    /// Where it is to run, if it runs a model.
    pub fn device(&self) -> Option<DeviceChoice> {
        Some(match self {
            Command::Train(a) => a.training.device,
            Command::Finetune(a) => a.training.device,
            Command::Convert(a) => a.device,
            Command::Merge(a) => a.model.device,
            Command::Search(a) => a.measure.device,
            Command::EvalConfig(a) => a.measure.device,
            Command::Eval(a) => a.model.device,
            Command::Generate(a) => a.model.device,
            Command::Logits(a) => a.model.device,
            Command::Chat(a) => a.model.device,
            Command::Serve(a) => a.device,
            Command::Bench(a) => a.device,
            Command::Download(_)
            | Command::Tokenize(_)
            | Command::Template(_)
            | Command::Data(_)
            | Command::Import(_)
            | Command::Export(_)
            | Command::Inspect(_)
            | Command::Plot(_)
            | Command::Completions(_)
            | Command::Manual(_) => return None,
        })
    }
}

/// What is to be told about the arguments: not while they are parsed, for the program may begin
/// again.
static WARNING: OnceLock<String> = OnceLock::new();

/// What is odd about the arguments, if anything is.
pub fn warning() -> Option<&'static str> {
    WARNING.get().map(String::as_str)
}

/// A number of CPU threads: no more than the machine has.
fn threads(text: &str) -> Result<usize, String> {
    let wanted: usize = text
        .parse()
        .map_err(|_| "expected a number; 0 = all".to_owned())?;
    let most = ternary::platform::threads();
    if wanted > most {
        // The first is told of, as they are all alike.
        let _ = WARNING.set(format!(
            "this machine runs {} at once; --threads {wanted} is taken for {most}",
            counted(most, "thread")
        ));
    }
    Ok(wanted.min(most))
}
