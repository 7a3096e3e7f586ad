//! Headless Chromium with WebGPU on its software adapter.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;

use crate::devtools::DevTools;
use crate::page::Page;

const FLAGS: [&str; 12] = [
    "--headless",
    "--remote-debugging-pipe",
    // WebGPU without a graphics card.
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    // The page itself is drawn without that adapter, which would take a tenth longer.
    "--disable-gpu-compositing",
    "--disable-gpu-rasterization",
    // Nothing of the browser's own on the network.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running browser; each page gets a profile of its own.
pub struct Browser {
    devtools: Arc<DevTools>,
}

impl Browser {
    pub fn start() -> Result<Self> {
        let program = chromium()?;
        // Left behind for a look after a failure; the next run begins with an empty one.
        let profile = crate::scratch().join("profile");
        if profile.exists() {
            fs::remove_dir_all(&profile)?;
        }
        fs::create_dir_all(&profile)?;
        // The pipe is expected at descriptors 3 and 4; the shell puts our two there.
        let mut command = Command::new("/bin/sh");
        command.args([
            "-c",
            r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>"$TERNARY_BROWSER_LOG""#,
            "sh",
        ]);
        command.env("TERNARY_BROWSER_LOG", profile.join("stderr.log"));
        command
            .arg(&program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()));
        if is_root() {
            // Chromium refuses to sandbox itself as root.
            command.arg("--no-sandbox");
        }
        command
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let devtools = DevTools::new(child)?;
        devtools
            .call("", "Browser.getVersion", json!({}))
            .with_context(|| {
                let log = fs::read_to_string(profile.join("stderr.log")).unwrap_or_default();
                format!("{} does not answer; it said:\n{log}", program.display())
            })?;
        Ok(Self { devtools })
    }

    /// Opens `url` in a fresh profile.
    pub fn open(&self, url: &str) -> Result<Page> {
        Page::open(Arc::clone(&self.devtools), url)
    }
}

/// The browser of the tests: `$TERNARY_CHROMIUM`, or the one on PATH.
pub fn chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TERNARY_CHROMIUM") {
        return Ok(PathBuf::from(named));
    }
    program(&["chromium", "chromium-browser", "google-chrome"]).context(
        "no Chromium on PATH: `cargo xtask setup` installs one; TERNARY_CHROMIUM names another",
    )
}

/// The first of these programs that is on PATH.
pub(crate) fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    names.iter().find_map(|name| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    })
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
