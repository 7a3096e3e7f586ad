//! Errors of files, tokenizers and texts.

use std::path::{Path, PathBuf};

/// A result whose error is this crate's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What may go wrong with files, tokenizers and texts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A tokenizer that cannot be read, or a text that it cannot tokenize.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A chat template that cannot be read, or does not fit the conversation.
    #[error("chat template: {0}")]
    Template(String),
    /// Training or validation data, with the file's name.
    #[error("{0}")]
    Data(String),
    /// Another program is at work there.
    #[error("{0}")]
    Locked(String),
}

/// What went wrong with a file, and what was being done with it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {cause}", path.display())]
pub struct IoError {
    /// A verb: "read", "write".
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system says.
    pub cause: std::io::Error,
}

/// Names the file and what was being done with it.
pub trait IoContext<T> {
    /// Turns the system's error into one that says that `path` could not be `action`ed.
    fn at(self, action: &'static str, path: &Path) -> Result<T, IoError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, IoError> {
        self.map_err(|cause| IoError {
            action,
            path: path.to_owned(),
            cause,
        })
    }
}
