//! BitLinear: y = Q(W)·x, W a latent with a straight-through gradient (Wang et al. 2023; Ma et al.
//! 2024).

use crate::program::{BufferId, Op};
use ternary_core::config::MatrixKind;

use super::decoder::SAVED;
use super::graph::{Graph, Source};
use super::lora::{Lora, LoraSaved};
use super::norm::MatrixInput;
use ternary_core::params::{self, Matrix};

#[derive(Clone, Debug)]
pub struct BitLinear {
    pub matrix: Matrix,
    /// Whether the input is int8: a quantized mode with `activation_bits` set.
    pub int8: bool,
    /// Name of the bias behind it.
    bias: Option<String>,
    pub lora: Option<Lora>,
}

/// The forward weight and input, kept for the backward.
#[derive(Clone, Copy, Debug)]
pub struct LinearSaved {
    x: BufferId,
    weight: BufferId,
    lora: Option<LoraSaved>,
}

impl BitLinear {
    pub fn new(g: &Graph, matrix: Matrix) -> Self {
        let int8 = matrix.mode.is_quantized() && g.config.activation_bits.is_some();
        BitLinear {
            matrix,
            int8,
            bias: None,
            lora: None,
        }
    }

    /// A matrix of a layer, with its bias and its adapter if it has them.
    pub fn of_layer(g: &Graph, layer: usize, kind: MatrixKind) -> Self {
        let linear = Self::new(g, params::layer_matrix(g.config, layer, kind));
        let biased = g.config.biases.contains(&kind);
        let lora = g.lora.filter(|l| l.targets.contains(&kind));
        BitLinear {
            bias: biased.then(|| params::bias_name(&linear.matrix.name)),
            lora: lora.map(|l| Lora::new(&linear.matrix, l.rank, l.scale())),
            ..linear
        }
    }

    /// The weight as the training forward multiplies it, f32 `[rows, cols]`: frozen weights and F16
    /// latents as they are, others fake-quantized.
    pub fn forward_weight(g: &mut Graph, m: &Matrix) -> BufferId {
        let len = m.rows * m.cols;
        let latent = g.latent(m);
        if !m.mode.is_quantized() || matches!(g.source, Source::Frozen(_)) {
            return latent;
        }
        let out = g.rec.f32(len);
        g.rec.push(Op::FakeQuantWeight {
            latent,
            out,
            rows: m.rows,
            cols: m.cols,
            quant: m.quant,
            arenas: m.mode.is_latent() && g.config.arenas_initial.is_some(),
        });
        out
    }

    /// x `[rows, cols]` → `[rows, out]`.
    pub fn forward(&self, g: &mut Graph, x: &MatrixInput) -> (BufferId, Option<LinearSaved>) {
        if g.training() {
            let weight = Self::forward_weight(g, &self.matrix);
            let (out, saved) = self.multiply(g, x, weight);
            return (out, Some(saved));
        }
        let rows = g.rows();
        let out = g.activations(self.matrix.rows);
        let weight = g.packed(&self.matrix);
        g.rec.push(Op::Linear {
            input: x.input(self.int8),
            weight,
            out,
            rows,
        });
        self.add_bias(g, out);
        if let Some(lora) = &self.lora {
            lora.forward(g, x.dense(self.int8), out);
        }
        (out, None)
    }

    fn add_bias(&self, g: &mut Graph, out: BufferId) {
        if let Some(name) = &self.bias {
            let (rows, dim) = (g.rows(), self.matrix.rows);
            let bias = g.float_param(name, dim);
            g.rec.push(Op::AddBias {
                x: out,
                bias,
                rows,
                dim,
            });
        }
    }

    /// Training forward with a weight already fake-quantized (the tied head shares the
    /// embedding's).
    pub fn multiply(
        &self,
        g: &mut Graph,
        x: &MatrixInput,
        weight: BufferId,
    ) -> (BufferId, LinearSaved) {
        let m = &self.matrix;
        let rows = g.rows();
        let out = g.activations(m.rows);
        let x = x.dense(self.int8);
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
        self.add_bias(g, out);
        let lora = self.lora.as_ref().map(|lora| lora.forward(g, x, out));
        (out, LinearSaved { x, weight, lora })
    }

    /// Adds dyᵀ·x to the latent's gradient, and Σ dy to the bias's, unless they are frozen, and
    /// dy·W to (or into) `dx`. The straight-through factor comes with the update.
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
        let bias = self.bias.as_ref();
        if let Some(dbias) = bias.and_then(|name| g.model_grad(name, m.rows)) {
            g.rec.push(Op::BiasBackward {
                dy,
                dbias,
                rows,
                dim: m.rows,
            });
        }
        if let Some(grad) = g.model_grad(&m.name, m.rows * m.cols) {
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
        }
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
        if let Some(lora) = &self.lora {
            lora.backward(g, saved.lora.as_ref().expect(SAVED), dy, dx);
        }
    }
}
