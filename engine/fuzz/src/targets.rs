//! The parsers, each with a good file to change and all that is done with what it accepts.

use std::path::Path;
use std::sync::Arc;

use pollster::block_on;
use serde_json::{Value, json};
use ternary::adapter::Adapter;
use ternary::board::Cache;
use ternary::config::{LayerBitMap, ModelConfig, TrainConfig};
use ternary::data::{TokenData, read_documents, write_tokens};
use ternary::export::{GgufOptions, HfOptions, write_gguf, write_hf};
use ternary::format::c_header::{self, COptions};
use ternary::format::{MemorySink, MemorySource, OneBit};
use ternary::import::{Input, Options, import};
use ternary::safetensors as tensors;
use ternary::search::SearchResult;
use ternary::session::Message;
use ternary::tokenizer::{ChatTemplate, Tokenizer};
use ternary::train::checkpoint;
use ternary_scripted::{CHATML, Chain, Llama, Model};

use crate::Mutator;
use crate::mutate::object;

type Make = Box<dyn FnMut(&mut Mutator) -> Vec<u8>>;
type Read = Box<dyn FnMut(&[u8]) -> bool>;

/// A parser and its files.
pub struct Target {
    pub name: &'static str,
    /// A file with changes.
    pub make: Make,
    /// Read it, and do what programs do with it; whether it was accepted.
    pub read: Read,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn target(
    name: &'static str,
    make: impl FnMut(&mut Mutator) -> Vec<u8> + 'static,
    read: impl FnMut(&[u8]) -> bool + 'static,
) -> Target {
    Target {
        name,
        make: Box::new(make),
        read: Box::new(read),
    }
}

/// Every target, with its good files in `folder`.
pub fn all(folder: &Path) -> Vec<Target> {
    let model = tiny();
    model.write_hf(&folder.join("hf"));
    let read = |name: &str| std::fs::read(folder.join("hf").join(name)).unwrap_or_default();
    let files = Arc::new([
        ("config.json", read("config.json")),
        ("tokenizer.json", read("tokenizer.json")),
        ("model.safetensors", read("model.safetensors")),
    ]);
    let onebit = converted(
        files.iter().map(|(name, bytes)| (*name, bytes.clone())),
        None,
    )
    .unwrap_or_default();
    let ternary = r#"{"embedding": "f16", "layer_modes": ["ternary"], "lm_head": "eightbit"}"#;
    let packed = converted(
        files.iter().map(|(name, bytes)| (*name, bytes.clone())),
        Some(ternary),
    )
    .unwrap_or_default();
    let gguf = model.gguf().to_bytes();
    let tokenizer = String::from_utf8_lossy(&files[1].1).into_owned();
    vec![
        onebit_target([onebit, packed]),
        tokens_target(),
        target(
            "gguf",
            move |m| {
                let mut bytes = gguf.clone();
                // Mostly the head: the tensors are numbers.
                let head = bytes.split_off(bytes.len().min(6000));
                m.bytes(&mut bytes);
                bytes.extend(head);
                bytes
            },
            |bytes| converted([("model.gguf", bytes.to_vec())], None).is_some(),
        ),
        safetensors_target(files.clone()),
        config_target("import config", files.clone()),
        tokenizer_target(&tokenizer),
        target(
            "configs",
            json_of(include_str!("../../../config/recommended.json")),
            |bytes| {
                let text = String::from_utf8_lossy(bytes);
                let mut value = object(&text);
                let training = match &mut value {
                    Value::Object(fields) => fields.shift_remove("training"),
                    _ => None,
                };
                let training = training.unwrap_or_default();
                let train = TrainConfig::from_value(training).is_ok();
                ModelConfig::from_json(&value.to_string()).is_ok() && train
            },
        ),
        target(
            "bit-maps",
            json_of(
                r#"{"embedding": "f16", "layer_modes": ["ternary", {"q": "f16", "k": "f16", "v": "f16", "o": "ternary", "gate": "binary", "up": "eightbit", "down": "binary"}], "lm_head": "eightbit"}"#,
            ),
            |bytes| LayerBitMap::from_json(&String::from_utf8_lossy(bytes), 2).is_ok(),
        ),
        target("search results", json_of(RESULT), |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let map = LayerBitMap::from_json(&text, 1).is_ok();
            serde_json::from_str::<SearchResult>(&text).is_ok() && map
        }),
        template_target(),
        adapter_target(),
        checkpoint_target(folder, &tokenizer),
        texts_target(),
    ]
}

