//! How fast a device is, beside what it could be.

use serde_json::{Map, Value, json};
use ternary_backend::Backend;
use ternary_backend::bench::decoder::{Decoder, shape_2b4t, shape_5m, shape_110m};
use ternary_backend::bench::rates;
use ternary_backend::cpu::CpuBackend;
use ternary_core::config::ModelConfig;

use super::SuiteOptions;
use super::compare::open;
use super::part::Findings;
use super::training::{self, TrainShape};
use crate::error::Result;

/// Tokens in the context before those that are decoded.
const CONTEXT: usize = 128;
/// Tokens of a prefill step.
const PREFILL: usize = 64;

/// How long something is measured.
fn seconds(options: &SuiteOptions) -> f64 {
    if options.quick { 0.2 } else { 1.0 }
}

pub async fn rates(options: &SuiteOptions, found: &mut Findings<'_>) -> Result<()> {
    let seconds = seconds(options);
    if options.without_gpu {
        let sizes: &[usize] = if options.quick { &[256] } else { &[512, 1024] };
        let mut cpu = CpuBackend::new(0);
        for size in sizes {
            for product in ["f32", "int8"] {
                if !found.fits(&format!("{product} products of {size}"), 3.0 * seconds) {
                    continue;
                }
                let rate = match product {
                    "int8" => rates::int8_gemm(&mut cpu, *size, seconds).await?,
                    _ => rates::f32_gemm(&mut cpu, *size, seconds).await?,
                };
                tell_rate(found, product, *size, rate);
            }
        }
        return Ok(());
    }
    let mut gpu = open(true).await?;
    let megabytes = if options.quick { 16 } else { 256 };
    let copy = rates::copy_bandwidth(&mut gpu, megabytes << 20, seconds).await?;
    found.put("copy_gb_s", copy / 1e9);
    let dispatch = rates::dispatch_seconds(&mut gpu, seconds).await?;
    found.put("dispatch_us", dispatch * 1e6);
    found.say(&format!(
        "copy {:.1} GB/s, a dispatch {:.2} µs",
        copy / 1e9,
        dispatch * 1e6
    ));
    let sizes: &[usize] = if options.quick {
        &[256]
    } else {
        &[1024, 2048, 4096]
    };
    for size in sizes {
        for product in rates::products(&gpu).into_iter().chain(["int8"]) {
            if !found.fits(&format!("{product} products of {size}"), 3.0 * seconds) {
                continue;
            }
            let rate = match product {
                "int8" => rates::int8_gemm(&mut gpu, *size, seconds).await,
                _ => rates::float_gemm(&mut gpu, product, *size, seconds).await,
            };
            match rate {
                Ok(rate) => tell_rate(found, product, *size, rate),
                Err(e) => {
                    found.say(&format!("{product} product of {size}: {e}"));
                    found.push(
                        "products",
                        json!({"product": product, "size": size, "error": e.to_string()}),
                    );
                    // What went wrong may have taken the device.
                    gpu = open(true).await?;
                }
            }
        }
    }
    Ok(())
}

fn tell_rate(found: &mut Findings<'_>, product: &str, size: usize, rate: f64) {
    found.say(&format!(
        "{product} product of {size}: {:.4} T/s",
        rate / 1e12
    ));
    found.push(
        "products",
        json!({"product": product, "size": size, "tera_per_second": rate / 1e12}),
    );
}

/// A shape, and whether there is time to decode with it.
fn shapes(options: &SuiteOptions) -> Vec<(&'static str, ModelConfig, bool)> {
    match options.browser {
        // A software adapter would take minutes for the larger one.
        None => vec![
            ("110M", shape_110m(), true),
            ("2B4T", shape_2b4t(), !options.quick),
        ],
        Some(_) => vec![
            ("5M", shape_5m(), true),
            ("110M", shape_110m(), !options.quick),
        ],
    }
}

