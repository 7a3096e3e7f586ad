//! Published layouts in the browser: on the CPU and on WebGPU the logits and tokens that transformers computes.

use std::fs;

use anyhow::{Context, Result, ensure};
use page_tests::Server;
use page_tests::published::{self, Expected};
use serde_json::json;

use crate::REPLY;
use crate::package::{bare, site};

/// Relative error (L2) of logits, as natively.
const TOLERANCE: f64 = 2e-3;
/// Of the fixtures.
const VOCAB: usize = 320;

#[test]
fn on_the_cpu() -> Result<()> {
    every_fixture("cpu")
}

#[test]
fn on_webgpu() -> Result<()> {
    every_fixture("gpu")
}

fn every_fixture(device: &str) -> Result<()> {
    let server = site()?;
    server.add("/tokenizer.json", published::numbers(VOCAB))?;
    for name in published::FIXTURES {
        let Some(folder) = published::fixture(name) else {
            eprintln!("{name} is left out: it is not in ONEBIT_SHARED");
            continue;
        };
        for file in ["config.json", "model.safetensors"] {
            server.add(&format!("/{name}/{file}"), fs::read(folder.join(file))?)?;
        }
        agrees(&server, device, name)?;
    }
    Ok(())
}

fn agrees(server: &Server, device: &str, name: &str) -> Result<()> {
    let Expected {
        prompt,
        logits,
        greedy,
    } = published::expected(name)?;
    let page = bare(server)?;
    page.evaluate(&format!(
        "window.found = null; (async () => {{ \
           const file = async (path, name) => new File([await (await fetch(path)).blob()], name); \
           const files = [await file('{name}/config.json', 'config.json'), await file('{name}/model.safetensors', 'model.safetensors'), \
             await file('tokenizer.json', 'tokenizer.json')]; \
           const engine = await Engine.import(files, {{ name: '{name}', device: '{device}' }}); \
           const logits = await engine.logits({}); \
           const asked = {{ prompt: {}, temperature: 0, repetition_penalty: 1, max_tokens: {} }}; \
           const {{ choices: [{{ text }}] }} = await engine.completions.create(asked); \
           engine.close(); \
           return {{ device: engine.model.device.kind, logits: [...logits], text }}; }})() \
           .then(found => {{ window.found = found; }}, problem => {{ window.found = {{ problem: String(problem) }}; }}); 0",
        json!(prompt),
        json!(published::spelled(&prompt)),
        greedy.len()
    ))?;
    page.wait_for("window.found", REPLY)?;
    let found = page.evaluate("found")?;
    ensure!(found["problem"].is_null(), "{name}: {}", found["problem"]);
    ensure!(found["device"] == device, "{}", found["device"]);
    let values = found["logits"].as_array().context("no logits")?.iter();
    let values: Vec<f64> = values.filter_map(|v| v.as_f64()).collect();
    ensure!(
        values.len() == logits.len(),
        "{name}: {} logits",
        values.len()
    );
    let square = |sum: f64, v: f64| sum + v * v;
    let apart = values.iter().zip(&logits).map(|(a, b)| a - f64::from(*b));
    let error =
        (apart.fold(0.0, square) / logits.iter().map(|v| f64::from(*v)).fold(0.0, square)).sqrt();
    eprintln!("{device}, {name}: relative error {error:.1e}");
    ensure!(error <= TOLERANCE, "{name}: relative error {error}");
    ensure!(
        found["text"] == published::spelled(&greedy).as_str(),
        "{name}: {}, expected {greedy:?}",
        found["text"]
    );
    page.assert_clean()
}
