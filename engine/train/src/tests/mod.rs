//! Training, against what it must be.

mod masked;
#[cfg(feature = "native")]
mod ranks;
#[cfg(feature = "native")]
mod switches;
