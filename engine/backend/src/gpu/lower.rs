//! Each operation, or several fused, as the dispatches that compute it.

use ternary_shaders as shaders;

use super::attention;
use super::device::DEVICE;
use super::forms::Forms;
use super::fuse::{self, CacheHeads};
use super::kernel::{Call, Slice};
use super::linear::{self, Product};
use super::memory::Memory;
#[cfg(all(feature = "training", not(target_arch = "wasm32")))]
use super::train::groups;
use crate::BackendError;
use crate::training::{self, training};
use ternary_core::config::{Activation, CachePrecision};
use ternary_core::quant::tile::act_stride;
use ternary_model::program::{BufferId, Op, Places, Scores};

/// Workgroups that keep a GPU busy: long sums of few results are split until there are about as
/// many.
pub(super) const BUSY_WORKGROUPS: usize = 512;
/// Logits that one workgroup selects from before the candidates of all are selected from.
const TOP_K_SLICE: usize = 4096;

fn top_k_slices(vocab: usize, k: usize) -> usize {
    (vocab / TOP_K_SLICE.max(2 * k)).max(1)
}

/// Bytes that a unit needs between its dispatches.
pub(super) fn workspace_bytes(unit: &[Op]) -> usize {
    unit.iter().map(own_workspace).sum()
}

fn own_workspace(op: &Op) -> usize {
    match *op {
        Op::CachedAttention {
            rows,
            heads,
            head_dim,
            max_seq,
            ..
        } => attention::workspace_bytes(rows, heads, head_dim, max_seq),
        Op::TopK { vocab, k, .. } => match top_k_slices(vocab, k) {
            1 => 0,
            slices => 2 * candidate_bytes(slices, k),
        },
        #[cfg(feature = "training")]
        _ => super::train::workspace_bytes(op),
        #[cfg(not(feature = "training"))]
        _ => 0,
    }
}

/// Bytes of the candidates' values, and of their ids, as aligned as a binding's offset has to be.
fn candidate_bytes(slices: usize, k: usize) -> usize {
    (4 * slices * k).next_multiple_of(256)
}

/// Where the rows of a call stand, see `lib/places.wgsl`.
pub(super) fn placed(
    call: Call,
    places: Option<Places>,
    memory: &Memory,
) -> Result<Call, BackendError> {
    Ok(call
        .bind("places", memory.bind_or_unread(places.map(|p| p.buffer))?)
        .set("PLACED", places.is_some()))
}

/// Dispatches for a unit of [`super::fuse::fuse`].
pub(super) fn lower(
    unit: &[Op],
    memory: &Memory,
    forms: &Forms,
) -> Result<Vec<Call>, BackendError> {
    if let Some(product) = product(unit) {
        return product.calls(memory, forms);
    }
    #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
    if groups::is_group(unit) {
        return groups::lower(unit, memory, forms);
    }
    match unit {
        [op @ Op::CachedAttention { .. }] => attention::cached(op, memory, forms),
        [op] => lower_one(op, memory, forms),
        [
            Op::Activate {
                gate,
                up,
                activation,
                ..
            },
            quant @ Op::QuantAct { .. },
        ] => {
            let call = Call::new(&shaders::ACTIVATE_QUANT)
                .bind("gate", memory.bind(*gate)?)
                .bind("up", memory.bind_or_unread(*up)?)
                .set("ACTIVATION", activation_constant(*activation))
                .set("UP", up.is_some());
            Ok(vec![quantize(call, quant, memory)?])
        }
        _ => Ok(vec![cache_heads(unit, memory)?]),
    }
}

/// The product that a unit is, if it is one.
pub(super) fn product(unit: &[Op]) -> Option<Product> {
    let (before, products) = fuse::preparation(unit);
    let [
        Op::Linear {
            input,
            weight,
            out,
            rows,
        },
        rest @ ..,
    ] = products
    else {
        return None;
    };
    let mut product = Product {
        before: before.cloned(),
        input: *input,
        weight: *weight,
        out: *out,
        rows: *rows,
        add: None,
        more: Vec::new(),
    };
    for op in rest {
        if let Op::Linear { weight, out, .. } = op {
            product.more.push((*weight, *out));
        }
    }
    if let [Op::Residual { out, scale, .. }] = rest {
        (product.out, product.add) = (*out, Some(*scale));
    }
    Some(product)
}

