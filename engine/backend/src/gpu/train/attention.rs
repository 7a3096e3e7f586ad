//! Attention over whole sequences, and its gradients.

use ternary_shaders as shaders;

use super::super::kernel::Call;
use super::super::lower::with_scores;
use super::super::memory::Memory;
use super::workspace;
use crate::BackendError;
use ternary_model::program::{AttentionShape, BufferId, Op};

/// Shape constants, documents and grid of a kernel on attention tiles over `heads` heads.
fn tiled(
    call: Call,
    memory: &Memory,
    positions: Option<BufferId>,
    shader: &'static shaders::Shader,
    s: AttentionShape,
    heads: usize,
) -> Result<Call, BackendError> {
    let tile = shader.constant("TILE") as usize;
    let block = shader.constant("BLOCK") as usize;
    Ok(with_scores(call, s.scores)
        .bind("positions", memory.bind_or_unread(positions)?)
        .set("DOCUMENTS", positions.is_some())
        .size("BATCH", s.batch)
        .size("SEQ", s.seq)
        .size("HEADS", s.heads)
        .size("KV_HEADS", s.kv_heads)
        .size("HEAD_DIM", s.head_dim)
        .workgroups(s.batch * heads * s.seq.div_ceil(tile))
        .depth(s.head_dim.div_ceil(block)))
}

pub(super) fn attention(
    memory: &Memory,
    [q, k, v, out, lse]: [BufferId; 5],
    positions: Option<BufferId>,
    shape: AttentionShape,
) -> Result<Vec<Call>, BackendError> {
    let shader = &shaders::ATTENTION_TRAIN;
    let call = Call::new(shader)
        .bind("q", memory.bind(q)?)
        .bind("k", memory.bind(k)?)
        .bind("v", memory.bind(v)?)
        .bind("out", memory.bind(out)?)
        .bind("lse", memory.bind(lse)?);
    Ok(vec![tiled(
        call,
        memory,
        positions,
        shader,
        shape,
        shape.heads,
    )?])
}

pub(super) fn attention_backward(op: &Op, memory: &Memory) -> Result<Vec<Call>, BackendError> {
    let Op::AttentionBackward {
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
        shape,
    } = *op
    else {
        unreachable!("the caller matched it");
    };
    let queries = shape.batch * shape.heads * shape.seq;
    let deltas = workspace(memory, queries);
    let delta = Call::new(&shaders::ATTENTION_DELTA)
        .bind("out", memory.bind(out)?)
        .bind("dout", memory.bind(dout)?)
        .bind("delta", deltas.clone())
        .size("BATCH", shape.batch)
        .size("SEQ", shape.seq)
        .size("HEADS", shape.heads)
        .size("HEAD_DIM", shape.head_dim)
        .items(queries);
    let inputs = |call: Call| -> Result<Call, BackendError> {
        Ok(call
            .bind("q", memory.bind(q)?)
            .bind("k", memory.bind(k)?)
            .bind("v", memory.bind(v)?)
            .bind("dout", memory.bind(dout)?)
            .bind("lse", memory.bind(lse)?)
            .bind("delta", deltas.clone()))
    };
    let queries_shader = &shaders::ATTENTION_BACKWARD_Q;
    let mut calls = vec![
        delta,
        tiled(
            inputs(Call::new(queries_shader))?.bind("out", memory.bind(dq)?),
            memory,
            positions,
            queries_shader,
            shape,
            shape.heads,
        )?,
    ];
    for (gradient, keys) in [(dk, true), (dv, false)] {
        let kv_shader = match memory.is_half(gradient) {
            true => &shaders::ATTENTION_BACKWARD_KV_F16,
            false => &shaders::ATTENTION_BACKWARD_KV,
        };
        let call = inputs(Call::new(kv_shader))?
            .bind("dkv", memory.bind(gradient)?)
            .set("KEYS", keys);
        calls.push(tiled(
            call,
            memory,
            positions,
            kv_shader,
            shape,
            shape.kv_heads,
        )?);
    }
    Ok(calls)
}
