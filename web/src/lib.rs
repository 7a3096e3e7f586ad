//! The page: a user interface on the main thread, the engine in a worker.

pub mod ui;
pub mod worker;
