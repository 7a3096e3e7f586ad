//! What goes in and out of a [`Session`](super::Session): plain data, the same in a worker's
//! messages and in-process.

use serde::{Deserialize, Serialize};
use ternary_common::chat::{Message, ToolCall};

use ternary_backend::DeviceInfo;
use ternary_core::config::{LayerBitMap, ModelConfig, QuantMode};
use ternary_core::params::{self, Param, ParamKind};
use ternary_formats::onebit::OneBit;
use ternary_infer::{Form, LoadPlan, Sampling};

use super::demands::Demands;
use super::explore::{MapLoss, MatrixDiff};
use super::tune::{Keep, Sampled, TunePlan, TunePoint, TuneSettings};
use super::weights::{MatrixFigures, WeightSource, Weights};

/// Where to run. `Auto`: a real GPU if there is one, otherwise the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A real GPU if there is one, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU, even where there is a GPU.
    Cpu,
    /// A GPU, even one in software; without any, loading fails.
    Gpu,
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "gpu" => Ok(DeviceChoice::Gpu),
            other => Err(format!(
                "unknown device `{other}`; expected auto, cpu or gpu"
            )),
        }
    }
}

/// What a session is asked to do. Loading is separate ([`Session::load`](super::Session::load)): a
/// file is a handle, not data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Continue `prompt`. Answered by `Token`s and one `Finished`.
    Generate {
        /// The text so far; empty: begin one.
        prompt: String,
        /// How tokens are chosen, and how many.
        sampling: Sampling,
        /// What the continuation has to be.
        #[serde(default)]
        form: Option<Form>,
    },
    /// Reply to a conversation through the model's chat template, or write on its last message if
    /// that is the assistant's. What does not fit the context is left out from the oldest turn on.
    /// Answered by `Token`s, `ToolCalls` if there are some, and one `Finished`.
    Chat {
        /// The conversation so far.
        messages: Vec<Message>,
        /// How tokens are chosen, and how many.
        sampling: Sampling,
        /// Tools that it may call, and what it has to be.
        #[serde(default)]
        demands: Demands,
    },
    /// Forget the KV cache; the next request starts from nothing. Answered by nothing.
    Reset,
    /// Answer with the adapter of this name from now on, or with none. The model's weights stay
    /// where they are. Answered as a load is.
    Adapt {
        /// As it was added.
        name: Option<String>,
    },
    /// Take the model, as it is, to another device. Answered as a load is.
    Move {
        /// Where to.
        device: DeviceChoice,
    },
}

impl Command {
    /// Whether it asks for a reply of a form.
    pub fn has_form(&self) -> bool {
        match self {
            Command::Generate { form, .. } => form.is_some(),
            Command::Chat { demands, .. } => demands.form().is_some(),
            Command::Reset | Command::Adapt { .. } | Command::Move { .. } => false,
        }
    }
}

