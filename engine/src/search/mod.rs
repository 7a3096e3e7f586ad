//! Search for the precision of every layer or matrix.
mod scorer;
mod space;
mod strategy;
mod surrogate;
pub use scorer::{Scorer, Task, Windows};
pub use space::*;
pub use strategy::*;
