//! `?bench`: the page measures this device and compares its GPU with the CPU.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, stage};
use serde_json::{Value, json};

use crate::START;
use crate::look::{picture, sound_layout};

/// On a GPU in software, on a busy machine.
const MEASURED: Duration = Duration::from_secs(480);
const ENDED: &str = "document.querySelector('#bench-state')?.dataset.running == 'false' && \
     document.querySelector('#bench-state').innerText.startsWith('Done')";
/// With tables; what a part is called in the report.
const COMPARED: [&str; 3] = ["operations", "text", "training-steps"];
const MEASURES: [&str; 3] = ["rates", "inference", "training"];

/// A form that is wrong: one of the product's four sums is off by a hundredth.
const WRONG: &str = "{ const make = GPUDevice.prototype.createShaderModule; \
     GPUDevice.prototype.createShaderModule = function (what) { \
       if (what.label != 'float_gemm_ternary') return make.call(this, what); \
       const code = what.code.replace(/sums0 *[+]= *(input_tile.xi.) *[*] *ws/, 'sums0 += 1.01 * $1 * ws'); \
       if (code == what.code) throw new Error('nothing was planted'); \
       return make.call(this, { ...what, code }); }; }";
const WITHOUT_GPU: &str = "Object.defineProperty(navigator, 'gpu', { value: undefined });";
/// The worker that is to look at the adapter dies.
const CRASHING: &str = "addEventListener('message', ({ data }) => { \
     if (data?.request?.Task?.Measure?.part == 'adapter') throw new Error('planted crash'); });";

fn open(address: &str) -> Result<Page> {
    let page = stage()?.browser.open(address)?;
    page.emulate(1280, 800, "light")?;
    page.wait_for("document.querySelector('#bench-state')", START)?;
    Ok(page)
}

fn open_altered(folder: &str, prelude: &str) -> Result<Page> {
    let address = stage()?.altered(folder, prelude)?;
    open(&format!("{address}?bench&quick"))
}

fn state(page: &Page, part: &str) -> Result<Value> {
    page.evaluate(&format!(
        "document.querySelector('#part-{part}').dataset.state"
    ))
}

fn rows(page: &Page, part: &str) -> Result<u64> {
    let rows = page.evaluate(&format!(
        "document.querySelectorAll('#part-{part} tbody tr').length"
    ))?;
    rows.as_u64().context("no number")
}

/// The report as it is copied, and as it is saved.
fn reports(page: &Page) -> Result<(String, Value)> {
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: text => { window.copied = text; return Promise.resolve(); } } })",
    )?;
    page.click("#copy-report")?;
    page.wait_for("window.copied", START)?;
    page.wait_for(
        "document.querySelector('#copy-report').innerText == 'Copied'",
        START,
    )?;
    let copied = page.evaluate("copied")?;
    let (name, bytes) = crate::explorer::saved(page, "#save-report")?;
    ensure!(name == "report.json", "{name}");
    let copied = copied.as_str().context("nothing was copied")?.to_owned();
    Ok((copied, serde_json::from_slice(&bytes)?))
}

#[test]
fn every_part_ends_and_agrees() -> Result<()> {
    let page = open(&format!("{}/?bench&quick", stage()?.server.origin()))?;
    page.assert_accessible()?;
    page.wait_for(ENDED, MEASURED)?;
    eprintln!("{}", page.text("main")?);
    let told = page.text("#bench-state")?;
    ensure!(told.contains("agrees with the CPU"), "{told}");
    for part in COMPARED.iter().chain(&MEASURES).chain(&["adapter"]) {
        let state = state(&page, part)?;
        ensure!(state == "done", "{part}: {state}");
        ensure!(
            *part == "adapter" || rows(&page, part)? > 0,
            "{part} has no table"
        );
    }
    let (copied, report) = reports(&page)?;
    for part in [
        "| operation | comparisons |",
        "| product | size | TFLOP/s |",
        "| 5M | decode |",
        "| tiny | f32 |",
        "All that was compared agrees",
        "Chrome/",
    ] {
        ensure!(copied.contains(part), "{part:?} is not in {copied}");
    }
    ensure!(
        report["quick"] == true && report["complete"] == true && report["failures"] == json!([]),
        "{report}"
    );
    let found = &report["parts"]["operations"];
    ensure!(
        found["compared"].as_u64() > Some(100) && found["wrong"].is_null(),
        "{found}"
    );
    let text = &report["parts"]["text"]["prompts"][0];
    ensure!(text["tokens"] == 16, "{text}");
    ensure!(
        report["parts"]["training-steps"]["gpu"]
            .as_array()
            .is_some_and(|losses| losses.len() == 20)
    );
    let speed = &report["parts"]["inference"]["speeds"][0];
    ensure!(
        speed["floor_ms"].as_f64() > Some(0.0) && speed["times_floor"].as_f64() > Some(0.0),
        "{speed}"
    );
    for (device, width, height) in [
        ("wide", 1440, 900),
        ("phone", 390, 844),
        ("narrow", 320, 640),
    ] {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            picture(&page, &format!("bench-{device}-{scheme}"))?;
            page.assert_accessible()?;
        }
        sound_layout(&page)?;
    }
    page.assert_clean()
}

