//! Published models: made for a test, in folders as Hugging Face has them, and the fixtures that
//! transformers computed with.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::{changed, root, scratch};

/// A small decoder's sizes; the vocabulary is the tiny tokenizer's.
#[derive(Clone, Copy)]
pub struct Shape {
    pub hidden: usize,
    pub ffn: usize,
    pub layers: usize,
    pub vocab: usize,
}

/// An empty folder of this name.
pub fn folder(name: &str) -> Result<PathBuf> {
    let folder = scratch().join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Writes a model of F32 values into `folder`, with these changes to its configuration.
pub fn write(folder: &Path, shape: Shape, changes: Value) -> Result<()> {
    let Shape {
        hidden,
        ffn,
        layers,
        vocab,
    } = shape;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "vocab_size": vocab,
        "num_attention_heads": hidden / 32, "num_key_value_heads": hidden / 32,
        "max_position_embeddings": 256, "tie_word_embeddings": true, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    });
    let config = changed(config, changes);
    fs::write(folder.join("config.json"), config.to_string())?;

    let mut tensors = vec![
        ("model.embed_tokens".to_owned(), vec![vocab, hidden]),
        ("model.norm".to_owned(), vec![hidden]),
    ];
    for layer in 0..layers {
        let square = [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
        ];
        let parts = square
            .map(|part| (part, vec![hidden, hidden]))
            .into_iter()
            .chain([
                ("mlp.gate_proj", vec![ffn, hidden]),
                ("mlp.up_proj", vec![ffn, hidden]),
                ("mlp.down_proj", vec![hidden, ffn]),
                ("input_layernorm", vec![hidden]),
                ("post_attention_layernorm", vec![hidden]),
            ]);
        tensors.extend(parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}"), shape)));
    }
    let mut head = Map::new();
    let mut values = 0;
    for (name, shape) in tensors {
        let from = 4 * values;
        values += shape.iter().product::<usize>();
        let place = [from, 4 * values];
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": place });
        head.insert(format!("{name}.weight"), entry);
    }
    let head = Value::Object(head).to_string();
    let mut file = BufWriter::new(fs::File::create(folder.join("model.safetensors"))?);
    file.write_all(&(head.len() as u64).to_le_bytes())?;
    file.write_all(head.as_bytes())?;
    let mut state = 1u32;
    for _ in 0..values {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = (state >> 8) as f32 / (1 << 24) as f32 * 0.1 - 0.05;
        file.write_all(&value.to_le_bytes())?;
    }
    Ok(file.flush()?)
}

/// Makes two files of a folder's weights.
pub fn shard(folder: &Path) -> Result<()> {
    let whole = folder.join("model.safetensors");
    let file = fs::read(&whole)?;
    let (length, rest) = file.split_first_chunk::<8>().context("no length")?;
    let (head, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let head: Map<String, Value> = serde_json::from_slice(head)?;
    let middle = data.len() as u64 / 2;
    let mut map = Map::new();
    for number in 1..=2 {
        let name = format!("model-{number:05}-of-00002.safetensors");
        let (mut part, mut bytes) = (Map::new(), Vec::new());
        for (tensor, entry) in &head {
            let place = |end: usize| entry["data_offsets"][end].as_u64().context("no place");
            let (from, to) = (place(0)?, place(1)?);
            if (number == 1) == (from < middle) {
                let mut entry = entry.clone();
                entry["data_offsets"] = json!([bytes.len(), bytes.len() as u64 + to - from]);
                bytes.extend_from_slice(&data[from as usize..to as usize]);
                part.insert(tensor.clone(), entry);
                map.insert(tensor.clone(), json!(name));
            }
        }
        let part = Value::Object(part).to_string();
        let length = (part.len() as u64).to_le_bytes();
        fs::write(
            folder.join(&name),
            [&length, part.as_bytes(), &bytes].concat(),
        )?;
    }
    fs::remove_file(whole)?;
    let index = json!({ "metadata": { "total_size": data.len() }, "weight_map": map });
    let index = index.to_string();
    Ok(fs::write(
        folder.join("model.safetensors.index.json"),
        index,
    )?)
}

/// Tokens that [`numbers`] finds in a text; all are written.
const READ: usize = 512;

/// A tokenizer whose every token is its number: `<17>` is token 17.
pub fn numbers(vocab: usize) -> Vec<u8> {
    let name = |id: usize| format!("<{id}>");
    let added = |id: usize| {
        json!({ "id": id, "content": name(id), "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": false })
    };
    let words: Map<String, Value> = (0..vocab).map(|id| (name(id), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "added_tokens": (0..vocab.min(READ)).map(added).collect::<Vec<_>>(),
        "decoder": { "type": "Fuse" },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": words, "merges": [] },
    });
    tokenizer.to_string().into_bytes()
}

/// The text that [`numbers`] makes these tokens of.
pub fn spelled(ids: &[u32]) -> String {
    ids.iter().map(|id| format!("<{id}>")).collect()
}

/// What transformers computes with a fixture: tokens, logits after each, and the tokens it goes on
/// with.
pub struct Expected {
    pub prompt: Vec<u32>,
    pub logits: Vec<f32>,
    pub greedy: Vec<u32>,
}

/// Of the fixture as it is.
pub fn expected(fixture: &Path) -> Result<Expected> {
    read_expected(&fixture.join("expected.safetensors"))
}

/// Of the fixture with its float matrices in F16.
pub fn expected_f16(fixture: &str) -> Result<Expected> {
    let folder = root().join("engine/tests/fixtures/hf").join(fixture);
    read_expected(&folder.join("expected_f16.safetensors"))
}

fn read_expected(path: &Path) -> Result<Expected> {
    let file = fs::read(path)?;
    let (length, rest) = file.split_first_chunk::<8>().context("no length")?;
    let (head, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let head: Value = serde_json::from_slice(head)?;
    let tensor = |name: &str| {
        let place = &head[name]["data_offsets"];
        let (from, to) = (place[0].as_u64()?, place[1].as_u64()?);
        data.get(from as usize..to as usize)
    };
    let ids = |name: &str| -> Result<Vec<u32>> {
        let words = tensor(name)
            .context("a tensor is missing")?
            .as_chunks::<8>()
            .0;
        words
            .iter()
            .map(|b| Ok(u32::try_from(i64::from_le_bytes(*b))?))
            .collect()
    };
    let logits = tensor("logits").context("no logits")?.as_chunks::<4>().0;
    Ok(Expected {
        prompt: ids("prompt")?,
        logits: logits.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        greedy: ids("greedy")?,
    })
}

/// A folder of the fixtures: of the tests, or beside the project (`ONEBIT_SHARED`, by default
/// `../shared`).
pub fn fixture(name: &str) -> Option<PathBuf> {
    let own = root().join("engine/tests/fixtures/hf").join(name);
    let shared =
        std::env::var_os("ONEBIT_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    [own, shared.join("fixtures/hf").join(name)]
        .into_iter()
        .find(|folder| folder.join("config.json").is_file())
}

pub const FIXTURES: [&str; 4] = [
    "bitnet-packed",
    "llama-packed-inverse-scale",
    "bitnet-masters-bf16",
    "llama-float",
];

/// Tiny models of every decoder that can be imported.
pub fn zoo() -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root().join("engine/tests/fixtures/zoo"))? {
        folders.push(entry?.path());
    }
    folders.sort();
    Ok(folders)
}
