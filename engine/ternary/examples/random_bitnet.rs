//! Writes a random model in the shape and layout of BitNet b1.58 2B4T, with a tokenizer of as many
//! tokens, to measure importing, loading and decoding with (1.2 GB):
//! `cargo run --release -p ternary --example random_bitnet -- FOLDER [LAYERS [VOCABULARY]]`. Its
//! text is noise.
#![allow(clippy::print_stderr, reason = "a program that prints")]

use std::borrow::Cow;
use std::path::Path;

use safetensors::tensor::{Dtype, View};
use serde_json::json;
use ternary::rng::Rng;

/// Layers and vocabulary, unless others are asked for.
const DEPTH: [usize; 2] = [30, 128_256];
const HIDDEN: usize = 2560;
const FFN: usize = 6912;
const KV: usize = 640;

enum Kind {
    /// bf16, normal.
    Embedding,
    /// bf16, ones.
    Norm,
    /// uint8, four codes of 0, 1, 2 a byte.
    Packed,
    /// bf16.
    Scale,
}

/// A tensor that is made when it is written.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
}

fn bf16(value: f32) -> [u8; 2] {
    half::bf16::from_f32(value).to_le_bytes()
}

impl View for Tensor {
    fn dtype(&self) -> Dtype {
        match self.kind {
            Kind::Packed => Dtype::U8,
            _ => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let len: usize = self.shape.iter().product();
        let mut rng = Rng::named(1, &self.name);
        Cow::Owned(match self.kind {
            Kind::Embedding => (0..len).flat_map(|_| bf16(0.5 * rng.normal())).collect(),
            Kind::Norm => (0..len).flat_map(|_| bf16(1.0)).collect(),
            Kind::Scale => bf16(1.5).to_vec(),
            Kind::Packed => {
                // The bytes without a code of 3.
                let valid = (0..=255u8).filter(|b| (0..4).all(|i| b >> (2 * i) & 3 < 3));
                let valid: Vec<u8> = valid.collect();
                (0..len)
                    .map(|_| valid[(rng.uniform() * 81.0) as usize])
                    .collect()
            }
        })
    }

    fn data_len(&self) -> usize {
        let len: usize = self.shape.iter().product();
        match self.kind {
            Kind::Packed => len,
            _ => 2 * len,
        }
    }
}

fn tensors(layers: usize, vocabulary: usize) -> Vec<Tensor> {
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize], kind: Kind| {
        all.push(Tensor {
            name,
            shape: shape.to_vec(),
            kind,
        });
    };
    add(
        "model.embed_tokens.weight".into(),
        &[vocabulary, HIDDEN],
        Kind::Embedding,
    );
    add("model.norm.weight".into(), &[HIDDEN], Kind::Norm);
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for (part, len) in [
            ("input_layernorm", HIDDEN),
            ("post_attention_layernorm", HIDDEN),
            ("self_attn.attn_sub_norm", HIDDEN),
            ("mlp.ffn_sub_norm", FFN),
        ] {
            add(name(part), &[len], Kind::Norm);
        }
        for (part, rows, cols) in [
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.k_proj", KV, HIDDEN),
            ("self_attn.v_proj", KV, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HIDDEN),
            ("mlp.gate_proj", FFN, HIDDEN),
            ("mlp.up_proj", FFN, HIDDEN),
            ("mlp.down_proj", HIDDEN, FFN),
        ] {
            add(name(part), &[rows / 4, cols], Kind::Packed);
            add(format!("{}_scale", name(part)), &[1], Kind::Scale);
        }
    }
    all
}

/// A byte-level BPE of `size` tokens: all bytes, then pairs of printable characters, then pairs of
/// what there is.
fn tokenizer(size: usize) -> serde_json::Value {
    // GPT-2's alphabet: bytes that do not print are the characters from U+0100 on.
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let rest = (0x100u32..).filter_map(char::from_u32);
    let own = (0..=255u8).filter(printable).map(char::from);
    let mut tokens: Vec<String> = own.chain(rest).take(256).map(String::from).collect();
    let mut seen: std::collections::HashSet<String> = tokens.iter().cloned().collect();
    let mut merges = Vec::new();
    let (mut first, mut second) = (0, 0);
    while tokens.len() < size {
        let joined = format!("{}{}", tokens[first], tokens[second]);
        if seen.insert(joined.clone()) {
            merges.push(format!("{} {}", tokens[first], tokens[second]));
            tokens.push(joined);
        }
        (first, second) = if second < first {
            (first, second + 1)
        } else {
            (first + 1, 0)
        };
    }
    let vocab: serde_json::Map<String, serde_json::Value> = tokens
        .into_iter()
        .enumerate()
        .map(|(id, token)| (token, id.into()))
        .collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges,
        },
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .ok_or("usage: random_bitnet FOLDER [LAYERS [VOCABULARY]]")?;
    let mut size = |unset: usize| arguments.next().map_or(Ok(unset), |n| n.parse());
    let (layers, vocabulary) = (size(DEPTH[0])?, size(DEPTH[1])?);
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let config = json!({
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "vocab_size": vocabulary, "hidden_size": HIDDEN,
        "intermediate_size": FFN, "num_hidden_layers": layers, "num_attention_heads": 20, "num_key_value_heads": 5,
        "hidden_act": "relu2", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "quantization_config": {
            "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline",
        },
    });
    std::fs::write(folder.join("config.json"), format!("{config:#}\n"))?;
    std::fs::write(
        folder.join("tokenizer.json"),
        format!("{}\n", tokenizer(vocabulary)),
    )?;
    let file = folder.join("model.safetensors");
    let named = tensors(layers, vocabulary)
        .into_iter()
        .map(|t| (t.name.clone(), t));
    safetensors::serialize_to_file(named, None, &file)?;
    eprintln!(
        "{}: {:.2} GB",
        file.display(),
        file.metadata()?.len() as f64 / 1e9
    );
    Ok(())
}
