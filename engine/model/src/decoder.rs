//! The decoder: embedding, blocks, final norm, head, loss; and the programs recorded from it.

use crate::muon::Muon;
use crate::program::{BufferId, BufferKind, Elem, EmbedTable, Op, Program, STEP_FIGURES};
use ternary_core::config::{
    CachePrecision, LoraConfig, ModelConfig, Optimizer, Packing, TrainConfig,
};

use super::attention::{Attention, AttentionSaved, AttentionStates, Followed};
use super::bit_linear::{BitLinear, LinearSaved};
use super::graph::{Graph, Phase, Source};
use super::mlp::{Mlp, MlpSaved};
use super::norm::{MatrixInput, Norm};
use ternary_core::params::{self, ParamKind};

/// Candidates read back per sampled token; also the largest `top_k`.
pub const CANDIDATES: usize = 256;
/// Distinct recent tokens the repetition penalty looks at.
pub const RECENT: usize = 256;

/// Which rows of a prefill get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// The last valid row only, `[1, vocab]`, with candidates for sampling.
    Last,
    /// The same of one row, and a token is chosen among the candidates, which the next run begins
    /// with: runs follow one another without the host.
    Chosen,
    /// Every row, `[rows, vocab]`.
    All,
}

/// A recorded inference step and the buffers the host touches.
#[derive(Debug)]
pub struct InferProgram {
    pub program: Program,
    /// u32 `[rows]`.
    pub ids: BufferId,
    /// `[1 or rows, vocab]`.
    pub logits: BufferId,
    pub sampling: Option<SamplingBuffers>,
}

#[derive(Clone, Copy, Debug)]
pub struct SamplingBuffers {
    /// u32 `[RECENT]`.
    pub recent: BufferId,
    /// u32 and f32 `[min(CANDIDATES, vocab)]`.
    pub top_ids: BufferId,
    pub top_values: BufferId,
    /// u32 `[1]`, see [`Op::Choose`]; only of [`Logits::Chosen`].
    pub chosen: Option<BufferId>,
}

/// A recorded micro-step (forward, and backward unless it only evaluates).
#[derive(Debug)]
pub struct TrainProgram {
    pub program: Program,
    /// u32 `[batch·seq]`.
    pub ids: BufferId,
    pub targets: BufferId,
    /// u32 `[batch·seq]`: positions in the documents, where these are kept apart.
    pub positions: Option<BufferId>,
    /// f32 `[batch·seq]`.
    pub losses: BufferId,
    /// f32 `[1]`: the sum of the losses is added to it.
    pub total: BufferId,
}

/// Shared buffers that the losses of training and of validation are added up in.
pub const TRAIN_LOSS: &str = "loss.train";
pub const VALIDATION_LOSS: &str = "loss.validation";
/// Shared buffer that the divergences from the teacher are added up in.
pub const KL: &str = "loss.kl";
/// Shared buffers that the margins of preference pairs, and how many are above 0, are added up in:
/// those of training, and those of validation.
pub const MARGINS: [&str; 2] = ["loss.margins", "loss.validation.margins"];
pub const WINS: [&str; 2] = ["loss.wins", "loss.validation.wins"];
/// Shared buffer that the divergences of relations are added up in, those of queries, keys and
/// values together.
pub const RELATION_KL: &str = "loss.relations";

/// Steps whose figures a backend keeps until they are read.
pub const HISTORY: usize = 256;

/// What a micro-step minimises, what it trains, and the noise it is trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objective<'a> {
    /// Train adapters instead of the model.
    pub lora: Option<&'a LoraConfig>,
    pub distill: Option<Distill<'a>>,
    /// β of direct preference optimization, with adapters: sequences are pairs, the chosen one
    /// first, and the model without its adapters is the reference.
    pub preference: Option<f32>,
    /// Weight of the squared log-partition.
    pub z_loss: f32,
    /// Rate of dropout on the embedding and on every branch before it joins the residual stream;
    /// only where there is a backward.
    pub dropout: f32,
    /// Whether the documents of a sequence are kept apart.
    pub packing: Packing,
}

/// A teacher to follow: (1 − w)·cross-entropy + w·T²·KL(softmax(t/T) ‖ softmax(z/T)) (Hinton et al.
/// 2015).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distill<'a> {
    /// Its parameters are in buffers `teacher.NAME`.
    pub teacher: &'a ModelConfig,
    /// w.
    pub weight: f32,
    /// T.
    pub temperature: f32,
    pub relations: Option<Relations>,
}

