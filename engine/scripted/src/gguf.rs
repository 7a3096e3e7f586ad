//! A GGUF file: metadata of every kind, tensors in F32 or whatever bytes a test gives.

use std::path::Path;

use crate::{Llama, Tensor, Tokenizer, Weights, put};

/// A value of GGUF metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    U8(u8),
    U16(u16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    U64(u64),
    F64(f64),
    /// Items of one kind.
    Array(Vec<Meta>),
}

impl From<u32> for Meta {
    fn from(x: u32) -> Self {
        Meta::U32(x)
    }
}

impl From<f32> for Meta {
    fn from(x: f32) -> Self {
        Meta::F32(x)
    }
}

impl From<bool> for Meta {
    fn from(x: bool) -> Self {
        Meta::Bool(x)
    }
}

impl From<&str> for Meta {
    fn from(x: &str) -> Self {
        Meta::Str(x.into())
    }
}

impl Meta {
    fn kind(&self) -> u32 {
        match self {
            Meta::U8(_) => 0,
            Meta::U16(_) => 2,
            Meta::U32(_) => 4,
            Meta::I32(_) => 5,
            Meta::F32(_) => 6,
            Meta::Bool(_) => 7,
            Meta::Str(_) => 8,
            Meta::Array(_) => 9,
            Meta::U64(_) => 10,
            Meta::F64(_) => 12,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Meta::U8(x) => out.push(*x),
            Meta::U16(x) => out.extend(x.to_le_bytes()),
            Meta::U32(x) => out.extend(x.to_le_bytes()),
            Meta::I32(x) => out.extend(x.to_le_bytes()),
            Meta::F32(x) => out.extend(x.to_le_bytes()),
            Meta::Bool(x) => out.push(u8::from(*x)),
            Meta::Str(x) => write_text(x, out),
            Meta::U64(x) => out.extend(x.to_le_bytes()),
            Meta::F64(x) => out.extend(x.to_le_bytes()),
            Meta::Array(items) => {
                let kind = items.first().map_or(8, Meta::kind);
                out.extend(kind.to_le_bytes());
                out.extend((items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| item.write(out));
            }
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A tensor as the file has it.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    pub name: String,
    /// Innermost first, the other way round than everywhere else.
    pub dims: Vec<usize>,
    /// ggml's number of the type: 0 is F32, 1 F16, 36 I2_S.
    pub kind: u32,
    pub bytes: Vec<u8>,
}

/// A GGUF file, changeable before it is written.
#[derive(Clone, Debug, Default)]
pub struct Gguf {
    pub meta: Vec<(String, Meta)>,
    pub tensors: Vec<GgufTensor>,
}

/// GGUF's name of a parameter that Hugging Face calls `name`.
fn tensor_name(name: &str) -> String {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    let top = match stem {
        "model.embed_tokens" => Some("token_embd"),
        "model.norm" => Some("output_norm"),
        "lm_head" => Some("output"),
        _ => None,
    };
    if let Some(top) = top {
        return format!("{top}.weight");
    }
    let inner = stem.strip_prefix("model.layers.").unwrap_or(stem);
    let (layer, part) = inner.split_once('.').unwrap_or(("0", inner));
    let part = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.attn_sub_norm" => "attn_sub_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "mlp.ffn_sub_norm" => "ffn_sub_norm",
        other => other,
    };
    format!("blk.{layer}.{part}.weight")
}

impl Gguf {
    /// The keys of a decoder, no vocabulary and no tensors yet.
    pub fn new(architecture: &str, shape: &Llama, vocab: usize) -> Self {
        let mut gguf = Gguf::default()
            .with("general.architecture", architecture)
            .with("general.name", "tiny");
        let numbers = [
            ("vocab_size", vocab),
            ("context_length", shape.context),
            ("embedding_length", shape.hidden),
            ("block_count", shape.layers),
            ("feed_forward_length", shape.ffn),
            ("rope.dimension_count", shape.head_dim()),
            ("attention.head_count", shape.heads),
            ("attention.head_count_kv", shape.kv_heads),
        ];
        for (key, n) in numbers {
            gguf = gguf.with(&format!("{architecture}.{key}"), n as u32);
        }
        if let Some(d) = shape.head_dim {
            gguf = gguf
                .with(&format!("{architecture}.attention.key_length"), d as u32)
                .with(&format!("{architecture}.attention.value_length"), d as u32);
        }
        gguf.with(
            &format!("{architecture}.attention.layer_norm_rms_epsilon"),
            1e-5,
        )
        .with(&format!("{architecture}.rope.freq_base"), 10000.0)
    }

    /// Set a key, in place of the value that it had.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Meta>) -> Self {
        self.meta.retain(|(old, _)| old != key);
        self.meta.push((key.into(), value.into()));
        self
    }

    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.meta.retain(|(old, _)| old != key);
        self
    }

