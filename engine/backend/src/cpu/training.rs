//! Operations only training has: fake quantization, losses, gradients of norms and embeddings,
//! AdamW.

use super::forward::dot;
use super::simd::multiversion;
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::math;
use ternary_core::quant::Span;
use ternary_model::program::{DropoutMask, RunParams, WeightQuant};

const CHUNK: usize = 1 << 14;

/// What stands between a latent and its quantized value while training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Softening {
    /// α of the soft quantizer; 0 = hard.
    pub alpha: f32,
    /// Factor of the latent that is added.
    pub arenas: f32,
    /// Share of the value that is the latent itself.
    pub float_share: f32,
}

multiversion! {
    fn fake_quant_chunk(latent: &[f32], out: &mut [f32], quant: &WeightQuant, span: &Span, soft: &Softening) {
        // A copy of its own per mode: a branch on the mode inside the loop would keep it scalar.
        macro_rules! all {
            ($mode:pat, $quant:expr, $alpha:expr) => {
                if matches!(quant.mode, $mode) {
                    let quant = $quant;
                    for (o, w) in out.iter_mut().zip(latent) {
                        let q = quant.forward(span, *w, $alpha);
                        *o = q + soft.float_share * (quant.clamped(*w) - q) + soft.arenas * w;
                    }
                    return;
                }
            };
        }
        let with = |mode, twn| WeightQuant { mode, twn, ..*quant };
        if soft.alpha > 0.0 && quant.mode.is_latent() {
            all!(QuantMode::Ternary | QuantMode::Binary, with(QuantMode::Ternary, false), soft.alpha);
        }
        if quant.twn {
            all!(QuantMode::Ternary, with(QuantMode::Ternary, true), 0.0);
        }
        all!(QuantMode::Ternary, with(QuantMode::Ternary, false), 0.0);
        all!(QuantMode::Binary, with(QuantMode::Binary, false), 0.0);
        all!(QuantMode::EightBit, with(QuantMode::EightBit, false), 0.0);
        all!(QuantMode::F32 | QuantMode::F16, with(QuantMode::F16, false), 0.0);
    }
}

multiversion! {
    fn span(latent: &[f32], quant: &WeightQuant) -> Span {
        quant.span(latent)
    }
}

/// Forward weight of a latent, see [`ternary_model::program::Op::FakeQuantWeight`], and the scale
/// of each of its spans.
pub fn fake_quant_weight(
    latent: &[f32],
    out: &mut [f32],
    scales: &mut [f32],
    quant: &WeightQuant,
    soft: &Softening,
) {
    // Spans of at least a row are the unit of work; a whole-tensor span is measured first and
    // applied in pieces.
    if let [scale] = scales {
        let span = span(latent, quant);
        *scale = span.scale;
        par::pieces(out, CHUNK, latent.len() * 4, |i, out| {
            let latent = &latent[i * CHUNK..][..out.len()];
            fake_quant_chunk(latent, out, quant, &span, soft);
        });
    } else {
        let len = latent.len() / scales.len();
        let spans = CHUNK.div_ceil(len);
        par::pieces2(
            out,
            spans * len,
            scales,
            spans,
            latent.len() * 8,
            |i, out, scales| {
                let latent = &latent[i * spans * len..][..out.len()];
                let lines = latent.chunks_exact(len).zip(out.chunks_exact_mut(len));
                for ((latent, out), scale) in lines.zip(scales) {
                    let span = span(latent, quant);
                    *scale = span.scale;
                    fake_quant_chunk(latent, out, quant, &span, soft);
                }
            },
        );
    }
}

multiversion! {
    fn ste_chunk(latent: &[f32], grad: &mut [f32], factor: f32, clamp: f32) {
        for (g, w) in grad.iter_mut().zip(latent) {
            *g = if w.abs() > clamp { 0.0 } else { *g * factor };
        }
    }
}

