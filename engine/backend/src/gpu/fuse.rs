//! Neighboring operations that one dispatch computes: every dispatch costs tens of microseconds, as
//! much as a small matrix.

use std::ops::Range;

use super::forms::most_vector_rows;
#[cfg(all(feature = "training", not(target_arch = "wasm32")))]
use super::train::groups;
use ternary_model::program::{
    Access, BufferDecl, BufferId, Elem, LinearInput, Op, Program, Role, Weight, plan_slots_for,
};

/// A program as the GPU runs it.
#[derive(Debug)]
pub(crate) struct Fused {
    /// Operations of each unit, see [`super::lower::lower`].
    pub units: Vec<Range<usize>>,
    /// With scratch slots for units instead of operations.
    pub buffers: Vec<BufferDecl>,
    /// Where in its slot a buffer begins, in bytes.
    pub offsets: Vec<u64>,
    pub slots: Vec<usize>,
}

/// `grouped`: units that are known already, those of an optimizer's step. `halves`: operands that
/// only products read, which round them, are kept in f16.
pub(crate) fn fuse(program: &Program, grouped: Option<Vec<Range<usize>>>, halves: bool) -> Fused {
    let lifetimes = Lifetimes::of(program);
    let units = grouped.unwrap_or_else(|| units(program, &lifetimes));
    let aliases = aliases(program, &lifetimes);
    let mut buffers = program.buffers.clone();
    #[cfg(feature = "training")]
    if halves && super::train::products::IN_FULL {
        for id in super::train::halves::operands(program) {
            buffers[id.index()].elem = Elem::F16;
        }
    }
    #[cfg(not(feature = "training"))]
    debug_assert!(!halves, "only training has products that round");
    for decl in &mut buffers {
        if let Role::Scratch { slot } = &mut decl.role {
            *slot = usize::MAX;
        }
    }
    // Results of joined products, and of what is one group, are parts of one buffer, which is
    // planned in their place.
    let count = buffers.len();
    let mut homes: Vec<(usize, u64)> = aliases.iter().map(|id| (id.index(), 0)).collect();
    for unit in &units {
        let ops = &program.ops[unit.clone()];
        let outs = joined_outs(ops);
        #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
        let outs = match groups::is_group(ops) {
            true => {
                let is_new = |id: &BufferId| homes[id.index()].0 == id.index();
                let written = groups::written(ops).filter(is_new);
                written.filter(|id| lifetimes.is_scratch(*id)).collect()
            }
            false => outs,
        };
        if outs.len() < 2 {
            continue;
        }
        let mut bytes = 0;
        for out in &outs {
            homes[out.index()] = (buffers.len(), bytes as u64);
            bytes += program.buffers[out.index()].bytes();
            bytes = bytes.next_multiple_of(BINDING_ALIGNMENT);
        }
        buffers.push(BufferDecl {
            role: Role::Scratch { slot: usize::MAX },
            elem: Elem::F32,
            len: bytes / size_of::<f32>(),
        });
    }
    for (i, alias) in aliases.iter().enumerate() {
        homes[i] = homes[alias.index()];
    }
    let accesses = units.iter().map(|unit| {
        let mut access = access(&program.ops[unit.clone()]);
        for id in access.reads.iter_mut().chain(&mut access.writes) {
            *id = BufferId(homes[id.index()].0 as u32);
        }
        access
    });
    let slots = plan_slots_for(&mut buffers, accesses);
    for i in 0..count {
        buffers[i].role = buffers[homes[i].0].role.clone();
    }
    buffers.truncate(count);
    Fused {
        units,
        buffers,
        offsets: homes.iter().map(|(_, offset)| *offset).collect(),
        slots,
    }
}

/// Until when scratch buffers hold something that is needed.
struct Lifetimes<'a> {
    program: &'a Program,
    last_read: Vec<usize>,
}

impl Lifetimes<'_> {
    fn of(program: &Program) -> Lifetimes<'_> {
        let mut last_read = vec![0; program.buffers.len()];
        for (step, op) in program.ops.iter().enumerate() {
            for id in op.access().reads {
                last_read[id.index()] = step;
            }
        }
        Lifetimes { program, last_read }
    }

    fn is_scratch(&self, id: BufferId) -> bool {
        matches!(self.program.buffers[id.index()].role, Role::Scratch { .. })
    }

    /// Whether nothing after `step` reads the buffer.
    fn unneeded_after(&self, id: BufferId, step: usize) -> bool {
        self.is_scratch(id) && self.last_read[id.index()] <= step
    }
}

