//! Firefox and WebKit, Safari's engine, in which some of the page's tests run as well.

use anyhow::Result;

use super::{apt, tools};
use crate::shell::find;

/// The browsers, and what drives Firefox: WebKit's driver comes with it.
pub fn ensure() -> Result<tools::Tool> {
    let firefox = find("firefox").or_else(|| find("firefox-esr"));
    let found = [firefox, find("WebKitWebDriver"), find("Xvfb")];
    if found.iter().any(Option::is_none) {
        apt::install(
            &["firefox-esr", "webkit2gtk-driver", "xvfb"],
            "The page is tried in Firefox, and in WebKit on a screen that nobody sees.",
            "Firefox, WebKitGTK's WebKitWebDriver with its MiniBrowser, and Xvfb",
        )?;
    }
    tools::geckodriver()
}
