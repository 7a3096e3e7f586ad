//! axe-core, with which the page's tests look for what is not accessible. Never part of the page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::shell::{run, step};
use crate::workspace;

const VERSION: &str = "4.10.3";
/// Of the package as the npm registry has it.
const SHA256: &str = "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292";
const SCRIPT: &str = "package/axe.min.js";

/// Where the tests find the script: fetched once, checked, kept below target/.
pub fn ensure() -> Result<PathBuf> {
    let folder = workspace::root().join("target/axe-core");
    let script = folder.join(format!("axe-{VERSION}.js"));
    if script.is_file() {
        return Ok(script);
    }
    let url = format!("https://registry.npmjs.org/axe-core/-/axe-core-{VERSION}.tgz");
    step(&format!(
        "fetching axe-core {VERSION} into {}: the page's tests check with it that everyone can use the page",
        folder.display()
    ));
    fs::create_dir_all(&folder)?;
    let package = folder.join("package.tgz");
    run(Command::new("curl")
        .args([
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--retry",
            "3",
            "--output",
        ])
        .arg(&package)
        .arg(&url))?;
    check(&package).with_context(|| format!("{url} is not what it was"))?;
    run(Command::new("tar")
        .arg("-xzf")
        .arg(&package)
        .arg("-C")
        .arg(&folder)
        .arg(SCRIPT))?;
    // Named last: a set-up that was interrupted begins again.
    fs::rename(folder.join(SCRIPT), &script)?;
    fs::remove_file(package)?;
    Ok(script)
}

fn check(package: &Path) -> Result<()> {
    let found: String = Sha256::digest(fs::read(package)?)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(found == SHA256, "SHA-256 {found}, expected {SHA256}");
    Ok(())
}
