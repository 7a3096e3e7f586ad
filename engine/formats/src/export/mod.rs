//! `.1bit` models for other programs: Hugging Face folders and GGUF files. What the other side
//! cannot compute is refused.

pub(crate) mod family;
pub(crate) mod model;
#[cfg(test)]
mod tests;

pub use crate::gguf::write::{GgufOptions, GgufReport, write_gguf};
pub use crate::hf::write::{HfOptions, HfReport, write_hf};
pub use model::ExportError;
