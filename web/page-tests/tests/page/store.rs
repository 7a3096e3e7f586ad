//! Models kept in the browser: downloads that are interrupted, damaged, given up, wanted twice;
//! files that stay.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, Served, onebit, scratch, stage};

use crate::look::{picture, sound_layout};
use crate::{FINISHED, LOADED, REPLY, START, ask};

const KEPT: &str = "document.querySelectorAll('#kept li').length";
/// Long enough to be met in the middle.
const SLOW: Duration = Duration::from_millis(400);

/// The tiny model as the server has it under a name of this test's.
fn served(tag: &str) -> Result<Served> {
    Ok(Served {
        content: fs::read(onebit::tiny_model()?)?,
        tag: Some(format!("\"{tag}\"")),
        ..Served::default()
    })
}

/// The page with a model at `path`, without waiting for it.
fn begin(path: &str) -> Result<Page> {
    let stage = stage()?;
    let page = stage.browser.open(&address(path)?)?;
    page.emulate(1280, 800, "light")?;
    Ok(page)
}

fn address(path: &str) -> Result<String> {
    Ok(format!(
        "{}/?model={}&device=cpu",
        stage()?.server.origin(),
        path.trim_start_matches('/')
    ))
}

/// What was asked of `path` with GET: where each answer was to begin.
fn fetched_from(path: &str) -> Result<Vec<usize>> {
    let asked = stage()?.server.asked(path);
    let gets = asked.iter().filter(|asked| asked.method == "GET");
    Ok(gets.map(|asked| asked.from).collect())
}

fn answers(page: &Page) -> Result<()> {
    ask(page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)
}

#[test]
fn a_model_is_downloaded_once() -> Result<()> {
    const PATH: &str = "/once.1bit";
    let server = &stage()?.server;
    server.serve(PATH, served("first")?)?;
    let page = begin(PATH)?;
    page.wait_for(&format!("{LOADED} && {KEPT} == 1"), START)?;
    ensure!(page.text("#kept li")?.contains("once.1bit"));
    ensure!(
        page.text("#room")?.contains("used of"),
        "{}",
        page.text("#room")?
    );
    page.reload()?;
    page.wait_for(&format!("{LOADED} && {KEPT} == 1"), START)?;
    ensure!(fetched_from(PATH)? == [0], "{:?}", fetched_from(PATH)?);
    page.assert_clean()?;

    // Its site has another version: that one comes, and stays alone.
    server.serve(PATH, served("second")?)?;
    page.reload()?;
    page.wait_for(&format!("{LOADED} && {KEPT} == 1"), START)?;
    ensure!(fetched_from(PATH)? == [0, 0], "{:?}", fetched_from(PATH)?);

    // Without its site the kept one answers.
    server.set_down(true);
    let device = page.click("input[name=device][value=auto]");
    let reloaded = page.wait_for(
        &format!("{LOADED} && document.querySelector('[aria-labelledby=device-title]').innerText.includes('software')"),
        START,
    );
    server.set_down(false);
    device?;
    reloaded?;
    ensure!(fetched_from(PATH)?.len() == 2);
    answers(&page)
}

#[test]
fn a_download_that_breaks_off_goes_on() -> Result<()> {
    const PATH: &str = "/cut.1bit";
    let server = &stage()?.server;
    server.serve(
        PATH,
        Served {
            cuts: 2,
            // What has not been read when the connection ends is lost.
            pause: Duration::from_millis(40),
            ..served("cut")?
        },
    )?;
    let page = begin(PATH)?;
    page.wait_for(LOADED, START)?;
    let from = fetched_from(PATH)?;
    ensure!(
        from.len() == 3 && from[0] == 0 && from[1] > 0 && from[2] > from[1],
        "asked from {from:?}"
    );
    answers(&page)?;

    // A server that names no version can't be continued: it begins again.
    const PLAIN: &str = "/cut-plain.1bit";
    server.serve(
        PLAIN,
        Served {
            cuts: 1,
            tag: None,
            ..served("")?
        },
    )?;
    let page = begin(PLAIN)?;
    page.wait_for(LOADED, START)?;
    ensure!(fetched_from(PLAIN)? == [0, 0], "{:?}", fetched_from(PLAIN)?);
    Ok(())
}

#[test]
fn a_download_that_was_left_goes_on_at_the_next_visit() -> Result<()> {
    const PATH: &str = "/left.1bit";
    const OTHER: &str = "/changed.1bit";
    let server = &stage()?.server;
    for path in [PATH, OTHER] {
        let slow = Served {
            pause: SLOW,
            ..served("left")?
        };
        server.serve(path, slow)?;
        let page = begin(path)?;
        page.wait_for(
            "document.querySelector('#load-progress')?.value > 0.2 && document.querySelector('.loading-pace').innerText.includes('left')",
            START,
        )?;
        page.reload()?;
        page.wait_for(
            "document.querySelector('#load-progress')?.value > 0.3",
            START,
        )?;
        ensure!(fetched_from(path)?.last().is_some_and(|from| *from > 0));

        // The rest comes at once; of a file that changed meanwhile nothing is used.
        let changed = path == OTHER;
        server.serve(path, served(if changed { "changed" } else { "left" })?)?;
        page.reload()?;
        page.wait_for(&format!("{LOADED} && {KEPT} == 1"), START)?;
        let from = fetched_from(path)?.last().copied().context("not asked")?;
        ensure!(changed == (from == 0), "{path} was continued from {from}");
        answers(&page)?;
    }
    Ok(())
}

