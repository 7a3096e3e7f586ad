//! Out and in again: codes, scales and logits survive.

use super::*;
use crate::import::{Input, Options, import};
use crate::onebit::OneBit;
use crate::onebit::{Dense, Packing, encode};
use ternary_common::bytes::{MemorySink, MemorySource};
use ternary_common::tokenizer::Tokenizer;
use ternary_core::config::MatrixKind::{Down, K, O, Q, Up, V};
use ternary_core::config::{Activation, ModelConfig, NormKind};
use ternary_core::config::{LayerBitMap, LayerMode, QuantMode, RopeScaling, WeightScale};
use ternary_core::layout::{Metadata, SamplingHints, SpecialTokens};
use ternary_core::params;
use ternary_core::params::ParamKind;
use ternary_infer::Model as Runner;

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 90,
        hidden_size: 512,
        num_heads: 8,
        num_kv_heads: Some(4),
        num_layers: 2,
        intermediate_size: 768,
        max_seq_len: 32,
        use_swiglu: true,
        use_rope: true,
        use_qk_norm: false,
        use_residual_scaling: false,
        use_dynamic_threshold: false,
        binary_centered: false,
        weight_scale: WeightScale::Tensor,
        tie_word_embeddings: false,
        ..ModelConfig::default()
    }
}

/// Scales that F16 holds exactly come from weights that are ± one number.
fn model(config: &ModelConfig) -> Vec<u8> {
    let values = params::all(config)
        .into_iter()
        .map(|p| {
            let random = p.init(config, 3);
            let codes = p.name.contains("_proj.")
                || matches!(&p.kind, ParamKind::Matrix(m) if m.mode.is_latent());
            let values: Vec<f32> = match (&p.kind, codes) {
                (ParamKind::Norm, _) => (0..p.len()).map(|i| 0.75 + (i % 5) as f32 / 8.0).collect(),
                (ParamKind::Matrix(m), _) if m.mode == QuantMode::F32 => random,
                (_, false) => random
                    .iter()
                    .map(|v| half::f16::from_f32(*v).to_f32())
                    .collect(),
                _ => random.iter().map(|v| 0.0625f32.copysign(*v)).collect(),
            };
            (p.name, values)
        })
        .collect();
    let metadata = Metadata {
        name: "test".into(),
        config: config.clone(),
        ..Metadata::default()
    };
    encode(metadata, &values, Packing::Ternary2, Dense::No).unwrap()
}

fn logits(bytes: Vec<u8>) -> Vec<f32> {
    let source = MemorySource::new("m", bytes);
    pollster::block_on(async {
        // What the model reads: this crate once more, as others see it.
        let file = ternary_formats::onebit::OneBit::open(&source)
            .await
            .unwrap();
        let backend = Box::new(ternary_backend::cpu::CpuBackend::new(1));
        let mut model = Runner::load(backend, &file, &source, &mut |_| {})
            .await
            .unwrap();
        let mut all = Vec::new();
        let ids: Vec<u32> = (0..20).map(|i| i * 7 % 90).collect();
        model
            .logits(&ids, &mut |rows| all.extend_from_slice(rows))
            .await
            .unwrap();
        all
    })
}

/// Relative error (L2).
fn close(a: &[f32], b: &[f32], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    let square = |v: f32| f64::from(v) * f64::from(v);
    let size: f64 = b.iter().map(|v| square(*v)).sum();
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    assert!(size > 1.0 && error.is_finite(), "logits that say something");
    assert!(
        (error / size).sqrt() <= tolerance,
        "{}",
        (error / size).sqrt()
    );
}

/// Scales times 1/√2 are rounded, which moves int8 activations across rounding boundaries; all else
/// is carried exactly.
fn tolerance(c: &ModelConfig) -> f64 {
    if c.use_residual_scaling { 0.1 } else { 1e-3 }
}

fn gguf(bytes: &[u8], base3: bool) -> Result<(Vec<u8>, GgufReport), ExportError> {
    let source = MemorySource::new("m", bytes.to_vec());
    let mut sink = MemorySink::default();
    let report = pollster::block_on(async {
        let file = OneBit::open(&source).await?;
        write_gguf(
            &file,
            &source,
            GgufOptions { base3 },
            &mut sink,
            &mut |_, _| {},
        )
        .await
    })?;
    assert_eq!(report.bytes, sink.bytes.len() as u64);
    Ok((sink.bytes, report))
}

