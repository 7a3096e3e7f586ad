//! Muon (Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon/>): a matrix is moved along
//! its momentum's nearest half-orthogonal matrix, so that every direction of it learns alike.
//!
//! With X₀ the momentum M over its Frobenius norm, the odd polynomial of Newton–Schulz
//! X ← aX + (bA + cA²)X, A = XXᵀ, brings all singular values near 1; a wide X has the smaller A,
//! and of a tall one A = XᵀX from the right. The matrix moves by lr·0.2·√max(rows, cols)·X, as long
//! a step as AdamW's (Liu et al. 2025, "Muon is Scalable for LLM Training").
//!
//! The factor a is kept aside: with X = s·X̂ a step is X̂ ← X̂ + (s²b/a)·(Â + (s²c/b)·²)·X̂ and
//! s ← a·s, which products and sums of two buffers do.

use ternary_core::config::TrainConfig;
use ternary_core::params::Param;

use crate::graph::Graph;
use crate::program::{BufferId, BufferKind, Elem, Op};

/// a, b and c: of the fifth degree, steepest at 0.
const POLYNOMIAL: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Of a step's root mean square, as AdamW's are.
const STEP_RMS: f32 = 0.2;

/// What the updates of all matrices share.
pub(crate) struct Muon<'a> {
    pub train: &'a TrainConfig,
    /// Squared norms of all gradients.
    pub norms: BufferId,
    pub norm_count: usize,
    pub latent_clip: f32,
}

impl Muon<'_> {
    /// Record the update of the matrix `p` `[rows, cols]`.
    pub fn record(&self, g: &mut Graph, p: &Param, rows: usize, cols: usize) {
        let len = rows * cols;
        let m = BufferKind::FirstMoment.named(&p.name);
        let m = g.rec.shared(&m, Elem::F32, len);
        let x = g.rec.f32(len);
        let (norms, norm_count) = (self.norms, self.norm_count);
        let grad = g.grad(&p.name, len);
        g.rec.push(Op::Momentum {
            grad,
            m,
            out: x,
            norms,
            norm_count,
            len,
            clip_norm: self.train.clip_norm as f32,
        });
        // Its own: matrices do not wait for each other.
        let squares = g.rec.f32(1);
        g.rec.push(Op::SquaredNorm {
            grad: x,
            out: squares,
            slot: 0,
            len,
        });
        g.rec.push(Op::Normalize {
            x,
            squares,
            slot: 0,
            len,
        });
        let scale = self.orthogonalize(g, x, rows, cols);
        let param = g.float_param(&p.name, len);
        g.rec.push(Op::TakeStep {
            param,
            step: x,
            norms,
            norm_count,
            len,
            rate: self.train.muon_ratio() as f32,
            scale: scale * STEP_RMS * (rows.max(cols) as f32).sqrt(),
            latent_clip: self.latent_clip,
        });
    }

    /// Newton–Schulz steps on `x`; what it is to be multiplied by.
    fn orthogonalize(&self, g: &mut Graph, x: BufferId, rows: usize, cols: usize) -> f32 {
        let [a, b, c] = POLYNOMIAL;
        let wide = rows <= cols;
        let side = rows.min(cols);
        let mut s = 1.0f32;
        for _ in 0..self.train.muon_iterations {
            let gram = g.rec.f32(side * side);
            g.rec.push(Op::MatMul {
                a: x,
                b: x,
                out: gram,
                m: side,
                n: side,
                k: rows.max(cols),
                trans_a: !wide,
                trans_b: wide,
                accumulate: false,
            });
            let square = g.rec.f32(side * side);
            // A is its own transpose.
            g.rec.push(Op::MatMul {
                a: gram,
                b: gram,
                out: square,
                m: side,
                n: side,
                k: side,
                trans_a: false,
                trans_b: true,
                accumulate: false,
            });
            sum(g, gram, square, s * s * c / b, side * side);
            let product = g.rec.f32(rows * cols);
            let (left, right) = if wide { (gram, x) } else { (x, gram) };
            g.rec.push(Op::MatMul {
                a: left,
                b: right,
                out: product,
                m: rows,
                n: cols,
                k: side,
                trans_a: false,
                trans_b: false,
                accumulate: false,
            });
            sum(g, x, product, s * s * b / a, rows * cols);
            s *= a;
        }
        s
    }
}

/// `x += scale · y`.
fn sum(g: &mut Graph, x: BufferId, y: BufferId, scale: f32, len: usize) {
    g.rec.push(Op::Scale {
        x: y,
        out: x,
        scale,
        len,
        accumulate: true,
    });
}
