//! Which buffers an operation reads and writes: what planning and both backends need to know.

use super::{BufferId, EmbedTable, LinearInput, Op, Weight};

/// Buffers of one operation. A buffer changed in place is in both lists.
#[derive(Default, Debug)]
pub struct Access {
    pub reads: Vec<BufferId>,
    pub writes: Vec<BufferId>,
}

impl Access {
    fn new(reads: &[BufferId], writes: &[BufferId]) -> Self {
        Access {
            reads: reads.to_vec(),
            writes: writes.to_vec(),
        }
    }

    fn weight(mut self, w: &Weight) -> Self {
        self.reads.push(w.data);
        self.reads.extend(w.scales);
        self
    }

    fn also_reads(mut self, ids: impl IntoIterator<Item = BufferId>) -> Self {
        self.reads.extend(ids);
        self
    }

    fn also_writes(mut self, ids: impl IntoIterator<Item = BufferId>) -> Self {
        self.writes.extend(ids);
        self
    }
}

impl Op {
    pub fn access(&self) -> Access {
        match self {
            Op::Embed {
                ids, table, out, ..
            } => {
                let access = Access::new(&[*ids], &[*out]);
                match table {
                    EmbedTable::Float(t) => access.also_reads([*t]),
                    EmbedTable::Weight(w) => access.weight(w),
                }
            }
            Op::AddPosition {
                x, table, places, ..
            }
            | Op::Rope {
                x, table, places, ..
            } => Access::new(&[*x, *table], &[*x]).also_reads(places.map(|p| p.buffer)),
            Op::RmsNorm {
                x,
                weight,
                out,
                rstd,
                ..
            } => Access::new(&[*x, *weight], &[*out]).also_writes(*rstd),
            Op::Center {
                x, out, accumulate, ..
            } => Access::new(&[*x], &[*out]).also_reads(accumulate.then_some(*out)),
            Op::AddBias { x, bias, .. } => Access::new(&[*x, *bias], &[*x]),
            Op::Softcap { x, out, .. } => Access::new(&[*x], &[*out]),
            Op::BiasBackward { dy, dbias, .. } => Access::new(&[*dy, *dbias], &[*dbias]),
            Op::SoftcapBackward { x, dout, .. } => Access::new(&[*x, *dout], &[*dout]),
            Op::QuantAct {
                x,
                norm,
                codes,
                scales,
                ..
            } => Access::new(&[*x], &[*codes, *scales]).also_reads(norm.map(|n| n.0)),
            Op::Linear {
                input, weight, out, ..
            } => match input {
                LinearInput::Float(x) => Access::new(&[*x], &[*out]),
                LinearInput::Int8 { codes, scales } => Access::new(&[*codes, *scales], &[*out]),
            }
            .weight(weight),
            // The caches keep what they held: they are read as much as written.
            Op::KvWrite {
                k,
                v,
                cache_k,
                cache_v,
                places,
                ..
            } => Access::new(&[*k, *v, *cache_k, *cache_v], &[*cache_k, *cache_v])
                .also_reads(places.map(|p| p.buffer)),
            Op::CachedAttention {
                q,
                cache_k,
                cache_v,
                out,
                places,
                ..
            } => {
                Access::new(&[*q, *cache_k, *cache_v], &[*out]).also_reads(places.map(|p| p.buffer))
            }
            Op::Activate { gate, up, out, .. } => Access::new(&[*gate], &[*out]).also_reads(*up),
            Op::Residual { x, branch, out, .. } => Access::new(&[*x, *branch], &[*out]),
            Op::LastRow { x, out, .. } => Access::new(&[*x], &[*out]),
            Op::PickRows { x, picks, out, .. } => Access::new(&[*x, *picks], &[*out]),
            Op::Penalize { logits, recent, .. } => Access::new(&[*logits, *recent], &[*logits]),
            Op::TopK {
                logits,
                ids,
                values,
                ..
            } => Access::new(&[*logits], &[*ids, *values]),
            // What was there lately stays but for one.
            Op::Choose {
                top_ids,
                top_values,
                recent,
                ids,
                chosen,
                ..
            } => Access::new(&[*top_ids, *top_values, *recent], &[*recent, *ids, *chosen]),
            Op::Dropout { x, .. } => Access::new(&[*x], &[*x]),
            Op::FakeQuantWeight { latent, out, .. } => Access::new(&[*latent], &[*out]),
            Op::SteBackward { latent, grad, .. } => Access::new(&[*latent, *grad], &[*grad]),
            Op::FakeQuantAct { x, out, .. } => Access::new(&[*x], &[*out]),
            Op::MatMul {
                a,
                b,
                out,
                accumulate,
                ..
            } => Access::new(&[*a, *b], &[*out]).also_reads(accumulate.then_some(*out)),
            Op::RmsNormBackward {
                x,
                weight,
                rstd,
                dy,
                dx,
                dweight,
                accumulate,
                ..
            } => Access::new(&[*x, *weight, *rstd, *dy, *dweight], &[*dx, *dweight])
                .also_reads(accumulate.then_some(*dx)),
            Op::Attention {
                q,
                k,
                v,
                positions,
                out,
                lse,
                ..
            } => Access::new(&[*q, *k, *v], &[*out, *lse]).also_reads(*positions),
            Op::AttentionBackward {
                q,
                k,
                v,
                positions,
                out,
                lse,
                dout,
                dq,
                dk,
                dv,
                ..
            } => Access::new(&[*q, *k, *v, *out, *lse, *dout], &[*dq, *dk, *dv])
                .also_reads(*positions),
            Op::ActivateBackward {
                gate,
                up,
                dout,
                dgate,
                dup,
                ..
            } => Access::new(&[*gate, *dout], &[*dgate])
                .also_reads(*up)
                .also_writes(*dup),
            Op::Scale {
                x, out, accumulate, ..
            } => Access::new(&[*x], &[*out]).also_reads(accumulate.then_some(*out)),
            Op::CrossEntropy {
                logits,
                targets,
                losses,
                grad,
                ..
            } => Access::new(&[*logits, *targets], &[*losses]).also_writes(grad.then_some(*logits)),
            Op::KlDivergence {
                logits,
                teacher,
                targets,
                losses,
                ..
            } => Access::new(&[*logits, *teacher, *targets], &[*teacher, *losses]),
            Op::PreferenceLoss {
                targets,
                losses,
                reference,
                d_logits,
                out,
                margins,
                wins,
                ..
            } => Access::new(&[*targets, *losses, *reference], &[*out, *margins, *wins])
                .also_reads(*d_logits)
                .also_writes(*d_logits),
            Op::RelationDivergence {
                x,
                teacher,
                targets,
                scores,
                losses,
                ..
            } => Access::new(&[*x, *teacher, *targets], &[*scores, *losses]),
            Op::RelationBackward { x, scores, dx, .. } => Access::new(&[*x, *scores, *dx], &[*dx]),
            Op::EmbedBackward {
                ids, dout, dtable, ..
            } => Access::new(&[*ids, *dout, *dtable], &[*dtable]),
            Op::PositionBackward { dx, dtable, .. } => Access::new(&[*dx, *dtable], &[*dtable]),
            Op::SquaredNorm { grad, out, .. } => Access::new(&[*grad, *out], &[*out]),
            Op::SumRows { x, out, .. } => Access::new(&[*x, *out], &[*out]),
            Op::RecordStep {
                loss,
                norms,
                history,
                ..
            } => Access::new(&[*loss, *norms, *history], &[*loss, *history]),
            Op::AdamW {
                param,
                grad,
                m,
                v,
                norms,
                ..
            } => Access::new(&[*param, *grad, *m, *v, *norms], &[*param, *grad, *m, *v]),
            Op::Momentum {
                grad,
                m,
                out,
                norms,
                ..
            } => Access::new(&[*grad, *m, *norms], &[*grad, *m, *out]),
            Op::Normalize { x, squares, .. } => Access::new(&[*x, *squares], &[*x]),
            Op::TakeStep {
                param, step, norms, ..
            } => Access::new(&[*param, *step, *norms], &[*param]),
        }
    }

