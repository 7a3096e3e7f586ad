//! Tokens that are read and not learnt from: what they leave out of losses and gradients is what
//! the others leave in.

use crate::Trainer;
use ternary_backend::cpu::CpuBackend;
use ternary_common::data::{Batches, CONTEXT, TokenData};
use ternary_core::config::TrainConfig;
use ternary_core::params;
use ternary_model::program::BufferKind;

/// Figures of one step, and of a validation before it.
struct Found {
    validation: f64,
    loss: f64,
    learnt: usize,
    /// Before clipping and AdamW, but for a factor.
    gradients: Vec<f32>,
}

/// One step of two micro-batches on ids of which those that `is_context` are not learnt from.
fn step(is_context: impl Fn(u32) -> bool) -> Found {
    let config = super::small();
    let train = TrainConfig {
        batch_size: 3,
        accumulation_steps: 2,
        clip_norm: 0.0,
        ..TrainConfig::default()
    };
    let mark = |i: u32| if is_context(i) { CONTEXT } else { 0 };
    let marked: Vec<u32> = (0..900u32)
        .map(|i| ((i * i + i / 7) % 40) | mark(i))
        .collect();
    let data = TokenData::from_marked(&marked, 40).unwrap();
    let mut batches = Batches::new(&data, 12, 1, 40).unwrap();
    let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config, train).unwrap();
    let windows = batches.fixed(7);
    let validation = pollster::block_on(trainer.validation_loss(&batches, &windows)).unwrap();
    let report = pollster::block_on(trainer.step(&mut batches, true)).unwrap()[0];
    assert_eq!(report.tokens, 72);
    let mut gradients = Vec::new();
    for p in params::all(&trainer.config) {
        let moment = BufferKind::FirstMoment.named(&p.name);
        gradients.extend(pollster::block_on(trainer.buffer(&moment)).unwrap());
    }
    Found {
        validation,
        loss: report.loss,
        learnt: report.learnt,
        gradients,
    }
}

#[test]
fn context_counts_in_no_loss_and_no_gradient() {
    let all = step(|_| false);
    let some = step(|i| i % 5 < 2);
    let rest = step(|i| i % 5 >= 2);
    assert_eq!((all.learnt, some.learnt + rest.learnt), (72, 72));
    assert!(some.learnt > 20 && rest.learnt > 20);
    let (n, k) = (72.0, some.learnt as f64);
    let joined = (some.loss * k + rest.loss * (n - k)) / n;
    assert!((joined - all.loss).abs() < 1e-5, "{joined} {}", all.loss);
    assert!(some.loss != all.loss);
    let square = |v: f64| v * v;
    let (mut off, mut size) = (0.0, 0.0);
    for ((g, a), b) in all
        .gradients
        .iter()
        .zip(&some.gradients)
        .zip(&rest.gradients)
    {
        let joined = (f64::from(*a) * k + f64::from(*b) * (n - k)) / n;
        off += square(joined - f64::from(*g));
        size += square(f64::from(*g));
    }
    // Each of the three is a sum of integers of 16 bits, see the CPU backend.
    assert!(
        size > 0.0 && off.sqrt() < 3e-5 * size.sqrt(),
        "{off} {size}"
    );
}

#[test]
fn validation_is_the_mean_of_what_is_learnt() {
    let [all, some, rest] =
        [step(|_| false), step(|i| i % 2 == 0), step(|i| i % 2 == 1)].map(|found| found.validation);
    // Windows of 12 targets have six of each.
    assert!(
        ((some + rest) / 2.0 - all).abs() < 1e-5 && some != rest,
        "{some} {rest} {all}"
    );
}
