//! The page writes what the command line writes.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use page_tests::{Page, onebit, stage, tie};

use crate::{FINISHED, LOADED, REPLY, START, ask, continue_greedily, open};

const TOKENS: usize = 64;
/// On a GPU in software, which writes a few a second.
const GPU_TOKENS: usize = 20;
const PROMPTS: [&str; 5] = [
    "Once upon a time",
    "Lily and Max went",
    "The old bear said",
    "One day, a boat",
    "In the small house",
];

/// On a GPU, logits this close are a tie. Its floats are summed in another order, so a value
/// between two int8 codes may round to the other one; logits were seen to move by 0.01 to 0.1 then
/// (`native-cli/tests/backends.rs`). The CPU's order is the same natively and in wasm: its texts
/// must be equal.
const GPU_TIE: f32 = 0.1;

#[test]
fn on_the_cpu() -> Result<()> {
    agrees("cpu")
}

#[test]
fn on_the_gpu() -> Result<()> {
    agrees("gpu")
}

/// Each browser fetches the build of the worker that it can run, the other one never, and writes
/// the same text with either.
#[test]
fn with_relaxed_simd_and_without() -> Result<()> {
    const BUILDS: [&str; 2] = ["worker", "worker-relaxed"];
    let stage = stage()?;
    for (at, folder) in ["strict", "relaxed"].into_iter().enumerate() {
        let address = stage.altered(folder, "")?;
        if folder == "strict" {
            // In workers and the service worker alike, as in a browser without it.
            let probe = fs::read_to_string(stage.dist.join("relaxed-simd.js"))?;
            let probe = format!("WebAssembly.validate = () => false;\n{probe}");
            stage.server.add("/strict/relaxed-simd.js", probe)?;
        }
        let page = stage
            .browser
            .open(&format!("{address}?model=tiny.1bit&device=cpu"))?;
        page.emulate(1280, 800, "light")?;
        page.wait_for(
            &format!("{LOADED} && navigator.serviceWorker.controller?.state == 'activated'"),
            START,
        )?;
        compare(&page, "cpu", onebit::tiny_model()?)?;
        for file in [".js", "_bg.wasm"] {
            let asked = BUILDS.map(|build| {
                let path = format!("/{folder}/{build}{file}");
                !stage.server.asked(&path).is_empty()
            });
            ensure!(
                asked[at] && !asked[1 - at],
                "{folder}: {asked:?} of {BUILDS:?} with {file}"
            );
        }
    }
    Ok(())
}

fn agrees(device: &str) -> Result<()> {
    let (tiny, shipped) = (onebit::tiny_model()?, &stage()?.shipped);
    let page = open(&format!("?model=tiny.1bit&device={device}"))?;
    compare(&page, device, tiny)?;
    if shipped != tiny {
        let page = open(&format!("?device={device}"))?;
        compare(&page, device, shipped)?;
    }
    Ok(())
}

pub fn compare(page: &Page, device: &str, model: &Path) -> Result<()> {
    let kind = page.evaluate("document.querySelector('.device').dataset.kind")?;
    ensure!(kind == device, "asked for {device}, runs on {kind}");
    let tokens = if device == "gpu" { GPU_TOKENS } else { TOKENS };
    continue_greedily(page, tokens)?;
    let mut equal = 0;
    for prompt in PROMPTS {
        let expected = onebit::greedy(model, prompt, tokens)?;
        ensure!(!expected.is_empty(), "nothing to compare after {prompt:?}");
        ask(page, prompt)?;
        page.wait_for(
            &format!("{FINISHED} && document.querySelector('.exchange:last-child .prompt').textContent == {prompt:?}"),
            REPLY,
        )?;
        let written =
            page.evaluate("document.querySelector('.exchange:last-child .reply').textContent")?;
        let written = written.as_str().unwrap_or_default();
        if written == expected {
            equal += 1;
            continue;
        }
        let divergence = tie::divergence(model, prompt, written)?;
        eprintln!("{device}, {prompt:?}: {divergence}");
        ensure!(
            device == "gpu" && divergence.gap() < GPU_TIE,
            "{device}, {prompt:?}: {divergence}\npage:   {written:?}\nnative: {expected:?}"
        );
    }
    let figures = page.text(".exchange:last-child .figures")?;
    eprintln!(
        "{device}: {equal} of {} texts equal; {figures}",
        PROMPTS.len()
    );
    // One flip may be chance; a device that mostly differs computes something else.
    ensure!(equal * 2 > PROMPTS.len());
    page.assert_clean()
}
