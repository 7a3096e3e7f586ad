//! What the page's tests are written with: a static server, and Chromium driven through the
//! DevTools protocol.
//!
//! `cargo xtask test` builds the page and runs them. By hand: `cargo build -p onebit && cargo test
//! -p page-tests` after `cargo xtask build-web`.

mod browser;
mod devtools;
mod hub;
pub mod huge;
mod mouse;
pub mod onebit;
mod page;
pub mod published;
mod server;
mod shown;
pub mod tie;
pub mod webdriver;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use serde_json::{Value, json};

pub use browser::{Browser, chromium};
pub use hub::Hub;
pub use page::{Findings, Page};
pub use server::{FORGOTTEN, Served, Server, Trouble};

/// Nothing is loading and a model is there.
pub const LOADED: &str =
    "document.querySelector('.model-name') && !document.querySelector('#load-progress')";
/// The last reply is complete, and drawn.
pub const FINISHED: &str = "document.querySelector('.exchange:last-child')?.dataset.state == 'finished' \
     && !document.querySelector('.reply[aria-busy=true]')";

/// Where the server has the tiny model.
pub const TINY: &str = "/tiny.1bit";

/// Bytes from their base64 form.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}

/// A configuration with these changes to it.
pub fn changed(mut config: Value, changes: Value) -> Value {
    if let (Value::Object(config), Value::Object(changes)) = (&mut config, changes) {
        config.extend(changes);
    }
    config
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where tests write files and a browser its profile: `$TERNARY_SCRATCH`, of which each of two
/// programs that run at once has its own.
pub fn scratch() -> PathBuf {
    std::env::var_os("TERNARY_SCRATCH")
        .map_or_else(|| root().join("target/page-tests"), PathBuf::from)
}

/// axe-core's script: `$TERNARY_AXE`, or where the set-up puts it.
fn axe() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TERNARY_AXE") {
        return Ok(PathBuf::from(named));
    }
    let folder = root().join("target/axe-core");
    let versions = fs::read_dir(&folder).into_iter().flatten().flatten();
    versions
        .map(|version| version.path().join("axe.min.js"))
        .find(|script| script.is_file())
        .with_context(|| {
            format!(
                "no axe-core in {}: `cargo xtask setup` fetches it",
                folder.display()
            )
        })
}

/// The built page, and a browser to open it in; both are started once for all tests of a binary.
pub struct Stage {
    pub server: Server,
    pub browser: Browser,
    /// The built page's folder.
    pub dist: PathBuf,
    /// The model the page loads by itself.
    pub shipped: PathBuf,
}

impl Stage {
    /// The page in a folder of its own, whose worker runs `prelude` before the engine: to stand in
    /// for another machine. Gives the folder's address.
    pub fn altered(&self, folder: &str, prelude: &str) -> Result<String> {
        // Its models are large, and not needed there.
        for part in ["", "icons/"] {
            for entry in fs::read_dir(self.dist.join(part))? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    self.server
                        .add(&format!("/{folder}/{part}{name}"), fs::read(entry.path())?)?;
                }
            }
        }
        let start = fs::read_to_string(self.dist.join("worker-start.js"))?;
        self.server.add(
            &format!("/{folder}/worker-start.js"),
            format!("{prelude}\n{start}"),
        )?;
        self.server.add(
            &format!("/{folder}/tiny.1bit"),
            fs::read(onebit::tiny_model()?)?,
        )?;
        // The server knows no folders' index pages.
        Ok(format!("{}/{folder}/index.html", self.server.origin()))
    }
}

/// The stage all tests share. A missing browser or an unbuilt page fails the test that asks.
pub fn stage() -> Result<&'static Stage> {
    static STAGE: OnceLock<Result<Stage>> = OnceLock::new();
    STAGE
        .get_or_init(set_stage)
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// The built page.
fn dist() -> PathBuf {
    std::env::var_os("TERNARY_DIST").map_or_else(|| root().join("dist"), PathBuf::from)
}

fn set_stage() -> Result<Stage> {
    let dist = dist();
    ensure!(
        dist.join("index.html").is_file(),
        "{} holds no built page: run `cargo xtask build-web` first",
        dist.display()
    );
    let server = Server::start(dist.clone()).context("serving the page")?;
    let tiny = fs::read(onebit::tiny_model()?)?;
    server.add(TINY, tiny.clone())?;
    let shipped = match fs::read_to_string(dist.join("models/index.json")) {
        Ok(index) => {
            let index: Value = serde_json::from_str(&index).context("models/index.json")?;
            let name = index["default"]
                .as_str()
                .context("models/index.json: no default")?;
            dist.join("models").join(name)
        }
        // A build without a model is tested with the tiny one in its place.
        Err(_) => {
            let index = json!({ "default": "tiny.1bit" }).to_string();
            server.add("/models/index.json", index)?;
            server.add("/models/tiny.1bit", tiny)?;
            onebit::tiny_model()?.to_owned()
        }
    };
    let browser = Browser::start().context("starting the browser")?;
    Ok(Stage {
        server,
        browser,
        dist,
        shipped,
    })
}
