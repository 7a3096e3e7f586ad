//! What a GGUF file says, taken as it is or refused by its name.

use ternary_backend::cpu::CpuBackend;
use ternary_backend::gpu::GpuBackend;
use ternary_backend::{Backend, BackendOptions};
use ternary_common::bytes::{MemorySink, MemorySource};
use ternary_core::config::{LayerBitMap, LayerMode, ModelConfig, QuantMode, RopeScaling};
use ternary_core::layout::{ScalePer, TensorEntry};
use ternary_scripted::{Chain, Gguf, GgufTensor, Llama, Meta, Model, Tensor, Tokenizer};

use super::container::{Stop, parse};
use crate::import::{ImportError, Input, Options, Report, import, survey};
use crate::onebit::OneBit;
use crate::source::storage::Storage;

fn input(gguf: &Gguf) -> Input {
    let mut input = Input::default();
    let source = MemorySource::new("m.gguf", gguf.to_bytes());
    input.add("m.gguf", Box::new(source));
    input
}

fn imported(gguf: &Gguf) -> Result<Report, ImportError> {
    let mut sink = MemorySink::default();
    pollster::block_on(import(
        &input(gguf),
        &Options::default(),
        &mut sink,
        &mut |_| {},
    ))
}

fn config(gguf: &Gguf) -> ModelConfig {
    let found = pollster::block_on(survey(&input(gguf), &Options::default()));
    found.unwrap().config
}

#[track_caller]
fn refused(gguf: &Gguf, words: &[&str]) {
    let e = imported(gguf).unwrap_err().to_string();
    assert!(words.iter().all(|word| e.contains(word)), "{e}");
}

/// A small model of an architecture, as its files have it.
fn model(architecture: &str) -> Gguf {
    let shape = Llama {
        real: true,
        qk_norm: architecture == "qwen3",
        sub_norms: architecture.starts_with("bitnet"),
        ..Llama::default()
    };
    Model::new(Tokenizer::byte_level(&[]), shape, Chain::default()).gguf_of(architecture)
}

#[test]
fn keys_that_change_numbers_are_refused_by_name() {
    let llama = model("llama");
    imported(&llama).unwrap();
    for (key, value) in [
        ("attention.causal", Meta::Bool(false)),
        ("attention.scale", Meta::F32(0.2)),
        ("attention.output_scale", Meta::F32(0.5)),
        ("attention.clamp_kqv", Meta::F32(8.0)),
        ("attention.max_alibi_bias", Meta::F32(8.0)),
        ("attention.layer_norm_epsilon", Meta::F32(1e-5)),
        ("attention.sliding_window_pattern", Meta::U32(6)),
        ("attention.temperature_scale", Meta::F32(0.1)),
        ("attention.q_lora_rank", Meta::U32(8)),
        ("attn_logit_softcapping", Meta::F32(50.0)),
        ("final_logit_softcapping", Meta::F32(30.0)),
        ("logit_scale", Meta::F32(16.0)),
        ("residual_scale", Meta::F32(0.22)),
        ("embedding_scale", Meta::F32(12.0)),
        ("rope.scaling.attn_factor", Meta::F32(1.2)),
        ("rope.scaling.yarn_log_multiplier", Meta::F32(0.1)),
        ("rope.scaling.yarn_beta_fast", Meta::F32(32.0)),
        ("rope.dimension_sections", Meta::Array(vec![Meta::I32(16)])),
        ("rope.freq_base_swa", Meta::F32(10000.0)),
        ("use_parallel_residual", Meta::Bool(true)),
        ("tensor_data_layout", Meta::Str("other".into())),
        ("nextn_predict_layers", Meta::U32(1)),
        ("swiglu_clamp_exp", Meta::F32(7.0)),
        ("a_key_of_tomorrow", Meta::Str("x".into())),
    ] {
        let key = format!("llama.{key}");
        refused(&llama.clone().with(&key, value), &[&key]);
    }
    for (key, value, word) in [
        ("prism.hadamard.block_size", Meta::U32(128), "Hadamard"),
        ("general.type", "imatrix".into(), "imatrix"),
        ("general.type", "mmproj".into(), "mmproj"),
        (
            "general.quantization_version",
            Meta::U32(1),
            "quantization_version is 1",
        ),
        ("diffusion.shift_logits", Meta::Bool(true), "shift_logits"),
    ] {
        refused(&llama.clone().with(key, value), &[key, word]);
    }
}

