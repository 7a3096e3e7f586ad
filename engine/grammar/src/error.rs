//! What may be wrong with a form, and with a reply of it.

use serde::{Deserialize, Serialize};

/// A result whose error is this crate's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a reply cannot be held to a form. Plain data: a compiler may be another program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// A form that is wrong, or asks for what cannot be had.
    #[error(
        "{what} cannot be used{}: {problem}",
        .place.as_ref().map_or_else(String::new, |place| format!(" (at {place})"))
    )]
    Form {
        /// In words.
        what: String,
        /// Where in it, as a JSON pointer.
        place: Option<String>,
        /// Why not.
        problem: String,
    },
    /// A grammar that gave up, or a token that it does not allow.
    #[error("the reply cannot be held to its form: {0}")]
    Grammar(String),
}
