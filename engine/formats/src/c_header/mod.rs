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
    #[error("a context of {found}; this model takes 1 to {most} tokens")]
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
        "the header would be called {name:?}, which a C program cannot include because of {what} in it; give the output another name, of letters, \
         digits, spaces and -_.+"
    )]
    Name { name: String, what: &'static str },
    #[error(
        "the example's prompt {prompt:?} is {found} tokens long and the context {context}: the program could not read it; give a prompt that fits (--c-prompt), or a \
         longer context (--c-context)"
    )]
    LongPrompt {
        prompt: String,
        found: usize,
        context: usize,
    },
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

    let ids = prompt_ids(tokenizer, &options.prompt, vocab, context)?;
    let file_name = includable(&options.stem)?;
    let prefix = prefix(&options.stem);
    let named = |text: &str| {
        text.replace("model_", &format!("{prefix}_"))
            .replace("MODEL_", &format!("{}_", prefix.to_uppercase()))
    };
    let title = filled(
        &named(include_str!("c/title.h")),
        &[
            ("STEM", file_name),
            ("TEXT", &in_comment(&options.prompt)),
            ("IDS", &ids),
            ("FILE_BYTES", &file.len().to_string()),
            ("WEIGHTS", &model.config.parameter_count().to_string()),
            ("FLASH", &sizes.flash_bytes.to_string()),
            ("RAM", &sizes.ram_bytes.to_string()),
            ("CONTEXT", &context.to_string()),
        ],
    );
    let mut out = String::new();
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

    let text = title + &named(&out);
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
    context: usize,
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
    if ids.len() > context {
        return Err(CHeaderError::LongPrompt {
            prompt: shortened(prompt),
            found: ids.len(),
            context,
        });
    }
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    Ok(ids.join(", "))
}

/// What a message shows of a text.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}

/// A file's stem as it stands in `#include "stem.h"`.
fn includable(stem: &str) -> Result<&str, CHeaderError> {
    let what = match stem {
        _ if stem.contains('"') => "the quote",
        _ if stem.contains('\\') => "the backslash",
        _ if stem.contains(char::is_control) => "the control character",
        _ if stem.contains('\u{fffd}') => "what is no UTF-8",
        // These begin a trigraph, and end a comment, as soon as something is behind them.
        _ if stem.contains("??") => "the ??",
        _ if stem.contains(['*', '/']) => "the * or /",
        _ => return Ok(stem),
    };
    Err(CHeaderError::Name {
        name: format!("{stem}.h"),
        what,
    })
}

/// `template` with values in place of their `@NAME@`s; what looks like one in a value stays.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let parts = template.split('@');
    parts
        .map(|part| match values.iter().find(|(name, _)| *name == part) {
            Some((_, value)) => value,
            None => part,
        })
        .collect()
}

/// Text that cannot end a comment of C, nor break its lines.
fn in_comment(text: &str) -> String {
    text.replace(['*', '/', '?', '\\', '"'], "_")
        .replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_program_can_include_are_refused() {
        for stem in ["model_v2", "my model", "7b.q", "modèle", "what?", "a@TEXT@"] {
            assert_eq!(includable(stem).unwrap(), stem);
        }
        for (stem, what) in [
            ("a\"b", "quote"),
            ("a\\b", "backslash"),
            ("a\nb", "control"),
            ("what??!", "??"),
            ("a*", "*"),
            ("a\u{fffd}", "UTF-8"),
        ] {
            let e = includable(stem).unwrap_err().to_string();
            assert!(e.contains(what) && e.contains("another name"), "{e}");
        }
    }

    #[test]
    fn values_are_put_in_as_they_are() {
        let values = [("A", "x @B@"), ("B", "y")];
        assert_eq!(filled("1 @A@, 2 @B@: @A@", &values), "1 x @B@, 2 y: x @B@");
    }
}
