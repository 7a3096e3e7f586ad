//! Training, against what it must be.

mod documents;
mod masked;
#[cfg(feature = "native")]
mod ranks;
#[cfg(feature = "native")]
mod switches;
