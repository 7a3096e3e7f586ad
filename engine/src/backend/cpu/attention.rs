//! Causal attention: over the KV cache (inference) and over whole sequences with its backward (training).

use super::matmul::{View, strided};
use super::par;
use super::simd::multiversion;
use crate::math;
use crate::program::AttentionShape;

multiversion! {
    /// One query head over `n` cached positions. `keys`/`values` start at the head's first element; rows are `stride` apart.
    fn head(q: &[f32], keys: &[f32], values: &[f32], stride: usize, n: usize, scores: &mut [f32], out: &mut [f32]) {
        let dim = q.len();
        let scale = 1.0 / (dim as f32).sqrt();
        let scores = &mut scores[..n];
        for (t, s) in scores.iter_mut().enumerate() {
            *s = math::dot(q, &keys[t * stride..][..dim]) * scale;
        }
        let max = scores.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
        let mut total = 0.0;
        for s in scores.iter_mut() {
            *s = math::exp(*s - max);
            total += *s;
        }
        out.fill(0.0);
        for (t, s) in scores.iter().enumerate() {
            let value = &values[t * stride..][..dim];
            for i in 0..dim {
                out[i] += s * value[i];
            }
        }
        let inverse = 1.0 / total;
        for o in out.iter_mut() {
            *o *= inverse;
        }
    }
}

/// See [`crate::program::Op::CachedAttention`]. `rows` query rows from position `pos` on.
#[allow(clippy::too_many_arguments)]
pub fn cached(
    q: &[f32],
    cache_k: &[f32],
    cache_v: &[f32],
    out: &mut [f32],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    pos: usize,
) {
    let stride = kv_heads * head_dim;
    let rows = out.len() / (heads * head_dim);
    let work = rows * heads * head_dim * (pos + rows) * 2;
    par::pieces(out, head_dim, work, |i, out| {
        let (row, h) = (i / heads, i % heads);
        let n = pos + row + 1;
        let at = h / (heads / kv_heads) * head_dim;
        let mut scores = vec![0f32; n];
        head(
            &q[i * head_dim..][..head_dim],
            &cache_k[at..],
            &cache_v[at..],
            stride,
            n,
            &mut scores,
            out,
        );
    });
}

/// Where a head's matrix `[seq, head_dim]` begins inside `[batch·seq, heads·head_dim]`.
fn head_at(s: &AttentionShape, heads: usize, batch: usize, head: usize) -> usize {
    batch * s.seq * heads * s.head_dim + head * s.head_dim
}

/// Causal softmax of one `[seq, seq]` score matrix in place; returns log Σ exp of each row.
fn softmax_rows(scores: &mut [f32], seq: usize, lse: &mut [f32]) {
    for (t, row) in scores.chunks_exact_mut(seq).enumerate() {
        let (live, dead) = row.split_at_mut(t + 1);
        lse[t] = softmax_row(live);
        dead.fill(0.0);
    }
}

multiversion! {
    fn softmax_row(row: &mut [f32]) -> f32 {
        let max = row.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
        for s in row.iter_mut() {
            *s = math::exp(*s - max);
        }
        let total = math::sum_by(row.len(), |i| row[i]);
        let inverse = 1.0 / total;
        for s in row.iter_mut() {
            *s *= inverse;
        }
        max + libm::logf(total)
    }
}

multiversion! {
    /// p = exp(s − lse) for one row.
    fn restore_row(row: &mut [f32], lse: f32) {
        for s in row.iter_mut() {
            *s = math::exp(*s - lse);
        }
    }
}

multiversion! {
    /// ds = p·(dp − Σ p·dp) for one row, in place of dp.
    fn softmax_grad_row(p: &[f32], dp: &mut [f32], delta: f32) {
        for (d, p) in dp.iter_mut().zip(p) {
            *d = p * (*d - delta);
        }
    }
}