/// A model of a few kilobytes.
fn tiny() -> Model {
    let tokenizer = ternary_scripted::Tokenizer::byte_level(&["Yes", " sir"]);
    let chain = Chain::walk(
        &tokenizer,
        &["<|assistant|>", "!"],
        &["Yes", " sir"],
        "<|end|>",
    );
    let shape = Llama {
        hidden: 32,
        heads: 2,
        kv_heads: 1,
        ffn: 32,
        ..Llama::default()
    };
    Model::new(tokenizer, shape, chain).template(CHATML)
}

/// Import files; the `.1bit`.
fn converted<'a>(
    files: impl IntoIterator<Item = (&'a str, Vec<u8>)>,
    bit_map: Option<&str>,
) -> Option<Vec<u8>> {
    let mut input = Input::default();
    for (name, bytes) in files {
        input.add(name, Box::new(MemorySource::new(name, bytes)));
    }
    let options = Options {
        bit_map: bit_map.map(str::to_owned),
        ..Options::default()
    };
    let mut sink = MemorySink::default();
    block_on(import(&input, &options, &mut sink, &mut |_| {})).ok()?;
    Some(sink.bytes)
}

/// Changes of a JSON text: of its values, now and then of its letters.
fn json_of(good: &str) -> impl FnMut(&mut Mutator) -> Vec<u8> + 'static {
    let good = object(good);
    move |m| {
        let mut value = good.clone();
        m.json(&mut value);
        let mut bytes = value.to_string().into_bytes();
        if m.once_in(8) {
            m.bytes(&mut bytes);
        }
        bytes
    }
}

/// `.1bit`: metadata, tensor table or data changed, and every checksum right.
fn onebit_target(good: [Vec<u8>; 2]) -> Target {
    let make = move |m: &mut Mutator| {
        let file = m.pick(&good).clone();
        let long = |at: usize| {
            file.get(at..at + 8).map_or(0, |b| {
                u64::from_le_bytes(b.try_into().unwrap_or_default()) as usize
            })
        };
        let (meta, table, data) = (long(16), long(24), long(32));
        let part = |from: usize, to: usize| file.get(from..to).unwrap_or_default();
        let mut metadata = object(&String::from_utf8_lossy(part(64, 64 + meta)));
        let mut tensors = object(&String::from_utf8_lossy(part(64 + meta, 64 + meta + table)));
        let mut values = part(data, file.len()).to_vec();
        match m.below(4) {
            0 => m.json(&mut metadata["config"]),
            1 => m.json(&mut metadata),
            2 => m.json(&mut tensors),
            _ => m.bytes(&mut values),
        }
        for t in tensors.as_array_mut().into_iter().flatten() {
            let (Some(at), Some(len)) = (t["offset"].as_u64(), t["length"].as_u64()) else {
                continue;
            };
            let end = at.checked_add(len).map_or(usize::MAX, |end| end as usize);
            if let Some(bytes) = values.get(at as usize..end) {
                t["crc32"] = json!(crc32fast::hash(bytes));
            }
        }
        let (metadata, tensors) = (metadata.to_string(), tensors.to_string());
        let begin = (64 + metadata.len() + tensors.len()).next_multiple_of(64);
        let mut out = file[..16.min(file.len())].to_vec();
        for n in [metadata.len(), tensors.len(), begin, begin + values.len()] {
            out.extend((n as u64).to_le_bytes());
        }
        out.extend(crc32fast::hash(metadata.as_bytes()).to_le_bytes());
        out.extend(crc32fast::hash(tensors.as_bytes()).to_le_bytes());
        let header = crc32fast::hash(&out);
        out.extend(header.to_le_bytes());
        out.extend([0; 4]);
        out.extend(metadata.bytes());
        out.extend(tensors.bytes());
        out.resize(begin, 0);
        out.extend(values);
        if m.once_in(8) {
            m.bytes(&mut out);
        }
        out
    };
    target(".1bit", make, |bytes| {
        let source = MemorySource::new("model.1bit", bytes.to_vec());
        let Ok(file) = block_on(OneBit::open(&source)) else {
            return false;
        };
        let gguf = block_on(write_gguf(
            &file,
            &source,
            GgufOptions { base3: false },
            &mut MemorySink::default(),
            &mut |_, _| {},
        ));
        let hf = block_on(write_hf(
            &file,
            &source,
            HfOptions { dense: false },
            &mut MemorySink::default(),
            &mut |_, _| {},
        ));
        let latents = block_on(file.latents(&source));
        let options = COptions {
            stem: "model".into(),
            context: Some(16),
            cache: Cache::F32,
            prompt: "Hi".into(),
        };
        let header = c_header::write(bytes, None, &options);
        gguf.is_ok() && hf.is_ok() && latents.is_ok() && header.is_ok()
    })
}

