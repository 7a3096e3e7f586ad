//! The user interface: a folder for each part of the page, with its components and their state.
//!
//! All parts share the engine, which they ask and listen to, and what the page shows; none but the
//! shell knows another.

mod chat;
mod engine;
mod explorer;
mod models;
mod page;
mod shell;
mod tuner;
mod widgets;

use leptos::mount::mount_to_body;

/// Mounts the page and starts the engine's worker.
pub fn start() {
    mount_to_body(shell::App);
}
