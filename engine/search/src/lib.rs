//! Search for the precision of every layer or matrix: the smallest model within a perplexity, or
//! the best one within a size.
//!
//! A [`Space`] says what may be chosen and what it takes in a file. A [`Scorer`] measures a map's
//! loss on a backend, running again only the layers that changed. A [`Strategy`] decides what to
//! measure; its answer is checked on the whole text by [`search()`].

#![warn(missing_docs)]

mod error;
mod evaluators;
mod fingerprint;
#[cfg(feature = "native")]
mod journal;
#[cfg(feature = "native")]
mod ranks;
mod result;
mod scorer;
mod space;
mod strategy;
mod surrogate;

pub use error::{Error, Result};
pub use evaluators::Local;
#[cfg(feature = "native")]
pub use evaluators::Pool;
pub use fingerprint::fingerprint;
#[cfg(feature = "native")]
pub use journal::Journal;
#[cfg(feature = "native")]
pub use ranks::{Together, serve};
pub use result::{Entry, SearchResult, Settings, Standing, Tokens, search};
pub use scorer::{Scorer, Task, Windows};
pub use space::{Choice, Granularity, Point, Space, SpaceOptions, Unit};
pub use strategy::{Effort, Evaluate, Goal, Ledger, Strategy, Trial};

#[cfg(test)]
#[cfg(feature = "native")]
mod tests;
