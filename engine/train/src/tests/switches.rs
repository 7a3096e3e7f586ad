//! Every field of the two configs changes training, and changes what it should.

use serde_json::{Value, json};
use ternary_model::program::BufferKind;

use crate::Trainer;
use ternary_backend::cpu::CpuBackend;
use ternary_common::data::{Batches, TokenData};
use ternary_core::config::{ModelConfig, TrainConfig};
use ternary_core::params::{self, ParamKind};

const STEPS: usize = 6;

fn config() -> Value {
    json!({
        "vocab_size": 40, "hidden_size": 64, "num_heads": 4, "num_layers": 2, "intermediate_size": 64, "max_seq_len": 16,
        "init_std": 0.1, "embed_init_std": 0.3,
    })
}

fn train() -> Value {
    json!({"lr": 1e-2, "lr_warmup_steps": 2, "max_steps": STEPS, "batch_size": 3})
}

fn merged(mut base: Value, change: &Value) -> Value {
    for (key, value) in change.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

/// Losses of a few steps, validation after them, and the trainer.
fn run(config: Value, train: Value) -> (Vec<f64>, f64, Trainer) {
    let config = ModelConfig::from_value(config).unwrap();
    let train = TrainConfig::from_value(train).unwrap();
    let ids: Vec<u32> = (0..2000u32).map(|i| (i * i + i / 7) % 40).collect();
    let data = TokenData::from_ids(&ids, 40).unwrap();
    let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config, train).unwrap();
    let mut batches = Batches::new(&data, trainer.seq, trainer.train.seed, 40).unwrap();
    let losses = (0..STEPS)
        .map(|_| pollster::block_on(trainer.step(&mut batches, true)).unwrap()[0].loss)
        .collect();
    let windows = batches.fixed(4);
    let validation = pollster::block_on(trainer.validation_loss(&batches, &windows)).unwrap();
    (losses, validation, trainer)
}

/// What is switched from, and what to: `(model before, training before, field, value)`.
fn model_switches() -> Vec<(Value, &'static str, Value)> {
    let none = || json!({});
    let binary = || json!({"use_ternary": false});
    let arenas = || json!({"arenas_initial": 0.5, "arenas_anneal_steps": 40});
    vec![
        (none(), "hidden_size", json!(32)),
        (none(), "num_heads", json!(2)),
        (none(), "num_kv_heads", json!(2)),
        (none(), "num_layers", json!(1)),
        (none(), "intermediate_size", json!(32)),
        (none(), "use_ternary", json!(false)),
        (
            none(),
            "layer_bit_map",
            json!({"embedding": "eightbit", "layer_modes": ["ternary", "binary"], "lm_head": "eightbit"}),
        ),
        (none(), "use_swiglu", json!(true)),
        (none(), "use_rope", json!(true)),
        (none(), "use_qk_norm", json!(false)),
        (none(), "use_residual_scaling", json!(false)),
        (none(), "use_dynamic_threshold", json!(false)),
        (none(), "ste_scale_factor", json!(1.0)),
        (none(), "latent_clamp_max", json!(0.05)),
        (none(), "latent_clip_max_training", json!(0.05)),
        (none(), "anneal_fraction", json!(0.0)),
        (none(), "arenas_initial", json!(0.5)),
        (arenas(), "arenas_anneal_steps", json!(8)),
        (arenas(), "arenas_schedule", json!("sherry")),
        (none(), "activation", json!("relu2")),
        (none(), "use_sub_norm", json!(true)),
        (none(), "tie_word_embeddings", json!(false)),
        (json!({"use_rope": true}), "rope_theta", json!(100.0)),
        (
            json!({"use_rope": true}),
            "rope_scaling",
            json!({"type": "linear", "factor": 4.0}),
        ),
        (none(), "rms_norm_eps", json!(1e-3)),
        (none(), "activation_bits", json!(null)),
        (none(), "weight_scale", json!("none")),
        (none(), "weight_scale", json!("tensor")),
        (
            json!({"weight_scale": "group", "weight_group_size": 64}),
            "weight_group_size",
            json!(32),
        ),
        (binary(), "binary_centered", json!(false)),
        (none(), "init_std", json!(0.2)),
        (none(), "embed_init_std", json!(0.1)),
    ]
}