/// How queries, keys and values of one layer relate to each other, in the heads of the student's
/// attention, is learnt from the teacher, too (MiniLMv2, Wang et al. 2021): weight ·
/// [`Op::RelationDivergence`] of each, as attention multiplies them, behind norms and RoPE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relations {
    /// The student's.
    pub layer: usize,
    /// The teacher's.
    pub teacher_layer: usize,
    /// Of queries, keys and values; 0 = none.
    pub weights: [f32; 3],
}

/// Dropout stream of the embedding; the branches' follow.
const EMBEDDING_STREAM: u32 = 0;

fn branch_streams(layer: usize) -> [u32; 2] {
    [1, 2].map(|branch| 2 * layer as u32 + branch)
}

fn dropout(g: &mut Graph, x: BufferId, rate: f32, stream: u32) {
    if rate > 0.0 {
        let len = g.rows() * g.config.hidden_size;
        g.rec.push(Op::Dropout {
            x,
            len,
            rate,
            stream,
        });
    }
}

/// Why a backward may count on what its forward saved.
pub(super) const SAVED: &str = "a forward in training saves what its backward needs";

/// What a block's backward reads; nothing in inference.
pub(super) struct Saved {
    pub attention: Option<AttentionSaved>,
    pub mlp: Option<MlpSaved>,
}

/// A decoder layer: attention and the MLP.
pub(super) struct Block {
    attention: Attention,
    mlp: Mlp,
    /// Dropout streams of the two branches.
    streams: [u32; 2],
}

impl Block {
    pub(super) fn new(g: &Graph, layer: usize) -> Self {
        Block {
            attention: Attention::new(g, layer),
            mlp: Mlp::new(g, layer),
            streams: branch_streams(layer),
        }
    }

    /// Through the layer: the residual stream behind it.
    pub(super) fn forward(&self, g: &mut Graph, x: BufferId) -> BufferId {
        self.record(g, x, 0.0).0
    }

    fn record(&self, g: &mut Graph, x: BufferId, rate: f32) -> (BufferId, Saved) {
        let (branch, attention) = self.attention.forward(g, x);
        dropout(g, branch, rate, self.streams[0]);
        let parallel = g.config.parallel_residual;
        // Side by side, both branches read what came in.
        let between = if parallel { x } else { residual(g, x, branch) };
        let (second, mlp) = self.mlp.forward(g, between);
        dropout(g, second, rate, self.streams[1]);
        let between = if parallel {
            residual(g, x, branch)
        } else {
            between
        };
        (residual(g, between, second), Saved { attention, mlp })
    }

    /// `dx`: the gradient of the residual stream behind the layer, which becomes that before it.
    fn backward(&self, g: &mut Graph, saved: &Saved, dx: BufferId, rate: f32) {
        let branch = |g: &mut Graph, stream| {
            let d_branch = g.activations(g.config.hidden_size);
            let (len, scale) = (g.rows() * g.config.hidden_size, g.config.residual_scale());
            g.add(dx, d_branch, scale, len, false);
            dropout(g, d_branch, rate, stream);
            d_branch
        };
        let parallel = g.config.parallel_residual;
        let d_mlp = branch(g, self.streams[1]);
        let d_attention = parallel.then(|| branch(g, self.streams[0]));
        let saved_mlp = saved.mlp.as_ref().expect(SAVED);
        self.mlp.backward(g, saved_mlp, d_mlp, dx);
        let d_attention = d_attention.unwrap_or_else(|| branch(g, self.streams[0]));
        let saved_attention = saved.attention.as_ref().expect(SAVED);
        self.attention.backward(g, saved_attention, d_attention, dx);
    }
}

/// The final norm and the head; `x` `[rows, hidden]` → logits `[rows, vocab]` before the cap.
pub(super) struct Head {
    norm: Norm,
    pub linear: BitLinear,
    pub input: MatrixInput,
}

impl Head {
    pub fn new(g: &mut Graph, x: BufferId) -> Self {
        let dim = g.config.hidden_size;
        let norm = Norm::stream(g.config, params::FINAL_NORM.into());
        let linear = BitLinear::new(g, params::lm_head(g.config));
        let input = MatrixInput::new(g, x, dim, Some(&norm), &[&linear]);
        Head {
            norm,
            linear,
            input,
        }
    }
}

