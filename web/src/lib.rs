//! The page: a user interface on the main thread, the engine in a worker.

mod js;
mod protocol;
pub mod ui;
pub mod worker;