fn train_switches() -> Vec<(Value, &'static str, Value)> {
    let none = || json!({});
    let two_stage = || json!({"lr_decay": "two-stage"});
    let muon = || json!({"optimizer": "muon"});
    let local = || json!({"sync_every": 2});
    vec![
        (none(), "lr", json!(5e-3)),
        (none(), "quantize_fraction", json!(0.5)),
        (none(), "lr_decay", json!("linear")),
        (none(), "lr_decay", json!("constant")),
        (
            json!({"lr_decay": "linear"}),
            "lr_decay",
            json!("two-stage"),
        ),
        (none(), "lr_warmup_steps", json!(0)),
        (none(), "lr_min_ratio", json!(0.5)),
        (
            json!({"lr_decay": "constant"}),
            "lr_cooldown_fraction",
            json!(0.5),
        ),
        (two_stage(), "lr_stage2_start", json!(0.7)),
        (two_stage(), "lr_stage2_ratio", json!(0.9)),
        (none(), "optimizer", json!("muon")),
        (muon(), "muon_lr", json!(2e-2)),
        (muon(), "muon_momentum", json!(0.5)),
        (muon(), "muon_warmup_steps", json!(3)),
        (muon(), "muon_iterations", json!(3)),
        (none(), "max_steps", json!(2 * STEPS)),
        (none(), "batch_size", json!(2)),
        (none(), "seq_len", json!(8)),
        (none(), "accumulation_steps", json!(2)),
        (none(), "sync_every", json!(2)),
        (local(), "outer_lr", json!(0.5)),
        (local(), "outer_momentum", json!(0.5)),
        (none(), "beta1", json!(0.8)),
        (none(), "beta2", json!(0.9)),
        (none(), "eps", json!(1e-3)),
        (none(), "weight_decay", json!(0.5)),
        (none(), "weight_decay_fraction", json!(0.5)),
        (none(), "clip_norm", json!(0.05)),
        (none(), "z_loss", json!(0.01)),
        (none(), "dropout", json!(0.3)),
        (none(), "seed", json!(2)),
        (none(), "random_modes", json!(["f16", "binary"])),
        (none(), "lora", json!({"rank": 4})),
        (
            json!({"lora": {"rank": 4}}),
            "lora",
            json!({"rank": 4, "alpha": 4.0}),
        ),
        (
            json!({"lora": {"rank": 4}}),
            "lora",
            json!({"rank": 4, "targets": ["q", "v"]}),
        ),
    ]
}

/// Fields that do not act on the first few losses, and where they are tested instead.
const TESTED_ELSEWHERE: [&str; 18] = [
    // Sizes of what is refused, not of what is computed: config tests.
    "vocab_size",
    "max_seq_len",
    // What is written and measured, not what is computed: the tests of runs.
    "save_every",
    "log_every",
    "eval_every",
    "eval_batches",
    "early_stop_patience",
    "keep_last",
    "keep_best",
    "stats_every",
    // The order of streamed texts: the tests of data.
    "shuffle_buffer",
    // They need a teacher: the tests of fine-tuning.
    "distill_weight",
    "distill_temperature",
    "distill_relations",
    "distill_relation_layer",
    // They need data with documents, or with pairs: their own tests.
    "packing",
    "preference",
    "preference_beta",
];

#[test]
fn every_field_changes_the_losses() {
    let mut covered: Vec<&str> = TESTED_ELSEWHERE.to_vec();
    for (before, field, value) in model_switches() {
        covered.push(field);
        let base = merged(config(), &before);
        let (losses, validation, _) = run(base.clone(), train());
        let (changed, other, _) = run(merged(base, &json!({field: value})), train());
        assert!(
            losses != changed || validation != other,
            "model.{field} = {value} changes nothing"
        );
    }
    for (before, field, value) in train_switches() {
        covered.push(field);
        let base = merged(train(), &before);
        let (losses, validation, _) = run(config(), base.clone());
        let (changed, other, _) = run(config(), merged(base, &json!({field: value})));
        assert!(
            losses != changed || validation != other,
            "training.{field} = {value} changes nothing"
        );
    }
    let model = serde_json::to_value(ModelConfig::default()).unwrap();
    let training = serde_json::to_value(TrainConfig::default()).unwrap();
    for field in model
        .as_object()
        .unwrap()
        .keys()
        .chain(training.as_object().unwrap().keys())
    {
        assert!(
            covered.contains(&field.as_str()),
            "{field} is not tested: add it above"
        );
    }
}

