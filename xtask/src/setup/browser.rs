//! Chromium, in which the page's tests run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::apt;
use crate::shell::find;

/// Names a particular browser to use.
pub const VARIABLE: &str = "TERNARY_CHROMIUM";

const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
const MAC: [&str; 2] = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

pub fn ensure() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(named);
        ensure!(
            path.is_file(),
            "{VARIABLE} is set to {}, which is no file",
            path.display()
        );
        return Ok(path);
    }
    if let Some(found) = installed() {
        return Ok(found);
    }
    let by_hand = format!("Chromium or Google Chrome, or set {VARIABLE} to one");
    apt::install(
        &["chromium"],
        "The page's tests drive headless Chromium.",
        &by_hand,
    )?;
    installed().context("the package `chromium` brought no program of that name")
}

fn installed() -> Option<PathBuf> {
    let on_mac = || {
        MAC.iter()
            .map(Path::new)
            .find(|path| path.is_file())
            .map(Path::to_path_buf)
    };
    NAMES.iter().find_map(|name| find(name)).or_else(on_mac)
}
