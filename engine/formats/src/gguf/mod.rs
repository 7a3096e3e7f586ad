//! GGUF, read and written: the container, the types of its tensors, its vocabularies and the names
//! of its pre-tokenizers.

mod architecture;
mod blocks;
mod config;
pub(crate) mod container;
mod keys;
mod names;
pub(crate) mod pre_tokenizer;
pub(crate) mod read;
mod read_vocab;
mod rope;
#[cfg(test)]
mod tests;
pub(crate) mod write;
mod write_vocab;

pub(crate) use config::neox_activation;