#[test]
fn keys_that_change_nothing_are_taken() {
    let mut llama = model("llama");
    for (key, value) in [
        ("llama.attention.causal", Meta::Bool(true)),
        ("llama.attention.sliding_window", Meta::U32(4096)),
        ("llama.rope.scaling.attn_factor", Meta::F32(1.0)),
        ("llama.rope.scaling.original_context_length", Meta::U32(64)),
        ("llama.tensor_data_layout", "Meta AI original pth".into()),
        ("llama.logit_scale", Meta::F32(1.0)),
        ("llama.expert_count", Meta::U32(0)),
        ("llama.pooling_type", Meta::U32(3)),
        ("general.quantization_version", Meta::U32(2)),
        ("general.file_type", Meta::U32(15)),
        ("quantize.imatrix.file", "x.dat".into()),
    ] {
        llama = llama.with(key, value);
    }
    imported(&llama).unwrap();
}

#[test]
fn linear_scaling_needs_no_type() {
    let linear = |factor| Some(RopeScaling::Linear { factor });
    let llama = model("llama");
    for (key, value, want) in [
        ("rope.scaling.factor", 4.0, linear(4.0)),
        ("rope.scale_linear", 4.0, linear(4.0)),
        ("rope.scaling.factor", 0.0, None),
        ("rope.scaling.factor", 1.0, None),
    ] {
        let found = config(&llama.clone().with(&format!("llama.{key}"), value));
        assert_eq!(found.rope_scaling, want, "{key} {value}");
    }
    let typed = llama.with("llama.rope.scaling.type", "linear");
    let one = typed.clone().with("llama.rope.scaling.factor", 1.0);
    assert_eq!(config(&one).rope_scaling, None);
    refused(&typed, &["llama.rope.scaling.factor", "missing"]);
}

#[test]
fn norms_must_be_those_of_the_architecture() {
    let norm = |name: &str| GgufTensor {
        name: name.into(),
        dims: vec![32],
        kind: 0,
        bytes: Tensor::ones(32).bytes,
    };
    for architecture in ["llama", "bitnet", "bitnet-b1.58"] {
        let mut file = model(architecture);
        file.tensors.push(norm("blk.0.attn_q_norm.weight"));
        file.tensors.push(norm("blk.0.attn_k_norm.weight"));
        refused(&file, &["blk.0.attn_q_norm.weight", architecture]);
    }
    let mut qwen = model("qwen3");
    assert!(config(&qwen).use_qk_norm);
    qwen.tensors.retain(|t| !t.name.contains("q_norm"));
    refused(&qwen, &["q_norm", "missing"]);
}

#[test]
fn kinds_of_model_are_refused_before_all_else() {
    for (architecture, word) in [
        ("qwen3moe", "experts"),
        ("gpt-oss", "experts"),
        ("brandnewmoe", "experts"),
        ("mamba2", "state"),
        ("qwen35", "state"),
        ("rwkv7", "state"),
        ("lfm2", "state"),
        ("nomic-bert", "encoder"),
        ("t5", "encoder"),
        ("clip", "mmproj"),
        ("llada", "diffusion"),
    ] {
        // Neither hyperparameters nor a type that is read.
        let mut file = Gguf::default().with("general.architecture", architecture);
        file.tensors.push(GgufTensor {
            name: "blk.0.ffn_gate_exps.weight".into(),
            dims: vec![32, 4, 4],
            kind: 19,
            bytes: vec![0; 64],
        });
        refused(&file, &[word, &format!("`{architecture}`"), "llama, "]);
    }
    // Mixtral's files are of architecture llama.
    let mixtral = model("llama").with("llama.expert_count", Meta::U32(8));
    refused(&mixtral, &["experts", "`llama`"]);
    let hybrid = Gguf::default()
        .with("general.architecture", "tomorrow")
        .with("tomorrow.ssm.state_size", Meta::U32(16));
    refused(&hybrid, &["state", "`tomorrow`"]);
    let unknown = Gguf::default().with("general.architecture", "tomorrow");
    refused(&unknown, &["general.architecture", "`tomorrow`", "qwen3"]);
}