    /// The vocabulary of a byte-level tokenizer; `pre` names how text is cut into words.
    #[must_use]
    pub fn bpe_vocab(self, tokenizer: &Tokenizer, pre: Option<&str>) -> Self {
        let specials = tokenizer.specials();
        let keys = tokenizer.keys();
        let kinds = (0..keys.len() as u32).map(|id| {
            let special = specials.contains(&id);
            Meta::I32(if special { 3 } else { 1 })
        });
        let kinds = Meta::Array(kinds.collect());
        let mut gguf = self.with("tokenizer.ggml.model", "gpt2");
        gguf = match pre {
            Some(pre) => gguf.with("tokenizer.ggml.pre", pre),
            None => gguf.without("tokenizer.ggml.pre"),
        };
        gguf.with(
            "tokenizer.ggml.tokens",
            Meta::Array(keys.into_iter().map(Meta::Str).collect()),
        )
        .with("tokenizer.ggml.token_type", kinds)
        .with("tokenizer.ggml.merges", Meta::Array(Vec::new()))
    }

    /// Parameters by their Hugging Face names, as F32.
    #[must_use]
    pub fn weights(mut self, weights: &Weights) -> Self {
        for (name, tensor) in &weights.0 {
            let bytes = tensor.bytes.clone();
            self.push(name, tensor, 0, bytes);
        }
        self
    }

    /// Add a parameter by its Hugging Face name, with the bytes of ggml's type `kind`.
    pub fn push(&mut self, name: &str, tensor: &Tensor, kind: u32, bytes: Vec<u8>) {
        self.tensors.push(GgufTensor {
            name: tensor_name(name),
            dims: tensor.shape.iter().rev().copied().collect(),
            kind,
            bytes,
        });
    }

    /// As `gguf-split` cuts a model: each part has its number, the first has the metadata as well.
    pub fn split(&self, parts: usize) -> Vec<Gguf> {
        let each = self.tensors.len().div_ceil(parts);
        let parts = self.tensors.chunks(each).enumerate().map(|(i, some)| {
            let mut part = Gguf {
                meta: if i == 0 {
                    self.meta.clone()
                } else {
                    Vec::new()
                },
                tensors: some.to_vec(),
            };
            let total = Meta::I32(self.tensors.len() as i32);
            part = part
                .with("split.no", Meta::U16(i as u16))
                .with("split.count", Meta::U16(parts as u16))
                .with("split.tensors.count", total);
            part
        });
        parts.collect()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        const ALIGNMENT: usize = 32;
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.meta.len() as u64).to_le_bytes());
        for (key, value) in &self.meta {
            write_text(key, &mut out);
            out.extend(value.kind().to_le_bytes());
            value.write(&mut out);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            write_text(&tensor.name, &mut out);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            for &d in &tensor.dims {
                out.extend((d as u64).to_le_bytes());
            }
            out.extend(tensor.kind.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend_from_slice(&tensor.bytes);
            data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.append(&mut data);
        out
    }

    pub fn write(&self, path: &Path) {
        put(path, self.to_bytes());
    }
}

/// Microsoft's I2_S of a matrix's signs: per 128 weights 32 bytes, then the scale eight times.
pub fn i2_s(matrix: &Tensor, scale: f32) -> Vec<u8> {
    let code = |x: f32| match x.partial_cmp(&0.0) {
        Some(std::cmp::Ordering::Less) => 0u8,
        Some(std::cmp::Ordering::Greater) => 2,
        _ => 1,
    };
    let values = matrix.values();
    let (tiles, rest) = values.as_chunks::<128>();
    assert!(rest.is_empty(), "I2_S takes whole tiles of 128 weights");
    let mut out = Vec::new();
    for tile in tiles {
        for i in 0..32 {
            let at = |group: usize| code(tile[group * 32 + i]);
            out.push(at(0) << 6 | at(1) << 4 | at(2) << 2 | at(3));
        }
    }
    for _ in 0..8 {
        out.extend(scale.to_le_bytes());
    }
    out
}
