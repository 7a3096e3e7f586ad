//! `cargo xtask test`: native tests, then the built page in a real browser.

use anyhow::Result;

use crate::bundle;
use crate::check::WEB_CRATE;
use crate::package;
use crate::setup::{self, browser};
use crate::shell::{cargo, run, step};
use crate::workspace;

/// The tests that need the built page, and so run after it.
const PAGE_TESTS: &str = "page-tests";
const COMMAND_LINE: &str = "onebit";
const ENGINE: &str = "ternary-core";

pub fn test() -> Result<()> {
    let tools = setup::test_tools()?;

    step("native tests");
    run(cargo().args([
        "test",
        "--workspace",
        "--exclude",
        WEB_CRATE,
        "--exclude",
        PAGE_TESTS,
    ]))?;

    bundle::build(&tools.page)?;
    package::assemble()?;

    step(
        "the command line: it makes the page's test model, and writes what the page's text must equal",
    );
    run(cargo().args(["build", "-p", COMMAND_LINE]))?;
    run(cargo().args(["build", "-p", ENGINE, "--example", "random_bitnet"]))?;

    step("the page's tests, in headless Chromium");
    run(cargo()
        // One at a time: a software GPU leaves no core for a second page.
        .args(["test", "-p", PAGE_TESTS, "--", "--test-threads=1"])
        .env(browser::VARIABLE, tools.chromium)
        .env("TERNARY_AXE", tools.axe)
        .env("TERNARY_DIST", workspace::dist()))
}
