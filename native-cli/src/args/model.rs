//! What takes a finished model: `eval`, `generate`, `logits`, `chat`, `merge` and `export`.

use std::path::PathBuf;

use clap::Args;
use ternary_core::session::DeviceChoice;

/// A model and where to run it.
#[derive(Args)]
pub struct ModelArgs {
    /// A .1bit file, a checkpoint folder, a run (its newest checkpoint) or RUN/best (the lowest validation loss).
    #[arg(long, alias = "model-dir", value_name = "PATH")]
    pub model: PathBuf,
    /// A folder with an adapter for this model (or a run of `finetune --mode lora`), used unmerged.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Run it in this bit-map: a search result, a config, or a bit-map by itself.
    #[arg(long, value_name = "FILE", conflicts_with = "adapter")]
    pub bit_map: Option<PathBuf>,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Tokens of context to keep memory for [default: the model's, or fewer where it would take much more than the model].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
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

/// What `export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// This project's file.
    #[value(name = "1bit")]
    OneBit,
    /// A folder that Hugging Face's transformers loads.
    Hf,
    /// A file that llama.cpp loads.
    Gguf,
}

/// The type of ternary matrices in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GgufType {
    /// 2.06 bits a weight.
    #[value(name = "tq2_0")]
    Tq2_0,
    /// 1.69 bits a weight, a little slower.
    #[value(name = "tq1_0")]
    Tq1_0,
}

/// What a C header keeps keys and values in.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum CacheKind {
    F32,
    /// Half the memory.
    F16,
}

/// Write a model as a .1bit file, as a C header for boards, or for other programs.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit export --model-dir run/best --output model.1bit --pack-mode ternary --name 'My model'
  onebit export --model-dir run/best --bit-map search_result.json --output small.1bit
  onebit export --model model.1bit --output board/model.1bit --emit-c-header --c-context 64 --c-kv f16
  onebit export --model model.1bit --format gguf --gguf-type tq1_0 --output model.gguf
  onebit export --model model.1bit --format hf --output folder/

The header needs no heap and of the C library only math.h; its first lines are a program that uses it. docs/boards.md says more.")]
pub struct Export {
    /// Checkpoint folder, a run (its newest checkpoint), RUN/best (the lowest validation loss), or a .1bit file.
    #[arg(long, alias = "model", value_name = "PATH")]
    pub model_dir: PathBuf,
    /// The file to write; with --format hf, a folder.
    #[arg(long, value_name = "PATH")]
    pub output: PathBuf,
    #[arg(long, value_enum, default_value = "1bit")]
    pub format: ExportFormat,
    /// Ternary matrices in a GGUF file [default: tq2_0].
    #[arg(long, value_enum)]
    pub gguf_type: Option<GgufType>,
    /// Write it in this bit-map: a search result, a config, or a bit-map by itself.
    #[arg(long, value_name = "FILE")]
    pub bit_map: Option<PathBuf>,
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
