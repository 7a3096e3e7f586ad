//! Choosing a precision for every layer or matrix: `search` and `eval-config`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use ternary::config::QuantMode;
use ternary::search::Granularity;
use ternary::session::DeviceChoice;

/// A trained model, and the text it is measured on.
#[derive(Args)]
pub struct MeasureArgs {
    /// Checkpoint folder, a run, RUN/best, a .1bit file, or a model.safetensors (with
    /// --model-config and --tokenizer).
    #[arg(long, alias = "model-dir", alias = "model", value_name = "PATH")]
    pub checkpoint: PathBuf,
    /// Model configuration (JSON) of a bare model.safetensors; a checkpoint folder and a .1bit have
    /// their own.
    #[arg(long, value_name = "FILE")]
    pub model_config: Option<PathBuf>,
    /// tokenizer.json of a bare model.safetensors.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Validation data: a text or a .tokens file.
    #[arg(long, value_name = "PATH")]
    pub val_data: PathBuf,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads, which evaluate side by side; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::threads)]
    pub threads: usize,
    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Find the precision of every layer or matrix: the smallest model within a perplexity, or the best
/// one within a size.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit search --checkpoint run/best --val-data valid.txt \\
      --min-perplexity-max 14 --output search_result.json
  onebit search --checkpoint run/best --val-data valid.txt --max-size-mb 2.5 \\
      --granularity matrix --output search_result.json
  onebit export --model-dir run/best --bit-map search_result.json \\
      --output small.1bit
  onebit train --bit-map search_result.json --config config.json \\
      --data-dir tokens/ --tokenizer tok.json --output-dir recovered/

Every evaluation is kept in OUTPUT.journal until the search is done: after an interruption, --resume goes on from there. If \
nothing satisfies the limits, the result says so with what comes nearest, and the exit code is 3. docs/search.md has the method.")]
#[command(group(ArgGroup::new("limits").args(["min_perplexity_max", "max_size_mb"]).required(true).multiple(true)))]
pub struct Search {
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Highest perplexity allowed: the smallest model within it is sought.
    #[arg(long, value_name = "P")]
    pub min_perplexity_max: Option<f64>,
    /// Largest .1bit file allowed, in megabytes (10^6 bytes); alone, the best model within it is
    /// sought.
    #[arg(long, value_name = "S")]
    pub max_size_mb: Option<f64>,
    /// The search result to write (JSON); `-` = standard output.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// What has a mode of its own: layer or matrix.
    #[arg(long, default_value = "layer")]
    pub granularity: Granularity,
    /// Modes to choose from.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "f16,eightbit,ternary,binary"
    )]
    pub modes: Vec<QuantMode>,
    /// Let the embedding and the head be 8-bit; otherwise they are F16.
    #[arg(long)]
    pub unpin: bool,
    /// Maps to evaluate, at most; a space no larger is evaluated whole.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub max_evals: usize,
    /// Tokens that maps are compared on, spread evenly over the validation data; the best are then
    /// measured on all of it. 0 = all.
    #[arg(long, value_name = "N", default_value_t = 16384)]
    pub eval_tokens: usize,
    /// Seed of what the search tries at random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Go on with the search that OUTPUT.journal holds.
    #[arg(long)]
    pub resume: bool,
}

/// Perplexity and size of a model in a bit-map.
#[derive(Args)]
#[command(after_help = "Example:
  onebit eval-config --model-dir run/best --bit-map search_result.json \\
      --val-data valid.txt --json

The validation data is cut into windows of the model's context, as training's validation is; `onebit eval` gives every token \
half a context at least, and so a lower perplexity.")]
pub struct EvalConfig {
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// A search result, a config, or a bit-map by itself.
    #[arg(long, value_name = "FILE")]
    pub bit_map: PathBuf,
}
