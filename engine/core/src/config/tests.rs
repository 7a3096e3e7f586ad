use super::*;

#[test]
fn seed_defaults_are_the_bare_struct() {
    let c = ModelConfig::from_json("{}").unwrap();
    assert_eq!(c, ModelConfig::default());
    assert_eq!((c.vocab_size, c.hidden_size, c.num_heads), (50257, 512, 8));
    assert_eq!(c.kv_heads(), 8);
    assert!(c.use_qk_norm && c.use_residual_scaling && c.use_dynamic_threshold);
    assert!(!c.use_swiglu && !c.use_rope);
    let map = c.bit_map();
    assert_eq!(
        (map.embedding, map.lm_head),
        (QuantMode::F16, QuantMode::F16)
    );
    assert_eq!(map.layer_modes.len(), 6);
    assert_eq!(map.layer_modes[0].get(MatrixKind::Q), QuantMode::Ternary);
}

#[test]
fn use_ternary_false_means_binary_body_unless_a_map_is_given() {
    let c = ModelConfig::from_json(r#"{"use_ternary": false}"#).unwrap();
    assert_eq!(
        c.bit_map().layer_modes[3].get(MatrixKind::Up),
        QuantMode::Binary
    );
    let c = ModelConfig::from_json(
        r#"{"use_ternary": false, "num_layers": 1, "layer_bit_map":
            {"embedding": "f16", "layer_modes": ["EightBit"], "lm_head": "f16"}}"#,
    )
    .unwrap();
    assert_eq!(
        c.bit_map().layer_modes[0].get(MatrixKind::Up),
        QuantMode::EightBit
    );
}

