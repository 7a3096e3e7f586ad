//! Weights for RMSNorms that are put before the output and the down projections of a model that was
//! trained without them.

use crate::program::{BufferId, BufferKind, Elem, Op, Program};
use ternary_core::config::ModelConfig;
use ternary_core::params::{self, norms};

use super::decoder::{Forward, SAVED};
use super::graph::{Graph, Phase, Source};

/// Shared f32 `[dim]` of ones, one for each width.
pub fn ones_name(dim: usize) -> String {
    format!("sub_norm.ones.{dim}")
}

/// A norm to be put before a projection, and what its weights are fitted by.
#[derive(Clone, Debug)]
pub struct SubNorm {
    /// Of its parameter.
    pub name: String,
    /// Width of its input x.
    pub dim: usize,
    /// Shared f32 `[dim]`: Σ x·x̂/rms(x) over the tokens, x̂ = x/rms(x).
    pub products: String,
    /// Shared f32 `[dim]`: Σ x̂²/rms(x).
    pub squares: String,
}

/// A recorded forward of a model without sub-norms, in buffers `teacher.NAME`, that adds up what
/// they are fitted by.
#[derive(Debug)]
pub struct SubNormProgram {
    pub program: Program,
    /// u32 `[batch·seq]`.
    pub ids: BufferId,
    pub norms: Vec<SubNorm>,
}

/// Record `batch` sequences of `seq` tokens. The weight w of a channel that comes nearest to no
/// norm at all, with the least Σ (w·x̂ − x)²/rms(x) over the tokens, is products / squares.
/// Unweighted, the few tokens with activations a thousand times as large would decide alone.
pub fn record_sub_norms(config: &ModelConfig, batch: usize, seq: usize) -> SubNormProgram {
    let mut g = Graph {
        source: Source::Frozen(BufferKind::Teacher),
        ..Graph::new(config, Phase::Train { batch, seq }, None)
    };
    let rows = batch * seq;
    let ids = g.rec.io(Elem::U32, rows);
    let forward = Forward::record(&mut g, ids, 0.0);
    let mut all = Vec::new();
    for (layer, (_, saved)) in forward.blocks.iter().enumerate() {
        let attention = saved.attention.as_ref().expect(SAVED);
        let mlp = saved.mlp.as_ref().expect(SAVED);
        for (x, part, dim) in [
            (attention.context(), norms::ATTENTION_SUB, config.q_dim()),
            (mlp.hidden(), norms::MLP_SUB, config.intermediate_size),
        ] {
            let name = params::layer_norm_name(layer, part);
            let norm = SubNorm {
                products: format!("sub_norm.products.{name}"),
                squares: format!("sub_norm.squares.{name}"),
                name,
                dim,
            };
            let weight = g.rec.shared(&ones_name(dim), Elem::F32, dim);
            let (out, rstd) = (g.activations(dim), g.activations(1));
            g.rec.push(Op::RmsNorm {
                x,
                weight,
                out,
                rstd: Some(rstd),
                rows,
                groups: 1,
                dim,
                eps: config.rms_norm_eps,
            });
            // The gradient of a norm's weight is Σ dy·x/rms: what is wanted, with x̂ in place of x,
            // and with x and x̂ as dy.
            for (dy, sum) in [(x, &norm.products), (out, &norm.squares)] {
                let dweight = g.rec.shared(sum, Elem::F32, dim);
                let dx = g.activations(dim);
                g.rec.push(Op::RmsNormBackward {
                    x: out,
                    weight,
                    rstd,
                    dy,
                    dx,
                    dweight,
                    rows,
                    groups: 1,
                    dim,
                    accumulate: false,
                });
            }
            all.push(norm);
        }
    }
    SubNormProgram {
        program: g.rec.finish(&format!("sub-norms {batch}×{seq}")),
        ids,
        norms: all,
    }
}
