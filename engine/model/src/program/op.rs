//! The only list of operations there is. Every interpreter (CPU, GPU) runs exactly these.
//!
//! Conventions: matrices are row-major; `rows` is the number of token rows an operation is recorded
//! for, of which the first `min(rows, run_params.rows)` are computed; shapes are given as
//! `[rows, columns]`. All floats are f32 unless a buffer's [`Elem`](super::Elem) says otherwise.

use super::BufferId;
use ternary_core::config::{Activation, CachePrecision, QuantMode};
use ternary_core::quant::WeightQuant;

/// A quantized (or F16) matrix in the run-time layout of [`ternary_core::quant::tile`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight {
    pub mode: QuantMode,
    /// Codes or F16 values, see [`ternary_core::quant::tile`].
    pub data: BufferId,
    /// f32 `[out_dim, in_dim / group]`; absent for F16.
    pub scales: Option<BufferId>,
    pub out_dim: usize,
    pub in_dim: usize,
    /// Columns that share a scale; `in_dim` for scales per tensor or per row.
    pub group: usize,
}

/// Positions of a page of the KV cache.
pub const PAGE: usize = 32;

/// Where the rows of a step stand that belong to several sequences. Their keys and values lie in
/// pages of [`PAGE`] positions, which sequences that begin alike share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Places {
    /// u32: of every row its position in its sequence and where that sequence's table begins in
    /// this buffer, `[rows, 2]`; then the tables, `[sequences, table]`, which name the page of
    /// positions 0.., [`PAGE`].. and so on.
    pub buffer: BufferId,
    /// Pages that there are; a cache has `pages * PAGE` positions.
    pub pages: usize,
}

