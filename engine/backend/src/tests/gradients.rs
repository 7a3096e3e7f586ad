//! Losses and gradients of operations on token rows.

use super::compare::{ROUNDINGS, SUMS, TRANSCENDENTAL, assert_close};
use super::rows::{act, norm_of, with_extremes};
use super::*;
use ternary_core::config::Activation;
use ternary_model::program::RelationShape;

#[test]
fn fake_quantized_activations_follow_f64() {
    on_both(|backend| {
        for dim in RAGGED {
            let x = with_extremes(Noise(dim as u64).floats(5 * dim, 4.0), dim);
            let mut case = Case::default();
            let out = case.out(x.len());
            let op = Op::FakeQuantAct {
                x: case.f32(&x),
                out,
                rows: 5,
                dim,
            };
            let got = case.run(backend, op, &rows(5), out);
            for (got, x) in got.chunks(dim).zip(x.chunks(dim)) {
                let largest = x.iter().fold(1e-5f32, |m, v| m.max(v.abs()));
                let scale = f64::from(largest) / 127.0;
                for (got, x) in got.iter().zip(x) {
                    let code = f64::from(*got) / scale;
                    // On the grid, at the nearest point but for ties that f32 rounding decides the
                    // other way.
                    assert!((code - code.round()).abs() < 127.0 * SUMS, "{got} of {x}");
                    assert!(
                        (code - f64::from(*x) / scale).abs() <= 0.5 + 127.0 * SUMS,
                        "{got} of {x}"
                    );
                }
            }
        }
    });
}

#[test]
fn gradients_of_norms_follow_f64() {
    on_both(|backend| {
        for dim in RAGGED {
            // The last sums the weight's gradient in several bands.
            for (rows_n, groups, accumulate) in [(1, 1, false), (3, 2, true), (130, 1, true)] {
                let n = rows_n * groups * dim;
                let mut noise = Noise(dim as u64);
                let (x, dy) = (noise.floats(n, 3.0), noise.floats(n, 1.0));
                let weight = noise.floats(dim, 1.0);
                let (dx_before, dw_before) = (noise.floats(n, 1.0), noise.floats(dim, 1.0));
                let rstd: Vec<f64> = x.chunks(dim).map(|x| norm_of(x, &weight, 1e-6).1).collect();
                let rstd_f32: Vec<f32> = rstd.iter().map(|r| *r as f32).collect();

                let mut case = Case::default();
                let (dx, dweight) = (case.f32(&dx_before), case.f32(&dw_before));
                let op = Op::RmsNormBackward {
                    x: case.f32(&x),
                    weight: case.f32(&weight),
                    rstd: case.f32(&rstd_f32),
                    dy: case.f32(&dy),
                    dx,
                    dweight,
                    rows: rows_n,
                    groups,
                    dim,
                    accumulate,
                };
                let [got_dx, got_dw] = case.run_all(backend, op, &rows(rows_n), [dx, dweight]);

                let mut want_dw = f64s(&dw_before);
                let mut want_dx = Vec::new();
                let before = dx_before.chunks(dim);
                for (((x, dy), r), before) in
                    x.chunks(dim).zip(dy.chunks(dim)).zip(&rstd).zip(before)
                {
                    let hat: Vec<f64> = x.iter().map(|x| f64::from(*x) * r).collect();
                    let g: Vec<f64> = dy
                        .iter()
                        .zip(&weight)
                        .map(|(d, w)| f64::from(*d) * f64::from(*w))
                        .collect();
                    let mean = g.iter().zip(&hat).map(|(g, h)| g * h).sum::<f64>() / dim as f64;
                    for i in 0..dim {
                        want_dw[i] += f64::from(dy[i]) * hat[i];
                        let base = if accumulate {
                            f64::from(before[i])
                        } else {
                            0.0
                        };
                        want_dx.push(base + r * (g[i] - hat[i] * mean));
                    }
                }
                let what = format!("{rows_n} rows of {groups} × {dim}");
                // One column: the gradient of x/|x| is 0 but for eps.
                if dim > 1 || accumulate {
                    assert_close(&what, &got_dx, &want_dx, SUMS);
                }
                assert_close(&what, &got_dw, &want_dw, SUMS);
            }
        }
    });
}

