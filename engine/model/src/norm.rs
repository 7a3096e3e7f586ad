//! RMSNorm and the preparation of a projection's input: norm, then int8.

use crate::program::{BufferId, Elem, LinearInput, Op};
use ternary_core::quant::tile::act_stride;

use super::bit_linear::BitLinear;
use super::graph::Graph;

/// An RMSNorm of `groups` × `dim` (groups > 1: one norm per head).
#[derive(Clone, Debug)]
pub struct RmsNorm {
    pub name: String,
    pub groups: usize,
    pub dim: usize,
}

/// What the backward of a norm needs.
#[derive(Clone, Copy, Debug)]
pub struct NormSaved {
    x: BufferId,
    rstd: BufferId,
}

impl RmsNorm {
    pub fn new(name: String, dim: usize) -> Self {
        RmsNorm {
            name,
            groups: 1,
            dim,
        }
    }

    fn width(&self) -> usize {
        self.groups * self.dim
    }

    /// x `[rows, groups·dim]` → the same shape.
    pub fn forward(&self, g: &mut Graph, x: BufferId) -> (BufferId, Option<NormSaved>) {
        let rows = g.rows();
        let weight = g.float_param(&self.name, self.dim);
        let out = g.activations(self.width());
        let rstd = g.training().then(|| g.activations(self.groups));
        g.rec.push(Op::RmsNorm {
            x,
            weight,
            out,
            rstd,
            rows,
            groups: self.groups,
            dim: self.dim,
            eps: g.config.rms_norm_eps,
        });
        (out, rstd.map(|rstd| NormSaved { x, rstd }))
    }

    /// Adds the weight's gradient; writes (or adds) the input's into `dx`.
    pub fn backward(
        &self,
        g: &mut Graph,
        saved: &NormSaved,
        dy: BufferId,
        dx: BufferId,
        accumulate: bool,
    ) {
        let rows = g.rows();
        let weight = g.float_param(&self.name, self.dim);
        // A frozen weight's gradient goes where nobody reads it.
        let dweight = g
            .model_grad(&self.name, self.dim)
            .unwrap_or_else(|| g.rec.f32(self.dim));
        g.rec.push(Op::RmsNormBackward {
            x: saved.x,
            weight,
            rstd: saved.rstd,
            dy,
            dx,
            dweight,
            rows,
            groups: self.groups,
            dim: self.dim,
            accumulate,
        });
    }
}

/// x quantized to int8 and back.
fn round(g: &mut Graph, x: BufferId, dim: usize) -> BufferId {
    let (rows, out) = (g.rows(), g.activations(dim));
    g.rec.push(Op::FakeQuantAct { x, out, rows, dim });
    out
}

/// A projection's input, normalized and quantized as its matrices ask. Matrices reading the same
/// input share it.
#[derive(Clone, Debug)]
pub struct MatrixInput {
    float: Option<BufferId>,
    /// Training and adapters: the fake-quantized twin of `float`.
    rounded: Option<BufferId>,
    int8: Option<(BufferId, BufferId)>,
    norm: Option<NormSaved>,
}

impl MatrixInput {
    /// `readers`: the matrices that read it, which decide what they want it as.
    pub fn new(
        g: &mut Graph,
        x: BufferId,
        dim: usize,
        norm: Option<&RmsNorm>,
        readers: &[&BitLinear],
    ) -> Self {
        let rows = g.rows();
        let any_int8 = readers.iter().any(|l| l.int8);
        let any_adapter = readers.iter().any(|l| l.lora.is_some());
        // Adapters multiply floats: the fake-quantized ones beside an int8 matrix.
        let any_float = any_adapter || readers.iter().any(|l| !l.int8);
        if g.training() {
            let (float, norm) = match norm {
                Some(norm) => norm.forward(g, x),
                None => (x, None),
            };
            return MatrixInput {
                float: Some(float),
                rounded: any_int8.then(|| round(g, float, dim)),
                int8: None,
                norm,
            };
        }
        let float = any_float.then(|| norm.map_or(x, |n| n.forward(g, x).0));
        let int8 = any_int8.then(|| {
            let codes = g.rec.scratch(Elem::I8, rows * act_stride(dim));
            let scales = g.rec.f32(rows);
            let weight = norm.map(|n| (g.float_param(&n.name, n.dim), g.config.rms_norm_eps));
            g.rec.push(Op::QuantAct {
                x,
                norm: weight,
                codes,
                scales,
                rows,
                dim,
            });
            (codes, scales)
        });
        let rounded = float
            .filter(|_| any_int8 && any_adapter)
            .map(|float| round(g, float, dim));
        MatrixInput {
            float,
            rounded,
            int8,
            norm: None,
        }
    }

    /// What a matrix multiplies in inference.
    pub fn input(&self, quantized: bool) -> LinearInput {
        let input = if quantized {
            self.int8
                .map(|(codes, scales)| LinearInput::Int8 { codes, scales })
        } else {
            self.float.map(LinearInput::Float)
        };
        input.expect("an input is prepared as all its readers want it")
    }

    /// What a matrix multiplies in training, and an adapter always.
    pub fn dense(&self, quantized: bool) -> BufferId {
        let dense = if quantized { self.rounded } else { self.float };
        dense.expect("training and adapters have floats of every input prepared")
    }

    /// From the gradient of the prepared input to that of `x` (the activation quantizer is
    /// straight-through): through the norm if there is one. Returns the buffer that holds it; with
    /// `into`, the result is added there.
    pub fn backward(
        &self,
        g: &mut Graph,
        norm: Option<&RmsNorm>,
        dy: BufferId,
        dim: usize,
        into: Option<BufferId>,
    ) -> BufferId {
        match (norm, &self.norm) {
            (Some(norm), Some(saved)) => {
                let dx = into.unwrap_or_else(|| g.activations(dim));
                norm.backward(g, saved, dy, dx, into.is_some());
                dx
            }
            _ => match into {
                Some(dx) => {
                    let len = g.rows() * dim;
                    g.add(dy, dx, 1.0, len, true);
                    dx
                }
                None => dy,
            },
        }
    }
}
