//! Conversions without a command line.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::plan::{Plan, Request, Speeds};
use super::stages::{Conversion, Event, Outcome, convert};
use super::sub_norms::with_sub_norms;
use super::*;
use crate::checkpoint::Companions;
use crate::start::{Start, Teacher};
use crate::steps::Validation;
use crate::trainer::Trainer;
use crate::{Error, Update};
use ternary_backend::cpu::CpuBackend;
use ternary_common::data::{Batches, TokenData, Windows};
use ternary_core::config::{ModelConfig, TrainConfig};
use ternary_core::params;
use ternary_core::rng::Rng;
use ternary_model::Parameters;

const SEQ: usize = 16;

fn model() -> ModelConfig {
    let config = ModelConfig {
        vocab_size: 20,
        hidden_size: 32,
        num_heads: 4,
        num_kv_heads: Some(2),
        num_layers: 2,
        intermediate_size: 48,
        max_seq_len: SEQ,
        use_rope: true,
        use_swiglu: true,
        use_residual_scaling: false,
        layer_bit_map: Some(ternary_core::config::LayerBitMap::sandwich(
            2,
            ternary_core::config::QuantMode::F16,
        )),
        init_std: 0.2,
        embed_init_std: 0.5,
        ..ModelConfig::default()
    };
    float_config(&config).unwrap()
}

fn parameters(config: &ModelConfig) -> Parameters {
    let all = params::all(config).into_iter();
    all.map(|p| (p.name.clone(), p.init(config, 3))).collect()
}

fn teacher() -> Teacher {
    Teacher {
        config: model(),
        parameters: parameters(&model()),
    }
}

fn train(max_steps: usize) -> TrainConfig {
    TrainConfig {
        lr: 5e-3,
        max_steps,
        batch_size: 4,
        seq_len: Some(SEQ),
        weight_decay: 0.0,
        keep_best: false,
        keep_last: 1,
        stats_every: Some(0),
        log_every: 1,
        quantize_fraction: 0.5,
        ..TrainConfig::default()
    }
}

/// A text with an order to learn.
fn data(len: usize) -> TokenData {
    let mut rng = Rng::new(5);
    let mut id = 0;
    let ids: Vec<u32> = (0..len)
        .map(|_| {
            id = (id * 3 + 1 + rng.below(3) as u32) % 20;
            id
        })
        .collect();
    TokenData::from_ids(&ids, 20).unwrap()
}

async fn loss_of(config: &ModelConfig, parameters: &Parameters, data: &TokenData) -> f64 {
    let train = train(1);
    let validation = Validation::new(data, SEQ, config, &train).unwrap();
    let mut backend = CpuBackend::new(1);
    measure::loss(&mut backend, config, parameters, &train, &validation)
        .await
        .unwrap()
}

/// The float model's parameters with fitted norms, and its configuration with them.
async fn fitted(data: &TokenData) -> (ModelConfig, Parameters) {
    fitted_of(teacher(), data).await
}

async fn fitted_of(teacher: Teacher, data: &TokenData) -> (ModelConfig, Parameters) {
    let config = ModelConfig {
        use_sub_norm: true,
        ..teacher.config.clone()
    };
    let batches = Batches::new(data, SEQ, 1, 20).unwrap();
    let mut backend = CpuBackend::new(2);
    let all = with_sub_norms(&mut backend, &teacher, &config, &train(1), &batches, SEQ)
        .await
        .unwrap();
    (config, all)
}

/// Where every token has the same root mean square, a norm with the right weights is no change at
/// all.
#[test]
fn fitted_norms_keep_the_function_where_norms_can() {
    pollster::block_on(async {
        let same = TokenData::from_ids(&[7; 400], 20).unwrap();
        let (config, all) = fitted(&same).await;
        let before = loss_of(&model(), &parameters(&model()), &same).await;
        let after = loss_of(&config, &all, &same).await;
        assert!((before - after).abs() < 1e-5 * before, "{before} {after}");
    });
}

