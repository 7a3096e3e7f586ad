//! What takes a finished model: `eval`, `generate`, `logits`, `chat`, `merge` and `export`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use ternary::config::CachePrecision;
use ternary::infer::Sampling;
use ternary::session::DeviceChoice;

/// A model and where to run it.
#[derive(Args)]
pub struct ModelArgs {
    /// A .1bit file, a checkpoint folder, a run (its newest checkpoint) or RUN/best (the lowest
    /// validation loss).
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
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::threads)]
    pub threads: usize,
    /// Tokens of context at most; keys and values take memory as the text grows [default: the
    /// model's, up to 131072 where memory allows].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Precision of the keys and values that are kept of a text: f32 is exactly what was computed,
    /// f16 takes half the memory, q8 a quarter.
    #[arg(long, value_enum, default_value = "f16")]
    pub kv: CacheKind,
}

/// -1 or a number of 64 bits.
fn seed(text: &str) -> Result<i128, String> {
    let seed: i128 = text.parse().map_err(|_| "expected a whole number, or -1")?;
    match (-1..=i128::from(u64::MAX)).contains(&seed) {
        true => Ok(seed),
        false => Err(format!("expected -1, or 0 to {}", u64::MAX)),
    }
}

/// How tokens are chosen.
#[derive(Args)]
pub struct SamplingArgs {
    /// Tokens of a reply, at most; -1 = until the context is full.
    #[arg(
        long,
        value_name = "N",
        default_value_t = Sampling::default().max_tokens as i64,
        value_parser = clap::value_parser!(i64).range(-1..)
    )]
    pub max_tokens: i64,
    /// How freely tokens are chosen; 0 = always the most likely one [default: as the model's makers
    /// say, else 0.7].
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// Share of the probability that the most likely tokens must have together to be chosen from, 0
    /// to 1 [default: as the model's makers say, else 0.95].
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// The most likely tokens are chosen from, so many of them: 1 to 256; 0 or -1 = 256 [default:
    /// as the model's makers say, else 40].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(-1..))]
    pub top_k: Option<i64>,
    /// Makes the tokens of the last lines less likely; 1 = off [default: as the model's makers say,
    /// else 1.1 for models of fewer than 50 million parameters with a temperature, 1 for others].
    #[arg(long, value_name = "R")]
    pub repetition_penalty: Option<f32>,
    /// The same seed gives the same text; -1 = another each time [default: 0; in a chat another
    /// each time].
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<i128>,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
}

/// What a reply has to be.
#[derive(Args)]
#[group(multiple = false)]
pub struct FormArgs {
    /// Write JSON that this schema accepts.
    #[arg(long, value_name = "FILE")]
    pub json_schema: Option<PathBuf>,
    /// Write a JSON object, whatever is in it.
    #[arg(long)]
    pub json_object: bool,
    /// Write what this regular expression matches from its beginning to its end.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub regex: Option<String>,
    /// Write a text of this grammar, in llguidance's variant of Lark.
    #[arg(long, value_name = "FILE")]
    pub grammar: Option<PathBuf>,
}

/// Loss, perplexity and bits per byte of a text; or how many questions a model answers rightly.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit eval --model model.1bit --data valid.txt --json
  onebit eval --model model.1bit --tasks arc_easy.jsonl --limit 200")]