/// What a [`Op::Linear`] multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LinearInput {
    /// f32 `[rows, in_dim]`.
    Float(BufferId),
    /// int8 codes `[rows, padded(in_dim)]` and one f32 scale per row: x ≈ code · scale.
    Int8 { codes: BufferId, scales: BufferId },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    // ---- forward, inference and training ----
    /// `out[r] = scale · table[ids[r]]`. `ids` u32 `[rows]`, `table` F32 or a run-time weight
    /// `[vocab, dim]`.
    Embed {
        ids: BufferId,
        table: EmbedTable,
        out: BufferId,
        scale: f32,
        rows: usize,
        dim: usize,
    },
    /// `x[r] += table[(run_params.pos + r) mod seq]`-th row; `table` f32 `[max_positions, dim]`.
    /// Row r stands at position `run_params.pos + r % seq` (`seq` = sequence length in training,
    /// `rows` in inference), or where `places` says.
    AddPosition {
        x: BufferId,
        table: BufferId,
        places: Option<Places>,
        rows: usize,
        seq: usize,
        dim: usize,
    },
    /// RMSNorm (Zhang & Sennrich 2019) of every `dim`-wide group of `x` `[rows, groups·dim]`:
    /// `out = x / sqrt(mean(x²) + eps) · weight`. `weight` f32 `[dim]`. `rstd` `[rows, groups]`
    /// keeps 1/sqrt(…) for the backward.
    RmsNorm {
        x: BufferId,
        weight: BufferId,
        out: BufferId,
        rstd: Option<BufferId>,
        rows: usize,
        groups: usize,
        dim: usize,
        eps: f32,
    },
    /// What LayerNorm takes off before it is an RMSNorm: `out (+)= x − mean(x)` of every row. Its
    /// own backward. Both `[rows, dim]`.
    Center {
        x: BufferId,
        out: BufferId,
        rows: usize,
        dim: usize,
        accumulate: bool,
    },
    /// `x[r] += bias`. `x` `[rows, dim]`, `bias` f32 `[dim]`.
    AddBias {
        x: BufferId,
        bias: BufferId,
        rows: usize,
        dim: usize,
    },
    /// `out = cap · tanh(x / cap)`, both `[rows, dim]`; `out` may be `x` (Gemma 2).
    Softcap {
        x: BufferId,
        out: BufferId,
        cap: f32,
        rows: usize,
        dim: usize,
    },
    /// Per-token absmax int8: `scale = max(max|x|, 1e-5) / 127`,
    /// `code = round_half_even(x / scale)`, columns beyond `dim` are 0. With `norm`, x is first
    /// RMS-normalized (weight, eps). `codes` int8 `[rows, padded(dim)]`, `scales` f32 `[rows]`.
    QuantAct {
        x: BufferId,
        norm: Option<(BufferId, f32)>,
        codes: BufferId,
        scales: BufferId,
        rows: usize,
        dim: usize,
    },
    /// `out = x · Wᵀ`; out f32 `[rows, out_dim]`.
    Linear {
        input: LinearInput,
        weight: Weight,
        out: BufferId,
        rows: usize,
    },
    /// Rotary positions, rotate-half convention, in place on the first `rotary` elements of every
    /// head of `x` `[rows, heads·head_dim]`. `table` f32 `[max_positions, rotary]`: cos for the
    /// first half of a row, sin for the second. Row r stands at position `run_params.pos + r %
    /// seq`, or where `places` says. `inverse` rotates back (the backward).
    Rope {
        x: BufferId,
        table: BufferId,
        places: Option<Places>,
        rows: usize,
        seq: usize,
        heads: usize,
        head_dim: usize,
        rotary: usize,
        inverse: bool,
    },
    /// Append `k` and `v` `[rows, kv_heads·head_dim]` to the caches `[max_seq, kv_heads]` of heads
    /// in `precision` from row `run_params.pos` on, or to where `places` says.
    KvWrite {
        k: BufferId,
        v: BufferId,
        cache_k: BufferId,
        cache_v: BufferId,
        rows: usize,
        kv_heads: usize,
        head_dim: usize,
        max_seq: usize,
        precision: CachePrecision,
        places: Option<Places>,
    },
    /// Causal attention of `q` `[rows, heads·head_dim]` over the caches' first
    /// `run_params.pos + r + 1` rows, the last `scores.window` of them where there is one; query
    /// head h reads key/value head `h / (heads / kv_heads)`. out `[rows, heads·head_dim]`. With
    /// `places` a row sees its own sequence up to its position.
    CachedAttention {
        q: BufferId,
        cache_k: BufferId,
        cache_v: BufferId,
        out: BufferId,
        rows: usize,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
        max_seq: usize,
        precision: CachePrecision,
        scores: Scores,
        places: Option<Places>,
    },
    /// `out = act(gate) · up`, or `act(gate)` without `up`. All `[rows, dim]`.
    Activate {
        gate: BufferId,
        up: Option<BufferId>,
        out: BufferId,
        activation: Activation,
        rows: usize,
        dim: usize,
    },
    /// `out = x + scale · branch`, all `[rows, dim]`; `out` may be `x`.
    Residual {
        x: BufferId,
        branch: BufferId,
        out: BufferId,
        scale: f32,
        rows: usize,
        dim: usize,
    },
    /// `out[0] = x[run_params.rows − 1]`: the last valid row. out `[1, dim]`.
    LastRow {
        x: BufferId,
        out: BufferId,
        rows: usize,
        dim: usize,
    },
    /// `out[r] = x[picks[r]]`. `picks` u32 `[rows]`, x `[…, dim]`, out `[rows, dim]`.
    PickRows {
        x: BufferId,
        picks: BufferId,
        out: BufferId,
        rows: usize,
        dim: usize,
    },

    // ---- sampling ----
    /// Repetition penalty (Keskar et al. 2019) on `logits` `[vocab]`: for the first
    /// `run_params.recent` ids of `recent` u32, positive logits are divided and negative ones
    /// multiplied by `run_params.repetition_penalty`. An id that comes twice counts once.
    Penalize {
        logits: BufferId,
        recent: BufferId,
        capacity: usize,
        vocab: usize,
    },
    /// The `k` largest of `logits` `[vocab]`, in any order: `ids` u32 `[k]`, `values` f32 `[k]`.
    /// `k ≤ vocab`.
    TopK {
        logits: BufferId,
        ids: BufferId,
        values: BufferId,
        vocab: usize,
        k: usize,
    },

    /// Chooses a token as [`ternary_core::sampling::Choice`] does, with `run_params.temperature`,
    /// `top_k`, `top_p` and `draw`, among candidates `top_ids` u32 and `top_values` f32 `[k]`:
    /// `chosen` u32 `[1]`, `u32::MAX` where no value is a number. The next run finds it in `ids`
    /// u32 `[1]`, or a 0, and in `recent` u32 `[capacity]`, where the token of position p is at
    /// p mod capacity: this one is that of position `run_params.pos + 1`.
    Choose {
        top_ids: BufferId,
        top_values: BufferId,
        k: usize,
        recent: BufferId,
        capacity: usize,
        ids: BufferId,
        chosen: BufferId,
    },

    // ---- training ----
    /// Forward weight of a latent `[rows, cols]`: Q(clamp(W)) de-quantized to f32, see
    /// [`ternary_core::quant`]. With `run_params.anneal` α > 0 low-bit modes use the soft
    /// γ·tanh(αW/γ) instead. With `run_params.float_share` s it is (1 − s)·Q + s·clamp(W). With
    /// `arenas`, `run_params.arenas`·W is added.
    FakeQuantWeight {
        latent: BufferId,
        out: BufferId,
        rows: usize,
        cols: usize,
        quant: WeightQuant,
        arenas: bool,
    },
    /// Gradient of a latent from that of its forward weight, in place: straight-through, with s =
    /// `run_params.float_share` `grad *= (1 − s)·ste + s + (arenas ? run_params.arenas : 0)`, zero
    /// where |latent| > clamp.
    SteBackward {
        latent: BufferId,
        grad: BufferId,
        len: usize,
        ste: f32,
        clamp: f32,
        arenas: bool,
    },
    /// int8 quantize and de-quantize per row (the training twin of [`Op::QuantAct`]).
    /// `[rows, dim]`.
    FakeQuantAct {
        x: BufferId,
        out: BufferId,
        rows: usize,
        dim: usize,
    },
    /// `out = beta·out + op(a)·op(b)`, `[m, k] × [k, n] → [m, n]`; `trans_a`: `a` is stored
    /// `[k, m]`; `trans_b`: `b` is stored `[n, k]`.
    MatMul {
        a: BufferId,
        b: BufferId,
        out: BufferId,
        m: usize,
        n: usize,
        k: usize,
        trans_a: bool,
        trans_b: bool,
        accumulate: bool,
    },
    /// Backward of [`Op::RmsNorm`]: with x̂ = x·rstd and g = dy·weight,
    /// `dx (+)= rstd·(g − x̂·mean(g·x̂))`; `dweight += Σ_rows dy·x̂`.
    RmsNormBackward {
        x: BufferId,
        weight: BufferId,
        rstd: BufferId,
        dy: BufferId,
        dx: BufferId,
        dweight: BufferId,
        rows: usize,
        groups: usize,
        dim: usize,
        accumulate: bool,
    },
    /// Causal attention over whole sequences; q `[batch·seq, heads·head_dim]`, k, v
    /// `[batch·seq, kv_heads·head_dim]`. `lse` `[batch, heads, seq]` keeps log Σ exp(scores) for
    /// the backward. `positions` u32 `[batch·seq]`: of every row its position in its document,
    /// which follow one another in a sequence; a query then sees its own document only.
    Attention {
        q: BufferId,
        k: BufferId,
        v: BufferId,
        positions: Option<BufferId>,
        out: BufferId,
        lse: BufferId,
        shape: AttentionShape,
    },
    /// Backward of [`Op::Attention`]; `dq`, `dk`, `dv` are overwritten.
    AttentionBackward {
        q: BufferId,
        k: BufferId,
        v: BufferId,
        positions: Option<BufferId>,
        out: BufferId,
        lse: BufferId,
        dout: BufferId,
        dq: BufferId,
        dk: BufferId,
        dv: BufferId,
        shape: AttentionShape,
    },
    /// Backward of [`Op::Activate`]: `dgate`, `dup` are overwritten.
    ActivateBackward {
        gate: BufferId,
        up: Option<BufferId>,
        dout: BufferId,
        dgate: BufferId,
        dup: Option<BufferId>,
        activation: Activation,
        rows: usize,
        dim: usize,
    },
    /// `out = scale·x` (`[len]`), or `out += scale·x` when accumulating.
    Scale {
        x: BufferId,
        out: BufferId,
        scale: f32,
        len: usize,
        accumulate: bool,
    },
    /// Softmax cross-entropy in nats: `losses[r] = logsumexp(logits[r]) − logits[r, targets[r]]`. A
    /// target of `u32::MAX` is ignored (loss 0). Unless `grad` is false, `logits` becomes its
    /// gradient times `run_params.grad_scale`, with z-loss `z·logsumexp²` added.
    CrossEntropy {
        logits: BufferId,
        targets: BufferId,
        losses: BufferId,
        rows: usize,
        vocab: usize,
        z_loss: f32,
        grad: bool,
    },
    /// Distillation (Hinton et al. 2015) with p = softmax(teacher / T), q = softmax(logits / T):
    /// `losses[r] = KL(p ‖ q)` in nats, 0 where `targets[r]` is `u32::MAX`; `teacher` becomes the
    /// gradient of w·T²·KL by `logits`, w·T·(q − p), times `run_params.grad_scale`. `logits` and
    /// `teacher` f32 `[rows, vocab]`.
    KlDivergence {
        logits: BufferId,
        teacher: BufferId,
        targets: BufferId,
        losses: BufferId,
        rows: usize,
        vocab: usize,
        /// w.
        weight: f32,
        /// T.
        temperature: f32,
    },
    /// Direct preference optimization (Rafailov et al. 2023) of pairs of sequences of `seq` rows,
    /// the chosen one first. `losses` and `reference` f32 `[pairs·2·seq]` are cross-entropies of
    /// the policy and of its reference; r, the sum of reference − losses over a sequence, is then
    /// ln(π / π_ref). Per pair `margins` = β·(r(chosen) − r(rejected)), `out` = −ln σ(margin),
    /// `wins` = 1 if the margin is above 0; all 0 where every target of both is `u32::MAX`.
    /// `d_logits` `[pairs·2·seq, vocab]`, the gradient of the sum of `losses`, becomes that of the
    /// sum of `out`.
    PreferenceLoss {
        targets: BufferId,
        losses: BufferId,
        reference: BufferId,
        d_logits: Option<BufferId>,
        out: BufferId,
        margins: BufferId,
        wins: BufferId,
        pairs: usize,
        seq: usize,
        vocab: usize,
        /// β.
        beta: f32,
    },
    /// How a student's rows relate to each other, against a teacher's (MiniLMv2, Wang et al. 2021):
    /// in every relation head of width d, p and q are the rows of softmax(A·Aᵀ/√d) over the tokens
    /// of a sequence, of `teacher` and of `x`. `losses[r]` = the heads' mean of KL(p ‖ q) in nats,
    /// 0 where `targets[r]` is `u32::MAX`; `scores` `[batch, heads, seq, seq]` becomes the gradient
    /// of w·KL by the products x·xᵀ, w·(q − p)/(heads·√d), times `run_params.grad_scale`. `x`
    /// `[batch·seq, heads·dim]`, `teacher` `[batch·seq, heads·teacher_dim]`.
    RelationDivergence {
        x: BufferId,
        teacher: BufferId,
        targets: BufferId,
        scores: BufferId,
        losses: BufferId,
        shape: RelationShape,
        /// w.
        weight: f32,
    },
    /// `dx[i] += Σ_j (scores[i, j] + scores[j, i])·x[j]` in every sequence and head: from
    /// [`Op::RelationDivergence`]'s scores to the gradient of x. `x`, `dx` `[batch·seq,
    /// heads·dim]`.
    RelationBackward {
        x: BufferId,
        scores: BufferId,
        dx: BufferId,
        shape: RelationShape,
    },
    /// Inverted dropout in place (Srivastava et al. 2014): `x[i] = keeps(i) ? x[i]/(1 − rate) : 0`
    /// with the mask [`DropoutMask`](super::DropoutMask)`(run_params.seed, stream, rate)`; on a
    /// gradient, its backward. `x` f32 `[len]`.
    Dropout {
        x: BufferId,
        len: usize,
        rate: f32,
        stream: u32,
    },
    /// `dbias += Σ_rows dy`: backward of [`Op::AddBias`]. `dy` `[rows, dim]`, `dbias` f32 `[dim]`.
    BiasBackward {
        dy: BufferId,
        dbias: BufferId,
        rows: usize,
        dim: usize,
    },
    /// Backward of [`Op::Softcap`] in place: `dout *= 1 − tanh²(x / cap)`. Both `[len]`.
    SoftcapBackward {
        x: BufferId,
        dout: BufferId,
        cap: f32,
        len: usize,
    },
    /// `dtable[ids[r]] += scale · dout[r]`.
    EmbedBackward {
        ids: BufferId,
        dout: BufferId,
        dtable: BufferId,
        scale: f32,
        rows: usize,
        dim: usize,
        vocab: usize,
    },
    /// `dtable[r % seq] += dx[r]`: backward of [`Op::AddPosition`] at position 0.
    PositionBackward {
        dx: BufferId,
        dtable: BufferId,
        rows: usize,
        seq: usize,
        dim: usize,
    },
    /// `out[slot] = Σ grad²`.
    SquaredNorm {
        grad: BufferId,
        out: BufferId,
        slot: usize,
        len: usize,
    },
    /// `out[0] += Σ x` over the valid rows of `x` `[rows]`.
    SumRows {
        x: BufferId,
        out: BufferId,
        rows: usize,
    },
    /// Keep the figures of an optimizer step: row `run_params.pos` of `history` f32 `[capacity, 3]`
    /// becomes `loss[0]`, Σ norms[..norm_count] and the index of the first of these norms that is
    /// not finite (`norm_count` if all are); then `loss[0] = 0`.
    RecordStep {
        loss: BufferId,
        norms: BufferId,
        norm_count: usize,
        history: BufferId,
        capacity: usize,
    },
    /// AdamW (Loshchilov & Hutter 2019) on one parameter, then `clip` on the latents (0 = off),
    /// then `grad = 0`. The gradient is first scaled by min(1, clip_norm / sqrt(Σ
    /// norms[..norm_count])); `clip_norm` 0 = off. Where that sum is not finite nothing but the
    /// gradient changes: the parameter stays that of the last good step. Learning rate, bias
    /// corrections and weight decay come from the run_params; `decay` says whether this parameter
    /// decays.
    AdamW {
        param: BufferId,
        grad: BufferId,
        m: BufferId,
        v: BufferId,
        norms: BufferId,
        norm_count: usize,
        len: usize,
        clip_norm: f32,
        beta1: f32,
        beta2: f32,
        eps: f32,
        decay: bool,
        latent_clip: f32,
    },
    /// Muon's momentum (Jordan et al. 2024) with Nesterov's look ahead: with μ =
    /// `run_params.momentum` and g the gradient, clipped as [`Op::AdamW`] does,
    /// `m = μ·m + (1 − μ)·g`, `out = μ·m + (1 − μ)·g`, `grad = 0`. Where the norms' sum is not
    /// finite `out` is 0 and `m` stays. All `[len]`.
    Momentum {
        grad: BufferId,
        m: BufferId,
        out: BufferId,
        norms: BufferId,
        norm_count: usize,
        len: usize,
        clip_norm: f32,
    },
    /// `x /= sqrt(squares[slot]) + 1e-7`. `x` `[len]`.
    Normalize {
        x: BufferId,
        squares: BufferId,
        slot: usize,
        len: usize,
    },
    /// `param = param·(1 − rate·lr·decay) − rate·scale·lr·step`, with `lr` and decay of the
    /// run_params, then clipped as [`Op::AdamW`] does; nothing where the norms' sum is not finite.
    /// All `[len]`.
    TakeStep {
        param: BufferId,
        step: BufferId,
        norms: BufferId,
        norm_count: usize,
        len: usize,
        rate: f32,
        scale: f32,
        latent_clip: f32,
    },
}

