//! Every flag, defined once: parsing and help come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ternary_core::backend::BackendOptions;
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
    Download(Download),
    Tokenize(Tokenize),
    Train(Box<Train>),
    Finetune(Box<Finetune>),
    Merge(Merge),
    Eval(Eval),
    Generate(Generate),
    Logits(Logits),
    Chat(Chat),
    Export(Export),
    Inspect(Inspect),
    Plot(Plot),
    Bench(Bench),
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

/// A field of a config and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub field: String,
    pub value: serde_json::Value,
}

/// `field=value`; what is not JSON is taken as text.
fn setting(text: &str) -> Result<Setting, String> {
    let (field, value) = text
        .split_once('=')
        .filter(|(field, _)| !field.is_empty())
        .ok_or("expected FIELD=VALUE, for example dropout=0.1")?;
    Ok(Setting {
        field: field.to_owned(),
        value: serde_json::from_str(value).unwrap_or_else(|_| value.into()),
    })
}

/// Fetch a data set from a hub with Hugging Face's layout. An interrupted download is continued, a finished one verified.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit download tinystories
  onebit download wikitext-2 --output-dir wiki/
  onebit download owner/name --file data/part-0.parquet --file data/part-1.parquet

Known by name: wikitext-2, tinystories, tinyshakespeare. The text column of Parquet files is written beside them. HF_TOKEN
is sent to the endpoint, and to no other host.")]
pub struct Download {
    /// wikitext-2, tinystories, tinyshakespeare, or owner/name on the hub.
    pub dataset: String,
    /// A file of the repository; may be given several times.
    #[arg(long, value_name = "PATH")]
    pub file: Vec<String>,
    /// Branch, tag or commit.
    #[arg(long)]
    pub revision: Option<String>,
    /// Where the files go [default: data/NAME].
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    #[arg(
        long,
        value_name = "URL",
        env = "HF_ENDPOINT",
        default_value = "https://huggingface.co"
    )]
    pub endpoint: String,
    /// Milliseconds before a dropped connection is tried again; doubled each time.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub retry_pause: u64,
}

/// Turn texts into .tokens files, training a tokenizer on them first if asked.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit tokenize --data-dir texts/ --tokenizer tok.json --train-vocab 4096 --out-dir tokens/
  onebit tokenize --data-dir book.txt --tokenizer tok.json --output book.tokens

The texts are read piece by piece and need no memory to speak of. A .jsonl file has an object with a \"text\" field on
every line; <|endoftext|> closes each. Check a .tokens file with `onebit inspect FILE.tokens --verify`.")]
pub struct Tokenize {
    /// A text file, or a folder with .txt, .md, .text and .jsonl files in it and in its folders.
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

/// Whether a GPU may round the operands of training's matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MixedPrecision {
    No,
    F16,
}

/// Train a model; the checkpoint folder holds config.json, model.safetensors, tokenizer.json and the training state.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit train --config config/recommended.json --data-dir tokens/ --tokenizer tok.json --output-dir run/
  onebit train --config config/recommended.json --data-dir tokens/ --tokenizer tok.json --output-dir run/ --resume
  onebit train --config config/recommended.json --data-dir texts/ --streaming --tokenizer tok.json --output-dir run/
  onebit train --config small.json --data-dir tokens/ --tokenizer tok.json --output-dir small/ --teacher run/best

The config is a JSON object of model fields; its optional `training` object holds the fields the flags below override.")]
pub struct Train {
    /// Model configuration (JSON).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
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

/// Continue training a model on other text, wholly or by low-rank adapters; tokenizer and chat template are the model's.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit finetune --model model.1bit --data-dir notes.txt --output-dir tuned/
  onebit finetune --model run/best --data-dir notes/ --val-data-dir held-back.txt --output-dir tuned/ --max-steps 200
  onebit finetune --model model.1bit --data-dir notes.txt --output-dir adapter/ --mode lora --lora-rank 8 --lora-targets q,v
  onebit merge --model model.1bit --adapter adapter/best --output tuned.1bit

Unless told otherwise: learning rate 1e-4 (lora: 5e-4) after a warm-up of 3 % of the steps, cosine, no weight decay, 500 steps,
no annealing. docs/finetune.md has the formulas and the layout of an adapter.")]
pub struct Finetune {
    /// What to start from: a .1bit file, a checkpoint folder, a run or RUN/best.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    #[arg(long, value_enum, default_value = "full")]
    pub mode: FinetuneMode,
    /// r: the width of an adapter.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub lora_rank: usize,
    /// α: an adapter's output is multiplied by α/r.
    #[arg(
        long,
        value_name = "X",
        default_value_t = 16.0,
        allow_negative_numbers = true
    )]
    pub lora_alpha: f64,
    /// Matrices that get an adapter.
    #[arg(long, value_name = "LIST", default_value = "q,k,v,o,gate,up,down")]
    pub lora_targets: String,
    /// A config file (JSON) whose `training` object overrides the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// What every training is told.
