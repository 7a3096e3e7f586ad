//! The CPU with several threads: workers over one memory, in pages that are isolated from others.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use page_tests::{Page, Server, onebit, stage};

use crate::{LOADED, START, agreement, open_altered, tune};

const HELPER: &str = "helper";
const DEVICE: &str = "document.querySelector('.device').innerText";

/// A prelude for the workers' script that wraps `add`, by which threads take pieces of work, in
/// workers for which `whose` holds.
fn around_add(whose: &str, state: &str, add: &str) -> String {
    format!(
        "if ({whose}) {{ {state}; Object.defineProperty(self, 'threads', {{ configurable: true, set(all) {{ \
         const {{ add }} = all; all.add = (at, n) => {{ {add} }}; \
         Object.defineProperty(self, 'threads', {{ value: all }}); }} }}); }}"
    )
}

/// Has the first thread wait now and then, after it took a job's first pieces, until another takes
/// some (`helped`) or a while has passed (`alone`): unasked, others take few where other programs
/// have the cores.
fn waiting() -> String {
    around_add(
        "self.name !== 'helper'",
        "let jobs = 0; self.helped = 0; self.alone = 0",
        "const first = add(at, n); if (first !== 0 || jobs++ % 16 !== 0) return first; \
         const end = performance.now() + 250; \
         while (add(at, 0) === n) if (performance.now() > end) { alone += 1; return first; } \
         helped += 1; return first;",
    )
}

/// A site of its own with the page, whose workers run `prelude` first, and the tiny model.
fn host(prelude: &str) -> Result<Server> {
    let server = Server::start(stage()?.dist.clone())?;
    server.add("/tiny.1bit", fs::read(onebit::tiny_model()?)?)?;
    let start = fs::read_to_string(stage()?.dist.join("worker-start.js"))?;
    server.add("/worker-start.js", format!("{prelude}\n{start}"))?;
    Ok(server)
}

/// A page that has begun to load its model.
fn open(server: &Server, query: &str) -> Result<Page> {
    let address = format!("{}/?device=cpu{query}", server.origin());
    let page = stage()?.browser.open(&address)?;
    page.emulate(1280, 800, "light")?;
    Ok(page)
}

fn visit(server: &Server, query: &str) -> Result<Page> {
    let page = open(server, query)?;
    page.wait_for(LOADED, START)?;
    Ok(page)
}

/// An isolated page; `threads` as its device line tells.
fn isolated(prelude: &str, query: &str, threads: &str) -> Result<Page> {
    let server = host(prelude)?;
    server.isolate();
    let page = visit(&server, query)?;
    let device = page.evaluate(DEVICE)?;
    let device = device.as_str().context("no device line")?;
    ensure!(device.ends_with(threads), "{device}");
    Ok(page)
}

/// Another thread took pieces of that worker's work when it could.
fn was_helped(page: &Page, worker: &str) -> Result<()> {
    let counted = page.evaluate_in_worker(worker, "[helped, alone]")?;
    let [Some(helped), Some(alone)] = [0, 1].map(|i| counted[i].as_u64()) else {
        bail!("{worker}: {counted}");
    };
    eprintln!("{worker}: others took pieces of {helped} jobs, and of {alone} none");
    ensure!(
        helped > 2 * alone && helped > 10,
        "{worker}: others took pieces of {helped} jobs, and of {alone} none"
    );
    Ok(())
}

/// Whether this machine would give a page several threads.
fn several() -> Result<bool> {
    let threads = std::thread::available_parallelism()?.get();
    if threads < 2 {
        eprintln!("SKIPPED: this machine has one thread");
    }
    Ok(threads > 1)
}

#[test]
fn they_write_what_one_writes() -> Result<()> {
    if !several()? {
        return Ok(());
    }
    let page = isolated(&waiting(), "&threads=2", ", 2 threads")?;
    agreement::compare(&page, "cpu", &stage()?.shipped)?;
    ensure!(
        page.workers(HELPER) == 1,
        "{} helpers",
        page.workers(HELPER)
    );
    was_helped(&page, "worker")?;

    let page = isolated("", "&threads=1", ", 1 thread")?;
    agreement::compare(&page, "cpu", &stage()?.shipped)?;
    ensure!(page.workers(HELPER) == 0);
    Ok(())
}

/// Losses are the native ones, bit for bit.
#[test]
fn they_learn_what_one_learns() -> Result<()> {
    if !several()? {
        return Ok(());
    }
    let page = isolated(&waiting(), "&threads=2&model=tiny.1bit", ", 2 threads")?;
    let apart = tune::apart(&page, onebit::tiny_model()?, "full", "20", "portable")?;
    ensure!(apart == 0.0, "{apart:.2e}");
    ensure!(page.workers(HELPER) >= 1);
    // The program that changes models has helpers of its own.
    was_helped(&page, "full-worker")?;
    page.assert_clean()
}

