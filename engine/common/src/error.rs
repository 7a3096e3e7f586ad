//! Errors of files, tokenizers and texts.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("chat template: {0}")]
    Template(String),
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
    pub action: &'static str,
    pub path: PathBuf,
    pub cause: std::io::Error,
}

/// Names the file and what was being done with it.
pub trait IoContext<T> {
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