#[derive(Args)]
pub struct TrainingArgs {
    /// .tokens files or texts (.txt, .md, .text, .jsonl with a "text" field): a file or a folder.
    #[arg(long, value_name = "PATH")]
    pub data_dir: PathBuf,
    /// Tokenize the texts of --data-dir while training, in constant memory, instead of beforehand.
    #[arg(long)]
    pub streaming: bool,
    /// Windows shuffled together when streaming [default: 8192].
    #[arg(long, value_name = "N", requires = "streaming")]
    pub shuffle_buffer: Option<usize>,
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// Validation data: a file or a folder.
    #[arg(long, value_name = "PATH")]
    pub val_data_dir: Option<PathBuf>,
    /// Chat template (Jinja) to keep with the model.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Any other field of the config, model or training: --set dropout=0.1 --set use_rope=true. May be repeated.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
    pub set: Vec<Setting>,
    /// Peak learning rate.
    #[arg(long, allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// cosine, linear, constant or two-stage.
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
    /// Newest checkpoints kept.
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Save and keep the checkpoint with the lowest validation loss besides: DIR/best then names it.
    #[arg(long, value_name = "BOOL")]
    pub keep_best: Option<bool>,
    /// Steps between lines of metrics.jsonl.
    #[arg(long, value_name = "N")]
    pub log_every: Option<usize>,
    /// Steps between statistics of every matrix (layers.jsonl); 0 = none [default: with each validation].
    #[arg(long, value_name = "N")]
    pub stats_every: Option<usize>,
    #[arg(long)]
    pub seed: Option<u64>,
    /// Learn from this model's predictions, too: a .1bit file or checkpoint with the same tokenizer, of any size.
    #[arg(long, value_name = "PATH")]
    pub teacher: Option<PathBuf>,
    /// w of (1 − w)·cross-entropy + w·T²·KL(teacher ‖ student) [default: 0.5].
    #[arg(
        long,
        value_name = "W",
        requires = "teacher",
        allow_negative_numbers = true
    )]
    pub distill_weight: Option<f64>,
    /// T: both distributions are softmax(logits / T) [default: 2].
    #[arg(
        long,
        value_name = "T",
        requires = "teacher",
        allow_negative_numbers = true
    )]
    pub distill_temperature: Option<f64>,
    /// Continue from the newest checkpoint in --output-dir.
    #[arg(long)]
    pub resume: bool,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// f16: a GPU that can rounds the operands of matrix products to f16 (on tensor cores where it has them).
    #[arg(long, value_enum, default_value = "no")]
    pub mixed_precision: MixedPrecision,
}

/// Merge an adapter into its model: W + (α/r)·B·A, quantised again.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit merge --model model.1bit --adapter adapter/best --output tuned.1bit
  onebit merge --model run/best --adapter adapter/ --output tuned/ --data valid.txt --json

