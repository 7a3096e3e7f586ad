//! A model as one C99 header: constants, and the forward pass of [`ternary_core::board`] over them.
//!
//! The C is kept in `c/`, a file per part, as it is compiled but for the prefix `model_`; what a
//! model does not use is left out. Two-bit, one-bit and base-3 codes stay packed, their columns
//! dealt out to planes so that no kernel shuffles.

mod arrays;
mod parts;
mod sizes;

pub use sizes::Sizes;

use std::fmt::Write;

use ternary_common::tokenizer::{SPECIAL_TOKENS, Tokenizer};
use ternary_core::board::{BoardError, Cache, Model};
use ternary_core::config::QuantMode;
use ternary_core::params::{Param, ParamKind};

#[derive(Debug, thiserror::Error)]
pub enum CHeaderError {
    #[error(transparent)]
    Model(#[from] BoardError),
    #[error("a context of {found} tokens; this model takes 1 to {most}")]
    Context { found: usize, most: usize },
    #[error("{name} holds {value}; C has no constant for it")]
    NotFinite { name: String, value: f32 },
    #[error(
        "{name} is f32; C headers hold f16, eightbit, ternary and binary matrices: export or import it in one of these"
    )]
    Single { name: String },
    #[error("the model's tokenizer: {0}")]
    Tokenizer(String),
    #[error(
        "the tokenizer has token {id}, outside the model's vocabulary of {vocab}: it belongs to another model"
    )]
    ForeignTokenizer { id: usize, vocab: usize },
}

/// What the header is to be.
#[derive(Clone, Debug)]
pub struct COptions {
    /// File stem that names are made from, see [`prefix`].
    pub stem: String,
    /// Longest text; the model's own when not given. The KV cache grows with it.
    pub context: Option<usize>,
    pub cache: Cache,
    /// Text whose tokens the header's example begins with: a board has no tokenizer of its own.
    pub prompt: String,
}

/// A header and what it needs.
#[derive(Clone, Debug)]
pub struct CHeader {
    pub text: String,
    pub sizes: Sizes,
}

/// A C identifier from a file stem: what begins every name of a header, so that two fit one
/// program.
///
/// ```
/// use ternary_formats::c_header::prefix;
///
/// assert_eq!(prefix("my-model.v2"), "my_model_v2");
/// assert_eq!(prefix("7b"), "m7b");
/// ```
pub fn prefix(stem: &str) -> String {
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    // A leading digit is no name, a leading underscore the compiler's.
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name
    } else {
        format!("m{name}")
    }
}

/// The header of the `.1bit` in `file`.
///
/// # Errors
/// A damaged file, a context the model does not have, a tokenizer of another model.
pub fn write(
    file: &[u8],
    tokenizer: Option<&Tokenizer>,
    options: &COptions,
) -> Result<CHeader, CHeaderError> {
    let model = Model::open(file)?;
    let most = model.config.max_seq_len;
    let context = options.context.unwrap_or(most);
    if context == 0 || context > most {
        return Err(CHeaderError::Context {
            found: context,
            most,
        });
    }
    let vocab = model.config.vocab_size;
    let tokens = tokenizer.map_or_else(Vec::new, Tokenizer::token_bytes);
    if let Some(id) = (vocab..tokens.len()).find(|id| !tokens[*id].is_empty()) {
        return Err(CHeaderError::ForeignTokenizer { id, vocab });
    }
    let mut singles = ternary_core::params::all(&model.config).into_iter();
    let single = |p: &Param| matches!(&p.kind, ParamKind::Matrix(m) if m.mode == QuantMode::F32);
    if let Some(p) = singles.find(single) {
        return Err(CHeaderError::Single { name: p.name });
    }
    let mut data = arrays::Arrays::default();
    data.model(&model, context)?;
    data.tokens(&tokens[..tokens.len().min(vocab)], tokenizer);
    let sizes = Sizes::new(&model, context, options.cache, data.bytes);

    let mut out = String::new();
    let ids = prompt_ids(tokenizer, &options.prompt, vocab)?;
    let title = include_str!("c/title.h")
        .replace("@STEM@", &in_comment(&options.stem))
        .replace("@TEXT@", &in_comment(&options.prompt))
        .replace("@IDS@", &ids)
        .replace("@FILE_BYTES@", &file.len().to_string())
        .replace("@WEIGHTS@", &model.config.parameter_count().to_string())
        .replace("@FLASH@", &sizes.flash_bytes.to_string())
        .replace("@RAM@", &sizes.ram_bytes.to_string())
        .replace("@CONTEXT@", &context.to_string());
    out += &title;
    sizes.define(&mut out, &model, options.cache);
    for name in SPECIAL_TOKENS {
        if let Some(id) = tokenizer.and_then(|t| t.id(name)) {
            let name = name.trim_matches(['<', '|', '>']).to_uppercase();
            let name = if name == "ENDOFTEXT" {
                "END_OF_TEXT"
            } else {
                &name
            };
            define(&mut out, name, &format!("{id}u"));
        }
    }
    out += "\n";
    out += parts::TYPES;
    out += parts::NUMERICS;
    for part in parts::kernels(&model) {
        out += part;
    }
    out += "/* ---- Constants ---- */\n\n";
    out += &data.text;
    for part in parts::decoder(&model, options.cache) {
        out += part;
    }
    out += "#endif\n";

    let prefix = prefix(&options.stem);
    let text = out
        .replace("model_", &format!("{prefix}_"))
        .replace("MODEL_", &format!("{}_", prefix.to_uppercase()));
    Ok(CHeader { text, sizes })
}

fn define(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "#define MODEL_{name} {value}");
}

/// The tokens of `prompt` as a list of C; token 0 for a model without a tokenizer.
fn prompt_ids(
    tokenizer: Option<&Tokenizer>,
    prompt: &str,
    vocab: usize,
) -> Result<String, CHeaderError> {
    let Some(tokenizer) = tokenizer else {
        return Ok("0".to_owned());
    };
    let fail = CHeaderError::Tokenizer;
    let ids = tokenizer.encode(prompt).map_err(|e| fail(e.to_string()))?;
    if ids.is_empty() {
        return Err(fail("the example's prompt has no tokens".into()));
    }
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        return Err(CHeaderError::ForeignTokenizer {
            id: *id as usize,
            vocab,
        });
    }
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    Ok(ids.join(", "))
}

/// Text that cannot end a comment of C, nor break its lines.
fn in_comment(text: &str) -> String {
    text.replace(['*', '/', '?', '\\', '"'], "_")
        .replace(char::is_control, " ")
}
