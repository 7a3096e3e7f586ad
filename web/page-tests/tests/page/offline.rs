//! The page without a network, as an installed app, and after a newer build.

use std::fs;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, Server, stage};
use serde_json::Value;

use crate::{FINISHED, LOADED, REPLY, START, ask};

/// The page's files are copied and its worker is in charge.
const COPIED: &str = "navigator.serviceWorker.controller?.state == 'activated'";
const CACHED: &str = "(async () => { const found = []; for (const name of await caches.keys()) \
     for (const request of await (await caches.open(name)).keys()) found.push(request.url); return found; })()";

/// A server of this test's own: it goes down.
fn host() -> Result<Server> {
    Server::start(stage()?.dist.clone())
}

fn visit(server: &Server, query: &str) -> Result<Page> {
    let page = stage()?
        .browser
        .open(&format!("{}/{query}", server.origin()))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(&format!("{LOADED} && {COPIED}"), START)?;
    Ok(page)
}

#[test]
fn the_page_opens_without_a_network() -> Result<()> {
    let server = host()?;
    let page = visit(&server, "?device=cpu")?;
    page.assert_clean()?;
    let cached = page.evaluate(CACHED)?;
    let cached: Vec<&str> = cached
        .as_array()
        .context("no list")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    // Everything but models, and of the page's own site.
    ensure!(
        cached
            .iter()
            .all(|url| url.starts_with(server.origin()) && !url.ends_with(".1bit")),
        "{cached:#?}"
    );
    for file in [
        "app-",
        "worker-relaxed_bg.wasm",
        "relaxed-simd.js",
        "worker-start.js",
        "panel-",
        "index.json",
        "webmanifest",
    ] {
        let is_there = cached.iter().any(|url| url.contains(file));
        ensure!(is_there, "{file} is not among {cached:#?}");
    }

    server.set_down(true);
    page.reload()?;
    page.wait_for(LOADED, START)?;
    ask(&page, "Say hello.")?;
    page.wait_for(FINISHED, REPLY)?;
    // The parser came from the copy too.
    ensure!(page.evaluate("document.querySelector('.reply.plain') === null")? == true);
    // Under another address of the page too, and in another tab.
    let tab = page.another(&format!("{}/?device=auto", server.origin()))?;
    tab.emulate(1280, 800, "light")?;
    tab.wait_for(LOADED, START)?;
    ensure!(tab.findings().external_requests.is_empty());
    Ok(())
}

/// A newer build is used at once where there is a network, and nothing of the older one is left.
#[test]
fn a_newer_build_replaces_the_copy() -> Result<()> {
    let server = host()?;
    let page = visit(&server, "?device=cpu")?;
    let caches = page.evaluate("caches.keys()")?;
    ensure!(
        caches.as_array().is_some_and(|names| names.len() == 1),
        "{caches}"
    );

    // The same page under another name of its module: all that a build changes for its visitors.
    let index = fs::read_to_string(stage()?.dist.join("index.html"))?;
    let module = index
        .split(['"', '/'])
        .find(|part| part.starts_with("app-") && part.ends_with(".wasm"))
        .context("no module in the page")?;
    let newer = index
        .replace(module, "app-newer_bg.wasm")
        .replace("<title>Ternary-Core", "<title>Newer Ternary-Core");
    server.add("/index.html", newer)?;
    server.add("/app-newer_bg.wasm", fs::read(stage()?.dist.join(module))?)?;
    page.reload()?;
    page.wait_for(
        &format!("document.title.startsWith('Newer') && {LOADED}"),
        START,
    )?;
    page.wait_for(
        "((async () => { const names = await caches.keys(); \
          window.alone = names.length == 1 && names[0].includes('newer'); })(), window.alone)",
        START,
    )?;
    server.set_down(true);
    page.reload()?;
    page.wait_for(
        &format!("document.title.startsWith('Newer') && {LOADED}"),
        START,
    )
}

/// What a browser asks before it offers to install a page.
#[test]
fn the_page_can_be_installed() -> Result<()> {
    let server = host()?;
    let page = visit(&server, "?device=cpu")?;
    let problems = page.manifest_problems()?;
    ensure!(problems.is_empty(), "{problems:?}");
    page.assert_clean()
}