#[test]
fn a_head_of_its_own_is_used_and_a_missing_one_is_the_embedding() {
    let llama = model("llama");
    assert!(!config(&llama).tie_word_embeddings);
    let mut tied = llama;
    tied.tensors.retain(|t| t.name != "output.weight");
    assert!(config(&tied).tie_word_embeddings);
}

/// A file of tensors of one type, each with these dimensions and bytes, and no model.
fn tensors(kind: u32, all: &[(&[usize], usize)]) -> Vec<u8> {
    let mut file = Gguf::default();
    for (i, (dims, bytes)) in all.iter().enumerate() {
        file.tensors.push(GgufTensor {
            name: format!("t{i}"),
            dims: dims.to_vec(),
            kind,
            bytes: vec![1; *bytes],
        });
    }
    file.to_bytes()
}

fn parsed(bytes: &[u8]) -> Result<Vec<Storage>, String> {
    match parse(bytes, bytes.len() as u64, 0) {
        Ok(found) => Ok(found.tensors.iter().map(|t| t.storage).collect()),
        Err(Stop::Bad(message) | Stop::Refused(message)) => Err(message),
        Err(Stop::More) => panic!("the file is whole"),
    }
}

#[test]
fn types_that_are_not_read_are_refused_by_number_and_name() {
    for (kind, name) in [
        (16, "IQ2_XXS (16)"),
        (19, "IQ1_S (19)"),
        (18, "IQ3_XXS (18)"),
        (15, "Q8_K (15)"),
        (135, "IQ2_BN (135)"),
        (38, "TL1 (38)"),
        (200, "200"),
    ] {
        let e = parsed(&tensors(kind, &[(&[256, 2], 512)])).unwrap_err();
        let words = [name, "t0", "Q4_K_M", "PTQ1_0"];
        assert!(words.iter().all(|word| e.contains(word)), "{e}");
    }
    let e = parsed(&tensors(12, &[(&[128, 2], 144)])).unwrap_err();
    assert!(e.contains("Q4_K (12) cannot have shape"), "{e}");
}

#[test]
fn two_bit_blocks_are_told_apart_by_the_space_they_take_up() {
    let (wide, tall): (&[usize], &[usize]) = (&[256, 8], &[256, 4]);
    // 64 weights in 18 bytes, or 128 in 34.
    let small = tensors(42, &[(wide, 32 * 18), (tall, 16 * 18)]);
    assert_eq!(parsed(&small), Ok(vec![Storage::Q2_0; 2]));
    let large = tensors(42, &[(wide, 16 * 34), (tall, 8 * 34)]);
    assert_eq!(parsed(&large), Ok(vec![Storage::Pq2_0; 2]));
    // A tensor that both fit is as the others of its file are.
    let beside = tensors(42, &[(&[128, 1], 34), (wide, 16 * 34)]);
    assert_eq!(parsed(&beside), Ok(vec![Storage::Pq2_0; 2]));
    let both = parsed(&tensors(42, &[(&[128, 1], 34)])).unwrap_err();
    assert!(both.contains("t0") && both.contains("both fit"), "{both}");
    let neither = parsed(&tensors(42, &[(wide, 700)])).unwrap_err();
    assert!(
        neither.contains("t0") && neither.contains("neither"),
        "{neither}"
    );
    // Rows that blocks of 128 do not fill.
    let narrow = tensors(42, &[(&[64, 2], 36)]);
    assert_eq!(parsed(&narrow), Ok(vec![Storage::Q2_0]));
    let newer = tensors(142, &[(wide, 16 * 34)]);
    assert_eq!(parsed(&newer), Ok(vec![Storage::Pq2_0]));
}

#[test]
fn tensors_in_each_other_are_refused() {
    // A fork has a type of 0.21 bytes a weight under MXFP4's number.
    let shape: &[usize] = &[256, 8];
    let e = parsed(&tensors(39, &[(shape, 430); 3])).unwrap_err();
    assert!(e.contains("MXFP4 (39)") && e.contains("t1"), "{e}");
    let mut short = tensors(0, &[(&[32, 2], 256)]);
    short.truncate(short.len() - 8);
    let e = parsed(&short).unwrap_err();
    assert!(e.contains("t0") && e.contains("broken download"), "{e}");
}

