//! Muon's update of a matrix: operations that wait for each other, but not for those of other
//! matrices. Those of matrices alike are computed step by step for all of a batch, which takes
//! memory for as many.

use super::super::products::apart;
use super::super::workspace_bytes;
use ternary_model::program::Op;

/// Bytes that the matrices of a batch take between the steps, at most: one that takes more is
/// alone, and large enough to keep a GPU busy.
const BATCH_BYTES: usize = 64 << 20;
/// Matrices of a batch at most: a grid is less than 65,536 deep, and products have up to 32 parts.
const MOST_MATRICES: usize = 2000;

/// How many operations from the first on are the update of one matrix; one if it is something else.
pub(super) fn block_len(ops: &[Op]) -> usize {
    let Some((Op::Momentum { .. }, rest)) = ops.split_first() else {
        return 1;
    };
    let inside = |op: &&Op| {
        matches!(
            op,
            Op::SquaredNorm { .. } | Op::Normalize { .. } | Op::MatMul { .. } | Op::Scale { .. }
        )
    };
    let inner = rest.iter().take_while(inside).count();
    match rest.get(inner) {
        Some(Op::TakeStep { .. }) => inner + 2,
        _ => 1,
    }
}

/// How many blocks like this one are computed together at most.
pub(super) fn most_together(block: &[Op]) -> usize {
    let [Op::Momentum { len, .. }, ..] = block else {
        return usize::MAX;
    };
    // The momentum and its product, and the two smaller matrices of a step.
    let results = block.iter().filter_map(|op| match op {
        Op::MatMul { m, n, .. } => Some(apart(m * n)),
        _ => None,
    });
    let floats = apart(*len) + results.take(3).sum::<usize>();
    let workspace = block.iter().map(workspace_bytes).max().unwrap_or(0);
    (BATCH_BYTES / (4 * floats + workspace)).clamp(1, MOST_MATRICES)
}
