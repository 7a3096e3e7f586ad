//! Folders and files as they are found: pointers, leftovers, parts, old keys.

use serde_json::json;
use ternary_scripted::{i2_s, write_safetensors};

use crate::common::line;
use crate::support::*;

const PT: [(&str, &str); 1] = [("format", "pt")];

fn yes() -> Model {
    reply(&["Yes", " sir"])
}

/// A model of which every part counts.
fn real(shape: Llama) -> Model {
    Model::new(Tokenizer::byte_level(&[]), shape, Chain::default()).template(CHATML)
}

#[test]
fn microsofts_bitnet_without_a_pre_tokenizer_is_split_as_llama_3() {
    let place = Place::new();
    let tokenizer =
        Tokenizer::byte_level_with(&[], &["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]);
    let shape = Llama {
        tied: true,
        sub_norms: true,
        ..Llama::real()
    };
    let model = Model::new(tokenizer, shape, Chain::default());
    for architecture in ["bitnet-b1.58", "bitnet-25"] {
        for pre in [None, Some("default"), Some("llama-bpe")] {
            let mut gguf = Gguf::new(architecture, &model.shape, model.tokenizer.len())
                .bpe_vocab(&model.tokenizer, pre)
                .with(
                    "tokenizer.ggml.bos_token_id",
                    model.tokenizer.id("<|begin_of_text|>"),
                )
                .with(
                    "tokenizer.ggml.eos_token_id",
                    model.tokenizer.id("<|end_of_text|>"),
                )
                .with("tokenizer.ggml.add_bos_token", true);
            for (name, tensor) in &model.weights.0 {
                let matrix = tensor.shape.len() == 2;
                let (kind, bytes) = match matrix {
                    true if name.contains("embed") => (1, tensor.to_f16().bytes),
                    true => (36, i2_s(tensor, 0.02)),
                    false => (0, tensor.bytes.clone()),
                };
                gguf.push(name, tensor, kind, bytes);
            }
            gguf.write(&place.at("model.gguf"));
            let out = place.import("model.gguf", &["--json"]).ok();
            let said = out.stderr.contains("llama-bpe");
            assert_eq!(said, pre != Some("llama-bpe"), "{}", out.stderr);
            place.run(&["eval", "--model", "m.1bit", "--data", "t.txt"]);
            let info = place.run(&["inspect", "m.1bit", "--json"]).ok().json();
            assert_eq!(info["config"]["activation_bits"], 8);
            place.generate("12345");
        }
    }
}

#[test]
fn common_pre_tokenizers_of_gguf_files_are_known() {
    let place = Place::new();
    let model = reply(&["Fine", ", thanks"]);
    for pre in [
        "default",
        "smollm",
        "tekken",
        "deepseek-llm",
        "deepseek-coder",
        "llama-bpe",
        "llama3",
        "gpt-2",
        "qwen2",
        "refact",
        "starcoder",
        "gpt-4o",
        "command-r",
        "olmo",
        "dbrx",
        "falcon",
        "deepseek-v3",
    ] {
        model
            .gguf()
            .with("tokenizer.ggml.pre", pre)
            .write(&place.at("model.gguf"));
        place.import("model.gguf", &[]).ok();
        assert_eq!(place.generate("Hello!"), "Fine, thanks", "{pre}");
    }
    // What is not known is refused before any weight is read, with a way out.
    model
        .gguf()
        .with("tokenizer.ggml.pre", "unheard-of")
        .write(&place.at("model.gguf"));
    place.import("model.gguf", &[]).fails(&[
        "unheard-of",
        "Hugging Face folder",
        "--pre-tokenizer",
    ]);
    place
        .import("model.gguf", &["--pre-tokenizer", "nonsense"])
        .fails(&["nonsense", "smollm"]);
    place
        .import("model.gguf", &["--pre-tokenizer", "llama-bpe"])
        .ok();
    assert_eq!(place.generate("Hello!"), "Fine, thanks");
    let missing = model.gguf().without("tokenizer.ggml.pre");
    missing.write(&place.at("model.gguf"));
    place
        .import("model.gguf", &[])
        .fails(&["tokenizer.ggml.pre", "missing", "--pre-tokenizer"]);
    place
        .import("model.gguf", &["--pre-tokenizer", "gpt-2"])
        .ok();
}

/// An option that means nothing for the files that are given is refused, not ignored.
#[test]
fn options_for_other_files_are_refused() {
    let place = Place::new();
    let model = reply(&["Fine,", " thanks"]);
    model.write_hf(&place.at("model"));
    model.gguf().write(&place.at("model.gguf"));
    for (input, option, value, words) in [
        (
            "model",
            "--pre-tokenizer",
            "qwen2",
            "GGUF file's vocabulary",
        ),
        ("model.gguf", "--ignore-key", "flavor", "config.json"),
        ("model", "--ignore-key", "flavor", "no such field"),
        ("model", "--ignore-key", "hidden_size", "reads this field"),
        ("model", "--revision", "v1", "repository of the hub"),
        ("model.gguf", "--revision", "main", "repository of the hub"),
        (
            "model.gguf",
            "--download-dir",
            "hub",
            "repository of the hub",
        ),
        ("model", "--retry-pause", "5", "repository of the hub"),
    ] {
        let out = place.import(input, &[option, value]);
        out.fails(&[option, words]);
    }
    place.import("model", &[]).ok();
}

#[test]
fn lfs_pointers_and_web_pages_are_called_by_their_name() {
    let place = Place::new();
    for (text, words) in [
        (LFS_POINTER, ["Git LFS pointer", "git lfs pull"]),
        (HTML_PAGE, ["HTML page", "download"]),
        ("Entry not found", ["error message", "download"]),
    ] {
        for file in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "generation_config.json",
            "chat_template.jinja",
            "model.safetensors",
        ] {
            let mut model = yes().setting("eos_token", json!("<|end|>"));
            model.generation = Some(json!({}));
            let folder = place.at("folder");
            let _ = std::fs::remove_dir_all(&folder);
            model.write_hf(&folder);
            put(&folder.join(file), text);
            place
                .import("folder", &[])
                .fails(&[file, words[0], words[1]]);
        }
        let folder = place.at("folder");
        std::fs::remove_dir_all(&folder).unwrap();
        yes().write_hf_parts(&folder, 2);
        put(&folder.join("model-00002-of-00002.safetensors"), text);
        place
            .import("folder", &[])
            .fails(&["model-00002-of-00002.safetensors", words[0]]);
        put(&folder.join("model.safetensors.index.json"), text);
        place
            .import("folder", &[])
            .fails(&["model.safetensors.index.json", words[0]]);
        for file in [
            "m.gguf",
            "m.safetensors",
            "stories.1bit",
            "t.tokens",
            "blob",
        ] {
            put(&place.at(file), text);
            place.import(file, &[]).fails(&[file, words[0], words[1]]);
            place
                .run(&["inspect", file])
                .fails(&[file, words[0], words[1]]);
            place
                .run(&["generate", "--model", file, "--prompt", "x"])
                .fails(&[file, words[0]]);
        }
        yes().write_hf(&place.at("good"));
        put(&place.at("map.json"), text);
        place
            .import("good", &["--bit-map", "map.json"])
            .fails(&[words[0]]);
        place.import("good", &[]).ok();
        let adapter = place.at("adapter");
        put(
            &adapter.join("adapter_config.json"),
            r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}"#,
        );
        put(&adapter.join("adapter_model.safetensors"), text);
        let with_adapter = [
            "generate",
            "--model",
            "m.1bit",
            "--prompt",
            "x",
            "--adapter",
            "adapter",
        ];
        place
            .run(&with_adapter)
            .fails(&["adapter_model.safetensors", words[0]]);
        put(&adapter.join("adapter_config.json"), text);
        place
            .run(&with_adapter)
            .fails(&["adapter_config.json", words[0]]);
    }
    // A file of another kind is called by its kind, with the command that takes it.
    yes().gguf().write(&place.at("model.gguf"));
    place
        .run(&["inspect", "model.gguf"])
        .fails(&["a GGUF model", "onebit import"]);
    place
        .run(&["generate", "--model", "model.gguf", "--prompt", "x"])
        .fails(&["a GGUF model"]);
    place
        .import("m.1bit", &[])
        .fails(&["a .1bit model", "--model"]);
}

