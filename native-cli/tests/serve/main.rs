//! `onebit serve` as a user runs it: the real binary, over a real socket.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/http.rs"]
mod http;

mod clients;
mod endpoints;
mod misuse;
mod server;