#[command(group(ArgGroup::new("measured").args(["data", "tasks"]).required(true)))]
pub struct Eval {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What training takes, too: a text, .jsonl or .json ("text" or "messages"), .tokens, a folder
    /// of them, or `-` for standard input.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Score questions instead: .jsonl, .json or .parquet as ARC, BoolQ, COPA, HellaSwag, LAMBADA,
    /// MMLU, OpenBookQA, PIQA, SciQ and WinoGrande have them, `query`, `choices` and `gold`,
    /// `context` and `target`, or samples of lm-evaluation-harness; or a folder of such files
    #[arg(long, value_name = "PATH", conflicts_with = "data")]
    pub tasks: Option<PathBuf>,
    /// The first so many questions of each file of --tasks
    #[arg(long, value_name = "N", requires = "tasks", conflicts_with = "data", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Continue a prompt.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit generate --model model.1bit --prompt 'Once upon a time'
  onebit generate --model run/ --prompt 'The' --temperature 0 \\
      --max-tokens 64 --json
  onebit generate --model model.1bit --prompt-file code.py --draft lookup
  onebit generate --model model.1bit --prompt 'A dog, as JSON: ' \\
      --json-schema dog.json --max-tokens 500")]
#[command(group(ArgGroup::new("continued").args(["prompt", "prompt_file"]).required(true)))]
pub struct Generate {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text to continue.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Continue the text of this file instead; `-` = standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub prompt_file: Option<PathBuf>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Guess the next tokens and check several at once; the text stays the same. `lookup` guesses
    /// from what the text has said before; a .1bit with the same tokens, or a bit-map of this model
    /// (.json), where it has said nothing of the kind.
    #[arg(long, value_name = "lookup|PATH|MAP", conflicts_with = "FormArgs")]
    pub draft: Option<PathBuf>,
    #[command(flatten)]
    pub form: FormArgs,
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
    /// The tokens, by their numbers.
    #[arg(long, value_delimiter = ',', value_name = "ID,ID,…", required = true)]
    pub ids: Vec<u32>,
    /// The safetensors file to write.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Talk with a model. Ctrl-C stops a reply; /help lists the commands, /exit (or Ctrl-D) leaves.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit chat --model model.1bit
  onebit chat --model model.1bit --system 'Answer in one sentence.' --seed 7
  onebit chat --model model.1bit --json-schema person.json")]
pub struct Chat {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub form: FormArgs,
}

/// Merge an adapter into its model: W + (α/r)·B·A, quantized again.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit merge --model model.1bit --adapter adapter/best --output tuned.1bit
  onebit merge --model run/best --adapter adapter/ --output tuned/ \\
      --data valid.txt --json

Quantizing again loses what is smaller than half a step: --data measures the loss before, with the adapter beside the model, and merged.")]
pub struct Merge {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A .1bit file, or a new checkpoint folder.
    #[arg(long, value_name = "PATH")]
    pub output: PathBuf,
    /// Measure the loss on this: a text, .jsonl, .tokens, a folder of them, or `-`.
    #[arg(long, value_name = "PATH")]
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
    /// Every matrix de-quantized to F16.
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

/// What keys and values are kept in.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum CacheKind {
    F32,
    /// Half the memory.
    F16,
    /// A quarter of the memory: int8 with a scale for every head of a token.
    Q8,
}

impl From<CacheKind> for CachePrecision {
    fn from(kind: CacheKind) -> Self {
        match kind {
            CacheKind::F32 => CachePrecision::F32,
            CacheKind::F16 => CachePrecision::F16,
            CacheKind::Q8 => CachePrecision::Q8,
        }
    }
}

/// What keys and values are kept in on a board.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum BoardCache {
    F32,
    /// Half the memory.
    F16,
}

/// Write a model as a .1bit file, as a C header for boards, or for other programs.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit export --model-dir run/best --output model.1bit --pack-mode ternary \\
      --name 'My model'
  onebit export --model-dir run/best --bit-map search_result.json \\
      --output small.1bit
  onebit export --model model.1bit --output board.1bit --emit-c-header \\
      --c-context 64 --c-kv f16
  onebit export --model model.1bit --format gguf --gguf-type tq1_0 \\
      --output model.gguf
  onebit export --model model.1bit --format hf --output folder/

The header needs no heap and of the C library only math.h; its first lines are a program that uses it. docs/boards.md says more.")]
pub struct Export {
    /// Checkpoint folder, a run (its newest checkpoint), RUN/best (the lowest validation loss), or
    /// a .1bit file.
    #[arg(long, alias = "model", value_name = "PATH")]
    pub model_dir: PathBuf,
    /// The file to write; with --format hf, a folder.
    #[arg(long, value_name = "PATH")]
    pub output: PathBuf,
    /// What is written [default: gguf where --output ends in .gguf, otherwise 1bit].
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
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
    /// A sentence or two about the model.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// The model's license, for example MIT.
    #[arg(long, value_name = "NAME")]
    pub license: Option<String>,
    /// Write the model and its forward pass as C99, too: beside the output, with the ending .h.
    #[arg(long)]
    pub emit_c_header: bool,
    /// Longest text of the C header, in tokens: the KV cache grows with it [default: the model's
    /// context].
    #[arg(long, value_name = "N", requires = "emit_c_header")]
    pub c_context: Option<usize>,
    /// Keys and values of the C header [default: f32].
    #[arg(long, value_enum, requires = "emit_c_header")]
    pub c_kv: Option<BoardCache>,
    /// Text that the example in the C header begins with, as tokens: a board has no tokenizer
    /// [default: Once upon a time].
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