#[test]
fn a_whole_model_is_taken_beside_an_index_left_over() {
    let place = Place::new();
    let model = yes();
    model.write_hf(&place.at("stale"));
    let map: serde_json::Map<String, serde_json::Value> = model
        .weights
        .0
        .iter()
        .map(|(name, _)| (name.clone(), json!("model-00001-of-00002.safetensors")))
        .collect();
    let index = json!({"metadata": {}, "weight_map": map});
    put(
        &place.at("stale/model.safetensors.index.json"),
        index.to_string(),
    );
    let out = place.import("stale", &[]).ok();
    assert!(out.stderr.contains("index.json"), "{}", out.stderr);
    assert_eq!(place.generate("Hi!"), "Yes sir");
    // Also where the parts of the index are there, of another training: what transformers takes.
    let other = reply(&["Never", " that"]);
    other.write_hf_parts(&place.at("both"), 2);
    model.write_hf(&place.at("both"));
    place.import("both", &[]).ok();
    assert_eq!(place.generate("Hi!"), "Yes sir");
}

#[test]
fn parts_without_an_index_or_with_a_wrong_one_are_taken_together() {
    let place = Place::new();
    let model = yes();
    let folder = place.at("parts");
    model.write_hf_parts(&folder, 3);
    std::fs::remove_file(folder.join("model.safetensors.index.json")).unwrap();
    place.import("parts", &[]).ok();
    assert_eq!(place.generate("Hi!"), "Yes sir");
    // A part by its name stands for all.
    place
        .import("parts/model-00002-of-00003.safetensors", &[])
        .ok();
    // An index that calls the parts otherwise.
    let map: serde_json::Map<String, serde_json::Value> = model
        .weights
        .0
        .iter()
        .map(|(name, _)| {
            (
                name.clone(),
                json!("pytorch_model-00001-of-00002.safetensors"),
            )
        })
        .collect();
    put(
        &folder.join("model.safetensors.index.json"),
        json!({"weight_map": map}).to_string(),
    );
    let out = place.import("parts", &[]).ok();
    assert!(
        out.stderr.contains("pytorch_model-00001-of-00002"),
        "{}",
        out.stderr
    );
    assert_eq!(place.generate("Hi!"), "Yes sir");
    // What is missing is told by its name.
    std::fs::remove_file(folder.join("model-00002-of-00003.safetensors")).unwrap();
    place
        .import("parts", &[])
        .fails(&["pytorch_model-00001-of-00002", "download"]);
    std::fs::remove_file(folder.join("model.safetensors.index.json")).unwrap();
    place.import("parts", &[]).fails(&["part 2 of 3"]);
    model.write_hf_parts(&place.at("lost"), 2);
    std::fs::remove_file(place.at("lost/model-00001-of-00002.safetensors")).unwrap();
    place
        .import("lost", &[])
        .fails(&["model-00001-of-00002.safetensors", "not here"]);
}