/// A matrix of random blocks of a low-bit type.
fn low_bit(kind: u32, rows: usize, cols: usize, seed: u32) -> Vec<u8> {
    let (weights, size, scale) = match kind {
        35 => (256, 66, 64),
        41 => (128, 18, 0),
        42 => (64, 18, 0),
        142 => (128, 34, 0),
        143 => (128, 28, 26),
        other => panic!("no block of type {other}"),
    };
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut out = Vec::new();
    for _ in 0..rows * cols / weights {
        let mut block: Vec<u8> = (0..size).map(|_| random()).collect();
        if [35, 42, 142].contains(&kind) {
            // No code is 3.
            block
                .iter_mut()
                .for_each(|b| *b &= !((*b & *b >> 1 & 0x55) << 1));
        }
        let d = half::f16::from_f32(0.05 + f32::from(random()) / 2560.0);
        block[scale..scale + 2].copy_from_slice(&d.to_le_bytes());
        out.extend(block);
    }
    out
}

/// As Bonsai's: every matrix in one type, embedding and head too.
fn all_low_bit(kind: u32, tied: bool) -> Gguf {
    let shape = Llama {
        hidden: 256,
        ffn: 512,
        layers: 2,
        heads: 8,
        head_dim: Some(64),
        qk_norm: true,
        real: true,
        tied,
        ..Llama::default()
    };
    let model = Model::new(Tokenizer::byte_level(&[]), shape, Chain::default());
    let mut file = model.gguf_of("qwen3");
    for (i, t) in file.tensors.iter_mut().enumerate() {
        if let [cols, rows] = t.dims[..] {
            t.kind = kind;
            t.bytes = low_bit(kind, rows, cols, i as u32);
        }
    }
    file
}

fn written(gguf: &Gguf, options: &Options) -> (Vec<u8>, Report) {
    let mut sink = MemorySink::default();
    let report = pollster::block_on(import(&input(gguf), options, &mut sink, &mut |_| {}));
    (sink.bytes, report.unwrap())
}

/// Logits of a prompt, and the tokens that follow it.
fn run(bytes: &[u8], backend: Box<dyn Backend>) -> (Vec<f32>, Vec<u32>) {
    let source = MemorySource::new("m", bytes.to_vec());
    let prompt = [70, 3, 91, 200, 17];
    pollster::block_on(async {
        // This crate once more, as others see it.
        let file = ternary_formats::onebit::OneBit::open(&source)
            .await
            .unwrap();
        let mut model = ternary_infer::Model::load(backend, &file, &source, &mut |_| {})
            .await
            .unwrap();
        let mut logits = Vec::new();
        let take = &mut |rows: &[f32]| logits.extend_from_slice(rows);
        model.logits(&prompt, take).await.unwrap();
        model.truncate(0);
        let (mut next, mut said) = (prompt.to_vec(), Vec::new());
        for _ in 0..8 {
            let found = model.feed(&next, &[], 1.0).await.unwrap();
            let best = found.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            said.push(best.0);
            next = vec![best.0];
        }
        (logits, said)
    })
}

fn close(found: &[f32], want: &[f32], tolerance: f64) {
    let square = |v: f32| f64::from(v) * f64::from(v);
    let size: f64 = want.iter().map(|v| square(*v)).sum();
    let error: f64 = found.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    assert!(found.len() == want.len() && size > 1.0 && error.is_finite());
    let error = (error / size).sqrt();
    assert!(error <= tolerance, "relative error {error}");
}

