//! `cargo xtask serve`: the page on this machine.

use anyhow::Result;

use crate::bundle;
use crate::setup;
use crate::shell::{run, step};

/// Arguments go to `trunk serve`: `--port`, `--open`, `--address`.
pub fn serve(arguments: &[String]) -> Result<()> {
    let tools = setup::page_tools()?;
    step("building the page, then serving it at the address printed below (Ctrl-C ends it)");
    let mut trunk = bundle::trunk(&tools)?;
    trunk
        .args(["serve", "--release"])
        .args(arguments.iter().filter(|argument| *argument != "--"));
    run(&mut trunk)
}
