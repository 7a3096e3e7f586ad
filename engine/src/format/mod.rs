//! The `.1bit` file.

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("not a .1bit file: {0}")]
    NotOneBit(String),
}