#[test]
fn a_download_can_be_given_up_and_taken_up() -> Result<()> {
    const PATH: &str = "/given-up.1bit";
    let server = &stage()?.server;
    let slow = Served {
        pause: SLOW,
        ..served("slow")?
    };
    server.serve(PATH, slow)?;
    let page = begin(PATH)?;
    page.wait_for(
        "document.querySelector('#load-progress')?.value > 0.2",
        START,
    )?;
    for (device, width) in [("desktop", 1280), ("phone", 390)] {
        page.emulate(width, 800, "light")?;
        picture(&page, &format!("download-{device}-light"))?;
        sound_layout(&page)?;
    }
    page.emulate(1280, 800, "light")?;
    page.assert_accessible()?;
    page.click("#cancel-load")?;
    page.wait_for(
        "!document.querySelector('#load-progress') && document.querySelector('.welcome').innerText.includes('Load a model')",
        START,
    )?;
    ensure!(
        page.evaluate("document.querySelector('.notice')")?
            .is_null()
    );
    page.wait_for(&format!("{KEPT} == 1"), START)?;
    ensure!(page.text(".kept-size")?.contains(" of "));
    picture(&page, "partly-downloaded-desktop-light")?;
    page.assert_accessible()?;

    server.serve(PATH, served("slow")?)?;
    page.click("#kept .load")?;
    page.wait_for(LOADED, START)?;
    ensure!(fetched_from(PATH)?.last().is_some_and(|from| *from > 0));
    page.wait_for(
        "!document.querySelector('.kept-size').innerText.includes(' of ')",
        START,
    )?;
    page.assert_clean()?;
    answers(&page)
}

#[test]
fn a_server_that_stays_away_can_be_tried_again() -> Result<()> {
    const PATH: &str = "/away.1bit";
    let server = &stage()?.server;
    let always = Served {
        cuts: usize::MAX,
        tag: None,
        ..served("")?
    };
    server.serve(PATH, always)?;
    let page = begin(PATH)?;
    // Every attempt brings something, and none more than the one before.
    page.wait_for("document.querySelector('#again')", START)?;
    page.assert_accessible()?;
    picture(&page, "unreachable-desktop-light")?;
    server.serve(PATH, served("")?)?;
    page.click("#again")?;
    page.wait_for(LOADED, START)?;
    answers(&page)
}

#[test]
fn a_damaged_copy_is_refused_and_downloaded_again() -> Result<()> {
    const PATH: &str = "/damaged.1bit";
    stage()?.server.serve(PATH, served("whole")?)?;
    let page = begin(PATH)?;
    page.wait_for(&format!("{LOADED} && {KEPT} == 1"), START)?;
    page.evaluate(
        "(async () => { \
           const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('models'); \
           for await (const [name, file] of folder) if (!name.endsWith('.json')) { \
             const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer()); \
             bytes[bytes.length - 100] ^= 1; \
             const writer = await file.createWritable(); await writer.write(bytes); await writer.close(); } })()",
    )?;
    page.reload()?;
    page.wait_for(
        "document.querySelector('.notice')?.innerText.includes('damaged')",
        START,
    )?;
    eprintln!("{}", page.text(".notice .detail")?);
    picture(&page, "damaged-desktop-light")?;
    page.assert_accessible()?;
    page.click("#again")?;
    page.wait_for(&format!("{LOADED} && {KEPT} == 1"), START)?;
    ensure!(fetched_from(PATH)? == [0, 0], "{:?}", fetched_from(PATH)?);
    page.assert_clean()?;
    answers(&page)
}

/// A page that keeps a dropped file, beside the shipped model, which was kept by itself.
fn keep_dropped(name: &str) -> Result<(Page, PathBuf)> {
    let page = crate::open("?device=cpu")?;
    let file = scratch().join(name);
    fs::copy(onebit::tiny_model()?, &file)?;
    page.drop_file(&file)?;
    page.wait_for("document.querySelector('#keep')", START)?;
    page.click("#keep")?;
    page.wait_for(
        &format!("{KEPT} == 2 && !document.querySelector('#keep')"),
        START,
    )?;
    Ok((page, file))
}

