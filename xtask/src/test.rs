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
/// The command line and the examples that they use are built with the native tests. All packages are selected both times: what is
/// selected decides the features of dependencies, and those would be built again.
const NATIVE: [&str; 4] = ["test", "--workspace", "--exclude", WEB_CRATE];

pub fn test() -> Result<()> {
    let tools = setup::test_tools()?;

    step("native tests");
    run(cargo().args(NATIVE).args(["--exclude", PAGE_TESTS]))?;

    bundle::build(&tools.page)?;
    package::assemble()?;

    step("the page's tests, in headless Chromium");
    run(cargo()
        // One at a time: a software GPU leaves no core for a second page.
        .args(NATIVE)
        .args([
            "--test",
            "parts",
            "--test",
            "page",
            "--",
            "--test-threads=1",
        ])
        .env(browser::VARIABLE, tools.chromium)
        .env("TERNARY_AXE", tools.axe)
        .env("TERNARY_DIST", workspace::dist()))
}
