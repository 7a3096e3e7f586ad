//! Tests only: writes small models whose greedy reply is known beforehand, without any training.
//!
//! Attention and MLP of a *scripted* model add nothing to the residual stream: `o_proj` and
//! `down_proj` are zero. Each token's embedding is a random unit vector, and a token's row of the
//! output head is the sum of the embeddings of the tokens that it follows. So the most likely next
//! token depends on the last token alone, and a [`Chain`] of tokens that the test chooses is what
//! the model says.
//!
//! ```
//! use ternary_scripted::{Chain, Llama, Model, Tokenizer, CHATML};
//!
//! // Answers "Yes sir" to every message, and to every prompt that ends with "!".
//! let tokenizer = Tokenizer::byte_level(&["Yes", " sir"]);
//! let chain = Chain::walk(&tokenizer, &["<|assistant|>", "!"], &["Yes", " sir"], "<|end|>");
//! let model = Model::new(tokenizer, Llama::default(), chain).template(CHATML);
//! let folder = std::env::temp_dir().join("scripted-example");
//! model.write_hf(&folder);
//! model.gguf().write(&folder.join("model.gguf"));
//! ```
//!
//! [`reply`] is that model in one call. Everything is public and changeable before it is written: a
//! test that is about one wrong key or one odd tensor sets just that.

mod gguf;
mod hf;
mod llama;
mod rng;
mod safetensors;
mod tokenizer;

pub use gguf::{Gguf, GgufTensor, Meta, i2_s};
pub use hf::Model;
pub use llama::{Chain, Llama, Tensor, Weights};
pub use rng::Rng;
pub use safetensors::write_safetensors;
pub use tokenizer::{SentencePiece, Tokenizer, byte_chars};

/// A chat template over the special tokens of [`Tokenizer::byte_level`]:
/// `<|user|>…<|end|><|assistant|>`.
pub const CHATML: &str = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// What a clone without Git LFS has in place of a large file.
pub const LFS_POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
    oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 17210019\n";

/// What a site answers in place of a file that is not there or that needs a login.
pub const HTML_PAGE: &str = "<!doctype html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n";

/// A byte-level model with the [`CHATML`] template that answers every message, and every prompt
/// that ends with `!`, with these pieces.
pub fn reply(pieces: &[&str]) -> Model {
    let tokenizer = Tokenizer::byte_level(pieces);
    let chain = Chain::walk(&tokenizer, &["<|assistant|>", "!"], pieces, "<|end|>");
    Model::new(tokenizer, Llama::default(), chain).template(CHATML)
}

/// Write `bytes` to `path`, making its folder.
pub fn put(path: &std::path::Path, bytes: impl AsRef<[u8]>) {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("a folder for the file");
    }
    std::fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
