//! The operations that only training has.

use super::Buffers;
use crate::cpu::matmul::{Exactness, Precision, Product, View};
use crate::cpu::preference::Pairs;
use crate::cpu::{attention, forward, relations, training};
use crate::training::inference;
use ternary_model::program::{BufferId, DropoutMask, Op, RunParams, STEP_FIGURES};

pub fn run(op: &Op, b: &mut Buffers, run_params: &RunParams) {
    let valid = |rows: usize| rows.min(run_params.rows as usize);
    let pos = run_params.pos as usize;
    match op {
        Op::FakeQuantWeight {
            latent,
            out,
            rows,
            cols,
            quant,
            arenas,
        } => {
            let soft = training::Softening {
                alpha: run_params.anneal,
                arenas: if *arenas { run_params.arenas } else { 0.0 },
                float_share: run_params.float_share,
            };
            let span = quant.span_len(*rows, *cols);
            let mut scales = std::mem::take(&mut b.scales[out.index()]);
            scales.resize(rows * cols / span, 0.0);
            b.with([*out], |b, [out]| {
                let latent = b.f32(*latent);
                training::fake_quant_weight(latent, out, &mut scales, quant, &soft);
            });
            let low_bit = quant.mode.is_latent() && (soft.alpha > 0.0 || soft.arenas != 0.0);
            let codes = !low_bit && soft.float_share == 0.0;
            if quant.mode.is_quantized() && codes && span >= *cols {
                b.scales[out.index()] = scales;
            }
        }
        Op::SteBackward {
            latent,
            grad,
            ste,
            clamp,
            arenas,
            ..
        } => {
            let arenas = if *arenas { run_params.arenas } else { 0.0 };
            let factor = ste + run_params.float_share * (1.0 - ste) + arenas;
            let clamp = if *clamp > 0.0 { *clamp } else { f32::INFINITY };
            b.with([*grad], |b, [grad]| {
                training::ste_backward(b.f32(*latent), grad, factor, clamp);
            });
        }
        Op::FakeQuantAct { x, out, dim, .. } => {
            let mut scales = std::mem::take(&mut b.scales[out.index()]);
            scales.resize(b.len(*out) / dim, 0.0);
            b.with([*out], |b, [out]| {
                forward::fake_quant_act(&b.f32(*x)[..out.len()], out, &mut scales, *dim);
            });
            b.scales[out.index()] = scales;
        }
        Op::MatMul {
            a,
            b: rhs,
            out,
            m,
            n,
            k,
            trans_a,
            trans_b,
            accumulate,
        } => {
            // x·Wᵀ is a forward product; its gradients are dyᵀ·x and dy·W.
            let precision = if *trans_b {
                Precision::Float
            } else {
                Precision::Gradient
            };
            b.with([*out], |b, [out]| {
                let exactness = Exactness {
                    precision,
                    scales: [*a, *rhs].map(|id| b.known_scales(id)),
                };
                Product {
                    accumulate: *accumulate,
                    ..Product::new(
                        View::stored(b.f32(*a), *m, *k, *trans_a),
                        View::stored(b.f32(*rhs), *k, *n, *trans_b),
                        exactness,
                    )
                }
                .spread(out);
            });
        }
        Op::RmsNormBackward {
            x,
            weight,
            rstd,
            dy,
            dx,
            dweight,
            groups,
            accumulate,
            ..
        } => {
            b.with([*dx, *dweight], |b, [dx, dweight]| {
                training::rms_norm_backward(
                    b.f32(*x),
                    b.f32(*weight),
                    b.f32(*rstd),
                    b.f32(*dy),
                    dx,
                    dweight,
                    *groups,
                    *accumulate,
                );
            });
        }
        Op::Attention {
            q,
            k,
            v,
            positions,
            out,
            lse,
            shape,
        } => {
            b.with([*out, *lse], |b, [out, lse]| {
                let positions = positions.map(|p| b.u32(p));
                let (q, k, v) = (b.f32(*q), b.f32(*k), b.f32(*v));
                attention::forward(q, k, v, positions, out, lse, shape);
            });
        }
        Op::AttentionBackward {
            q,
            k,
            v,
            positions,
            out,
            lse,
            dout,
            dq,
            dk,
            dv,
            shape,
        } => {
            b.with([*dq, *dk, *dv], |b, [dq, dk, dv]| {
                attention::backward(
                    b.f32(*q),
                    b.f32(*k),
                    b.f32(*v),
                    positions.map(|p| b.u32(p)),
                    b.f32(*out),
                    b.f32(*lse),
                    b.f32(*dout),
                    dq,
                    dk,
                    dv,
                    shape,
                );
            });
        }
        Op::ActivateBackward {
            gate,
            up,
            dout,
            dgate,
            dup,
            activation,
            ..
        } => {
            let run = |b: &Buffers, dgate: &mut [f32], dup: &mut [f32]| {
                let up = up.map_or(&[][..], |u| b.f32(u));
                forward::activate_backward(*activation, b.f32(*gate), up, b.f32(*dout), dgate, dup);
            };
            match dup {
                Some(dup) => b.with([*dgate, *dup], |b, [dgate, dup]| run(b, dgate, dup)),
                None => b.with([*dgate], |b, [dgate]| run(b, dgate, &mut [])),
            }
        }
        Op::Scale {
            x,
            out,
            scale,
            len,
            accumulate,
        } => {
            b.with([*out], |b, [out]| {
                let (x, out) = (&b.f32(*x)[..*len], &mut out[..*len]);
                if *accumulate {
                    forward::axpy(x, *scale, out);
                } else {
                    forward::scale(x, *scale, out);
                }
            });
        }
        Op::CrossEntropy {
            logits,
            targets,
            losses,
            rows,
            vocab,
            z_loss,
            grad,
        } => {
            let n = valid(*rows);
            b.with([*logits, *losses], |b, [logits, losses]| {
                training::cross_entropy(
                    &mut logits[..n * vocab],
                    &b.u32(*targets)[..n],
                    &mut losses[..n],
                    *vocab,
                    *z_loss,
                    run_params.grad_scale,
                    *grad,
                );
            });
        }
        Op::KlDivergence {
            logits,
            teacher,
            targets,
            losses,
            rows,
            vocab,
            weight,
            temperature,
        } => {
            let n = valid(*rows);
            b.with([*teacher, *losses], |b, [teacher, losses]| {
                training::kl_divergence(
                    &b.f32(*logits)[..n * vocab],
                    &mut teacher[..n * vocab],
                    &b.u32(*targets)[..n],
                    &mut losses[..n],
                    *vocab,
                    *temperature,
                    weight * temperature * run_params.grad_scale,
                );
            });
        }
        Op::PreferenceLoss {
            targets,
            losses,
            reference,
            d_logits,
            out,
            margins,
            wins,
            pairs,
            seq,
            vocab,
            beta,
        } => {
            let n = valid(pairs * 2 * seq) / (2 * seq);
            let inputs = [*targets, *losses, *reference];
            b.with([*out, *margins, *wins], |b, [out, margins, wins]| {
                let pairs = compared(b, inputs, *seq, *beta);
                pairs.figures(&mut out[..n], &mut margins[..n], &mut wins[..n]);
            });
            if let Some(d_logits) = d_logits {
                b.with([*d_logits], |b, [d_logits]| {
                    let rows = &mut d_logits[..n * 2 * seq * vocab];
                    compared(b, inputs, *seq, *beta).scale(rows, *vocab);
                });
            }
        }
        Op::RelationDivergence {
            x,
            teacher,
            targets,
            scores,
            losses,
            shape,
            weight,
        } => {
            b.with([*scores, *losses], |b, [scores, losses]| {
                relations::divergence(
                    b.f32(*x),
                    b.f32(*teacher),
                    b.u32(*targets),
                    scores,
                    losses,
                    shape,
                    weight * run_params.grad_scale,
                );
            });
        }
        Op::RelationBackward {
            x,
            scores,
            dx,
            shape,
        } => {
            b.with([*dx], |b, [dx]| {
                relations::backward(b.f32(*x), b.f32(*scores), dx, shape);
            });
        }
        Op::Dropout {
            x,
            len,
            rate,
            stream,
        } => {
            let mask = DropoutMask::new(run_params.seed, *stream, *rate);
            b.with([*x], |_, [x]| {
                training::dropout(&mut x[..*len], mask, DropoutMask::scale(*rate));
            });
        }
        Op::EmbedBackward {
            ids,
            dout,
            dtable,
            scale,
            dim,
            ..
        } => {
            b.with([*dtable], |b, [dtable]| {
                training::embed_backward(b.u32(*ids), b.f32(*dout), dtable, *scale, *dim);
            });
        }
        Op::BiasBackward {
            dy,
            dbias,
            rows,
            dim,
        } => {
            b.with([*dbias], |b, [dbias]| {
                training::bias_backward(&b.f32(*dy)[..rows * dim], &mut dbias[..*dim]);
            });
        }
        Op::SoftcapBackward { x, dout, cap, len } => {
            b.with([*dout], |b, [dout]| {
                training::softcap_backward(&b.f32(*x)[..*len], &mut dout[..*len], *cap);
            });
        }
        Op::PositionBackward {
            dx,
            dtable,
            rows,
            seq,
            dim,
        } => {
            b.with([*dtable], |b, [dtable]| {
                for (r, dx) in b.f32(*dx).chunks_exact(*dim).take(*rows).enumerate() {
                    forward::axpy(dx, 1.0, &mut dtable[r % seq * dim..][..*dim]);
                }
            });
        }
        Op::SquaredNorm {
            grad, out, slot, ..
        } => {
            b.with([*out], |b, [out]| {
                out[*slot] = training::squared_norm(b.f32(*grad))
            });
        }
        Op::SumRows { x, out, rows } => {
            b.with([*out], |b, [out]| {
                let x = &b.f32(*x)[..valid(*rows)];
                out[0] += x.iter().map(|x| f64::from(*x)).sum::<f64>() as f32;
            });
        }
        Op::RecordStep {
            loss,
            norms,
            norm_count,
            history,
            capacity,
        } => {
            b.with([*loss, *history], |b, [loss, history]| {
                let norms = &b.f32(*norms)[..*norm_count];
                let bad = norms.iter().position(|n| !n.is_finite());
                let row = &mut history[pos % capacity * STEP_FIGURES..][..STEP_FIGURES];
                row[0] = loss[0];
                row[1] = norms.iter().map(|n| f64::from(*n)).sum::<f64>() as f32;
                row[2] = bad.unwrap_or(*norm_count) as f32;
                loss[0] = 0.0;
            });
        }
        Op::Momentum {
            grad,
            m,
            out,
            norms,
            norm_count,
            clip_norm,
            ..
        } => {
            b.with([*grad, *m, *out], |b, [grad, m, out]| {
                match clipping(&b.f32(*norms)[..*norm_count], *clip_norm) {
                    Some(factor) => training::momentum(grad, m, out, factor, run_params.momentum),
                    None => {
                        grad.fill(0.0);
                        out.fill(0.0);
                    }
                }
            });
        }
        Op::Normalize {
            x, squares, slot, ..
        } => {
            b.with([*x], |b, [x]| {
                let norm = b.f32(*squares)[*slot].sqrt();
                training::multiply(x, 1.0 / (norm + 1e-7));
            });
        }
        Op::TakeStep {
            param,
            step,
            norms,
            norm_count,
            rate,
            scale,
            latent_clip,
            ..
        } => {
            b.with([*param], |b, [param]| {
                if clipping(&b.f32(*norms)[..*norm_count], 0.0).is_some() {
                    let lr = rate * run_params.lr;
                    let keep = 1.0 - lr * run_params.weight_decay;
                    let limit = limit(*latent_clip);
                    training::take_step(param, b.f32(*step), keep, lr * scale, limit);
                }
            });
        }
        Op::AdamW {
            param,
            grad,
            m,
            v,
            norms,
            norm_count,
            clip_norm,
            beta1,
            beta2,
            eps,
            decay,
            latent_clip,
            ..
        } => {
            b.with([*param, *grad, *m, *v], |b, [param, grad, m, v]| {
                let norms = &b.f32(*norms)[..*norm_count];
                let Some(grad_scale) = clipping(norms, *clip_norm) else {
                    grad.fill(0.0);
                    return;
                };
                let c = training::AdamW {
                    beta1: *beta1,
                    beta2: *beta2,
                    eps: *eps,
                    weight_decay: if *decay { run_params.weight_decay } else { 0.0 },
                    grad_scale,
                    latent_clip: limit(*latent_clip),
                };
                training::adamw(param, grad, m, v, c, run_params);
            });
        }
        inference!() => {}
    }
}

/// What [`Op::PreferenceLoss`] compares: targets, losses and those of the reference.
fn compared<'a>(
    b: &'a Buffers,
    [targets, losses, reference]: [BufferId; 3],
    seq: usize,
    beta: f32,
) -> Pairs<'a> {
    Pairs {
        targets: b.u32(targets),
        losses: b.f32(losses),
        reference: b.f32(reference),
        seq,
        beta,
    }
}

/// What gradients with these squared norms are multiplied by so that theirs together is at most
/// `clip_norm` (0 = off); None where it is not finite.
fn clipping(norms: &[f32], clip_norm: f32) -> Option<f32> {
    let squares: f64 = norms.iter().map(|n| f64::from(*n)).sum();
    let norm = squares.sqrt() as f32;
    norm.is_finite().then_some(match clip_norm {
        clip if clip > 0.0 && norm > clip => clip / norm,
        _ => 1.0,
    })
}

/// How far latents may be from 0; a clip of 0 is none.
fn limit(latent_clip: f32) -> f32 {
    if latent_clip > 0.0 {
        latent_clip
    } else {
        f32::INFINITY
    }
}
