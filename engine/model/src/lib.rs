//! One decoder, for training and inference. Each part records its forward and, beside it, its
//! backward; nothing is computed here.

mod attention;
mod bit_linear;
mod decoder;
mod graph;
mod lora;
mod mlp;
mod muon;
mod norm;
pub mod program;
mod remap;
mod segments;
mod sequences;
mod sub_norm;

pub use attention::{RopeOwner, rope_tables};
pub use decoder::{
    CANDIDATES, Distill, HISTORY, InferProgram, KL, Logits, MARGINS, Objective, RECENT,
    RELATION_KL, Relations, SamplingBuffers, TRAIN_LOSS, TrainProgram, UpdateProgram,
    VALIDATION_LOSS, WINS, record_infer, record_train, record_update,
};

pub use graph::adapter_buffer;
pub use remap::{Origin, Remap};
pub use segments::{EmbeddingSegment, HeadSegment, STREAM, Segments};
pub use sequences::{BodyProgram, RowsProgram, SequencePrograms};
pub use sub_norm::{SubNorm, SubNormProgram, ones_name, record_sub_norms};

/// Values of parameters by name.
pub type Parameters = std::collections::HashMap<String, Vec<f32>>;
