//! BitLinear: y = Q(W)·x, W a latent with a straight-through gradient (Wang et al. 2023; Ma et al. 2024).

use crate::program::{BufferId, Op};
use crate::quant::is_latent;

use super::graph::Graph;
use super::norm::Prepared;
use super::params::Matrix;

#[derive(Clone, Debug)]
pub struct BitLinear {
    pub matrix: Matrix,
    /// Whether the input is int8: a quantised mode with `activation_bits` set.
    pub int8: bool,
}

/// The forward weight and input, kept for the backward.
#[derive(Clone, Copy, Debug)]
pub struct LinearSaved {
    x: BufferId,
    weight: BufferId,
}

impl BitLinear {
    pub fn new(g: &Graph, matrix: Matrix) -> Self {
        let int8 = matrix.mode.is_quantized() && g.config.activation_bits.is_some();
        BitLinear { matrix, int8 }
    }

    /// The weight as the training forward multiplies it, f32 `[rows, cols]`: F16 latents as they are, others fake-quantised.
    pub fn forward_weight(g: &mut Graph, m: &Matrix) -> BufferId {
        let len = m.rows * m.cols;
        let latent = g.float_param(&m.name, len);
        if !m.mode.is_quantized() {
            return latent;
        }
        let out = g.rec.f32(len);
        g.rec.push(Op::FakeQuantWeight {
            latent,
            out,
            rows: m.rows,
            cols: m.cols,
            quant: m.quant,
            arenas: is_latent(m.mode) && g.config.arenas_initial.is_some(),
        });
        out
    }

    /// x `[rows, cols]` → `[rows, out]`.
    pub fn forward(&self, g: &mut Graph, x: &Prepared) -> (BufferId, Option<LinearSaved>) {
        if g.training() {
            let weight = Self::forward_weight(g, &self.matrix);
            let (out, saved) = self.multiply(g, x, weight);
            return (out, Some(saved));
        }
        let rows = g.rows();
        let out = g.activations(self.matrix.rows);
        let weight = g.packed(&self.matrix);
        if let Some(input) = x.input(self.int8) {
            g.rec.push(Op::Linear {
                input,
                weight,
                out,
                rows,
            });
        }
        (out, None)
    }

    /// Training forward with a weight already fake-quantised (the tied head shares the embedding's).
    pub fn multiply(
        &self,
        g: &mut Graph,
        x: &Prepared,
        weight: BufferId,
    ) -> (BufferId, LinearSaved) {
        let m = &self.matrix;
        let rows = g.rows();
        let out = g.activations(m.rows);
        // `Prepared` was built for this matrix's precision; its float form always exists in training.
        let x = x.dense(self.int8).or(x.dense(false)).unwrap_or(out);
        g.rec.push(Op::MatMul {
            a: x,
            b: weight,
            out,
            m: rows,
            n: m.rows,
            k: m.cols,
            trans_a: false,
            trans_b: true,
            accumulate: false,
        });
        (out, LinearSaved { x, weight })
    }

    /// Adds dyᵀ·x to the latent's gradient and dy·W to (or into) `dx`. The straight-through factor comes with the update.
    pub fn backward(
        &self,
        g: &mut Graph,
        saved: &LinearSaved,
        dy: BufferId,
        dx: BufferId,
        accumulate: bool,
    ) {
        let m = &self.matrix;
        let rows = g.rows();
        let grad = g.grad(&m.name, m.rows * m.cols);
        g.rec.push(Op::MatMul {
            a: dy,
            b: saved.x,
            out: grad,
            m: m.rows,
            n: m.cols,
            k: rows,
            trans_a: true,
            trans_b: false,
            accumulate: true,
        });
        g.rec.push(Op::MatMul {
            a: dy,
            b: saved.weight,
            out: dx,
            m: rows,
            n: m.cols,
            k: m.rows,
            trans_a: false,
            trans_b: false,
            accumulate,
        });
    }
}