/// Against sums written out in f64. Without an output of attention the first MLP reads the
/// embedding, so that what its norm is fitted on is a function of the token alone.
#[test]
fn fitted_norms_are_the_weighted_least_squares() {
    let config = model();
    let (width, ffn) = (config.hidden_size, config.intermediate_size);
    let mut all = parameters(&config);
    all.get_mut("model.layers.0.self_attn.o_proj.weight")
        .unwrap()
        .fill(0.0);
    let data = data(4000);
    let hidden = |id: u32| -> Vec<f64> {
        let x: Vec<f64> = all["model.embed_tokens.weight"][id as usize * width..][..width]
            .iter()
            .map(|v| f64::from(*v))
            .collect();
        let mean = x.iter().map(|v| v * v).sum::<f64>() / width as f64;
        let rms = libm::sqrt(mean + f64::from(config.rms_norm_eps));
        let row = |name: &str, r: usize| -> f64 {
            let weights = all[name][r * width..][..width].iter();
            weights.zip(&x).map(|(w, x)| f64::from(*w) * x / rms).sum()
        };
        (0..ffn)
            .map(|r| {
                let gate = row("model.layers.0.mlp.gate_proj.weight", r);
                let silu = gate / (1.0 + libm::exp(-gate));
                silu * row("model.layers.0.mlp.up_proj.weight", r)
            })
            .collect()
    };
    let batches = Batches::new(&data, SEQ, 1, 20).unwrap();
    let mut windows = Windows::default();
    // As many as it is fitted on: four batches.
    batches.fill(0, 16, &mut windows).unwrap();
    let (mut products, mut squares) = (vec![0.0; ffn], vec![0.0; ffn]);
    for id in windows.ids {
        let x = hidden(id);
        let mean = x.iter().map(|v| v * v).sum::<f64>() / ffn as f64;
        let rms = libm::sqrt(mean + f64::from(config.rms_norm_eps));
        for ((product, square), x) in products.iter_mut().zip(&mut squares).zip(x) {
            let scaled = x / rms;
            *product += scaled * x / rms;
            *square += scaled * scaled / rms;
        }
    }
    let teacher = Teacher {
        config,
        parameters: all.clone(),
    };
    let (_, found) = pollster::block_on(fitted_of(teacher, &data));
    let found = &found["model.layers.0.mlp.ffn_sub_norm.weight"];
    assert_eq!(found.len(), ffn);
    for (found, (product, square)) in found.iter().zip(products.iter().zip(&squares)) {
        let want = product / square;
        assert!(
            (f64::from(*found) - want).abs() < 1e-3 * want,
            "{found} {want}"
        );
    }
}

#[test]
fn fitted_norms_are_nearer_than_plain_ones() {
    pollster::block_on(async {
        let data = data(4000);
        let (config, all) = fitted(&data).await;
        let before = loss_of(&model(), &parameters(&model()), &data).await;
        let after = loss_of(&config, &all, &data).await;
        let plain = loss_of(&config, &parameters(&config), &data).await;
        // Fitted by squares of what the norms change, not by the loss: a third is far from chance.
        assert!(
            (after - before).abs() < (plain - before).abs() / 3.0,
            "float {before}, fitted {after}, ones {plain}"
        );
    });
}

/// A training that begins with floats makes its first step as the float model would.
#[test]
fn gradual_quantization_begins_with_the_float_model() {
    pollster::block_on(async {
        let student = ModelConfig {
            activation_bits: None,
            ..student_config(&model(), false)
        };
        let data = data(2000);
        let first = |config: ModelConfig, fraction: f64| {
            let settings = TrainConfig {
                quantize_fraction: fraction,
                ..train(4)
            };
            let start = Start {
                parameters: Some(parameters(&model())),
                ..Start::default()
            };
            let backend = Box::new(CpuBackend::new(1));
            let mut trainer = Trainer::from_start(backend, config, settings, start).unwrap();
            let mut batches = Batches::new(&data, SEQ, 1, 20).unwrap();
            pollster::block_on(trainer.step(&mut batches, true)).unwrap()[0]
        };
        let float = first(model(), 0.0);
        let gradual = first(student.clone(), 0.5);
        let hard = first(student, 0.0);
        assert!(
            (gradual.loss - float.loss).abs() < 1e-5,
            "{gradual:?} {float:?}"
        );
        let difference = (gradual.grad_norm - float.grad_norm).abs();
        assert!(difference < 1e-4 * float.grad_norm, "{gradual:?} {float:?}");
        assert!((hard.loss - float.loss).abs() > 0.01, "{hard:?} {float:?}");
    });
}

#[test]
fn the_share_of_floats_falls_to_none() {
    let settings = train(10);
    let shares: Vec<f32> = (0..7).map(|step| settings.float_share_at(step)).collect();
    assert_eq!(
        shares,
        [1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0].map(|s| s as f32)
    );
    assert_eq!(TrainConfig::default().float_share_at(0), 0.0);
}

#[test]
fn models_of_codes_are_refused() {
    let ternary = student_config(&model(), false);
    assert!(matches!(
        float_config(&ternary),
        Err(Error::NotFloat {
            low_bit: 14,
            all: 15
        })
    ));
}

fn stage(kind: StageKind, steps: Option<usize>, share: f64) -> Stage {
    Stage {
        kind,
        train: TrainConfig {
            distill_relations: match kind {
                StageKind::Pretrain => [0.0; 3],
                StageKind::Distill => [1.0; 3],
            },
            save_every: 3,
            ..train(steps.unwrap_or(0))
        },
        share: steps.is_none().then_some(share),
    }
}

fn request(stages: Vec<Stage>, minutes: Option<f64>) -> Request {
    Request {
        student: student_config(&model(), true),
        stages,
        minutes,
        teacher_checksum: 1,
        data_checksum: 2,
        held_back_checksum: 3,
    }
}