/// For every buffer the one whose memory it takes over, itself as a rule: a norm whose input nobody
/// needs any more works in place, unless products may compute it themselves.
fn aliases(program: &Program, lifetimes: &Lifetimes) -> Vec<BufferId> {
    let mut aliases: Vec<_> = (0..program.buffers.len() as u32).map(BufferId).collect();
    for (step, op) in program.ops.iter().enumerate() {
        if let Op::RmsNorm { x, out, .. } = op
            && lifetimes.unneeded_after(*x, step)
            && lifetimes.is_scratch(*out)
            && preparation(&program.ops[step..]).0.is_none()
        {
            aliases[out.index()] = aliases[x.index()];
        }
    }
    aliases
}

/// The program cut into stretches of operations.
fn units(program: &Program, lifetimes: &Lifetimes) -> Vec<Range<usize>> {
    let mut units = Vec::new();
    let mut start = 0;
    while start < program.ops.len() {
        let len_from = |start: usize| {
            let joined = joined_products(&program.ops[start..], |id| lifetimes.is_scratch(id));
            joined.unwrap_or_else(|| {
                unit_len(&program.ops[start..], |id, ahead| {
                    lifetimes.unneeded_after(id, start + ahead)
                })
            })
        };
        let mut end = start + len_from(start);
        // What nobody else reads may be left to the products.
        if end == start + 1 && end < program.ops.len() {
            let with_products = end + len_from(end);
            let unit = &program.ops[start..with_products];
            if let (Some(before), products) = preparation(unit)
                && let Access { reads, writes } = before.access()
                && writes
                    .iter()
                    .all(|id| lifetimes.unneeded_after(*id, with_products - 1))
                // A workgroup may not change what another still has to normalize.
                && !access(products).writes.iter().any(|id| reads.contains(id))
            {
                end = with_products;
            }
        }
        units.push(start..end);
        start = end;
    }
    units
}

/// What makes the input of few rows for the products behind it, and these: a norm or a
/// quantization, which forms of products compute themselves, or another dispatch.
pub(crate) fn preparation(unit: &[Op]) -> (Option<&Op>, &[Op]) {
    let [before, products @ ..] = unit else {
        return (None, unit);
    };
    let Some(Op::Linear {
        input,
        weight,
        rows,
        ..
    }) = products.first()
    else {
        return (None, unit);
    };
    let makes_it = match (before, *input) {
        (
            Op::QuantAct {
                codes: made,
                rows: made_rows,
                dim,
                ..
            },
            LinearInput::Int8 { codes, .. },
        ) => *made == codes && (made_rows, *dim) == (rows, weight.in_dim),
        (
            Op::RmsNorm {
                out,
                rstd: None,
                groups: 1,
                rows: made_rows,
                dim,
                ..
            },
            LinearInput::Float(x),
        ) => *out == x && (made_rows, *dim) == (rows, weight.in_dim),
        _ => false,
    };
    if makes_it && *rows <= most_vector_rows() {
        (Some(before), products)
    } else {
        (None, unit)
    }
}

/// Matrices that one dispatch multiplies at most.
const MOST_JOINED: usize = 3;
/// Bindings begin at multiples of so many bytes on every device.
pub(crate) const BINDING_ALIGNMENT: usize = 256;

/// How many products from the first on can be one, if more than one can: of the same input with
/// matrices alike (q, k and v, or gate and up), and nobody else between them.
fn joined_products(ops: &[Op], is_scratch: impl Fn(BufferId) -> bool) -> Option<usize> {
    let Some(Op::Linear {
        input,
        weight: first,
        rows,
        ..
    }) = ops.first()
    else {
        return None;
    };
    let alike = |op: &&Op| match op {
        Op::Linear {
            input: own,
            weight,
            out,
            ..
        } => {
            own == input
                && (weight.mode, weight.in_dim, weight.group)
                    == (first.mode, first.in_dim, first.group)
                && is_scratch(*out)
                && (rows * weight.out_dim * size_of::<f32>()).is_multiple_of(BINDING_ALIGNMENT)
        }
        _ => false,
    };
    let len = ops.iter().take(MOST_JOINED).take_while(alike).count();
    let outs = joined_outs(&ops[..len]);
    let distinct = (1..outs.len()).all(|i| !outs[..i].contains(&outs[i]));
    // Two of three, q and k without v, would share a buffer that the heads cannot bind.
    let rest = matches!(ops.get(len), Some(Op::Linear { input: own, .. }) if own == input);
    (len > 1 && distinct && !rest).then_some(len)
}

/// Matrices of a unit of products, and their results.
pub(crate) fn weights_and_outs(unit: &[Op]) -> impl Iterator<Item = (Weight, BufferId)> + '_ {
    let (_, products) = preparation(unit);
    products.iter().map_while(|op| match op {
        Op::Linear { weight, out, .. } => Some((*weight, *out)),
        _ => None,
    })
}