/// See [`ternary_model::program::Op::SteBackward`]; `clamp` ∞ = off.
pub fn ste_backward(latent: &[f32], grad: &mut [f32], factor: f32, clamp: f32) {
    par::pieces(grad, CHUNK, latent.len(), |i, grad| {
        ste_chunk(&latent[i * CHUNK..][..grad.len()], grad, factor, clamp);
    });
}

multiversion! {
    fn norm_backward_row(x: &[f32], weight: &[f32], rstd: &[f32], dy: &[f32], dx: &mut [f32], dweight: &mut [f32], accumulate: bool) {
        let dim = weight.len();
        let dweight = &mut dweight[..dim];
        for (g, r) in rstd.iter().enumerate() {
            let at = g * dim;
            let (x, dy, dx) = (&x[at..at + dim], &dy[at..at + dim], &mut dx[at..at + dim]);
            let mean = math::sum_by([dy, weight, x], |[dy, w, x]| dy * w * x) * r / dim as f32;
            let gradient = |i: usize| r * (dy[i] * weight[i] - x[i] * r * mean);
            // A loop each: a branch inside would keep them scalar.
            if accumulate {
                for (i, dx) in dx.iter_mut().enumerate() {
                    *dx += gradient(i);
                }
            } else {
                for (i, dx) in dx.iter_mut().enumerate() {
                    *dx = gradient(i);
                }
            }
            for i in 0..dim {
                dweight[i] += dy[i] * (x[i] * r);
            }
        }
    }
}

/// Rows whose weight gradients are summed together before the pieces are added in order.
const NORM_ROWS: usize = 64;

/// See [`ternary_model::program::Op::RmsNormBackward`].
#[allow(clippy::too_many_arguments)]
pub fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
    groups: usize,
    accumulate: bool,
) {
    let dim = weight.len();
    let width = groups * dim;
    let bands = dx.len().div_ceil(NORM_ROWS * width);
    let mut partial = vec![0f32; bands * dim];
    par::pieces2(
        dx,
        NORM_ROWS * width,
        &mut partial,
        dim,
        x.len() * 4,
        |i, dx, partial| {
            for (r, dx) in dx.chunks_exact_mut(width).enumerate() {
                let row = i * NORM_ROWS + r;
                let at = row * width;
                norm_backward_row(
                    &x[at..at + width],
                    weight,
                    &rstd[row * groups..][..groups],
                    &dy[at..at + width],
                    dx,
                    partial,
                    accumulate,
                );
            }
        },
    );
    for part in partial.chunks_exact(dim) {
        for (d, p) in dweight.iter_mut().zip(part) {
            *d += p;
        }
    }
}

/// Columns of a bias whose gradient one task sums.
const BIAS_COLUMNS: usize = 256;

/// `dbias += Σ_rows dy`, rows in order.
pub fn bias_backward(dy: &[f32], dbias: &mut [f32]) {
    let dim = dbias.len();
    par::pieces(dbias, BIAS_COLUMNS, dy.len(), |i, dbias| {
        for dy in dy.chunks_exact(dim) {
            let dy = &dy[i * BIAS_COLUMNS..][..dbias.len()];
            for (d, dy) in dbias.iter_mut().zip(dy) {
                *d += dy;
            }
        }
    });
}

multiversion! {
    fn softcap_backward_chunk(x: &[f32], dout: &mut [f32], cap: f32) {
        for (d, x) in dout.iter_mut().zip(x) {
            let t = math::tanh(x / cap);
            *d *= 1.0 - t * t;
        }
    }
}

/// See [`ternary_model::program::Op::SoftcapBackward`].
pub fn softcap_backward(x: &[f32], dout: &mut [f32], cap: f32) {
    par::pieces(dout, CHUNK, x.len() * 8, |i, dout| {
        softcap_backward_chunk(&x[i * CHUNK..][..dout.len()], dout, cap);
    });
}

