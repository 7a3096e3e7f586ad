//! The suite's comparison of operations itself.

use super::*;
use crate::bench::checks::{cases, check};
use crate::gpu::forms::Form;

const OPERATIONS: [&str; 43] = [
    "embed",
    "add_position",
    "rms_norm",
    "center",
    "add_bias",
    "softcap",
    "bias_backward",
    "softcap_backward",
    "quant_act",
    "linear",
    "rope",
    "kv_write",
    "cached_attention",
    "activate",
    "residual",
    "last_row",
    "penalize",
    "top_k",
    "choose",
    "fake_quant_weight",
    "ste_backward",
    "fake_quant_act",
    "matmul",
    "rms_norm_backward",
    "attention",
    "attention_backward",
    "activate_backward",
    "scale",
    "cross_entropy",
    "kl_divergence",
    "preference_loss",
    "relation_divergence",
    "relation_backward",
    "embed_backward",
    "position_backward",
    "squared_norm",
    "sum_rows",
    "record_step",
    "dropout",
    "adamw",
    "momentum",
    "normalize",
    "take_step",
];

#[test]
fn every_operation_is_compared_and_agrees() {
    with_gpu(|gpu| {
        let cases = cases(&[65]);
        for name in OPERATIONS {
            let found = cases
                .iter()
                .any(|case| case.operations().any(|op| op == name));
            assert!(found, "no case has {name}");
        }
        for case in &cases {
            for outcome in pollster::block_on(check(gpu, case)) {
                assert_eq!(outcome.problem, None, "{outcome:?}");
                assert!(outcome.error.is_finite());
            }
        }
    });
}

#[test]
fn a_planted_wrong_form_is_found() {
    with_gpu(|gpu| {
        let has = gpu.adapter().forms;
        // What operands are stored in computes nothing.
        let computing = Form::ALL
            .into_iter()
            .filter(|form| has.contains(&form.name()) && !Form::OPERANDS.contains(form));
        for planted in computing {
            gpu.gpu.forms.planted = Some(planted);
            let cases = cases(&[3]);
            let operation = match planted {
                Form::AttentionWorkgroup | Form::AttentionSubgroup => "cached_attention",
                Form::TrainingTiles | Form::TrainingWideTiles => "matmul",
                _ => "linear",
            };
            let outcomes = cases
                .iter()
                .filter(|case| case.operations().any(|op| op == operation))
                .flat_map(|case| pollster::block_on(check(gpu, case)));
            let wrong: Vec<_> = outcomes.filter(|o| o.problem.is_some()).collect();
            gpu.gpu.forms.planted = None;
            assert!(!wrong.is_empty());
            assert!(
                wrong.iter().all(|o| o.form == Some(planted.name())),
                "{wrong:?}"
            );
        }
    });
}
