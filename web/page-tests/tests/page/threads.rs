//! The CPU with several threads: workers over one memory, in pages that are isolated from others.

use std::fs;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, Server, onebit, stage};

use crate::{LOADED, START, agreement, tune};

const HELPER: &str = "helper";
const DEVICE: &str = "document.querySelector('.device').innerText";

/// A site of its own with the page and the tiny model.
fn host() -> Result<Server> {
    let server = Server::start(stage()?.dist.clone())?;
    server.add("/tiny.1bit", fs::read(onebit::tiny_model()?)?)?;
    Ok(server)
}

fn visit(server: &Server, query: &str) -> Result<Page> {
    let address = format!("{}/?device=cpu{query}", server.origin());
    let page = stage()?.browser.open(&address)?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    Ok(page)
}

/// An isolated page; `threads` as its device line tells.
fn isolated(query: &str, threads: &str) -> Result<Page> {
    let server = host()?;
    server.isolate();
    let page = visit(&server, query)?;
    let device = page.evaluate(DEVICE)?;
    let device = device.as_str().context("no device line")?;
    ensure!(device.ends_with(threads), "{device}");
    Ok(page)
}

/// Threads that this machine would give a page.
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
    let page = isolated("&threads=2", ", 2 threads")?;
    agreement::compare(&page, "cpu", &stage()?.shipped)?;
    ensure!(
        page.workers(HELPER) == 1,
        "{} helpers",
        page.workers(HELPER)
    );
    let page = isolated("&threads=1", ", 1 thread")?;
    agreement::compare(&page, "cpu", &stage()?.shipped)?;
    ensure!(page.workers(HELPER) == 0);
    Ok(())
}

/// Losses and the saved model are the native ones, bit for bit.
#[test]
fn they_learn_what_one_learns() -> Result<()> {
    if !several()? {
        return Ok(());
    }
    let page = isolated("&threads=2&model=tiny.1bit", ", 2 threads")?;
    let apart = tune::apart(&page, onebit::tiny_model()?, "full", "20", "portable")?;
    ensure!(apart == 0.0, "{apart:.2e}");
    // The program that changes models has helpers of its own.
    ensure!(page.workers(HELPER) >= 1);
    page.assert_clean()
}

/// A host that cannot be told to isolate its pages: the service worker does.
#[test]
fn the_service_worker_isolates() -> Result<()> {
    let server = host()?;
    let page = visit(&server, "")?;
    ensure!(page.evaluate("crossOriginIsolated")? == false);
    let device = page.text("section:has(.device)")?;
    ensure!(device.contains("1 thread"), "{device}");
    if several()? {
        ensure!(device.contains("Reload the page once"), "{device}");
    }
    page.wait_for(
        "navigator.serviceWorker.controller?.state == 'activated'",
        START,
    )?;
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

/// Neither a reload nor another model leaves workers behind.
#[test]
fn none_is_left_behind() -> Result<()> {
    if !several()? {
        return Ok(());
    }
    let page = isolated("&threads=2", ", 2 threads")?;
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
    ensure!(
        page.workers(HELPER) == 0,
        "{} helpers",
        page.workers(HELPER)
    );
    Ok(())
}

/// A helper that fails ends the engine, which is told and started anew; nothing waits for it.
#[test]
fn a_helper_that_fails_is_told() -> Result<()> {
    if !several()? {
        return Ok(());
    }
    let page = isolated("&threads=2", ", 2 threads")?;
    agreement::compare(&page, "cpu", &stage()?.shipped)?;
    // As the script of a helper does that has caught an error.
    page.evaluate_in_worker(
        "worker",
        "(async () => { const program = performance.getEntriesByType('resource').map((file) => file.name) \
         .find((name) => /worker(-relaxed)?\\.js/.test(name)); \
         threads.store((await import(program)).failed_place(), 1); })()",
    )?;
    crate::ask(&page, "Once upon a time")?;
    page.wait_for("document.querySelector('.notice')", START)?;
    let notice = page.text(".notice")?;
    eprintln!("{notice}");
    ensure!(notice.contains("helper"), "{notice}");
    Ok(())
}

/// A number that is none is told.
#[test]
fn no_number_is_told() -> Result<()> {
    let page = visit(&host()?, "&model=tiny.1bit&threads=many")?;
    let notice = page.text(".notice")?;
    ensure!(notice.contains("threads=many"), "{notice}");
    Ok(())
}
