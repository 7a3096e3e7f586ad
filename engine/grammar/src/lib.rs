//! Replies that must have a form: which tokens may come next.

#![warn(missing_docs)]

mod constraint;
mod error;
#[cfg(feature = "compile")]
mod grammars;
mod vocabulary;

pub use constraint::{Compiler, Constraint, Form, TokenSet};
pub use error::{Error, Result};
#[cfg(feature = "compile")]
pub use grammars::Grammars;
pub use vocabulary::Vocabulary;