#[test]
fn an_embedding_stored_as_the_head_is_found() {
    let place = Place::new();
    let shape = Llama {
        tied: true,
        ..Llama::real()
    };
    let model = real(shape);
    model.write_hf(&place.at("plain"));
    let expected = place.exact("plain");
    let mut weights = model.weights.clone();
    weights.rename("model.embed_tokens.weight", "lm_head.weight");
    let alias = [
        ("format", "pt"),
        ("model.embed_tokens.weight", "lm_head.weight"),
    ];
    for (tied, metadata) in [
        (json!(true), &alias[..]),
        (json!(true), &PT[..]),
        (json!(null), &alias[..]),
    ] {
        let model = model.clone().config("tie_word_embeddings", tied);
        model.write_hf_texts(&place.at("alias"));
        write_safetensors(&place.at("alias/model.safetensors"), &weights, metadata);
        assert_eq!(place.exact("alias"), expected);
        let info = place.run(&["inspect", "m.1bit", "--json"]).ok().json();
        assert_eq!(info["config"]["tie_word_embeddings"], true);
    }
}

#[test]
fn tensors_that_inference_does_not_need_are_left_out_by_their_role() {
    let place = Place::new();
    let layer = "model.layers.0.self_attn.";
    let leftovers = [
        (format!("{layer}cache"), Tensor::zeros(&[0])),
        (
            "model.position_ids".into(),
            Tensor::raw("I64", &[1, 4], vec![0; 32]),
        ),
        (
            format!("{layer}rotary_emb.inv_freq"),
            Tensor::f32(&[2], &[1.0, 0.5]),
        ),
        (
            "model.rotary_emb.inv_freq".into(),
            Tensor::raw("F64", &[2], vec![0; 16]),
        ),
        (
            format!("{layer}rotary_emb.cos_cached"),
            Tensor::raw("F32", &[1, 1, 2, 2], vec![0; 16]),
        ),
        (
            format!("{layer}bias"),
            Tensor::raw("BOOL", &[1, 1, 2, 2], vec![1; 4]),
        ),
        (format!("{layer}masked_bias"), Tensor::f32(&[], &[-1e4])),
        (
            "model.layers.0.mlp.unused_buffer".into(),
            Tensor::zeros(&[0, 4]),
        ),
    ];
    for (name, tensor) in leftovers {
        yes().tensor(&name, tensor).write_hf(&place.at("model"));
        let out = place.import("model", &[]).ok();
        assert!(out.stderr.contains(&name), "{name}: {}", out.stderr);
        assert_eq!(place.generate("Hi!"), "Yes sir");
    }
    // What could change the results is refused, whatever its type.
    for (name, tensor) in [
        ("model.layers.0.mlp.extra.weight", Tensor::ones(4)),
        ("model.layers.0.self_attn.sinks", Tensor::ones(4)),
        (
            "model.layers.0.self_attn.relative_ids",
            Tensor::raw("I64", &[1], vec![0; 8]),
        ),
    ] {
        yes().tensor(name, tensor).write_hf(&place.at("model"));
        place.import("model", &[]).fails(&[name, "unknown"]);
    }
    // A parameter is a parameter, whatever it looks like.
    let up = "model.layers.0.mlp.up_proj.weight";
    yes()
        .tensor(up, Tensor::zeros(&[0]))
        .write_hf(&place.at("model"));
    place.import("model", &[]).fails(&[up, "ZeRO-3"]);
    yes()
        .tensor(up, Tensor::raw("I32", &[256, 128], vec![0; 4 * 256 * 128]))
        .write_hf(&place.at("model"));
    place.import("model", &[]).fails(&[up, "I32"]);
}