/// `.tokens`, with its checksum right.
fn tokens_target() -> Target {
    let ids: Vec<u32> = (0..600).map(|i| i * 7 % 300).collect();
    let good = write_tokens(&ids, 300, 16, 7);
    let make = move |m: &mut Mutator| {
        let mut bytes = good.clone();
        m.bytes(&mut bytes);
        if bytes.len() > 64 && !m.once_in(4) {
            let crc = crc32fast::hash(&bytes[64..]);
            bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    };
    target(".tokens", make, |bytes| {
        let Ok(data) = TokenData::from_bytes(bytes.to_vec()) else {
            return false;
        };
        let mut ids = Vec::new();
        data.read(0, data.len(), &mut ids).is_ok()
    })
}

type Files = Arc<[(&'static str, Vec<u8>); 3]>;

/// A folder's files, one of them replaced.
fn with(files: &Files, name: &str, bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let all = files.iter();
    all.map(|(n, b)| {
        (
            *n,
            if *n == name {
                bytes.to_vec()
            } else {
                b.clone()
            },
        )
    })
    .collect()
}

fn safetensors_target(files: Files) -> Target {
    let good = files[2].1.clone();
    let make = move |m: &mut Mutator| {
        let len = good
            .first_chunk()
            .map_or(0, |b| u64::from_le_bytes(*b) as usize);
        let mut header = object(&String::from_utf8_lossy(&good[8..8 + len]));
        m.json(&mut header);
        let header = header.to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(&good[8 + len..]);
        if m.once_in(4) {
            m.bytes(&mut bytes);
        }
        bytes
    };
    target("safetensors", make, move |bytes| {
        let parsed = tensors::parse(bytes).is_ok();
        converted(with(&files, "model.safetensors", bytes), None).is_some() && parsed
    })
}

fn config_target(name: &'static str, files: Files) -> Target {
    let good = String::from_utf8_lossy(&files[0].1).into_owned();
    target(name, json_of(&good), move |bytes| {
        converted(with(&files, "config.json", bytes), None).is_some()
    })
}

fn tokenizer_target(good: &str) -> Target {
    // Every part that tokenizers are made of.
    let mut whole = object(good);
    whole["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}, {"type": "Prepend", "prepend": "\u{2581}"}]});
    whole["truncation"] =
        json!({"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0});
    whole["padding"] = json!({"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<|endoftext|>"});
    whole["post_processor"] = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [258], "tokens": ["<|endoftext|>"]}}});
    let others = [
        json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true}),
        json!({"type": "Split", "pattern": {"Regex": "\\d{1,3}"}, "behavior": "Isolated", "invert": false}),
        json!({"type": "FixedLength", "length": 3}),
        json!({"type": "Punctuation", "behavior": "Isolated"}),
    ];
    let mut good = vec![object(good), whole.clone()];
    for other in others {
        let mut with = whole.clone();
        with["pre_tokenizer"] =
            json!({"type": "Sequence", "pretokenizers": [other, whole["pre_tokenizer"].clone()]});
        good.push(with);
    }
    for model in [
        json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {"[UNK]": 0, "H": 1, "##i": 2, "!": 3}}),
        json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [["<unk>", 0.0], ["\u{2581}H", -1.0], ["i", -2.0], ["!", -3.5]]}),
        json!({"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "Hi": 1}}),
        json!({"type": "BPE", "unk_token": "<u>", "fuse_unk": true, "byte_fallback": true, "continuing_subword_prefix": "#", "end_of_word_suffix": "_",
            "vocab": {"<u>": 0, "H": 1, "#i_": 2, "H#i_": 3}, "merges": ["H #i_"]}),
    ] {
        let mut with = whole.clone();
        with["added_tokens"] = json!([]);
        with["model"] = model;
        with["post_processor"] = Value::Null;
        good.push(with);
    }
    let make = move |m: &mut Mutator| {
        let mut value = m.pick(&good).clone();
        // Mostly the small parts: the vocabulary is long.
        let part = *m.pick(&[
            "normalizer",
            "pre_tokenizer",
            "post_processor",
            "decoder",
            "padding",
            "truncation",
            "added_tokens",
            "model",
        ]);
        match m.once_in(4) {
            true => m.json(&mut value),
            false if part == "model" => {
                let key = *m.pick(&[
                    "type",
                    "unk_token",
                    "unk_id",
                    "continuing_subword_prefix",
                    "end_of_word_suffix",
                    "merges",
                    "dropout",
                    "byte_fallback",
                    "vocab",
                ]);
                m.json(&mut value["model"][key]);
            }
            false => m.json(&mut value[part]),
        }
        value.to_string().into_bytes()
    };
    target("tokenizer.json", make, |bytes| {
        let Ok(tokenizer) = Tokenizer::from_json(&String::from_utf8_lossy(bytes)) else {
            return false;
        };
        let text = "Hi there, 1234 aaa!\n漢字 \u{2581}<|end|>  x";
        let ids = tokenizer.encode(text).unwrap_or_default();
        let _ = tokenizer.encode_to_continue("");
        let _ = tokenizer.token_bytes();
        tokenizer.decode(&ids).is_ok()
    })
}

