//! Causal attention: over the KV cache (inference) and over whole sequences with its backward (training).

use super::matmul::{Precision, View, strided};
use super::par;
use super::simd::multiversion;
use crate::math;
use crate::program::AttentionShape;

/// Columns of the values summed at once.
const COLUMNS: usize = 32;

multiversion! {
    /// One query head over `n` cached positions. `keys`/`values` start at the head's first element; rows are `stride` apart.
    fn head(q: &[f32], keys: &[f32], values: &[f32], stride: usize, n: usize, scores: &mut [f32], out: &mut [f32]) {
        let dim = q.len();
        let scale = 1.0 / (dim as f32).sqrt();
        let scores = &mut scores[..n];
        for (t, s) in scores.iter_mut().enumerate() {
            *s = math::dot(q, &keys[t * stride..][..dim]) * scale;
        }
        let max = math::max(scores);
        for s in scores.iter_mut() {
            *s = math::exp(*s - max);
        }
        let inverse = 1.0 / math::sum_by(scores.len(), |t| scores[t]);
        // A few columns at a time over all positions, so that their sums stay in registers.
        let (whole, rest) = out.as_chunks_mut::<COLUMNS>();
        for (i, out) in whole.iter_mut().enumerate() {
            let mut sums = [0f32; COLUMNS];
            for (t, s) in scores.iter().enumerate() {
                let value = &values[t * stride + i * COLUMNS..][..COLUMNS];
                for (sum, v) in sums.iter_mut().zip(value) {
                    *sum += s * v;
                }
            }
            *out = sums.map(|sum| sum * inverse);
        }
        let first = dim - rest.len();
        for (i, out) in rest.iter_mut().enumerate() {
            let weighted = |(t, s): (usize, &f32)| s * values[t * stride + first + i];
            *out = scores.iter().enumerate().map(weighted).fold(0.0, |a, b| a + b) * inverse;
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

multiversion! {
    fn softmax_row(row: &mut [f32]) -> f32 {
        let max = math::max(row);
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
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        math::dot(a, b)
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

/// Query rows whose scores are computed together: a block sees only the keys before its end.
const BLOCK: usize = 64;

/// One head's matrix `[seq, head_dim]` inside `data`, and its transpose.
fn head_view(data: &[f32], at: usize, width: usize) -> View<'_> {
    View {
        data: &data[at..],
        rs: width,
        cs: 1,
    }
}

fn transposed(v: View) -> View {
    View {
        data: v.data,
        rs: v.cs,
        cs: v.rs,
    }
}

/// Forward over whole sequences.
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
        let mut scores = vec![0f32; BLOCK.min(t) * t];
        for (h, lse) in lse.chunks_exact_mut(t).enumerate() {
            let kv = h / (s.heads / s.kv_heads);
            let at_k = head_at(s, s.kv_heads, b, kv);
            let (keys, values) = (head_view(k, at_k, ks), head_view(v, at_k, ks));
            for first in (0..t).step_by(BLOCK) {
                let seen = t.min(first + BLOCK);
                let rows = seen - first;
                let queries = head_view(q, head_at(s, s.heads, b, h) + first * qs, qs);
                let scores = &mut scores[..rows * seen];
                strided(
                    scores,
                    seen,
                    queries,
                    transposed(keys),
                    rows,
                    seen,
                    d,
                    scale,
                    false,
                    Precision::Float,
                );
                for (i, row) in scores.chunks_exact_mut(seen).enumerate() {
                    let (live, dead) = row.split_at_mut(first + i + 1);
                    lse[first + i] = softmax_row(live);
                    dead.fill(0.0);
                }
                let out = &mut out[first * qs + h * d..];
                strided(
                    out,
                    qs,
                    head_view(scores, 0, seen),
                    values,
                    rows,
                    d,
                    seen,
                    1.0,
                    false,
                    Precision::Float,
                );
            }
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
        let mut p = vec![0f32; BLOCK.min(t) * t];
        let mut ds = p.clone();
        for h in 0..s.heads {
            let kv = h / share;
            let at_q = head_at(s, s.heads, b, h);
            let at_k = head_at(s, s.kv_heads, b, kv);
            let (keys, values) = (head_view(k, at_k, ks), head_view(v, at_k, ks));
            let lse = &lse[(b * s.heads + h) * t..][..t];
            // The last block sees every key: it is the first to write the gradients of keys and values.
            for first in (0..t).step_by(BLOCK).rev() {
                let seen = t.min(first + BLOCK);
                let rows = seen - first;
                let accumulate = h % share != 0 || seen < t;
                let at = at_q + first * qs;
                let (queries, dcontext) = (head_view(q, at, qs), head_view(dout, at, qs));
                let (p, ds) = (&mut p[..rows * seen], &mut ds[..rows * seen]);
                // As exact as in the forward: an error of a score is a factor on its probability.
                strided(
                    p,
                    seen,
                    queries,
                    transposed(keys),
                    rows,
                    seen,
                    d,
                    scale,
                    false,
                    Precision::Float,
                );
                for (i, row) in p.chunks_exact_mut(seen).enumerate() {
                    let (live, dead) = row.split_at_mut(first + i + 1);
                    restore_row(live, lse[first + i]);
                    dead.fill(0.0);
                }
                let probabilities = head_view(p, 0, seen);
                // dV (+)= Pᵀ · dO
                let dv = &mut dv[kv * d..];
                strided(
                    dv,
                    ks,
                    transposed(probabilities),
                    dcontext,
                    seen,
                    d,
                    rows,
                    1.0,
                    accumulate,
                    Precision::Gradient,
                );
                // dP = dO · Vᵀ; Σ p·dp equals dO·O (Dao et al. 2022).
                strided(
                    ds,
                    seen,
                    dcontext,
                    transposed(values),
                    rows,
                    seen,
                    d,
                    1.0,
                    false,
                    Precision::Gradient,
                );
                for (i, ds) in ds.chunks_exact_mut(seen).enumerate() {
                    let at = at + i * qs;
                    let delta = dot(&dout[at..at + d], &out[at..at + d]);
                    softmax_grad_row(&p[i * seen..][..seen], ds, delta);
                }
                let ds = head_view(ds, 0, seen);
                let dq = &mut dq[first * qs + h * d..];
                strided(
                    dq,
                    qs,
                    ds,
                    keys,
                    rows,
                    d,
                    seen,
                    scale,
                    false,
                    Precision::Gradient,
                );
                let dk = &mut dk[kv * d..];
                strided(
                    dk,
                    ks,
                    transposed(ds),
                    queries,
                    seen,
                    d,
                    rows,
                    scale,
                    accumulate,
                    Precision::Gradient,
                );
            }
        }
    });
}