multiversion! {
    /// Loss of one row; when `grad`, logits become (softmax·(1 + 2·z·lse) − onehot)·scale.
    fn cross_entropy_row(logits: &mut [f32], target: usize, z_loss: f32, scale: f32, grad: bool) -> f32 {
        let max = math::max(logits);
        let at_target = logits[target];
        if !grad {
            let total = math::sum_by([logits], |[v]| math::exp(v - max));
            return max + libm::logf(total) - at_target;
        }
        for v in logits.iter_mut() {
            *v = math::exp(*v - max);
        }
        let total = math::sum_by([logits], |[v]| v);
        let lse = max + libm::logf(total);
        let factor = scale * (1.0 + 2.0 * z_loss * lse) / total;
        for v in logits.iter_mut() {
            *v *= factor;
        }
        logits[target] -= scale;
        lse - at_target
    }
}

/// See [`ternary_model::program::Op::CrossEntropy`].
pub fn cross_entropy(
    logits: &mut [f32],
    targets: &[u32],
    losses: &mut [f32],
    vocab: usize,
    z_loss: f32,
    scale: f32,
    grad: bool,
) {
    let work = logits.len() * 8;
    par::pieces2(logits, vocab, losses, 1, work, |r, logits, loss| {
        loss[0] = if targets[r] == u32::MAX {
            if grad {
                logits.fill(0.0);
            }
            0.0
        } else {
            cross_entropy_row(logits, targets[r] as usize, z_loss, scale, grad)
        };
    });
}

multiversion! {
    /// KL(p ‖ q) of one row with p, q the softmax of teacher/T and logits/T; `teacher` becomes (q −
    /// p)·scale.
    pub fn kl_row(logits: &[f32], teacher: &mut [f32], temperature: f32, scale: f32) -> f32 {
        let n = logits.len();
        let teacher = &mut teacher[..n];
        let inverse = 1.0 / temperature;
        let (z_max, t_max) = (math::max(logits), math::max(teacher));
        let z_total = math::sum_by([logits], |[z]| math::exp((z - z_max) * inverse));
        let t_total = math::sum_by([teacher], |[t]| math::exp((t - t_max) * inverse));
        // Σ p·((t − t_max) − (z − z_max))/T + ln(Σe^z / Σe^t): the maxima keep every term small.
        let expected = math::sum_by([teacher, logits], |[t, z]| {
            let t = (t - t_max) * inverse;
            math::exp(t) * (t - (z - z_max) * inverse)
        });
        let (z_factor, t_factor) = (1.0 / z_total, 1.0 / t_total);
        for (t, z) in teacher.iter_mut().zip(logits) {
            let p = math::exp((*t - t_max) * inverse) * t_factor;
            let q = math::exp((*z - z_max) * inverse) * z_factor;
            *t = (q - p) * scale;
        }
        expected * t_factor + libm::logf(z_total * t_factor)
    }
}

/// See [`ternary_model::program::Op::KlDivergence`]; `scale` = w·T·grad_scale.
pub fn kl_divergence(
    logits: &[f32],
    teacher: &mut [f32],
    targets: &[u32],
    losses: &mut [f32],
    vocab: usize,
    temperature: f32,
    scale: f32,
) {
    let work = logits.len() * 32;
    par::pieces2(teacher, vocab, losses, 1, work, |r, teacher, loss| {
        loss[0] = if targets[r] == u32::MAX {
            teacher.fill(0.0);
            0.0
        } else {
            kl_row(&logits[r * vocab..][..vocab], teacher, temperature, scale)
        };
    });
}

multiversion! {
    fn dropout_chunk(x: &mut [f32], first: u32, mask: DropoutMask, scale: f32) {
        for (i, x) in x.iter_mut().enumerate() {
            *x = if mask.keeps(first.wrapping_add(i as u32)) { *x * scale } else { 0.0 };
        }
    }
}

