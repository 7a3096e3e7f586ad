//! Files of models, each format read and written here: `.1bit` ([`onebit`]), safetensors ([`tensors`]), GGUF and Hugging Face folders
//! ([`mod@import`], [`export`]), adapters, and a model as a C header.

pub mod adapter;
pub mod c_header;
pub mod export;
pub mod import;
pub mod onebit;
pub mod tensors;
