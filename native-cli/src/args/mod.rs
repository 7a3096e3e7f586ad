//! Every flag, defined once: parsing and help come from here. A file per group of commands.

mod data;
mod import;
mod look;
mod manual;
mod model;
mod search;
mod train;

use clap::{Parser, Subcommand};
use ternary_core::session::DeviceChoice;

pub use data::{Download, Tokenize};
pub use import::{Activations, Import};
pub use look::{Along, Bench, Head, Inspect, Metric, Plot, Shape, TrainShape};
pub use manual::{Completions, Manual, ManualFormat};
pub use model::{
    CacheKind, Chat, Eval, Export, ExportFormat, Generate, GgufType, Logits, Merge, ModelArgs,
    PackMode, SamplingArgs,
};
pub use search::{EvalConfig, Judged, Search};
pub use train::{Finetune, FinetuneMode, MixedPrecision, Setting, Train, TrainingArgs};

/// 1-bit and ternary language models: tokenize, train, search a precision for every layer, evaluate, chat, import, export.
#[derive(Parser)]
#[command(name = "onebit", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Download(Download),
    Tokenize(Tokenize),
    Train(Box<Train>),
    Finetune(Box<Finetune>),
    Merge(Merge),
    Search(Box<Search>),
    EvalConfig(EvalConfig),
    Eval(Eval),
    Generate(Generate),
    Logits(Logits),
    Chat(Chat),
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
            Command::Train(_) | Command::Finetune(_) | Command::Generate(_) | Command::Chat(_)
        )
    }

    /// Where it is to run, if it runs a model.
    pub fn device(&self) -> Option<DeviceChoice> {
        Some(match self {
            Command::Train(a) => a.training.device,
            Command::Finetune(a) => a.training.device,
            Command::Merge(a) => a.model.device,
            Command::Search(a) => a.judged.device,
            Command::EvalConfig(a) => a.judged.device,
            Command::Eval(a) => a.model.device,
            Command::Generate(a) => a.model.device,
            Command::Logits(a) => a.model.device,
            Command::Chat(a) => a.model.device,
            Command::Bench(a) => a.device,
            Command::Download(_)
            | Command::Tokenize(_)
            | Command::Import(_)
            | Command::Export(_)
            | Command::Inspect(_)
            | Command::Plot(_)
            | Command::Completions(_)
            | Command::Manual(_) => return None,
        })
    }
}

/// A number of CPU threads: no more than the machine has.
fn threads(text: &str) -> Result<usize, String> {
    let wanted: usize = text
        .parse()
        .map_err(|_| "expected a number; 0 = all".to_owned())?;
    let most = ternary_core::platform::threads();
    if wanted > most {
        crate::output::errln!(
            "warning: this machine runs {most} threads at once; --threads {wanted} is taken for {most}"
        );
    }
    Ok(wanted.min(most))
}
