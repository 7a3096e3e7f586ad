//! The update: straight-through factors, norms, AdamW.

use super::compare::{ROUNDINGS, SUMS, assert_close};
use super::*;

#[test]
fn straight_through_gradients_follow_f64() {
    on_both(|backend| {
        for len in RAGGED {
            for (clamp, arenas) in [(0.0, false), (0.5, true)] {
                let mut noise = Noise(len as u64);
                let (latent, before) = (noise.floats(len, 1.0), noise.floats(len, 1.0));
                let mut case = Case::default();
                let grad = case.f32(&before);
                let op = Op::SteBackward {
                    latent: case.f32(&latent),
                    grad,
                    len,
                    ste: 0.75,
                    clamp,
                    arenas,
                };
                let run_params = RunParams {
                    arenas: 0.125,
                    ..rows(1)
                };
                let factor = if arenas { 0.875 } else { 0.75 };
                let want: Vec<f64> = latent
                    .iter()
                    .zip(&before)
                    .map(|(w, g)| {
                        let outside = clamp > 0.0 && w.abs() > clamp;
                        f64::from(*g) * if outside { 0.0 } else { factor }
                    })
                    .collect();
                assert_close(
                    "ste",
                    &case.run(backend, op, &run_params, grad),
                    &want,
                    ROUNDINGS,
                );
            }
        }
    });
}

#[test]
fn scaled_sums_follow_f64() {
    on_both(|backend| {
        for len in RAGGED {
            for accumulate in [false, true] {
                let mut noise = Noise(len as u64);
                let (x, before) = (noise.floats(len, 1.0), noise.floats(len, 1.0));
                let mut case = Case::default();
                let out = case.f32(&before);
                let op = Op::Scale {
                    x: case.f32(&x),
                    out,
                    scale: 0.3,
                    len,
                    accumulate,
                };
                let want: Vec<f64> = x
                    .iter()
                    .zip(&before)
                    .map(|(x, b)| {
                        f64::from(0.3f32) * f64::from(*x)
                            + if accumulate { f64::from(*b) } else { 0.0 }
                    })
                    .collect();
                assert_close(
                    "scale",
                    &case.run(backend, op, &rows(1), out),
                    &want,
                    ROUNDINGS,
                );
            }
        }
    });
}

#[test]
fn squared_norms_follow_f64() {
    on_both(|backend| {
        // The last is summed in several stretches.
        for len in [1, 3, 65, 257, 20_000] {
            for size in [0.0, 1.0, 1e10] {
                let x = Noise(len as u64).floats(len, size);
                let mut case = Case::default();
                let out = case.f32(&[1.0, 2.0, 3.0]);
                let op = Op::SquaredNorm {
                    grad: case.f32(&x),
                    out,
                    slot: 1,
                    len,
                };
                let sum: f64 = f64s(&x).iter().map(|x| x * x).sum();
                let got = case.run(backend, op, &rows(1), out);
                assert_eq!((got[0], got[2]), (1.0, 3.0));
                assert_close("norm", &got[1..2], &[sum], SUMS);
            }
        }
    });
}

/// One AdamW step on `len` elements with the squared norms given: parameter, gradient, moments
/// afterwards, and in f64.
fn adamw(
    backend: &mut dyn Backend,
    len: usize,
    norms: &[f32],
    clip_norm: f32,
    decay: bool,
    latent_clip: f32,
) -> ([Vec<f32>; 4], [Vec<f64>; 4]) {
    let mut noise = Noise(len as u64);
    let start: [Vec<f32>; 4] = [
        noise.floats(len, 1.0),
        noise.floats(len, 1.0),
        noise.floats(len, 0.1),
        noise.floats(len, 0.1).iter().map(|v| v * v).collect(),
    ];
    let mut case = Case::default();
    let ids @ [param, grad, m, v] = std::array::from_fn(|i| case.f32(&start[i]));
    let (beta1, beta2, eps) = (0.9f32, 0.95f32, 1e-8f32);
    let op = Op::AdamW {
        param,
        grad,
        m,
        v,
        norms: case.f32(norms),
        norm_count: norms.len(),
        len,
        clip_norm,
        beta1,
        beta2,
        eps,
        decay,
        latent_clip,
    };
    let run_params = RunParams {
        lr: 0.01,
        weight_decay: 0.1,
        bias1: 5.0,
        bias2: 10.0,
        ..rows(1)
    };
    let got = case.run_all(backend, op, &run_params, ids);

    let [lr, wd, b1, b2] = [run_params.lr, run_params.weight_decay, beta1, beta2].map(f64::from);
    let norm = norms.iter().map(|n| f64::from(*n)).sum::<f64>().sqrt();
    let clip = f64::from(clip_norm);
    let factor = if clip > 0.0 && norm > clip {
        clip / norm
    } else {
        1.0
    };
    let mut want = start.map(|s| f64s(&s));
    let [param, grad, m, v] = &mut want;
    if norm.is_finite() {
        for i in 0..len {
            let g = grad[i] * factor;
            m[i] = b1 * m[i] + f64::from(1.0 - beta1) * g;
            v[i] = b2 * v[i] + f64::from(1.0 - beta2) * g * g;
            let step = lr * m[i] * 5.0 / ((v[i] * 10.0).sqrt() + f64::from(eps));
            param[i] = param[i] * if decay { 1.0 - lr * wd } else { 1.0 } - step;
            if latent_clip > 0.0 {
                param[i] = param[i].clamp(-f64::from(latent_clip), f64::from(latent_clip));
            }
        }
    }
    grad.fill(0.0);
    (got, want)
}

#[test]
fn adamw_follows_f64() {
    on_both(|backend| {
        for len in RAGGED {
            for (norms, clip_norm, decay, latent_clip) in [
                (vec![4.0, 5.0], 1.0, true, 0.5),
                (vec![0.01; 300], 1.0, false, 0.0),
                (vec![1e30], 0.0, true, 0.0),
            ] {
                let (got, want) = adamw(backend, len, &norms, clip_norm, decay, latent_clip);
                for (got, want) in got.iter().zip(&want) {
                    assert_close("adamw", got, want, SUMS);
                }
            }
        }
    });
}

#[test]
fn adamw_leaves_parameters_alone_when_a_gradient_is_not_finite() {
    on_both(|backend| {
        for bad in [f32::NAN, f32::INFINITY] {
            let (got, want) = adamw(backend, 65, &[1.0, bad, 2.0], 1.0, true, 0.5);
            for (got, want) in got.iter().zip(&want) {
                assert_eq!(f64s(got), *want);
            }
        }
    });
}
