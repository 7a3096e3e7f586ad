//! Imports of the hub that do not end: by a reload, with their tab, with their network, by a
//! click. What is written of them stays, and only the rest is fetched later.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page_tests::published::{self, Shape};
use page_tests::{Page, Served, onebit, stage};
use serde_json::json;

use crate::catalogue::{catalogue, get, hub, open_models};
use crate::import::{ASKED, OVER, STORED, equal};
use crate::look::{picture, sound_layout};
use crate::{LOADED, REPLY, START};

/// What the page asks for at a time.
const BLOCK: usize = 4 << 20;
/// Between two notes of what is written lies less than this of the source, with the block in which
/// it ends and what was on its way.
const AGAIN: usize = 4 * BLOCK;
/// After every piece that the hub sends, from near the middle on, as long as an import is to be met
/// there.
const SLOWLY: Duration = Duration::from_millis(15);
const WEIGHTS: &str = "model.safetensors";
const OFFERED: &str = "document.querySelector('#unfinished')?.checkVisibility()";
const SHAPE: Shape = Shape {
    hidden: 512,
    ffn: 1408,
    layers: 4,
    vocab: 400,
};

fn far(share: f64) -> String {
    format!("document.querySelector('#import-progress')?.value > {share}")
}

/// A folder of this name with a model.
fn model(name: &str) -> Result<PathBuf> {
    let folder = published::folder(name)?;
    published::write(&folder, SHAPE, json!({}))?;
    Ok(folder)
}

/// Puts a folder's files at the hub; weights come slowly.
fn publish(repo: &str, folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, fs::read(entry.path())?));
    }
    let named = files
        .iter()
        .map(|(name, content)| (&**name, content.clone()));
    hub()?.add(repo, "mit", named.collect())?;
    for (name, content) in files {
        if name.ends_with(".safetensors") {
            serve(repo, &name, content, SLOWLY)?;
        }
    }
    Ok(())
}

fn serve(repo: &str, name: &str, content: Vec<u8>, pause: Duration) -> Result<()> {
    let served = Served {
        quick: content.len() * 3 / 10,
        content,
        pause,
        ..Served::default()
    };
    hub()?.serve(repo, name, served)
}

/// From here on the weights come as fast as they can.
fn hurry(repo: &str, folder: &Path, weights: &[&str]) -> Result<()> {
    for name in weights {
        serve(repo, name, fs::read(folder.join(name))?, Duration::ZERO)?;
    }
    Ok(())
}

/// A page whose import of a repository is half done.
fn half_done(repo: &str, head: Option<&str>) -> Result<Page> {
    let page = open_models()?;
    begin(&page, repo, head)?;
    Ok(page)
}

/// Imports half of a repository.
fn begin(page: &Page, repo: &str, head: Option<&str>) -> Result<()> {
    page.allow(hub()?.origin())?;
    get(page, repo)?;
    page.wait_for("document.querySelector('#hub-question')", START)?;
    page.click("#allow-hub")?;
    page.wait_for(ASKED, REPLY)?;
    if let Some(head) = head {
        page.set_field("#import-head", head)?;
    }
    page.click("#start-import")?;
    page.wait_for(&far(0.45), REPLY)
}

/// Goes on with what the page offers, until its model is there.
fn go_on(page: &Page, name: &str) -> Result<()> {
    page.wait_for(&format!("{LOADED} && {OFFERED}"), START)?;
    page.click("#finish-import")?;
    finished(page, name)
}

fn finished(page: &Page, name: &str) -> Result<()> {
    page.wait_for(
        &format!(
            "document.querySelector('.notice') || ({OVER} && {LOADED} && document.querySelector(\"[aria-label='Save {name}.1bit as a file']\")?.checkVisibility())"
        ),
        REPLY,
    )?;
    let notice = page.evaluate("document.querySelector('.notice')?.innerText ?? ''")?;
    ensure!(notice == "", "{notice}");
    Ok(())
}

/// Bytes that the hub was asked for, of a file, from the request with this number on.
fn asked_since(repo: &str, name: &str, first: usize) -> Result<usize> {
    let asked = hub()?.asked(repo, name);
    Ok(asked.iter().skip(first).map(|asked| asked.bytes).sum())
}