#[test]
fn an_unknown_field_names_the_nearest_one() {
    let e = ModelConfig::from_json(r#"{"hiden_size": 64}"#).unwrap_err();
    assert!(e.to_string().contains("`hidden_size`"), "{e}");
    let train = |json: serde_json::Value| TrainConfig::from_value(json).unwrap_err().to_string();
    let e = train(serde_json::json!({"learning_rat": 1}));
    assert!(e.contains("did you mean `lr`?"), "{e}");
    let e = ModelConfig::from_json(r#"{"num_hidden_layers": 2}"#).unwrap_err();
    assert!(e.to_string().contains("did you mean `num_layers`?"), "{e}");
    // What is like nothing is not guessed at.
    for field in ["architectures", "foo", "training.lr"] {
        let e = owner(field).unwrap_err().to_string();
        assert!(e.contains(field) && !e.contains("did you mean"), "{e}");
        assert!(e.contains("docs/configurations.md"), "{e}");
    }
}

#[test]
fn a_value_of_another_type_is_named_with_its_field() {
    let e = TrainConfig::from_value(serde_json::json!({"max_steps": 5, "lr": "abc"})).unwrap_err();
    for word in ["train config", "`lr`", "abc"] {
        assert!(e.to_string().contains(word), "{e}");
    }
    let e = ModelConfig::from_json(r#"{"num_layers": 2, "num_heads": -4}"#).unwrap_err();
    for word in ["model config", "`num_heads`", "-4"] {
        assert!(e.to_string().contains(word), "{e}");
    }
}

#[test]
fn clashes_name_their_numbers() {
    for (json, needles) in [
        (r#"{"hidden_size": 100, "num_heads": 7}"#, vec!["100", "7"]),
        (r#"{"num_heads": 8, "num_kv_heads": 3}"#, vec!["8", "3"]),
        (r#"{"num_layers": 0}"#, vec!["num_layers"]),
        (
            r#"{"num_layers": 2, "layer_bit_map": {"embedding": "f16", "layer_modes": ["ternary"], "lm_head": "f16"}}"#,
            vec!["1", "2"],
        ),
        (
            r#"{"num_layers": 1, "layer_bit_map": {"embedding": "f16", "layer_modes": ["quaternary"], "lm_head": "f16"}}"#,
            vec!["quaternary", "ternary"],
        ),
        (
            r#"{"num_layers": 1, "layer_bit_map": {"embedding": "f16", "layer_modes": [{"q": "f16"}], "lm_head": "f16"}}"#,
            vec!["missing field"],
        ),
        (
            r#"{"num_layers": 1, "layer_bit_map": {"embedding": "f16", "layer_modes": ["ternary"], "lm_head": "eightbit"}}"#,
            vec!["tie_word_embeddings"],
        ),
        (r#"{"anneal_fraction": 2}"#, vec!["anneal_fraction", "2"]),
        (
            r#"{"weight_scale": "group", "hidden_size": 96, "num_heads": 4}"#,
            vec!["96", "128"],
        ),
    ] {
        let e = ModelConfig::from_json(json).unwrap_err().to_string();
        for n in needles {
            assert!(e.contains(n), "{json}: {e} lacks {n}");
        }
    }
}

#[test]
fn embedding_and_head_may_have_any_mode() {
    for mode in QuantMode::ALL {
        let mut map = LayerBitMap::sandwich(1, QuantMode::Ternary);
        (map.embedding, map.lm_head) = (mode, mode);
        let config = ModelConfig {
            num_layers: 1,
            layer_bit_map: Some(map),
            ..ModelConfig::default()
        };
        config.validate().unwrap();
    }
}

#[test]
fn a_map_survives_json() {
    let text = r#"{"embedding":"f16","layer_modes":["binary",{"q":"ternary","k":"f16","v":"eightbit","o":"binary","gate":"ternary","up":"ternary","down":"f16"}],"lm_head":"eightbit"}"#;
    let map = LayerBitMap::from_json(text, 2).unwrap();
    assert_eq!(serde_json::to_string(&map).unwrap(), text);
}

#[test]
fn a_bad_map_is_refused_with_its_line() {
    let map = |modes: &str| {
        format!(
            "{{\n \"perplexity\": 3,\n \"layer_bit_map\": {{\n  \"embedding\": \"f16\",\n  \"layer_modes\": [{modes}],\n  \"lm_head\": \"f16\"\n }}\n}}"
        )
    };
    let good = map(
        "\"ternary\", {\"q\": \"f16\", \"k\": \"f16\", \"v\": \"f16\", \"o\": \"f16\", \"up\": \"binary\", \"down\": \"f16\"}",
    );
    assert!(LayerBitMap::from_json(&good, 2).is_ok());
    for (text, layers, needles) in [
        (
            map("\"ternary\""),
            2,
            vec!["line 5", "length 1", "num_layers is 2"],
        ),
        (
            map("\"binary\",\n\"int4\""),
            2,
            vec!["line 6", "int4", "f16, eightbit, ternary, binary"],
        ),
        (
            map("\n{\"q\": \"f16\",\n\"k\": \"f16\"}"),
            1,
            vec!["missing field `v`", "line 7"],
        ),
        (
            map("{\"q\": \"f16\",\n\"query\": \"f16\"}"),
            1,
            vec!["query", "line 6", "expected"],
        ),
        (map("3"), 1, vec!["line 5", "a mode's name or an object"]),
        (
            "{\"embedding\": \"f16\",\n\"layer_modes\": []}".into(),
            0,
            vec!["missing field `lm_head`", "line 2"],
        ),
        ("[1,\n".into(), 1, vec!["line 1"]),
    ] {
        let e = LayerBitMap::from_json(&text, layers)
            .unwrap_err()
            .to_string();
        for n in needles {
            assert!(e.contains(n), "{text}: {e} lacks {n}");
        }
    }
}

#[test]
fn schedule_warms_up_and_decays() {
    let mut c = TrainConfig {
        lr: 1.0,
        lr_warmup_steps: 10,
        max_steps: 110,
        lr_min_ratio: 0.0,
        ..TrainConfig::default()
    };
    assert!((c.lr_at(0) - 0.1).abs() < 1e-12);
    assert!((c.lr_at(9) - 1.0).abs() < 1e-12);
    assert!((c.lr_at(60) - 0.5).abs() < 1e-12);
    c.lr_decay = LrDecay::Linear;
    assert!((c.lr_at(35) - 0.75).abs() < 1e-12);
    c.lr_decay = LrDecay::Constant;
    assert!((c.lr_at(109) - 1.0).abs() < 1e-12);
}

#[test]
fn sizes_that_would_overflow_or_divide_by_zero_are_refused() {
    let refuse = |config: ModelConfig, word: &str| {
        let e = config.validate().unwrap_err().to_string();
        assert!(e.contains(word), "{e}");
    };
    let c = ModelConfig::default;
    refuse(
        ModelConfig {
            intermediate_size: (1 << 17) + 1,
            ..c()
        },
        "intermediate_size is 131073",
    );
    refuse(
        ModelConfig {
            num_layers: 5000,
            ..c()
        },
        "num_layers is 5000",
    );
    refuse(
        ModelConfig {
            hidden_size: 1 << 17,
            vocab_size: 1 << 24,
            ..c()
        },
        "weights",
    );
    refuse(
        ModelConfig {
            rms_norm_eps: 0.0,
            ..c()
        },
        "rms_norm_eps is 0",
    );
    let e = TrainConfig {
        eps: 0.0,
        ..TrainConfig::default()
    };
    assert!(e.validate().unwrap_err().to_string().contains("eps is 0"));
}

#[test]
fn every_shipped_configuration_is_valid() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let training = value.as_object_mut().unwrap().shift_remove("training");
        let config = ModelConfig::from_value(value).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let train =
            TrainConfig::from_value(training.unwrap()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert!(train.lr_warmup_steps < train.max_steps, "{path:?}");
        assert_eq!(
            config.bit_map().layer_modes.len(),
            config.num_layers,
            "{path:?}"
        );
    }
    assert!(seen >= 7, "{seen} configurations found");
}

/// Frequencies of a head of 16, θ = 500000, as transformers 5.23 computes them in f32.
#[test]
fn rope_scaling_gives_the_frequencies_of_transformers() {
    let config = |rope_scaling| ModelConfig {
        hidden_size: 64,
        num_heads: 4,
        use_rope: true,
        rope_theta: 500_000.0,
        rope_scaling: Some(rope_scaling),
        ..ModelConfig::default()
    };
    let llama3 = config(RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    });
    let linear = config(RopeScaling::Linear { factor: 8.0 });
    let llama3_frequencies = [
        1.0,
        0.193_922_76,
        0.037_606_03,
        0.007_292_665,
        0.000_524_846,
        3.428_102_4e-5,
        6.647_869_7e-6,
        1.289_173_2e-6,
    ];
    for (j, want) in llama3_frequencies.into_iter().enumerate() {
        let found = llama3.rope_frequency(j);
        assert!(
            (found / want - 1.0).abs() < 1e-6,
            "{j}: {found}, not {want}"
        );
        let plain = ModelConfig {
            rope_scaling: None,
            ..linear.clone()
        };
        assert_eq!(linear.rope_frequency(j), plain.rope_frequency(j) / 8.0);
        let factors = (1..=8).map(|n| n as f32).collect();
        let factors = config(RopeScaling::Factors { factors });
        assert_eq!(
            factors.rope_frequency(j),
            plain.rope_frequency(j) / (j + 1) as f64
        );
    }
    llama3.validate().unwrap();
    let refused = |scaling, word: &str| {
        let e = config(scaling).validate().unwrap_err().to_string();
        assert!(e.contains(word), "{e}");
    };
    refused(RopeScaling::Linear { factor: 0.0 }, "factor is 0");
    let factors = vec![1.0; 7];
    refused(RopeScaling::Factors { factors }, "7 factors");
    let factors = vec![f32::NAN; 8];
    refused(RopeScaling::Factors { factors }, "above 0");
    let absolute = ModelConfig {
        use_rope: false,
        ..linear
    };
    assert!(
        absolute
            .validate()
            .unwrap_err()
            .to_string()
            .contains("use_rope")
    );
    let written = serde_json::to_value(&llama3).unwrap();
    assert_eq!(written["rope_scaling"]["type"], "llama3");
    assert_eq!(ModelConfig::from_value(written).unwrap(), llama3);
}

#[test]
fn a_rate_that_nothing_would_use_is_refused() {
    let refused = |json| TrainConfig::from_value(json).unwrap_err().to_string();
    let e = refused(serde_json::json!({"muon_lr": 0.02}));
    assert!(e.contains("muon_lr") && e.contains("optimizer"), "{e}");
    TrainConfig::from_value(serde_json::json!({"muon_lr": 0.02, "optimizer": "muon"})).unwrap();
}
