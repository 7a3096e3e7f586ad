//! Errors of running a model.

use ternary_backend::BackendError;
use ternary_core::config::ConfigError;
use ternary_core::layout::FormatError;
use ternary_formats::adapter::AdapterError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Common(#[from] ternary_common::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error("{0}")]
    Data(String),
    #[error("{0}")]
    Request(String),
}