#[test]
fn low_bit_embeddings_and_heads_are_kept_and_say_what_their_values_say() {
    for (kind, tied, mode, group) in [
        (35, false, QuantMode::Ternary, 256),
        (41, true, QuantMode::Binary, 128),
        (42, false, QuantMode::Ternary, 64),
        (142, true, QuantMode::Ternary, 128),
        (143, false, QuantMode::Ternary, 128),
    ] {
        let file = all_low_bit(kind, tied);
        let floats = Options {
            int8_activations: Some(false),
            ..Options::default()
        };
        let (kept, report) = written(&file, &floats);
        let mut map = LayerBitMap::sandwich(2, mode);
        (map.embedding, map.lm_head) = (mode, mode);
        assert_eq!(report.config.bit_map(), map, "type {kind}");
        assert_eq!(report.config.weight_group_size, group);
        // Scales stay the F16 numbers that they are.
        let source = MemorySource::new("m", kept.clone());
        let opened = pollster::block_on(OneBit::open(&source)).unwrap();
        // Where a row is one group, the scale is the row's.
        let groups = |t: &&TensorEntry| t.shape.len() == 2 && t.shape[1] > group as u64;
        for t in opened.tensors.iter().filter(groups) {
            let per_weight = t.length as f64 / t.shape.iter().product::<u64>() as f64;
            let bits = mode.bits() + 16.0 / group as f64;
            assert_eq!(t.scale, ScalePer::GroupF16);
            assert!(8.0 * per_weight < bits + 0.01, "type {kind}: {per_weight}");
        }
        assert_eq!(report.source_bytes, file.to_bytes().len() as u64);

        // The same numbers as floats.
        let mut map = LayerBitMap::sandwich(2, QuantMode::F32);
        (map.embedding, map.lm_head) = (QuantMode::F32, QuantMode::F32);
        let dense = Options {
            bit_map: Some(serde_json::to_string(&map).unwrap()),
            ..floats
        };
        let cpu = || Box::new(CpuBackend::new(1));
        let (want, said) = run(&written(&file, &dense).0, cpu());
        let (found, again) = run(&kept, cpu());
        close(&found, &want, 1e-5);
        assert_eq!(again, said, "type {kind}");
        if std::env::var("ONEBIT_GPU_TESTS").is_ok_and(|v| v == "off") {
            continue;
        }
        let gpu = pollster::block_on(GpuBackend::new(&BackendOptions::default())).unwrap();
        let (found, again) = run(&kept, Box::new(gpu));
        close(&found, &want, 1e-5);
        assert_eq!(again, said, "type {kind} on the GPU");
    }
}

#[test]
fn a_low_bit_embedding_stays_beside_another_head() {
    let mut file = all_low_bit(35, false);
    let head = file.tensors.iter_mut().find(|t| t.name == "output.weight");
    let head = head.unwrap();
    // Q6_K, as llama.cpp's quantizer makes it.
    (head.kind, head.bytes) = (
        14,
        vec![0x11; head.dims.iter().product::<usize>() / 256 * 210],
    );
    let (bytes, report) = written(&file, &Options::default());
    let map = report.config.bit_map();
    let ends = (map.embedding, map.lm_head);
    assert_eq!(ends, (QuantMode::Ternary, QuantMode::F16));
    let found = pollster::block_on(survey(&input(&file), &Options::default())).unwrap();
    assert_eq!(found.kept, Some(bytes.len() as u64));
    assert_eq!(found.source_bytes, report.source_bytes);
    for (head, size) in found.sizes {
        let options = Options {
            head,
            keep_head: false,
            ..Options::default()
        };
        let (bytes, report) = written(&file, &options);
        assert_eq!(report.config.bit_map().embedding, head);
        assert_eq!(bytes.len() as u64, size);
    }
}

#[test]
fn two_bit_matrices_with_a_fourth_value_are_floats() {
    let mut file = all_low_bit(42, true);
    file.tensors[0].bytes[5] = 3;
    let (_, report) = written(&file, &Options::default());
    let map = report.config.bit_map();
    assert_eq!(map.embedding, QuantMode::F16);
    assert_eq!(map.layer_modes[0], LayerMode::Whole(QuantMode::Ternary));
}

/// A file with this vocabulary and no word on how texts are cut.
fn unnamed(tokens: &[&str], fill: usize) -> Gguf {
    let mut all: Vec<String> = (0..fill).map(|i| format!("t{i}")).collect();
    all.extend(tokens.iter().map(|t| (*t).to_owned()));
    let tokens = all.into_iter().map(Meta::Str).collect();
    model("llama")
        .without("tokenizer.ggml.pre")
        .without("tokenizer.ggml.token_type")
        .with("tokenizer.ggml.tokens", Meta::Array(tokens))
        .with("tokenizer.ggml.merges", Meta::Array(vec!["t 0".into()]))
}

