//! Runs on a small text: learning, determinism over threads, resuming, accumulation.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ternary::backend::cpu::CpuBackend;
use ternary::config::{LrDecay, ModelConfig, TrainConfig};
use ternary::data::{Batches, TokenData};
use ternary::train::checkpoint::Companions;
use ternary::train::*;

pub fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 50,
        hidden_size: 32,
        num_heads: 4,
        num_layers: 2,
        intermediate_size: 64,
        max_seq_len: 32,
        use_rope: true,
        use_swiglu: true,
        anneal_fraction: 0.2,
        arenas_initial: Some(0.2),
        arenas_anneal_steps: 20,
        ..ModelConfig::default()
    }
}

pub fn train(steps: usize) -> TrainConfig {
    TrainConfig {
        lr: 5e-3,
        lr_warmup_steps: 3,
        lr_decay: LrDecay::Linear,
        max_steps: steps,
        batch_size: 4,
        log_every: 5,
        save_every: 10,
        eval_every: 10,
        eval_batches: 2,
        ..TrainConfig::default()
    }
}

/// A sequence with a rule to learn: each token follows from the last.
pub fn data() -> TokenData {
    let mut ids = vec![3u32];
    for _ in 0..4000 {
        ids.push((ids[ids.len() - 1] * 7 + 3) % 50);
    }
    TokenData::from_ids(&ids, 50).unwrap()
}

fn trainer(threads: usize, steps: usize) -> Trainer {
    Trainer::new(Box::new(CpuBackend::new(threads)), config(), train(steps)).unwrap()
}

pub fn options(dir: &std::path::Path, resume: bool) -> RunOptions {
    RunOptions {
        output_dir: dir.to_owned(),
        companions: Companions {
            tokenizer: "{}".into(),
            chat_template: None,
        },
        resume,
        stop: Arc::new(AtomicBool::new(false)),
        tensorboard: false,
    }
}

/// step → (train_loss, val_loss), without speeds.
fn losses(dir: &std::path::Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|l| {
            let v: serde_json::Value = serde_json::from_str(l).unwrap();
            format!("{} {} {}", v["step"], v["train_loss"], v["val_loss"])
        })
        .collect()
}

fn run_in(
    dir: &std::path::Path,
    threads: usize,
    steps: usize,
    resume: bool,
    stop_at: Option<usize>,
) -> RunSummary {
    let data = data();
    let options = options(dir, resume);
    let stop = options.stop.clone();
    let mut observe = |u: Update| {
        if let (Update::Step(r), Some(at)) = (&u, stop_at)
            && r.step == at
        {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    pollster::block_on(run(
        &mut trainer(threads, steps),
        &data.clone().into(),
        Some(&data),
        &options,
        &mut observe,
    ))
    .unwrap()
}

#[test]
fn a_run_learns_and_does_not_depend_on_threads() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = run_in(a.path(), 1, 40, false, None);
    run_in(b.path(), 2, 40, false, None);
    assert!(first.validated.unwrap().1 < 2.0, "{first:?}");
    assert_eq!(losses(a.path()), losses(b.path()));
    assert_eq!(
        std::fs::read(first.checkpoint.join("model.safetensors")).unwrap(),
        std::fs::read(b.path().join("step-0000040/model.safetensors")).unwrap()
    );
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run_in(a.path(), 2, 25, false, None);
    let stopped = run_in(b.path(), 2, 25, false, Some(13));
    assert!(stopped.stopped && stopped.step == 13);
    let resumed = run_in(b.path(), 2, 25, true, None);
    assert_eq!(resumed.step, 25);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(
            std::fs::read(a.path().join("step-0000025").join(file)).unwrap()
                == std::fs::read(b.path().join("step-0000025").join(file)).unwrap(),
            "{file} differs"
        );
    }
    let last = |d: &std::path::Path| losses(d).pop();
    assert_eq!(last(a.path()), last(b.path()));
}