fn back(files: Vec<(&str, Vec<u8>)>, options: &Options) -> (Vec<u8>, ModelConfig) {
    let mut input = Input::default();
    for (name, bytes) in files {
        input.add(name, Box::new(MemorySource::new(name, bytes)));
    }
    let mut sink = MemorySink::default();
    let report = pollster::block_on(import(&input, options, &mut sink, &mut |_| {})).unwrap();
    (sink.bytes, report.config)
}

fn hf(bytes: &[u8], dense: bool) -> Result<(Vec<u8>, HfReport), ExportError> {
    let source = MemorySource::new("m", bytes.to_vec());
    let mut sink = MemorySink::default();
    let report = pollster::block_on(async {
        let file = OneBit::open(&source).await?;
        write_hf(
            &file,
            &source,
            HfOptions { dense },
            &mut sink,
            &mut |_, _| {},
        )
        .await
    })?;
    Ok((sink.bytes, report))
}

/// Ways in which a model can be that both formats hold.
fn models() -> Vec<ModelConfig> {
    let mut map = LayerBitMap::sandwich(2, QuantMode::Ternary);
    map.layer_modes[1] = LayerMode::Whole(QuantMode::F16);
    let scaled = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 16,
    };
    vec![
        config(),
        ModelConfig {
            use_sub_norm: true,
            tie_word_embeddings: true,
            activation: Some(Activation::Relu2),
            use_residual_scaling: true,
            ..config()
        },
        ModelConfig {
            use_qk_norm: true,
            layer_bit_map: Some(map),
            rope_scaling: Some(RopeScaling::Linear { factor: 2.0 }),
            ..config()
        },
        ModelConfig {
            use_ternary: Some(false),
            rope_scaling: Some(scaled),
            ..config()
        },
    ]
}

#[test]
fn gguf_and_back_is_the_same_model() {
    for (i, config) in models().into_iter().enumerate() {
        let bytes = model(&config);
        let want = logits(bytes.clone());
        for base3 in [false, true] {
            let (file, report) = gguf(&bytes, base3).unwrap();
            let expected = ["llama", "bitnet-b1.58", "qwen3", "llama"][i];
            assert_eq!((report.architecture, report.others.len()), (expected, 0));
            let (again, found) = back(vec![("m.gguf", file)], &Options::default());
            assert_eq!(
                found.weight_scale,
                WeightScale::Group,
                "blocks have scales of their own"
            );
            assert_eq!(found.kv_heads(), 4);
            close(&logits(again), &want, tolerance(&config));
        }
    }
}

#[test]
fn hugging_face_and_back_is_the_same_model() {
    for config in models() {
        let bytes = model(&config);
        let (tensors, report) = hf(&bytes, false).unwrap();
        let mut files = vec![("model.safetensors", tensors)];
        let json = report.files[0].1.clone().into_bytes();
        assert_eq!(report.files[0].0, "config.json");
        files.push(("config.json", json));
        let (again, found) = back(files, &Options::default());
        assert_eq!(found.weight_scale, WeightScale::Tensor);
        assert_eq!(found.rope_scaling, config.rope_scaling);
        close(&logits(again), &logits(bytes), tolerance(&config));
    }
}

#[test]
fn low_bit_ends_are_kept() {
    for (mode, group, tied, kind) in [
        (QuantMode::Ternary, 256, false, "TQ2_0"),
        (QuantMode::Ternary, 64, true, "Q2_0"),
        (QuantMode::Ternary, 128, false, "Q2_0"),
        (QuantMode::Binary, 128, true, "Q1_0"),
    ] {
        let mut map = LayerBitMap::sandwich(2, mode);
        (map.embedding, map.lm_head) = (mode, mode);
        let config = ModelConfig {
            layer_bit_map: Some(map.clone()),
            weight_scale: WeightScale::Group,
            weight_group_size: group,
            tie_word_embeddings: tied,
            use_qk_norm: true,
            ..config()
        };
        let bytes = model(&config);
        let want = logits(bytes.clone());
        let (file, report) = gguf(&bytes, false).unwrap();
        let others: Vec<&str> = report
            .others
            .iter()
            .map(|(_, kind)| kind.as_str())
            .collect();
        let matrices = if tied { 15 } else { 16 };
        match kind {
            "TQ2_0" => assert!(others.is_empty()),
            _ => assert_eq!(others, vec![kind; matrices]),
        }
        let (again, found) = back(vec![("m.gguf", file.clone())], &Options::default());
        assert_eq!(found.bit_map(), map, "{kind}");
        assert_eq!(found.tie_word_embeddings, tied);
        // Q2_0 has a scale for every 64 weights.
        let finer = found.weight_group_size < group;
        assert!(finer || again.len() < bytes.len() + 4096, "{kind}");
        close(&logits(again), &want, 1e-6);
        // Asked for, they become floats, which are multiplied by floats.
        let floats = Options {
            keep_head: false,
            ..Options::default()
        };
        let (again, found) = back(vec![("m.gguf", file)], &floats);
        assert_eq!(found.bit_map().embedding, QuantMode::F16);
        close(&logits(again), &want, 0.05);
        // transformers packs no embedding.
        let (tensors, report) = hf(&bytes, true).unwrap();
        let files = vec![
            ("model.safetensors", tensors),
            ("config.json", report.files[0].1.clone().into_bytes()),
        ];
        let (again, _) = back(files, &exact_int8());
        close(&logits(again), &want, 0.05);
    }
    // Of packed matrices and a low-bit embedding, the embedding is floats there.
    let mut map = LayerBitMap::sandwich(2, QuantMode::Ternary);
    map.embedding = QuantMode::Ternary;
    let bytes = model(&ModelConfig {
        layer_bit_map: Some(map),
        ..config()
    });
    let (tensors, report) = hf(&bytes, false).unwrap();
    let files = vec![
        ("model.safetensors", tensors),
        ("config.json", report.files[0].1.clone().into_bytes()),
    ];
    let (again, found) = back(files, &Options::default());
    assert_eq!(found.bit_map().embedding, QuantMode::F16);
    close(&logits(again), &logits(bytes), 1e-3);
}

