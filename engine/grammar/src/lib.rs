//! Replies that must have a form: which tokens may come next.

#![warn(missing_docs)]

#[cfg(feature = "compile")]
mod calls;
mod constraint;
mod error;
#[cfg(feature = "compile")]
mod grammars;
#[cfg(feature = "compile")]
mod schema;
mod vocabulary;

pub use constraint::{Callable, Calls, Compiler, Constraint, Form, Inside, Mark, TokenSet};
pub use error::{Error, Result};
#[cfg(feature = "compile")]
pub use grammars::Grammars;
pub use vocabulary::Vocabulary;
