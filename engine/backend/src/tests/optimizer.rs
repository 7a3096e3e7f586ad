//! The update: straight-through factors, norms, AdamW, Muon.

use super::compare::{ROUNDINGS, SUMS, assert_close};
use super::matmul::rounding_device;
use super::*;
use ternary_core::config::{ModelConfig, Optimizer, TrainConfig};
use ternary_core::params;
use ternary_model::program::BufferKind;
use ternary_model::record_update;

#[test]
fn straight_through_gradients_follow_f64() {
    on_both(|backend| {
        for len in RAGGED {
            for (clamp, arenas, share) in [(0.0, false, 0.0), (0.5, true, 0.0), (0.0, false, 0.5)] {
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
                    float_share: share,
                    ..rows(1)
                };
                let factor = match arenas {
                    true => 0.875,
                    false => 0.75 + f64::from(share) * 0.25,
                };
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

/// What the three operations of Muon do with norms whose sum is finite or not.
#[test]
fn momentum_and_steps_follow_f64() {
    on_both(|backend| {
        for len in RAGGED {
            for norms in [vec![4.0, 5.0], vec![1e-4], vec![1.0, f32::NAN]] {
                let mut noise = Noise(len as u64);
                let [g, m0, p0] = std::array::from_fn(|_| noise.floats(len, 1.0));
                let norm = norms.iter().map(|n| f64::from(*n)).sum::<f64>().sqrt();
                let finite = norm.is_finite();
                let factor = if norm > 1.0 { 1.0 / norm } else { 1.0 };
                let run_params = RunParams {
                    lr: 0.01,
                    weight_decay: 0.1,
                    momentum: 0.9,
                    ..rows(1)
                };
                let mu = f64::from(run_params.momentum);
                let mut case = Case::default();
                let [grad, m] = [case.f32(&g), case.f32(&m0)];
                let out = case.f32(&vec![7.0; len]);
                let op = Op::Momentum {
                    grad,
                    m,
                    out,
                    norms: case.f32(&norms),
                    norm_count: norms.len(),
                    len,
                    clip_norm: 1.0,
                };
                let got = case.run_all(backend, op, &run_params, [grad, m, out]);
                let mut want = [vec![0.0; len], f64s(&m0), vec![0.0; len]];
                if finite {
                    for i in 0..len {
                        let new = (1.0 - mu) * f64::from(g[i]) * factor;
                        want[1][i] = mu * want[1][i] + new;
                        want[2][i] = mu * want[1][i] + new;
                    }
                }
                for (got, want) in got.iter().zip(&want) {
                    assert_close("momentum", got, want, SUMS);
                }

                let mut case = Case::default();
                let x = case.f32(&g);
                let op = Op::Normalize {
                    x,
                    squares: case.f32(&[9.0, 0.25]),
                    slot: 1,
                    len,
                };
                let got = case.run(backend, op, &run_params, x);
                let want: Vec<f64> = f64s(&g).iter().map(|g| g / (0.5 + 1e-7)).collect();
                assert_close("normalize", &got, &want, SUMS);

                for latent_clip in [0.0f32, 0.5] {
                    let mut case = Case::default();
                    let param = case.f32(&p0);
                    let op = Op::TakeStep {
                        param,
                        step: case.f32(&g),
                        norms: case.f32(&norms),
                        norm_count: norms.len(),
                        len,
                        rate: 2.0,
                        scale: 3.0,
                        latent_clip,
                    };
                    let got = case.run(backend, op, &run_params, param);
                    let lr = 2.0 * f64::from(run_params.lr);
                    let keep = 1.0 - lr * f64::from(run_params.weight_decay);
                    let limit = if latent_clip > 0.0 {
                        0.5
                    } else {
                        f64::INFINITY
                    };
                    let moved = |(p, g): (&f64, &f64)| {
                        if finite {
                            (p * keep - lr * 3.0 * g).clamp(-limit, limit)
                        } else {
                            *p
                        }
                    };
                    let want: Vec<f64> = f64s(&p0).iter().zip(&f64s(&g)).map(moved).collect();
                    assert_close("step", &got, &want, SUMS);
                }
            }
        }
    });
}

/// `a·b` of matrices of f64, row by row.
fn product(a: &[f64], b: &[f64], rows: usize, inner: usize, cols: usize) -> Vec<f64> {
    let at = |i: usize| {
        let (r, c) = (i / cols, i % cols);
        (0..inner).map(|k| a[r * inner + k] * b[k * cols + c]).sum()
    };
    (0..rows * cols).map(at).collect()
}

fn transposed(a: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    let at = |i: usize| a[i % rows * cols + i / rows];
    (0..rows * cols).map(at).collect()
}

/// Newton–Schulz as it is written down (Jordan et al. 2024).
fn orthogonal(g: &[f64], rows: usize, cols: usize, iterations: usize) -> Vec<f64> {
    if rows > cols {
        let wide = orthogonal(&transposed(g, rows, cols), cols, rows, iterations);
        return transposed(&wide, cols, rows);
    }
    let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut x: Vec<f64> = g.iter().map(|v| v / norm).collect();
    for _ in 0..iterations {
        let gram = product(&x, &transposed(&x, rows, cols), rows, cols, rows);
        let square = product(&gram, &gram, rows, rows, rows);
        let b: Vec<f64> = gram
            .iter()
            .zip(&square)
            .map(|(a, s)| -4.7750 * a + 2.0315 * s)
            .collect();
        let moved = product(&b, &x, rows, rows, cols);
        x = x.iter().zip(&moved).map(|(x, m)| 3.4445 * x + m).collect();
    }
    x
}

/// One update of a small model: its layers' matrices move along half-orthogonal matrices, the rest
/// as by AdamW.
fn check_muon(backend: &mut dyn Backend, tolerance: f64) {
    let config = ModelConfig {
        vocab_size: 40,
        hidden_size: 24,
        num_heads: 2,
        num_kv_heads: Some(1),
        num_layers: 1,
        intermediate_size: 40,
        use_swiglu: true,
        ste_scale_factor: 1.0,
        latent_clamp_max: 0.0,
        ..ModelConfig::default()
    };
    let train = TrainConfig {
        optimizer: Optimizer::Muon,
        lr: 0.01,
        muon_lr: Some(0.03),
        muon_iterations: 4,
        clip_norm: 0.0,
        ..TrainConfig::default()
    };
    let mut noise = Noise(5);
    let update = record_update(&config, &train);
    let all = params::trained(&config, None);
    let mut start = Vec::new();
    for p in &all {
        let values: [Vec<f32>; 3] = std::array::from_fn(|_| noise.floats(p.len(), 0.1));
        let kinds = [BufferKind::Param, BufferKind::Grad, BufferKind::FirstMoment];
        for (kind, values) in kinds.into_iter().zip(&values) {
            let name = kind.named(&p.name);
            backend.upload(&name, bytemuck::cast_slice(values)).unwrap();
        }
        if p.muon().is_none() {
            let name = BufferKind::SecondMoment.named(&p.name);
            let ones = vec![1f32; p.len()];
            backend.upload(&name, bytemuck::cast_slice(&ones)).unwrap();
        }
        start.push(values);
    }
    backend.upload("loss.train", &[0; 4]).unwrap();
    let id = backend.prepare(update.program).unwrap();
    let run_params = RunParams {
        // Of many tokens, which are no concern of matrices of norm 1.
        grad_scale: 1e-8,
        lr: 0.005,
        weight_decay: 0.2,
        momentum: 0.9,
        bias1: 1.0,
        bias2: 1.0,
        ..rows(1)
    };
    backend.run(id, &run_params).unwrap();
    let (lr, mu) = (0.005 * 3.0, 0.9);
    let mut matrices = 0;
    for (p, [param, grad, m]) in all.iter().zip(&start) {
        let name = BufferKind::Param.named(&p.name);
        let got = pollster::block_on(backend.download(&name)).unwrap();
        let got = elements::<f32>(&got);
        let Some(matrix) = p.muon() else {
            assert!(got != *param, "{} stayed", p.name);
            continue;
        };
        matrices += 1;
        let momentum: Vec<f64> = f64s(m)
            .iter()
            .zip(f64s(grad))
            .map(|(m, g)| mu * (mu * m + (1.0 - mu) * g) + (1.0 - mu) * g)
            .collect();
        let (rows, cols) = (matrix.rows, matrix.cols);
        let step = orthogonal(&momentum, rows, cols, 4);
        // Its rows, or columns, are nearly of length 1.
        let side = rows.min(cols) as f64;
        let squares: f64 = step.iter().map(|v| v * v).sum();
        assert!(
            (0.4 * side..1.6 * side).contains(&squares),
            "{squares} {side}"
        );
        let scale = 0.2 * (rows.max(cols) as f64).sqrt();
        let limit = f64::from(config.latent_clip_max_training);
        let want: Vec<f64> = f64s(param)
            .iter()
            .zip(&step)
            .map(|(p, s)| {
                let moved = p * (1.0 - lr * 0.2) - lr * scale * s;
                if matrix.mode.is_latent() && limit > 0.0 {
                    moved.clamp(-limit, limit)
                } else {
                    moved
                }
            })
            .collect();
        let moved = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(f64s(param)).map(|(v, p)| v - p).collect()
        };
        let (got, want) = (moved(&f64s(&got)), moved(&want));
        let error = got
            .iter()
            .zip(&want)
            .map(|(g, w)| (g - w).powi(2))
            .sum::<f64>();
        let size = want.iter().map(|w| w * w).sum::<f64>();
        assert!(
            (error / size).sqrt() < tolerance,
            "{}: {}",
            p.name,
            (error / size).sqrt()
        );
    }
    assert_eq!(matrices, 7);
}

#[test]
fn muon_moves_matrices_along_their_orthogonal_momentum() {
    on_both(|backend| check_muon(backend, 2e-3));
    with_gpu(|_| {
        if let Some(mut gpu) = rounding_device() {
            check_muon(&mut gpu, 2e-2);
        }
    });
}
