//! The bit-map explorer: from the whole model down to a weight, other precisions and what they
//! cost, another file beside.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, onebit, scratch};
use serde_json::{Value, json};

use crate::look::{picture, sound_layout};
use crate::{FINISHED, LOADED, REPLY, START, ask, open, open_tiny};

const TEXT: &str = "Once upon a time there was a little dog. The dog had a red ball and a friend called Max. Max was a boy who \
    liked to run in the park. One day the ball was gone, and the dog was sad. Max looked under the tree, and there it was.";
pub const UP: &str = "[data-parameter='model.layers.1.mlp.up_proj.weight']";

pub fn explore(page: &Page) -> Result<()> {
    page.click("input[name=mode][value=map]")?;
    // The full worker takes the model over.
    page.wait_for(
        &format!("document.querySelector('.grid') && {LOADED}"),
        START,
    )
}

pub fn inspect(page: &Page, cell: &str) -> Result<()> {
    page.click(cell)?;
    page.wait_for(
        &format!(
            "document.querySelector('.matrix')?.dataset.open == document.querySelector(\"{cell}\").dataset.parameter \
             && document.querySelector('#weights')"
        ),
        START,
    )
}

/// The text that a page saved under `name` when `button` was clicked.
pub fn saved(page: &Page, button: &str) -> Result<(String, Vec<u8>)> {
    page.evaluate(
        "window.saved = undefined; HTMLAnchorElement.prototype.click = function () { const name = this.download; window.caught.then(text => { window.saved = [name, text]; }); }; \
         URL.createObjectURL = blob => { window.caught = blob.arrayBuffer().then(b => { let s = ''; for (const x of new Uint8Array(b)) s += String.fromCharCode(x); return btoa(s); }); return '#'; }; \
         URL.revokeObjectURL = () => {}",
    )?;
    page.click(button)?;
    page.wait_for("window.saved", REPLY)?;
    let saved = page.evaluate("saved")?;
    let bytes = saved[1].as_str().context("no bytes")?;
    let name = saved[0].as_str().context("no name")?.to_owned();
    Ok((name, page_tests::decode(bytes)?))
}

pub fn temporary(name: &str, content: &[u8]) -> Result<PathBuf> {
    let file = scratch().join(name);
    fs::write(&file, content)?;
    Ok(file)
}

/// A color of the style sheet, as a number.
fn color(name: &str) -> String {
    format!(
        "parseInt(getComputedStyle(document.querySelector('#weights')).getPropertyValue('{name}').trim().slice(1), 16)"
    )
}

/// Whether the matrix is drawn in that color among others.
pub fn has_color(name: &str) -> String {
    format!(
        "(() => {{ const c = document.querySelector('#weights'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
         const color = {}; \
         return Array.from({{ length: d.length / 4 }}, (_, i) => d[4 * i] << 16 | d[4 * i + 1] << 8 | d[4 * i + 2]).includes(color); }})()",
        color(name)
    )
}

#[test]
fn weights_are_seen_one_by_one() -> Result<()> {
    let page = open("?device=cpu")?;
    explore(&page)?;
    let cells = page.evaluate("document.querySelectorAll('.cell').length")?;
    ensure!(cells == 6 * 7 + 1, "{cells} cells");
    inspect(&page, UP)?;
    let shares = page.text(".shares")?;
    ensure!(shares.contains('−') && shares.contains("+1"), "{shares}");
    // Down to where weights carry their values, then along with the keyboard.
    for _ in 0..6 {
        page.click("#zoom-in")?;
    }
    page.evaluate("document.querySelector('#weights').focus()")?;
    for _ in 0..3 {
        page.press("ArrowRight")?;
    }
    page.press("ArrowDown")?;
    page.wait_for(
        "document.querySelector('#weight-at').innerText.startsWith('Row 1, column 3:')",
        START,
    )?;
    // The same weight as the file has it.
    let (row, column) = (1, 3);
    let shown = page.text("#weight-at")?;
    let code = onebit::code(
        &page_tests::stage()?.shipped,
        "model.layers.1.mlp.up_proj.weight",
        row,
        column,
    )?;
    ensure!(
        shown.contains(&format!(": {code:+} × ")),
        "{shown} but {code}"
    );
    // Three kinds of weights, their values and the one pointed at.
    page.wait_for(
        "(() => { const c = document.querySelector('#weights'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
         return new Set(Array.from({ length: d.length / 4 }, (_, i) => d[4 * i] << 16 | d[4 * i + 1] << 8 | d[4 * i + 2])).size > 5; })()",
        START,
    )?;
    // Drawn anew in the colors of the other scheme.
    page.emulate(1280, 1400, "light")?;
    page.wait_for(&has_color("--zero"), START)?;
    let light = page.evaluate(&color("--zero"))?;
    page.prefer("prefers-color-scheme", "dark")?;
    page.wait_for(&has_color("--zero"), START)?;
    ensure!(page.evaluate(&color("--zero"))? != light, "{light} in both");
    for (width, height, device) in [(1280, 1400, "desktop"), (390, 844, "phone")] {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            page.evaluate("document.querySelector('#explorer').scrollTo(0, 0)")?;
            picture(&page, &format!("explorer-{device}-{scheme}"))?;
            sound_layout(&page)?;
            page.assert_accessible()?;
        }
    }
    page.assert_clean()
}