/// The reader's choices are kept with what is there; the parts of the map that are there are seen.
#[test]
fn an_import_goes_on_after_a_reload() -> Result<()> {
    const REPO: &str = "tests/goes-on";
    let folder = model("goes-on")?;
    publish(REPO, &folder)?;
    let _turn = catalogue(&[])?;
    let page = half_done(REPO, Some("eightbit"))?;
    let filled = "[...document.querySelectorAll('#import .part')].map(e => e.style.getPropertyValue('--here'))";
    let cells = page.evaluate(&format!(
        "(() => {{ const here = {filled}; return [here.length, here.filter(h => h == '100%').length, here.filter(h => h == '0%').length]; }})()"
    ))?;
    eprintln!("matrices, those that are there, those that are not: {cells}");
    ensure!(cells[0] == 1 + 4 * 7, "{cells}");
    ensure!(
        cells[1].as_u64() > Some(8) && cells[2].as_u64() > Some(8),
        "{cells}"
    );
    page.reload()?;
    let before = hub()?.asked(REPO, WEIGHTS);
    // Glances at first rows are not what comes.
    let blocks = before.iter().filter(|asked| asked.bytes == BLOCK);
    let came = blocks.map(|asked| asked.from).max().unwrap_or(0);
    page.wait_for(&format!("{LOADED} && {OFFERED}"), START)?;
    let offer = page.text("#unfinished")?;
    let row = page.text("#kept li:has(.kept-of)")?;
    eprintln!("{offer}\n{row}");
    ensure!(
        offer.contains("MB of ") && row.contains("MB of "),
        "{offer}\n{row}"
    );
    for (device, width, height) in [("desktop", 1280, 800), ("phone", 390, 844)] {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            picture(&page, &format!("unfinished-{device}-{scheme}"))?;
        }
        sound_layout(&page)?;
    }
    page.emulate(1280, 800, "light")?;
    page.assert_accessible()?;
    ensure!(
        hub()?.asked(REPO, WEIGHTS).len() == before.len(),
        "the hub was asked before the reader was"
    );

    hurry(REPO, &folder, &[WEIGHTS])?;
    go_on(&page, "goes-on")?;
    let all = fs::metadata(folder.join(WEIGHTS))?.len() as usize;
    let again = asked_since(REPO, WEIGHTS, before.len())?;
    eprintln!("{all} bytes; {came} came before the reload, {again} after it");
    ensure!(
        came > all / 4 && again <= all - came + AGAIN,
        "too much came twice"
    );
    equal(&page, "goes-on", &onebit::import(&folder, "eightbit")?)?;
    ensure!(page.evaluate(OFFERED)?.is_null());
    page.wait_for(&format!("{STORED}.then(stored => stored == 2)"), START)?;
    page.assert_clean()
}

/// Of several files; another tab does not offer it before this one is gone.
#[test]
fn an_import_goes_on_in_another_tab() -> Result<()> {
    const REPO: &str = "tests/other-tab";
    let folder = model("other-tab")?;
    published::shard(&folder)?;
    publish(REPO, &folder)?;
    let _turn = catalogue(&[])?;
    let page = open_models()?;
    let address = format!("{}/?model=tiny.1bit&device=cpu", stage()?.server.origin());
    let other = page.another(&address)?;
    other.allow(hub()?.origin())?;
    other.emulate(1280, 800, "light")?;
    other.wait_for(LOADED, START)?;
    begin(&page, REPO, None)?;
    other.reload()?;
    other.wait_for(
        &format!("{LOADED} && document.querySelector('#kept li')"),
        START,
    )?;
    ensure!(
        other.evaluate(OFFERED)?.is_null(),
        "it is under way, and offered"
    );
    ensure!(
        page.evaluate(OVER)? == false,
        "it ended before it was looked at"
    );
    let files = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    drop(page);
    hurry(REPO, &folder, &files)?;
    let before = files.map(|file| hub().map(|hub| hub.asked(REPO, file).len()));
    other.reload()?;
    go_on(&other, "other-tab")?;
    let (mut all, mut again) = (0, 0);
    for (file, before) in files.into_iter().zip(before) {
        all += fs::metadata(folder.join(file))?.len() as usize;
        again += asked_since(REPO, file, before?)?;
    }
    eprintln!("{again} bytes of {all} came in the second tab");
    ensure!(again < all / 2 + AGAIN, "too much came twice");
    equal(&other, "other-tab", &onebit::import(&folder, "f16")?)?;
    other.assert_clean()
}

