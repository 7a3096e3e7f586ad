//! Self-attention: q, k, v projections, q/k norm, RoPE, causal attention, output projection.

use crate::program::{AttentionShape, BufferId, BufferKind, Elem, Op};
use ternary_core::config::{MatrixKind, ModelConfig};

use super::bit_linear::{BitLinear, LinearSaved};
use super::decoder::SAVED;
use super::graph::{Graph, Phase, Source};
use super::norm::{MatrixInput, NormSaved, RmsNorm};
use ternary_core::params;

#[derive(Clone, Debug)]
pub struct Attention {
    layer: usize,
    input_norm: RmsNorm,
    sub_norm: Option<RmsNorm>,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    q: BitLinear,
    k: BitLinear,
    v: BitLinear,
    o: BitLinear,
}

/// Values of one forward that its backward reads.
#[derive(Clone, Debug)]
pub struct AttentionSaved {
    input: MatrixInput,
    q: LinearSaved,
    k: LinearSaved,
    v: LinearSaved,
    o: LinearSaved,
    q_norm: Option<NormSaved>,
    k_norm: Option<NormSaved>,
    /// After norm and RoPE.
    query: BufferId,
    key: BufferId,
    value: BufferId,
    context: BufferId,
    lse: BufferId,
    output: MatrixInput,
}

impl Attention {
    pub fn new(g: &Graph, layer: usize) -> Self {
        let c = g.config;
        let name = |part: &str| params::layer_norm_name(layer, part);
        let linear = |kind| BitLinear::of_layer(g, layer, kind);
        let head_norm = |part: &str, heads: usize| {
            c.use_qk_norm.then(|| RmsNorm {
                name: name(part),
                groups: heads,
                dim: c.head_dim(),
            })
        };
        Attention {
            layer,
            input_norm: RmsNorm::new(name("input_layernorm"), c.hidden_size),
            sub_norm: c
                .use_sub_norm
                .then(|| RmsNorm::new(name("self_attn.attn_sub_norm"), c.q_dim())),
            q_norm: head_norm("self_attn.q_norm", c.num_heads),
            k_norm: head_norm("self_attn.k_norm", c.kv_heads()),
            q: linear(MatrixKind::Q),
            k: linear(MatrixKind::K),
            v: linear(MatrixKind::V),
            o: linear(MatrixKind::O),
        }
    }

    fn rope(&self, g: &mut Graph, x: BufferId, heads: usize, inverse: bool) {
        if !g.config.use_rope {
            return;
        }
        let (rows, seq, head_dim) = (g.rows(), g.seq(), g.config.head_dim());
        let table = rope_table(g);
        g.rec.push(Op::Rope {
            x,
            table,
            rows,
            seq,
            heads,
            head_dim,
            inverse,
        });
    }

    /// x `[rows, hidden]` → the branch's output, same shape.
    pub fn forward(&self, g: &mut Graph, x: BufferId) -> (BufferId, Option<AttentionSaved>) {
        let c = g.config;
        let (heads, kv_heads, head_dim) = (c.num_heads, c.kv_heads(), c.head_dim());
        let input = MatrixInput::new(
            g,
            x,
            c.hidden_size,
            Some(&self.input_norm),
            &[&self.q, &self.k, &self.v],
        );
        let (mut query, q) = self.q.forward(g, &input);
        let (mut key, k) = self.k.forward(g, &input);
        let (value, v) = self.v.forward(g, &input);
        let mut saved_norms = [None, None];
        if let Some(norm) = &self.q_norm {
            (query, saved_norms[0]) = norm.forward(g, query);
        }
        if let Some(norm) = &self.k_norm {
            (key, saved_norms[1]) = norm.forward(g, key);
        }
        self.rope(g, query, heads, false);
        self.rope(g, key, kv_heads, false);

        let context = g.activations(c.q_dim());
        let mut lse = None;
        match g.phase {
            Phase::Train { batch, seq } => {
                let buffer = g.rec.f32(batch * heads * seq);
                lse = Some(buffer);
                g.rec.push(Op::Attention {
                    q: query,
                    k: key,
                    v: value,
                    out: context,
                    lse: buffer,
                    shape: shape(g, batch, seq),
                });
            }
            Phase::Infer { rows } => {
                let (max_seq, kv_dim) = (c.max_seq_len, c.kv_dim());
                let cache = |g: &mut Graph, kind: BufferKind| {
                    let name = kind.named(self.layer);
                    g.rec.shared(&name, Elem::F32, max_seq * kv_dim)
                };
                let cache_k = cache(g, BufferKind::CachedKeys);
                let cache_v = cache(g, BufferKind::CachedValues);
                g.rec.push(Op::KvWrite {
                    k: key,
                    v: value,
                    cache_k,
                    cache_v,
                    rows,
                    kv_dim,
                    max_seq,
                });
                g.rec.push(Op::CachedAttention {
                    q: query,
                    cache_k,
                    cache_v,
                    out: context,
                    rows,
                    heads,
                    kv_heads,
                    head_dim,
                    max_seq,
                });
            }
        }
        let output = MatrixInput::new(g, context, c.q_dim(), self.sub_norm.as_ref(), &[&self.o]);
        let (out, o) = self.o.forward(g, &output);
        let saved = match (q, k, v, o, lse) {
            (Some(q), Some(k), Some(v), Some(o), Some(lse)) => Some(AttentionSaved {
                input,
                q,
                k,
                v,
                o,
                q_norm: saved_norms[0],
                k_norm: saved_norms[1],
                query,
                key,
                value,
                context,
                lse,
                output,
            }),
            _ => None,
        };
        (out, saved)
    }

