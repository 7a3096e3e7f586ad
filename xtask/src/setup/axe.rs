//! axe-core, with which the page's tests look for what is not accessible.

use std::path::PathBuf;

use anyhow::Result;

use super::npm::Package;

const AXE: Package = Package {
    name: "axe-core",
    version: "4.10.3",
    sha256: "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292",
    purpose: "the page's tests check with it that everyone can use the page",
};

/// Where the tests find the script.
pub fn ensure() -> Result<PathBuf> {
    Ok(AXE.fetch()?.join("axe.min.js"))
}
