//! `cargo xtask docs`: the book in target/book/, with the command pages as the commands are now.

use std::process::Command;

use anyhow::{Context, Result};

use crate::check::WEB_CRATE;
use crate::links;
use crate::setup::tools::{self, Tool};
use crate::shell::{cargo, run, step};
use crate::workspace;

/// Writes docs/commands/ anew, checks every link, and builds the book.
pub fn build() -> Result<()> {
    step("the command pages in docs/commands/");
    let mut onebit = onebit()?;
    let pages = workspace::root().join("docs/commands");
    // A command that is gone leaves no page.
    if pages.exists() {
        std::fs::remove_dir_all(&pages)?;
    }
    run(onebit
        .args(["manual", "--format", "markdown", "--output-dir"])
        .arg(&pages))?;
    step("links");
    links::check()?;
    book(&tools::mdbook()?)
}

/// `onebit`, as it is built now.
pub fn onebit() -> Result<Command> {
    // All packages are selected, as for the tests: what is selected decides the features of
    // dependencies.
    run(cargo().args(["build", "--workspace", "--bins"]).args([
        "--exclude",
        WEB_CRATE,
        "--exclude",
        "page-tests",
    ]))?;
    let xtask = std::env::current_exe()?;
    let onebit = format!("onebit{}", std::env::consts::EXE_SUFFIX);
    Ok(Command::new(xtask.with_file_name(onebit)))
}

/// Links and the table of contents; the book too where mdBook is already there.
pub fn check() -> Result<()> {
    step("links");
    links::check()?;
    match tools::installed_mdbook()? {
        Some(mdbook) => book(&mdbook),
        None => {
            println!("    the book is not built: `cargo xtask docs` installs mdBook");
            Ok(())
        }
    }
}

fn book(mdbook: &Tool) -> Result<()> {
    step("the book, in target/book/");
    run(Command::new(&mdbook.program)
        .arg("build")
        .arg(workspace::root().join("docs")))
    .context("building the book")
}
