//! Self-attention: q, k, v projections, q/k norm, RoPE, causal attention, output projection.

use crate::program::{AttentionShape, BufferId, BufferKind, Elem, Op, PAGE, RelationShape, Scores};
use ternary_core::config::{CachePrecision, MatrixKind, ModelConfig};

use super::bit_linear::{BitLinear, LinearSaved};
use super::decoder::{RELATION_KL, SAVED};
use super::graph::{Graph, Phase, Source};
use super::norm::{MatrixInput, Norm, NormSaved};
use ternary_core::params::{self, norms};

#[derive(Clone, Debug)]
pub struct Attention {
    layer: usize,
    input_norm: Option<Norm>,
    output_norm: Option<Norm>,
    sub_norm: Option<Norm>,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    q: BitLinear,
    k: BitLinear,
    v: BitLinear,
    o: BitLinear,
    followed: Option<Followed>,
}

/// Queries, keys and values as attention multiplies them.
#[derive(Clone, Copy, Debug)]
pub struct AttentionStates {
    /// `[rows, width]`.
    buffers: [BufferId; 3],
    widths: [usize; 3],
}

/// A teacher's states whose relations a layer's own follow.
#[derive(Clone, Copy, Debug)]
pub struct Followed {
    pub teacher: AttentionStates,
    /// Of queries, keys and values.
    pub weights: [f32; 3],
    /// u32 `[rows]`.
    pub targets: BufferId,
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
    output_norm: Option<NormSaved>,
}

impl AttentionSaved {
    pub fn states(&self, config: &ModelConfig) -> AttentionStates {
        AttentionStates {
            buffers: [self.query, self.key, self.value],
            widths: [config.q_dim(), config.kv_dim(), config.kv_dim()],
        }
    }

    /// What the output projection, or the norm before it, reads: `[rows, q_dim]`.
    pub fn context(&self) -> BufferId {
        self.context
    }
}

impl Attention {
    pub fn new(g: &Graph, layer: usize) -> Self {
        let c = g.config;
        let name = |part: &str| params::layer_norm_name(layer, part);
        let linear = |kind| BitLinear::of_layer(g, layer, kind);
        let stream = |part: &str| Norm::stream(c, name(part));
        let head_norm = |part: &str, keys: bool| {
            let width = if keys { c.kv_dim() } else { c.q_dim() };
            let dim = c.qk_norm_dim(keys);
            c.use_qk_norm
                .then(|| Norm::rms(name(part), width / dim, dim))
        };
        Attention {
            layer,
            input_norm: (c.norm_placement.before()).then(|| stream(norms::ATTENTION_INPUT)),
            output_norm: (c.norm_placement.after()).then(|| stream(norms::ATTENTION_OUTPUT)),
            sub_norm: c
                .use_sub_norm
                .then(|| Norm::rms(name(norms::ATTENTION_SUB), 1, c.q_dim())),
            q_norm: head_norm(norms::Q, false),
            k_norm: head_norm(norms::K, true),
            q: linear(MatrixKind::Q),
            k: linear(MatrixKind::K),
            v: linear(MatrixKind::V),
            o: linear(MatrixKind::O),
            followed: None,
        }
    }

    /// Have the backward learn a teacher's relations, too.
    pub fn follow(&mut self, followed: Followed) {
        self.followed = Some(followed);
    }

    /// Add the gradients of the divergences of relations to `gradients`, those of the states.
    fn follow_backward(&self, g: &mut Graph, s: &AttentionSaved, gradients: [BufferId; 3]) {
        let (Some(followed), Phase::Train { batch, seq }) = (self.followed, g.phase) else {
            return;
        };
        let c = g.config;
        let own = s.states(c);
        let heads = [c.num_heads, c.kv_heads(), c.kv_heads()];
        for i in 0..3 {
            let weight = followed.weights[i];
            if weight == 0.0 {
                continue;
            }
            let shape = RelationShape {
                batch,
                seq,
                heads: heads[i],
                dim: own.widths[i] / heads[i],
                teacher_dim: followed.teacher.widths[i] / heads[i],
            };
            let scores = g.rec.f32(batch * heads[i] * seq * seq);
            let losses = g.activations(1);
            g.rec.push(Op::RelationDivergence {
                x: own.buffers[i],
                teacher: followed.teacher.buffers[i],
                targets: followed.targets,
                scores,
                losses,
                shape,
                weight,
            });
            let out = g.rec.shared(RELATION_KL, Elem::F32, 1);
            let rows = g.rows();
            g.rec.push(Op::SumRows {
                x: losses,
                out,
                rows,
            });
            g.rec.push(Op::RelationBackward {
                x: own.buffers[i],
                scores,
                dx: gradients[i],
                shape,
            });
        }
    }

    /// Rows are rotated by their place in the sequence, in a document too: scores depend on the
    /// distance of two rows alone.
    fn rope(&self, g: &mut Graph, x: BufferId, heads: usize, inverse: bool) {
        if !g.config.rotates(self.layer) {
            return;
        }
        let (rows, seq, head_dim) = (g.rows(), g.seq(), g.config.head_dim());
        let (table, rotary) = (self.rope_table(g), g.config.rotary_dim());
        g.rec.push(Op::Rope {
            x,
            table,
            places: g.places,
            rows,
            seq,
            heads,
            head_dim,
            rotary,
            inverse,
        });
    }

    fn rope_table(&self, g: &mut Graph) -> BufferId {
        let c = g.config;
        let names = match g.source {
            Source::Frozen(BufferKind::Teacher) => TEACHER_ROPE_TABLES,
            _ => ROPE_TABLES,
        };
        let name = names[usize::from(c.rotates_locally(self.layer))];
        let len = c.max_seq_len * c.rotary_dim();
        g.rec.shared(name, Elem::F32, len)
    }

