//! Which operations only training has. The feature `training` (on by default) builds them; a page
//! that only talks does without, and is much smaller for it.

use crate::BackendError;
use ternary_model::program::Op;

/// The operations that inference has: a pattern, so that a match over it and training's misses no
/// new one.
macro_rules! inference {
    () => {
        Op::Embed { .. }
            | Op::AddPosition { .. }
            | Op::RmsNorm { .. }
            | Op::Center { .. }
            | Op::AddBias { .. }
            | Op::Softcap { .. }
            | Op::QuantAct { .. }
            | Op::Linear { .. }
            | Op::Rope { .. }
            | Op::KvWrite { .. }
            | Op::CachedAttention { .. }
            | Op::Activate { .. }
            | Op::Residual { .. }
            | Op::LastRow { .. }
            | Op::PickRows { .. }
            | Op::Penalize { .. }
            | Op::TopK { .. }
            | Op::Choose { .. }
    };
}
pub(crate) use inference;

/// The operations that only training has. The interpreters match what inference has one by one and
/// then this: an operation that is in neither, or that an interpreter lacks, does not compile.
macro_rules! training {
    () => {
        Op::FakeQuantWeight { .. }
            | Op::SteBackward { .. }
            | Op::FakeQuantAct { .. }
            | Op::MatMul { .. }
            | Op::RmsNormBackward { .. }
            | Op::Attention { .. }
            | Op::AttentionBackward { .. }
            | Op::ActivateBackward { .. }
            | Op::Scale { .. }
            | Op::CrossEntropy { .. }
            | Op::KlDivergence { .. }
            | Op::PreferenceLoss { .. }
            | Op::RelationDivergence { .. }
            | Op::RelationBackward { .. }
            | Op::Dropout { .. }
            | Op::BiasBackward { .. }
            | Op::SoftcapBackward { .. }
            | Op::EmbedBackward { .. }
            | Op::PositionBackward { .. }
            | Op::SquaredNorm { .. }
            | Op::SumRows { .. }
            | Op::RecordStep { .. }
            | Op::AdamW { .. }
            | Op::Momentum { .. }
            | Op::Normalize { .. }
            | Op::TakeStep { .. }
    };
}
pub(crate) use training;

/// Refuses an operation of training that this program was built without.
pub(crate) fn check(op: &Op, device: &'static str) -> Result<(), BackendError> {
    if cfg!(feature = "training") || matches!(op, inference!()) {
        return Ok(());
    }
    Err(BackendError::Unsupported {
        device,
        op: op.name(),
        reason: "training is not part of this program".to_owned(),
    })
}
