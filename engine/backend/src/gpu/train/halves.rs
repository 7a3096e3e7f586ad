//! Operands of training's products that are kept in f16 where products round them to f16 anyway:
//! the same results, to the bit, from half the bytes. Sums, latents and the optimizer's state stay
//! f32.

use std::collections::BTreeSet;

use ternary_model::program::{BufferId, Op, Program, Role};

/// Forward weights, activations and gradients that only products read.
pub(in super::super) fn operands(program: &Program) -> BTreeSet<BufferId> {
    let scratch = |id: &BufferId| {
        let decl = &program.buffers[id.index()];
        matches!(decl.role, Role::Scratch { .. })
    };
    let [mut values, mut gradients] = [BTreeSet::new(), BTreeSet::new()];
    for op in &program.ops {
        let (kind, written) = made(op);
        match kind {
            Kind::Value => values.extend(written.filter(scratch)),
            Kind::Gradient => gradients.extend(written.filter(scratch)),
        }
    }
    // Those of one operation are kept alike.
    let mut together = Vec::new();
    for op in &program.ops {
        let (_, written) = made(op);
        let written: Vec<BufferId> = written.collect();
        let access = op.access();
        for id in access.reads.iter().chain(&access.writes) {
            // A product takes values from either side, the gradient as its left operand: it is
            // divided there. A transposed right operand is a weight's of a forward product.
            let fits = match op {
                Op::MatMul { out, .. } if out == id => false,
                Op::MatMul { a, b, trans_b, .. } if a == id && b != id => {
                    gradients.contains(id) != *trans_b
                }
                Op::MatMul { a, .. } => a != id && !gradients.contains(id),
                _ => written.contains(id) && !access.reads.contains(id),
            };
            if !fits {
                values.remove(id);
                gradients.remove(id);
            }
        }
        if written.len() > 1 {
            together.push(written);
        }
    }
    let mut found = values;
    found.append(&mut gradients);
    loop {
        // A left operand in f16 has a right one in f16.
        let mut alone: Vec<BufferId> = program
            .ops
            .iter()
            .filter_map(|op| match op {
                Op::MatMul { a, b, .. } if !found.contains(b) => Some(*a),
                _ => None,
            })
            .collect();
        for group in &together {
            if !group.iter().all(|id| found.contains(id)) {
                alone.extend(group);
            }
        }
        let before = found.len();
        found.retain(|id| !alone.contains(id));
        if found.len() == before {
            return found;
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Value,
    /// Of a mean over tokens, see lib/gemm_f16.wgsl.
    Gradient,
}

/// What `op` writes that it can write in f16.
fn made(op: &Op) -> (Kind, impl Iterator<Item = BufferId> + use<>) {
    let (kind, ids) = match *op {
        Op::FakeQuantWeight { out, .. } | Op::FakeQuantAct { out, .. } => {
            (Kind::Value, [Some(out), None])
        }
        Op::ActivateBackward { dgate, dup, .. } => (Kind::Gradient, [Some(dgate), dup]),
        // Those of queries and keys are rotated in place.
        Op::AttentionBackward { dv, .. } => (Kind::Gradient, [Some(dv), None]),
        _ => (Kind::Value, [None; 2]),
    };
    (kind, ids.into_iter().flatten())
}