/// See [`ternary_model::program::Op::Dropout`].
pub fn dropout(x: &mut [f32], mask: DropoutMask, scale: f32) {
    let work = x.len();
    par::pieces(x, CHUNK, work, |i, x| {
        dropout_chunk(x, (i * CHUNK) as u32, mask, scale);
    });
}

/// `dtable[ids[r]] += scale · dout[r]`, rows in order; threads own ranges of the vocabulary, so the
/// order per row is fixed.
pub fn embed_backward(ids: &[u32], dout: &[f32], dtable: &mut [f32], scale: f32, dim: usize) {
    let vocab = dtable.len() / dim;
    let rows = vocab.div_ceil(8);
    par::pieces(dtable, rows * dim, dout.len(), |i, part| {
        let first = i * rows;
        let last = first + part.len() / dim;
        for (r, id) in ids.iter().enumerate() {
            let id = *id as usize;
            if (first..last).contains(&id) {
                let line = &mut part[(id - first) * dim..][..dim];
                for (o, d) in line.iter_mut().zip(&dout[r * dim..][..dim]) {
                    *o += scale * d;
                }
            }
        }
    });
}

/// Σ x² in f64 over fixed pieces.
pub fn squared_norm(x: &[f32]) -> f32 {
    let pieces = par::map(x.len().div_ceil(CHUNK), x.len(), |i| {
        let part = &x[i * CHUNK..x.len().min((i + 1) * CHUNK)];
        f64::from(dot(part, part))
    });
    pieces.iter().sum::<f64>() as f32
}

multiversion! {
    fn momentum_chunk(grad: &mut [f32], m: &mut [f32], out: &mut [f32], factor: f32, mu: f32) {
        let n = out.len();
        let (grad, m) = (&mut grad[..n], &mut m[..n]);
        for i in 0..n {
            let new = (1.0 - mu) * (grad[i] * factor);
            m[i] = mu * m[i] + new;
            out[i] = mu * m[i] + new;
            grad[i] = 0.0;
        }
    }
}

/// See [`ternary_model::program::Op::Momentum`].
pub fn momentum(grad: &mut [f32], m: &mut [f32], out: &mut [f32], factor: f32, mu: f32) {
    let work = out.len() * 4;
    let moments = grad.chunks_mut(CHUNK).zip(m.chunks_mut(CHUNK));
    let mut moments: Vec<(&mut [f32], &mut [f32])> = moments.collect();
    par::pieces2(out, CHUNK, &mut moments, 1, work, |_, out, moments| {
        let (grad, m) = &mut moments[0];
        momentum_chunk(grad, m, out, factor, mu);
    });
}

multiversion! {
    fn multiply_chunk(x: &mut [f32], factor: f32) {
        x.iter_mut().for_each(|x| *x *= factor);
    }
}

/// `x *= factor`.
pub fn multiply(x: &mut [f32], factor: f32) {
    let work = x.len();
    par::pieces(x, CHUNK, work, |_, x| multiply_chunk(x, factor));
}

multiversion! {
    fn take_step_chunk(param: &mut [f32], step: &[f32], keep: f32, scale: f32, limit: f32) {
        for (param, step) in param.iter_mut().zip(step) {
            *param = (*param * keep - scale * step).clamp(-limit, limit);
        }
    }
}

/// See [`ternary_model::program::Op::TakeStep`].
pub fn take_step(param: &mut [f32], step: &[f32], keep: f32, scale: f32, limit: f32) {
    let work = param.len() * 4;
    par::pieces(param, CHUNK, work, |i, param| {
        let step = &step[i * CHUNK..][..param.len()];
        take_step_chunk(param, step, keep, scale, limit);
    });
}

/// Constants of one AdamW update.
#[derive(Clone, Copy)]
pub struct AdamW {
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub weight_decay: f32,
    /// Factor on the gradient from clipping.
    pub grad_scale: f32,
    /// Clip of the latents afterwards; ∞ = off.
    pub latent_clip: f32,
}