/// Logits as the model means them, from those of its head: capped where it caps them, in place if
/// nobody needs the others.
pub(super) fn cap_logits(g: &mut Graph, x: BufferId) -> BufferId {
    let Some(cap) = g.config.logit_softcap else {
        return x;
    };
    let (rows, dim) = (g.rows(), g.config.vocab_size);
    let out = if g.training() { g.activations(dim) } else { x };
    g.rec.push(Op::Softcap {
        x,
        out,
        cap,
        rows,
        dim,
    });
    out
}

/// Logits of a training forward with a weight that is fake-quantized already, and what a backward
/// needs of them.
pub(super) fn logits(g: &mut Graph, x: BufferId, weight: BufferId) -> BufferId {
    let head = Head::new(g, x);
    let (raw, _) = head.linear.multiply(g, &head.input, weight);
    cap_logits(g, raw)
}

/// x + scale·branch, into a new buffer while training (the backward of the branches needs neither),
/// in place otherwise.
pub(super) fn residual(g: &mut Graph, x: BufferId, branch: BufferId) -> BufferId {
    let (rows, dim, scale) = (g.rows(), g.config.hidden_size, g.config.residual_scale());
    // Norms keep their input for the backward, so training must not overwrite it.
    let out = if g.training() { g.activations(dim) } else { x };
    g.rec.push(Op::Residual {
        x,
        branch,
        out,
        scale,
        rows,
        dim,
    });
    out
}

fn embedding_scale(g: &Graph) -> f32 {
    g.config.embedding_multiplier.unwrap_or(1.0)
}

/// Rows of the embedding into `out`, with learned positions if there are any.
pub(super) fn embed(g: &mut Graph, ids: BufferId, table: EmbedTable, out: BufferId) {
    let (rows, seq, dim) = (g.rows(), g.seq(), g.config.hidden_size);
    g.rec.push(Op::Embed {
        ids,
        table,
        out,
        scale: embedding_scale(g),
        rows,
        dim,
    });
    if g.config.use_rope {
        return;
    }
    let table = g.float_param(params::POSITIONS, g.config.max_seq_len * dim);
    let Some(positions) = g.positions else {
        g.rec.push(Op::AddPosition {
            x: out,
            table,
            places: g.places,
            rows,
            seq,
            dim,
        });
        return;
    };
    let added = g.activations(dim);
    g.rec.push(Op::Embed {
        ids: positions,
        table: EmbedTable::Float(table),
        out: added,
        scale: 1.0,
        rows,
        dim,
    });
    g.add(added, out, 1.0, rows * dim, true);
}

/// Record `rows` tokens through a KV cache of this precision; with `adapter`, that of this number
/// stands beside the packed weights.
pub fn record_infer(
    config: &ModelConfig,
    rows: usize,
    logits: Logits,
    adapter: Option<(&LoraConfig, usize)>,
    cache: CachePrecision,
) -> InferProgram {
    let mut g = Graph {
        cache,
        adapter: adapter.map(|(_, number)| number),
        ..Graph::new(config, Phase::Infer { rows }, adapter.map(|(lora, _)| lora))
    };
    let dim = config.hidden_size;
    let ids = g.rec.io(Elem::U32, rows);
    let table = EmbedTable::Weight(g.packed(&params::embedding(config)));
    let mut x = g.activations(dim);
    embed(&mut g, ids, table, x);
    for layer in 0..config.num_layers {
        x = Block::new(&g, layer).forward(&mut g, x);
    }
    let head_rows = match logits {
        Logits::All => rows,
        Logits::Last | Logits::Chosen => {
            if rows > 1 {
                let out = g.rec.f32(dim);
                g.rec.push(Op::LastRow { x, out, rows, dim });
                x = out;
            }
            1
        }
    };
    let mut g = Graph {
        phase: Phase::Infer { rows: head_rows },
        ..g
    };
    let head = Head::new(&mut g, x);
    let weight = g.packed(&head.linear.matrix);
    let out = g.rec.io(Elem::F32, head_rows * config.vocab_size);
    g.rec.push(Op::Linear {
        input: head.input.input(head.linear.int8),
        weight,
        out,
        rows: head_rows,
    });
    cap_logits(&mut g, out);
    let sampling = (logits != Logits::All).then(|| {
        let vocab = config.vocab_size;
        let k = CANDIDATES.min(vocab);
        let recent = g.rec.io(Elem::U32, RECENT);
        let top_ids = g.rec.io(Elem::U32, k);
        let top_values = g.rec.io(Elem::F32, k);
        g.rec.push(Op::Penalize {
            logits: out,
            recent,
            capacity: RECENT,
            vocab,
        });
        g.rec.push(Op::TopK {
            logits: out,
            ids: top_ids,
            values: top_values,
            vocab,
            k,
        });
        let chosen = (logits == Logits::Chosen).then(|| {
            let chosen = g.rec.io(Elem::U32, 1);
            g.rec.push(Op::Choose {
                top_ids,
                top_values,
                k,
                recent,
                capacity: RECENT,
                ids,
                chosen,
            });
            chosen
        });
        SamplingBuffers {
            recent,
            top_ids,
            top_values,
            chosen,
        }
    });
    let label = match logits {
        Logits::All => format!("logits of {rows}"),
        Logits::Last if rows == 1 => "decode".to_owned(),
        Logits::Last => format!("prefill {rows}"),
        Logits::Chosen => "decode and choose".to_owned(),
    };
    InferProgram {
        program: g.rec.finish(&label),
        ids,
        logits: out,
        sampling,
    }
}