/// A host that cannot be told to isolate its pages: the service worker does.
#[test]
fn the_service_worker_isolates() -> Result<()> {
    let server = host("")?;
    let page = visit(&server, "")?;
    ensure!(page.evaluate("crossOriginIsolated")? == false);
    let device = page.text("section:has(.device)")?;
    ensure!(device.contains("1 thread"), "{device}");
    page.wait_for(
        "navigator.serviceWorker.controller?.state == 'activated'",
        START,
    )?;
    if several()? {
        let hint = "document.querySelector('section:has(.device)').innerText.includes('Reload the page once')";
        page.wait_for(hint, START)?;
    }
    page.reload()?;
    page.wait_for(LOADED, START)?;
    ensure!(page.evaluate("crossOriginIsolated")? == true);
    let device = page.text("section:has(.device)")?;
    ensure!(!device.contains("Reload"), "{device}");
    if several()? {
        ensure!(device.contains("threads"), "{device}");
    }
    // Without a network, too.
    server.set_down(true);
    page.reload()?;
    page.wait_for(LOADED, START)?;
    ensure!(page.evaluate("crossOriginIsolated")? == true);
    Ok(())
}

/// Neither a reload nor leaving the page leaves workers behind.
#[test]
fn none_is_left_behind() -> Result<()> {
    if !several()? {
        return Ok(());
    }
    let page = isolated("", "&threads=2", ", 2 threads")?;
    agreement::compare(&page, "cpu", &stage()?.shipped)?;
    page.reload()?;
    page.wait_for(LOADED, START)?;
    agreement::compare(&page, "cpu", &stage()?.shipped)?;
    ensure!(
        page.workers(HELPER) == 1,
        "{} helpers",
        page.workers(HELPER)
    );
    page.evaluate("location.href = 'about:blank'")?;
    page.wait_for("location.href == 'about:blank'", START)?;
    page.wait_for_no_worker(HELPER, START)
}

/// Has a helper fail after so many pieces of work, inside a job: two additions follow each other
/// there.
fn failing(after: u32) -> String {
    around_add(
        "self.name === 'helper'",
        &format!("let left = {after}, before = 0"),
        "const inside = before > 0 && n > 0; before = n; \
         if (inside && left-- <= 0) throw new Error('planted'); return add(at, n);",
    )
}

/// A helper that fails ends the engine, which is told; nothing waits for it. Which pieces a helper
/// gets is chance: it may fail while the model loads as well as in a reply.
#[test]
fn a_helper_that_fails_is_told() -> Result<()> {
    const STOPPED: &str = "document.querySelector('.notice')";
    if !several()? {
        return Ok(());
    }
    for after in [0, 20] {
        let server = host(&failing(after))?;
        server.isolate();
        let page = open(&server, "&threads=2")?;
        page.wait_for(&format!("{STOPPED} || ({LOADED})"), START)?;
        if page.evaluate(&format!("!{STOPPED}"))? == true {
            eprintln!("after {after}: in a reply");
            crate::ask(&page, "Tell me a story about a dog.")?;
            page.wait_for(STOPPED, START)?;
        }
        let notice = page.text(".notice")?;
        eprintln!("{notice}");
        ensure!(notice.contains("helper"), "{notice}");
    }
    Ok(())
}

/// A browser that has shared memory in isolated pages alone.
#[test]
fn without_shared_memory_there_is_one() -> Result<()> {
    let page = open_altered(
        "unshared",
        "const Memory = WebAssembly.Memory; WebAssembly.Memory = function (wanted) { \
         if (wanted.shared) throw new TypeError('not shared'); return new Memory(wanted); };",
        "device=cpu",
    )?;
    let device = page.evaluate(DEVICE)?;
    ensure!(
        device
            .as_str()
            .is_some_and(|line| line.ends_with(", 1 thread")),
        "{device}"
    );
    agreement::compare(&page, "cpu", onebit::tiny_model()?)
}

/// A number that is none is told; one that is too large is what there is.
#[test]
fn no_number_is_told() -> Result<()> {
    for threads in ["many", "-1", "2.5"] {
        let page = visit(&host("")?, &format!("&model=tiny.1bit&threads={threads}"))?;
        let notice = page.text(".notice")?;
        ensure!(notice.contains(&format!("threads={threads}")), "{notice}");
    }
    if several()? {
        let all = std::thread::available_parallelism()?;
        isolated("", "&threads=999", &format!(", {all} threads"))?;
    }
    Ok(())
}
