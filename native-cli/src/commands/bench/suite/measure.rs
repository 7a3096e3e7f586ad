//! How fast a GPU is, beside what it could be.

use anyhow::Result;
use serde_json::{Map, Value, json};
use ternary::backend::Backend;
use ternary::backend::bench::decoder::{Decoder, shape_2b4t, shape_110m};
use ternary::backend::bench::rates;

use super::part::{Findings, Part};
use super::verify::open;
use crate::args::{Bench, TrainShape};
use crate::commands::bench::train;
use crate::output::errln;

/// Tokens in the context before those that are decoded.
const CONTEXT: usize = 128;
/// Tokens of a prefill step of a GPU.
const PREFILL: usize = 64;

/// How long something is measured.
fn seconds(a: &Bench) -> f64 {
    if a.quick { 0.2 } else { 1.0 }
}

pub fn rates(a: &Bench, found: &mut Findings) -> Result<()> {
    let seconds = seconds(a);
    let mut gpu = open(true)?;
    let megabytes = if a.quick { 16 } else { 256 };
    let copy = pollster::block_on(rates::copy_bandwidth(&mut gpu, megabytes << 20, seconds))?;
    found.put("copy_gb_s", copy / 1e9)?;
    let dispatch = pollster::block_on(rates::dispatch_seconds(&mut gpu, seconds))?;
    found.put("dispatch_us", dispatch * 1e6)?;
    errln!(
        "  copy {:.1} GB/s, a dispatch {:.2} µs",
        copy / 1e9,
        dispatch * 1e6
    );
    let sizes: &[usize] = if a.quick { &[256] } else { &[1024, 2048, 4096] };
    for size in sizes {
        for product in rates::products(&gpu).into_iter().chain(["int8"]) {
            if !found.fits(&format!("{product} products of {size}"), 3.0 * seconds)? {
                continue;
            }
            let rate = pollster::block_on(async {
                match product {
                    "int8" => rates::int8_gemm(&mut gpu, *size, seconds).await,
                    _ => rates::float_gemm(&mut gpu, product, *size, seconds).await,
                }
            });
            match rate {
                Ok(rate) => {
                    errln!("  {product} product of {size}: {:.4} T/s", rate / 1e12);
                    found.push(
                        "products",
                        json!({"product": product, "size": size, "tera_per_second": rate / 1e12}),
                    )?;
                }
                Err(e) => {
                    errln!("  {product} product of {size}: {e}");
                    found.push(
                        "products",
                        json!({"product": product, "size": size, "error": e.to_string()}),
                    )?;
                    // What went wrong may have taken the device.
                    gpu = open(true)?;
                }
            }
        }
    }
    Ok(())
}

pub fn inference(a: &Bench, found: &mut Findings) -> Result<()> {
    let seconds = seconds(a);
    let mut gpu = open(false)?;
    for (name, config) in [("110M", shape_110m()), ("2B4T", shape_2b4t())] {
        let decoder = Decoder::new(config);
        let dispatches = decoder.dispatches(&mut gpu, 1)?;
        errln!(
            "  {name}: {} dispatches a token, {} a layer",
            dispatches.token,
            dispatches.layer
        );
        found.push(
            "dispatches",
            json!({"shape": name, "token": dispatches.token, "layer": dispatches.layer}),
        )?;
        // A software adapter would take minutes for it.
        if a.quick && name == "2B4T" {
            found.push("cut", "speed of 2B4T")?;
            continue;
        }
        // Of a token so far: two steps are made at least, of which none can be cut short.
        let mut each = 0.0;
        for (kind, rows) in [("decode", 1), ("4 rows", 4), ("prefill", PREFILL)] {
            let needed = 4.0 * seconds + 3.0 * rows as f64 * each;
            if !found.fits(&format!("{kind} of {name}"), needed)? {
                continue;
            }
            let speed = pollster::block_on(decoder.speed(&mut gpu, rows, CONTEXT, seconds))?;
            errln!("  {name}, {kind}: {:.1} tok/s", speed.tokens_per_second);
            each = 1.0 / speed.tokens_per_second;
            let dispatches = decoder.dispatches(&mut gpu, rows)?.token;
            found.push(
                "speeds",
                json!({"shape": name, "kind": kind, "rows": rows, "tokens_per_second": speed.tokens_per_second,
                    "step_bytes": speed.step_bytes, "dispatches": dispatches}),
            )?;
        }
    }
    Ok(())
}

/// Operations a second of the fastest f32 product that was measured.
fn fastest_product(rates: &Map<String, Value>) -> f64 {
    let products = rates.get("products").and_then(Value::as_array);
    let f32_only = products
        .into_iter()
        .flatten()
        .filter(|p| p["product"] == "f32");
    let rates = f32_only.filter_map(|p| p["tera_per_second"].as_f64());
    rates.fold(0.0, f64::max) * 1e12
}

pub fn training(a: &Bench, found: &mut Findings) -> Result<()> {
    let shapes: &[TrainShape] = match a.quick {
        true => &[TrainShape::Small],
        false => &[TrainShape::M5, TrainShape::M78, TrainShape::M350],
    };
    let f16 = rates::products(&open(true)?).len() > 1;
    let fastest = fastest_product(&found.of(Part::Rates));
    let precisions: &[bool] = if f16 { &[false, true] } else { &[false] };
    for shape in shapes {
        for mixed in precisions {
            let precision = if *mixed { "f16" } else { "f32" };
            let what = format!("{} in {precision}", shape.name());
            // A step that warms up and one that is measured, at a tenth of the fastest product's
            // rate.
            let step = train::flops_per_step(*shape) / (fastest / 10.0).max(1.0);
            if !found.fits(&what, 4.0 * seconds(a) + 2.0 * step)? {
                continue;
            }
            let backend: Box<dyn Backend> = Box::new(open(*mixed)?);
            let long_enough = 4.0 * seconds(a);
            let measured = train::measure(backend, *shape, None, |_, took| took >= long_enough);
            let m = match measured {
                Ok(m) => m,
                // One that does not fit into this GPU's memory is no fault.
                Err(e) => {
                    errln!("  {what}: {e:#}");
                    found.push("speeds", json!({"shape": shape.name(), "precision": precision, "error": format!("{e:#}")}))?;
                    continue;
                }
            };
            let speed = m.tokens_per_second();
            errln!("  {what}: {speed:.0} tok/s");
            found.push(
                "speeds",
                json!({"shape": shape.name(), "precision": precision, "parameters": m.parameters,
                    "tokens_per_second": speed, "seconds_per_step": m.seconds / m.steps as f64,
                    "flops_per_token": m.flops_per_token, "planned_bytes": m.planned_bytes, "loss": m.loss}),
            )?;
        }
    }
    Ok(())
}