#[test]
fn a_missing_pre_tokenizer_is_guessed_where_the_tokens_leave_no_doubt() {
    for (tokens, fill, name) in [
        (vec!["<|begin_of_text|>", "<|eot_id|>"], 9, "llama-bpe"),
        (vec!["<|im_start|>", "<|endoftext|>"], 150_000, "qwen2"),
        (vec!["[INST]", "[AVAILABLE_TOOLS]"], 131_070, "tekken"),
        (vec!["<repo_name>", "<|endoftext|>"], 49_150, "smollm"),
        (vec!["<|endoftext|>"], 50_256, "gpt-2"),
        (vec!["<|endoftext|>"], 50_000, ""),
    ] {
        // Only the vocabulary's keys are read.
        let file = Gguf {
            meta: unnamed(&tokens, fill).meta,
            tensors: Vec::new(),
        };
        let bytes = file.to_bytes();
        let parsed = parse(&bytes, bytes.len() as u64, 0).unwrap();
        let mut warnings = Vec::new();
        let found = super::read_vocab::tokenizer(&parsed, None, &mut warnings);
        if name.is_empty() {
            let e = found.unwrap_err().to_string();
            let words = [
                "tokenizer.ggml.pre",
                "Hugging Face folder",
                "--pre-tokenizer",
            ];
            assert!(words.iter().all(|word| e.contains(word)), "{e}");
            continue;
        }
        // The merge of one letter is refused after the way was found.
        assert!(
            warnings[0].contains(&format!("by its tokens it is `{name}`")),
            "{warnings:?}"
        );
    }
}

#[test]
fn sentence_piece_begins_texts_where_it_usually_does() {
    let tokenizer = Tokenizer::sentence_piece(&["ab"], ternary_scripted::SentencePiece::default());
    let keys = tokenizer.keys();
    let scores = (0..keys.len()).map(|i| Meta::F32(-(i as f32))).collect();
    let kinds = keys.iter().enumerate().map(|(i, key)| match i {
        0 => Meta::I32(2),
        1 | 2 => Meta::I32(3),
        _ if key.starts_with("<0x") => Meta::I32(6),
        _ => Meta::I32(1),
    });
    let file = Gguf::default()
        .with("tokenizer.ggml.model", "llama")
        .with("tokenizer.ggml.token_type", Meta::Array(kinds.collect()))
        .with("tokenizer.ggml.scores", Meta::Array(scores))
        .with("tokenizer.ggml.add_eos_token", true)
        .with(
            "tokenizer.ggml.tokens",
            Meta::Array(keys.into_iter().map(Meta::Str).collect()),
        );
    let bytes = file.to_bytes();
    let parsed = parse(&bytes, bytes.len() as u64, 0).unwrap();
    let mut warnings = Vec::new();
    let json = super::read_vocab::tokenizer(&parsed, None, &mut warnings);
    let json = json.unwrap().unwrap();
    let read = ternary_common::tokenizer::Tokenizer::from_json(&json).unwrap();
    assert_eq!(read.encode_document("ab").unwrap()[0], 1);
    assert!(warnings[0].contains("add_eos_token"), "{warnings:?}");
}

/// What files say of windows and of RoPE beside what the models of the zoo have.
#[test]
fn windows_and_yarn_mean_what_llama_cpp_takes_them_for() {
    let llama = model("llama");
    let windowed = llama
        .clone()
        .with("llama.attention.sliding_window", Meta::U32(16));
    let found = config(&windowed);
    assert_eq!(found.sliding_window, Some(16));
    assert_eq!(found.windowed_layers, None);
    let qwen = model("qwen3").with("qwen3.attention.sliding_window", Meta::U32(16));
    refused(&qwen, &["qwen3.attention.sliding_window", "16"]);
    let yarn = llama
        .clone()
        .with("llama.rope.scaling.type", "yarn")
        .with("llama.rope.scaling.factor", 4.0)
        .with("llama.rope.scaling.original_context_length", Meta::U32(128));
    let want = |attention_factor, beta_fast| {
        Some(RopeScaling::Yarn {
            factor: 4.0,
            original_max_position_embeddings: 128,
            beta_fast,
            beta_slow: 1.0,
            attention_factor,
            truncate: true,
        })
    };
    let temperature = (1.0 + 0.1 * 4f64.ln()) as f32;
    assert_eq!(config(&yarn).rope_scaling, want(temperature, 32.0));
    let more = yarn
        .with("llama.rope.scaling.yarn_beta_fast", 16.0)
        .with("llama.rope.scaling.attn_factor", 2.0);
    assert_eq!(config(&more).rope_scaling, want(2.0 * temperature, 16.0));
    let other = llama.with("llama.rope.scaling.type", "dynamic");
    refused(
        &other,
        &["llama.rope.scaling.type", "`dynamic`", "longrope"],
    );
}