#[test]
fn another_precision_is_measured_saved_and_used() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    page.set_field("#measure-text", TEXT)?;
    page.click("#measure")?;
    page.wait_for(
        "document.querySelectorAll('#measured tbody tr').length == 1",
        REPLY,
    )?;
    let before = page.text("#map-size")?;
    inspect(&page, UP)?;
    page.click("input[name=matrix-mode][value=binary]")?;
    page.wait_for(
        &format!("document.querySelector(\"{UP}\").classList.contains('binary')"),
        START,
    )?;
    let after = page.text("#map-size")?;
    ensure!(after.contains("-"), "{before} then {after}");
    page.click("#measure")?;
    page.wait_for(
        "document.querySelectorAll('#measured tbody tr').length == 2",
        REPLY,
    )?;
    let perplexity = "[...document.querySelectorAll('.perplexity')].map(e => Number(e.innerText))";
    let measured = page.evaluate(perplexity)?;
    ensure!(
        measured[0] != measured[1] && measured[0].as_f64() > Some(1.0),
        "{measured}"
    );

    // The page's figure is the command line's.
    let (name, map) = saved(&page, "#save-map")?;
    ensure!(name == "bit-map.json");
    let told: Value = serde_json::from_slice(&map)?;
    ensure!(told["layer_modes"][1]["up"] == "binary", "{told}");
    let map = temporary("edited.json", &map)?;
    let text = temporary("measured.txt", TEXT.as_bytes())?;
    let native = onebit::perplexity(onebit::tiny_model()?, &map, &text)?;
    let shown = measured[0].as_f64().unwrap_or_default();
    eprintln!("perplexity {shown} in the page, {native} natively");
    ensure!(
        (shown - native).abs() < 1e-3 * native,
        "{shown} and {native}"
    );

    // The file holds what was measured, and answers natively as the page does.
    let (name, bytes) = saved(&page, "#export-map")?;
    ensure!(name == "tiny.1bit", "{name}");
    let file = temporary("exported.1bit", &bytes)?;
    page.click("#apply-map")?;
    page.wait_for("document.querySelector('#apply-map').disabled && !document.querySelector('#load-progress')", START)?;
    crate::continue_greedily(&page, 24)?;
    ask(&page, "Once upon a time")?;
    page.wait_for(FINISHED, REPLY)?;
    let reply = page.text(crate::LAST_REPLY)?;
    let native = onebit::greedy(&file, "Once upon a time", 24)?;
    ensure!(native.ends_with(&reply), "{reply:?} and {native:?}");
    page.assert_clean()
}

#[test]
fn another_file_is_compared_and_choices_are_undone() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    inspect(&page, UP)?;
    page.click("input[name=matrix-mode][value=binary]")?;
    let (_, bytes) = saved(&page, "#export-map")?;
    page.click("#undo-map")?;
    page.wait_for(
        &format!("document.querySelector(\"{UP}\").classList.contains('ternary')"),
        START,
    )?;
    let file = temporary("beside.1bit", &bytes)?;
    page.choose_file("[data-for=compare]", &file)?;
    page.wait_for("document.querySelector('#compared')", START)?;
    let told = page.text("#compared")?;
    ensure!(told.contains("Tiny differs in 32,768 of "), "{told}");
    ensure!(
        page.evaluate(&format!(
            "document.querySelectorAll('{} .changed').length",
            ".cell"
        ))?
        .as_u64()
            > Some(1)
    );
    picture(&page, "explorer-compared")?;
    page.assert_clean()
}

/// What `onebit search` found is shown, point by point.
#[test]
fn a_searchs_result_is_explored() -> Result<()> {
    let page = open_tiny()?;
    let layer = |mode: &str| json!([mode, mode, mode, mode]);
    let map =
        |mode: &str| json!({ "embedding": "f16", "layer_modes": layer(mode), "lm_head": "f16" });
    let entry = |mode: &str, bytes: u64, perplexity: f64| json!({ "layer_bit_map": map(mode), "perplexity": perplexity, "size_bytes": bytes });
    let all = [
        entry("binary", 300_000, 14.0),
        entry("ternary", 400_000, 9.5),
        entry("eightbit", 900_000, 9.4),
        entry("f16", 1_500_000, 9.45),
    ];
    let result = json!({
        "version": 1, "layer_bit_map": map("ternary"), "perplexity": 9.5, "size_bytes": 400_000, "satisfied": true,
        "pareto_front": &all[..3], "evaluations": all,
        "settings": { "max_perplexity": 10.0, "max_bytes": null, "max_evals": 4, "seed": 1 },
        "seed": 1, "sample_tokens": 100, "validation_tokens": 100,
    });
    let file = temporary("search_result.json", result.to_string().as_bytes())?;
    page.drop_file(&file)?;
    page.wait_for(
        "document.querySelectorAll('#front .front').length == 3",
        START,
    )?;
    page.click("#front .front")?;
    page.wait_for(
        &format!("document.querySelector(\"{UP}\").classList.contains('binary')"),
        START,
    )?;
    page.evaluate("document.querySelector('#front').scrollIntoView()")?;
    picture(&page, "explorer-front")?;
    page.click("#preset-found")?;
    page.wait_for(
        &format!("document.querySelector(\"{UP}\").classList.contains('ternary')"),
        START,
    )?;
    // One that does not fit is refused in words.
    let bad = json!({ "embedding": "f16", "layer_modes": ["ternary"], "lm_head": "f16" });
    page.drop_file(&temporary("bad-map.json", bad.to_string().as_bytes())?)?;
    page.wait_for(
        "document.querySelector('.notice')?.innerText.includes('bad-map.json')",
        START,
    )?;
    ensure!(
        page.text(".notice .detail")?.contains('4'),
        "{}",
        page.text(".notice .detail")?
    );
    page.assert_clean()
}