multiversion! {
    fn adamw_chunk(param: &mut [f32], grad: &mut [f32], m: &mut [f32], v: &mut [f32], c: AdamW, run_params: &RunParams) {
        let n = param.len();
        let (grad, m, v) = (&mut grad[..n], &mut m[..n], &mut v[..n]);
        let keep = 1.0 - run_params.lr * c.weight_decay;
        for i in 0..n {
            let g = grad[i] * c.grad_scale;
            m[i] = c.beta1 * m[i] + (1.0 - c.beta1) * g;
            v[i] = c.beta2 * v[i] + (1.0 - c.beta2) * g * g;
            let step = run_params.lr * (m[i] * run_params.bias1) / ((v[i] * run_params.bias2).sqrt() + c.eps);
            param[i] = (param[i] * keep - step).clamp(-c.latent_clip, c.latent_clip);
            grad[i] = 0.0;
        }
    }
}

/// See [`ternary_model::program::Op::AdamW`].
pub fn adamw(
    param: &mut [f32],
    grad: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    c: AdamW,
    run_params: &RunParams,
) {
    let work = param.len() * 8;
    let mut moments: Vec<(&mut [f32], &mut [f32], &mut [f32])> = grad
        .chunks_mut(CHUNK)
        .zip(m.chunks_mut(CHUNK))
        .zip(v.chunks_mut(CHUNK))
        .map(|((g, m), v)| (g, m, v))
        .collect();
    par::pieces2(param, CHUNK, &mut moments, 1, work, |_, param, moments| {
        let (g, m, v) = &mut moments[0];
        adamw_chunk(param, g, m, v, c, run_params);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_core::rng::Rng;

    /// f32 sums of up to 257 terms against f64.
    const TOLERANCE: f64 = 2e-6;

    #[test]
    fn divergence_follows_f64() {
        for vocab in [1usize, 3, 65, 257] {
            for (temperature, spread) in [(1.0f32, 3.0f32), (2.0, 20.0), (0.5, 60.0)] {
                let rows = 5;
                let mut rng = Rng::new(vocab as u64);
                let mut draw =
                    || -> Vec<f32> { (0..rows * vocab).map(|_| spread * rng.normal()).collect() };
                let (logits, teacher) = (draw(), draw());
                let targets = [0, u32::MAX, 0, 0, 0];
                let (mut gradient, mut losses) = (teacher.clone(), vec![f32::NAN; rows]);
                kl_divergence(
                    &logits,
                    &mut gradient,
                    &targets,
                    &mut losses,
                    vocab,
                    temperature,
                    0.25,
                );
                let log_softmax = |x: &[f32]| -> Vec<f64> {
                    let x: Vec<f64> = x
                        .iter()
                        .map(|v| f64::from(*v) / f64::from(temperature))
                        .collect();
                    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
                    x.iter().map(|v| v - max - sum.ln()).collect()
                };
                for r in 0..rows {
                    let at = r * vocab..(r + 1) * vocab;
                    if targets[r] == u32::MAX {
                        assert!(losses[r] == 0.0 && gradient[at].iter().all(|g| *g == 0.0));
                        continue;
                    }
                    let q = log_softmax(&logits[at.clone()]);
                    let p = log_softmax(&teacher[at.clone()]);
                    let want: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
                    let size = f64::from(spread / temperature).max(1.0);
                    let error = (f64::from(losses[r]) - want).abs();
                    assert!(
                        error <= TOLERANCE * size * want.abs().max(1.0),
                        "{} {want}",
                        losses[r]
                    );
                    for ((g, p), q) in gradient[at].iter().zip(&p).zip(&q) {
                        let want = 0.25 * (q.exp() - p.exp());
                        assert!(
                            (f64::from(*g) - want).abs() <= TOLERANCE * size,
                            "{g} {want}"
                        );
                    }
                }
            }
        }
    }
}
