//! What the page's tests are written with: a static server, and Chromium driven through the DevTools protocol.
//!
//! `cargo xtask test` builds the page and runs them. By hand: `cargo test -p page-tests` after `cargo xtask build-web`.

mod browser;
mod devtools;
mod page;
mod server;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

pub use browser::Browser;
pub use page::{Findings, Page};
pub use server::Server;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The built page, and a browser to open it in; both are started once for all tests of a binary.
pub struct Stage {
    pub server: Server,
    pub browser: Browser,
}

/// The stage all tests share. A missing browser or an unbuilt page fails the test that asks.
pub fn stage() -> Result<&'static Stage> {
    static STAGE: OnceLock<Result<Stage>> = OnceLock::new();
    STAGE
        .get_or_init(set_stage)
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error:#}"))
}

fn set_stage() -> Result<Stage> {
    let dist = std::env::var_os("TERNARY_DIST").map_or_else(|| root().join("dist"), PathBuf::from);
    ensure!(
        dist.join("index.html").is_file(),
        "{} holds no built page: run `cargo xtask build-web` first",
        dist.display()
    );
    let server = Server::start(dist).context("serving the page")?;
    let browser = Browser::start().context("starting the browser")?;
    Ok(Stage { server, browser })
}