/// A form that computes something else is found and named, and the parts after it run. There is no
/// model in this copy of the page, which is a failure of its own.
#[test]
fn a_wrong_form_is_found() -> Result<()> {
    let page = open_altered("wrong-form", WRONG)?;
    page.wait_for(ENDED, MEASURED)?;
    let told = page.text("#bench-state")?;
    ensure!(told.contains("2 parts failed"), "{}", page.text("main")?);
    ensure!(state(&page, "operations")? == "failed" && state(&page, "text")? == "failed");
    for part in MEASURES {
        ensure!(state(&page, part)? == "done", "{part}");
    }
    let (copied, report) = reports(&page)?;
    ensure!(
        copied.contains("Not all is well") && copied.contains("differ from the CPU's"),
        "{copied}"
    );
    let wrong = report["parts"]["operations"]["wrong"].as_array();
    let wrong = wrong.context("nothing was found to be wrong")?;
    for outcome in wrong {
        ensure!(
            outcome["form"] == "tiles"
                && outcome["operation"]
                    .as_str()
                    .is_some_and(|name| name.contains("linear")),
            "{outcome}"
        );
    }
    picture(&page, "bench-wrong")?;
    page.assert_accessible()
}

/// Without WebGPU the page says so, and measures the CPU.
#[test]
fn without_webgpu_the_cpu_is_measured() -> Result<()> {
    let page = open_altered("bench-no-gpu", WITHOUT_GPU)?;
    page.wait_for(ENDED, MEASURED)?;
    let told = page.text("#bench-state")?;
    ensure!(told.contains("WebGPU is not available"), "{told}");
    for part in COMPARED {
        ensure!(state(&page, part)? == "left-out", "{part}");
    }
    for part in MEASURES {
        ensure!(
            state(&page, part)? == "done" && rows(&page, part)? > 0,
            "{part}"
        );
    }
    let (copied, report) = reports(&page)?;
    ensure!(
        copied.contains("The CPU was measured") && !copied.contains("agrees"),
        "{copied}"
    );
    ensure!(report["failures"] == json!([]), "{report}");
    picture(&page, "bench-no-gpu")?;
    page.assert_accessible()?;
    page.assert_clean()
}

/// A worker that dies costs its part; what runs can be stopped, and run again.
#[test]
fn a_crash_is_survived_and_a_stop_heeded() -> Result<()> {
    let page = open_altered("bench-crashing", CRASHING)?;
    page.wait_for(
        "document.querySelector('#part-rates').dataset.state == 'running'",
        START,
    )?;
    ensure!(state(&page, "adapter")? == "failed");
    let why = page.text("#part-adapter")?;
    ensure!(why.contains("planted crash"), "{why}");
    page.click("#stop-bench")?;
    page.wait_for("document.querySelector('#run-again')", START)?;
    let told = page.text("#bench-state")?;
    ensure!(told.starts_with("Stopped."), "{told}");
    page.wait_for_no_worker("full-worker", START)?;
    let (_, report) = reports(&page)?;
    ensure!(report["complete"] == false, "{report}");
    page.click("#run-again")?;
    page.wait_for("document.querySelector('#stop-bench')", START)
}
