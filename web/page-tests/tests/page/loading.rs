//! Models: the shipped one, a dropped one, a broken one.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use page_tests::{Served, onebit, scratch, stage};

use crate::first::SHIFTS;
use crate::look::picture;
use crate::{FEW, FINISHED, LAST_REPLY, LOADED, REPLY, START, ask, open, open_tiny};

#[test]
fn the_shipped_model_loads_by_itself() -> Result<()> {
    let page = open("")?;
    ensure!(!page.text(".model-name")?.is_empty());
    page.click("#model-info summary")?;
    ensure!(page.text("#panel dl")?.contains("Parameters"));
    ensure!(page.text(".modes")?.contains('%'));
    eprintln!("{}", page.text("#panel section:nth-child(2)")?);
    // The browser of these tests has a GPU in software only.
    ensure!(page.text(".device")?.starts_with("CPU"));
    page.assert_clean()
}

#[test]
fn a_dropped_file_replaces_the_model() -> Result<()> {
    let page = open("?device=cpu")?;
    let tiny = fs::read(onebit::tiny_model()?)?;
    let file = scratch().join("dropped.1bit");
    fs::write(&file, &tiny)?;
    page.drag_over(&file)?;
    page.wait_for("!document.querySelector('.drop-overlay').hidden", START)?;
    page.drop_file(&file)?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('.model-name').innerText == 'Tiny'"),
        START,
    )?;
    page.wait_for("document.querySelector('.drop-overlay').hidden", START)?;
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

/// Every way a file can be broken is told in words, and the model that was there goes on answering.
#[test]
fn a_broken_file_is_refused_and_the_old_model_answers() -> Result<()> {
    let page = open_tiny()?;
    let good = fs::read(onebit::tiny_model()?)?;
    let mut flipped = good.clone();
    if let Some(byte) = flipped.last_mut() {
        *byte ^= 0xff;
    }
    let broken = [
        (
            "not-a-model",
            b"<!doctype html> not a model at all".to_vec(),
        ),
        ("empty", Vec::new()),
        ("cut-short", good[..good.len() / 2].to_vec()),
        ("flipped", flipped),
    ];
    for (name, bytes) in broken {
        let file = scratch().join(format!("{name}.1bit"));
        fs::write(&file, bytes)?;
        page.drop_file(&file)?;
        page.wait_for(
            &format!("document.querySelector('.notice')?.innerText.includes('{name}.1bit')"),
            START,
        )?;
        eprintln!("{name}: {}", page.text(".notice .detail")?);
        ensure!(page.text(".model-name")? == "Tiny");
        page.click("#dismiss")?;
        page.wait_for("!document.querySelector('.notice')", START)?;
    }
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    ensure!(!page.text(LAST_REPLY)?.is_empty());
    page.assert_clean()
}

#[test]
fn a_model_without_a_chat_template_continues_texts() -> Result<()> {
    let stage = stage()?;
    stage
        .server
        .add("/plain.1bit", fs::read(onebit::plain_model()?)?)?;
    let page = open("?model=plain.1bit&device=cpu")?;
    ensure!(
        page.evaluate("document.querySelector('input[name=mode][value=text]').checked")? == true
    );
    ensure!(
        page.evaluate("document.querySelector('input[name=mode][value=chat]').disabled")? == true
    );
    ask(&page, "Once upon a time")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

#[test]
fn an_engine_that_dies_is_started_again() -> Result<()> {
    let stage = stage()?;
    let address = stage.altered("dying", "throw new Error('out of memory, say');")?;
    let page = stage
        .browser
        .open(&format!("{address}?model=tiny.1bit&device=cpu"))?;
    page.wait_for(
        "document.querySelector('.notice')?.innerText.includes('out of memory, say')",
        START,
    )?;
    stage.altered("dying", "")?;
    page.click("#restart")?;
    page.wait_for(LOADED, START)?;
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)
}