/// A file that was kept can't be had again from anywhere: its damaged copy goes with one click.
#[test]
fn a_damaged_copy_of_a_file_is_deleted() -> Result<()> {
    let (page, file) = keep_dropped("damage-me.1bit")?;
    page.click("[aria-label^='Load: stories']")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('.model-name').innerText == 'Stories'"),
        START,
    )?;
    let size = fs::metadata(&file)?.len();
    page.evaluate(&format!(
        "(async () => {{ \
           const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('models'); \
           for await (const [name, file] of folder) {{ \
             const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer()); \
             if (name.endsWith('.json') || bytes.length != {size}) continue; \
             bytes[bytes.length - 100] ^= 1; \
             const writer = await file.createWritable(); await writer.write(bytes); await writer.close(); }} }})()"
    ))?;
    page.click("[aria-label='Load: damage-me.1bit']")?;
    page.wait_for("document.querySelector('#delete-damaged')", START)?;
    ensure!(page.text(".notice")?.contains("damaged"));
    page.assert_accessible()?;
    page.click("#delete-damaged")?;
    page.wait_for(
        &format!("{KEPT} == 1 && !document.querySelector('.notice')"),
        START,
    )?;
    answers(&page)
}

/// What is no model stays nowhere.
#[test]
fn a_download_that_is_no_model_is_not_kept() -> Result<()> {
    stage()?
        .server
        .add("/page.1bit", "<!doctype html> not a model at all")?;
    let page = begin("/page.1bit")?;
    page.wait_for("document.querySelector('.notice')", START)?;
    let told = page.text(".notice")?;
    ensure!(
        told.contains("an HTML page") && !told.contains("damaged"),
        "{told}"
    );
    page.wait_for(&format!("{KEPT} == 0"), START)?;
    // What is not even there is asked for once.
    let page = begin("/nowhere.1bit")?;
    page.wait_for("document.querySelector('.notice')", START)?;
    let told = page.text(".notice")?;
    ensure!(told.contains("404"), "{told}");
    page.wait_for(&format!("{KEPT} == 0"), START)
}

#[test]
fn a_file_is_kept_and_deleted() -> Result<()> {
    let (page, _) = keep_dropped("keep-me.1bit")?;
    for (device, width) in [("desktop", 1280), ("phone", 390)] {
        page.emulate(width, 844, "light")?;
        if width < 600 {
            page.click("#panel-toggle")?;
        }
        page.evaluate("document.querySelector('#kept-title').scrollIntoView()")?;
        picture(&page, &format!("kept-{device}-light"))?;
        sound_layout(&page)?;
        page.assert_accessible()?;
    }
    page.emulate(1280, 800, "light")?;
    page.reload()?;
    page.wait_for(&format!("{LOADED} && {KEPT} == 2"), START)?;
    page.click("[aria-label='Load: keep-me.1bit']")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('.model-name').innerText == 'Tiny'"),
        START,
    )?;
    answers(&page)?;

    page.click("[aria-label='Delete keep-me.1bit']")?;
    page.wait_for("document.activeElement.innerText == 'Keep'", START)?;
    ensure!(page.text(".kept")?.contains("This model is in use"));
    picture(&page, "delete-desktop-light")?;
    page.assert_accessible()?;
    page.press("Enter")?;
    page.wait_for("!document.querySelector('.sure')", START)?;
    ensure!(page.evaluate(KEPT)? == 2);
    page.click("[aria-label='Delete keep-me.1bit']")?;
    page.click(".sure")?;
    page.wait_for(&format!("{KEPT} == 1"), START)?;
    ensure!(page.evaluate("document.activeElement.id")? == "kept-title");
    // What is loaded goes on answering, and what needs its file says why it can't be had.
    answers(&page)?;
    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('.cell')", START)?;
    page.click(".cell")?;
    page.wait_for("document.querySelector('.notice')", START)?;
    let told = page.text(".notice")?;
    ensure!(told.contains("not kept in this browser any more"), "{told}");
    // Nothing pretends to be loaded; another model is.
    ensure!(!told.contains("still loaded"), "{told}");
    page.click(".kept .load")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('.model-name').innerText == 'Stories'"),
        START,
    )?;
    page.assert_clean()
}

#[test]
fn two_tabs_do_not_write_one_file() -> Result<()> {
    const PATH: &str = "/two-tabs.1bit";
    let server = &stage()?.server;
    let slow = Served {
        pause: SLOW,
        ..served("two")?
    };
    server.serve(PATH, slow)?;
    let first = begin(PATH)?;
    first.wait_for(
        "document.querySelector('#load-progress')?.value > 0.1",
        START,
    )?;
    let second = first.another(&address(PATH)?)?;
    second.wait_for(
        "document.querySelector('.notice')?.innerText.includes('another tab')",
        START,
    )?;
    first.wait_for(LOADED, START)?;
    second.click("#again")?;
    second.wait_for(LOADED, START)?;
    ensure!(fetched_from(PATH)? == [0], "{:?}", fetched_from(PATH)?);
    answers(&second)?;
    answers(&first)
}

/// A browser that keeps nothing still loads models.
#[test]
fn without_a_store_models_load() -> Result<()> {
    let address = stage()?.altered(
        "storeless",
        "Object.defineProperty(navigator, 'storage', { value: undefined });",
    )?;
    let page = stage()?
        .browser
        .open(&format!("{address}?model=tiny.1bit&device=cpu"))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    ensure!(page.evaluate(KEPT)? == 0);
    answers(&page)?;
    page.assert_clean()
}