/// What changes a model or asks what a change would cost, apart from [`Command`]: a page that only
/// talks need not carry the code.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ModelTask {
    /// A matrix as the file has it. Answered by `Weights`.
    Weights {
        /// The parameter's.
        name: String,
        /// Of which model.
        from: WeightSource,
    },
    /// A matrix as it would be in another precision. Answered by `Weights`, and by
    /// `TuneWeights` while a fine-tuning stands still.
    Preview {
        /// The parameter's.
        name: String,
        /// Instead of the file's.
        mode: QuantMode,
    },
    /// What `map` makes of these matrices. Answered by `Figures` of one after the other.
    Figures {
        /// For the loaded model.
        map: LayerBitMap,
        /// The parameters'.
        names: Vec<String>,
    },
    /// Mean loss of `text` with the model in `map`. Answered by `Measured`.
    Measure {
        /// For the loaded model.
        map: LayerBitMap,
        /// At least two tokens.
        text: String,
    },
    /// Logits after each of these tokens, from an empty cache. Answered by `Logits`.
    Logits {
        /// No more than the context holds.
        ids: Vec<u32>,
    },
    /// The model's file in another bit-map. Answered by `File`.
    Export {
        /// For the loaded model.
        map: LayerBitMap,
    },
    /// Go on with the model in another bit-map. Answered as a load is.
    Apply {
        /// For the loaded model.
        map: LayerBitMap,
    },
    /// What a fine-tuning would take. Answered by `TunePlan`.
    PlanTune {
        /// What would be trained, and how long.
        settings: TuneSettings,
    },
    /// Fine-tune the model, until it is done or stopped. Answered by `TuneStarted`, `TunePoint`s,
    /// `TuneSample`s, `TuneChanges`, `TuneState`s, one `TuneStopped`, and `Weights` and
    /// `TuneWeights` of the matrix that is watched.
    Tune {
        /// What is trained, and how long.
        settings: TuneSettings,
    },
    /// Go on with the fine-tuning that was stopped. Answered as `Tune` is.
    ContinueTune,
    /// Make what a `TuneState` holds the stopped fine-tuning of the loaded model, which must be the
    /// one it was made from. Answered by `TuneStarted` and `TuneStopped`.
    RestoreTune {
        /// The bytes of the `TuneState`.
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
    /// What the fine-tuning made so far, as a file. Answered by `File`.
    ExportTune {
        /// The model or its adapter.
        keep: Keep,
    },
    /// Answer with what the fine-tuning made so far from now on, and forget the fine-tuning.
    /// Answered as a load is.
    KeepTune,
    /// Forget the fine-tuning. Answered by nothing.
    DiscardTune,
}

