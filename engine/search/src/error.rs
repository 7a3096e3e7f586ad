//! Errors of a search.

use std::path::PathBuf;

use ternary_backend::BackendError;
use ternary_common::error::IoError;
use ternary_core::config::ConfigError;
use ternary_core::layout::FormatError;

/// A result whose error is this crate's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What may go wrong in a search. Every message is complete: a `cause` is part of it, and so no
/// `source`, which a chain of messages would repeat.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tokenizer or a text.
    #[error(transparent)]
    Common(#[from] ternary_common::Error),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The model's configuration, or a bit-map that does not fit it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// What the `.1bit` format cannot hold.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An evaluator of the caller's own failed, and says why.
    #[error("{0}")]
    Evaluator(String),
    /// A worker thread is gone.
    #[error("a thread that evaluates ended early")]
    ThreadEnded,
    /// An [`Evaluate`](crate::Evaluate) that breaks its contract.
    #[error("the evaluator gave another number of losses than it was asked for")]
    LossCount {
        /// Maps that it was given.
        asked: usize,
        /// Losses that came back.
        given: usize,
    },
    /// No map has a finite loss, so none can be chosen.
    #[error("no map could be measured: every loss is infinite")]
    NoFiniteLoss,
    /// Validation text of fewer than two tokens.
    #[error("the validation text is too short: it needs at least two tokens")]
    TextTooShort,
    /// Validation data of another tokenizer.
    #[error(
        "the validation data has token {id}, outside the model's vocabulary of {vocab}: it was made with another tokenizer"
    )]
    UnknownToken {
        /// The first id that the model does not have.
        id: u32,
        /// Tokens of the model.
        vocab: usize,
    },
    /// The model's parameters are not those of its configuration.
    #[error("the model has no tensor {name} of shape {shape:?}")]
    MissingTensor {
        /// The parameter's name.
        name: String,
        /// What the configuration asks for.
        shape: Vec<usize>,
    },
    /// A search space without a mode.
    #[error("there is no mode to choose from: name at least one of f16, eightbit, ternary, binary")]
    NoModes,
    /// Neither a perplexity nor a size is asked for.
    #[error("there is no limit to search for: give a highest perplexity, a largest size, or both")]
    NoLimit,
    /// A highest perplexity that no model has.
    #[error("the highest perplexity is {0}; it must be a number above 1")]
    PerplexityLimit(f64),
    /// A largest size of nothing.
    #[error("the largest size is 0 bytes; no file is that small")]
    SizeLimit,
    /// A budget of no evaluations.
    #[error("max_evals is 0; at least one map must be measured")]
    NoEvaluations,
    /// Two searches at once would spoil the journal.
    #[error(
        "another search is writing {}: wait for it, or give another --output", .path.display()
    )]
    JournalInUse {
        /// The journal.
        path: PathBuf,
    },
    /// A journal is there, and it was not asked to go on with it.
    #[error(
        "{} holds an unfinished search: go on with --resume, or delete it to begin again",
        .path.display()
    )]
    JournalExists {
        /// The journal.
        path: PathBuf,
    },
    /// The journal does not begin with a search's fingerprint.
    #[error(
        "{}: the first line is no search's description ({cause}); delete the file to begin again",
        .path.display()
    )]
    JournalHeader {
        /// The journal.
        path: PathBuf,
        /// What is wrong with the line.
        cause: serde_json::Error,
    },
    /// The journal was written by a search of another model, text or flags.
    #[error(
        "{} is of another search: its {key} is {found}, now it is {expected}. Give the same flags to go on, or delete the file to begin again",
        .path.display()
    )]
    ForeignJournal {
        /// The journal.
        path: PathBuf,
        /// The first part of the fingerprint that differs.
        key: String,
        /// Its value in the journal, as JSON.
        found: String,
        /// Its value now, as JSON.
        expected: String,
    },
}