/// Of floats nothing tells that they were trained with int8 activations.
fn exact_int8() -> Options {
    Options {
        int8_activations: Some(true),
        ..Options::default()
    }
}

#[test]
fn single_precision_leaves_as_it_came() {
    let mut map = LayerBitMap::sandwich(2, QuantMode::F32);
    (map.embedding, map.lm_head) = (QuantMode::F32, QuantMode::F32);
    let bytes = model(&ModelConfig {
        layer_bit_map: Some(map),
        activation_bits: None,
        ..config()
    });
    let options = Options {
        head: QuantMode::F32,
        body: Some(QuantMode::F32),
        ..Options::default()
    };
    let want = logits(bytes.clone());
    let (file, _) = gguf(&bytes, false).unwrap();
    assert_eq!(logits(back(vec![("m.gguf", file)], &options).0), want);
    let (tensors, report) = hf(&bytes, false).unwrap();
    let files = vec![
        ("model.safetensors", tensors),
        ("config.json", report.files[0].1.clone().into_bytes()),
    ];
    assert_eq!(logits(back(files, &options).0), want);
}

#[test]
fn gpt_2_has_either_gelu_in_a_folder_and_one_in_gguf() {
    for activation in [Activation::Gelu, Activation::GeluErf] {
        let mut map = LayerBitMap::sandwich(2, QuantMode::F32);
        (map.embedding, map.lm_head) = (QuantMode::F32, QuantMode::F32);
        let bytes = model(&ModelConfig {
            layer_bit_map: Some(map),
            activation: Some(activation),
            activation_bits: None,
            norm: NormKind::Layer,
            use_rope: false,
            use_swiglu: false,
            num_kv_heads: None,
            biases: [Q, K, V, O, Up, Down].to_vec(),
            ..config()
        });
        let want = logits(bytes.clone());
        let options = Options {
            head: QuantMode::F32,
            body: Some(QuantMode::F32),
            ..Options::default()
        };
        let (tensors, report) = hf(&bytes, false).unwrap();
        let files = vec![
            ("model.safetensors", tensors),
            ("config.json", report.files[0].1.clone().into_bytes()),
        ];
        assert_eq!(logits(back(files, &options).0), want, "{activation:?}");
        match (activation, gguf(&bytes, false)) {
            (Activation::Gelu, Ok(_)) => {}
            (_, Err(e)) => assert!(e.to_string().contains("gelu_erf"), "{e}"),
            (_, Ok(_)) => panic!("a file in which the other GELU is meant"),
        }
    }
}

#[test]
fn rows_that_no_ternary_block_holds_are_stored_otherwise() {
    let narrow = ModelConfig {
        hidden_size: 320,
        num_heads: 10,
        num_kv_heads: Some(5),
        intermediate_size: 264,
        ..config()
    };
    let bytes = model(&narrow);
    let (file, report) = gguf(&bytes, false).unwrap();
    // 320 columns are ten blocks of Q8_0; 264 are no whole blocks of anything.
    assert_eq!(report.others.len(), 14);
    let down = report
        .others
        .iter()
        .filter(|(name, _)| name.contains("ffn_down"));
    assert!(down.clone().count() == 2 && down.clone().all(|(_, kind)| kind == "F16"));
    assert_eq!(
        report
            .others
            .iter()
            .filter(|(_, kind)| kind == "Q8_0")
            .count(),
        12
    );
    let options = Options {
        bit_map: Some(
            serde_json::to_string(&LayerBitMap::sandwich(2, QuantMode::Ternary)).unwrap(),
        ),
        int8_activations: Some(true),
        ..Options::default()
    };
    let (again, _) = back(vec![("m.gguf", file)], &options);
    close(&logits(again), &logits(bytes), 1e-3);
}