/// What a session says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// Loading a model: what it takes, and where. An `Error` follows if that is too much; nothing
    /// of it was read then.
    Planned {
        /// Bytes by purpose, and the device.
        plan: Box<LoadPlan>,
        /// What will be read, in that order.
        parts: Vec<FilePart>,
    },
    /// Loading a model: bytes read so far.
    Progress {
        /// Bytes.
        done: u64,
        /// Bytes of the file.
        total: u64,
    },
    /// A model is ready. Boxed: it is much larger than the other events.
    Loaded {
        /// What the file says, and what was made of it.
        model: Box<ModelInfo>,
    },
    /// Text to append to the reply.
    Token {
        /// Whole characters, at least one.
        text: String,
    },
    /// The reply calls tools; its `Token`s are without that.
    ToolCalls {
        /// In their order.
        calls: Vec<ToolCall>,
    },
    /// The reply is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// Speed, and how much of the context is used.
        stats: Stats,
    },
    /// Answers [`ModelTask::Weights`] and [`ModelTask::Preview`]; a fine-tuning begins with it to
    /// tell of the matrix that is [watched](super::WatchHandle).
    Weights {
        /// Boxed: much larger than other events.
        weights: Box<Weights>,
    },
    /// Part of what answers [`ModelTask::Figures`].
    Figures {
        /// Of one matrix.
        figures: MatrixFigures,
    },
    /// What another file has other than the loaded one.
    Compared {
        /// The other model's, or its file's.
        name: String,
        /// In the order of the model's matrices.
        changes: Vec<MatrixDiff>,
    },
    /// Answers [`ModelTask::Measure`].
    Measured {
        /// The map, and its loss.
        measured: Box<MapLoss>,
    },
    /// `[tokens, vocabulary]` as little-endian f32.
    Logits {
        /// 4 bytes each, one row a token.
        #[serde(with = "serde_bytes")]
        values: Vec<u8>,
    },
    /// A file to be saved under `name`.
    File {
        /// As a browser would save it.
        name: String,
        /// All of the file.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Answers [`ModelTask::PlanTune`].
    TunePlan {
        /// Steps, tokens and memory.
        plan: TunePlan,
    },
    /// The fine-tuning begins, or goes on from the points it had.
    TuneStarted {
        /// Steps, tokens and memory.
        plan: TunePlan,
        /// Those it was started with.
        settings: Box<TuneSettings>,
        /// Of the steps before; none at the beginning.
        points: Vec<TunePoint>,
        /// What the model wrote before the first step; nothing at the beginning.
        before: Vec<Sampled>,
    },
    /// The loss after some more steps.
    TunePoint {
        /// The newest point of the curves.
        point: TunePoint,
    },
    /// Text that the model writes as it is now.
    TuneSample {
        /// Its prompt and its text.
        sample: Sampled,
    },
    /// Codes that are others than when the fine-tuning began.
    TuneChanges {
        /// Steps done.
        step: usize,
        /// One entry for each ternary or binary matrix.
        changes: Vec<MatrixDiff>,
    },
    /// What the fine-tuning has made of a matrix so far.
    TuneWeights {
        /// In the mode that the loaded model has it in.
        weights: Box<Weights>,
    },
    /// Everything that going on after a restart needs.
    TuneState {
        /// Steps done.
        step: usize,
        /// A safetensors file of parameters and moments, with the settings in its metadata.
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
    /// The fine-tuning stands still at `step`; it can go on if it is not `done`.
    TuneStopped {
        /// Steps done.
        step: usize,
        /// All of its steps are.
        done: bool,
    },
    /// The request failed; the session, and a model loaded before, still work.
    Error {
        /// For people; complete by itself.
        message: String,
    },
}

/// A parameter's place in a `.1bit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilePart {
    /// The parameter's name.
    pub name: String,
    /// Of a matrix.
    pub mode: Option<QuantMode>,
    /// Bytes of the file before it.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// The parameters of a file, in the order in which they are loaded.
pub fn file_parts(file: &OneBit) -> Vec<FilePart> {
    let all = params::all(&file.metadata.config).into_iter();
    let part = |p: Param| {
        let entry = file.tensor(&p.name).ok()?;
        Some(FilePart {
            mode: match &p.kind {
                ParamKind::Matrix(m) => Some(m.mode),
                _ => None,
            },
            offset: file.data_offset() + entry.offset,
            bytes: entry.length,
            name: p.name,
        })
    };
    all.filter_map(part).collect()
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FinishReason {
    /// The model ended its text or turn.
    End,
    /// `max_tokens` were generated.
    Length,
    /// The context is full.
    Context,
    /// The user stopped it.
    Stopped,
}

/// Figures of one reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Of the whole prompt, cached ones included.
    pub prompt_tokens: usize,
    /// Prompt tokens taken from the KV cache of the previous request.
    pub cached_tokens: usize,
    /// The oldest messages, after the system's, that did not fit the context and were left out.
    #[serde(default)]
    pub dropped_messages: usize,
    /// Of the reply, an ending token included.
    pub generated_tokens: usize,
    /// From request to first token, in milliseconds.
    pub first_token_ms: f64,
    /// Decode speed, first token not counted.
    pub tokens_per_second: f64,
    /// Positions of the context in use, of `context_size`.
    pub context_used: usize,
    /// Positions of the context.
    pub context_size: usize,
}

/// A loaded model, for people to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// From its file, or the file's own name.
    pub name: String,
    /// One or two sentences about the model, from its file.
    pub description: String,
    /// Of the `.1bit`.
    pub file_bytes: u64,
    /// Of these, the matrices': what a bit-map decides.
    pub matrix_bytes: u64,
    /// How many; an embedding that is also the head counts once.
    pub parameters: usize,
    /// Sizes and switches.
    pub config: ModelConfig,
    /// Positions there is room for: fewer than the config's where the memory holds no more.
    pub context: usize,
    /// The precision of every matrix.
    pub bit_map: LayerBitMap,
    /// Weights in bytes at run time, and the KV cache.
    pub weight_bytes: usize,
    /// Keys and values of the whole context.
    pub cache_bytes: usize,
    /// The most memory that this program has held so far, what a GPU holds not counted; unknown on
    /// some systems.
    pub program_bytes: Option<u64>,
    /// Whether the file carries a chat template.
    pub chat: bool,
    /// What suits it where nothing else is chosen.
    pub sampling: Sampling,
    /// Adapters that it can answer with.
    #[serde(default)]
    pub adapters: Vec<String>,
    /// The one it answers with.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Where it runs.
    pub device: DeviceInfo,
    /// Why this device was chosen, e.g. "software GPU: the CPU is faster".
    pub device_reason: String,
    /// From opening the file to the first possible token.
    pub load_ms: f64,
}
