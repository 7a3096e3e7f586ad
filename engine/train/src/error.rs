//! Errors of training.

use std::path::PathBuf;

use ternary_backend::{BackendError, DeviceKind, MemoryLimits};
use ternary_common::bytes::Size;
use ternary_common::error::IoError;
use ternary_core::config::ConfigError;
use ternary_core::layout::FormatError;
use ternary_formats::adapter::AdapterError;

use crate::memory::MemoryPlan;
#[cfg(feature = "native")]
use ternary_common::ranks::LinkError;

/// A result whose error is this crate's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What may go wrong in a training and with its checkpoints. Every message is complete: a `cause`
/// is part of it, and so no `source`, which a chain of messages would repeat.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Training data.
    #[error(transparent)]
    Common(#[from] ternary_common::Error),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The configuration of the model or of the training.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A `.1bit` file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An adapter that does not fit its model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),

    /// The model to start from is not the configuration's.
    #[error("the model to start from has no tensor {name} of shape {shape:?}")]
    StartTensor {
        /// The parameter's name.
        name: String,
        /// What the configuration asks for.
        shape: Vec<usize>,
    },
    /// Teacher and student must have the same tokens.
    #[error(
        "the teacher has {teacher} tokens, the student {student}; distillation compares them token by token, so give a teacher with the same tokenizer"
    )]
    TeacherVocabulary {
        /// Tokens of the teacher.
        teacher: usize,
        /// Tokens of the student.
        student: usize,
    },
    /// The teacher cannot read the student's sequences.
    #[error(
        "the teacher's context is {context}, the batches have {seq}; set seq_len to at most the teacher's"
    )]
    TeacherContext {
        /// Positions of the teacher.
        context: usize,
        /// Tokens per sequence.
        seq: usize,
    },
    /// The layer whose relations are to be learnt is none of the model's.
    #[error(
        "distill_relation_layer is {layer}; the model's num_layers is {layers}, and they are numbered from 0"
    )]
    RelationLayer {
        /// Asked for.
        layer: usize,
        /// Of the student.
        layers: usize,
    },
    /// The teacher's attention cannot be cut into the student's heads.
    #[error(
        "the teacher's {what} are {width} wide, which is no multiple of the student's {heads} heads; switch distill_relations off, or give a teacher of another width"
    )]
    RelationHeads {
        /// Queries or keys.
        what: &'static str,
        /// Of all heads of the teacher.
        width: usize,
        /// Of the student.
        heads: usize,
    },
    /// Only floats are to be made ternary.
    #[error(
        "{low_bit} of the model's {all} matrices are ternary or binary already: there is nothing to convert. `onebit finetune` trains it further; conversion takes a float model"
    )]
    NotFloat {
        /// Matrices of codes.
        low_bit: usize,
        /// All of them.
        all: usize,
    },
    /// A conversion without any steps.
    #[error("every stage has 0 steps: give one of them some, or minutes")]
    NoStages,
    /// Less time than a step of every stage takes.
    #[error(
        "{minutes} min is too little time: {elapsed:.0} s went by in measuring, and a step of `{stage}` takes {step:.1} s; give more minutes, a shorter context, or smaller batches"
    )]
    NoTime {
        /// Given.
        minutes: f64,
        /// Seconds gone.
        elapsed: f64,
        /// That no step of is left.
        stage: &'static str,
        /// Seconds.
        step: f64,
    },
    /// The folder's plan is of another conversion.
    #[error(
        "{} has a conversion that was begun otherwise: {changed} changed. Give what it was begun with to go on, or another folder",
        .path.display()
    )]
    OtherConversion {
        /// Its folder.
        path: PathBuf,
        /// In words.
        changed: String,
    },
    /// Sequences longer than the model's context.
    #[error("seq_len {seq} is longer than max_seq_len {context}")]
    SequenceTooLong {
        /// Tokens per sequence asked for.
        seq: usize,
        /// Positions of the model.
        context: usize,
    },
    /// A batch whose buffers no machine can hold.
    #[error(
        "batch_size {batch} with sequences of {seq} tokens: one buffer alone would take {:.0} TB; make the batch smaller",
        *.bytes as f64 / 1e12
    )]
    BatchTooLarge {
        /// Sequences per micro-batch.
        batch: usize,
        /// Tokens per sequence.
        seq: usize,
        /// Bytes of the largest buffer.
        bytes: u128,
    },
    /// The device has too little memory for the training.
    #[error(
        "training needs {}, the largest buffer {}; the {} allows {}: {}",
        .0.plan, Size(.0.plan.largest), .0.device, .0.limits, .0.advice()
    )]
    Memory(Box<MemoryShortage>),
    /// Validation data that validation windows cannot be cut from.
    #[error("validation data: {0}")]
    ValidationData(Box<Error>),
    /// Early stopping judges by validation.
    #[error("early_stop_patience is set, but there is no validation data to judge by")]
    NoValidation,
    /// Validation windows in which nothing counts.
    #[error(
        "the validation windows hold no word of the assistant's: give more conversations to validate on"
    )]
    NothingMeasured,
    /// A step whose loss or gradient is not finite.
    #[error(
        "{}{} at step {step}: {cause}; lower --lr, raise --lr-warmup-steps or check the data",
        if .loss.is_finite() { String::new() } else { format!("the loss is {loss} and ") },
        match .parameter {
            Some(name) => format!("the gradient of {name} is not finite"),
            None => "the gradient norm is not finite".to_owned(),
        }
    )]
    NotFinite {
        /// Counted from 1.
        step: usize,
        /// Nats per token.
        loss: f64,
        /// The first parameter whose gradient is not finite.
        parameter: Option<String>,
        /// What the parameters look like.
        cause: String,
    },
    /// More processes than there is work for in a step.
    #[error(
        "{ranks} ranks, but a step has only {micro} micro-batch{}: set --accumulation-steps to a multiple of {ranks} (with --batch-size smaller by as much, a step's tokens stay the same)",
        if *.micro == 1 { "" } else { "es" }
    )]
    FewMicroBatches {
        /// Micro-batches of a step.
        micro: usize,
        /// Processes.
        ranks: usize,
    },
    /// Preference pairs, which one process learns.
    #[error("{ranks} ranks, but preference pairs are learnt by one process: start one")]
    #[cfg(feature = "native")]
    PreferenceRanks {
        /// Processes.
        ranks: usize,
    },
    /// Preference pairs beside a teacher.
    #[error(
        "preference and a teacher exclude each other: a pair's reference is the model without its adapters"
    )]
    PreferenceTeacher,
    /// The processes that train together do not go on.
    #[error(
        "rank {rank} of {size}: {cause}; --resume goes on from the last checkpoint, with any number of ranks"
    )]
    #[cfg(feature = "native")]
    Rank {
        /// This process.
        rank: usize,
        /// All of them.
        size: usize,
        /// What happened.
        cause: LinkError,
    },
    /// Ranks that would train different things.
    #[error(
        "rank {rank} was started with another {what} than rank 0: give all ranks the same program, files and flags"
    )]
    RankDiffers {
        /// This process.
        rank: usize,
        /// What is not the same.
        what: &'static str,
    },
    /// A run in a folder ended by an error.
    #[error(
        "{cause}{}. {}",
        match .reported {
            Some(step) => format!(". Training stopped; the last step known to be good is {step}"),
            None => String::new(),
        },
        match .last_good {
            Some(path) => format!("The last good checkpoint is {}", path.display()),
            None => "There is no good checkpoint yet".to_owned(),
        }
    )]
    RunFailed {
        /// What ended it.
        cause: Box<Error>,
        /// The last step whose figures were read back, if the device was lost.
        reported: Option<usize>,
        /// The newest checkpoint that can be resumed from.
        last_good: Option<PathBuf>,
    },

    /// There is nothing in the folder to go on with.
    #[error(
        "--resume: {} {}",
        .path.display(),
        match .run {
            Some(run) => format!("is a checkpoint of a run; give the run: {}", run.display()),
            None => "has no checkpoint".to_owned(),
        }
    )]
    NothingToResume {
        /// The run's folder.
        path: PathBuf,
        /// The folder that is meant, where a checkpoint in it was named.
        run: Option<PathBuf>,
    },
    /// The checkpoint was trained on other data.
    #[error("--resume: the training data differs from the checkpoint's; give the same --data-dir")]
    ResumeData,
    /// The checkpoint was distilled from another teacher.
    #[error("--resume: the run had another teacher, or none; give the same --teacher")]
    ResumeTeacher,
    /// The folder holds a run, and it was not asked to go on with it.
    #[error(
        "{} exists; add --resume to continue it or choose another --output-dir", .path.display()
    )]
    RunExists {
        /// The newest checkpoint in the folder.
        path: PathBuf,
    },
    /// A model is never written over another.
    #[error("{} exists; choose another folder", .path.display())]
    FolderExists {
        /// The folder.
        path: PathBuf,
    },
    /// A JSON file that cannot be read as what it should be.
    #[error("{}: {cause}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        cause: serde_json::Error,
    },
    /// Weights that cannot be read.
    #[error("{}: {problem}", .path.display())]
    Weights {
        /// The safetensors file.
        path: PathBuf,
        /// What the reader of safetensors says.
        problem: String,
    },
    /// An adapter's files that cannot be read.
    #[error("{}: {cause}", .path.display())]
    AdapterFiles {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with them.
        cause: AdapterError,
    },
    /// Tensors that safetensors cannot hold.
    #[error("{0}")]
    Serialize(String),
    /// A folder of a checkpoint without its weights.
    #[error("{} has no weights", .path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that nothing can be loaded from.
    #[error(
        "{} is not a checkpoint folder: it has neither config.json nor step-… folders",
        .path.display()
    )]
    NotACheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// A checkpoint's configuration.
    #[error("{}: {cause}", .path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: ConfigError,
    },
    /// Another program's model where a checkpoint was expected.
    #[error(
        "{0} is a model as Hugging Face's programs keep it: `onebit import --input {0} --output MODEL.1bit` makes a .1bit of it",
        .path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// An adapter where a model was expected.
    #[error(
        "{} is an adapter, not a model: give the model it belongs to, and this folder as --adapter",
        .path.display()
    )]
    NotAModel {
        /// The folder.
        path: PathBuf,
    },
    /// A model where an adapter was expected.
    #[error("{} holds a model, not an adapter: it has no {file}", .path.display())]
    NotAnAdapter {
        /// The folder.
        path: PathBuf,
        /// The file that adapters have.
        file: &'static str,
    },
    /// `train_state.json` of a newer program.
    #[error(
        "{}: schema version {found}; this program reads versions 1 to {newest}", .path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        newest: u32,
    },
    /// The weights lack a parameter of the configuration.
    #[error("{} lacks tensor {name}", .path.display())]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// The parameter's name.
        name: String,
    },
    /// A tensor of another shape than the configuration's.
    #[error("{}: tensor {name} has shape {found:?}; the config asks for {expected:?}", .path.display())]
    Shape {
        /// The file or folder.
        path: PathBuf,
        /// The parameter's name.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// By the configuration.
        expected: Vec<usize>,
    },
    /// A file of a checkpoint lacks what resuming needs.
    #[error("{}/{file} lacks {name}", .path.display())]
    IncompleteState {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The file in it.
        file: &'static str,
        /// The tensor's name.
        name: String,
    },
    /// The run trained other adapters than are asked for.
    #[error(
        "{} has LoRA of rank {rank}, alpha {alpha} on other matrices or of other size than asked for; resume with the same settings",
        .path.display()
    )]
    ResumeLora {
        /// The checkpoint's folder.
        path: PathBuf,
        /// Its adapters' width.
        rank: usize,
        /// Their scale, times the rank.
        alpha: f64,
    },
    /// The run trained another model.
    #[error(
        "{}/config.json differs from the --config or --model given: {changes}; resume with the same one",
        .path.display()
    )]
    ResumeConfig {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The fields, and both values.
        changes: String,
    },
    /// Muon keeps less of a matrix than AdamW goes on with.
    #[error(
        "{} was trained by muon, which keeps no second moments of matrices for adamw to go on with; leave the optimizer as it was, \
         or begin another run from it with onebit finetune",
        .path.display()
    )]
    ResumeOptimizer {
        /// The checkpoint's folder.
        path: PathBuf,
    },
    /// A model that was not written by a training.
    #[error("{} has no train_state.json to resume from", .path.display())]
    NoTrainState {
        /// The folder.
        path: PathBuf,
    },
    /// `RUN/best` of a run without checkpoints.
    #[error("{} stands for no checkpoint", .path.display())]
    NoBest {
        /// The path that was given.
        path: PathBuf,
    },
    /// `best.json` names a checkpoint that was deleted.
    #[error(
        "{}: it names {named}, which is not there; give a step-… folder instead", .path.display()
    )]
    BestGone {
        /// The run's `best.json`.
        path: PathBuf,
        /// The folder it names.
        named: String,
    },
    /// Latents that no quantizer maps to the matrix's codes.
    #[error("{name}: its codes cannot come from its quantizer, so nothing can be merged into it")]
    Unmergeable {
        /// The matrix's name.
        name: String,
    },
    /// A merge lacks a tensor of the model or of the adapter.
    #[error("there is no tensor {name} to merge")]
    MergeTensor {
        /// The tensor's name.
        name: String,
    },
    /// A snapshot that a trainer cannot take up.
    #[error("the saved training cannot be continued: {0}")]
    Snapshot(SnapshotError),
}

