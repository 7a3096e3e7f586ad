//! `cargo xtask bench-wllama`: the engine beside llama.cpp, in one page.

use std::path::Path;

use anyhow::{Context, Result};

use super::peers::model_of_llama;
use crate::bundle;
use crate::package;
use crate::setup::{self, browser, npm::Package};
use crate::shell::{cargo, run, step};

const WLLAMA: Package = Package {
    name: "@wllama/wllama",
    version: "3.8.1",
    sha256: "bbe65fcc6d128d7853aed6d1699db7541e51a0363dc0135b8b68153acbf74670",
    purpose: "llama.cpp in a page, to compare with",
};

/// Decodes and reads prompts with both on the CPU, by turns, with one thread each and with two.
/// Without a `gguf`, with the model that is made for the other peers.
pub fn beside_wllama(gguf: Option<&Path>) -> Result<()> {
    let gguf = match gguf {
        Some(gguf) => gguf
            .canonicalize()
            .with_context(|| format!("{} is no file", gguf.display()))?,
        None => model_of_llama()?,
    };
    let tools = setup::page_tools()?;
    let (chromium, wllama) = (browser::ensure()?, WLLAMA.fetch()?);
    bundle::build(&tools)?;
    package::assemble()?;
    run(cargo().args(["build", "-p", "onebit"]))?;
    step("both engines, by turns");
    run(cargo()
        .args(["test", "-p", "page-tests", "--", "--ignored", "--nocapture"])
        .arg("beside_wllama")
        .env(browser::VARIABLE, chromium)
        .env("TERNARY_WLLAMA", wllama)
        .env("TERNARY_BENCH_GGUF", gguf))
}
