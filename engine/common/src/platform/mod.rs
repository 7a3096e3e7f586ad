//! The machine underneath: clock, yielding, files, threads. `native/` and `web/` export the same
//! names, but for what only a page's threads need.

pub mod par;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub use native::*;
#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use web::*;

pub use web_time::{Instant, SystemTime, UNIX_EPOCH};