#[test]
fn another_sites_model_is_not_asked_for() -> Result<()> {
    let stage = stage()?;
    let elsewhere = stage.server.origin().replace("127.0.0.1", "localhost");
    let page = stage.browser.open(&format!(
        "{}/?device=cpu&model={elsewhere}/tiny.1bit",
        stage.server.origin()
    ))?;
    page.wait_for(
        "document.querySelector('.notice')?.innerText.includes('another site')",
        START,
    )?;
    page.assert_clean()
}

#[test]
fn the_device_can_be_changed() -> Result<()> {
    let page = open_tiny()?;
    ensure!(page.text(".device")?.starts_with("CPU"));
    page.click("input[name=device][value=gpu]")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('.device').dataset.kind == 'gpu'"),
        START,
    )?;
    eprintln!("{}", page.text(".device")?);
    // The keyboard stays where it was.
    ensure!(page.evaluate("document.activeElement.value")? == "gpu");
    page.set_field("#max-tokens", FEW)?;
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

/// While a model is downloaded and loaded, its matrices fill in the order in which their bytes
/// come, and nothing else moves.
#[test]
fn matrices_fill_as_their_bytes_come() -> Result<()> {
    const PATH: &str = "/arriving.1bit";
    let stage = stage()?;
    let slow = Served {
        content: fs::read(&stage.shipped)?,
        tag: Some("\"arriving\"".to_owned()),
        pause: Duration::from_millis(80),
        ..Served::default()
    };
    stage.server.serve(PATH, slow)?;
    let page = stage.browser.open(&format!(
        "{}/?model={}&device=cpu",
        stage.server.origin(),
        &PATH[1..]
    ))?;
    page.evaluate(
        "window.seen = []; setInterval(() => { \
           const parts = [...document.querySelectorAll('.arrival .part')].map(e => parseFloat(e.style.getPropertyValue('--here'))); \
           if (parts.length) seen.push(parts); }, 20)",
    )?;
    page.emulate(1280, 800, "light")?;
    let half = "window.seen?.at(-1)?.filter(part => part == 100).length > 18";
    page.wait_for(half, START)?;
    picture(&page, "arriving-desktop-light")?;
    page.emulate(1280, 800, "dark")?;
    picture(&page, "arriving-desktop-dark")?;
    page.emulate(390, 844, "light")?;
    picture(&page, "arriving-phone-light")?;
    page.prefer("prefers-reduced-motion", "reduce")?;
    let shown = "getComputedStyle(document.querySelector('.arrival')).display";
    ensure!(page.evaluate(shown)? == "none");
    page.assert_accessible()?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    let seen: Vec<Vec<f64>> = serde_json::from_value(page.evaluate("seen")?)?;
    // Six layers of seven, and the embedding.
    ensure!(seen.iter().all(|parts| parts.len() == 43), "{seen:?}");
    let in_order = |parts: &Vec<f64>| parts.is_sorted_by(|before, after| before >= after);
    ensure!(seen.iter().all(in_order), "{seen:?}");
    let under_way = |parts: &&Vec<f64>| parts[0] == 100.0 && parts[42] == 0.0;
    ensure!(seen.iter().filter(under_way).count() > 5, "{seen:?}");

    // As browsers measure what jumps.
    for width in [1440, 390] {
        let path = format!("/arriving-{width}.1bit");
        let slow = Served {
            content: fs::read(&stage.shipped)?,
            pause: Duration::from_millis(30),
            ..Served::default()
        };
        stage.server.serve(&path, slow)?;
        page.emulate(width, 844, "light")?;
        page.leave(&format!(
            "location.href = '{}{path}'",
            format_args!("{}/?device=cpu&model=", stage.server.origin())
        ))?;
        page.wait_for("document.querySelector('.arrival .part')", START)?;
        page.wait_for(LOADED, START)?;
        let shifts = page.evaluate(SHIFTS)?;
        let all = shifts.as_array().into_iter().flatten();
        let sum: f64 = all.filter_map(|shift| shift[0].as_f64()).sum();
        ensure!(sum < 0.1, "{width} wide: {shifts}");
    }
    page.assert_clean()
}
