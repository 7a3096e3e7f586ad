//! `train` and `finetune`, and what both are told.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use ternary::config::{LrDecay, Optimizer, Packing, Preference, QuantMode};
use ternary::session::DeviceChoice;

/// Whether a GPU may round the operands of training's matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MixedPrecision {
    No,
    F16,
}

/// A field of a config and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub field: String,
    pub value: serde_json::Value,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--set {}={}", self.field, self.value)
    }
}

/// A field's own name: a config has the training's in an object of this name.
pub fn field_name(field: &str) -> &str {
    field.strip_prefix("training.").unwrap_or(field)
}

/// `field=value`; what is not JSON is taken as text.
pub fn setting(text: &str) -> Result<Setting, String> {
    let (field, value) = text
        .split_once('=')
        .filter(|(field, _)| !field.is_empty())
        .ok_or("expected FIELD=VALUE, for example dropout=0.1")?;
    Ok(Setting {
        field: field_name(field).to_owned(),
        value: serde_json::from_str(value).unwrap_or_else(|_| value.into()),
    })
}

fn optimizer(text: &str) -> Result<Optimizer, String> {
    match text {
        "adamw" => Ok(Optimizer::AdamW),
        "muon" => Ok(Optimizer::Muon),
        other => Err(format!(
            "unknown optimizer `{other}`; expected adamw or muon"
        )),
    }
}

fn packing(text: &str) -> Result<Packing, String> {
    match text {
        "whole" => Ok(Packing::Whole),
        "documents" => Ok(Packing::Documents),
        other => Err(format!(
            "unknown packing `{other}`; expected whole or documents"
        )),
    }
}

fn preference(text: &str) -> Result<Preference, String> {
    match text {
        "dpo" => Ok(Preference::Dpo),
        other => Err(format!("unknown preference `{other}`; expected dpo")),
    }
}

fn decay(text: &str) -> Result<LrDecay, String> {
    match text {
        "cosine" => Ok(LrDecay::Cosine),
        "linear" => Ok(LrDecay::Linear),
        "constant" => Ok(LrDecay::Constant),
        "two-stage" => Ok(LrDecay::TwoStage),
        other => Err(format!(
            "unknown decay `{other}`; expected cosine, linear, constant or two-stage"
        )),
    }
}

/// Train a model; the checkpoint folder holds config.json, model.safetensors, tokenizer.json and
/// the training state.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit train --config config/recommended.json --data-dir tokens/ \\
      --tokenizer tok.json --output-dir run/
  onebit train --config config/recommended.json --data-dir tokens/ \\
      --tokenizer tok.json --output-dir run/ --resume
  onebit train --config config/recommended.json --data-dir texts/ \\
      --streaming --tokenizer tok.json --output-dir run/
  onebit train --config small.json --data-dir tokens/ --tokenizer tok.json \\
      --output-dir small/ --teacher run/best
  onebit train --config small.json --data-dir tokens/ --val-data-dir valid.txt \\
      --tokenizer tok.json --output-dir sweep/ --sweep sweep.json

Several processes, if onebit was built with MPI (docs/cluster.md):
  mpirun -n 4 onebit train … --accumulation-steps 4

The config is a JSON object of model fields; its optional `training` object holds the fields the flags below override.")]
pub struct Train {
    /// Begin with this model's weights: a checkpoint folder, a run, RUN/best or a .1bit; `none` =
    /// from scratch [default: the checkpoint that the --bit-map's search was made on].
    #[arg(long, value_name = "PATH", conflicts_with = "resume")]
    pub init_from: Option<PathBuf>,
    /// Train every layer and matrix in all modes by turns, so that one checkpoint serves many
    /// bit-maps: --random-modes=f16,ternary names some of them.
    #[arg(long, value_name = "LIST", value_delimiter = ',', num_args = 0.., require_equals = true, default_missing_value = "f16,eightbit,ternary,binary")]
    pub random_modes: Option<Vec<QuantMode>>,
    /// Model configuration (JSON).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// tokenizer.json of the data.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// Train several times with other values of some fields, give up the worst early, and compare:
    /// a JSON file, see docs/sweep.md. The same command goes on where it stopped.
    #[arg(long, value_name = "FILE")]
    pub sweep: Option<PathBuf>,
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// What a fine-tuning changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FinetuneMode {
    /// Every parameter.
    Full,
    /// Low-rank adapters beside the frozen model.
    Lora,
}