#[test]
fn what_the_other_side_cannot_compute_is_refused() {
    let refused = |c: ModelConfig, words: &[&str]| {
        let bytes = model(&c);
        for e in [
            gguf(&bytes, false).unwrap_err(),
            hf(&bytes, false).unwrap_err(),
        ] {
            let e = e.to_string();
            assert!(words.iter().all(|w| e.contains(w)), "{e}");
        }
    };
    refused(
        ModelConfig {
            use_rope: false,
            ..config()
        },
        &["use_rope", "false"],
    );
    refused(
        ModelConfig {
            use_swiglu: false,
            ..config()
        },
        &["use_swiglu"],
    );
    refused(
        ModelConfig {
            activation: Some(Activation::Gelu),
            ..config()
        },
        &["gelu", "silu"],
    );
    refused(
        ModelConfig {
            use_qk_norm: true,
            use_sub_norm: true,
            ..config()
        },
        &["use_sub_norm"],
    );
    // Scales per row have no place in packed matrices, but in floats they have.
    let rows = model(&ModelConfig {
        weight_scale: WeightScale::Row,
        ..config()
    });
    let e = hf(&rows, false).unwrap_err().to_string();
    assert!(e.contains("row") && e.contains("--pack-mode dense"), "{e}");
    let (tensors, report) = hf(&rows, true).unwrap();
    let json = report.files[0].1.clone().into_bytes();
    let options = Options {
        int8_activations: Some(true),
        ..Options::default()
    };
    let (again, _) = back(
        vec![("config.json", json), ("model.safetensors", tensors)],
        &options,
    );
    close(&logits(again), &logits(rows), 1e-3);
}

/// A thousand texts: words, contractions, digits, spaces and line ends, other scripts, emoji, any
/// characters.
fn texts() -> Vec<String> {
    const PARTS: [&str; 28] = [
        "the",
        "cat",
        "sat",
        "don't",
        "I'LL",
        "we've",
        " ",
        "  ",
        "   ",
        "\n",
        "\r\n",
        "\n\n ",
        "\t",
        "1",
        "42",
        "12345",
        "3.14",
        "ÄÖÜ",
        "naïve",
        "漢字",
        "かな",
        "привет",
        "🦀",
        "👩‍🚀",
        "!?",
        "...",
        "<|user|>",
        "_x-y/",
    ];
    let mut rng = ternary_core::rng::Rng::new(4);
    (0..1000)
        .map(|i| {
            let n = 1 + rng.below(12);
            (0..n)
                .map(|_| match rng.below(if i % 2 == 0 { 8 } else { 60 }) {
                    0 => {
                        char::from_u32(rng.below(0x3000) as u32).map_or(String::new(), String::from)
                    }
                    1 => " ".to_owned(),
                    _ => PARTS[rng.below(PARTS.len() as u64) as usize].to_owned(),
                })
                .collect()
        })
        .collect()
}

fn hints() -> SamplingHints {
    SamplingHints {
        temperature: Some(0.6),
        top_p: Some(0.9),
        top_k: Some(20),
        repetition_penalty: Some(1.05),
    }
}

/// The tokenizer after a way through GGUF metadata.
fn through_gguf(
    tokenizer: &str,
    special: Option<SpecialTokens>,
    size: usize,
) -> Result<(Tokenizer, Metadata), ExportError> {
    let config = ModelConfig {
        vocab_size: size,
        ..config()
    };
    let source = MemorySource::new("m", model(&config));
    let mut sink = MemorySink::default();
    pollster::block_on(async {
        let mut file = OneBit::open(&source).await?;
        file.metadata.tokenizer = Some(tokenizer.to_owned());
        file.metadata.chat_template = Some("{{ bos_token }}hello".into());
        file.metadata.special_tokens = special;
        file.metadata.sampling = Some(hints());
        write_gguf(
            &file,
            &source,
            GgufOptions { base3: false },
            &mut sink,
            &mut |_, _| {},
        )
        .await
    })?;
    let (bytes, _) = back(vec![("m.gguf", sink.bytes)], &Options::default());
    let source = MemorySource::new("m", bytes);
    let metadata = pollster::block_on(OneBit::open(&source)).unwrap().metadata;
    let tokenizer = Tokenizer::from_json(metadata.tokenizer.as_deref().unwrap()).unwrap();
    Ok((tokenizer, metadata))
}

