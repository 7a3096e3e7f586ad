//! Operations of an optimizer's step that are alike but for the parameter they change: one dispatch
//! computes all of a group. Of a small model a step took hundreds of dispatches, most of them too
//! short to keep a GPU busy.
//!
//! `regroup` makes neighbors of what is alike; `gather` lays parameters, gradients and moments one
//! behind the other, so that one binding holds those of a group; and `lower` makes a dispatch of
//! every stretch of a group that lies so. Each number is computed as it would be alone: results are
//! the same, to the bit.

mod gather;
mod lower;
mod muon;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;

pub(in super::super) use self::lower::lower;
use crate::training::training;
use ternary_model::program::{BufferId, Op, Program};

/// Whether a unit is one.
pub(in super::super) fn is_group(unit: &[Op]) -> bool {
    unit.len() > 1 && matches!(unit[0], training!())
}

/// What the operations of a group write.
pub(in super::super) fn written(unit: &[Op]) -> impl Iterator<Item = BufferId> + '_ {
    unit.iter().flat_map(|op| op.access().writes)
}

/// What an operation does it with, but for the norms of all gradients; none of other operations
/// than an optimizer's.
fn tensors(op: &mut Op) -> Option<Vec<&mut BufferId>> {
    Some(match op {
        Op::SteBackward { latent, grad, .. } => vec![latent, grad],
        Op::SquaredNorm { grad, out, .. } => vec![grad, out],
        Op::AdamW {
            param, grad, m, v, ..
        } => vec![param, grad, m, v],
        Op::Momentum { grad, m, out, .. } => vec![grad, m, out],
        Op::Normalize { x, squares, .. } => vec![x, squares],
        Op::MatMul { a, b, out, .. } => vec![a, b, out],
        Op::Scale { x, out, .. } => vec![x, out],
        Op::TakeStep { param, step, .. } => vec![param, step],
        _ => return None,
    })
}

/// The gradient of the parameter that a block is about.
fn gradient(block: &[Op]) -> Option<BufferId> {
    match block.first()? {
        Op::SteBackward { grad, .. }
        | Op::SquaredNorm { grad, .. }
        | Op::AdamW { grad, .. }
        | Op::Momentum { grad, .. } => Some(*grad),
        _ => None,
    }
}

/// What blocks have in common that are alike: their operations without what is a parameter's own.
/// None of what is left alone.
fn pattern(block: &[Op]) -> Option<Vec<Op>> {
    let mut ops = block.to_vec();
    match ops.as_mut_slice() {
        [Op::SteBackward { len, .. } | Op::AdamW { len, .. }] => *len = 0,
        [Op::SquaredNorm { len, slot, .. }] => (*len, *slot) = (0, 0),
        [Op::Momentum { .. }, ..] => {}
        _ => return None,
    }
    let mut known = Vec::new();
    for op in &mut ops {
        for id in tensors(op)? {
            let name = known.iter().position(|k| *k == *id).unwrap_or(known.len());
            if name == known.len() {
                known.push(*id);
            }
            *id = BufferId(name as u32);
        }
    }
    Some(ops)
}

/// A buffer, or one number of it.
type Place = (BufferId, Option<usize>);

/// What operations read and write.
#[derive(Default)]
struct Touched {
    reads: BTreeSet<Place>,
    writes: BTreeSet<Place>,
}

impl Touched {
    fn add(&mut self, block: &[Op]) {
        let whole = |id: BufferId| (id, None);
        for op in block {
            if let Op::SquaredNorm {
                grad, out, slot, ..
            } = *op
            {
                self.reads.insert(whole(grad));
                self.writes.insert((out, Some(slot)));
                continue;
            }
            let access = op.access();
            self.reads.extend(access.reads.into_iter().map(whole));
            self.writes.extend(access.writes.into_iter().map(whole));
        }
    }

    /// Whether the order of both matters.
    fn meets(&self, other: &Touched) -> bool {
        let meet = |a: &BTreeSet<Place>, b: &BTreeSet<Place>| {
            a.iter().any(|(id, part)| match part {
                None => b.range((*id, None)..=(*id, Some(usize::MAX))).any(|_| true),
                Some(_) => b.contains(&(*id, None)) || b.contains(&(*id, *part)),
            })
        };
        meet(&self.writes, &other.writes)
            || meet(&self.writes, &other.reads)
            || meet(&self.reads, &other.writes)
    }
}

/// Blocks alike, whose order does not matter.
struct Group<'a> {
    pattern: Option<Vec<Op>>,
    blocks: Vec<&'a [Op]>,
    most: usize,
    touched: Touched,
}

/// Groups of a program's operations, in an order in which each group can be computed as one.
fn groups(ops: &[Op]) -> VecDeque<Group<'_>> {
    let mut blocks = Vec::new();
    let mut rest = ops;
    while !rest.is_empty() {
        let (block, behind) = rest.split_at(muon::block_len(rest));
        blocks.push(block);
        rest = behind;
    }
    // From the last on: factors come before the norms of all parameters, and none of these is
    // waited for before.
    let mut groups: VecDeque<Group> = VecDeque::new();
    for block in blocks.into_iter().rev() {
        let pattern = pattern(block);
        let mut touched = Touched::default();
        touched.add(block);
        // It may move behind those whose order does not matter to it.
        let mut home = None;
        for group in &mut groups {
            if group.touched.meets(&touched) {
                break;
            }
            if pattern.is_some() && group.pattern == pattern && group.blocks.len() < group.most {
                home = Some(group);
                break;
            }
        }
        match home {
            Some(group) => {
                group.blocks.push(block);
                group.touched.add(block);
            }
            None => groups.push_front(Group {
                pattern,
                blocks: vec![block],
                most: muon::most_together(block),
                touched,
            }),
        }
    }
    groups
}

/// Put operations that are alike beside each other: how many make a unit, then. None of a program
/// that changes no parameters.
pub(in super::super) fn regroup(program: &mut Program) -> Option<Vec<Range<usize>>> {
    let changes = |op: &Op| matches!(op, Op::AdamW { .. } | Op::Momentum { .. });
    if !program.ops.iter().any(changes) {
        return None;
    }
    let mut groups = groups(&program.ops);
    let latents: BTreeSet<BufferId> = program
        .ops
        .iter()
        .filter_map(|op| match op {
            Op::SteBackward { grad, .. } => Some(*grad),
            _ => None,
        })
        .collect();
    // Every group goes through the parameters in the order in which they will lie, those with a
    // latent first: they are a group of their own as well.
    let mut places = HashMap::new();
    for group in &mut groups {
        if group.blocks[0].first().is_some_and(changes) {
            let is_plain = |block: &&[Op]| gradient(block).is_none_or(|id| !latents.contains(&id));
            group.blocks.reverse();
            group.blocks.sort_by_key(is_plain);
            for id in group.blocks.iter().filter_map(|block| gradient(block)) {
                let next = places.len();
                places.entry(id).or_insert(next);
            }
        }
    }
    let mut ops = Vec::with_capacity(program.ops.len());
    let mut units = Vec::new();
    for mut group in groups {
        let place = |block: &&[Op]| gradient(block).and_then(|id| places.get(&id));
        group.blocks.sort_by_key(place);
        for step in 0..group.blocks[0].len() {
            let start = ops.len();
            ops.extend(group.blocks.iter().map(|block| block[step].clone()));
            units.push(start..ops.len());
        }
    }
    program.ops = ops;
    Some(units)
}
