//! GGUF, read and written: the container, the types of its tensors, its vocabularies and the names
//! of its pre-tokenizers.

mod architecture;
mod blocks;
pub(crate) mod container;
mod keys;
pub(crate) mod pre_tokenizer;
pub(crate) mod read;
mod read_vocab;
#[cfg(test)]
mod tests;
pub(crate) mod write;
mod write_vocab;
