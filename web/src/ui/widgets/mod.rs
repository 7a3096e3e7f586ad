//! Parts and helpers that know nothing of models or conversations.

pub mod erased;
pub mod figures;
pub mod files;
pub mod focus;
pub mod keys;
pub mod naming;
pub mod picked;
pub mod picker;
pub mod scale;
pub mod scheme;
pub mod segmented;
pub mod slider;
pub mod storage;