#[test]
fn the_lowest_loss_survives_an_interruption_whether_its_checkpoint_is_kept_or_not() {
    for keep_best in [true, false] {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = data();
        let go = |dir: &std::path::Path, steps: usize, resume: bool| {
            let t = TrainConfig {
                keep_best,
                keep_last: 1,
                eval_every: 5,
                // It learns until the rate makes it worse.
                lr: if steps > 10 { 1.0 } else { 5e-3 },
                lr_decay: LrDecay::Constant,
                ..train(steps)
            };
            let backend = Box::new(CpuBackend::new(1));
            let mut trainer = Trainer::new(backend, config(), t).unwrap();
            let checkpoint = pollster::block_on(run(
                &mut trainer,
                &data.clone().into(),
                Some(&data),
                &options(dir, resume),
                &mut |_| {},
            ))
            .unwrap()
            .checkpoint;
            let text = std::fs::read_to_string(checkpoint.join("train_state.json")).unwrap();
            let state: checkpoint::TrainState = serde_json::from_str(&text).unwrap();
            state.best.unwrap()
        };
        let ten = go(a.path(), 10, false);
        let straight = go(a.path(), 20, true);
        go(b.path(), 10, false);
        go(b.path(), 15, true);
        assert_eq!(go(b.path(), 20, true), straight);
        assert_eq!(straight, ten, "worse losses must not pass for the lowest");
        assert_eq!(a.path().join("best.json").exists(), keep_best);
        let kept = checkpoint::list(a.path()).unwrap().len();
        assert_eq!(kept, if keep_best { 2 } else { 1 });
    }
}

#[test]
fn accumulated_micro_batches_equal_the_large_batch() {
    let data = data();
    let mut batches = Batches::new(&data, 32, 1, 50).unwrap();
    let mut results = Vec::new();
    for (batch_size, accumulation_steps) in [(4, 1), (1, 4)] {
        let t = TrainConfig {
            batch_size,
            accumulation_steps,
            ..train(10)
        };
        let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config(), t).unwrap();
        let mut last = 0.0;
        for _ in 0..3 {
            last = pollster::block_on(trainer.step(&mut batches, true)).unwrap()[0].loss;
        }
        results.push(last);
    }
    assert!((results[0] - results[1]).abs() < 1e-5, "{results:?}");
}

#[test]
fn a_loss_that_is_not_finite_stops_and_names_the_step() {
    let data = data();
    let mut batches = Batches::new(&data, 32, 1, 50).unwrap();
    let mut t = trainer(1, 10);
    t.set_buffer("param.model.norm.weight", &[f32::NAN; 32])
        .unwrap();
    let e = pollster::block_on(t.step(&mut batches, true)).unwrap_err();
    assert!(e.to_string().contains("step 1"), "{e}");
}

#[test]
fn an_existing_run_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), 1, 10, false, None);
    let data = data();
    let e = pollster::block_on(run(
        &mut trainer(1, 10),
        &data.into(),
        None,
        &options(dir.path(), false),
        &mut |_| {},
    ))
    .unwrap_err();
    assert!(e.to_string().contains("--resume"), "{e}");
}

#[test]
fn a_run_that_gets_no_better_stops_at_its_best() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing to learn: what helps on these few tokens is no help on those.
    let mut rng = ternary::rng::Rng::new(3);
    let mut noise = |n| {
        TokenData::from_ids(
            &(0..n).map(|_| rng.below(50) as u32).collect::<Vec<_>>(),
            50,
        )
    };
    let (data, other) = (noise(200).unwrap(), noise(2000).unwrap());
    let t = TrainConfig {
        eval_every: 5,
        early_stop_patience: 3,
        ..train(500)
    };
    let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config(), t).unwrap();
    let mut losses = Vec::new();
    let mut observe = |u: Update| {
        if let Update::Logged(line) = u {
            losses.extend(line.val_loss);
        }
    };
    let options = options(dir.path(), false);
    let summary = pollster::block_on(run(
        &mut trainer,
        &data.into(),
        Some(&other),
        &options,
        &mut observe,
    ))
    .unwrap();
    assert!(
        summary.stopped && summary.out_of_patience == Some(3),
        "{summary:?}"
    );
    let best = (0..losses.len())
        .min_by(|a, b| losses[*a].total_cmp(&losses[*b]))
        .unwrap();
    assert_eq!(best + 4, losses.len(), "{losses:?}");
    assert_eq!(summary.step, 5 * losses.len());
    let kept = checkpoint::resolve(&dir.path().join("best")).unwrap();
    assert!(
        kept.ends_with(format!("step-{:07}", 5 * (best + 1))),
        "{kept:?}"
    );
}