/// A byte-level BPE trained on the texts, split into words as `pattern` says (GPT-2's way without
/// one).
fn byte_level(pattern: Option<&str>) -> serde_json::Value {
    let texts = texts();
    let trained = Tokenizer::train(texts.iter().map(String::as_str), 600).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&trained.to_json().unwrap()).unwrap();
    if let Some(pattern) = pattern {
        json["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]});
    }
    json
}

fn assert_same(a: &Tokenizer, b: &Tokenizer) {
    let mut tokens = 0;
    for text in texts() {
        let ids = a.encode_document(&text).unwrap();
        assert_eq!(b.encode_document(&text).unwrap(), ids, "{text:?}");
        assert_eq!(a.decode(&ids).unwrap(), b.decode(&ids).unwrap());
        tokens += ids.len();
    }
    assert!(tokens > 5000);
}

#[test]
fn byte_level_vocabularies_survive_gguf() {
    for name in [
        "gpt-2",
        "llama-bpe",
        "qwen2",
        "smollm",
        "tekken",
        "deepseek-llm",
    ] {
        let mut json = byte_level(None);
        let words = crate::gguf::pre_tokenizer::PreTokenizer::named(name).unwrap();
        json["pre_tokenizer"] = words.json();
        let original = Tokenizer::from_json(&json.to_string()).unwrap();
        let (found, metadata) = through_gguf(&json.to_string(), None, 600).unwrap();
        assert_same(&original, &found);
        assert_eq!(
            metadata.chat_template.as_deref(),
            Some("{{ bos_token }}hello"),
            "{name}"
        );
        let end = original.id(ternary_common::tokenizer::END_OF_TEXT).unwrap();
        assert!(metadata.special_tokens.unwrap().end.contains(&end));
        assert_eq!(metadata.sampling, Some(hints()));
    }
    let mut other = byte_level(Some(r"\w+"));
    let e = through_gguf(&other.to_string(), None, 600)
        .unwrap_err()
        .to_string();
    assert!(e.contains("no name for"), "{e}");
    other["model"]["type"] = "Unigram".into();
    assert!(through_gguf(&other.to_string(), None, 600).is_err());
}

#[test]
fn sentence_piece_vocabularies_survive_gguf() {
    use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
    use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
    use tokenizers::{AddedToken, PreTokenizedString, PreTokenizer as _, Trainer as _};
    let words = Metaspace::new('▁', PrependScheme::Always, true);
    let mut specials: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    specials.extend((0..=255).map(|b: u8| format!("<0x{b:02X}>")));
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(700)
        .special_tokens(
            specials
                .iter()
                .map(|t| AddedToken::from(t.as_str(), true))
                .collect(),
        )
        .build();
    let texts = texts();
    trainer
        .feed(texts.iter().filter(|t| t.is_ascii()), |text| {
            let mut pre = PreTokenizedString::from(text);
            words.pre_tokenize(&mut pre)?;
            let kind = (
                tokenizers::OffsetReferential::Original,
                tokenizers::OffsetType::Byte,
            );
            Ok(pre
                .get_splits(kind.0, kind.1)
                .into_iter()
                .map(|(s, ..)| s.to_owned())
                .collect())
        })
        .unwrap();
    let mut bpe = BPE::default();
    trainer.train(&mut bpe).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&byte_level(None).to_string()).unwrap();
    json["model"] = serde_json::to_value(&bpe).unwrap();
    json["model"]["type"] = "BPE".into();
    json["model"]["byte_fallback"] = true.into();
    json["model"]["fuse_unk"] = true.into();
    json["model"]["unk_token"] = "<unk>".into();
    json["pre_tokenizer"] = serde_json::Value::Null;
    json["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]});
    json["decoder"] = serde_json::json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]});
    json["added_tokens"] = (0..3)
        .map(|id| {
            serde_json::json!({"id": id, "content": specials[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    json["post_processor"] = serde_json::json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}});
    let original = Tokenizer::from_json(&json.to_string()).unwrap();
    let special = SpecialTokens {
        bos: Some("<s>".into()),
        eos: Some("</s>".into()),
        end: vec![2],
    };
    let (found, metadata) = through_gguf(&json.to_string(), Some(special.clone()), 700).unwrap();
    assert_eq!(metadata.special_tokens, Some(special));
    assert_eq!(found.encode_document("the cat").unwrap()[0], 1);
    assert_same(&original, &found);
}