const RESULT: &str = r#"{"version": 1, "layer_bit_map": {"embedding": "f16", "layer_modes": ["ternary"], "lm_head": "f16"},
    "perplexity": 3.5, "size_bytes": 1000, "satisfied": true,
    "pareto_front": [{"layer_bit_map": {"embedding": "f16", "layer_modes": ["binary"], "lm_head": "f16"}, "perplexity": 3.5, "size_bytes": 9}],
    "evaluations": [{"layer_bit_map": {"embedding": "f16", "layer_modes": [{"q": "f16"}], "lm_head": "f16"}, "perplexity": 4, "size_bytes": 8}],
    "settings": {"granularity": "layer", "modes": ["f16", "ternary"], "unpin": false, "max_perplexity": 4.0, "max_bytes": null,
        "max_evals": 10, "sample_tokens": 100, "seed": 1},
    "seed": 1, "sample_tokens": 64, "validation_tokens": 100, "source": {"checkpoint": "run", "checkpoint_sha256": "00"}}"#;

fn template_target() -> Target {
    const PIECES: [&str; 20] = [
        "{% for m in messages %}",
        "{% endfor %}",
        "{% if m.role == 'user' %}",
        "{% endif %}",
        "{{ m['content'] }}",
        "{{ m }}",
        "{{ m.content.split(' ') }}",
        "{% set x = x ~ x %}",
        "{% set ns = namespace(a=1) %}",
        "{% set ns.a = ns.a * 999999999 %}",
        "{{ range(999999999) }}",
        "{{ 'x' * 99999999 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages|tojson }}",
        "{{ ((((1)))) }}",
        "{{ not not not 1 }}",
        "{% for i in range(9999) %}",
        "{{ strftime_now('%Y-%m-%d') }}",
        "{{ raise_exception('no') }}",
        "{{ [messages] * 1000 }}",
    ];
    let own = ternary::tokenizer::CHAT_TEMPLATE;
    let make = move |m: &mut Mutator| {
        let mut text = m.pick(&[own, CHATML]).to_string();
        for _ in 0..m.below(5) {
            let at = text.floor_char_boundary(m.below(text.len() + 1));
            let piece = *m.pick(&PIECES);
            text.insert_str(at, piece);
        }
        if m.once_in(64) {
            let deep = *m.pick(&["not ", "(", "[", "-", "{% if 1 %}"]);
            text = format!("{{{{ {}1 }}}}{text}", deep.repeat(1 + m.below(5000)));
        }
        let mut bytes = text.into_bytes();
        m.bytes(&mut bytes);
        bytes
    };
    target("templates", make, |bytes| {
        let Ok(template) = ChatTemplate::new(&String::from_utf8_lossy(bytes)) else {
            return false;
        };
        let turns = ["system", "user", "assistant", "user"]
            .map(|role| Message::new(role, "Hello <|end|> you"));
        template.render_parts(&turns).is_ok()
    })
}

