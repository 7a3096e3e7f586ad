//! Clients that people use with `onebit serve`: packages of PyPI and npm, lm-evaluation-harness
//! among them, in a folder of their own in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::shell::{find, run, step};
use crate::workspace;

/// The harness takes tokenizers from transformers, which it does not name.
const PYTHON: [&str; 4] = [
    "openai==3.57.0",
    "anthropic==2.14.0",
    "lm_eval[api]==0.4.13",
    "transformers==5.24.0",
];
const NPM: &str = "openai@7.59.0";

/// Where the tests find them; none, and why is said, on a machine without what fetches them.
pub fn fetch() -> Option<PathBuf> {
    match try_fetch() {
        Ok(folder) => Some(folder),
        Err(problem) => {
            println!(
                "    clients of `onebit serve` are not there, and tests of them are skipped: {problem:#}"
            );
            None
        }
    }
}

fn try_fetch() -> Result<PathBuf> {
    let folder = workspace::cache()?.join("clients");
    let wanted = format!("{} {NPM}\n", PYTHON.join(" "));
    let note = folder.join("versions");
    if fs::read_to_string(&note).is_ok_and(|made| made == wanted) {
        return Ok(folder);
    }
    for tool in ["python3", "npm"] {
        ensure!(find(tool).is_some(), "there is no {tool}");
    }
    step(&format!(
        "fetching openai, anthropic and lm_eval into {}: the tests of `onebit serve` use them",
        folder.display()
    ));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let venv = folder.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join(python()));
    run(pip
        .args(["-m", "pip", "install", "--quiet", "--no-compile"])
        .args(PYTHON))?;
    run(Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(&folder)
        .arg(NPM))?;
    fs::write(note, wanted)?;
    Ok(folder)
}

/// Inside an environment of Python's.
fn python() -> &'static Path {
    Path::new(match cfg!(windows) {
        true => "Scripts/python.exe",
        false => "bin/python",
    })
}
