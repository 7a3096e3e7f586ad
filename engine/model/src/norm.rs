//! Norms and the preparation of a projection's input: norm, then int8.

use crate::program::{BufferId, Elem, LinearInput, Op};
use ternary_core::config::{ModelConfig, NormKind};
use ternary_core::params;
use ternary_core::quant::tile::act_stride;

use super::bit_linear::BitLinear;
use super::graph::Graph;

/// A norm of `groups` × `dim` (groups > 1: one norm per head). A LayerNorm is an RMSNorm of the
/// centered row with a bias behind it.
#[derive(Clone, Debug)]
pub struct Norm {
    pub name: String,
    pub kind: NormKind,
    pub groups: usize,
    pub dim: usize,
}

/// What the backward of a norm needs.
#[derive(Clone, Copy, Debug)]
pub struct NormSaved {
    /// Centered if it is a LayerNorm's.
    x: BufferId,
    rstd: BufferId,
}

impl Norm {
    /// A norm of the residual stream or of a branch.
    pub fn stream(config: &ModelConfig, name: String) -> Self {
        Norm {
            name,
            kind: config.norm,
            groups: 1,
            dim: config.hidden_size,
        }
    }

    /// An RMSNorm, one for each of `groups`.
    pub fn rms(name: String, groups: usize, dim: usize) -> Self {
        Norm {
            name,
            kind: NormKind::Rms,
            groups,
            dim,
        }
    }

    fn width(&self) -> usize {
        self.groups * self.dim
    }

    fn weight(&self, g: &mut Graph) -> BufferId {
        g.float_param(&self.name, self.dim)
    }

    /// Its weight and ε where an operation can compute the norm besides its own work.
    fn fused(&self, g: &mut Graph) -> Option<(BufferId, f32)> {
        let alone = self.kind == NormKind::Rms && self.groups == 1;
        alone.then(|| (self.weight(g), g.config.rms_norm_eps))
    }

    /// x `[rows, groups·dim]` → the same shape.
    pub fn forward(&self, g: &mut Graph, x: BufferId) -> (BufferId, Option<NormSaved>) {
        let out = g.activations(self.width());
        (out, self.forward_into(g, x, out))
    }

    /// As [`Norm::forward`], to a buffer that is there.
    pub fn forward_into(&self, g: &mut Graph, x: BufferId, out: BufferId) -> Option<NormSaved> {
        let (rows, dim) = (g.rows(), self.dim);
        let weight = self.weight(g);
        let x = match self.kind {
            NormKind::Rms => x,
            NormKind::Layer => center(g, x, dim),
        };
        let rstd = g.training().then(|| g.activations(self.groups));
        g.rec.push(Op::RmsNorm {
            x,
            weight,
            out,
            rstd,
            rows,
            groups: self.groups,
            dim,
            eps: g.config.rms_norm_eps,
        });
        if self.kind == NormKind::Layer {
            let bias = g.float_param(&params::bias_name(&self.name), dim);
            g.rec.push(Op::AddBias {
                x: out,
                bias,
                rows,
                dim,
            });
        }
        rstd.map(|rstd| NormSaved { x, rstd })
    }

    /// Adds the gradients of weight and bias; writes (or adds) the input's into `dx`.
    pub fn backward(
        &self,
        g: &mut Graph,
        saved: &NormSaved,
        dy: BufferId,
        dx: BufferId,
        accumulate: bool,
    ) {
        let (rows, dim) = (g.rows(), self.dim);
        let weight = self.weight(g);
        // A frozen weight's gradient goes where nobody reads it.
        let dweight = g
            .model_grad(&self.name, dim)
            .unwrap_or_else(|| g.rec.f32(dim));
        let centered = match self.kind {
            NormKind::Rms => None,
            NormKind::Layer => {
                if let Some(dbias) = g.model_grad(&params::bias_name(&self.name), dim) {
                    g.rec.push(Op::BiasBackward {
                        dy,
                        dbias,
                        rows,
                        dim,
                    });
                }
                Some(g.activations(dim))
            }
        };
        let d_scaled = match centered {
            Some(buffer) => buffer,
            None => dx,
        };
        g.rec.push(Op::RmsNormBackward {
            x: saved.x,
            weight,
            rstd: saved.rstd,
            dy,
            dx: d_scaled,
            dweight,
            rows,
            groups: self.groups,
            dim,
            accumulate: accumulate && centered.is_none(),
        });
        if let Some(x) = centered {
            g.rec.push(Op::Center {
                x,
                out: dx,
                rows,
                dim,
                accumulate,
            });
        }
    }
}

/// x `[rows, dim]` less the mean of every row.
fn center(g: &mut Graph, x: BufferId, dim: usize) -> BufferId {
    let (rows, out) = (g.rows(), g.activations(dim));
    g.rec.push(Op::Center {
        x,
        out,
        rows,
        dim,
        accumulate: false,
    });
    out
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
        norm: Option<&Norm>,
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
        let fused = norm.and_then(|n| n.fused(g));
        // A norm that is not computed with the quantization is computed once, for both.
        let apart = norm.is_some() && fused.is_none();
        let float = (any_float || apart).then(|| norm.map_or(x, |n| n.forward(g, x).0));
        let int8 = any_int8.then(|| {
            let codes = g.rec.scratch(Elem::I8, rows * act_stride(dim));
            let scales = g.rec.f32(rows);
            let normed = match float {
                Some(float) if apart => float,
                _ => x,
            };
            g.rec.push(Op::QuantAct {
                x: normed,
                norm: fused,
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
        norm: Option<&Norm>,
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
