//! `import`: published models.

use std::path::PathBuf;

use clap::Args;
use ternary::config::QuantMode;

use super::Head;

/// What the activations that enter quantized matrices are.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Activations {
    Int8,
    Float,
}

/// What becomes of embedding and head.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Ends {
    /// As they are where they are ternary or binary, F16 where they are floats.
    Keep,
    F32,
    F16,
    Eightbit,
}

impl Ends {
    /// `None`: as they are.
    pub fn mode(self) -> Option<QuantMode> {
        match self {
            Ends::Keep => None,
            Ends::F32 => Some(QuantMode::F32),
            Ends::F16 => Some(QuantMode::F16),
            Ends::Eightbit => Some(QuantMode::EightBit),
        }
    }
}

/// Make a .1bit of a published model: a Hugging Face folder (safetensors), a GGUF file, or a
/// repository of the hub.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit import --input bitnet-b1.58-2B-4T/ --output bitnet.1bit
  onebit import --input model-tq2_0.gguf --output model.1bit --head eightbit
  onebit import --input hf:microsoft/bitnet-b1.58-2B-4T --output bitnet.1bit
  onebit import --input hf:owner/name-GGUF --output model.1bit
  onebit import --input hf:owner/name/model-i2_s.gguf --output model.1bit \\
      --context 2048
  onebit import --input llama/ --output llama.1bit \\
      --bit-map search_result.json
  onebit import --input model-Q4_K_M.gguf --output model.1bit \\
      --measure some-text.txt

Ternary weights are carried over exactly as they are. What is not supported is refused by name; docs/import.md lists what is. \
HF_TOKEN is sent to the endpoint over https, and to no other host. An interrupted download is continued by the same command.")]
pub struct Import {
    /// A folder with config.json and safetensors, a .safetensors file in such a folder, a .gguf
    /// file, or hf:OWNER/NAME[/FILE.gguf]. Of a repository without FILE the best is taken: ternary
    /// or binary GGUF, else safetensors, else the GGUF that loses least.
    #[arg(long, value_name = "PATH")]
    pub input: PathBuf,
    /// The .1bit to write.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Precision of embedding and head.
    #[arg(long, value_enum, default_value = "keep", conflicts_with = "bit_map")]
    pub head: Ends,
    /// Precision of the layers' matrices that are floats in the file [default: eightbit where all
    /// are floats, f16 beside ternary or binary ones].
    #[arg(long, value_enum, conflicts_with = "bit_map")]
    pub body: Option<Head>,
    /// Precision of every matrix: a search result, a config, or a bit-map by itself.
    #[arg(long, value_name = "FILE")]
    pub bit_map: Option<PathBuf>,
    /// Measure on this text what the precisions cost: perplexity and logits, against the file's own
    /// values in f32. Takes a second import beside the output, which is removed again.
    #[arg(long, value_name = "FILE")]
    pub measure: Option<PathBuf>,
    /// Activations that enter quantized matrices [default: as the model was trained; int8 for
    /// ternary GGUF files].
    #[arg(long, value_enum)]
    pub activations: Option<Activations>,
    /// A shorter context than the model's, in tokens: the KV cache grows with it.
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// How a GGUF file's vocabulary cuts texts into words, by llama.cpp's name (llama-bpe, qwen2,
    /// gpt-2, smollm, …), whatever the file says.
    #[arg(long, value_name = "NAME")]
    pub pre_tokenizer: Option<String>,
    /// What the model is called, whatever its files say.
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// A field of the model's configuration that is not known here and changes nothing of what the
    /// model computes; may be given several times.
    #[arg(long, value_name = "FIELD")]
    pub ignore_key: Vec<String>,
    /// Branch, tag or commit of a repository of the hub [default: main].
    #[arg(long)]
    pub revision: Option<String>,
    /// Where files of the hub are kept [default: hub/OWNER--NAME in the cache folder].
    #[arg(long, value_name = "DIR")]
    pub download_dir: Option<PathBuf>,
    /// The hub's address.
    #[arg(
        long,
        value_name = "URL",
        env = "HF_ENDPOINT",
        default_value = "https://huggingface.co"
    )]
    pub endpoint: String,
    /// Milliseconds before a dropped connection is tried again; doubled each time [default: 1000].
    #[arg(long, value_name = "MS")]
    pub retry_pause: Option<u64>,
    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}
