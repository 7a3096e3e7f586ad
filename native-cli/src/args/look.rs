//! Looking and measuring: `inspect`, `plot` and `bench`.

use std::path::PathBuf;

use clap::Args;
use ternary::backend::BackendOptions;
use ternary::config::QuantMode;
use ternary::session::{DeviceChoice, suite};

use super::model::CacheKind;
use super::train::MixedPrecision;

/// What a .1bit or .tokens file holds.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit inspect model.1bit --json
  onebit inspect data.tokens --verify")]
pub struct Inspect {
    /// The .1bit or .tokens file.
    pub file: PathBuf,
    /// Read all of a .tokens file: its checksum, and every id against the vocabulary.
    #[arg(long)]
    pub verify: bool,
    /// One JSON object on standard output.
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
  onebit plot run-a/ run-b/ --output losses.png --smooth 0.9 --x tokens \\
      --log-x")]
pub struct Plot {
    /// Folders of runs, or metrics.jsonl files; named by folder in the picture.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// An .svg or a .png file.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// What is drawn.
    #[arg(long, value_enum, default_value = "loss")]
    pub metric: Metric,
    /// What it is drawn along.
    #[arg(long, value_enum, default_value = "step")]
    pub x: Along,
    /// Smooth by an exponential mean that keeps this share of what came before, 0 to 0.999; the
    /// figures themselves stay visible behind it.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub smooth: f64,
    /// Logarithmic horizontal axis.
    #[arg(long)]
    pub log_x: bool,
    /// Logarithmic vertical axis.
    #[arg(long)]
    pub log_y: bool,
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
    /// Exactly what an F32 checkpoint has, twice the size of F16.
    F32,
    F16,
    Eightbit,
}

impl Head {
    pub fn mode(self) -> QuantMode {
        match self {
            Head::F32 => QuantMode::F32,
            Head::F16 => QuantMode::F16,
            Head::Eightbit => QuantMode::EightBit,
        }
    }
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
    /// 24 layers, hidden 1024, SwiGLU 2752, context 1024, vocabulary 50257; batch 4.
    #[value(name = "350m")]
    M350,
}

impl TrainShape {
    pub fn shape(self) -> suite::TrainShape {
        match self {
            TrainShape::Small => suite::TrainShape::Small,
            TrainShape::M5 => suite::TrainShape::M5,
            TrainShape::M78 => suite::TrainShape::M78,
            TrainShape::M350 => suite::TrainShape::M350,
        }
    }
}

/// What `bench --suite` goes through.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Suite {
    /// A GPU: whether it computes what the CPU does, and how fast.
    Gpu,
}

/// Measure prefill and decode speed, and the memory bandwidth beside them; or training, or matrix
/// products.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit bench --synthetic 100m
  onebit bench --model model.1bit --json
  onebit bench --model model.1bit --prefill 512 --context 0,4096 --threads 4
  onebit bench --synthetic 100m --parallel 1,4,16 --prefill 64 --tokens 128
  onebit bench --train 5m --device gpu --steps 20
  onebit bench --gemm 1024,2048,4096 --device gpu
  onebit bench --suite gpu --output report")]
pub struct Bench {
    /// A .1bit file or a checkpoint folder.
    #[arg(long, alias = "model-dir", value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// A random ternary model instead.
    #[arg(long, value_enum, conflicts_with = "model")]
    pub synthetic: Option<Shape>,
    /// Precision of keys and values.
    #[arg(long, value_enum, default_value = "f16")]
    pub kv: CacheKind,
    /// Answer so many requests at the same time instead, as a server does.
    #[arg(long, value_delimiter = ',', value_name = "N,N,…", value_parser = clap::value_parser!(u32).range(1..=1024), conflicts_with_all = ["train", "gemm", "suite"])]
    pub parallel: Vec<u32>,
    /// Train a random model on random tokens instead: tokens per second and memory.
    #[arg(long, value_enum, value_name = "SHAPE", conflicts_with_all = ["model", "synthetic", "gemm"])]
    pub train: Option<TrainShape>,
    /// Multiply square matrices of these sizes instead: TFLOP/s.
    #[arg(long, value_delimiter = ',', value_name = "N,N,…", value_parser = clap::value_parser!(usize), conflicts_with_all = ["model", "synthetic"])]
    pub gemm: Vec<usize>,
    /// Go through a whole suite instead and write a report: every operation against the CPU, what
    /// the device can do, decode, prefill and training beside it.
    #[arg(long, value_enum, requires = "output", conflicts_with_all = ["model", "synthetic", "gemm", "train"])]
    pub suite: Option<Suite>,
    /// Folder of --suite's report.json and report.md.
    #[arg(long, value_name = "DIR", requires = "suite")]
    pub output: Option<PathBuf>,
    /// The suite in less than two minutes, for GPUs in software.
    #[arg(long, requires = "suite")]
    pub quick: bool,
    /// Only one part of the suite, in this process.
    #[arg(long, hide = true, requires = "suite")]
    pub part: Option<suite::Part>,
    /// Sequences per batch of --train; the shape's own when not given.
    #[arg(long, value_name = "N", requires = "train")]
    pub batch: Option<usize>,
    /// Steps that --train measures, after one that warms up.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub steps: usize,
    /// CPU threads; 0 = all, and for a model 1, 2, 4 and so on up to all, one after the other.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::threads)]
    pub threads: usize,
    /// f16: --train and --gemm on a GPU round the operands of matrix products to f16.
    #[arg(long, value_enum, default_value = "no")]
    pub mixed_precision: MixedPrecision,
    /// Precision of the synthetic model's embedding and head.
    #[arg(long, value_enum, default_value = "eightbit")]
    pub head: Head,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "cpu")]
    pub device: DeviceChoice,
    /// Lengths of the prompts to measure prefill with, 128, 512 and 2048 when not given; those that
    /// do not fit in the context are left out. With --parallel the one length of all prompts, 64
    /// when not given.
    #[arg(long, value_delimiter = ',', value_name = "N,N,…", value_parser = clap::value_parser!(u32).range(1..))]
    pub prefill: Vec<u32>,
    /// Tokens in the context before those that are decoded; likewise.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,N,…",
        default_value = "0,2048,8192",
        conflicts_with = "parallel"
    )]
    pub context: Vec<u32>,
    /// Tokens decoded per measurement, or of every reply of --parallel.
    #[arg(long, default_value_t = 64)]
    pub tokens: usize,
    /// Measurements, of which the median is reported; fewer where they take more than ten seconds
    /// together.
    #[arg(long, default_value_t = 5)]
    pub repeat: usize,
    /// Only list the SIMD levels that this machine has, the best first: ONEBIT_SIMD chooses another
    /// than the first.
    #[arg(long)]
    pub simd_levels: bool,
    /// JSON on standard output.
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
