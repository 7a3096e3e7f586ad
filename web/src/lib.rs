//! The page: a user interface on the main thread, the engine in a worker.

mod js;
mod protocol;
#[cfg(feature = "ui")]
pub mod ui;
#[cfg(feature = "worker")]
pub mod worker;