Quantising again loses what is smaller than half a step: --data measures the loss before, with the adapter beside the model, and merged.")]
pub struct Merge {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A .1bit file, or a new checkpoint folder.
    #[arg(long, value_name = "PATH")]
    pub output: PathBuf,
    /// A UTF-8 text to measure the loss on.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// A model and where to run it.
#[derive(Args)]
pub struct ModelArgs {
    /// A .1bit file, a checkpoint folder, a run (its newest checkpoint) or RUN/best (the lowest validation loss).
    #[arg(long, alias = "model-dir", value_name = "PATH")]
    pub model: PathBuf,
    /// A folder with an adapter for this model (or a run of `finetune --mode lora`), used unmerged.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
}

/// How tokens are chosen.
#[derive(Args)]
pub struct SamplingArgs {
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_tokens: usize,
    /// 0 = greedy.
    #[arg(long, default_value_t = 0.7, allow_negative_numbers = true)]
    pub temperature: f32,
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    pub top_p: f32,
    /// At most 256; 0 = 256.
    #[arg(long, default_value_t = 40)]
    pub top_k: usize,
    /// 1 = off; greedy decoding (temperature 0) leaves it off unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub repetition_penalty: Option<f32>,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
}

/// Loss, perplexity and bits per byte of a text.
#[derive(Args)]
#[command(after_help = "Example:
  onebit eval --model model.1bit --data valid.txt --json")]
pub struct Eval {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A UTF-8 text file.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Continue a prompt.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit generate --model model.1bit --prompt 'Once upon a time'
  onebit generate --model run/ --prompt 'The' --temperature 0 --max-tokens 64 --json")]
pub struct Generate {
    #[command(flatten)]
    pub model: ModelArgs,
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: String,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// One JSON object (text, finish_reason, stats) instead of streaming.
    #[arg(long)]
    pub json: bool,
}

/// Write a model's logits for token ids: tensor `logits` [n, vocab], f32.
#[derive(Args)]
#[command(after_help = "Example:
  onebit logits --model model.1bit --ids 1,2,3 --output logits.safetensors")]
pub struct Logits {
    #[command(flatten)]
    pub model: ModelArgs,
    #[arg(long, value_delimiter = ',', value_name = "ID,ID,…", required = true)]
    pub ids: Vec<u32>,
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Talk with a model. Ctrl-C stops a reply; /reset starts again, /exit (or Ctrl-D) leaves.
#[derive(Args)]
#[command(after_help = "Example:
  onebit chat --model model.1bit")]
pub struct Chat {
    #[command(flatten)]
    pub model: ModelArgs,
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// How `export` stores matrices.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum PackMode {
    /// As the bit-map says; ternary in 2 bits.
    Ternary,
    /// As the bit-map says; ternary in 1.6 bits: a smaller file.
    Base3,
    /// Every matrix de-quantised to F16.
    Dense,
}

/// What a C header keeps keys and values in.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum CacheKind {
    F32,
    /// Half the memory.
    F16,
}

/// Write a model as a .1bit file, and as a C header for boards.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit export --model-dir run/best --output model.1bit --pack-mode ternary --name 'My model'
  onebit export --model model.1bit --output board/model.1bit --emit-c-header --c-context 64 --c-kv f16

The header needs no heap and of the C library only math.h; its first lines are a program that uses it. docs/boards.md says more.")]
pub struct Export {
    /// Checkpoint folder, a run (its newest checkpoint), RUN/best (the lowest validation loss), or a .1bit file.
    #[arg(long, alias = "model", value_name = "PATH")]
    pub model_dir: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// How matrices are stored [default: ternary; a .1bit file keeps its own].
    #[arg(long, value_enum)]
    pub pack_mode: Option<PackMode>,
    /// Shown by programs that load the file.
    #[arg(long)]
    pub name: Option<String>,
    #[arg(long)]
    pub description: Option<String>,
    #[arg(long)]
    pub license: Option<String>,
    /// Write the model and its forward pass as C99, too: beside the output, with the ending .h.
    #[arg(long)]
    pub emit_c_header: bool,
    /// Longest text of the C header, in tokens: the KV cache grows with it [default: the model's context].
    #[arg(long, value_name = "N", requires = "emit_c_header")]
    pub c_context: Option<usize>,
    /// Keys and values of the C header [default: f32].
    #[arg(long, value_enum, requires = "emit_c_header")]
    pub c_kv: Option<CacheKind>,
    /// Text that the example in the C header begins with, as tokens: a board has no tokenizer [default: Once upon a time].
    #[arg(
        long,
        value_name = "TEXT",
        requires = "emit_c_header",
        allow_hyphen_values = true
    )]
    pub c_prompt: Option<String>,
    /// One JSON object on standard output: sizes in bytes.
    #[arg(long)]
    pub json: bool,
}

/// What is drawn over the course of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Metric {
    /// Training and validation loss together.
    Loss,
    TrainLoss,
    ValLoss,
    GradNorm,
    LearningRate,
    TokensPerSecond,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Along {
    Step,
    Tokens,
    Time,
}

/// Draw the losses of runs, or another figure of their metrics.jsonl.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit plot run/ --output losses.svg
  onebit plot run-a/ run-b/ --output losses.png --smooth 0.9 --x tokens --log-x")]