    /// Short name for profiles and error messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Embed { .. } => "embed",
            Op::AddPosition { .. } => "add_position",
            Op::RmsNorm { .. } => "rms_norm",
            Op::Center { .. } => "center",
            Op::AddBias { .. } => "add_bias",
            Op::Softcap { .. } => "softcap",
            Op::BiasBackward { .. } => "bias_backward",
            Op::SoftcapBackward { .. } => "softcap_backward",
            Op::QuantAct { .. } => "quant_act",
            Op::Linear { .. } => "linear",
            Op::Rope { .. } => "rope",
            Op::KvWrite { .. } => "kv_write",
            Op::CachedAttention { .. } => "cached_attention",
            Op::Activate { .. } => "activate",
            Op::Residual { .. } => "residual",
            Op::LastRow { .. } => "last_row",
            Op::PickRows { .. } => "pick_rows",
            Op::Penalize { .. } => "penalize",
            Op::TopK { .. } => "top_k",
            Op::Choose { .. } => "choose",
            Op::FakeQuantWeight { .. } => "fake_quant_weight",
            Op::SteBackward { .. } => "ste_backward",
            Op::FakeQuantAct { .. } => "fake_quant_act",
            Op::MatMul { .. } => "matmul",
            Op::RmsNormBackward { .. } => "rms_norm_backward",
            Op::Attention { .. } => "attention",
            Op::AttentionBackward { .. } => "attention_backward",
            Op::ActivateBackward { .. } => "activate_backward",
            Op::Scale { .. } => "scale",
            Op::CrossEntropy { .. } => "cross_entropy",
            Op::KlDivergence { .. } => "kl_divergence",
            Op::PreferenceLoss { .. } => "preference_loss",
            Op::RelationDivergence { .. } => "relation_divergence",
            Op::RelationBackward { .. } => "relation_backward",
            Op::EmbedBackward { .. } => "embed_backward",
            Op::PositionBackward { .. } => "position_backward",
            Op::SquaredNorm { .. } => "squared_norm",
            Op::SumRows { .. } => "sum_rows",
            Op::RecordStep { .. } => "record_step",
            Op::Dropout { .. } => "dropout",
            Op::AdamW { .. } => "adamw",
            Op::Momentum { .. } => "momentum",
            Op::Normalize { .. } => "normalize",
            Op::TakeStep { .. } => "take_step",
        }
    }
}