#[test]
fn steps_fill_the_time_that_is_left() {
    let before = Before {
        float: 1.0,
        sub_norms: None,
        quantized: 2.0,
    };
    let plan = |stages: Vec<Stage>, minutes| {
        let speeds = Speeds {
            elapsed: 60.0,
            validation: 3.0,
            steps: vec![0.5, 2.0],
        };
        Plan::new(
            request(stages.clone(), Some(minutes)),
            stages,
            before,
            &speeds,
        )
    };
    let both = || {
        vec![
            stage(StageKind::Pretrain, None, 0.25),
            stage(StageKind::Distill, None, 0.75),
        ]
    };
    // 600 s · 0.96 − 60 s − 10 validations of 3 s = 486 s.
    let steps: Vec<usize> = plan(both(), 10.0)
        .unwrap()
        .stages
        .iter()
        .map(|stage| stage.train.max_steps)
        .collect();
    assert_eq!(steps, [243, 182]);
    // A stage with steps of its own leaves the other the rest.
    let given = vec![
        stage(StageKind::Pretrain, Some(100), 0.25),
        stage(StageKind::Distill, None, 0.75),
    ];
    let planned = plan(given, 10.0).unwrap();
    assert_eq!(planned.stages[1].train.max_steps, 218);
    // Only the first stage that makes steps begins with floats.
    let fractions = |plan: &Plan| -> Vec<f64> {
        let all = plan.stages.iter();
        all.map(|stage| stage.train.quantize_fraction).collect()
    };
    assert_eq!(fractions(&planned), [0.5, 0.0]);
    let alone = vec![
        stage(StageKind::Pretrain, Some(0), 0.25),
        stage(StageKind::Distill, Some(9), 0.75),
    ];
    assert_eq!(fractions(&plan(alone, 10.0).unwrap()), [0.5]);
    let error = plan(both(), 1.5).unwrap_err().to_string();
    assert!(error.contains("1.5 min is too little time"), "{error}");
}

fn conversion(dir: &std::path::Path) -> Conversion {
    let (data, held_back) = data(6000).split(5000).unwrap();
    Conversion {
        teacher: teacher(),
        student: student_config(&model(), true),
        stages: vec![
            stage(StageKind::Pretrain, Some(8), 0.5),
            stage(StageKind::Distill, Some(8), 0.5),
        ],
        minutes: None,
        data,
        held_back,
        companions: Companions {
            tokenizer: "{}".into(),
            chat_template: None,
        },
        dir: dir.to_owned(),
        stop: std::sync::Arc::default(),
    }
}

/// Convert until `steps` steps of the stage `kind` have been reported.
fn run(dir: &std::path::Path, threads: usize, until: Option<(StageKind, usize)>) -> Outcome {
    let conversion = conversion(dir);
    let stop = conversion.stop.clone();
    let mut current = None;
    let mut observe = |event: Event| match event {
        Event::Begins { stage, .. } => current = Some(stage.kind),
        Event::Run(Update::Step(report))
            if until.is_some_and(|(kind, step)| current == Some(kind) && report.step >= step) =>
        {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        _ => {}
    };
    let backend = Box::new(CpuBackend::new(threads));
    pollster::block_on(convert(conversion, backend, &mut observe)).unwrap()
}

#[test]
fn an_interrupted_conversion_comes_to_the_same_weights() {
    let temp = tempfile::tempdir().unwrap();
    let (straight, paused) = (temp.path().join("straight"), temp.path().join("paused"));
    let whole = run(&straight, 1, None);
    assert!(!whole.stopped && whole.figures.len() == 5);
    for until in [
        Some((StageKind::Pretrain, 2)),
        Some((StageKind::Pretrain, 8)),
        Some((StageKind::Distill, 5)),
        None,
    ] {
        let outcome = run(&paused, 2, until);
        assert_eq!(outcome.stopped, until.is_some(), "{until:?}");
    }
    let weights = |dir: &std::path::Path, stage: &str, file: &str| {
        std::fs::read(dir.join(stage).join("step-0000008").join(file)).unwrap()
    };
    for stage in ["pretrain", "distill"] {
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let same = weights(&straight, stage, file) == weights(&paused, stage, file);
            assert!(same, "{stage}: {file} differs");
        }
    }
    // What is finished stays as it is.
    assert_eq!(run(&paused, 1, None).figures, whole.figures);
    let metrics = std::fs::read_to_string(paused.join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64())
        .map(Option::unwrap)
        .collect();
    assert_eq!(steps, (1..=16).collect::<Vec<u64>>());
    // Another learning rate would come to other weights.
    let mut other = conversion(&paused);
    other.stages[1].train.lr = 1e-3;
    let backend = Box::new(CpuBackend::new(1));
    let error = pollster::block_on(convert(other, backend, &mut |_| {})).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("lr (was 0.005, is 0.001)"), "{error}");
}