fn adapter_target() -> Target {
    let p = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
    let tensor = |name: &str, shape: &[usize]| {
        (
            format!("{p}{name}.weight"),
            shape.to_vec(),
            vec![0.5; shape.iter().product()],
        )
    };
    let weights =
        tensors::serialize(&[tensor("A", &[2, 16]), tensor("B", &[16, 2])]).unwrap_or_default();
    let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4.0, "target_modules": ["q_proj"], "base_model_name_or_path": "m"}"#;
    let mut change = json_of(config);
    let make = move |m: &mut Mutator| {
        // The config, a zero, then the weights.
        let mut bytes = if m.once_in(2) {
            change(m)
        } else {
            config.as_bytes().to_vec()
        };
        bytes.retain(|b| *b != 0);
        bytes.push(0);
        let mut rest = weights.clone();
        m.bytes(&mut rest);
        bytes.extend(rest);
        bytes
    };
    target("adapters", make, |bytes| {
        let at = bytes.iter().position(|b| *b == 0).unwrap_or(0);
        let config = String::from_utf8_lossy(&bytes[..at]);
        let rest = &bytes[(at + 1).min(bytes.len())..];
        let _ = Adapter::parse_file(rest);
        Adapter::parse(&config, rest).is_ok()
    })
}

fn checkpoint_target(folder: &Path, tokenizer: &str) -> Target {
    let config = json!({"vocab_size": 270, "hidden_size": 16, "num_heads": 2, "num_layers": 1, "intermediate_size": 16, "max_seq_len": 8});
    let state = json!({"schema": 2, "step": 1, "train": TrainConfig::default(), "tokens_seen": 1, "data_checksum": 1,
        "last_val_loss": null, "last_train_loss": 2.5, "first_loss": 2.5, "unlogged": ["0", 0], "seconds": 1.0});
    let dir = folder.join("checkpoint");
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes);
    // A folder that cannot be written shows as a target that accepts nothing.
    let _ = std::fs::create_dir_all(&dir);
    let _ = write("tokenizer.json", tokenizer.as_bytes());
    let parsed = ModelConfig::from_json(&config.to_string());
    let shapes = parsed.map(|c| ternary::params::all(&c)).unwrap_or_default();
    let all: Vec<(String, Vec<usize>, Vec<f32>)> = shapes
        .into_iter()
        .map(|p| {
            (
                p.name.clone(),
                p.shape.clone(),
                vec![0.1; p.shape.iter().product()],
            )
        })
        .collect();
    let weights = tensors::serialize(&all).unwrap_or_default();
    let make = move |m: &mut Mutator| {
        let mut parts = json!([config, state]);
        let mut weights = weights.clone();
        match m.below(3) {
            0 => m.json(&mut parts[0]),
            1 => m.json(&mut parts[1]),
            _ => {
                let mut head = weights.drain(..weights.len().min(1500)).collect();
                m.bytes(&mut head);
                head.extend(weights);
                weights = head;
            }
        }
        let mut bytes = parts.to_string().into_bytes();
        bytes.push(0);
        bytes.extend(weights);
        bytes
    };
    target("checkpoints", make, move |bytes| {
        let at = bytes.iter().position(|b| *b == 0).unwrap_or(0);
        let parts = object(&String::from_utf8_lossy(&bytes[..at]));
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).is_ok();
        write("config.json", parts[0].to_string().as_bytes())
            && write("train_state.json", parts[1].to_string().as_bytes())
            && write("model.safetensors", &bytes[(at + 1).min(bytes.len())..])
            && checkpoint::load(&dir).is_ok()
    })
}

fn texts_target() -> Target {
    const GOOD: [(&str, &str); 4] = [
        ("t.txt", "One line.\nAnother \u{e9} line, with words.\n"),
        (
            "l.jsonl",
            "{\"text\": \"one \\ud83d\\ude00\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"n\": NaN}\n",
        ),
        (
            "a.json",
            "[{\"text\": \"one\"}, {\"conversations\": [{\"from\": \"human\", \"value\": \"x\"}]}]",
        ),
        ("u.txt", "wide"),
    ];
    let make = |m: &mut Mutator| {
        let kind = m.below(GOOD.len());
        let text = GOOD[kind].1.repeat(1 + m.below(20));
        let mut bytes = match kind {
            3 => std::iter::once(0xfeff)
                .chain(text.encode_utf16())
                .flat_map(u16::to_le_bytes)
                .collect(),
            _ => text.into_bytes(),
        };
        m.bytes(&mut bytes);
        bytes.push(kind as u8);
        bytes
    };
    target("texts", make, |bytes| {
        let Some((kind, bytes)) = bytes.split_last() else {
            return false;
        };
        read_documents(GOOD[usize::from(*kind) % GOOD.len()].0, bytes).is_ok()
    })
}