/// Forward over whole sequences. Heads are computed into their own contiguous outputs, then laid side by side.
pub fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
    s: &AttentionShape,
) {
    let (t, d) = (s.seq, s.head_dim);
    let (qs, ks) = (s.heads * d, s.kv_heads * d);
    let scale = 1.0 / (d as f32).sqrt();
    let work = s.batch * s.heads * t * t * d;
    par::pieces2(out, t * qs, lse, s.heads * t, work, |b, out, lse| {
        let mut scores = vec![0f32; t * t];
        for (h, lse) in lse.chunks_exact_mut(t).enumerate() {
            let kv = h / (s.heads / s.kv_heads);
            let qh = View {
                data: &q[head_at(s, s.heads, b, h)..],
                rs: qs,
                cs: 1,
            };
            let kh = View {
                data: &k[head_at(s, s.kv_heads, b, kv)..],
                rs: 1,
                cs: ks,
            };
            let vh = View {
                data: &v[head_at(s, s.kv_heads, b, kv)..],
                rs: ks,
                cs: 1,
            };
            strided(&mut scores, t, qh, kh, t, t, d, scale, false);
            softmax_rows(&mut scores, t, lse);
            let p = View {
                data: &scores,
                rs: t,
                cs: 1,
            };
            strided(&mut out[h * d..], qs, p, vh, t, d, t, 1.0, false);
        }
    });
}

/// Gradients of [`forward`]. Scores are computed again: storing them would take `[batch, heads, seq, seq]`.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    s: &AttentionShape,
) {
    let (t, d) = (s.seq, s.head_dim);
    let (qs, ks) = (s.heads * d, s.kv_heads * d);
    let scale = 1.0 / (d as f32).sqrt();
    let share = s.heads / s.kv_heads;
    let mut dkv: Vec<(&mut [f32], &mut [f32])> = dk
        .chunks_exact_mut(t * ks)
        .zip(dv.chunks_exact_mut(t * ks))
        .collect();
    let work = s.batch * s.heads * t * t * d * 3;
    par::pieces2(dq, t * qs, &mut dkv, 1, work, |b, dq, dkv| {
        let (dk, dv) = &mut dkv[0];
        let mut p = vec![0f32; t * t];
        let mut ds = vec![0f32; t * t];
        for h in 0..s.heads {
            let kv = h / share;
            let accumulate = h % share != 0;
            let at_q = head_at(s, s.heads, b, h);
            let at_k = head_at(s, s.kv_heads, b, kv);
            strided(
                &mut p,
                t,
                View {
                    data: &q[at_q..],
                    rs: qs,
                    cs: 1,
                },
                View {
                    data: &k[at_k..],
                    rs: 1,
                    cs: ks,
                },
                t,
                t,
                d,
                scale,
                false,
            );
            let lse = &lse[(b * s.heads + h) * t..][..t];
            for (i, row) in p.chunks_exact_mut(t).enumerate() {
                let (live, dead) = row.split_at_mut(i + 1);
                restore_row(live, lse[i]);
                dead.fill(0.0);
            }
            // dV (+)= Pᵀ · dO
            strided(
                &mut dv[kv * d..],
                ks,
                View {
                    data: &p,
                    rs: 1,
                    cs: t,
                },
                View {
                    data: &dout[at_q..],
                    rs: qs,
                    cs: 1,
                },
                t,
                d,
                t,
                1.0,
                accumulate,
            );
            // dP = dO · Vᵀ; Σ p·dp equals dO·O (Dao et al. 2022).
            strided(
                &mut ds,
                t,
                View {
                    data: &dout[at_q..],
                    rs: qs,
                    cs: 1,
                },
                View {
                    data: &v[at_k..],
                    rs: 1,
                    cs: ks,
                },
                t,
                t,
                d,
                1.0,
                false,
            );
            for i in 0..t {
                let at = at_q + i * qs;
                let delta = math::dot(&dout[at..at + d], &out[at..at + d]);
                softmax_grad_row(&p[i * t..][..t], &mut ds[i * t..][..t], delta);
            }
            strided(
                &mut dq[h * d..],
                qs,
                View {
                    data: &ds,
                    rs: t,
                    cs: 1,
                },
                View {
                    data: &k[at_k..],
                    rs: ks,
                    cs: 1,
                },
                t,
                d,
                t,
                scale,
                false,
            );
            strided(
                &mut dk[kv * d..],
                ks,
                View {
                    data: &ds,
                    rs: 1,
                    cs: t,
                },
                View {
                    data: &q[at_q..],
                    rs: qs,
                    cs: 1,
                },
                t,
                d,
                t,
                scale,
                accumulate,
            );
        }
    });
}
