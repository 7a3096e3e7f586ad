//! 1-bit and ternary (1.58-bit) language models: training, quantization, inference and the `.1bit`
//! format.
//!
//! The way of the data: config → tokenizer → batches → a model records a [`program::Program`] → a
//! [`backend::Backend`] runs it → train and infer loops → `.1bit`.

pub use ternary_backend as backend;
pub use ternary_common::error::IoContext;
pub use ternary_common::{chat, data, platform, tokenizer};
pub use ternary_core::{board, config, math, params, quant, rng};
pub use ternary_formats::{adapter, export, import, safetensors};
pub use ternary_infer as infer;
pub use ternary_model as model;
pub use ternary_model::program;
pub use ternary_search as search;
pub use ternary_session as session;
pub use ternary_session::{Error, Result};
pub use ternary_train as train;

/// Files: `.1bit`, and what bytes come from and go to.
pub mod format {
    pub use ternary_common::bytes::*;
    pub use ternary_core::kind::{FileKind, KIND_BYTES, Packer, escaped, without_bom};
    pub use ternary_core::layout::*;
    pub use ternary_formats::c_header;
    pub use ternary_formats::onebit::*;
}