#[test]
fn weights_saved_by_other_programs_are_the_same_weights() {
    let place = Place::new();
    let model = real(Llama::real());
    model.write_hf(&place.at("model"));
    let expected = place.exact("model");
    // In double precision.
    let mut doubles = real(Llama::real());
    for (_, tensor) in &mut doubles.weights.0 {
        let values = tensor.values();
        let bytes = values.iter().flat_map(|v| f64::from(*v).to_le_bytes());
        *tensor = Tensor::raw("F64", &tensor.shape.clone(), bytes.collect());
    }
    doubles.write_hf(&place.at("doubles"));
    assert_eq!(place.exact("doubles"), expected);
    // From inside torch.compile and data parallel, with a reward model's head, and with a RoPE that
    // is not scaled.
    for prefix in [
        "_orig_mod.",
        "module.",
        "_orig_mod.module.",
        "module._orig_mod.",
    ] {
        let mut wrapped = real(Llama::real());
        for (name, _) in &mut wrapped.weights.0 {
            *name = format!("{prefix}{name}");
        }
        wrapped
            .tensor("v_head.summary.weight", Tensor::ones(128))
            .tensor(&format!("{prefix}score.weight"), Tensor::zeros(&[2, 128]))
            .config("rope_scaling", json!({"type": "none"}))
            .write_hf(&place.at("wrapped"));
        assert_eq!(place.exact("wrapped"), expected, "{prefix}");
    }
}