pub struct Plot {
    /// Folders of runs, or metrics.jsonl files; named by folder in the picture.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// An .svg or a .png file.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    #[arg(long, value_enum, default_value = "loss")]
    pub metric: Metric,
    #[arg(long, value_enum, default_value = "step")]
    pub x: Along,
    /// Smooth by an exponential mean that keeps this share of what came before, 0 to 0.999; the figures themselves stay
    /// visible behind it.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub smooth: f64,
    /// Logarithmic horizontal axis.
    #[arg(long)]
    pub log_x: bool,
    /// Logarithmic vertical axis.
    #[arg(long)]
    pub log_y: bool,
}

/// What a .1bit or .tokens file holds.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit inspect model.1bit --json
  onebit inspect data.tokens --verify")]
pub struct Inspect {
    pub file: PathBuf,
    /// Read all of a .tokens file: its checksum, and every id against the vocabulary.
    #[arg(long)]
    pub verify: bool,
    #[arg(long)]
    pub json: bool,
}

/// A synthetic model's shape.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Shape {
    /// Hidden 768, 12 layers, FFN 2048, vocabulary 32000.
    #[value(name = "100m")]
    M100,
    /// Hidden 256, 4 layers, FFN 512, vocabulary 4096: a quick check.
    #[value(name = "5m")]
    M5,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Head {
    F16,
    Eightbit,
}

/// A model to train for `bench --train`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum TrainShape {
    /// 4 layers, hidden 128, FFN 512, context 64, vocabulary 65; batch 12.
    Small,
    /// 6 layers, hidden 256, SwiGLU 688, context 256, vocabulary 65; batch 8.
    #[value(name = "5m")]
    M5,
    /// 8 layers, hidden 512, SwiGLU 1472, context 512, vocabulary 50257, untied; batch 4.
    #[value(name = "78m")]
    M78,
}

/// Measure prefill and decode speed, and the memory bandwidth beside them; or training, or matrix products.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit bench --synthetic 100m
  onebit bench --model model.1bit --json
  onebit bench --train 5m --device gpu --steps 20
  onebit bench --gemm 1024,2048,4096 --device gpu")]
pub struct Bench {
    /// A .1bit file or a checkpoint folder.
    #[arg(long, alias = "model-dir", value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// A random ternary model instead.
    #[arg(long, value_enum, conflicts_with = "model")]
    pub synthetic: Option<Shape>,
    /// Train a random model on random tokens instead: tokens per second and memory.
    #[arg(long, value_enum, value_name = "SHAPE", conflicts_with_all = ["model", "synthetic", "gemm"])]
    pub train: Option<TrainShape>,
    /// Multiply square matrices of these sizes instead: TFLOP/s.
    #[arg(long, value_delimiter = ',', value_name = "N,N,…", value_parser = clap::value_parser!(usize), conflicts_with_all = ["model", "synthetic"])]
    pub gemm: Vec<usize>,
    /// Sequences per batch of --train; the shape's own when not given.
    #[arg(long, value_name = "N", requires = "train")]
    pub batch: Option<usize>,
    /// Steps that --train measures, after one that warms up.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub steps: usize,
    /// CPU threads of --train and --gemm; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// f16: --train and --gemm on a GPU round the operands of matrix products to f16.
    #[arg(long, value_enum, default_value = "no")]
    pub mixed_precision: MixedPrecision,
    /// Precision of the synthetic model's embedding and head.
    #[arg(long, value_enum, default_value = "eightbit")]
    pub head: Head,
    /// auto, cpu or gpu; on the CPU one thread and all threads are measured.
    #[arg(long, default_value = "cpu")]
    pub device: DeviceChoice,
    /// Tokens decoded per measurement.
    #[arg(long, default_value_t = 64)]
    pub tokens: usize,
    /// Measurements; the median is reported.
    #[arg(long, default_value_t = 5)]
    pub repeat: usize,
    #[arg(long)]
    pub json: bool,
}

impl Bench {
    /// What --train and --gemm open their backend with.
    pub fn backend_options(&self) -> BackendOptions {
        BackendOptions {
            threads: self.threads,
            f16_products: self.mixed_precision == MixedPrecision::F16,
            ..BackendOptions::default()
        }
    }
}
