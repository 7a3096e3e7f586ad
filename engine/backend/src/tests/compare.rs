//! The one way results are compared.

/// An operation of a few roundings, and short sums in another order: 2⁻²⁴ each.
pub const ROUNDINGS: f64 = 1e-6;
/// Sums of some hundred f32 products in another order than f64's, and divisions and roots of 2.5
/// ulp (Vulkan's bound).
pub const SUMS: f64 = 5e-6;
/// Gradients that a matrix unit multiplies in bf16 pieces: 2⁻¹⁵ of Σ|a·b| at the most, about 2⁻¹⁸
/// typically, in sums whose terms cancel.
pub const GRADIENT_PRODUCTS: f64 = 6e-5;
/// exp and tanh of WGSL: 3 + 2·|x| ulp and 1e-5 relative.
pub const TRANSCENDENTAL: f64 = 2e-5;

/// Products of f16 operands.
pub const F16_PRODUCTS: f64 = crate::gpu::precision::F16_PRODUCTS;

/// A tolerance above this would let a wrong result through, but for rounded operands.
const LAXEST: f64 = 1e-4;

/// Whether every |got − want| ≤ tolerance · (|want| + mean |want|): the mean stands for the terms
/// that canceled.
pub fn compare(got: &[f32], want: &[f64], tolerance: f64) -> Result<(), String> {
    if !(tolerance > 0.0 && tolerance <= LAXEST || tolerance == F16_PRODUCTS) {
        return Err(format!("tolerance {tolerance} is not in 0..={LAXEST}"));
    }
    if got.len() != want.len() || got.is_empty() {
        return Err(format!("{} values against {}", got.len(), want.len()));
    }
    if let Some(i) = (0..got.len()).find(|&i| !got[i].is_finite() || !want[i].is_finite()) {
        return Err(format!("value {i} is {} against {}", got[i], want[i]));
    }
    let mean = want.iter().map(|w| w.abs()).sum::<f64>() / want.len() as f64;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*g) - w).abs();
        if error > tolerance * (w.abs() + mean) {
            return Err(format!("value {i} is {g}, expected {w}: error {error:e}"));
        }
    }
    Ok(())
}

#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    if let Err(e) = compare(got, want, tolerance) {
        panic!("{what}: {e}");
    }
}

#[test]
fn the_comparison_can_fail() {
    let good = [1.0f32, -2.0];
    let want = [1.0f64, -2.0];
    assert!(compare(&good, &want, ROUNDINGS).is_ok());
    assert!(compare(&[0.0], &[0.0], ROUNDINGS).is_ok());
    assert!(compare(&[1.0, -2.0001], &want, ROUNDINGS).is_err());
    assert!(compare(&[1e-30], &[0.0], ROUNDINGS).is_err());
    assert!(compare(&[f32::NAN, -2.0], &want, ROUNDINGS).is_err());
    assert!(compare(&good, &[f64::NAN, -2.0], ROUNDINGS).is_err());
    assert!(compare(&[f32::INFINITY], &[f64::INFINITY], ROUNDINGS).is_err());
    assert!(compare(&[], &[], ROUNDINGS).is_err());
    assert!(compare(&good, &want[..1], ROUNDINGS).is_err());
    assert!(compare(&good, &want, 0.1).is_err());
    assert!(compare(&good, &want, f64::NAN).is_err());
}
