//! The portable forward pass against the CPU backend, bit for bit, for every switch a model has.

use ternary::backend::cpu::CpuBackend;
use ternary::board::*;
use ternary::config::{
    Activation, LayerBitMap, MatrixKind, ModelConfig, NormKind, NormPlacement, QuantMode,
    RopeScaling,
};
use ternary::format::MemorySource;
use ternary::format::Metadata;
use ternary::format::{Dense, OneBit, Packing, encode};
use ternary::infer;
use ternary::params;
use ternary::rng::Rng;

/// A random model as a file.
pub(crate) fn file(config: &ModelConfig, packing: Packing, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let parameters = params::all(config)
        .into_iter()
        .map(|p| {
            let mut v = p.init(config, seed);
            if matches!(p.kind, params::ParamKind::Norm | params::ParamKind::Bias) {
                v.iter_mut().for_each(|w| *w += 0.2 * rng.normal());
            }
            (p.name, v)
        })
        .collect();
    let metadata = Metadata {
        config: config.clone(),
        ..Metadata::default()
    };
    encode(metadata, &parameters, packing, Dense::No).unwrap()
}

fn map(json: &str) -> Option<LayerBitMap> {
    Some(LayerBitMap::from_json(json, 2).unwrap())
}

/// Small models that together have every switch, mode and scale, with ragged sizes.
pub(crate) fn cases() -> Vec<(&'static str, ModelConfig)> {
    let base = ModelConfig {
        vocab_size: 67,
        hidden_size: 60,
        num_heads: 6,
        num_kv_heads: Some(2),
        num_layers: 2,
        intermediate_size: 94,
        max_seq_len: 24,
        use_swiglu: true,
        use_rope: true,
        init_std: 0.3,
        embed_init_std: 0.5,
        ..ModelConfig::default()
    };
    let with = |change: &dyn Fn(&mut ModelConfig)| {
        let mut config = base.clone();
        change(&mut config);
        config
    };
    let mut cases = vec![
        ("base", base.clone()),
        (
            "plain MLP, learned positions",
            with(&|c| {
                c.use_swiglu = false;
                c.use_rope = false;
                c.use_qk_norm = false;
                c.use_residual_scaling = false;
            }),
        ),
        (
            "sub-norms, squared ReLU, untied",
            with(&|c| {
                c.use_sub_norm = true;
                c.activation = Some(Activation::Relu2);
                c.tie_word_embeddings = false;
                c.num_kv_heads = None;
            }),
        ),
        (
            "wide heads",
            with(&|c| {
                c.head_dim = Some(34);
                c.use_sub_norm = true;
            }),
        ),
        ("narrow heads", with(&|c| c.head_dim = Some(4))),
        (
            "GELU with a gate, one kv head, TWN off, tensor scales",
            with(&|c| {
                c.activation = Some(Activation::Gelu);
                c.num_kv_heads = Some(1);
                c.use_dynamic_threshold = false;
                c.weight_scale = ternary::config::WeightScale::Tensor;
            }),
        ),
        (
            "binary, no scales",
            with(&|c| {
                c.use_ternary = Some(false);
                c.weight_scale = ternary::config::WeightScale::None;
                c.init_std = 1.0;
            }),
        ),
        (
            "float activations",
            with(&|c| {
                c.activation_bits = None;
                c.layer_bit_map = map(
                    r#"{"embedding": "eightbit", "lm_head": "eightbit", "layer_modes": ["ternary",
                {"q": "binary", "k": "ternary", "v": "f16", "o": "eightbit", "gate": "binary", "up": "f16", "down": "eightbit"}]}"#,
                );
            }),
        ),
        (
            "a mode for every matrix",
            with(&|c| {
                c.tie_word_embeddings = false;
                c.layer_bit_map = map(
                    r#"{"embedding": "f16", "lm_head": "eightbit", "layer_modes": [
                {"q": "binary", "k": "ternary", "v": "f16", "o": "eightbit", "gate": "binary", "up": "f16", "down": "ternary"}, "f16"]}"#,
                );
            }),
        ),
        (
            "binary embedding, ternary head",
            with(&|c| {
                c.tie_word_embeddings = false;
                c.layer_bit_map = map(
                    r#"{"embedding": "binary", "lm_head": "ternary", "layer_modes": ["ternary", "f16"]}"#,
                );
            }),
        ),
        (
            "ternary embedding and head, one matrix",
            with(&|c| {
                c.activation_bits = None;
                c.layer_bit_map = map(
                    r#"{"embedding": "ternary", "lm_head": "ternary", "layer_modes": ["ternary", "binary"]}"#,
                );
            }),
        ),
        (
            "groups of 32",
            with(&|c| {
                c.hidden_size = 96;
                c.intermediate_size = 160;
                c.weight_scale = ternary::config::WeightScale::Group;
                c.weight_group_size = 32;
            }),
        ),
        (
            "binary groups of 64",
            with(&|c| {
                c.use_ternary = Some(false);
                c.hidden_size = 192;
                c.intermediate_size = 320;
                c.weight_scale = ternary::config::WeightScale::Group;
                c.weight_group_size = 64;
            }),
        ),
        (
            "ternary embedding and binary head in groups",
            with(&|c| {
                c.hidden_size = 96;
                c.intermediate_size = 160;
                c.weight_scale = ternary::config::WeightScale::Group;
                c.weight_group_size = 32;
                c.tie_word_embeddings = false;
                c.layer_bit_map = map(
                    r#"{"embedding": "ternary", "lm_head": "binary", "layer_modes": ["ternary", "f16"]}"#,
                );
            }),
        ),
        (
            "rows longer than 16-bit sums hold",
            with(&|c| {
                c.hidden_size = 36;
                c.intermediate_size = 4200;
                c.layer_bit_map = map(
                    r#"{"embedding": "f16", "lm_head": "f16", "layer_modes": ["ternary", "binary"]}"#,
                );
            }),
        ),
    ];
    cases.extend(Activation::ALL.iter().map(|&activation| {
        (
            activation.name(),
            with(&|c| c.activation = Some(activation)),
        )
    }));
    cases
}

