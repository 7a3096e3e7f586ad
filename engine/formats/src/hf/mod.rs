//! Hugging Face folders, read and written: `config.json`, safetensors, tokenizer, chat template.

pub(crate) mod config;
mod names;
pub(crate) mod read;
pub(crate) mod write;
