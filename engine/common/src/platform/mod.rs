//! The machine underneath: clock, yielding, files, threads. `native/` and `web.rs` export the same
//! names.

pub mod par;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub use native::*;
#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use web::*;

/// Memories that a thread keeps from one use to the next, for `scratch`.
const SCRATCHES: usize = 3;

pub use web_time::{Instant, SystemTime, UNIX_EPOCH};
