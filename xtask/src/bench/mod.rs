//! The engine beside others, in turn on one machine.

mod peers;
mod wllama;

pub use peers::beside_peers;
pub use wllama::beside_wllama;