pub async fn inference(options: &SuiteOptions, found: &mut Findings<'_>) -> Result<()> {
    let seconds = seconds(options);
    let mut gpu = match options.without_gpu {
        true => None,
        false => Some(open(false).await?),
    };
    let mut cpu = CpuBackend::new(0);
    for (name, config, is_timed) in shapes(options) {
        let decoder = Decoder::new(config);
        if let Some(gpu) = &mut gpu {
            let dispatches = decoder.dispatches(gpu, 1)?;
            found.say(&format!(
                "{name}: {} dispatches a token, {} a layer",
                dispatches.token, dispatches.layer
            ));
            found.push(
                "dispatches",
                json!({"shape": name, "token": dispatches.token, "layer": dispatches.layer}),
            );
        }
        if !is_timed {
            found.push("cut", format!("speed of {name}"));
            continue;
        }
        // Of a token so far: two steps are made at least, of which none can be cut short.
        let mut each = 0.0;
        for (kind, rows) in [("decode", 1), ("4 rows", 4), ("prefill", PREFILL)] {
            let needed = 4.0 * seconds + 3.0 * rows as f64 * each;
            if !found.fits(&format!("{kind} of {name}"), needed) {
                continue;
            }
            let backend: &mut dyn Backend = match &mut gpu {
                Some(gpu) => gpu,
                None => &mut cpu,
            };
            let speed = decoder.speed(backend, rows, CONTEXT, seconds).await?;
            found.say(&format!(
                "{name}, {kind}: {:.1} tok/s",
                speed.tokens_per_second
            ));
            each = 1.0 / speed.tokens_per_second;
            let dispatches = match &mut gpu {
                Some(gpu) => Some(decoder.dispatches(gpu, rows)?.token),
                None => None,
            };
            found.push(
                "speeds",
                json!({"shape": name, "kind": kind, "rows": rows, "tokens_per_second": speed.tokens_per_second,
                    "step_bytes": speed.step_bytes, "dispatches": dispatches}),
            );
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

pub async fn training(
    options: &SuiteOptions,
    rates: &Map<String, Value>,
    found: &mut Findings<'_>,
) -> Result<()> {
    let shapes: &[TrainShape] = match (options.quick, &options.browser) {
        (true, _) => &[TrainShape::Tiny, TrainShape::Small],
        (false, Some(_)) => &[TrainShape::Small, TrainShape::M5, TrainShape::M78],
        (false, None) => &[TrainShape::M5, TrainShape::M78, TrainShape::M350],
    };
    let f16 = !options.without_gpu && rates::products(&open(true).await?).len() > 1;
    let fastest = fastest_product(rates);
    let precisions: &[bool] = if f16 { &[false, true] } else { &[false] };
    let long_enough = 4.0 * seconds(options);
    for shape in shapes {
        for mixed in precisions {
            let precision = if *mixed { "f16" } else { "f32" };
            let what = format!("{} in {precision}", shape.name());
            // A step that warms up and one that is measured, at a tenth of the fastest product's
            // rate.
            let step = training::flops_per_step(*shape) / (fastest / 10.0).max(1.0);
            if !found.fits(&what, long_enough + 2.0 * step) {
                continue;
            }
            let backend: Box<dyn Backend> = match options.without_gpu {
                true => Box::new(CpuBackend::new(0)),
                false => Box::new(open(*mixed).await?),
            };
            let enough = |_, took| took >= long_enough;
            let mut tell = |line: &str| found.say(line);
            let measured = training::train(backend, *shape, None, enough, &mut tell).await;
            let m = match measured {
                Ok(m) => m,
                // One that does not fit into this device's memory is no fault.
                Err(e) => {
                    found.say(&format!("{what}: {e}"));
                    found.push(
                        "speeds",
                        json!({"shape": shape.name(), "precision": precision, "error": e.to_string()}),
                    );
                    continue;
                }
            };
            let speed = m.tokens_per_second();
            found.say(&format!("{what}: {speed:.0} tok/s"));
            found.push(
                "speeds",
                json!({"shape": shape.name(), "precision": precision, "parameters": m.parameters,
                    "tokens_per_second": speed, "seconds_per_step": m.seconds / m.steps as f64,
                    "flops_per_token": m.flops_per_token, "planned_bytes": m.planned_bytes, "loss": m.loss}),
            );
        }
    }
    Ok(())
}
