//! `cargo xtask package`: the engine for other pages, as an npm package in target/npm/.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::bundle;
use crate::bundlers;
use crate::npm;
use crate::shell::step;
use crate::workspace;

/// The page's own workers, as they were built.
const WORKERS: [&str; 10] = [
    "worker.js",
    "worker_bg.wasm",
    "worker-relaxed.js",
    "worker-relaxed_bg.wasm",
    "full-worker.js",
    "full-worker_bg.wasm",
    "grammar.js",
    "grammar_bg.wasm",
    "parquet.js",
    "parquet_bg.wasm",
];
/// What starts them, and decides which: two files of the page, made one so that bundlers, which
/// embed small files in their own, leave it alone.
const START: &str = "worker-start.js";
const STARTS: [&str; 2] = ["relaxed-simd.js", START];
const OWN: [&str; 7] = [
    "index.js",
    "files.js",
    "requests.js",
    "openai.js",
    "index.d.ts",
    "openai.d.ts",
    "README.md",
];
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
    let starts = STARTS.map(|name| fs::read_to_string(workspace::dist().join(name)));
    let [build, start] = starts;
    fs::write(folder.join(START), build? + &start?)?;
    fs::write(folder.join("package.json"), manifest())?;
    npm::check(&folder)?;
    bundlers::build(&folder)
}

fn folder() -> PathBuf {
    workspace::root().join("target/npm")
}

fn manifest() -> String {
    let files = OWN
        .into_iter()
        .chain([START])
        .chain(WORKERS)
        .chain(LICENSES);
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