/// One training forward, with what its backward reads.
pub(super) struct Forward {
    embedding: String,
    pub blocks: Vec<(Block, Saved)>,
    head: Head,
    head_saved: LinearSaved,
    /// Logits before the cap, `[rows, vocab]`; the others if there is none.
    raw_logits: BufferId,
    /// `[rows, vocab]`.
    logits: BufferId,
}

impl Forward {
    pub fn record(g: &mut Graph, ids: BufferId, rate: f32) -> Self {
        let config = g.config;
        let dim = config.hidden_size;
        let embedding = params::embedding(config);
        let table = BitLinear::forward_weight(g, &embedding);
        let mut x = g.activations(dim);
        embed(g, ids, EmbedTable::Float(table), x);
        dropout(g, x, rate, EMBEDDING_STREAM);
        let mut blocks = Vec::new();
        for layer in 0..config.num_layers {
            let block = Block::new(g, layer);
            let (behind, saved) = block.record(g, x, rate);
            x = behind;
            blocks.push((block, saved));
        }
        let head = Head::new(g, x);
        let weight = if config.tie_word_embeddings {
            table
        } else {
            BitLinear::forward_weight(g, &head.linear.matrix)
        };
        let (raw_logits, head_saved) = head.linear.multiply(g, &head.input, weight);
        let logits = cap_logits(g, raw_logits);
        Forward {
            embedding: embedding.name,
            blocks,
            head,
            head_saved,
            raw_logits,
            logits,
        }
    }

    /// From the gradient of the logits, `[rows, vocab]`.
    fn backward(&self, g: &mut Graph, ids: BufferId, d_logits: BufferId, rate: f32) {
        let config = g.config;
        let (rows, seq, dim) = (g.rows(), g.seq(), config.hidden_size);
        if let Some(cap) = config.logit_softcap {
            g.rec.push(Op::SoftcapBackward {
                x: self.raw_logits,
                dout: d_logits,
                cap,
                len: rows * config.vocab_size,
            });
        }
        let d_input = g.activations(dim);
        let Head {
            norm,
            linear,
            input,
        } = &self.head;
        linear.backward(g, &self.head_saved, d_logits, d_input, false);
        // The gradient of the residual stream, carried from the last block to the embedding.
        let dx = input.backward(g, Some(norm), d_input, dim, None);
        for (block, saved) in self.blocks.iter().rev() {
            block.backward(g, saved, dx, rate);
        }
        if !g.has_gradients() {
            return;
        }
        dropout(g, dx, rate, EMBEDDING_STREAM);
        if !config.use_rope {
            let dtable = g.grad(params::POSITIONS, config.max_seq_len * dim);
            g.rec.push(match g.positions {
                None => Op::PositionBackward {
                    dx,
                    dtable,
                    rows,
                    seq,
                    dim,
                },
                Some(positions) => Op::EmbedBackward {
                    ids: positions,
                    dout: dx,
                    dtable,
                    scale: 1.0,
                    rows,
                    dim,
                    vocab: config.max_seq_len,
                },
            });
        }
        let vocab = config.vocab_size;
        let dtable = g.grad(&self.embedding, vocab * dim);
        g.rec.push(Op::EmbedBackward {
            ids,
            dout: dx,
            dtable,
            scale: embedding_scale(g),
            rows,
            dim,
            vocab,
        });
    }
}

