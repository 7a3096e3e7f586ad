//! The error of everything.

use ternary_backend::BackendError;
use ternary_common::error::IoError;
use ternary_core::config::ConfigError;
use ternary_core::layout::FormatError;
use ternary_core::words::counted;
use ternary_formats::adapter::AdapterError;
use ternary_formats::export::ExportError;
use ternary_formats::import::ImportError;

/// A result whose error is this crate's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What may go wrong in a session, and in all that it is made of. Every message is complete: a
/// cause is part of it, and so no `source`, which a chain of messages would repeat.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tokenizer, a chat template or a text.
    #[error(transparent)]
    Common(#[from] ternary_common::Error),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A configuration, or a bit-map that does not fit it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A `.1bit` file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A published model.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A model that another program's format cannot hold.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A form that a reply cannot be held to.
    #[error(transparent)]
    Grammar(#[from] ternary_grammar::Error),
    /// Running the model.
    #[error(transparent)]
    Infer(#[from] ternary_infer::Error),
    /// Training it.
    #[error(transparent)]
    Train(#[from] ternary_train::Error),
    /// Scoring its bit-maps.
    #[error(transparent)]
    Search(#[from] ternary_search::Error),
    /// The request is about the loaded model, and there is none.
    #[error("no model is loaded yet; load a .1bit file first")]
    NoModel,
    /// A request names an adapter that is not there.
    #[error("there is no adapter `{name}`; {}", if known.is_empty() { "none is loaded".to_owned() } else { format!("there is {known}") })]
    UnknownAdapter {
        /// As it was asked for.
        name: String,
        /// The ones there are.
        known: String,
    },
    /// Two adapters of one name.
    #[error("there is an adapter `{name}` already; give this one another name")]
    AdapterNamed {
        /// The name of both.
        name: String,
    },
    /// A model that should guess for another one has other tokens.
    #[error(
        "{name} cannot guess for this model: its tokenizer is another one; give a model with the same tokens, or the same model in a coarser bit-map"
    )]
    ForeignDraft {
        /// Its file.
        name: String,
    },
    /// What happened to several requests.
    #[error(transparent)]
    Shared(std::sync::Arc<Error>),
    /// The model's file has no tokenizer.
    #[error("this model carries no tokenizer, so it cannot read text")]
    NoTokenizer,
    /// A reply was to have a form.
    #[error("this build cannot hold replies to a form; it was built without the feature `grammar`")]
    NoForms,
    /// The model's file has no chat template.
    #[error("this model has no chat template; continue a text instead")]
    NoChatTemplate,
    /// A context that the model does not have.
    #[error("a context of {asked} was asked for; the model's is {whole}")]
    ContextSize {
        /// Tokens.
        asked: usize,
        /// Tokens of the model's own context.
        whole: usize,
    },
    /// A shorter context for a model whose position embeddings are weights.
    #[error(
        "a context of {asked} was asked for; this model's positions are weights, and it always has {whole}"
    )]
    FixedContext {
        /// Tokens.
        asked: usize,
        /// Tokens of the model's own context.
        whole: usize,
    },
    /// The prompt fills the context.
    #[error(
        "the prompt takes {tokens} tokens; the model's context of {context} leaves no room for a reply. Shorten it or start a new conversation"
    )]
    PromptTooLong {
        /// Of the prompt.
        tokens: usize,
        /// Of the context.
        context: usize,
    },
    /// The model's file is not what it was any more.
    #[error("{name}: {problem}")]
    Source {
        /// The file's name.
        name: String,
        /// What the file's source says.
        problem: String,
    },
    /// A device that does not compute what the CPU does.
    #[error("{0}")]
    Disagrees(String),
    /// Logits of which none is a number.
    #[error("the model gave no valid logits; its file may be damaged")]
    NoLogits,
    /// A matrix that the model does not have.
    #[error("the model has no matrix `{name}`; its matrices are {}, …", .some.join(", "))]
    NoMatrix {
        /// The name asked for.
        name: String,
        /// The first of those there are.
        some: Vec<String>,
    },
    /// A matrix in another precision that takes more memory than there may be.
    #[error("`{name}` has {found} weights; at most {most} are shown in another precision")]
    TooManyWeights {
        /// The matrix.
        name: String,
        /// Its weights.
        found: usize,
        /// So many at once.
        most: usize,
    },
    /// Weights of the compared file, before one was compared.
    #[error("no file is compared yet")]
    NothingCompared,
    /// Two models whose matrices do not correspond.
    #[error(
        "{name} has other matrices than the model: {} layers of {} instead of {} of {}, or another vocabulary; models of the same shape can be compared",
        .found.0, .found.1, .expected.0, .expected.1
    )]
    OtherShape {
        /// The compared file's name.
        name: String,
        /// Its layers and hidden size.
        found: (usize, usize),
        /// The loaded model's layers and hidden size.
        expected: (usize, usize),
    },
    /// What is asked for would leave out the adapter beside the model.
    #[error(
        "this model answers with an adapter beside it, which would be left out; load the model itself, or a merged one"
    )]
    AdapterBeside,
    /// A text that has no room for a window to train on and one to validate on.
    #[error(
        "the text is too short to learn from: {}, {held_back} held back to measure on; give at least a page",
        counted(*.tokens, "token")
    )]
    TextTooShort {
        /// Of the whole text.
        tokens: usize,
        /// Of the part that is validated on.
        held_back: usize,
    },
    /// There is no fine-tuning to continue, export or keep.
    #[error("there is no fine-tuning to go on with; start one")]
    NoTuning,
    /// The adapter of a fine-tuning that trained the model itself.
    #[error("every weight was trained: there is no adapter; take the model")]
    NoAdapter,
    /// A state of a fine-tuning that cannot be read.
    #[error("the saved fine-tuning is damaged: {0}")]
    DamagedTuning(serde_json::Error),
    /// A state of a fine-tuning of another model.
    #[error("the saved fine-tuning belongs to another model than {name}; load that one first")]
    ForeignTuning {
        /// The loaded model's name.
        name: String,
    },
}