/// Figures that [`Op::RecordStep`] keeps of a step.
pub const STEP_FIGURES: usize = 3;

/// Shape of a whole-sequence attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    pub batch: usize,
    pub seq: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub scores: Scores,
}

/// Shape of the relations between the tokens of sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelationShape {
    pub batch: usize,
    pub seq: usize,
    /// Relation heads, of student and teacher alike.
    pub heads: usize,
    /// Width of a student's head.
    pub dim: usize,
    /// Width of a teacher's head.
    pub teacher_dim: usize,
}

/// What attention makes of the products of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Factor of every product.
    pub scale: f32,
    /// c of `c·tanh(score / c)`, on scaled scores.
    pub softcap: Option<f32>,
    /// Keys that a query sees, its own included.
    pub window: Option<usize>,
}

impl Scores {
    /// 1/√head_dim, without a cap or a window.
    pub fn plain(head_dim: usize) -> Self {
        Scores {
            scale: 1.0 / (head_dim as f32).sqrt(),
            softcap: None,
            window: None,
        }
    }
}

/// The table of an [`Op::Embed`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EmbedTable {
    /// f32 `[vocab, dim]` (training).
    Float(BufferId),
    /// F16 or EightBit run-time weight with `out_dim` = vocab, `in_dim` = dim.
    Weight(Weight),
}
