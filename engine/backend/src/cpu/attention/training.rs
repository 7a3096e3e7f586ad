//! Causal attention over whole sequences, with its backward.

use super::softcap;
use crate::cpu::forward::dot;
use crate::cpu::matmul::{Precision, Product, View};
use crate::cpu::simd::multiversion;
use crate::cpu::vectors::{self, Wide};
use ternary_common::platform::par;
use ternary_core::math::{self, Lanes};
use ternary_model::program::{AttentionShape, Scores};

multiversion! {
    fn softmax_row(row: &mut [f32]) -> f32 {
        let max = vectors::max(row);
        vectors::update(row, |s| math::exp(s - Wide::splat(max)));
        let total = vectors::sum(row);
        let inverse = Wide::splat(1.0 / total);
        vectors::update(row, |s| s * inverse);
        max + libm::logf(total)
    }
}

multiversion! {
    /// p = exp(s − lse) for one row.
    fn restore_row(row: &mut [f32], lse: f32) {
        vectors::update(row, |s| math::exp(s - Wide::splat(lse)));
    }
}

multiversion! {
    /// ds = p·(dp − Σ p·dp) for one row, in place of dp.
    fn softmax_grad_row(p: &[f32], dp: &mut [f32], delta: f32) {
        let delta = Wide::splat(delta);
        vectors::each(p, dp, |p, dp| p * (dp - delta));
    }
}

multiversion! {
    fn multiply_row(x: &[f32], out: &mut [f32]) {
        vectors::each(x, out, |x, out| x * out);
    }
}

/// Query rows whose scores are computed together: a block sees only the keys before its end.
const BLOCK: usize = 64;

/// Where every head's matrix `[seq, head_dim]` lies inside `[batch·seq, heads·head_dim]`.
#[derive(Clone, Copy)]
struct Heads {
    seq: usize,
    count: usize,
    dim: usize,
}

impl Heads {
    fn width(&self) -> usize {
        self.count * self.dim
    }

    /// Where a row of a head begins.
    fn at(&self, batch: usize, head: usize, row: usize) -> usize {
        (batch * self.seq + row) * self.width() + head * self.dim
    }

    /// `rows` rows of a head from `first` on.
    fn view<'a>(
        &self,
        x: &'a [f32],
        batch: usize,
        head: usize,
        first: usize,
        rows: usize,
    ) -> View<'a> {
        View {
            data: &x[self.at(batch, head, first)..],
            rows,
            cols: self.dim,
            rs: self.width(),
            cs: 1,
        }
    }
}

/// A head's matrix turned, `[head_dim, seq]`: products with it then read vectors where they lie,
/// instead of packing what every block of queries sees anew.
struct Turned {
    data: Vec<f32>,
    seq: usize,
}

impl Turned {
    fn new(heads: &Heads) -> Self {
        Turned {
            data: vec![0.0; heads.dim * heads.seq],
            seq: heads.seq,
        }
    }

    fn fill(&mut self, heads: &Heads, x: &[f32], batch: usize, head: usize) {
        for row in 0..self.seq {
            let from = &x[heads.at(batch, head, row)..][..heads.dim];
            for (line, v) in self.data.chunks_exact_mut(self.seq).zip(from) {
                line[row] = *v;
            }
        }
    }

    /// `count` columns, the head's rows from `first` on.
    fn view(&self, first: usize, count: usize) -> View<'_> {
        View {
            data: &self.data[first..],
            rows: self.data.len() / self.seq,
            cols: count,
            rs: self.seq,
            cs: 1,
        }
    }
}

/// The heads of queries, and those of keys and values.
fn heads(s: &AttentionShape) -> (Heads, Heads) {
    let of = |count| Heads {
        seq: s.seq,
        count,
        dim: s.head_dim,
    };
    (of(s.heads), of(s.kv_heads))
}

multiversion! {
    /// Scores of a row capped; `slopes`, unless empty, become what the cap multiplies their
    /// gradients by.
    fn cap_row(scores: &mut [f32], slopes: &mut [f32], cap: f32) {
        vectors::update(scores, |s| softcap(s, cap));
        let inverse = Wide::splat(1.0 / cap);
        vectors::each(scores, slopes, |s, _| Wide::splat(1.0) - (s * inverse) * (s * inverse));
    }
}

