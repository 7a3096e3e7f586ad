//! 1-bit and ternary (1.58-bit) language models: training, search for a precision of every layer,
//! inference on CPU and GPU, and the `.1bit` format. One engine, natively and in a browser.
//!
//! The way of the data: config → tokenizer → batches → a model records a [`program::Program`] → a
//! [`backend::Backend`] runs it → train, search and infer loops → `.1bit`.
//!
//! # Let a model talk
//!
//! A [`session::Session`] is what the command line and the page are built on: commands in, events
//! out.
//!
//! ```
//! use std::rc::Rc;
//!
//! use ternary::format::FileSource;
//! use ternary::infer::Sampling;
//! use ternary::session::{Command, DeviceChoice, Event, Session};
//!
//! let file = Rc::new(FileSource::open("../tests/fixtures/v1.1bit".as_ref())?);
//! let mut session = Session::with_threads(1);
//! let mut text = String::new();
//! let mut listen = |event| {
//!     if let Event::Token { text: piece } = event {
//!         text += &piece;
//!     }
//! };
//! // The CPU never waits, so blocking is fine; a page awaits instead.
//! pollster::block_on(session.load(file, DeviceChoice::Cpu, &mut listen));
//! let prompt = "The cat".to_owned();
//! let sampling = Sampling { temperature: 0.0, max_tokens: 8, ..Sampling::default() };
//! pollster::block_on(session.handle(Command::Generate { prompt, sampling, form: None }, &mut listen));
//! assert!(!text.is_empty());
//! # Ok::<(), ternary::Error>(())
//! ```
//!
//! `examples/train_wikitext.rs` goes all the way: tokenizer, training, export, evaluation.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `native` | yes | threads, files, tokenizer training: what needs an operating system |
//! | `gpu` | yes | the wgpu backend: Vulkan, Metal, DX12; WebGPU on wasm |
//! | `grammar` | yes | replies that follow a JSON schema, a regular expression or a grammar |
//! | `training` | yes | the operations of training and fine-tuning |
//! | `web` | no | what a browser needs instead of `native` |
//! | `relaxed-simd` | no | wasm kernels for browsers with relaxed SIMD |
//!
//! For a board without an operating system take `ternary-core` without its default features: it has
//! [`board`], the forward pass of one token.
#![warn(missing_docs)]

pub use ternary_backend as backend;
pub use ternary_common::error::IoContext;
#[cfg(feature = "native")]
pub use ternary_common::ranks;
pub use ternary_common::{chat, data, platform, tokenizer};
pub use ternary_core::{board, config, math, params, quant, rng, sampling, words};
pub use ternary_formats::{adapter, export, hub, import, safetensors};
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
