//! Relations between the tokens of sequences, against a teacher's, with their backward.

use super::matmul::{Precision, Product, View};
use super::training::kl_row;
use ternary_common::platform::par;
use ternary_model::program::RelationShape;

/// The rows of one head of one sequence, `[seq, dim]` inside `[batch·seq, heads·dim]`.
fn head<'a>(x: &'a [f32], s: &RelationShape, index: usize, dim: usize) -> View<'a> {
    let (b, h) = (index / s.heads, index % s.heads);
    let width = s.heads * dim;
    View {
        data: &x[b * s.seq * width + h * dim..],
        rows: s.seq,
        cols: dim,
        rs: width,
        cs: 1,
    }
}

/// A·Aᵀ/√dim of one head, `[seq, seq]`.
fn products(x: View<'_>, out: &mut [f32]) {
    Product {
        alpha: 1.0 / (x.cols as f32).sqrt(),
        ..Product::new(x, x.transposed(), Precision::Float)
    }
    .serial(out, x.rows);
}

/// See [`ternary_model::program::Op::RelationDivergence`]; `scale` = w·grad_scale.
pub fn divergence(
    x: &[f32],
    teacher: &[f32],
    targets: &[u32],
    scores: &mut [f32],
    losses: &mut [f32],
    s: &RelationShape,
    scale: f32,
) {
    let seq = s.seq;
    let mut of_heads = vec![0f32; s.batch * s.heads * seq];
    let work = par::work([scores.len(), s.dim + s.teacher_dim + 32]);
    let factor = scale / (s.heads as f32 * (s.dim as f32).sqrt());
    par::pieces2(
        scores,
        seq * seq,
        &mut of_heads,
        seq,
        work,
        |i, scores, losses| {
            let mut theirs = vec![0f32; seq * seq];
            products(head(x, s, i, s.dim), scores);
            products(head(teacher, s, i, s.teacher_dim), &mut theirs);
            let first = i / s.heads * seq;
            let rows = scores
                .chunks_exact_mut(seq)
                .zip(theirs.chunks_exact_mut(seq));
            for (r, (row, theirs)) in rows.enumerate() {
                if targets[first + r] == u32::MAX {
                    row.fill(0.0);
                } else {
                    losses[r] = kl_row(row, theirs, 1.0, factor);
                    row.copy_from_slice(theirs);
                }
            }
        },
    );
    for (b, losses) in losses.chunks_exact_mut(seq).enumerate() {
        let of_heads = &of_heads[b * s.heads * seq..][..s.heads * seq];
        for (r, loss) in losses.iter_mut().enumerate() {
            let sum: f32 = of_heads.iter().skip(r).step_by(seq).sum();
            *loss = sum / s.heads as f32;
        }
    }
}

/// See [`ternary_model::program::Op::RelationBackward`].
pub fn backward(x: &[f32], scores: &[f32], dx: &mut [f32], s: &RelationShape) {
    let (seq, width) = (s.seq, s.heads * s.dim);
    let work = par::work([scores.len(), 2, s.dim]);
    par::pieces(dx, seq * width, work, |b, dx| {
        for h in 0..s.heads {
            let i = b * s.heads + h;
            let scores = View::new(&scores[i * seq * seq..][..seq * seq], seq, seq);
            let rows = head(x, s, i, s.dim);
            for scores in [scores, scores.transposed()] {
                Product {
                    accumulate: true,
                    ..Product::new(scores, rows, Precision::Gradient)
                }
                .serial(&mut dx[h * s.dim..], width);
            }
        }
    });
}
