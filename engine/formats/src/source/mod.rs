//! What an import reads: the files of a model, and the model as they describe it.

pub(crate) mod checkpoint;
pub(crate) mod storage;

use std::collections::BTreeMap;

use ternary_common::bytes::ByteSource;
use ternary_core::config::ConfigError;
use ternary_core::layout::FormatError;

/// Names of files that a message tells at most.
pub(crate) const LISTED: usize = 6;

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{file}: {message}")]
    Damaged { file: String, message: String },
    #[error("{what} is {found}; supported: {supported}")]
    Unsupported {
        what: String,
        found: String,
        supported: String,
    },
    #[error("{0}")]
    Input(String),
    #[error("tensor {tensor} is missing from the model's files")]
    MissingTensor { tensor: String },
    #[error("tensor {tensor} has shape {found:?}; the configuration asks for {expected:?}")]
    Shape {
        tensor: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error("tensor {tensor}: {message}")]
    Tensor { tensor: String, message: String },
    #[error("the model's configuration: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// The files of a model by name: a folder's, or one GGUF file.
#[derive(Default)]
pub struct Input {
    pub(crate) files: BTreeMap<String, Box<dyn ByteSource>>,
}

impl Input {
    pub fn add(&mut self, name: &str, source: Box<dyn ByteSource>) {
        self.files.insert(name.to_owned(), source);
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&dyn ByteSource> {
        self.files.get(name).map(AsRef::as_ref)
    }

    /// What is here, for messages.
    pub(crate) fn listed(&self) -> String {
        let names: Vec<&str> = self.files.keys().map(String::as_str).collect();
        match names.as_slice() {
            [] => "no file is here".into(),
            [first @ .., _] if first.len() >= LISTED => format!(
                "{} files are here: {}, …",
                names.len(),
                names[..LISTED].join(", ")
            ),
            all => format!("here: {}", all.join(", ")),
        }
    }

    pub(crate) fn ending(&self, end: &str) -> Vec<(&str, &dyn ByteSource)> {
        let all = self.files.iter();
        all.filter(|(name, _)| name.ends_with(end))
            .map(|(name, source)| (name.as_str(), source.as_ref()))
            .collect()
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}