#[test]
fn gradients_of_activations_follow_f64() {
    on_both(|backend| {
        for &activation in Activation::ALL {
            for gated in [false, true] {
                for dim in RAGGED {
                    let mut noise = Noise(dim as u64);
                    let n = 3 * dim;
                    let gate = noise.floats(n, 6.0);
                    let (up, dout) = (noise.floats(n, 2.0), noise.floats(n, 1.0));
                    let mut case = Case::default();
                    let (dgate, dup) = (case.out(n), case.out(n));
                    let op = Op::ActivateBackward {
                        gate: case.f32(&gate),
                        up: gated.then(|| case.f32(&up)),
                        dout: case.f32(&dout),
                        dgate,
                        dup: gated.then_some(dup),
                        activation,
                        rows: 3,
                        dim,
                    };
                    let [got_gate, got_up] = case.run_all(backend, op, &rows(3), [dgate, dup]);
                    let slope = |x: f64| {
                        // Central differences in f64 are exact to 1e-9 for these.
                        let h = 1e-5;
                        (act(activation, x + h) - act(activation, x - h)) / (2.0 * h)
                    };
                    let want = |f: &dyn Fn(usize) -> f64| -> Vec<f64> {
                        (0..n).map(|i| f64::from(dout[i]) * f(i)).collect()
                    };
                    let factor = |i: usize| if gated { f64::from(up[i]) } else { 1.0 };
                    let want_gate = want(&|i| slope(f64::from(gate[i])) * factor(i));
                    assert_close(
                        &format!("{activation:?}"),
                        &got_gate,
                        &want_gate,
                        TRANSCENDENTAL,
                    );
                    if gated {
                        let want_up = want(&|i| act(activation, f64::from(gate[i])));
                        assert_close(
                            &format!("{activation:?}"),
                            &got_up,
                            &want_up,
                            TRANSCENDENTAL,
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn gradients_of_saturated_activations_are_finite() {
    with_gpu(|gpu| {
        for &activation in Activation::ALL {
            let mut case = Case::default();
            let dgate = case.out(5);
            let op = Op::ActivateBackward {
                gate: case.f32(&[1e30, -1e30, f32::MAX, f32::MIN, 0.0]),
                up: None,
                dout: case.f32(&[1.0; 5]),
                dgate,
                dup: None,
                activation,
                rows: 1,
                dim: 5,
            };
            let got = case.run(gpu, op, &rows(1), dgate);
            assert!(got.iter().all(|v| v.is_finite()), "{activation:?}: {got:?}");
            assert!(got[0] > 0.0 && got[1] == 0.0, "{activation:?}: {got:?}");
        }
    });
}

/// Loss of one row and its gradient, in f64.
fn cross_entropy(logits: &[f32], target: usize, z: f64, scale: f64) -> (f64, Vec<f64>) {
    let x = f64s(logits);
    let largest = x.iter().copied().fold(f64::MIN, f64::max);
    let lse = largest + x.iter().map(|v| (v - largest).exp()).sum::<f64>().ln();
    let grad = x.iter().enumerate().map(|(i, v)| {
        let hot = if i == target { 1.0 } else { 0.0 };
        scale * ((v - lse).exp() * (1.0 + 2.0 * z * lse) - hot)
    });
    (lse - x[target], grad.collect())
}

#[test]
fn cross_entropy_follows_f64() {
    on_both(|backend| {
        for vocab in RAGGED {
            for (z_loss, grad, size) in [
                (0.0, true, 5.0),
                (0.01, true, 5.0),
                (0.0, false, 5.0),
                (0.0, true, 1e4),
            ] {
                let rows_n = 4;
                let x = Noise(vocab as u64).floats(rows_n * vocab, size);
                // The third is ignored, the fourth past the valid rows.
                let targets = [0, vocab as u32 - 1, u32::MAX, 0];
                let mut case = Case::default();
                let logits = case.f32(&x);
                let losses = case.f32(&[7.0; 4]);
                let op = Op::CrossEntropy {
                    logits,
                    targets: case.u32(&targets),
                    losses,
                    rows: rows_n,
                    vocab,
                    z_loss,
                    grad,
                };
                let run_params = RunParams {
                    grad_scale: 0.25,
                    ..rows(3)
                };
                let [got_grad, got_losses] =
                    case.run_all(backend, op, &run_params, [logits, losses]);
                assert_eq!(got_losses[2..], [0.0, 7.0]);
                for r in 0..rows_n {
                    let own = r * vocab..(r + 1) * vocab;
                    let got = &got_grad[own.clone()];
                    if r == 3 || !grad {
                        assert_eq!(got, &x[own]);
                    } else if r == 2 {
                        assert!(got.iter().all(|g| *g == 0.0));
                    } else {
                        let (loss, want) =
                            cross_entropy(&x[own], targets[r] as usize, f64::from(z_loss), 0.25);
                        // f32 steps of logits and their logsumexp.
                        let step = f64::from(size) * f64::from(f32::EPSILON);
                        assert!(
                            (f64::from(got_losses[r]) - loss).abs() <= 4.0 * step,
                            "{loss}"
                        );
                        for (g, w) in got.iter().zip(want) {
                            assert!((f64::from(*g) - w).abs() <= 1e-6 + step, "{g} for {w}");
                        }
                    }
                }
            }
        }
    });
}

/// KL(softmax(t/T) ‖ softmax(z/T)) of one row and w·T²·KL's gradient by z, in f64.
fn kl_divergence(z: &[f32], t: &[f32], temperature: f64, weight: f64) -> (f64, Vec<f64>) {
    let log_softmax = |x: &[f32]| -> Vec<f64> {
        let x: Vec<f64> = f64s(x).iter().map(|v| v / temperature).collect();
        let largest = x.iter().copied().fold(f64::MIN, f64::max);
        let lse = largest + x.iter().map(|v| (v - largest).exp()).sum::<f64>().ln();
        x.iter().map(|v| v - lse).collect()
    };
    let (q, p) = (log_softmax(z), log_softmax(t));
    let pairs = || p.iter().zip(&q);
    (
        pairs().map(|(p, q)| p.exp() * (p - q)).sum(),
        pairs()
            .map(|(p, q)| weight * temperature * (q.exp() - p.exp()))
            .collect(),
    )
}

/// KL of every relation row, mean over heads, and its gradient by x, in f64: the gradient by
/// central differences.
#[test]
fn relations_to_a_teachers_follow_f64() {
    let mean_kl = |x: &[f64], teacher: &[f64], s: &RelationShape, at: usize| -> f64 {
        let log_softmax = |x: &[f64], h: usize, dim: usize| -> Vec<f64> {
            let row = |r: usize| &x[r * s.heads * dim + h * dim..][..dim];
            let first = at / s.seq * s.seq;
            let scores: Vec<f64> = (first..first + s.seq)
                .map(|j| row(at).iter().zip(row(j)).map(|(a, b)| a * b).sum::<f64>())
                .map(|score| score / (dim as f64).sqrt())
                .collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = scores.iter().map(|v| (v - largest).exp()).sum();
            scores.iter().map(|v| v - largest - sum.ln()).collect()
        };
        let of_head = |h| -> f64 {
            let (p, q) = (
                log_softmax(teacher, h, s.teacher_dim),
                log_softmax(x, h, s.dim),
            );
            p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
        };
        (0..s.heads).map(of_head).sum::<f64>() / s.heads as f64
    };
    on_both(|backend| {
        for (seq, heads, dim, teacher_dim) in [(1, 1, 1, 3), (7, 2, 3, 1), (65, 3, 5, 8)] {
            let shape = RelationShape {
                batch: 2,
                seq,
                heads,
                dim,
                teacher_dim,
            };
            let n = shape.batch * seq;
            let mut noise = Noise(seq as u64);
            let (x, teacher) = (
                noise.floats(n * heads * dim, 1.5),
                noise.floats(n * heads * teacher_dim, 1.5),
            );
            // The last row is not learnt from.
            let mut targets = vec![0; n];
            targets[n - 1] = u32::MAX;
            let mut case = Case::default();
            let (losses, scores) = (case.f32(&vec![7.0; n]), case.out(2 * heads * seq * seq));
            let (at, before) = (case.f32(&x), noise.floats(x.len(), 0.1));
            let dx = case.f32(&before);
            let op = Op::RelationDivergence {
                x: at,
                teacher: case.f32(&teacher),
                targets: case.u32(&targets),
                scores,
                losses,
                shape,
                weight: 0.7,
            };
            let run_params = RunParams {
                grad_scale: 0.25,
                ..rows(n)
            };
            case.recorder.push(op);
            let backward = Op::RelationBackward {
                x: at,
                scores,
                dx,
                shape,
            };
            let [got, got_dx] = case.run_all(backend, backward, &run_params, [losses, dx]);
            let (x, teacher) = (f64s(&x), f64s(&teacher));
            let mut want: Vec<f64> = (0..n).map(|r| mean_kl(&x, &teacher, &shape, r)).collect();
            want[n - 1] = 0.0;
            // A single row always relates to itself alone.
            if seq > 1 {
                assert_close("losses", &got, &want, TRANSCENDENTAL);
            } else {
                assert!(got.iter().all(|kl| kl.abs() < 1e-6), "{got:?}");
            }
            let total =
                |x: &[f64]| -> f64 { (0..n - 1).map(|r| mean_kl(x, &teacher, &shape, r)).sum() };
            // Some elements of the first and of the last row of either sequence.
            let width = heads * dim;
            let picked = [0, seq - 1, seq, n - 1].map(|r| r * width + width / 2);
            let gradient = |i: usize| {
                let moved = |h: f64| {
                    let mut x = x.clone();
                    x[i] += h;
                    total(&x)
                };
                let h = 1e-5;
                f64::from(before[i]) + 0.7 * 0.25 * (moved(h) - moved(-h)) / (2.0 * h)
            };
            let want = picked.map(gradient);
            let got = picked.map(|i| got_dx[i]);
            assert_close("gradients", &got, &want, TRANSCENDENTAL);
        }
    });
}

/// Loss and margin of a pair of `seq` rows each, and the derivative of the loss by each row's.
fn preference(losses: &[f32], reference: &[f32], seq: usize, beta: f64) -> ([f64; 2], Vec<f64>) {
    let figures = |losses: &[f64]| {
        let all = reference.iter().zip(losses).enumerate();
        let ratios = all.map(|(i, (r, l))| (f64::from(*r) - l) * if i < seq { 1.0 } else { -1.0 });
        let margin = beta * ratios.sum::<f64>();
        [(-margin).max(0.0) + (-margin.abs()).exp().ln_1p(), margin]
    };
    let losses = f64s(losses);
    let slope = |i: usize| {
        let h = 1e-5;
        let moved = |h: f64| {
            let mut losses = losses.clone();
            losses[i] += h;
            figures(&losses)[0]
        };
        (moved(h) - moved(-h)) / (2.0 * h)
    };
    (figures(&losses), (0..2 * seq).map(slope).collect())
}

#[test]
fn preference_losses_follow_f64() {
    on_both(|backend| {
        for (seq, vocab) in [(1, 1), (3, 65), (65, 3), (257, 2)] {
            // The last of the pairs is all padding, and one behind it is not valid.
            let (pairs, row) = (5, 2 * seq);
            for (size, beta) in [(2.0, 0.1), (0.0, 0.5), (300.0, 1.0)] {
                let mut noise = Noise(seq as u64);
                let n = pairs * row;
                let (l, r) = (noise.floats(n, size), noise.floats(n, size));
                let (mut l, mut r) = (l, r);
                let mut t = vec![0u32; n];
                for at in 3 * row..4 * row {
                    (l[at], r[at], t[at]) = (0.0, 0.0, u32::MAX);
                }
                let d = noise.floats(n * vocab, 1.0);
                for grad in [true, false] {
                    let mut case = Case::default();
                    let d_logits = case.f32(&d);
                    let [out, margins, wins] = [(); 3].map(|()| case.f32(&[7.0; 5]));
                    let op = Op::PreferenceLoss {
                        targets: case.u32(&t),
                        losses: case.f32(&l),
                        reference: case.f32(&r),
                        d_logits: grad.then_some(d_logits),
                        out,
                        margins,
                        wins,
                        pairs,
                        seq,
                        vocab,
                        beta,
                    };
                    let valid = rows(4 * row);
                    let [got_d, got_out, got_margins, got_wins] =
                        case.run_all(backend, op, &valid, [d_logits, out, margins, wins]);
                    for got in [&got_out, &got_margins, &got_wins] {
                        assert_eq!(got[3..], [0.0, 7.0]);
                    }
                    assert_eq!(got_d[4 * row * vocab..], d[4 * row * vocab..]);
                    for pair in 0..3 {
                        let own = pair * row..(pair + 1) * row;
                        let ([loss, margin], slopes) =
                            preference(&l[own.clone()], &r[own.clone()], seq, f64::from(beta));
                        // Of a sum of `row` differences that may cancel.
                        let rounding = f64::from(size * beta) * row as f64 * 2e-7 + 1e-6;
                        let close = |got: f32, want: f64| {
                            assert!(
                                (f64::from(got) - want).abs() <= rounding,
                                "{got} for {want}"
                            );
                        };
                        close(got_out[pair], loss);
                        close(got_margins[pair], margin);
                        if margin.abs() > rounding || size == 0.0 {
                            assert_eq!(got_wins[pair], f32::from(margin > 0.0));
                        }
                        for (i, slope) in own.zip(slopes) {
                            for at in i * vocab..(i + 1) * vocab {
                                let want = f64::from(d[at]) * if grad { slope } else { 1.0 };
                                close(got_d[at], want);
                            }
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn divergence_from_a_teacher_follows_f64() {
    on_both(|backend| {
        for vocab in RAGGED {
            for (temperature, size) in [(1.0, 4.0), (2.5, 4.0), (2.0, 1e3)] {
                let mut noise = Noise(vocab as u64);
                let (z, t) = (noise.floats(4 * vocab, size), noise.floats(4 * vocab, size));
                // The third is ignored, the fourth past the valid rows.
                let targets = [0, vocab as u32 - 1, u32::MAX, 0];
                let mut case = Case::default();
                let (teacher, losses) = (case.f32(&t), case.f32(&[7.0; 4]));
                let op = Op::KlDivergence {
                    logits: case.f32(&z),
                    teacher,
                    targets: case.u32(&targets),
                    losses,
                    rows: 4,
                    vocab,
                    weight: 0.7,
                    temperature,
                };
                let run_params = RunParams {
                    grad_scale: 0.25,
                    ..rows(3)
                };
                let [got_grad, got_losses] =
                    case.run_all(backend, op, &run_params, [teacher, losses]);
                assert_eq!(got_losses[2..], [0.0, 7.0]);
                assert!(got_grad[2 * vocab..3 * vocab].iter().all(|g| *g == 0.0));
                assert_eq!(got_grad[3 * vocab..], t[3 * vocab..]);
                for (r, got_loss) in got_losses.iter().enumerate().take(2) {
                    let own = r * vocab..(r + 1) * vocab;
                    let t64 = f64::from(temperature);
                    let (loss, want) =
                        kl_divergence(&z[own.clone()], &t[own.clone()], t64, 0.7 * 0.25);
                    // f32 steps of scaled logits and of their differences.
                    let step = f64::from(size) * f64::from(f32::EPSILON);
                    assert!(
                        (f64::from(*got_loss) - loss).abs() <= 8.0 * step + 2e-6,
                        "{got_loss} for {loss}"
                    );
                    for (g, w) in got_grad[own].iter().zip(want) {
                        assert!((f64::from(*g) - w).abs() <= 1e-6 + step, "{g} for {w}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_logit_that_is_not_a_number_shows_in_the_loss() {
    on_both(|backend| {
        let mut x = Noise(3).floats(300, 1.0);
        x[77] = f32::NAN;
        let mut case = Case::default();
        let losses = case.out(1);
        let op = Op::CrossEntropy {
            logits: case.f32(&x),
            targets: case.u32(&[5]),
            losses,
            rows: 1,
            vocab: 300,
            z_loss: 0.0,
            grad: true,
        };
        assert!(!case.run(backend, op, &rows(1), losses)[0].is_finite());
    });
}

#[test]
fn rows_of_a_float_table_are_looked_up_and_their_gradients_added() {
    on_both(|backend| {
        for dim in RAGGED {
            let (vocab, ids) = (7usize, [3u32, 0, 3, 6, 3]);
            let mut noise = Noise(dim as u64);
            let table = noise.floats(vocab * dim, 1.0);
            let mut case = Case::default();
            let out = case.out(5 * dim);
            let op = Op::Embed {
                ids: case.u32(&ids),
                table: ternary_model::program::EmbedTable::Float(case.f32(&table)),
                out,
                scale: 1.0,
                rows: 5,
                dim,
            };
            let want: Vec<f32> = ids
                .iter()
                .flat_map(|id| table[*id as usize * dim..][..dim].to_vec())
                .collect();
            assert_eq!(case.run(backend, op, &rows(5), out), want);

            let dout = noise.floats(5 * dim, 1.0);
            let mut case = Case::default();
            let dtable = case.f32(&table);
            let op = Op::EmbedBackward {
                ids: case.u32(&ids),
                dout: case.f32(&dout),
                dtable,
                scale: 1.0,
                rows: 5,
                dim,
                vocab,
            };
            let mut want = table.clone();
            for (id, dout) in ids.iter().zip(dout.chunks(dim)) {
                for (w, d) in want[*id as usize * dim..].iter_mut().zip(dout) {
                    *w += d;
                }
            }
            // Rows are added in order: the same bits.
            assert_eq!(case.run(backend, op, &rows(5), dtable), want);
        }
    });
}

#[test]
fn dropout_is_the_cpus_bit_for_bit() {
    with_gpu(|gpu| {
        for len in [1, 65, 20_000] {
            let x = Noise(len as u64).floats(len, 1.0);
            let run = |backend: &mut dyn Backend| {
                let mut case = Case::default();
                let id = case.f32(&x);
                let op = Op::Dropout {
                    x: id,
                    len,
                    rate: 0.3,
                    stream: 5,
                };
                let run_params = RunParams {
                    seed: 0xfeed_beef,
                    ..rows(1)
                };
                case.run(backend, op, &run_params, id)
            };
            let got = run(gpu);
            assert_eq!(got, run(&mut CpuBackend::new(1)));
            let kept = got.iter().filter(|v| **v != 0.0).count() as f64 / len as f64;
            assert!(len < 1000 || (kept - 0.7).abs() < 0.02, "{kept}");
        }
    });
}

#[test]
fn gradients_of_positions_follow_f64() {
    on_both(|backend| {
        for dim in RAGGED {
            let (rows_n, seq, positions) = (9, 3, 5);
            let mut noise = Noise(dim as u64);
            let (dx, before) = (
                noise.floats(rows_n * dim, 1.0),
                noise.floats(positions * dim, 1.0),
            );
            let mut case = Case::default();
            let dtable = case.f32(&before);
            let op = Op::PositionBackward {
                dx: case.f32(&dx),
                dtable,
                rows: rows_n,
                seq,
                dim,
            };
            let mut want = f64s(&before);
            for (r, dx) in dx.chunks(dim).enumerate() {
                for (w, d) in want[r % seq * dim..].iter_mut().zip(dx) {
                    *w += f64::from(*d);
                }
            }
            assert_close(
                "positions",
                &case.run(backend, op, &rows(rows_n), dtable),
                &want,
                ROUNDINGS,
            );
        }
    });
}

#[test]
fn biases_and_their_gradients_follow_f64() {
    on_both(|backend| {
        for dim in RAGGED {
            let rows_n = 5;
            let mut noise = Noise(dim as u64);
            let (x, bias) = (noise.floats(rows_n * dim, 2.0), noise.floats(dim, 1.0));
            let mut case = Case::default();
            let x_id = case.f32(&x);
            let op = Op::AddBias {
                x: x_id,
                bias: case.f32(&bias),
                rows: rows_n,
                dim,
            };
            let want: Vec<f64> = (x.iter().enumerate())
                .map(|(i, x)| f64::from(*x) + f64::from(bias[i % dim]))
                .collect();
            let got = case.run(backend, op, &rows(rows_n), x_id);
            assert_close("bias", &got, &want, ROUNDINGS);

            let mut case = Case::default();
            let dbias = case.f32(&bias);
            let op = Op::BiasBackward {
                dy: case.f32(&x),
                dbias,
                rows: rows_n,
                dim,
            };
            let mut want = f64s(&bias);
            for (i, dy) in x.iter().enumerate() {
                want[i % dim] += f64::from(*dy);
            }
            let got = case.run(backend, op, &rows(rows_n), dbias);
            assert_close("gradient of a bias", &got, &want, SUMS);
        }
    });
}

#[test]
fn centering_follows_f64() {
    on_both(|backend| {
        for dim in RAGGED {
            for accumulate in [false, true] {
                let rows_n = 3;
                let mut noise = Noise(dim as u64 + 1);
                let (x, before) = (
                    noise.floats(rows_n * dim, 3.0),
                    noise.floats(rows_n * dim, 1.0),
                );
                let mut case = Case::default();
                let out = case.f32(&before);
                let op = Op::Center {
                    x: case.f32(&x),
                    out,
                    rows: rows_n,
                    dim,
                    accumulate,
                };
                let mut want = Vec::new();
                for (x, before) in x.chunks(dim).zip(before.chunks(dim)) {
                    let mean = f64s(x).iter().sum::<f64>() / dim as f64;
                    want.extend(x.iter().zip(before).map(|(x, before)| {
                        let kept = if accumulate { f64::from(*before) } else { 0.0 };
                        f64::from(*x) - mean + kept
                    }));
                }
                let got = case.run(backend, op, &rows(rows_n), out);
                let worst = got
                    .iter()
                    .zip(&want)
                    .map(|(g, w)| (f64::from(*g) - w).abs())
                    .fold(0.0, f64::max);
                // Of one column nothing but roundings is left.
                assert!(worst <= 3.0 * SUMS, "{dim}: {worst}");
            }
        }
    });
}

#[test]
fn soft_caps_and_their_gradients_follow_f64() {
    on_both(|backend| {
        for dim in RAGGED {
            for in_place in [false, true] {
                let (rows_n, cap) = (3, 2.5f32);
                let mut noise = Noise(dim as u64 + 2);
                let mut x = noise.floats(rows_n * dim, 8.0);
                x[0] = 1e20;
                let mut case = Case::default();
                let x_id = case.f32(&x);
                let out = if in_place { x_id } else { case.out(x.len()) };
                let op = Op::Softcap {
                    x: x_id,
                    out,
                    cap,
                    rows: rows_n,
                    dim,
                };
                let tanh = |x: &f32| (f64::from(*x) / f64::from(cap)).tanh();
                let want: Vec<f64> = x.iter().map(|x| f64::from(cap) * tanh(x)).collect();
                let got = case.run(backend, op, &rows(rows_n), out);
                assert_close("soft cap", &got, &want, TRANSCENDENTAL);

                let dout = noise.floats(x.len(), 1.0);
                let mut case = Case::default();
                let gradient = case.f32(&dout);
                let op = Op::SoftcapBackward {
                    x: case.f32(&x),
                    dout: gradient,
                    cap,
                    len: x.len(),
                };
                let want: Vec<f64> = (x.iter().zip(&dout))
                    .map(|(x, d)| f64::from(*d) * (1.0 - tanh(x).powi(2)))
                    .collect();
                let got = case.run(backend, op, &rows(rows_n), gradient);
                assert_close("gradient of a soft cap", &got, &want, TRANSCENDENTAL);
            }
        }
    });
}
