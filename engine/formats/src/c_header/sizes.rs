//! What a header needs of flash and RAM, and the constants that say so.

use serde::Serialize;

use super::define;
use super::parts::{Multiply, multiplied, rotations};
use ternary_core::board::{Cache, Model};

/// Columns that planes of packed weights may reach past a ragged end: 7 with eight planes.
const PADDING: usize = 8;

/// Bytes, and the context they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Constants of the header; the code takes a few kilobytes more.
    pub flash_bytes: usize,
    /// The caller's buffer.
    pub ram_bytes: usize,
    /// Of which the KV cache.
    pub cache_bytes: usize,
    pub context: usize,
}

/// Lengths of the buffer's parts, named as in the C.
struct Buffer {
    /// In floats.
    floats: Vec<(&'static str, usize)>,
    codes: usize,
    spans: usize,
    work: usize,
    widest: usize,
    line: usize,
    beside: usize,
    rotary: usize,
    rotations: usize,
}

impl Buffer {
    fn new(model: &Model, context: usize) -> Self {
        let c = &model.config;
        let widest = c.hidden_size.max(c.intermediate_size).max(c.q_dim());
        let uses = |how| multiplied(model).any(|m| Multiply::of(model, m) == how);
        let mlp = c.intermediate_size * if c.use_swiglu { 2 } else { 1 };
        let work = mlp.max(c.q_dim() + 2 * c.kv_dim());
        let (rotary, rotations) = (c.rotary_dim(), rotations(c).len());
        let beside = if c.parallel_residual {
            c.hidden_size
        } else {
            0
        };
        let line = if uses(Multiply::Float) { widest } else { 0 };
        let int8 = uses(Multiply::Int8);
        let spans = multiplied(model).map(|m| m.cols / m.span).max();
        Buffer {
            floats: vec![
                ("logits", c.vocab_size),
                ("x, branch", c.hidden_size + c.hidden_size.max(c.q_dim())),
                ("beside", beside),
                ("work", work),
                ("scores", context),
                ("line", c.head_dim()),
                ("rotation", rotations * rotary),
                ("input", widest + line),
            ],
            codes: if int8 { widest + PADDING } else { 0 },
            spans: spans.filter(|_| int8).unwrap_or(0),
            work,
            widest,
            line,
            beside,
            rotary,
            rotations,
        }
    }

    /// As `model_init` lays it out: every part in whole floats.
    fn bytes(&self) -> usize {
        let floats: usize = self.floats.iter().map(|(_, n)| 4 * n).sum();
        floats + (2 * self.codes).next_multiple_of(4) + 4 * self.spans
    }
}

impl Sizes {
    pub(super) fn new(model: &Model, context: usize, cache: Cache, flash_bytes: usize) -> Self {
        let c = &model.config;
        let value = match cache {
            Cache::F32 => 4,
            Cache::F16 => 2,
        };
        let half = value * c.num_layers * context * c.kv_dim();
        let cache_bytes = 2 * half.next_multiple_of(4);
        Sizes {
            flash_bytes,
            ram_bytes: Buffer::new(model, context).bytes() + cache_bytes,
            cache_bytes,
            context,
        }
    }

    pub(super) fn define(&self, out: &mut String, model: &Model, cache: Cache) {
        let c = &model.config;
        let buffer = Buffer::new(model, self.context);
        *out += "/* What the model needs, in bytes. */\n";
        for (name, n) in [
            ("FLASH_BYTES", self.flash_bytes),
            ("BUFFER_BYTES", self.ram_bytes),
            ("CACHE_BYTES", self.cache_bytes),
        ] {
            define(out, name, &format!("{n}u"));
        }
        let kv = match cache {
            Cache::F32 => "float",
            Cache::F16 => "binary16",
        };
        *out += &format!("\n/* Its shape; keys and values are kept in {kv}. */\n");
        for (name, n) in [
            ("VOCAB", c.vocab_size),
            ("CONTEXT", self.context),
            ("HIDDEN", c.hidden_size),
            ("LAYERS", c.num_layers),
            ("HEADS", c.num_heads),
            ("KV_HEADS", c.kv_heads()),
            ("HEAD_DIM", c.head_dim()),
            ("Q_DIM", c.q_dim()),
            ("KV_DIM", c.kv_dim()),
            ("INTERMEDIATE", c.intermediate_size),
            ("Q_NORM_DIM", c.qk_norm_dim(false)),
            ("K_NORM_DIM", c.qk_norm_dim(true)),
        ] {
            define(out, name, &format!("{n}u"));
        }
        for (name, value) in [
            ("NORM_EPS", c.rms_norm_eps),
            ("EMBEDDING_SCALE", c.embedding_multiplier.unwrap_or(1.0)),
            ("RESIDUAL_SCALE", c.residual_scale()),
            ("ATTENTION_SCALE", c.attention_scale()),
            ("ATTENTION_CAP", c.attention_softcap.unwrap_or(0.0)),
            ("LOGIT_CAP", c.logit_softcap.unwrap_or(0.0)),
        ] {
            define(out, name, &format!("{value:e}f"));
        }
        *out += "/* Whether attention and MLP read the same residual stream. */\n";
        define(out, "PARALLEL", &u8::from(c.parallel_residual).to_string());
        *out += "\n/* Lengths of the buffer's parts. */\n";
        for (name, n) in [
            ("WORK", buffer.work),
            ("BRANCH", c.hidden_size.max(c.q_dim())),
            ("WIDEST", buffer.widest),
            ("LINE", buffer.line),
            ("BESIDE", buffer.beside),
            ("ROTARY", buffer.rotary),
            ("ROTATIONS", buffer.rotations),
            ("CODES", buffer.codes),
            ("PADDING", PADDING),
            ("SPANS", buffer.spans),
        ] {
            define(out, name, &format!("{n}u"));
        }
        *out += "\n/* Special tokens. */\n";
    }
}
