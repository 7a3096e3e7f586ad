//! Search for the precision of every layer or matrix.
mod scorer;
mod space;
pub use scorer::{Scorer, Task, Windows};
pub use space::*;