/// Continue training a model on other text, wholly or by low-rank adapters; tokenizer and chat
/// template are the model's.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit finetune --model model.1bit --data-dir notes.txt --output-dir tuned/
  onebit finetune --model run/best --data-dir notes/ \\
      --val-data-dir held-back.txt --output-dir tuned/ --max-steps 200
  onebit finetune --model model.1bit --data-dir notes.txt \\
      --output-dir adapter/ --mode lora --lora-rank 8 --lora-targets q,v
  onebit merge --model model.1bit --adapter adapter/best --output tuned.1bit
  onebit finetune --model model.1bit --data-dir prefs.jsonl \\
      --val-data-dir held-back.jsonl --output-dir preferred/ --preference dpo

Unless told otherwise: learning rate 2e-3 (lora: 5e-3; a model without ternary or binary matrices: 1e-4, 1e-3; with --preference a tenth of it) after a warm-up of 3 % of the steps, cosine, no weight decay, 500 steps, \
no annealing. docs/finetune.md has the formulas and the layout of an adapter.")]
pub struct Finetune {
    /// What to start from: a .1bit file, a checkpoint folder, a run or RUN/best.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// What is trained: the whole model, or adapters beside it [default: full; with --preference,
    /// lora].
    #[arg(long, value_enum)]
    pub mode: Option<FinetuneMode>,
    /// dpo: learn which of two answers is preferred, from pairs (prompt, chosen, rejected), by
    /// adapters; the model itself is the reference.
    #[arg(long, value_name = "HOW", value_parser = preference)]
    pub preference: Option<Preference>,
    /// β of dpo: how far answers may move away from the reference's; smaller is farther [default:
    /// 0.1].
    #[arg(long, value_name = "X", requires = "preference")]
    pub beta: Option<f64>,
    /// r: the width of an adapter [default: 8].
    #[arg(long, value_name = "N")]
    pub lora_rank: Option<usize>,
    /// α: an adapter's output is multiplied by α/r [default: 16].
    #[arg(long, value_name = "X")]
    pub lora_alpha: Option<f64>,
    /// Matrices that get an adapter [default: q,k,v,o,gate,up,down].
    #[arg(long, value_name = "LIST")]
    pub lora_targets: Option<String>,
    /// A config file (JSON) whose `training` object overrides the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// What is learnt of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TrainOn {
    /// The assistant's words and the marks that end its messages.
    Assistant,
    /// Everything, questions and marks included.
    All,
}