#[test]
fn files_in_another_layout_are_told_what_is_wrong_with_them() {
    let place = Place::new();
    let model = yes();
    model.write_hf(&place.at("original"));
    std::fs::rename(
        place.at("original/model.safetensors"),
        place.at("original/consolidated.00.safetensors"),
    )
    .unwrap();
    let said = place
        .import("original", &[])
        .fails(&["consolidated.00.safetensors", "transformers"]);
    assert!(!said.stderr.contains("LoRA"), "{}", said.stderr);
    let mut bytes = model.gguf().to_bytes();
    bytes[4..8].reverse();
    put(&place.at("big.gguf"), bytes);
    place.import("big.gguf", &[]).fails(&["big-endian"]);
    for alignment in [0u32, 3] {
        model
            .gguf()
            .with("general.alignment", alignment)
            .write(&place.at("odd.gguf"));
        let number = alignment.to_string();
        place
            .import("odd.gguf", &[])
            .fails(&["general.alignment", &number, "power of two"]);
    }
    for (text, word) in [
        (&b"tjgg\x03\0\0\0\0\0\0\0"[..], "GGML"),
        (
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
            "XML",
        ),
    ] {
        put(&place.at("other.bin"), text);
        place.import("other.bin", &[]).fails(&[word]);
    }
    // What a config quotes may be long; the message is not.
    yes()
        .config("hidden_act", json!("x".repeat(100_000)))
        .write_hf(&place.at("long"));
    let said = place
        .import("long", &[])
        .fails(&["hidden_act", "characters"]);
    assert!(said.stderr.len() < 10_000, "{}", said.stderr.len());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_model() {
    let place = Place::new();
    let pipe = place.at("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    place.import("pipe", &[]).fails(&["pipe", "save"]);
}

#[test]
fn heads_wider_than_hidden_by_heads_run_everywhere() {
    let place = Place::new();
    let model = real(Llama {
        hidden: 64,
        head_dim: Some(32),
        ffn: 128,
        tied: true,
        qk_norm: true,
        ..Llama::real()
    });
    model.write_hf(&place.at("hf"));
    let expected = place.exact("hf");
    let info = place.run(&["inspect", "m.1bit", "--json"]).ok().json();
    assert_eq!(info["config"]["head_dim"], 32);
    // On a GPU, where there is one.
    let gpu = place.run(&[
        "logits",
        "--model",
        "m.1bit",
        "--ids",
        "10,20",
        "--output",
        "g.safetensors",
        "--device",
        "gpu",
    ]);
    if gpu.success {
        assert!(difference(&place.logits("gpu"), &expected) < 1e-3);
    } else {
        eprintln!("SKIPPED on the GPU: {}", gpu.stderr);
    }
    // Out and in again, both ways.
    place
        .run(&[
            "export",
            "--model-dir",
            "m.1bit",
            "--format",
            "gguf",
            "--output",
            "out.gguf",
        ])
        .ok();
    assert!(difference(&place.exact("out.gguf"), &expected) < 1e-4);
    place.import("hf", &["--head", "f32", "--body", "f32"]).ok();
    place
        .run(&[
            "export",
            "--model-dir",
            "m.1bit",
            "--format",
            "hf",
            "--output",
            "out-hf",
        ])
        .ok();
    assert!(difference(&place.exact("out-hf"), &expected) < 1e-4);
    // GGUF files of such models say so themselves.
    model.gguf_of("qwen3").write(&place.at("q.gguf"));
    assert!(difference(&place.exact("q.gguf"), &expected) < 1e-4);
    // Training, and a model in C.
    place.import("hf", &[]).ok();
    put(&place.at("t.txt"), "abc def ghi. ".repeat(200));
    place
        .run(&[
            "finetune",
            "--model",
            "m.1bit",
            "--data-dir",
            "t.txt",
            "--output-dir",
            "run",
            "--max-steps",
            "2",
            "--device",
            "cpu",
        ])
        .ok();
    place
        .run(&[
            "export",
            "--model-dir",
            "run",
            "--output",
            "tuned.1bit",
            "--emit-c-header",
        ])
        .ok();
    place
        .run(&[
            "generate",
            "--model",
            "tuned.1bit",
            "--prompt",
            "abc",
            "--max-tokens",
            "3",
        ])
        .ok();
}

#[test]
fn linear_rope_of_older_gguf_files_is_seen() {
    let place = Place::new();
    let model = real(Llama::real());
    let gguf = model.gguf();
    let exact = |gguf: Gguf| {
        gguf.write(&place.at("m.gguf"));
        place.exact("m.gguf")
    };
    let none = exact(gguf.clone());
    let typed = exact(
        gguf.clone()
            .with("llama.rope.scaling.type", "linear")
            .with("llama.rope.scaling.factor", 4.0),
    );
    assert!(difference(&none, &typed) > 1e-3);
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        assert_eq!(exact(gguf.clone().with(key, 4.0)), typed, "{key}");
        assert_eq!(exact(gguf.clone().with(key, 1.0)), none, "{key}");
        let off = gguf
            .clone()
            .with(key, 4.0)
            .with("llama.rope.scaling.type", "none");
        assert_eq!(exact(off), none, "{key}");
    }
}

#[test]
fn rope_parameters_are_read_in_every_versions_way() {
    let place = Place::new();
    let base = || {
        let mut model = real(Llama::real());
        model.config.as_object_mut().unwrap().remove("rope_theta");
        model
    };
    let exact = |model: Model| {
        model.write_hf(&place.at("m"));
        place.exact("m")
    };
    let rope = json!({"rope_type": "default", "rope_theta": 1e6});
    let types = json!(["full_attention", "full_attention"]);
    let old = exact(base().config("rope_theta", json!(1e6)));
    assert!(difference(&old, &exact(base())) > 1e-3);
    assert_eq!(exact(base().config("rope_parameters", rope.clone())), old);
    let nested = json!({"full_attention": rope});
    assert_eq!(
        exact(
            base()
                .config("rope_parameters", nested.clone())
                .config("layer_types", types.clone())
        ),
        old
    );
    assert_eq!(exact(base().config("rope_parameters", nested.clone())), old);
    // Of kinds of layers that the model does not have, nothing matters.
    let more = json!({"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}});
    assert_eq!(
        exact(
            base()
                .config("rope_parameters", more.clone())
                .config("layer_types", types.clone())
        ),
        old
    );
    // Scaling in either place, or both.
    let linear = json!({"rope_type": "linear", "factor": 4.0});
    let scaled = exact(
        base()
            .config("rope_theta", json!(1e6))
            .config("rope_scaling", json!({"type": "linear", "factor": 4.0})),
    );
    assert!(difference(&scaled, &old) > 1e-3);
    let whole = json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6});
    assert_eq!(
        exact(base().config("rope_parameters", whole.clone())),
        scaled
    );
    assert_eq!(
        exact(
            base()
                .config("rope_parameters", rope.clone())
                .config("rope_scaling", linear.clone())
        ),
        scaled
    );
    assert_eq!(
        exact(
            base()
                .config("rope_parameters", json!({"full_attention": whole}))
                .config("layer_types", types)
        ),
        scaled
    );
    // What differs by layer, or is not known, is refused by its name.
    let refuse = |model: Model, words: &[&str]| {
        model.write_hf(&place.at("m"));
        place.import("m", &[]).fails(words);
    };
    let mixed = json!(["full_attention", "sliding_attention"]);
    refuse(
        base()
            .config("rope_parameters", more)
            .config("layer_types", mixed.clone()),
        &["rope_parameters.sliding_attention"],
    );
    refuse(
        base()
            .config("rope_parameters", nested)
            .config("layer_types", mixed),
        &["sliding_attention", "missing"],
    );
    refuse(
        base().config(
            "rope_parameters",
            json!({"rope_type": "spiral", "factor": 2.0}),
        ),
        &["rope_type", "spiral"],
    );
    refuse(
        base().config("rope_scaling", json!({"factor": 2.0})),
        &["rope_type", "missing"],
    );
}

#[test]
fn tokens_that_the_model_has_no_rows_for_are_letters() {
    let place = Place::new();
    let specials = [
        "<|endoftext|>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|end|>",
        "<pad>",
    ];
    let tokenizer = Tokenizer::byte_level_with(&["Yes", " sir"], &specials);
    let rows = tokenizer.len() - 1;
    let chain = Chain::walk(
        &tokenizer,
        &["<|assistant|>", "!"],
        &["Yes", " sir"],
        "<|end|>",
    );
    let mut model = Model::new(tokenizer, Llama::default(), chain).template(CHATML);
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        let values = model.weights.get(name).values();
        model
            .weights
            .set(name, Tensor::f32(&[rows, 128], &values[..rows * 128]));
    }
    let model = model.config("vocab_size", json!(rows));
    model.write_hf(&place.at("model"));
    let out = place.import("model", &[]).ok();
    assert!(out.stderr.contains("<pad>"), "{}", out.stderr);
    assert_eq!(place.generate("a <pad> b!"), "Yes sir");
    put(&place.at("t.txt"), "a line <pad> <pad>\n".repeat(100));
    place
        .run(&[
            "eval", "--model", "m.1bit", "--data", "t.txt", "--device", "cpu",
        ])
        .ok();
    place
        .run(&[
            "export",
            "--model-dir",
            "m.1bit",
            "--format",
            "gguf",
            "--output",
            "out.gguf",
        ])
        .ok();
    place
        .run(&[
            "export",
            "--model-dir",
            "m.1bit",
            "--format",
            "hf",
            "--output",
            "out",
        ])
        .ok();
    place.import("out.gguf", &[]).ok();
    assert_eq!(place.generate("a <pad> b!"), "Yes sir");
}

