//! The page's kernels, of either instruction set, give the native ones' logits to the last bit: in
//! every precision, with every kind of scale and activation, in sizes that fill no tile and no
//! group of rows. (Products of floats are added in another order natively.)

use std::fs;

use anyhow::{Context, Result, ensure};
use page_tests::{changed, onebit, root};
use serde_json::{Value, json};
use ternary::config::CachePrecision;

use crate::REPLY;
use crate::package::{blank, site};

/// Prefill of an odd number of rows, whose last one's logits are compared.
const PROMPT: [u32; 13] = [3, 141, 59, 26, 53, 58, 97, 93, 23, 84, 62, 64, 33];

/// Layers of each precision.
fn shape(hidden: usize, heads: usize, ffn: usize, changes: Value) -> Value {
    let shape = json!({
        "hidden_size": hidden, "num_heads": heads, "intermediate_size": ffn, "num_layers": 3,
        "layer_bit_map": {
            "embedding": "eightbit", "layer_modes": ["ternary", "binary", "eightbit"], "lm_head": "eightbit",
        },
        "training": { "lr": 0.003, "max_steps": 4, "batch_size": 2, "seq_len": 32, "save_every": 0, "seed": 1 },
    });
    changed(shape, changes)
}

#[test]
fn logits_are_the_native_ones_to_the_last_bit() -> Result<()> {
    let shapes = [
        ("row", shape(72, 3, 102, json!({ "weight_scale": "row" }))),
        (
            "tensor",
            shape(
                36,
                3,
                259,
                json!({ "weight_scale": "tensor", "activation": "gelu" }),
            ),
        ),
        (
            "finer-than-a-tile",
            shape(
                128,
                4,
                192,
                json!({ "weight_scale": "group", "weight_group_size": 32 }),
            ),
        ),
        (
            "one-tile",
            shape(
                128,
                4,
                384,
                json!({ "weight_scale": "group", "weight_group_size": 128 }),
            ),
        ),
        (
            "half-tiles",
            shape(
                192,
                3,
                320,
                json!({ "weight_scale": "group", "weight_group_size": 64, "use_ternary": true }),
            ),
        ),
        (
            "binary-fields",
            shape(
                160,
                4,
                96,
                json!({ "weight_scale": "group", "weight_group_size": 32, "use_ternary": false }),
            ),
        ),
        (
            "two-tiles",
            shape(
                256,
                4,
                512,
                json!({ "weight_scale": "group", "weight_group_size": 256, "activation": "relu2" }),
            ),
        ),
    ];
    let server = site()?;
    let start = fs::read_to_string(root().join("target/npm/worker-start.js"))?;
    let mut expected = Vec::new();
    for (name, config) in shapes {
        let model = onebit::changed_model(name, config)?;
        server.add(&format!("/{name}.1bit"), fs::read(&model)?)?;
        for (kv, cache) in [
            ("f32", CachePrecision::F32),
            ("f16", CachePrecision::F16),
            ("q8", CachePrecision::Q8),
        ] {
            expected.push((name, kv, onebit::logits(&model, &PROMPT, cache)?));
        }
    }
    for (build, prelude) in [
        ("wasm relaxed SIMD", ""),
        ("wasm SIMD128", "WebAssembly.validate = () => false;\n"),
    ] {
        server.add("/ternary-core/worker-start.js", format!("{prelude}{start}"))?;
        let page = blank(&server)?;
        for (name, kv, expected) in &expected {
            page.evaluate(&format!(
                "window.found = null; (async () => {{ \
                   const engine = await Engine.load('{name}.1bit', {{ device: 'cpu', kv: '{kv}' }}); \
                   const logits = await engine.logits({}); \
                   const device = engine.model.device.name; \
                   engine.close(); \
                   return {{ device, bits: [...new Uint32Array(Float32Array.from(logits).buffer)] }}; }})() \
                   .then(found => {{ window.found = found; }}, problem => {{ window.found = {{ problem: String(problem) }}; }}); 0",
                json!(PROMPT)
            ))?;
            page.wait_for("window.found", REPLY)?;
            let found = page.evaluate("found")?;
            ensure!(found["problem"].is_null(), "{name}: {}", found["problem"]);
            let device = found["device"].as_str().context("no device")?;
            ensure!(device.starts_with(build), "{device}, not {build}");
            let bits = found["bits"].as_array().context("no logits")?.iter();
            let bits: Vec<u64> = bits.filter_map(Value::as_u64).collect();
            let native: Vec<u64> = expected.iter().map(|v| u64::from(v.to_bits())).collect();
            let last = &bits[bits.len().saturating_sub(native.len())..];
            let first = native.iter().zip(last).position(|(a, b)| a != b);
            ensure!(
                last.len() == native.len() && first.is_none(),
                "{name}, {kv}, {build}: {} logits, {} expected, the first other one is {first:?}",
                last.len(),
                native.len()
            );
            eprintln!("{name}, {kv}, {build}: {} logits equal", last.len());
        }
        page.assert_clean()?;
    }
    Ok(())
}