/// Small models that together have every switch that published decoders differ by.
pub(crate) fn switches() -> Vec<(&'static str, ModelConfig)> {
    let base = cases().remove(0).1;
    let with = |change: &dyn Fn(&mut ModelConfig)| {
        let mut config = base.clone();
        change(&mut config);
        config
    };
    vec![
        (
            "LayerNorm, biases everywhere, side by side, part of a head rotated",
            with(&|c| {
                c.norm = NormKind::Layer;
                c.biases = MatrixKind::ALL.to_vec();
                c.parallel_residual = true;
                c.rotary_dim = Some(6);
                c.activation = Some(Activation::GeluErf);
                c.use_sub_norm = true;
            }),
        ),
        (
            "norms behind branches and over all heads, some biases",
            with(&|c| {
                c.norm_placement = NormPlacement::Post;
                c.qk_norm_over_heads = true;
                c.biases = vec![MatrixKind::Q, MatrixKind::Down];
            }),
        ),
        (
            "norms on both sides, caps, windows, two rotations and none, factors",
            with(&|c| {
                c.num_layers = 4;
                c.layer_bit_map = None;
                c.norm_placement = NormPlacement::Sandwich;
                c.sliding_window = Some(7);
                c.windowed_layers = Some(vec![0, 2]);
                c.local_rope_theta = Some(100.0);
                c.layers_without_rope = vec![2, 3];
                c.rope_scaling = Some(RopeScaling::Yarn {
                    factor: 4.0,
                    original_max_position_embeddings: 8,
                    beta_fast: 32.0,
                    beta_slow: 1.0,
                    attention_factor: 1.1,
                    truncate: true,
                });
                c.attention_softcap = Some(2.0);
                c.logit_softcap = Some(3.0);
                c.embedding_multiplier = Some(2.5);
                c.residual_multiplier = Some(0.4);
                c.attention_multiplier = Some(0.6);
            }),
        ),
        (
            "LayerNorm, learned positions, a window in all layers, no gate",
            with(&|c| {
                c.norm = NormKind::Layer;
                c.use_rope = false;
                c.use_swiglu = false;
                c.use_qk_norm = false;
                c.sliding_window = Some(5);
                c.biases = vec![
                    MatrixKind::Q,
                    MatrixKind::K,
                    MatrixKind::V,
                    MatrixKind::O,
                    MatrixKind::Up,
                    MatrixKind::Down,
                ];
                c.activation_bits = None;
            }),
        ),
        (
            "LongRoPE, one layer with a window",
            with(&|c| {
                c.rope_scaling = Some(RopeScaling::LongRope {
                    short_factors: vec![1.0; 5],
                    long_factors: vec![1.0, 1.2, 1.5, 2.0, 3.0],
                    original_max_position_embeddings: 8,
                    attention_factor: 1.2,
                });
                c.sliding_window = Some(9);
                c.windowed_layers = Some(vec![1]);
            }),
        ),
    ]
}

/// The CPU backend, fed token by token: wider steps of its float products add in another order.
pub(crate) fn engine(file: &[u8]) -> infer::Model {
    let source = MemorySource::new("test", file.to_vec());
    let opened = pollster::block_on(OneBit::open(&source)).unwrap();
    let backend = Box::new(CpuBackend::new(1));
    pollster::block_on(infer::Model::load(backend, &opened, &source, &mut |_| {})).unwrap()
}

#[test]
fn logits_are_the_cpu_backends_bit_for_bit() {
    let mut single = cases().remove(0).1;
    let mut map = LayerBitMap::sandwich(single.num_layers, QuantMode::F32);
    (map.embedding, map.lm_head) = (QuantMode::F32, QuantMode::F32);
    single.layer_bit_map = Some(map);
    let all = cases().into_iter().chain(switches());
    for (name, config) in all.chain([("f32", single)]) {
        config.validate().unwrap();
        for packing in [Packing::Ternary2, Packing::Base3, Packing::HalfScales] {
            let bytes = file(&config, packing, 3);
            let model = Model::open(&bytes).unwrap();
            let mut state = State::new(&model, config.max_seq_len, Cache::F32).unwrap();
            let mut engine = engine(&bytes);
            let mut id = 5;
            for _ in 0..config.max_seq_len {
                let mut want = pollster::block_on(engine.feed(&[id], &[], 1.0)).unwrap();
                want.sort_by_key(|c| c.0);
                let got = state.feed(&model, &[id]).unwrap();
                assert!(got.iter().all(|v| v.is_finite()));
                for (g, w) in got.iter().zip(&want) {
                    assert_eq!(
                        g.to_bits(),
                        w.1.to_bits(),
                        "{name}, {packing:?}, token {}",
                        w.0
                    );
                }
                id = greedy(got);
            }
        }
    }
}

