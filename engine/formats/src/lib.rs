//! Files of models, each format read and written in one place: `.1bit` ([`onebit`]),
//! [`safetensors`], GGUF and Hugging Face folders (through [`mod@import`] and [`export`]),
//! adapters, and a model as a C header.

pub mod adapter;
pub mod c_header;
pub mod export;
mod gguf;
mod hf;
pub mod hub;
pub mod import;
pub mod onebit;
pub mod safetensors;
mod source;
