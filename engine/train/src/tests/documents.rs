//! Documents that share a window.

use crate::Trainer;
use ternary_backend::cpu::CpuBackend;
use ternary_common::data::{Batches, CONTEXT, FIRST, TokenData};
use ternary_core::config::{Packing, TrainConfig};

/// Validation loss of windows of 12 tokens that are two documents each: `before`, which is not
/// learnt from, and one that is always the same.
fn loss(packing: Packing, before: impl Fn(u32) -> u32) -> f64 {
    let config = super::small();
    let train = TrainConfig {
        batch_size: 3,
        packing: Some(packing),
        ..TrainConfig::default()
    };
    let marked: Vec<u32> = (0..145u32)
        .map(|i| match i % 12 {
            0 => (before(i) % 40) | FIRST | CONTEXT,
            1..5 => (before(i) % 40) | CONTEXT,
            5 => (i * i % 40) | FIRST | CONTEXT,
            _ => i * i % 40,
        })
        .collect();
    let data = TokenData::from_marked(&marked, 40).unwrap();
    let batches = Batches::new(&data, 12, 1, 40).unwrap();
    let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config, train).unwrap();
    pollster::block_on(trainer.validation_loss(&batches, &batches.fixed(7))).unwrap()
}

#[test]
fn what_is_in_one_document_means_nothing_to_the_next() {
    let [apart, whole] = [Packing::Documents, Packing::Whole]
        .map(|packing| [loss(packing, |i| i), loss(packing, |i| 7 * i + 3)]);
    assert_eq!(apart[0], apart[1]);
    assert!(whole[0] != whole[1] && whole[0] != apart[0], "{whole:?}");
}
