//! What runs the operations that only training has, on every backend.
//!
//! A program that only talks and never links them is much smaller for it, which counts where it is downloaded: in a page they are
//! there once they are asked for. Elsewhere they always are.

use std::sync::OnceLock;

use super::BackendError;
use super::cpu;
#[cfg(feature = "gpu")]
use super::gpu;
use crate::program::{Knobs, Op};

/// The operations that inference has: a pattern, so that a match over it and training's misses no new one.
macro_rules! inference {
    () => {
        Op::Embed { .. }
            | Op::AddPosition { .. }
            | Op::RmsNorm { .. }
            | Op::QuantAct { .. }
            | Op::Linear { .. }
            | Op::Rope { .. }
            | Op::KvWrite { .. }
            | Op::CachedAttention { .. }
            | Op::Activate { .. }
            | Op::Residual { .. }
            | Op::LastRow { .. }
            | Op::Penalize { .. }
            | Op::TopK { .. }
    };
}
pub(super) use inference;

pub(super) struct Training {
    pub cpu: fn(&Op, &mut cpu::Buffers, &Knobs),
    #[cfg(feature = "gpu")]
    pub gpu: gpu::Training,
}

static ALL: Training = Training {
    cpu: cpu::train,
    #[cfg(feature = "gpu")]
    gpu: gpu::TRAINING,
};

static LINKED: OnceLock<&'static Training> = OnceLock::new();

/// Makes the operations of training available in a page.
pub fn link() {
    LINKED.get_or_init(|| &ALL);
}

pub(super) fn linked() -> Option<&'static Training> {
    if cfg!(target_arch = "wasm32") {
        LINKED.get().copied()
    } else {
        Some(&ALL)
    }
}

/// Refuses an operation of training that nothing here could run.
pub(super) fn check(op: &Op, device: &'static str) -> Result<(), BackendError> {
    let for_inference = matches!(op, inference!());
    if for_inference || linked().is_some() {
        return Ok(());
    }
    Err(BackendError::Unsupported {
        device,
        op: op.name(),
        reason: "training is not part of this program".to_owned(),
    })
}
