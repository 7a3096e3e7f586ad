//! `cargo xtask serve`: the page on this machine.

use anyhow::Result;

use crate::bundle;
use crate::setup;
use crate::shell::{run, step};

/// Arguments go to `trunk serve`: `--port`, `--open`, `--address`.
pub fn serve(arguments: &[String]) -> Result<()> {
    let tools = setup::page_tools()?;
    // Built once before: `trunk serve` would go on serving nothing after a build that failed.
    bundle::build(&tools)?;
    step("serving it at the address printed below, rebuilding after changes (Ctrl-C ends it)");
    let mut trunk = bundle::trunk(&tools)?;
    trunk
        .args(["serve", "--release"])
        .args(arguments.iter().filter(|argument| *argument != "--"));
    run(&mut trunk)
}