/// A block of queries and the keys that they see, both `first..end` of a sequence.
#[derive(Clone, Copy)]
struct Block {
    queries: (usize, usize),
    keys: (usize, usize),
}

impl Block {
    /// The queries from `first` on. `positions`, of a sequence's rows in their documents, say where
    /// the first one's document begins: no key before it is seen.
    fn new(first: usize, seq: usize, positions: Option<&[u32]>) -> Self {
        let end = seq.min(first + BLOCK);
        let oldest = positions.map_or(0, |p| first - p[first] as usize);
        Block {
            queries: (first, end),
            keys: (oldest, end),
        }
    }

    fn rows(&self) -> usize {
        self.queries.1 - self.queries.0
    }

    fn seen(&self) -> usize {
        self.keys.1 - self.keys.0
    }
}

/// scores `[rows, seen]` = queries · keys, which are turned, as `of` makes scores of them, those
/// that are not masked made probabilities by `normalize(row, unmasked)` and the others 0. As exact
/// in the backward as in the forward: an error of a score is a factor on its probability. `slopes`,
/// empty or of the same shape, become what a cap multiplies the gradients of scores by. `positions`
/// are those of the queries in their documents.
fn probabilities(
    scores: &mut [f32],
    slopes: &mut [f32],
    queries: View,
    keys: View,
    of: Scores,
    positions: Option<&[u32]>,
    mut normalize: impl FnMut(usize, &mut [f32]),
) {
    let (rows, seen) = (queries.rows, keys.cols);
    Product {
        alpha: of.scale,
        ..Product::new(queries, keys, Precision::Float)
    }
    .serial(scores, seen);
    if let Some(cap) = of.softcap {
        for (i, row) in scores.chunks_exact_mut(seen).enumerate() {
            let slopes = slopes.get_mut(i * seen..(i + 1) * seen);
            cap_row(row, slopes.unwrap_or_default(), cap);
        }
    }
    for (i, row) in scores.chunks_exact_mut(seen).enumerate() {
        // −∞ becomes 0, too; up to a whole vector it costs less than single elements would.
        let live = seen - rows + i + 1;
        let whole = live.next_multiple_of(16).min(seen);
        // The query's own key is the last live one.
        let visible = positions.map_or(live, |p| p[i] as usize + 1);
        let visible = of.window.map_or(visible, |window| window.min(visible));
        let first = live.saturating_sub(visible);
        row[live..whole].fill(f32::NEG_INFINITY);
        row[whole..].fill(0.0);
        row[..first].fill(0.0);
        normalize(i, &mut row[first..whole]);
    }
}

/// Positions of a sequence's rows in their documents.
fn of_sequence(positions: Option<&[u32]>, batch: usize, seq: usize) -> Option<&[u32]> {
    positions.map(|p| &p[batch * seq..][..seq])
}

/// Forward over whole sequences.
pub fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    positions: Option<&[u32]>,
    out: &mut [f32],
    lse: &mut [f32],
    s: &AttentionShape,
) {
    let t = s.seq;
    let (of_q, of_k) = heads(s);
    let work = par::work([s.batch, s.heads, t, t, s.head_dim]);
    par::pieces2(
        out,
        t * of_q.width(),
        lse,
        s.heads * t,
        work,
        |b, out, lse| {
            let positions = of_sequence(positions, b, t);
            let mut scores = vec![0f32; BLOCK.min(t) * t];
            let mut keys = Turned::new(&of_k);
            let share = s.heads / s.kv_heads;
            for (h, lse) in lse.chunks_exact_mut(t).enumerate() {
                let kv = h / share;
                if h % share == 0 {
                    keys.fill(&of_k, k, b, kv);
                }
                for first in (0..t).step_by(BLOCK) {
                    let block = Block::new(first, t, positions);
                    let (rows, seen) = (block.rows(), block.seen());
                    let scores = &mut scores[..rows * seen];
                    let queries = of_q.view(q, b, h, first, rows);
                    let keys = keys.view(block.keys.0, seen);
                    let places = positions.map(|p| &p[first..]);
                    probabilities(
                        scores,
                        &mut [],
                        queries,
                        keys,
                        s.scores,
                        places,
                        |i, row| {
                            lse[first + i] = softmax_row(row);
                        },
                    );
                    let values = of_k.view(v, b, kv, block.keys.0, seen);
                    Product::new(View::new(scores, rows, seen), values, Precision::Float)
                        .serial(&mut out[of_q.at(0, h, first)..], of_q.width());
                }
            }
        },
    );
}