    fn scores(&self, g: &Graph) -> Scores {
        Scores {
            scale: g.config.attention_scale(),
            softcap: g.config.attention_softcap,
            window: g.config.window(self.layer),
        }
    }

    fn shape(&self, g: &Graph, batch: usize, seq: usize) -> AttentionShape {
        AttentionShape {
            batch,
            seq,
            heads: g.config.num_heads,
            kv_heads: g.config.kv_heads(),
            head_dim: g.config.head_dim(),
            scores: self.scores(g),
        }
    }

    /// x `[rows, hidden]` → the branch's output, same shape.
    pub fn forward(&self, g: &mut Graph, x: BufferId) -> (BufferId, Option<AttentionSaved>) {
        let c = g.config;
        let (heads, kv_heads, head_dim) = (c.num_heads, c.kv_heads(), c.head_dim());
        let input = MatrixInput::new(
            g,
            x,
            c.hidden_size,
            self.input_norm.as_ref(),
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
                    positions: g.positions,
                    out: context,
                    lse: buffer,
                    shape: self.shape(g, batch, seq),
                });
            }
            Phase::Infer { rows } => {
                let max_seq = g.places.map_or(c.max_seq_len, |p| p.pages * PAGE);
                let cache = |g: &mut Graph, kind: BufferKind| {
                    let name = kind.named(self.layer);
                    let elem = match g.cache {
                        CachePrecision::F32 => Elem::F32,
                        CachePrecision::F16 => Elem::F16,
                        CachePrecision::Q8 => Elem::I8,
                    };
                    let bytes = max_seq * g.cache.position_bytes(c);
                    g.rec.growing(&name, elem, bytes / elem.bytes())
                };
                let cache_k = cache(g, BufferKind::CachedKeys);
                let cache_v = cache(g, BufferKind::CachedValues);
                g.rec.push(Op::KvWrite {
                    k: key,
                    v: value,
                    cache_k,
                    cache_v,
                    rows,
                    kv_heads,
                    head_dim,
                    max_seq,
                    precision: g.cache,
                    places: g.places,
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
                    precision: g.cache,
                    scores: self.scores(g),
                    places: g.places,
                });
            }
        }
        let output = MatrixInput::new(g, context, c.q_dim(), self.sub_norm.as_ref(), &[&self.o]);
        let (mut out, o) = self.o.forward(g, &output);
        let mut output_norm = None;
        if let Some(norm) = &self.output_norm {
            (out, output_norm) = norm.forward(g, out);
        }
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
                output_norm,
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
        let dout = through_norm(g, self.output_norm.as_ref(), s.output_norm.as_ref(), dout);
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
            positions: g.positions,
            out: s.context,
            lse: s.lse,
            dout: d_context,
            dq,
            dk,
            dv,
            shape: self.shape(g, batch, seq),
        });
        self.follow_backward(g, s, [dq, dk, dv]);
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
        s.input.backward(
            g,
            self.input_norm.as_ref(),
            d_input,
            c.hidden_size,
            Some(dx),
        );
    }
}

/// The gradient of a branch before the norm of its output, from that behind it.
pub(super) fn through_norm(
    g: &mut Graph,
    norm: Option<&Norm>,
    saved: Option<&NormSaved>,
    dout: BufferId,
) -> BufferId {
    let Some(norm) = norm else {
        return dout;
    };
    let dx = g.activations(norm.dim);
    norm.backward(g, saved.expect(SAVED), dout, dx, false);
    dx
}

/// Shared buffers of [`rope_tables`]: of all layers, and of those with a window where these have a
/// θ of their own.
const ROPE_TABLES: [&str; 2] = ["rope", "rope.local"];
/// The teacher's, whose context and heads may be of other sizes.
const TEACHER_ROPE_TABLES: [&str; 2] = ["teacher.rope", "teacher.rope.local"];

/// Whose tables they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeOwner {
    Model,
    Teacher,
}

/// The tables that a model's programs rotate by, under the names of their shared buffers: cos and
/// sin of position · frequency, `[max_seq_len, rotary_dim]`, cos in the first half of a row, sin in
/// the second. Computed in f64 on the host so that every backend rotates by the same numbers.
pub fn rope_tables(config: &ModelConfig, owner: RopeOwner) -> Vec<(&'static str, Vec<f32>)> {
    let names = match owner {
        RopeOwner::Model => ROPE_TABLES,
        RopeOwner::Teacher => TEACHER_ROPE_TABLES,
    };
    let layers = 0..config.num_layers;
    let used = |local: bool| {
        let of = |layer| config.rotates(layer) && config.rotates_locally(layer) == local;
        layers.clone().any(of)
    };
    let mut tables = Vec::new();
    if used(false) {
        let factor = config.rope_attention_factor();
        let values = angles(config, |j| config.rope_frequency(j), factor);
        tables.push((names[0], values));
    }
    if used(true) {
        let values = angles(config, |j| config.local_rope_frequency(j), 1.0);
        tables.push((names[1], values));
    }
    tables
}

fn angles(config: &ModelConfig, frequency: impl Fn(usize) -> f64, factor: f64) -> Vec<f32> {
    let half = config.rotary_dim() / 2;
    let frequencies: Vec<f64> = (0..half).map(frequency).collect();
    let mut table = Vec::with_capacity(config.max_seq_len * 2 * half);
    for pos in 0..config.max_seq_len {
        let angles = frequencies.iter().map(|f| pos as f64 * f);
        table.extend(
            angles
                .clone()
                .map(|angle| (factor * libm::cos(angle)) as f32),
        );
        table.extend(angles.map(|angle| (factor * libm::sin(angle)) as f32));
    }
    table
}
