//! `convert`: a float model made ternary.

use std::path::PathBuf;

use clap::Args;
use ternary::session::DeviceChoice;

use super::train::{Setting, TrainOn, setting};

/// Three weights, `q,k,v`.
fn weights(text: &str) -> Result<[f64; 3], String> {
    let all: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    all.ok()
        .and_then(|all| all.try_into().ok())
        .ok_or_else(|| "expected three numbers, for example 1,1,1".to_owned())
}

/// Turn a float model ternary: norms before its output projections, training in which its weights
/// become codes little by little, then distillation from the float model.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit convert --model llama/ --data texts/ --output ternary/ --minutes 60
  onebit convert --model model-f16.gguf --data chats.jsonl --output ternary/
  onebit convert --model run/best --data notes.txt --output ternary/ \\
      --pretrain-steps 200 --distill-steps 300 --batch-size 8
  onebit chat --model ternary/model.1bit

The same command goes on where an earlier one ended, and comes to the same model. DIR has model.1bit, result.json, curve.svg, \
metrics.jsonl, plan.json and the stages' runs, pretrain/ and distill/. A model of the hub is fetched by `onebit import \
--body f32 --head f32`. docs/convert.md explains the stages.")]
pub struct Convert {
    /// A float model: a Hugging Face folder, a .gguf or .safetensors file, a .1bit file, or a
    /// checkpoint of `onebit train`.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// What is trained on: what `onebit train` takes. A part of it is held back to measure on.
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// The conversion's folder.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Measure on this instead of a part of --data.
    #[arg(long, value_name = "PATH")]
    pub val_data: Option<PathBuf>,
    /// Plan the steps so that all of it takes this long on this machine [default: 30, where no
    /// steps are given].
    #[arg(long, value_name = "N")]
    pub minutes: Option<f64>,
    /// Steps of both stages together, instead of --minutes.
    #[arg(long, value_name = "N", conflicts_with_all = ["minutes", "pretrain_steps", "distill_steps"])]
    pub steps: Option<usize>,
    /// Steps of training on the text alone; 0 = none.
    #[arg(long, value_name = "N")]
    pub pretrain_steps: Option<usize>,
    /// Steps of distillation; 0 = none.
    #[arg(long, value_name = "N")]
    pub distill_steps: Option<usize>,
    /// Share of the time, or of --steps, that is training on the text alone.
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    pub pretrain_share: f64,
    /// Share of the first stage's steps over which weights pass from floats to codes.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub quantize_fraction: f64,
    /// Put no norms before the output projections.
    #[arg(long)]
    pub no_sub_norms: bool,
    /// Tokens of a training sequence [default: 256, or the model's context if that is shorter].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Sequences per micro-batch.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub batch_size: usize,
    /// Micro-batches per optimizer step.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub accumulation_steps: usize,
    /// Peak learning rate [default: 5e-4 for a model 256 wide, less for wider ones].
    #[arg(long)]
    pub lr: Option<f64>,
    /// w of (1 − w)·cross-entropy + w·T²·KL(float ‖ ternary) in distillation.
    #[arg(long, value_name = "W", default_value_t = 0.5)]
    pub distill_weight: f64,
    /// T: both distributions are softmax(logits / T).
    #[arg(long, value_name = "T", default_value_t = 2.0)]
    pub distill_temperature: f64,
    /// Weights of the relations between queries, between keys and between values; 0,0,0 = none.
    #[arg(long, value_name = "Q,K,V", default_value = "1,1,1", value_parser = weights)]
    pub relations: [f64; 3],
    /// The layer whose relations are learnt, from 0 [default: the last].
    #[arg(long, value_name = "N")]
    pub relation_layer: Option<usize>,
    /// What is learnt of conversations. Of .tokens files all is.
    #[arg(long, value_enum, default_value = "assistant")]
    pub train_on: TrainOn,
    /// Chat template (Jinja) to keep with the model, instead of its own.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Any other field of the config, of the ternary model or of both stages' training: --set
    /// weight_scale=row --set weight_decay=0.05. May be repeated.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
    pub set: Vec<Setting>,
    /// Steps between checkpoints [default: those of three minutes].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub save_every: usize,
    /// Steps between lines of metrics.jsonl.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub log_every: usize,
    /// Seed of everything random: the order of the data, above all.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::threads)]
    pub threads: usize,
    /// End at this step of this stage, with a checkpoint to go on from.
    #[arg(long, hide = true, value_name = "STAGE:N")]
    pub pause_at: Option<String>,
    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}
