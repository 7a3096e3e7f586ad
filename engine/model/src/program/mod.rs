//! A [`Program`] is a flat list of operations on buffers of fixed shapes, recorded once by the
//! model and interpreted by a backend. Per run only the [`RunParams`] change.

mod access;
mod dropout;
mod name;
mod op;
mod plan;
mod recorder;

pub use access::Access;
pub use dropout::DropoutMask;
pub use name::BufferKind;
pub use op::{
    AttentionShape, EmbedTable, LinearInput, Op, PAGE, Places, RelationShape, STEP_FIGURES, Scores,
    Weight,
};
pub use plan::{plan_slots, plan_slots_for};
pub use recorder::Recorder;

pub use ternary_core::quant::WeightQuant;
pub use ternary_core::quant::tile::Elem;

use bytemuck::{Pod, Zeroable};

/// Index of a buffer in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

impl BufferId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who owns a buffer and how long its contents live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Known by name to every program of a backend: weights, optimizer state. Contents persist.
    Shared(String),
    /// As shared, but empty until the backend is told to grow it, to the declared length at most:
    /// KV caches, whose rows are needed as a text arrives.
    Growing(String),
    /// Belongs to this program, written or read by the host between runs; contents persist.
    Io,
    /// Lives within one run; buffers whose lifetimes do not meet share memory (`slot`).
    Scratch { slot: usize },
}

#[derive(Clone, Debug)]
pub struct BufferDecl {
    pub role: Role,
    pub elem: Elem,
    /// Elements.
    pub len: usize,
}

impl BufferDecl {
    pub fn bytes(&self) -> usize {
        self.len * self.elem.bytes()
    }
}

/// Operations in order, with every buffer they touch.
///
/// ```
/// use ternary_model::program::{Elem, Op, Program, Recorder};
///
/// let mut rec = Recorder::new();
/// let x = rec.io(Elem::F32, 4);
/// let (half, out) = (rec.f32(4), rec.io(Elem::F32, 4));
/// for (x, out, scale) in [(x, half, 0.5), (half, out, 4.0)] {
///     rec.push(Op::Scale { x, out, scale, len: 4, accumulate: false });
/// }
/// let program: Program = rec.finish("twice");
/// assert_eq!(program.ops.len(), 2);
/// assert_eq!(program.scratch_bytes(), 4 * Elem::F32.bytes());
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    pub label: String,
    pub buffers: Vec<BufferDecl>,
    pub ops: Vec<Op>,
    /// Bytes of every scratch slot.
    pub slots: Vec<usize>,
}

impl Program {
    /// Bytes of scratch memory a run needs, after planning.
    pub fn scratch_bytes(&self) -> usize {
        self.slots.iter().sum()
    }
}

/// The per-run parameters, as they lie in memory on every backend (20 words; WGSL
/// `struct RunParams` mirrors it).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable, PartialEq)]
pub struct RunParams {
    /// Position of the first row; in an update, the row of the history that it fills.
    pub pos: u32,
    /// Valid token rows of this run.
    pub rows: u32,
    /// Valid entries of the repetition penalty's list.
    pub recent: u32,
    pub repetition_penalty: f32,
    /// Factor on the loss gradient: 1 / (tokens of the optimizer step).
    pub grad_scale: f32,
    /// α of the soft quantizer; 0 = hard.
    pub anneal: f32,
    /// ε of Arenas.
    pub arenas: f32,
    pub lr: f32,
    pub weight_decay: f32,
    /// 1 / (1 − β₁ᵗ) and 1 / (1 − β₂ᵗ).
    pub bias1: f32,
    pub bias2: f32,
    /// Seed of this run's dropout masks.
    pub seed: u32,
    /// Muon's μ.
    pub momentum: f32,
    /// How much of a quantized weight is still its latent itself; 0 = none.
    pub float_share: f32,
    /// How a token is chosen, see [`ternary_core::sampling::Choice`].
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub draw: f32,
    pub reserved: [u32; 2],
}
