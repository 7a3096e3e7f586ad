//! One file, or folder, a command.

pub mod bench;
pub mod chat;
pub mod convert;
pub mod data;
pub mod download;
pub mod eval;
pub mod export;
pub mod export_other;
pub mod finetune;
pub mod generate;
pub mod import;
pub mod inspect;
pub mod logits;
pub mod merge;
pub mod plot;
pub mod search;
pub mod serve;
pub mod sweep;
pub mod template;
pub mod tokenize;
pub mod train;
pub mod watch;
