//! Whole training steps: every parameter's gradient against candle's autograd, and a run against the CPU's.

use super::*;
use crate::model::tests as model;

/// Relative error allowed for gradients: f32 sums of a few hundred terms, and WGSL's exp, tanh and division of a few ulp.
const GRADIENT_TOLERANCE: f64 = 1e-3;

#[test]
fn gradients_of_every_mode_equal_autograd() {
    with_gpu(|gpu| model::check(gpu, &model::modes(), GRADIENT_TOLERANCE));
}

#[test]
fn gradients_of_every_switch_equal_autograd() {
    with_gpu(|gpu| model::check(gpu, &model::switches(), GRADIENT_TOLERANCE));
}

#[test]
fn gradients_of_every_weight_scale_equal_autograd() {
    with_gpu(|gpu| model::check(gpu, &model::weight_scales(), GRADIENT_TOLERANCE));
}

#[test]
fn a_wrong_gradient_fails_the_comparison() {
    with_gpu(|gpu| {
        let (case, name) = model::spoilt();
        let (error, which) = model::compare(gpu, &case, 11, Some(name));
        assert_eq!(which, name);
        assert!(error > 10.0 * GRADIENT_TOLERANCE, "{error}");
    });
}