#[test]
fn a_field_set_to_its_own_value_changes_nothing() {
    let (losses, validation, _) = run(config(), train());
    let same = run(
        merged(config(), &json!({"use_rope": false})),
        merged(train(), &json!({"dropout": 0.0})),
    );
    assert_eq!((losses, validation), (same.0, same.1));
}

#[test]
fn validation_knows_no_dropout_annealing_or_arenas() {
    let noisy = merged(
        config(),
        &json!({"anneal_fraction": 1.0, "arenas_initial": 0.7}),
    );
    // With a learning rate of 0 the parameters stay as they were.
    let still = |more: Value| merged(merged(train(), &json!({"lr": 0.0})), &more);
    let (plain_losses, plain, _) = run(
        merged(config(), &json!({"anneal_fraction": 0.0})),
        still(json!({})),
    );
    let (noisy_losses, noisy, _) = run(noisy, still(json!({"dropout": 0.5})));
    assert_eq!(plain, noisy);
    assert!(plain_losses.iter().zip(&noisy_losses).all(|(a, b)| a != b));
}

#[test]
fn latents_stay_inside_the_clip_and_float_weights_do_not() {
    let clip = json!({"latent_clip_max_training": 0.03});
    let (_, _, mut trainer) = run(merged(config(), &clip), train());
    let all = params::all(&trainer.config);
    for p in all {
        let values = pollster::block_on(trainer.parameter(&p.name)).unwrap();
        let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        let latent = matches!(&p.kind, ParamKind::Matrix(m) if m.mode.is_latent());
        assert_eq!(latent, largest <= 0.03, "{}: {largest}", p.name);
    }
}

#[test]
fn clipping_bounds_the_gradient_that_reaches_the_moments() {
    let clip = json!({"clip_norm": 0.01, "max_steps": 1, "lr_warmup_steps": 0});
    let config = ModelConfig::from_value(config()).unwrap();
    let train = TrainConfig::from_value(merged(train(), &clip)).unwrap();
    let data =
        TokenData::from_ids(&(0..500u32).map(|i| i * i % 40).collect::<Vec<_>>(), 40).unwrap();
    let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config, train).unwrap();
    let mut batches = Batches::new(&data, trainer.seq, 1, 40).unwrap();
    let report = pollster::block_on(trainer.step(&mut batches, true)).unwrap()[0];
    assert!(
        report.grad_norm > 0.01,
        "reported before clipping: {}",
        report.grad_norm
    );
    let mut square = 0.0;
    for p in params::all(&trainer.config) {
        let m =
            pollster::block_on(trainer.buffer(&BufferKind::FirstMoment.named(&p.name))).unwrap();
        square += m.iter().map(|m| f64::from(*m).powi(2)).sum::<f64>();
    }
    // After one step m = (1 − β₁)·g.
    let norm = square.sqrt() / (1.0 - trainer.train.beta1);
    assert!((norm - 0.01).abs() < 1e-6, "{norm}");
}

#[test]
fn weight_decay_shrinks_matrices_until_it_is_cut() {
    let decay = |fraction: f64| {
        // A z-loss of 0, zero gradients and a rate of 1: only the decay moves a weight. Ids beyond
        // the text never get a gradient through the input side, so compare against the same run
        // without decay.
        let t = json!({"weight_decay": 0.5, "weight_decay_fraction": fraction, "lr_decay": "constant", "lr_warmup_steps": 0});
        let (_, _, mut trainer) = run(config(), merged(train(), &t));
        let values = pollster::block_on(trainer.parameter("model.embed_tokens.weight")).unwrap();
        values
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let (never, half, always) = (decay(0.0), decay(0.5), decay(1.0));
    // 1 − lr·decay per step: 0.995⁶ and 0.995³ of the norm, roughly, since gradients differ a
    // little.
    assert!(
        (half / never - 0.995f64.powi(3)).abs() < 0.004,
        "{}",
        half / never
    );
    assert!(
        (always / never - 0.995f64.powi(6)).abs() < 0.004,
        "{}",
        always / never
    );
}
