//! Attention over the caches: in stretches of the context where there are few rows, which another
//! dispatch combines.

use ternary_shaders as shaders;

use super::forms::{Forms, Heads};
use super::kernel::{Call, Slice};
use super::lower::{BUSY_WORKGROUPS, placed, with_scores};
use super::memory::Memory;
use crate::BackendError;
use ternary_model::program::Op;

/// Splits of the context at most; the combining pass reads them one after another.
const MAX_SPLITS: usize = 32;

/// Stretches of the context an [`Op::CachedAttention`] is computed in.
fn splits(rows: usize, heads: usize, max_seq: usize) -> usize {
    let block = shaders::ATTENTION.invocations() as usize;
    (BUSY_WORKGROUPS / (rows * heads).max(1))
        .min(max_seq.div_ceil(block))
        .clamp(1, MAX_SPLITS)
}

/// Bytes between the two dispatches.
pub(super) fn workspace_bytes(rows: usize, heads: usize, head_dim: usize, max_seq: usize) -> usize {
    match splits(rows, heads, max_seq) {
        1 => 0,
        splits => 4 * rows * heads * splits * (head_dim + 2),
    }
}

/// In the form that suits the device.
pub(super) fn cached(op: &Op, memory: &Memory, forms: &Forms) -> Result<Vec<Call>, BackendError> {
    let (
        Some(kind),
        &Op::CachedAttention {
            q,
            cache_k,
            cache_v,
            out,
            rows,
            heads,
            kv_heads,
            head_dim,
            max_seq,
            scores,
            places,
            ..
        },
    ) = (Heads::of(op), op)
    else {
        unreachable!("the caller matched a CachedAttention");
    };
    let form = forms.attention(&kind);
    #[cfg(test)]
    if forms.planted == Some(form) {
        return Ok(Vec::new());
    }
    let splits = splits(rows, heads, max_seq);
    let parts = Slice::whole(&memory.workspace);
    let whole = splits == 1;
    let to = if whole {
        memory.bind(out)?
    } else {
        parts.clone()
    };
    let attention = with_scores(Call::new(kind.shader(form)), scores);
    let attention = placed(attention, places, memory)?
        .bind("q", memory.bind(q)?)
        .bind("cache_k", memory.bind(cache_k)?)
        .bind("cache_v", memory.bind(cache_v)?)
        .bind("out", to)
        .size("ROWS", rows)
        .size("HEADS", heads)
        .size("KV_HEADS", kv_heads)
        .size("HEAD_DIM", head_dim)
        .size("MAX_SEQ", max_seq)
        .size("SPLITS", splits)
        .workgroups(rows * heads)
        .depth(splits);
    if whole {
        return Ok(vec![attention]);
    }
    let combine = Call::new(&shaders::ATTENTION_COMBINE)
        .bind("parts", parts)
        .bind("out", memory.bind(out)?)
        .size("ROWS", rows)
        .size("HEADS", heads)
        .size("HEAD_DIM", head_dim)
        .size("SPLITS", splits)
        .workgroups(rows * heads);
    Ok(vec![attention, combine])
}