/// Results of a unit of products, one behind the other.
pub(crate) fn joined_outs(unit: &[Op]) -> Vec<BufferId> {
    let outs = weights_and_outs(unit).map(|(_, out)| out);
    outs.collect()
}

/// How many operations from the first on make one unit; `unneeded(id, n)`: nothing after the n-th
/// reads the buffer.
fn unit_len(ops: &[Op], unneeded: impl Fn(BufferId, usize) -> bool) -> usize {
    if let Some(heads) = CacheHeads::at_start(ops)
        && heads.ops > 1
        // Normalized heads take over the memory of the projections.
        && heads.q_in.is_none_or(|q| unneeded(q, 0))
        && unneeded(heads.k_out, heads.ops - 1)
    {
        return heads.ops;
    }
    match ops {
        // x += scale · W·input.
        [
            Op::Linear { out: product, .. },
            Op::Residual { x, branch, out, .. },
            ..,
        ] if product == branch && x == out && unneeded(*product, 1) => 2,
        [Op::Activate { out, .. }, Op::QuantAct { x, .. }, ..] if out == x && unneeded(*out, 1) => {
            2
        }
        _ => 1,
    }
}

/// Heads on their way from the projections to attention and the caches: norms and rotary positions
/// of q and k, if any, and the write to the caches.
#[derive(Debug)]
pub(crate) struct CacheHeads {
    /// Operations taken.
    pub ops: usize,
    /// Weights of q and k, and eps.
    pub norm: Option<(BufferId, BufferId, f32)>,
    /// The table.
    pub rope: Option<BufferId>,
    /// The input of q's norm.
    q_in: Option<BufferId>,
    pub q: BufferId,
    pub heads: usize,
    /// The projection, and what is written to the cache.
    pub k_in: BufferId,
    k_out: BufferId,
    pub head_dim: usize,
}

impl CacheHeads {
    pub fn at_start(ops: &[Op]) -> Option<CacheHeads> {
        let mut rest = ops;
        let mut norm = None;
        let mut rope = None;
        // q, k and their heads as far as seen.
        let mut seen: Option<(BufferId, BufferId, usize, usize)> = None;
        let mut inputs = None;
        if let [
            Op::RmsNorm {
                x: q_in,
                weight: q_weight,
                out: q,
                groups: heads,
                dim,
                eps,
                rstd: None,
                ..
            },
            Op::RmsNorm {
                x: k_in,
                weight: k_weight,
                out: k,
                dim: k_dim,
                eps: k_eps,
                rstd: None,
                ..
            },
            after @ ..,
        ] = rest
            && (dim, eps) == (k_dim, k_eps)
        {
            norm = Some((*q_weight, *k_weight, *eps));
            inputs = Some((*q_in, *k_in));
            seen = Some((*q, *k, *heads, *dim));
            rest = after;
        }
        if let [
            Op::Rope {
                x: q,
                table,
                heads,
                head_dim,
                rotary,
                seq,
                inverse: false,
                ..
            },
            Op::Rope {
                x: k,
                table: k_table,
                head_dim: k_dim,
                seq: k_seq,
                inverse: false,
                ..
            },
            after @ ..,
        ] = rest
            && (table, head_dim, seq) == (k_table, k_dim, k_seq)
            && rotary == head_dim
            && seen.is_none_or(|seen| seen == (*q, *k, *heads, *head_dim))
        {
            rope = Some(*table);
            seen = Some((*q, *k, *heads, *head_dim));
            rest = after;
        }
        let (q, k, heads, head_dim) = seen?;
        let [
            Op::KvWrite {
                k: written,
                v,
                places: None,
                ..
            },
            after @ ..,
        ] = rest
        else {
            return None;
        };
        if k != *written || *v == k || q == k || q == *v {
            return None;
        }
        Some(CacheHeads {
            ops: ops.len() - after.len(),
            norm,
            rope,
            q_in: inputs.map(|(q, _)| q),
            q,
            heads,
            k_in: inputs.map_or(k, |(_, k)| k),
            k_out: k,
            head_dim,
        })
    }
}

/// What a unit reads and writes in memory: not the values that one of its operations hands to
/// another, but for an input of products, which only some forms keep to themselves.
pub(crate) fn access(ops: &[Op]) -> Access {
    let (before, ops) = preparation(ops);
    let mut all = before.map(Op::access).unwrap_or_default();
    let made = all.writes.clone();
    for op in ops {
        let access = op.access();
        for id in access.reads {
            if made.contains(&id) {
                continue;
            }
            if all.writes.contains(&id) {
                all.writes.retain(|written| *written != id);
            } else {
                all.reads.push(id);
            }
        }
        all.writes.extend(access.writes);
    }
    all
}
