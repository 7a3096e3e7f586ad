//! Operations of one dispatch.

use ternary_shaders as shaders;

use super::super::kernel::{Call, Slice};
use super::super::lower::{BUSY_WORKGROUPS, activation_constant};
use super::super::memory::Memory;
use super::scaled_sum;
use crate::BackendError;
use ternary_model::program::{DropoutMask, Op, RelationShape};

/// `None` if it is none of them.
pub(super) fn elementwise(op: &Op, memory: &Memory) -> Option<Result<Call, BackendError>> {
    let call = || -> Result<Option<Call>, BackendError> {
        Ok(Some(match *op {
            Op::Scale {
                x,
                out,
                scale,
                len,
                accumulate,
            } => scaled_sum(
                memory.bind(x)?,
                1,
                scale,
                memory.bind(out)?,
                len,
                accumulate,
            ),
            Op::SteBackward {
                latent,
                grad,
                len,
                ste,
                clamp,
                arenas,
            } => Call::new(&shaders::STE_BACKWARD)
                .bind("latent", memory.bind(latent)?)
                .bind("grad", memory.bind(grad)?)
                .size("LEN", len)
                .set("STE", ste)
                .set("CLAMP", clamp)
                .set("ARENAS", arenas)
                .items(len),
            Op::Dropout {
                x,
                len,
                rate,
                stream,
            } => Call::new(&shaders::DROPOUT)
                .bind("x", memory.bind(x)?)
                .size("LEN", len)
                .set("STREAM", stream)
                .set("THRESHOLD", DropoutMask::threshold(rate))
                .set("SCALE", DropoutMask::scale(rate))
                .items(len),
            Op::FakeQuantAct { x, out, rows, dim } => {
                let shader = match memory.is_half(out) {
                    true => &shaders::FAKE_QUANT_ACT_F16,
                    false => &shaders::FAKE_QUANT_ACT,
                };
                Call::new(shader)
                    .bind("x", memory.bind(x)?)
                    .bind("out", memory.bind(out)?)
                    .size("ROWS", rows)
                    .size("DIM", dim)
                    .workgroups(rows)
            }
            Op::ActivateBackward {
                gate,
                up,
                dout,
                dgate,
                dup,
                activation,
                rows,
                dim,
            } => {
                let shader = match memory.is_half(dgate) {
                    true => &shaders::ACTIVATE_BACKWARD_F16,
                    false => &shaders::ACTIVATE_BACKWARD,
                };
                let up_gradient = match dup {
                    Some(dup) => memory.bind(dup)?,
                    None => Slice::whole(&memory.unwritten),
                };
                Call::new(shader)
                    .bind("gate", memory.bind(gate)?)
                    .bind("up", memory.bind_or_unread(up)?)
                    .bind("dout", memory.bind(dout)?)
                    .bind("dgate", memory.bind(dgate)?)
                    .bind("dup", up_gradient)
                    .size("LEN", rows * dim)
                    .set("ACTIVATION", activation_constant(activation))
                    .set("UP", up.is_some() && dup.is_some())
                    .items(rows * dim)
            }
            Op::CrossEntropy {
                logits,
                targets,
                losses,
                rows,
                vocab,
                z_loss,
                grad,
            } => Call::new(&shaders::CROSS_ENTROPY)
                .bind("targets", memory.bind(targets)?)
                .bind("logits", memory.bind(logits)?)
                .bind("losses", memory.bind(losses)?)
                .size("ROWS", rows)
                .size("VOCAB", vocab)
                .set("Z_LOSS", z_loss)
                .set("GRAD", grad)
                .workgroups(rows),
            Op::KlDivergence {
                logits,
                teacher,
                targets,
                losses,
                rows,
                vocab,
                weight,
                temperature,
            } => Call::new(&shaders::KL_DIVERGENCE)
                .bind("targets", memory.bind(targets)?)
                .bind("logits", memory.bind(logits)?)
                .bind("teacher", memory.bind(teacher)?)
                .bind("losses", memory.bind(losses)?)
                .size("ROWS", rows)
                .size("VOCAB", vocab)
                .set("WEIGHT", weight)
                .set("TEMPERATURE", temperature)
                .workgroups(rows),
            Op::PreferenceLoss {
                targets,
                losses,
                reference,
                d_logits,
                out,
                margins,
                wins,
                pairs,
                seq,
                vocab,
                beta,
            } => {
                let rows = pairs * 2 * seq;
                let call = Call::new(&shaders::PREFERENCE_LOSS)
                    .bind("targets", memory.bind(targets)?)
                    .bind("losses", memory.bind(losses)?)
                    .bind("reference", memory.bind(reference)?)
                    .bind("d_logits", memory.bind_or_unread(d_logits)?)
                    .bind("out", memory.bind(out)?)
                    .bind("margins", memory.bind(margins)?)
                    .bind("wins", memory.bind(wins)?)
                    .size("ROWS", rows)
                    .size("SEQ", seq)
                    .size("VOCAB", vocab)
                    .set("BETA", beta)
                    .set("GRAD", d_logits.is_some());
                call.workgroups(if d_logits.is_some() { rows } else { pairs })
            }
            Op::RelationDivergence {
                x,
                teacher,
                targets,
                scores,
                losses,
                shape,
                weight,
            } => related(Call::new(&shaders::RELATION_DIVERGENCE), shape)
                .bind("targets", memory.bind(targets)?)
                .bind("x", memory.bind(x)?)
                .bind("teacher", memory.bind(teacher)?)
                .bind("scores", memory.bind(scores)?)
                .bind("losses", memory.bind(losses)?)
                .size("TEACHER_DIM", shape.teacher_dim)
                .set("WEIGHT", weight)
                .workgroups(shape.batch * shape.seq),
            Op::RelationBackward {
                x,
                scores,
                dx,
                shape,
            } => related(Call::new(&shaders::RELATION_BACKWARD), shape)
                .bind("x", memory.bind(x)?)
                .bind("scores", memory.bind(scores)?)
                .bind("dx", memory.bind(dx)?)
                .items(shape.batch * shape.seq * shape.heads * shape.dim),
            Op::EmbedBackward {
                ids,
                dout,
                dtable,
                scale,
                rows,
                dim,
                ..
            } => Call::new(&shaders::EMBED_BACKWARD)
                .bind("ids", memory.bind(ids)?)
                .bind("dout", memory.bind(dout)?)
                .bind("dtable", memory.bind(dtable)?)
                .size("ROWS", rows)
                .size("DIM", dim)
                .set("SCALE", scale)
                .workgroups(rows),
            Op::BiasBackward {
                dy,
                dbias,
                rows,
                dim,
            } => Call::new(&shaders::BIAS_BACKWARD)
                .bind("dy", memory.bind(dy)?)
                .bind("dbias", memory.bind(dbias)?)
                .size("ROWS", rows)
                .size("DIM", dim)
                .items(dim),
            Op::SoftcapBackward { x, dout, cap, len } => Call::new(&shaders::SOFTCAP_BACKWARD)
                .bind("x", memory.bind(x)?)
                .bind("dout", memory.bind(dout)?)
                .size("LEN", len)
                .set("SOFTCAP", cap)
                .items(len),
            Op::PositionBackward {
                dx,
                dtable,
                rows,
                seq,
                dim,
            } => Call::new(&shaders::POSITION_BACKWARD)
                .bind("dx", memory.bind(dx)?)
                .bind("dtable", memory.bind(dtable)?)
                .size("ROWS", rows)
                .size("SEQ", seq)
                .size("DIM", dim)
                .items(seq * dim),
            Op::SumRows { x, out, rows } => Call::new(&shaders::SUM_ROWS)
                .bind("x", memory.bind(x)?)
                .bind("out", memory.bind(out)?)
                .size("ROWS", rows),
            Op::RecordStep {
                loss,
                norms,
                norm_count,
                history,
                capacity,
            } => Call::new(&shaders::RECORD_STEP)
                .bind("norms", memory.bind(norms)?)
                .bind("loss", memory.bind(loss)?)
                .bind("history", memory.bind(history)?)
                .size("NORM_COUNT", norm_count)
                .size("CAPACITY", capacity),
            Op::AdamW {
                param,
                grad,
                m,
                v,
                norms,
                norm_count,
                len,
                clip_norm,
                beta1,
                beta2,
                eps,
                decay,
                latent_clip,
            } => Call::new(&shaders::ADAMW)
                .bind("norms", memory.bind(norms)?)
                .bind("param", memory.bind(param)?)
                .bind("grad", memory.bind(grad)?)
                .bind("m", memory.bind(m)?)
                .bind("v", memory.bind(v)?)
                .size("LEN", len)
                .size("NORM_COUNT", norm_count)
                .set("CLIP_NORM", clip_norm)
                .set("BETA1", beta1)
                .set("BETA2", beta2)
                .set("EPS", eps)
                .set("DECAY", decay)
                .set("LATENT_CLIP", latent_clip)
                .workgroups(striding(&shaders::ADAMW, len)),
            Op::Momentum {
                grad,
                m,
                out,
                norms,
                norm_count,
                len,
                clip_norm,
            } => Call::new(&shaders::MOMENTUM)
                .bind("norms", memory.bind(norms)?)
                .bind("grad", memory.bind(grad)?)
                .bind("m", memory.bind(m)?)
                .bind("out", memory.bind(out)?)
                .size("LEN", len)
                .size("NORM_COUNT", norm_count)
                .set("CLIP_NORM", clip_norm)
                .workgroups(striding(&shaders::MOMENTUM, len)),
            Op::Normalize {
                x,
                squares,
                slot,
                len,
            } => Call::new(&shaders::NORMALIZE)
                .bind("squares", memory.bind(squares)?)
                .bind("x", memory.bind(x)?)
                .size("SLOT", slot)
                .size("LEN", len)
                .items(len),
            Op::TakeStep {
                param,
                step,
                norms,
                norm_count,
                len,
                rate,
                scale,
                latent_clip,
            } => Call::new(&shaders::TAKE_STEP)
                .bind("norms", memory.bind(norms)?)
                .bind("param", memory.bind(param)?)
                .bind("step", memory.bind(step)?)
                .size("LEN", len)
                .size("NORM_COUNT", norm_count)
                .set("CLIP_NORM", 0.0)
                .set("RATE", rate)
                .set("SCALE", scale)
                .set("LATENT_CLIP", latent_clip)
                .workgroups(striding(&shaders::TAKE_STEP, len)),
            _ => return Ok(None),
        }))
    };
    call().transpose()
}

fn related(call: Call, shape: RelationShape) -> Call {
    call.size("BATCH", shape.batch)
        .size("SEQ", shape.seq)
        .size("HEADS", shape.heads)
        .size("DIM", shape.dim)
}

/// Workgroups of a shader whose invocations stride over `len` elements: each workgroup adds up the
/// norms first, and a few elements per invocation pay for that.
fn striding(shader: &shaders::Shader, len: usize) -> usize {
    let groups = len.div_ceil(shader.invocations() as usize);
    groups.min(2 * BUSY_WORKGROUPS)
}