/// What every training is told.
#[derive(Args)]
pub struct TrainingArgs {
    /// .tokens files or texts (.txt, .md, .text; .jsonl, .json or .parquet with texts or
    /// conversations, see `onebit data`): a file, a folder, or `-` for standard input.
    #[arg(long, value_name = "PATH")]
    pub data_dir: PathBuf,
    /// Tokenize the texts of --data-dir while training, in constant memory, instead of beforehand.
    #[arg(long)]
    pub streaming: bool,
    /// Windows shuffled together when streaming [default: 8192].
    #[arg(long, value_name = "N", requires = "streaming")]
    pub shuffle_buffer: Option<usize>,
    /// What is learnt of conversations. Of .tokens files all is.
    #[arg(long, value_enum, default_value = "assistant")]
    pub train_on: TrainOn,
    /// What a token sees of the sequence that documents are packed into: whole = all before it;
    /// documents = its own document. <|endoftext|> begins one, also in plain texts and .tokens
    /// files [default: documents where the data begins with a conversation, else whole].
    #[arg(long, value_name = "HOW", value_parser = packing)]
    pub packing: Option<Packing>,
    /// End at this step, with a checkpoint to go on from.
    #[arg(long, hide = true, value_name = "N")]
    pub pause_at: Option<usize>,
    /// Folder of the run: checkpoints, metrics.jsonl, layers.jsonl.
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// Write the figures for TensorBoard, too (tensorboard --logdir DIR).
    #[arg(long)]
    pub tensorboard: bool,
    /// Validation data: a file or a folder.
    #[arg(long, value_name = "PATH")]
    pub val_data_dir: Option<PathBuf>,
    /// Chat template (Jinja) to keep with the model.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Train in this bit-map: a search result, a config, or a bit-map by itself.
    #[arg(long, value_name = "FILE")]
    pub bit_map: Option<PathBuf>,
    /// Any other field of the config, model or training: --set dropout=0.1 --set use_rope=true. May
    /// be repeated.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
    pub set: Vec<Setting>,
    /// adamw, or muon for the matrices of the layers.
    #[arg(long, value_parser = optimizer)]
    pub optimizer: Option<Optimizer>,
    /// Peak learning rate.
    #[arg(long)]
    pub lr: Option<f64>,
    /// cosine, linear, constant or two-stage.
    #[arg(long, value_parser = decay)]
    pub lr_decay: Option<LrDecay>,
    /// Steps over which the learning rate rises to its peak.
    #[arg(long, value_name = "N")]
    pub lr_warmup_steps: Option<usize>,
    /// Steps of the whole run.
    #[arg(long, value_name = "N")]
    pub max_steps: Option<usize>,
    /// Sequences per micro-batch.
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Micro-batches per optimizer step, of all processes together (mpirun, docs/cluster.md).
    #[arg(long, value_name = "N")]
    pub accumulation_steps: Option<usize>,
    /// With several processes: each makes H steps by itself before all go on from one model
    /// (DiLoCo), for slow links; 0 = sum the gradients in every step [default: 0].
    #[arg(long, value_name = "H")]
    pub sync_every: Option<usize>,
    /// Steps between checkpoints; 0 = only at the end.
    #[arg(long, value_name = "N")]
    pub save_every: Option<usize>,
    /// Newest checkpoints kept.
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Save and keep the checkpoint with the lowest validation loss besides: DIR/best then names
    /// it.
    #[arg(long, value_name = "BOOL")]
    pub keep_best: Option<bool>,
    /// Steps between lines of metrics.jsonl.
    #[arg(long, value_name = "N")]
    pub log_every: Option<usize>,
    /// Steps between statistics of every matrix (layers.jsonl); 0 = none [default: with each
    /// validation].
    #[arg(long, value_name = "N")]
    pub stats_every: Option<usize>,
    /// Seed of everything random: weights, order of the data, dropout.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Learn from this model's predictions, too: a .1bit file or checkpoint with the same
    /// tokenizer, of any size.
    #[arg(long, value_name = "PATH")]
    pub teacher: Option<PathBuf>,
    /// w of (1 − w)·cross-entropy + w·T²·KL(teacher ‖ student) [default: 0.5].
    #[arg(long, value_name = "W", requires = "teacher")]
    pub distill_weight: Option<f64>,
    /// T: both distributions are softmax(logits / T) [default: 2].
    #[arg(long, value_name = "T", requires = "teacher")]
    pub distill_temperature: Option<f64>,
    /// Continue from the newest checkpoint in --output-dir.
    #[arg(long)]
    pub resume: bool,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::threads)]
    pub threads: usize,
    /// f16: a GPU that can rounds the operands of matrix products to f16 (on tensor cores where it
    /// has them).
    #[arg(long, value_enum, default_value = "no")]
    pub mixed_precision: MixedPrecision,
}