fn cache_heads(unit: &[Op], memory: &Memory) -> Result<Call, BackendError> {
    let (
        Some(CacheHeads {
            norm,
            rope,
            q,
            heads,
            k_in,
            head_dim,
            ..
        }),
        Some(Op::KvWrite {
            v,
            cache_k,
            cache_v,
            rows,
            kv_heads,
            max_seq,
            precision,
            ..
        }),
    ) = (CacheHeads::at_start(unit), unit.last())
    else {
        unreachable!("units are made by fuse");
    };
    let optional = |id: Option<BufferId>| memory.bind_or_unread(id);
    // As one product of q, k and v left them.
    let whole = memory.bind_joined(&[q, k_in, *v])?;
    let joined = whole.is_some();
    let behind = |id| match joined {
        true => Ok(Slice::whole(&memory.unread)),
        false => memory.bind(id),
    };
    let shader = match precision {
        CachePrecision::F32 => &shaders::CACHE_HEADS,
        CachePrecision::F16 => &shaders::CACHE_HEADS_F16,
        CachePrecision::Q8 => &shaders::CACHE_HEADS_Q8,
    };
    Ok(Call::new(shader)
        .bind("angles", optional(rope)?)
        .bind("k", behind(k_in)?)
        .bind("v", behind(*v)?)
        .bind("q", whole.map_or_else(|| memory.bind(q), Ok)?)
        .set("JOINED", joined)
        .bind("cache_k", memory.bind(*cache_k)?)
        .bind("cache_v", memory.bind(*cache_v)?)
        .bind("q_weight", optional(norm.map(|n| n.0))?)
        .bind("k_weight", optional(norm.map(|n| n.1))?)
        .size("ROWS", *rows)
        .size("HEADS", heads)
        .size("KV_HEADS", *kv_heads)
        .size("HEAD_DIM", head_dim)
        // Heads that are rotated in part are no unit.
        .size("ROTARY", head_dim)
        .size("MAX_SEQ", *max_seq)
        .set("NORM", norm.is_some())
        .set("EPS", norm.map_or(0.0, |n| n.2))
        .set("ROPE", rope.is_some())
        .set("INVERSE", false)
        .workgroups(rows * (heads + 2 * kv_heads)))
}

/// The constants of lib/scores.wgsl.
pub(super) fn with_scores(call: Call, scores: Scores) -> Call {
    call.set("SCALE", scores.scale)
        .set("SOFTCAP", scores.softcap.unwrap_or(0.0))
        .size("WINDOW", scores.window.unwrap_or(0))
}

pub(super) fn activation_constant(activation: Activation) -> u32 {
    shaders::ACTIVATE.constant(&activation.name().to_uppercase())
}

/// What the shaders that quantize rows share.
fn quantize(call: Call, op: &Op, memory: &Memory) -> Result<Call, BackendError> {
    let Op::QuantAct {
        norm,
        codes,
        scales,
        rows,
        dim,
        ..
    } = *op
    else {
        unreachable!("the caller matched a QuantAct");
    };
    Ok(with_norm(call, norm, memory)?
        .bind("codes", memory.bind(codes)?)
        .bind("row_scales", memory.bind(scales)?)
        .size("ROWS", rows)
        .size("DIM", dim)
        .size("STRIDE", act_stride(dim))
        .workgroups(rows))
}

/// The weight and eps of a norm that rows may go through on their way.
pub(super) fn with_norm(
    call: Call,
    norm: Option<(BufferId, f32)>,
    memory: &Memory,
) -> Result<Call, BackendError> {
    Ok(call
        .bind("norm_weight", memory.bind_or_unread(norm.map(|n| n.0))?)
        .set("NORM", norm.is_some())
        .set("EPS", norm.map_or(0.0, |(_, eps)| eps)))
}

