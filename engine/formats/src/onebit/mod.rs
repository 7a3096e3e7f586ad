//! The `.1bit` file, version 1: layout in `docs/format.md` and [`ternary_core::layout`]. Reading is
//! safe on any bytes: every length is checked against the file before anything is allocated.

mod latents;
mod read;
mod stream;
pub(crate) mod write;

pub use read::{OneBit, TensorRows};
pub use stream::{TensorWriter, Writer, Written};
pub use write::{Dense, Packing, encode, encoded_len, stored_bytes};

#[cfg(test)]
mod tests;
