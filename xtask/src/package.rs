//! `cargo xtask package`: the engine for other pages, as an npm package in target/npm/.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::bundle;
use crate::npm;
use crate::shell::step;
use crate::workspace;

/// The page's own workers, as they were built.
const WORKERS: [&str; 10] = [
    "worker-start.js",
    "relaxed-simd.js",
    "worker.js",
    "worker_bg.wasm",
    "worker-relaxed.js",
    "worker-relaxed_bg.wasm",
    "full-worker.js",
    "full-worker_bg.wasm",
    "grammar.js",
    "grammar_bg.wasm",
];
const OWN: [&str; 4] = ["index.js", "requests.js", "index.d.ts", "README.md"];
const LICENSES: [&str; 3] = ["LICENSE", "LICENSE-MIT", "LICENSE-APACHE"];

pub fn build_and_assemble() -> Result<()> {
    bundle::set_up_and_build()?;
    assemble()
}

/// Puts the package together from a page that is built.
pub fn assemble() -> Result<()> {
    let folder = folder();
    step(&format!("the npm package in {}", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let own = workspace::root().join("web/package");
    let files = OWN
        .map(|name| own.join(name))
        .into_iter()
        .chain(WORKERS.map(|name| workspace::dist().join(name)))
        .chain(LICENSES.map(|name| workspace::root().join(name)));
    for file in files {
        let name = file.file_name().context("a file without a name")?;
        fs::copy(&file, folder.join(name))
            .with_context(|| format!("copying {}", file.display()))?;
    }
    fs::write(folder.join("package.json"), manifest())?;
    npm::check(&folder)
}

fn folder() -> PathBuf {
    workspace::root().join("target/npm")
}

fn manifest() -> String {
    let files = OWN.into_iter().chain(WORKERS).chain(LICENSES);
    let files: Vec<String> = files.map(|name| format!("\"{name}\"")).collect();
    format!(
        r#"{{
  "name": "ternary-core",
  "version": "{}",
  "description": "1-bit and ternary language models in a web page",
  "license": "{}",
  "type": "module",
  "exports": {{ ".": {{ "types": "./index.d.ts", "default": "./index.js" }} }},
  "types": "./index.d.ts",
  "files": [{}]
}}
"#,
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_LICENSE"),
        files.join(", ")
    )
}