    /// From the gradient of the branch's output; the gradient of x is added to `dx`.
    pub fn backward(&self, g: &mut Graph, s: &AttentionSaved, dout: BufferId, dx: BufferId) {
        let c = g.config;
        let Phase::Train { batch, seq } = g.phase else {
            return;
        };
        let d_output = g.activations(c.q_dim());
        self.o.backward(g, &s.o, dout, d_output, false);
        let d_context = s
            .output
            .backward(g, self.sub_norm.as_ref(), d_output, c.q_dim(), None);
        let mut dq = g.activations(c.q_dim());
        let mut dk = g.activations(c.kv_dim());
        let dv = g.activations(c.kv_dim());
        g.rec.push(Op::AttentionBackward {
            q: s.query,
            k: s.key,
            v: s.value,
            out: s.context,
            lse: s.lse,
            dout: d_context,
            dq,
            dk,
            dv,
            shape: shape(g, batch, seq),
        });
        self.rope(g, dq, c.num_heads, true);
        self.rope(g, dk, c.kv_heads(), true);
        if let Some(norm) = &self.q_norm {
            let saved = s.q_norm.as_ref().expect(SAVED);
            let d = g.activations(c.q_dim());
            norm.backward(g, saved, dq, d, false);
            dq = d;
        }
        if let Some(norm) = &self.k_norm {
            let saved = s.k_norm.as_ref().expect(SAVED);
            let d = g.activations(c.kv_dim());
            norm.backward(g, saved, dk, d, false);
            dk = d;
        }
        let d_input = g.activations(c.hidden_size);
        self.q.backward(g, &s.q, dq, d_input, false);
        self.k.backward(g, &s.k, dk, d_input, true);
        self.v.backward(g, &s.v, dv, d_input, true);
        s.input
            .backward(g, Some(&self.input_norm), d_input, c.hidden_size, Some(dx));
    }
}

fn shape(g: &Graph, batch: usize, seq: usize) -> AttentionShape {
    AttentionShape {
        batch,
        seq,
        heads: g.config.num_heads,
        kv_heads: g.config.kv_heads(),
        head_dim: g.config.head_dim(),
    }
}

fn rope_table(g: &mut Graph) -> BufferId {
    let len = g.config.max_seq_len * g.config.head_dim();
    let name = match g.source {
        Source::Frozen(BufferKind::Teacher) => TEACHER_ROPE_TABLE,
        _ => ROPE_TABLE,
    };
    g.rec.shared(name, Elem::F32, len)
}

/// Shared buffer that holds [`rope_values`].
pub const ROPE_TABLE: &str = "rope";
/// The teacher's, whose context and heads may be of other sizes.
pub const TEACHER_ROPE_TABLE: &str = "teacher.rope";

/// cos and sin of position · frequency, `[max_seq_len, head_dim]`: cos in the first half of a row,
/// sin in the second. Computed in f64 on the host so that every backend rotates by the same
/// numbers.
pub fn rope_values(config: &ModelConfig) -> Vec<f32> {
    let half = config.head_dim() / 2;
    let frequencies: Vec<f64> = (0..half).map(|j| config.rope_frequency(j)).collect();
    let mut table = Vec::with_capacity(config.max_seq_len * 2 * half);
    for pos in 0..config.max_seq_len {
        let angles = frequencies.iter().map(|f| pos as f64 * f);
        table.extend(angles.clone().map(|angle| libm::cos(angle) as f32));
        table.extend(angles.map(|angle| libm::sin(angle) as f32));
    }
    table
}