#[test]
fn files_are_known_by_their_first_bytes() {
    let place = Place::new();
    let model = yes();
    let blob = "sha256-6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa";
    model.gguf().write(&place.at(blob));
    place.import(blob, &[]).ok();
    assert_eq!(place.generate("Hi!"), "Yes sir");
    model.gguf().write(&place.at("store/one.bin"));
    place.import("store", &[]).ok();
    assert_eq!(place.generate("Hi!"), "Yes sir");
    model.gguf().write(&place.at("MODEL.GGUF"));
    place.import("MODEL.GGUF", &[]).ok();
    model.write_hf(&place.at("hf"));
    std::fs::rename(place.at("hf/model.safetensors"), place.at("hf/weights.bin")).unwrap();
    place.import("hf/weights.bin", &[]).ok();
    assert_eq!(place.generate("Hi!"), "Yes sir");
    std::fs::rename(place.at("m.1bit"), place.at("model.bin")).unwrap();
    place.run(&["inspect", "model.bin"]).ok();
    put(&place.at("notes.txt"), "some notes");
    place.import("notes.txt", &[]).fails(&["--input takes"]);
}

#[test]
fn a_gguf_file_in_parts_is_put_together() {
    let place = Place::new();
    let shape = Llama {
        layers: 2,
        ..Llama::default()
    };
    let tokenizer = Tokenizer::byte_level(&["Yes", " sir"]);
    let chain = Chain::walk(
        &tokenizer,
        &["<|assistant|>", "!"],
        &["Yes", " sir"],
        "<|end|>",
    );
    let parts = Model::new(tokenizer, shape, chain).gguf().split(3);
    for (i, part) in parts.iter().enumerate() {
        part.write(&place.at(&format!("d/model-0000{}-of-00003.gguf", i + 1)));
    }
    for input in ["d/model-00001-of-00003.gguf", "d"] {
        place.import(input, &[]).ok();
        assert_eq!(place.generate("Hi!"), "Yes sir", "{input}");
    }
    place
        .import("d/model-00002-of-00003.gguf", &[])
        .fails(&["part 2 of 3", "part 1"]);
    std::fs::remove_file(place.at("d/model-00003-of-00003.gguf")).unwrap();
    place.import("d", &[]).fails(&["part 3 of 3", "not here"]);
    place
        .import("d/model-00001-of-00003.gguf", &[])
        .fails(&["part 3 of 3"]);
    // Two models are not one.
    yes().gguf().write(&place.at("two/a.gguf"));
    yes().gguf().write(&place.at("two/b.gguf"));
    place
        .import("two", &[])
        .fails(&["a.gguf", "b.gguf", "name the one"]);
}

