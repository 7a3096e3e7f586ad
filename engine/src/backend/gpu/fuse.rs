//! Neighbouring operations that one dispatch computes: every dispatch costs tens of microseconds, as much as a small
//! matrix.

use std::ops::Range;

use crate::program::{Access, BufferId, Op, Program, Role};

/// The program cut into stretches of operations, each a unit of [`super::lower::lower`].
pub(super) fn units(program: &Program) -> Vec<Range<usize>> {
    let mut last_read = vec![0; program.buffers.len()];
    for (step, op) in program.ops.iter().enumerate() {
        for id in op.access().reads {
            last_read[id.index()] = step;
        }
    }
    let mut units = Vec::new();
    let mut start = 0;
    while start < program.ops.len() {
        let unneeded_after = |id: BufferId, step: usize| {
            matches!(program.buffers[id.index()].role, Role::Scratch { .. })
                && last_read[id.index()] <= step
        };
        let end = start
            + fused(&program.ops[start..], |id, ahead| {
                unneeded_after(id, start + ahead)
            });
        units.push(start..end);
        start = end;
    }
    units
}

/// How many operations from the first on make one unit; `unneeded(id, n)`: nothing after the n-th reads the buffer.
fn fused(ops: &[Op], unneeded: impl Fn(BufferId, usize) -> bool) -> usize {
    match ops {
        // x += scale · W·input.
        [
            Op::Linear { out: product, .. },
            Op::Residual { x, branch, out, .. },
            ..,
        ] if product == branch && x == out && unneeded(*product, 1) => 2,
        [
            Op::Rope {
                x: q,
                table,
                head_dim,
                seq,
                inverse: false,
                ..
            },
            Op::Rope {
                x: key,
                table: key_table,
                head_dim: key_dim,
                seq: key_seq,
                inverse: false,
                ..
            },
            Op::KvWrite { k, v, .. },
            ..,
        ] if key == k
            && q != k
            && k != v
            && (table, head_dim, seq) == (key_table, key_dim, key_seq)
            && unneeded(*k, 2) =>
        {
            3
        }
        [Op::Activate { out, .. }, Op::QuantAct { x, .. }, ..] if out == x && unneeded(*out, 1) => {
            2
        }
        _ => 1,
    }
}

/// What a unit reads and writes in memory: not the values that one of its operations hands to another.
pub(super) fn access(ops: &[Op]) -> Access {
    let mut all = Access::default();
    for op in ops {
        let access = op.access();
        for id in access.reads {
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