/// Record one micro-batch: loss of `batch` sequences of `seq` tokens and, with `backward`, the
/// gradients of everything that is trained (the adapters if there are any), added to `grad.*`. A
/// teacher matters to the backward only.
pub fn record_train(
    config: &ModelConfig,
    batch: usize,
    seq: usize,
    objective: Objective,
    backward: bool,
) -> TrainProgram {
    let rate = if backward { objective.dropout } else { 0.0 };
    let mut g = Graph::new(config, Phase::Train { batch, seq }, objective.lora);
    let (rows, vocab) = (batch * seq, config.vocab_size);
    let ids = g.rec.io(Elem::U32, rows);
    let targets = g.rec.io(Elem::U32, rows);
    g.positions = match objective.packing {
        Packing::Whole => None,
        Packing::Documents => Some(g.rec.io(Elem::U32, rows)),
    };
    let positions = g.positions;
    let losses = g.rec.io(Elem::F32, rows);

    // What only gives figures to compare with goes first, so that the trained model finds its
    // activations' memory free.
    let reference = objective
        .preference
        .map(|_| record_reference(&mut g, ids, targets));
    let distill = objective.distill.filter(|_| backward);
    let teacher = distill.map(|d| record_teacher(&mut g, d, ids));
    let mut forward = Forward::record(&mut g, ids, rate);
    let logits = forward.logits;
    let mut d_logits = logits;
    if let (Some(d), Some((teacher, states))) = (distill, teacher) {
        // The teacher's logits become the gradient of the divergence, before the student's become
        // that of the cross-entropy.
        let divergences = g.rec.f32(rows);
        g.rec.push(Op::KlDivergence {
            logits,
            teacher,
            targets,
            losses: divergences,
            rows,
            vocab,
            weight: d.weight,
            temperature: d.temperature,
        });
        let out = g.rec.shared(KL, Elem::F32, 1);
        g.rec.push(Op::SumRows {
            x: divergences,
            out,
            rows,
        });
        d_logits = teacher;
        if let (Some(relations), Some(teacher)) = (d.relations, states) {
            let (block, _) = &mut forward.blocks[relations.layer];
            block.attention.follow(Followed {
                teacher,
                weights: relations.weights,
                targets,
            });
        }
    }
    g.rec.push(Op::CrossEntropy {
        logits,
        targets,
        losses,
        rows,
        vocab,
        z_loss: objective.z_loss,
        grad: backward,
    });
    let name = if backward {
        TRAIN_LOSS
    } else {
        VALIDATION_LOSS
    };
    let total = g.rec.shared(name, Elem::F32, 1);
    match (objective.preference, reference) {
        (Some(beta), Some(reference)) => {
            let [out, margins, wins] = [(); 3].map(|()| g.rec.f32(batch / 2));
            g.rec.push(Op::PreferenceLoss {
                targets,
                losses,
                reference,
                d_logits: backward.then_some(logits),
                out,
                margins,
                wins,
                pairs: batch / 2,
                seq,
                vocab,
                beta,
            });
            let [margins_sum, wins_sum] = [MARGINS, WINS]
                .map(|names| g.rec.shared(names[usize::from(!backward)], Elem::F32, 1));
            for (x, out) in [(out, total), (margins, margins_sum), (wins, wins_sum)] {
                g.rec.push(Op::SumRows {
                    x,
                    out,
                    rows: batch / 2,
                });
            }
        }
        _ => g.rec.push(Op::SumRows {
            x: losses,
            out: total,
            rows,
        }),
    }
    if let Some(d) = distill {
        g.add(logits, d_logits, 1.0 - d.weight, rows * vocab, true);
    }
    if backward {
        forward.backward(&mut g, ids, d_logits, rate);
    }
    let label = if backward { "train" } else { "validate" };
    TrainProgram {
        program: g.rec.finish(&format!("{label} {batch}×{seq}")),
        ids,
        targets,
        positions,
        losses,
        total,
    }
}