#[test]
fn an_adapter_is_not_taken_for_a_model() {
    let place = Place::new();
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
    let mut weights = Weights::default();
    weights.set(&format!("{name}A.weight"), Tensor::zeros(&[8, 128]));
    weights.set(&format!("{name}B.weight"), Tensor::zeros(&[128, 8]));
    write_safetensors(&place.at("peft/adapter_model.safetensors"), &weights, &PT);
    let config = json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"],
        "base_model_name_or_path": "meta-llama/Llama-3.2-1B"});
    put(&place.at("peft/adapter_config.json"), config.to_string());
    let words = ["adapter", "not a model", "--adapter"];
    place
        .import("peft", &[])
        .fails(&[&words[..], &["meta-llama/Llama-3.2-1B"]].concat());
    place
        .import("peft/adapter_model.safetensors", &[])
        .fails(&words);
    place
        .run(&["generate", "--model", "peft", "--prompt", "x"])
        .fails(&words);
    place
        .run(&["inspect", "peft/adapter_model.safetensors"])
        .fails(&["safetensors", "--adapter"]);
    yes()
        .gguf()
        .with("general.type", "adapter")
        .write(&place.at("lora.gguf"));
    place.import("lora.gguf", &[]).fails(&words);
    // Beside a model of that shape it works.
    yes().write_hf(&place.at("model"));
    place.import("model", &[]).ok();
    place
        .run(&[
            "generate",
            "--model",
            "m.1bit",
            "--adapter",
            "peft",
            "--prompt",
            "Hi!",
            "--device",
            "cpu",
        ])
        .ok();
    // Modules may have been chosen by a pattern.
    let run = |config: &serde_json::Value| {
        put(&place.at("peft/adapter_config.json"), config.to_string());
        line(
            place.dir(),
            "generate --model m.1bit --adapter peft --prompt Hi! --device cpu",
        )
    };
    for pattern in ["all-linear", r".*\.q_proj"] {
        let mut config = config.clone();
        config["target_modules"] = json!(pattern);
        run(&config).ok();
    }
    let mut two = config.clone();
    two["target_modules"] = json!(["q_proj", "v_proj"]);
    run(&two).fails(&["no tensor", "v_proj"]);
    // A model's folder may have an adapter beside its weights.
    write_safetensors(&place.at("model/adapter_model.safetensors"), &weights, &PT);
    place.import("model", &[]).ok();
}

#[test]
fn a_byte_order_mark_is_skipped_in_every_json() {
    let place = Place::new();
    let mut model = yes().setting("eos_token", json!("<|end|>"));
    model.generation = Some(json!({"eos_token_id": model.tokenizer.id("<|end|>")}));
    let folder = place.at("model");
    model.write_hf_parts(&folder, 2);
    let bom = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        put(path, [b"\xef\xbb\xbf", bytes.as_slice()].concat());
    };
    for file in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
        "model.safetensors.index.json",
    ] {
        bom(&folder.join(file));
    }
    put(
        &place.at("map.json"),
        r#"{"embedding": "f16", "layer_modes": ["f16"], "lm_head": "f16"}"#,
    );
    bom(&place.at("map.json"));
    place.import("model", &["--bit-map", "map.json"]).ok();
    assert_eq!(place.generate("Hi!"), "Yes sir");
    assert!(
        place
            .chat("Hi\n/exit\n", &[])
            .ok()
            .stdout
            .contains("Yes sir")
    );
    let out = place.run(&[
        "generate",
        "--model",
        "m.1bit",
        "--bit-map",
        "map.json",
        "--prompt",
        "Hi!",
    ]);
    out.ok();
}