/// The checksum is that of the whole file, of what came at the visit before, too.
#[test]
fn what_came_damaged_before_is_refused_at_the_end() -> Result<()> {
    const REPO: &str = "tests/damaged-before";
    let folder = model("damaged-before")?;
    publish(REPO, &folder)?;
    let good = fs::read(folder.join(WEIGHTS))?;
    let mut bad = good.clone();
    // In the middle of a tensor, and behind what is read before the first.
    bad[BLOCK + 100] ^= 1;
    serve(REPO, WEIGHTS, bad, SLOWLY)?;
    let _turn = catalogue(&[])?;
    let page = half_done(REPO, None)?;
    serve(REPO, WEIGHTS, good, Duration::ZERO)?;
    page.reload()?;
    page.wait_for(&format!("{LOADED} && {OFFERED}"), START)?;
    page.click("#finish-import")?;
    page.wait_for("document.querySelector('.notice')", REPLY)?;
    let notice = page.text(".notice")?;
    ensure!(notice.contains("SHA-256"), "{notice}");
    page.wait_for(&format!("{STORED}.then(stored => stored == 1)"), START)?;
    // Another attempt has nothing to go on with, and asks nothing.
    page.click("#again")?;
    finished(&page, "damaged-before")?;
    equal(&page, "damaged-before", &onebit::import(&folder, "f16")?)
}

#[test]
fn what_is_another_file_by_now_begins_again() -> Result<()> {
    const REPO: &str = "tests/changed";
    let folder = model("changed")?;
    publish(REPO, &folder)?;
    let _turn = catalogue(&[])?;
    let page = half_done(REPO, None)?;
    let weights = folder.join(WEIGHTS);
    let mut bytes = fs::read(&weights)?;
    let last = bytes.last_mut().context("no bytes")?;
    *last ^= 1;
    fs::write(&weights, bytes)?;
    publish(REPO, &folder)?;
    let before = hub()?.asked(REPO, WEIGHTS).len();
    page.reload()?;
    page.wait_for(&format!("{LOADED} && {OFFERED}"), START)?;
    page.click("#finish-import")?;
    page.wait_for(
        "document.querySelector('.notice')?.innerText.includes('begins again')",
        START,
    )?;
    picture(&page, "begins-again-desktop-light")?;
    hurry(REPO, &folder, &[WEIGHTS])?;
    page.click("#dismiss")?;
    finished(&page, "changed")?;
    let all = fs::metadata(&weights)?.len() as usize;
    ensure!(asked_since(REPO, WEIGHTS, before)? >= all);
    equal(&page, "changed", &onebit::import(&folder, "f16")?)
}

/// What was given up, or has no network any more, is offered at once; and it can go.
#[test]
fn an_unfinished_import_can_be_thrown_away() -> Result<()> {
    const REPO: &str = "tests/thrown-away";
    let folder = model("thrown-away")?;
    publish(REPO, &folder)?;
    let _turn = catalogue(&[])?;
    let page = half_done(REPO, None)?;
    page.click("#cancel-import")?;
    page.wait_for(&format!("{OVER} && {OFFERED}"), START)?;
    // It can wait, and is among the kept models until then.
    page.click("#put-off")?;
    page.wait_for(&format!("!{OFFERED}"), START)?;
    page.click("[aria-label='Resume: thrown-away.1bit']")?;
    page.wait_for(&far(0.4), REPLY)?;
    page.click("#cancel-import")?;
    page.wait_for("document.querySelector('#kept li:has(.kept-of)')", START)?;
    page.reload()?;
    page.wait_for(&format!("{LOADED} && {OFFERED}"), START)?;
    page.click("#throw-away")?;
    page.wait_for(
        &format!("!{OFFERED} && document.querySelectorAll('#kept li').length == 1"),
        START,
    )?;
    let left = page.evaluate(
        "(async () => { const names = []; const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('models'); \
         for await (const name of folder.keys()) names.push(name); return names.length; })()",
    )?;
    ensure!(left == 2, "{left} files are left");
    page.assert_clean()
}