/// Gradients of [`forward`]. Scores are computed again: storing them would take
/// `[batch, heads, seq, seq]`.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    positions: Option<&[u32]>,
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    s: &AttentionShape,
) {
    let (t, d) = (s.seq, s.head_dim);
    let (of_q, of_k) = heads(s);
    let scale = s.scores.scale;
    let share = s.heads / s.kv_heads;
    let mut dkv: Vec<(&mut [f32], &mut [f32])> = dk
        .chunks_exact_mut(t * of_k.width())
        .zip(dv.chunks_exact_mut(t * of_k.width()))
        .collect();
    let work = par::work([s.batch, s.heads, t, t, d, 3]);
    par::pieces2(dq, t * of_q.width(), &mut dkv, 1, work, |b, dq, dkv| {
        let (dk, dv) = &mut dkv[0];
        let positions = of_sequence(positions, b, t);
        if positions.is_some() {
            // No block sees every key.
            dk.fill(0.0);
            dv.fill(0.0);
        }
        let mut p = vec![0f32; BLOCK.min(t) * t];
        let mut ds = p.clone();
        let mut slopes = match s.scores.softcap {
            Some(_) => p.clone(),
            None => Vec::new(),
        };
        let (mut turned_keys, mut turned_values) = (Turned::new(&of_k), Turned::new(&of_k));
        for h in 0..s.heads {
            let kv = h / share;
            if h % share == 0 {
                turned_keys.fill(&of_k, k, b, kv);
                turned_values.fill(&of_k, v, b, kv);
            }
            let lse = &lse[(b * s.heads + h) * t..][..t];
            // The last block sees every key, unless documents are kept apart: it is the first to
            // write the gradients of keys and values.
            for first in (0..t).step_by(BLOCK).rev() {
                let block = Block::new(first, t, positions);
                let (rows, seen) = (block.rows(), block.seen());
                let accumulate = positions.is_some() || h % share != 0 || block.keys.1 < t;
                let queries = of_q.view(q, b, h, first, rows);
                let dcontext = of_q.view(dout, b, h, first, rows);
                let oldest = block.keys.0;
                let keys = of_k.view(k, b, kv, oldest, seen);
                let (p, ds) = (&mut p[..rows * seen], &mut ds[..rows * seen]);
                let places = positions.map(|p| &p[first..]);
                probabilities(
                    p,
                    &mut slopes,
                    queries,
                    turned_keys.view(oldest, seen),
                    s.scores,
                    places,
                    |i, row| restore_row(row, lse[first + i]),
                );
                // dV (+)= Pᵀ · dO
                let transposed = View::new(p, rows, seen).transposed();
                Product {
                    accumulate,
                    ..Product::new(transposed, dcontext, Precision::Gradient)
                }
                .serial(&mut dv[of_k.at(0, kv, oldest)..], of_k.width());
                // dP = dO · Vᵀ; Σ p·dp equals dO·O (Dao et al. 2022).
                let values = turned_values.view(oldest, seen);
                Product::new(dcontext, values, Precision::Gradient).serial(ds, seen);
                for (i, ds) in ds.chunks_exact_mut(seen).enumerate() {
                    let at = of_q.at(b, h, first + i);
                    let delta = dot(&dout[at..at + d], &out[at..at + d]);
                    softmax_grad_row(&p[i * seen..][..seen], ds, delta);
                    if s.scores.softcap.is_some() {
                        multiply_row(&slopes[i * seen..][..seen], ds);
                    }
                }
                let ds = View::new(ds, rows, seen);
                Product {
                    alpha: scale,
                    ..Product::new(ds, keys, Precision::Gradient)
                }
                .serial(&mut dq[of_q.at(0, h, first)..], of_q.width());
                Product {
                    alpha: scale,
                    accumulate,
                    ..Product::new(ds.transposed(), queries, Precision::Gradient)
                }
                .serial(&mut dk[of_k.at(0, kv, oldest)..], of_k.width());
            }
        }
    });
}
