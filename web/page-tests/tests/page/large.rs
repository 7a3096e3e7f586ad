//! A large model passes through the page without being in its memory more often than it must.
//! `ONEBIT_LARGE_MODEL` may name a `.1bit` of a gigabyte, e.g. what `onebit import` makes of the
//! folder that `cargo run --release -p ternary-core --example random_bitnet -- FOLDER` writes;
//! without it two layers of the same widths are taken, 0.2 GB.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use page_tests::{onebit, scratch};

use super::{FINISHED, LAST_REPLY, open};

const LOADING: Duration = Duration::from_secs(400);
/// A gigabyte takes minutes on a GPU in software.
const ANSWER: Duration = Duration::from_secs(1500);

fn large_model() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("ONEBIT_LARGE_MODEL") {
        return Ok(PathBuf::from(named));
    }
    let (folder, model) = (scratch().join("large"), scratch().join("large.1bit"));
    if !model.exists() {
        onebit::random_bitnet(&folder, 2, 32_768)?;
        std::fs::rename(onebit::import(&folder, "f16")?, &model)?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(model)
}

/// Loads the file on `device` and has it answer with two tokens. Returns the megabytes that the
/// worker's program has held, and those of the weights and the cache.
fn answer(device: &str) -> Result<(f64, f64)> {
    let file = large_model()?;
    let page = open(&format!("?model=tiny.1bit&device={device}"))?;
    let start = Instant::now();
    page.drop_file(&file)?;
    let name = "document.querySelector('.model-name')?.innerText";
    page.wait_for(
        &format!(
            "{name} && {name} != 'Tiny' && !document.querySelector('#load-progress') || document.querySelector('.notice')"
        ),
        LOADING,
    )?;
    ensure!(
        page.evaluate("!document.querySelector('.notice')")? == true,
        page.text(".notice .detail")?
    );
    let loaded = start.elapsed().as_secs_f64();
    page.set_field("#temperature", "0")?;
    page.set_field("#max-tokens", "2")?;
    page.click("input[name=mode][value=text]")?;
    page.click("#prompt")?;
    page.type_text("Once")?;
    page.press("Enter")?;
    page.wait_for(
        &format!("document.querySelector('.notice') || {FINISHED}"),
        ANSWER,
    )?;
    page.assert_clean()?;
    let megabytes = |term: &str| -> Result<f64> {
        let find = format!(
            "[...document.querySelectorAll('dl > div')].find(d => d.textContent.startsWith({term:?})).querySelector('dd').textContent"
        );
        let text = page.evaluate(&find)?;
        let text = text.as_str().context("no text")?;
        let (number, unit) = text.split_once([' ', '\u{a0}']).context("no unit")?;
        let number: f64 = number.replace(',', "").parse()?;
        Ok(number * if unit == "GB" { 1e3 } else { 1.0 })
    };
    let held = megabytes("Worker's memory")?;
    let model = megabytes("Weights in memory")? + megabytes("Cache of a full context")?;
    eprintln!(
        "{device}: loaded in {loaded:.1} s, answer after {:.1} s: {:?}; the worker held {held} MB, weights and cache take {model} MB",
        start.elapsed().as_secs_f64(),
        page.text(LAST_REPLY)?,
    );
    Ok((held, model))
}

#[test]
fn a_large_model_passes_through_to_the_gpu() -> Result<()> {
    let (held, _) = answer("gpu")?;
    ensure!(held < 100.0, "{held} MB");
    Ok(())
}

#[test]
fn a_large_model_is_in_memory_once_on_the_cpu() -> Result<()> {
    let (held, model) = answer("cpu")?;
    ensure!(held < model + 100.0, "{held} MB for {model} MB");
    Ok(())
}
