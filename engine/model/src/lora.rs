//! Low-rank adapters: y += (α/r)·B·(A·x) beside a frozen matrix (LoRA, Hu et al. 2021). x is what
//! the matrix itself multiplies: normed, and quantized to int8 where the matrix takes that.

use crate::program::{BufferId, Op};

use super::graph::Graph;
use ternary_core::params::{self, Matrix, Param};

#[derive(Clone, Debug)]
pub struct Lora {
    a: Param,
    b: Param,
    rank: usize,
    /// α/r.
    scale: f32,
    /// Of the matrix: outputs and inputs.
    rows: usize,
    cols: usize,
}

/// What the backward reads.
#[derive(Clone, Copy, Debug)]
pub struct LoraSaved {
    x: BufferId,
    /// (α/r)·A·x, `[rows, r]`.
    hidden: BufferId,
}

impl Lora {
    pub fn new(m: &Matrix, rank: usize, scale: f32) -> Self {
        let [a, b] = params::adapter(m, rank);
        Lora {
            a,
            b,
            rank,
            scale,
            rows: m.rows,
            cols: m.cols,
        }
    }

    /// Adds the adapter's output for x `[tokens, cols]` to `out` `[tokens, rows]`.
    pub fn forward(&self, g: &mut Graph, x: BufferId, out: BufferId) -> LoraSaved {
        let tokens = g.rows();
        let (a, b) = (g.adapter_param(&self.a), g.adapter_param(&self.b));
        let unscaled = g.activations(self.rank);
        g.rec.push(Op::MatMul {
            a: x,
            b: a,
            out: unscaled,
            m: tokens,
            n: self.rank,
            k: self.cols,
            trans_a: false,
            trans_b: true,
            accumulate: false,
        });
        let hidden = g.activations(self.rank);
        g.add(unscaled, hidden, self.scale, tokens * self.rank, false);
        g.rec.push(Op::MatMul {
            a: hidden,
            b,
            out,
            m: tokens,
            n: self.rows,
            k: self.rank,
            trans_a: false,
            trans_b: true,
            accumulate: true,
        });
        LoraSaved { x, hidden }
    }

    /// Adds dyᵀ·hidden to B's gradient, dhᵀ·x to A's and dh·A to `dx`, with dh = (α/r)·dy·B.
    pub fn backward(&self, g: &mut Graph, saved: &LoraSaved, dy: BufferId, dx: BufferId) {
        let tokens = g.rows();
        let (a, b) = (g.adapter_param(&self.a), g.adapter_param(&self.b));
        let grad_a = g.grad(&self.a.name, self.a.len());
        let grad_b = g.grad(&self.b.name, self.b.len());
        g.rec.push(Op::MatMul {
            a: dy,
            b: saved.hidden,
            out: grad_b,
            m: self.rows,
            n: self.rank,
            k: tokens,
            trans_a: true,
            trans_b: false,
            accumulate: true,
        });
        let unscaled = g.activations(self.rank);
        g.rec.push(Op::MatMul {
            a: dy,
            b,
            out: unscaled,
            m: tokens,
            n: self.rank,
            k: self.rows,
            trans_a: false,
            trans_b: false,
            accumulate: false,
        });
        let d_hidden = g.activations(self.rank);
        g.add(unscaled, d_hidden, self.scale, tokens * self.rank, false);
        g.rec.push(Op::MatMul {
            a: d_hidden,
            b: saved.x,
            out: grad_a,
            m: self.rank,
            n: self.cols,
            k: tokens,
            trans_a: true,
            trans_b: false,
            accumulate: true,
        });
        g.rec.push(Op::MatMul {
            a: d_hidden,
            b: a,
            out: dx,
            m: tokens,
            n: self.cols,
            k: self.rank,
            trans_a: false,
            trans_b: false,
            accumulate: true,
        });
    }
}