/// A training that is larger than its device.
#[derive(Clone, Debug)]
pub struct MemoryShortage {
    /// What it would allocate.
    pub plan: MemoryPlan,
    /// What the device allows.
    pub limits: MemoryLimits,
    /// The kind of the device.
    pub device: DeviceKind,
    /// The largest smaller batch that would fit, in sequences.
    pub fitting_batch: Option<usize>,
    /// Whether an adapter of the model could be trained, with a batch of one sequence.
    pub adapter_fits: bool,
}

impl MemoryShortage {
    fn advice(&self) -> String {
        match self.fitting_batch {
            Some(batch) => format!(
                "--batch-size {batch} would fit (keep the batch with --accumulation-steps), as may a shorter sequence"
            ),
            None if self.adapter_fits => "no batch size would; an adapter beside the frozen model does (`onebit finetune --mode lora --batch-size 1`)".to_owned(),
            None => "no batch size would; use a smaller model or a shorter sequence".to_owned(),
        }
    }
}

/// Why a snapshot cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes are no safetensors file.
    #[error("{0}")]
    Tensors(String),
    /// Its metadata lack the step.
    #[error("it does not say at which step it was")]
    NoStep,
    /// Its metadata lack the caller's note.
    #[error("it has no note")]
    NoNote,
    /// It is of a smaller model.
    #[error("it lacks {name}")]
    Missing {
        /// The buffer's name.
        name: String,
    },
    /// It is of a model with other shapes.
    #[error("{name} has shape {found:?}, the model's is {expected:?}")]
    Shape {
        /// The buffer's name.
        name: String,
        /// In the snapshot.
        found: Vec<usize>,
        /// Of the model.
        expected: Vec<usize>,
    },
}
