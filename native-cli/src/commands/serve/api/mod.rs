//! The endpoints: a file each, from a request's parameters to a [`Request`] and from updates to the
//! answer's shape.
//!
//! [`Request`]: ternary::session::service::Request

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod messages;
pub mod openai_messages;
mod prompt;
pub mod responses;
pub mod status;
pub mod tokens;