pub(super) fn lower_one(
    op: &Op,
    memory: &Memory,
    forms: &Forms,
) -> Result<Vec<Call>, BackendError> {
    let unread = || Slice::whole(&memory.unread);
    let one = |call: Call| Ok(vec![call]);
    match *op {
        Op::Embed {
            ids,
            table,
            out,
            scale,
            rows,
            dim,
        } => linear::embed(memory, ids, table, out, scale, rows, dim),
        Op::Linear { .. } => unreachable!("a product is lowered before"),
        Op::AddPosition {
            x,
            table,
            places,
            rows,
            seq,
            dim,
        } => one(placed(Call::new(&shaders::ADD_POSITION), places, memory)?
            .bind("positions", memory.bind(table)?)
            .bind("x", memory.bind(x)?)
            .size("ROWS", rows)
            .size("SEQ", seq)
            .size("DIM", dim)
            .items(rows * dim)),
        Op::RmsNorm {
            x,
            weight,
            out,
            rstd,
            rows,
            groups,
            dim,
            eps,
        } => {
            let in_place = memory.same(x, out);
            one(Call::new(&shaders::RMS_NORM)
                .bind("x", if in_place { unread() } else { memory.bind(x)? })
                .bind("weight", memory.bind(weight)?)
                .bind("out", memory.bind(out)?)
                .bind(
                    "rstd",
                    match rstd {
                        Some(rstd) => memory.bind(rstd)?,
                        None => Slice::whole(&memory.unwritten),
                    },
                )
                .size("ROWS", rows)
                .size("GROUPS", groups)
                .size("DIM", dim)
                .set("EPS", eps)
                .set("IN_PLACE", in_place)
                .set("KEEP_RSTD", rstd.is_some())
                .workgroups(rows * groups))
        }
        Op::Center {
            x,
            out,
            rows,
            dim,
            accumulate,
        } => one(Call::new(&shaders::CENTER)
            .bind("x", memory.bind(x)?)
            .bind("out", memory.bind(out)?)
            .size("ROWS", rows)
            .size("DIM", dim)
            .set("ACCUMULATE", accumulate)
            .workgroups(rows)),
        Op::AddBias { x, bias, rows, dim } => one(Call::new(&shaders::ADD_BIAS)
            .bind("bias", memory.bind(bias)?)
            .bind("x", memory.bind(x)?)
            .size("ROWS", rows)
            .size("DIM", dim)
            .items(rows * dim)),
        Op::Softcap {
            x,
            out,
            cap,
            rows,
            dim,
        } => one(Call::new(&shaders::SOFTCAP)
            .bind("x", if x == out { unread() } else { memory.bind(x)? })
            .bind("out", memory.bind(out)?)
            .size("ROWS", rows)
            .size("DIM", dim)
            .set("SOFTCAP", cap)
            .set("IN_PLACE", x == out)
            .items(rows * dim)),
        Op::QuantAct { x, .. } => {
            let call = Call::new(&shaders::QUANT_ACT).bind("x", memory.bind(x)?);
            one(quantize(call, op, memory)?)
        }
        Op::Rope {
            x,
            table,
            places,
            rows,
            seq,
            heads,
            head_dim,
            rotary,
            inverse,
        } => one(placed(Call::new(&shaders::ROPE), places, memory)?
            .bind("angles", memory.bind(table)?)
            .bind("x", memory.bind(x)?)
            .size("ROWS", rows)
            .size("SEQ", seq)
            .size("HEADS", heads)
            .size("HEAD_DIM", head_dim)
            .size("ROTARY", rotary)
            .set("INVERSE", inverse)
            .items(rows * heads * (rotary / 2))),
        Op::KvWrite {
            k,
            v,
            cache_k,
            cache_v,
            rows,
            kv_heads,
            head_dim,
            max_seq,
            precision,
            places,
        } => {
            let kv_dim = kv_heads * head_dim;
            let shader = match precision {
                CachePrecision::F32 => &shaders::KV_WRITE,
                CachePrecision::F16 => &shaders::KV_WRITE_F16,
                CachePrecision::Q8 => &shaders::KV_WRITE_Q8,
            };
            let call = placed(Call::new(shader), places, memory)?
                .bind("k", memory.bind(k)?)
                .bind("v", memory.bind(v)?)
                .bind("cache_k", memory.bind(cache_k)?)
                .bind("cache_v", memory.bind(cache_v)?)
                .size("ROWS", rows)
                .size("MAX_SEQ", max_seq);
            one(match precision {
                CachePrecision::F32 => call.size("KV_DIM", kv_dim).items(rows * kv_dim),
                CachePrecision::F16 => call.size("KV_DIM", kv_dim).items(rows * kv_dim / 2),
                CachePrecision::Q8 => call
                    .size("KV_HEADS", kv_heads)
                    .size("HEAD_DIM", head_dim)
                    .workgroups(2 * rows * kv_heads),
            })
        }
        Op::CachedAttention { .. } => unreachable!("attention is lowered before"),
        Op::Activate {
            gate,
            up,
            out,
            activation,
            rows,
            dim,
        } => {
            let shader = &shaders::ACTIVATE;
            let alias = if out == gate {
                "ALIAS_GATE"
            } else if Some(out) == up {
                "ALIAS_UP"
            } else {
                "ALIAS_NONE"
            };
            let input = |id| {
                if id == out {
                    Ok(unread())
                } else {
                    memory.bind(id)
                }
            };
            one(Call::new(shader)
                .bind("gate", input(gate)?)
                .bind("up", up.map_or(Ok(unread()), input)?)
                .bind("out", memory.bind(out)?)
                .size("ROWS", rows)
                .size("DIM", dim)
                .set("ACTIVATION", activation_constant(activation))
                .set("UP", up.is_some())
                .set("ALIAS", shader.constant(alias))
                .items(rows * dim))
        }
        Op::Residual {
            x,
            branch,
            out,
            scale,
            rows,
            dim,
        } => one(Call::new(&shaders::RESIDUAL)
            .bind("x", if x == out { unread() } else { memory.bind(x)? })
            .bind("branch", memory.bind(branch)?)
            .bind("out", memory.bind(out)?)
            .size("ROWS", rows)
            .size("DIM", dim)
            .set("SCALE", scale)
            .set("IN_PLACE", x == out)
            .items(rows * dim)),
        Op::PickRows {
            x,
            picks,
            out,
            rows,
            dim,
        } => one(Call::new(&shaders::PICK_ROWS)
            .bind("x", memory.bind(x)?)
            .bind("picks", memory.bind(picks)?)
            .bind("out", memory.bind(out)?)
            .size("ROWS", rows)
            .size("DIM", dim)
            .items(rows * dim)),
        Op::LastRow { x, out, rows, dim } => one(Call::new(&shaders::LAST_ROW)
            .bind("x", memory.bind(x)?)
            .bind("out", memory.bind(out)?)
            .size("ROWS", rows)
            .size("DIM", dim)
            .items(dim)),
        Op::Penalize {
            logits,
            recent,
            capacity,
            vocab,
        } => one(Call::new(&shaders::PENALIZE)
            .bind("recent", memory.bind(recent)?)
            .bind("logits", memory.bind(logits)?)
            .size("CAPACITY", capacity)
            .size("VOCAB", vocab)
            .items(capacity)),
        Op::TopK {
            logits,
            ids,
            values,
            vocab,
            k,
        } => {
            let slices = top_k_slices(vocab, k);
            let (ids, values) = (memory.bind(ids)?, memory.bind(values)?);
            let select = |source, source_ids, ids, values, count: usize, slices: usize| {
                Call::new(&shaders::TOP_K)
                    .bind("source", source)
                    .bind("ids", ids)
                    .bind("values", values)
                    .size("COUNT", count)
                    .size("SLICE", count / slices)
                    .size("K", k)
                    .set("INDIRECT", slices == 1 && count != vocab)
                    .bind("source_ids", source_ids)
                    .workgroups(slices)
            };
            let logits = memory.bind(logits)?;
            if slices == 1 {
                return one(select(logits, unread(), ids, values, vocab, 1));
            }
            let half = candidate_bytes(slices, k) as u64;
            let part = |offset| Slice {
                buffer: memory.workspace.clone(),
                offset,
                size: half,
            };
            Ok(vec![
                select(logits, unread(), part(0), part(half), vocab, slices),
                select(part(half), part(0), ids, values, slices * k, 1),
            ])
        }
        Op::Choose {
            top_ids,
            top_values,
            k,
            recent,
            capacity,
            ids,
            chosen,
        } => one(Call::new(&shaders::CHOOSE)
            .bind("top_ids", memory.bind(top_ids)?)
            .bind("top_values", memory.bind(top_values)?)
            .bind("recent", memory.bind(recent)?)
            .bind("ids", memory.bind(ids)?)
            .bind("chosen", memory.bind(chosen)?)
            .size("K", k)
            .size("CAPACITY", capacity)),
        training!() => {
            training::check(op, DEVICE)?;
            #[cfg(feature = "training")]
            let lowered = super::train::lower(op, memory, forms);
            #[cfg(not(feature = "training"))]
            let lowered = {
                let _: &Forms = forms;
                None
            };
            lowered.unwrap_or_else(|| {
                Err(BackendError::Unsupported {
                    device: DEVICE,
                    op: op.name(),
                    reason: "it has no shader; use --device cpu".to_owned(),
                })
            })
        }
    }
}