#[test]
fn a_sign_turned_changes_the_logits() {
    let (_, config) = cases().remove(0);
    let good = file(&config, Packing::Ternary2, 3);
    let model = Model::open(&good).unwrap();
    let logits = |model: &Model| {
        let mut state = State::new(model, 4, Cache::F32).unwrap();
        state.feed(model, &[5, 9]).unwrap().to_vec()
    };
    let mut turned = model.clone();
    let codes = turned.layers[0].down.codes.iter();
    // +1 and −1 differ in their high bit, and 0 has no low one.
    let other: Vec<u8> = codes.map(|b| b ^ (b << 1 & 0xaa)).collect();
    turned.layers[0].down.codes = &other;
    assert_ne!(logits(&model), logits(&turned));
}

#[test]
fn a_half_precision_cache_stays_close() {
    let (_, config) = cases().remove(0);
    let bytes = file(&config, Packing::Ternary2, 3);
    let model = Model::open(&bytes).unwrap();
    let logits = |cache| {
        let mut state = State::new(&model, 16, cache).unwrap();
        state.feed(&model, &[5, 9, 3, 60, 11]).unwrap().to_vec()
    };
    let (full, half) = (logits(Cache::F32), logits(Cache::F16));
    assert_ne!(full, half);
    for (a, b) in full.iter().zip(&half) {
        // An int8 code moved by a rounded key moves a logit by about this much.
        assert!((a - b).abs() < 0.5, "{a} {b}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (_, config) = cases().remove(0);
    let bytes = file(&config, Packing::Ternary2, 3);
    let model = Model::open(&bytes).unwrap();
    for context in [0, config.max_seq_len + 1] {
        let e = State::new(&model, context, Cache::F32)
            .unwrap_err()
            .to_string();
        assert!(e.contains(&context.to_string()), "{e}");
    }
    let mut state = State::new(&model, 3, Cache::F32).unwrap();
    assert!(state.feed(&model, &[]).is_err());
    assert!(
        state
            .feed(&model, &[1, 67])
            .unwrap_err()
            .to_string()
            .contains("67")
    );
    state.feed(&model, &[1, 2]).unwrap();
    assert!(matches!(
        state.feed(&model, &[1, 2]),
        Err(BoardError::ContextFull { .. })
    ));
    assert_eq!(state.used(), 2);
    state.truncate(1);
    state.feed(&model, &[1, 2]).unwrap();
    let other = file(&cases().remove(1).1, Packing::Ternary2, 3);
    let other = Model::open(&other).unwrap();
    assert!(matches!(
        state.feed(&other, &[1]),
        Err(BoardError::OtherModel)
    ));
}

#[test]
fn damaged_files_are_errors_never_panics() {
    let (_, config) = cases().remove(6);
    let good = file(&config, Packing::Base3, 3);
    for len in (0..good.len()).step_by(997).chain(0..200) {
        assert!(Model::open(&good[..len]).is_err());
    }
    let mut rng = Rng::new(1);
    for _ in 0..300 {
        let mut bad = good.clone();
        let at = rng.below(bad.len() as u64) as usize;
        bad[at] ^= 1 << rng.below(8);
        // Padding between the parts is in no checksum.
        if let Ok(model) = Model::open(&bad) {
            assert!(
                State::new(&model, 2, Cache::F16)
                    .unwrap()
                    .feed(&model, &[1])
                    .is_ok()
            );
        }
    }
}

#[test]
fn sampling_follows_the_softmax_and_its_seed() {
    let logits = [0.0f32, 2.0, -1.0, 2.0, 1.0];
    let draws = |seed: u64, t: f32| -> Vec<u32> {
        let mut s = Sampler::new(seed);
        (0..8000)
            .map(|_| s.choose(&mut logits.clone(), t))
            .collect()
    };
    assert_eq!(draws(7, 1.0), draws(7, 1.0));
    assert_ne!(draws(7, 1.0), draws(8, 1.0));
    for t in [0.5f64, 1.0, 2.0] {
        let weights: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / t).exp()).collect();
        let total: f64 = weights.iter().sum();
        let all = draws(1, t as f32);
        for (id, w) in weights.iter().enumerate() {
            let share = all.iter().filter(|d| **d == id as u32).count() as f64 / 8000.0;
            assert!((share - w / total).abs() < 0.02, "{t} {id} {share}");
        }
    }
    assert!(draws(1, 0.0).iter().all(|d| *d == 1));
    assert_eq!(greedy(&logits), 1);
}
