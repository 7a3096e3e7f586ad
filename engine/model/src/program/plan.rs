//! Buffer planning: scratch buffers whose lifetimes do not overlap share a slot.

use super::{Access, BufferDecl, Op, Role};

/// Assign every scratch buffer a slot, in place; returns the slots' sizes in bytes.
///
/// Greedy by first use: a buffer takes the free slot whose size fits best (the smallest that is
/// large enough, else the largest, which grows). Two buffers of one operation never share a slot.
pub fn plan_slots(buffers: &mut [BufferDecl], ops: &[Op]) -> Vec<usize> {
    plan_slots_for(buffers, ops.iter().map(Op::access))
}

/// [`plan_slots`] for steps that are not single operations, such as fused ones.
pub fn plan_slots_for(
    buffers: &mut [BufferDecl],
    steps: impl IntoIterator<Item = Access>,
) -> Vec<usize> {
    let mut first = vec![usize::MAX; buffers.len()];
    let mut last = vec![0usize; buffers.len()];
    for (step, access) in steps.into_iter().enumerate() {
        for id in access.reads.iter().chain(&access.writes) {
            let i = id.index();
            first[i] = first[i].min(step);
            last[i] = last[i].max(step);
        }
    }
    let mut order: Vec<usize> = (0..buffers.len())
        .filter(|&i| matches!(buffers[i].role, Role::Scratch { .. }) && first[i] != usize::MAX)
        .collect();
    order.sort_by_key(|&i| (first[i], i));

    let mut sizes: Vec<usize> = Vec::new();
    let mut busy_until: Vec<usize> = Vec::new();
    for i in order {
        let need = buffers[i].bytes();
        let free = (0..sizes.len()).filter(|&s| busy_until[s] < first[i]);
        let best = free.min_by_key(|&s| {
            if sizes[s] >= need {
                (0, sizes[s])
            } else {
                (1, usize::MAX - sizes[s])
            }
        });
        let slot = best.unwrap_or_else(|| {
            sizes.push(0);
            busy_until.push(0);
            sizes.len() - 1
        });
        sizes[slot] = sizes[slot].max(need);
        busy_until[slot] = last[i];
        buffers[i].role = Role::Scratch { slot };
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::super::{BufferId, Elem};
    use super::*;

    fn scratch(len: usize) -> BufferDecl {
        BufferDecl {
            role: Role::Scratch { slot: usize::MAX },
            elem: Elem::F32,
            len,
        }
    }

    fn scale(x: u32, out: u32) -> Op {
        Op::Scale {
            x: BufferId(x),
            out: BufferId(out),
            scale: 1.0,
            len: 1,
            accumulate: false,
        }
    }

    #[test]
    fn a_chain_needs_two_slots_and_live_buffers_never_share() {
        let mut buffers: Vec<_> = (0..6).map(|i| scratch(i + 1)).collect();
        let ops: Vec<_> = (0..5).map(|i| scale(i, i + 1)).collect();
        let sizes = plan_slots(&mut buffers, &ops);
        assert_eq!(sizes.len(), 2);
        for op in &ops {
            let a = op.access();
            assert_ne!(
                buffers[a.reads[0].index()].role,
                buffers[a.writes[0].index()].role
            );
        }
    }

    #[test]
    fn a_buffer_read_late_keeps_its_slot() {
        let mut buffers: Vec<_> = (0..4).map(|_| scratch(8)).collect();
        let ops = [scale(0, 1), scale(1, 2), scale(0, 3)];
        let sizes = plan_slots(&mut buffers, &ops);
        assert_eq!(sizes.len(), 3);
        assert!(buffers[1..3].iter().all(|b| b.role != buffers[0].role));
    }
}