/// The cross-entropies `[rows]` of the model without its adapters on the batch that `g` records.
fn record_reference(g: &mut Graph, ids: BufferId, targets: BufferId) -> BufferId {
    let mut r = Graph {
        rec: std::mem::take(&mut g.rec),
        source: Source::Frozen(BufferKind::Frozen),
        positions: g.positions,
        ..Graph::new(g.config, g.phase, None)
    };
    let forward = Forward::record(&mut r, ids, 0.0);
    let rows = r.rows();
    let losses = r.rec.f32(rows);
    r.rec.push(Op::CrossEntropy {
        logits: forward.logits,
        targets,
        losses,
        rows,
        vocab: g.config.vocab_size,
        z_loss: 0.0,
        grad: false,
    });
    g.rec = r.rec;
    losses
}

/// The teacher's logits `[rows, vocab]` for the batch that `g` records, and what its relations are
/// of.
fn record_teacher(
    g: &mut Graph,
    distill: Distill,
    ids: BufferId,
) -> (BufferId, Option<AttentionStates>) {
    let mut t = Graph {
        rec: std::mem::take(&mut g.rec),
        source: Source::Frozen(BufferKind::Teacher),
        positions: g.positions,
        ..Graph::new(distill.teacher, g.phase, None)
    };
    let forward = Forward::record(&mut t, ids, 0.0);
    let states = distill.relations.map(|relations| {
        let (_, saved) = &forward.blocks[relations.teacher_layer];
        saved
            .attention
            .as_ref()
            .expect(SAVED)
            .states(distill.teacher)
    });
    g.rec = t.rec;
    (forward.logits, states)
}

/// A recorded optimizer step.
#[derive(Debug)]
pub struct UpdateProgram {
    pub program: Program,
    /// f32, one squared gradient norm per parameter, in the order of [`params::trained`].
    pub norms: BufferId,
    /// f32 `[HISTORY, STEP_FIGURES]`, see [`Op::RecordStep`].
    pub history: BufferId,
}

/// Record the optimizer step: straight-through factors, gradient norm, clipping, AdamW or Muon,
/// latent clip, gradients back to zero.
pub fn record_update(config: &ModelConfig, train: &TrainConfig) -> UpdateProgram {
    let lora = train.lora.as_ref();
    let mut g = Graph::new(config, Phase::Train { batch: 1, seq: 1 }, None);
    let all = params::trained(config, lora);
    let norms = g.rec.io(Elem::F32, all.len());
    for (slot, p) in all.iter().enumerate() {
        let len = p.len();
        let latent = g.float_param(&p.name, len);
        let grad = g.grad(&p.name, len);
        if let ParamKind::Matrix(m) = &p.kind
            && m.mode.is_latent()
        {
            g.rec.push(Op::SteBackward {
                latent,
                grad,
                len,
                ste: config.ste_scale_factor,
                clamp: config.latent_clamp_max,
                arenas: config.arenas_initial.is_some(),
            });
        }
        g.rec.push(Op::SquaredNorm {
            grad,
            out: norms,
            slot,
            len,
        });
    }
    let loss = g.rec.shared(TRAIN_LOSS, Elem::F32, 1);
    let history = g.rec.io(Elem::F32, HISTORY * STEP_FIGURES);
    g.rec.push(Op::RecordStep {
        loss,
        norms,
        norm_count: all.len(),
        history,
        capacity: HISTORY,
    });
    for p in &all {
        let len = p.len();
        let latent = matches!(&p.kind, ParamKind::Matrix(m) if m.mode.is_latent());
        let latent_clip = if latent {
            config.latent_clip_max_training
        } else {
            0.0
        };
        if let (Optimizer::Muon, Some(m)) = (train.optimizer, p.muon()) {
            let update = Muon {
                train,
                norms,
                norm_count: all.len(),
                latent_clip,
            };
            update.record(&mut g, p, m.rows, m.cols);
            continue;
        }
        let op = Op::AdamW {
            param: g.float_param(&p.name, len),
            grad: g.grad(&p.name, len),
            m: g.rec
                .shared(&BufferKind::FirstMoment.named(&p.name), Elem::F32, len),
            v: g.rec
                .shared(&BufferKind::SecondMoment.named(&p.name), Elem::F32, len),
            norms,
            norm_count: all.len(),
            len,
            clip_norm: train.clip_norm as f32,
            beta1: train.beta1 as f32,
            beta2: train.beta2 as f32,
            eps: train.eps as f32,
            decay: matches!(p.kind, ParamKind::Matrix(_) | ParamKind::Adapter),
            latent_clip,
        };
        g.rec.push(op);
    }
    UpdateProgram {
        program: g.rec.finish("update"),
        norms,
        history,
    }
}
