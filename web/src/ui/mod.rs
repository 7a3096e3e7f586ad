//! The user interface: a folder for each part of the page, with its components and their state.
//!
//! All parts share the engine, which they ask and listen to, and what the page shows; none but the
//! shell knows another.

mod bench;
mod chat;
mod engine;
mod explorer;
mod models;
mod page;
mod shell;
mod tuner;
mod widgets;

use leptos::mount::mount_to_body;
use leptos::prelude::*;

/// Mounts the page, in place of what stood there until now, and starts the engine's worker.
pub fn start() {
    if let Some(shell) = document().get_element_by_id("shell") {
        shell.remove();
    }
    match bench::asked() {
        Some(quick) => mount_to_body(move || view! { <bench::BenchApp quick /> }),
        None => mount_to_body(shell::App),
    }
}
