//! Published layouts in the browser: on the CPU and on WebGPU the logits and tokens that
//! transformers computes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use page_tests::published::{self, Expected, Shape};
use page_tests::{Server, onebit, root};
use serde_json::{Value, json};
use ternary::config::CachePrecision;

use crate::REPLY;
use crate::package::{blank, site};

/// Relative error (L2) of logits, as natively.
const TOLERANCE: f64 = 2e-3;
/// As natively, of the tiny models of every decoder.
const EXACT: f64 = 1e-5;
/// Tokens of the fixtures, and of those models.
const VOCAB: usize = 320;
const ZOO_VOCAB: usize = 96;
/// Decoders that have all shaders of decoders between them. A software GPU takes ten seconds for
/// the shaders of one; natively it computes every decoder.
const ON_WEBGPU: [&str; 11] = [
    "gemma2",
    "gemma3",
    "gpt-neox",
    "gpt2",
    "llama-longrope",
    "minicpm",
    "olmo2",
    "phi3",
    "qwen2-window",
    "smollm3",
    "stablelm-parallel",
];

#[test]
fn on_the_cpu() -> Result<()> {
    every_fixture("cpu")
}

#[test]
fn on_webgpu() -> Result<()> {
    every_fixture("gpu")
}

#[test]
fn every_decoder_on_the_cpu() -> Result<()> {
    every_decoder("cpu")
}

#[test]
fn decoders_on_webgpu() -> Result<()> {
    every_decoder("gpu")
}

/// A head of 128256 rows, 148 MB, on a GPU that binds 128 MiB at once, which this browser then
/// holds it to: logits and tokens are the CPU's.
#[test]
fn a_head_larger_than_a_binding() -> Result<()> {
    const LIMIT: &str = "Object.defineProperty(GPUSupportedLimits.prototype, 'maxStorageBufferBindingSize', { get: () => 1 << 27 });";
    const SHAPE: Shape = Shape {
        hidden: 576,
        ffn: 64,
        layers: 1,
        vocab: 128_256,
    };
    let prompt = [3, 141, 59, 26];
    let folder = published::folder("large-head")?;
    published::write(&folder, SHAPE, json!({}))?;
    fs::write(
        folder.join("tokenizer.json"),
        published::numbers(SHAPE.vocab),
    )?;
    let model = onebit::import(&folder, "f16")?;
    let server = site()?;
    let start = fs::read_to_string(root().join("target/npm/worker-start.js"))?;
    server.add("/ternary-core/worker-start.js", format!("{LIMIT}\n{start}"))?;
    server.add("/large-head.1bit", fs::read(&model)?)?;
    let page = blank(&server)?;
    page.evaluate(&format!(
        "window.found = null; (async () => {{ \
           const engine = await Engine.load('large-head.1bit', {{ device: 'gpu', kv: 'f32' }}); \
           const asked = {{ prompt: {}, temperature: 0, repetition_penalty: 1, max_tokens: 4 }}; \
           const {{ choices: [{{ text }}] }} = await engine.completions.create(asked); \
           const logits = await engine.logits({}); \
           engine.close(); \
           return {{ text, logits: [...logits.slice(-{})] }}; }})() \
           .then(found => {{ window.found = found; }}, problem => {{ window.found = {{ problem: String(problem) }}; }}); 0",
        json!(published::spelled(&prompt)),
        json!(prompt),
        SHAPE.vocab
    ))?;
    page.wait_for("window.found", REPLY)?;
    let found = page.evaluate("found")?;
    ensure!(found["problem"].is_null(), "{}", found["problem"]);
    let native = onebit::logits(&model, &prompt, CachePrecision::F32)?;
    let error = relative_error(&found["logits"], &native)?;
    eprintln!("relative error {error:.1e}");
    ensure!(error <= TOLERANCE, "relative error {error}");
    let expected = onebit::greedy(&model, &published::spelled(&prompt), 4)?;
    ensure!(
        found["text"] == expected.as_str(),
        "{}, expected {expected}",
        found["text"]
    );
    page.assert_clean()
}

/// Relative error (L2) of the numbers that a page gave.
fn relative_error(found: &Value, expected: &[f32]) -> Result<f64> {
    let found = found.as_array().context("no logits")?.iter();
    let found: Vec<f64> = found.filter_map(Value::as_f64).collect();
    ensure!(
        found.len() == expected.len(),
        "{} logits, {} expected",
        found.len(),
        expected.len()
    );
    let square = |sum: f64, v: f64| sum + v * v;
    let expected = expected.iter().map(|v| f64::from(*v));
    let apart = found.iter().zip(expected.clone()).map(|(a, b)| a - b);
    Ok((apart.fold(0.0, square) / expected.fold(0.0, square)).sqrt())
}

fn every_fixture(device: &str) -> Result<()> {
    let server = site()?;
    server.add("/tokenizer.json", published::numbers(VOCAB))?;
    for name in published::FIXTURES {
        let Some(folder) = published::fixture(name) else {
            eprintln!("{name} is left out: it is not in ONEBIT_SHARED");
            continue;
        };
        serve(&server, name, &folder)?;
        let exact = published::expected(&folder)?;
        agrees(&server, device, name, "f32", exact, TOLERANCE)?;
        // The layers of a model of floats become 8-bit.
        if name != "llama-float" {
            let rounded = published::expected_f16(name)?;
            agrees(&server, device, name, "f16", rounded, TOLERANCE)?;
        }
    }
    Ok(())
}

fn every_decoder(device: &str) -> Result<()> {
    let server = site()?;
    server.add("/tokenizer.json", published::numbers(ZOO_VOCAB))?;
    let zoo = published::zoo()?;
    ensure!(!zoo.is_empty(), "there are no models");
    for name in ON_WEBGPU {
        let known = zoo.iter().any(|folder| folder.ends_with(name));
        ensure!(known, "there is no {name}");
    }
    for folder in zoo {
        let name = folder.file_name().context("a folder")?.to_string_lossy();
        if device == "gpu" && !ON_WEBGPU.contains(&&*name) {
            continue;
        }
        serve(&server, &name, &folder)?;
        let expected = published::expected(&folder)?;
        agrees(&server, device, &name, "f32", expected, EXACT)?;
    }
    Ok(())
}

fn serve(server: &Server, name: &str, folder: &Path) -> Result<()> {
    for file in ["config.json", "model.safetensors"] {
        server.add(&format!("/{name}/{file}"), fs::read(folder.join(file))?)?;
    }
    Ok(())
}

fn agrees(
    server: &Server,
    device: &str,
    name: &str,
    head: &str,
    expected: Expected,
    tolerance: f64,
) -> Result<()> {
    let Expected {
        prompt,
        logits,
        greedy,
    } = expected;
    let page = blank(server)?;
    page.evaluate(&format!(
        "window.found = null; (async () => {{ \
           const file = async (path, name) => new File([await (await fetch(path)).blob()], name); \
           const files = [await file('{name}/config.json', 'config.json'), await file('{name}/model.safetensors', 'model.safetensors'), \
             await file('tokenizer.json', 'tokenizer.json')]; \
           const engine = await Engine.import(files, {{ name: '{name}', device: '{device}', head: '{head}', kv: 'f32' }}); \
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
    let error = relative_error(&found["logits"], &logits)?;
    eprintln!("{device}, {name}, {head}: relative error {error:.1e}");
    ensure!(error <= tolerance, "{name}, {head}: relative error {error}");
    ensure!(
        found["text"] == published::spelled(&greedy).as_str(),
        "{name}: {}, expected {greedy:?}",
        found["text"]
    );
    page.assert_clean()
}
