//! Every flag, defined once: parsing and help come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ternary_core::config::LrDecay;
use ternary_core::session::DeviceChoice;

/// 1-bit and ternary language models: tokenize, train, evaluate, chat, export.
#[derive(Parser)]
#[command(name = "onebit", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Tokenize(Tokenize),
    Train(Train),
}

fn decay(text: &str) -> Result<LrDecay, String> {
    match text {
        "cosine" => Ok(LrDecay::Cosine),
        "linear" => Ok(LrDecay::Linear),
        "constant" => Ok(LrDecay::Constant),
        other => Err(format!(
            "unknown decay `{other}`; expected cosine, linear or constant"
        )),
    }
}

/// Turn texts into .tokens files, training a tokenizer on them first if asked.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit tokenize --data-dir texts/ --tokenizer tok.json --train-vocab 4096 --out-dir tokens/
  onebit tokenize --data-dir book.txt --tokenizer tok.json --output book.tokens")]
pub struct Tokenize {
    /// A text file, or a folder of .txt, .md and .text files.
    #[arg(long, value_name = "PATH")]
    pub data_dir: PathBuf,
    /// tokenizer.json to use; with --train-vocab it is written here first.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// Train a byte-level BPE of this many tokens on the texts (at least 261: bytes and special tokens).
    #[arg(long, value_name = "N")]
    pub train_vocab: Option<usize>,
    /// Write one .tokens file per text into this folder.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "output",
        conflicts_with = "output"
    )]
    pub out_dir: Option<PathBuf>,
    /// Write all texts into this one .tokens file.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Sequence length the tokens are meant for: `train` uses it when the config says none. 0 = none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seq_len: u32,
}

/// Train a model; the checkpoint folder holds config.json, model.safetensors, tokenizer.json and the training state.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit train --config config/recommended.json --data-dir tokens/ --tokenizer tok.json --output-dir run/
  onebit train --config config/recommended.json --data-dir tokens/ --tokenizer tok.json --output-dir run/ --resume

The config is a JSON object of model fields; its optional `training` object holds the fields the flags below override.")]
pub struct Train {
    /// Model configuration (JSON).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// .tokens files or texts: a file or a folder.
    #[arg(long, value_name = "PATH")]
    pub data_dir: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// Validation data: a file or a folder.
    #[arg(long, value_name = "PATH")]
    pub val_data_dir: Option<PathBuf>,
    /// Chat template (Jinja) to keep with the model.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Peak learning rate.
    #[arg(long)]
    pub lr: Option<f64>,
    /// cosine, linear or constant.
    #[arg(long, value_parser = decay)]
    pub lr_decay: Option<LrDecay>,
    #[arg(long, value_name = "N")]
    pub lr_warmup_steps: Option<usize>,
    #[arg(long, value_name = "N")]
    pub max_steps: Option<usize>,
    /// Sequences per micro-batch.
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Micro-batches per optimiser step.
    #[arg(long, value_name = "N")]
    pub accumulation_steps: Option<usize>,
    /// Steps between checkpoints; 0 = only at the end.
    #[arg(long, value_name = "N")]
    pub save_every: Option<usize>,
    /// Steps between lines of metrics.jsonl.
    #[arg(long, value_name = "N")]
    pub log_every: Option<usize>,
    #[arg(long)]
    pub seed: Option<u64>,
    /// Continue from the newest checkpoint in --output-dir.
    #[arg(long)]
    pub resume: bool,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
}
