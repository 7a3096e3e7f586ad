//! Inner loops over floats. The compiler makes vectors of the plain ones; for a page they are
//! written with them, which saves 3 to 5 % of a token's time. The order of sums and every rounding
//! are the same, so the results are.
//!
//! [`Wide`] is what a loop's function gets and gives: one float, or a vector of them. Loops end
//! with their shortest operand.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod plain;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub use plain::*;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub use wasm::*;
