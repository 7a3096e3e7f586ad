//! The built page, opened and used.
#![allow(
    clippy::print_stderr,
    reason = "what was measured is shown with --nocapture"
)]

mod access;
mod agreement;
mod bench;
mod cases;
mod catalogue;
mod chat;
mod chat_view;
mod data_sets;
mod explorer;
mod first;
mod fixtures;
mod forms;
mod import;
mod kept_chats;
mod kernels;
mod large;
mod loading;
mod look;
mod map;
mod markdown;
mod misdeeds;
mod nothing_lost;
mod offline;
mod package;
mod random_use;
mod requests;
mod robust;
mod served;
mod store;
mod suite;
mod threads;
mod tune;
mod unfinished;

use std::time::Duration;

use anyhow::Result;
use page_tests::{FINISHED, LOADED, Page, stage};

/// Long enough for a cold start on a busy machine.
const START: Duration = Duration::from_secs(120);
const REPLY: Duration = Duration::from_secs(240);
/// Tokens of a reply: a GPU in software takes its time.
const FEW: &str = "8";

const LAST_REPLY: &str = ".exchange:last-child .reply";

/// The page with the tiny model on the CPU.
fn open_tiny() -> Result<Page> {
    open("?model=tiny.1bit&device=cpu")
}

/// The page in a folder of its own whose worker runs `prelude` first, with the tiny model loaded.
fn open_altered(folder: &str, prelude: &str, query: &str) -> Result<Page> {
    let stage = stage()?;
    let address = stage.altered(folder, prelude)?;
    let page = stage
        .browser
        .open(&format!("{address}?model=tiny.1bit&{query}"))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    Ok(page)
}

/// The page with `query`, its model loaded.
fn open(query: &str) -> Result<Page> {
    let stage = stage()?;
    let page = stage
        .browser
        .open(&format!("{}/{query}", stage.server.origin()))?;
    // Wide enough to show everything at once.
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    Ok(page)
}

/// Types a prompt and sends it.
fn ask(page: &Page, prompt: &str) -> Result<()> {
    page.click("#prompt")?;
    page.type_text(prompt)?;
    page.press("Enter")
}

/// Plain continuation, always the likeliest token.
fn continue_greedily(page: &Page, tokens: usize) -> Result<()> {
    page.click("input[name=mode][value=text]")?;
    page.set_field("#temperature", "0")?;
    page.set_field("#repetition-penalty", "1")?;
    page.set_field("#max-tokens", &tokens.to_string())
}
