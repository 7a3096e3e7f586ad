//! The page in Firefox and in WebKit, Safari's engine: `cargo xtask test-browsers`. They are no
//! part of the other tests, which one browser runs.
#![allow(
    clippy::print_stderr,
    reason = "what was measured is shown with --nocapture"
)]

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page_tests::webdriver::{Kind, WebDriver};
use page_tests::{FINISHED, LOADED, Server, onebit, root, scratch, stage};

const START: Duration = Duration::from_secs(60);
const REPLY: Duration = Duration::from_secs(120);
const LEARNT: Duration = Duration::from_secs(420);
const PROMPTS: [&str; 3] = ["Once upon a time", "Lily and Max went", "The old bear said"];
const TOKENS: usize = 64;

/// The page with its models, and with the tiny one.
fn site() -> Result<Server> {
    let server = Server::start(stage()?.dist.clone())?;
    server.add("/tiny.1bit", fs::read(onebit::tiny_model()?)?)?;
    Ok(server)
}

fn visit(page: &WebDriver, server: &Server, query: &str) -> Result<()> {
    page.open(&format!("{}/{query}", server.origin()))?;
    page.wait_for(LOADED, START)
}

/// The last reply to `prompt`, once it is complete.
fn reply(page: &WebDriver, prompt: &str) -> Result<String> {
    // Enter, as the protocol has it.
    page.type_into("#prompt", &format!("{prompt}\u{e007}"))?;
    page.wait_for(
        &format!("{FINISHED} && document.querySelector('.exchange:last-child .prompt').textContent.includes({prompt:?})"),
        REPLY,
    )?;
    let reply =
        page.evaluate("document.querySelector('.exchange:last-child .reply').textContent")?;
    Ok(reply.as_str().context("no reply")?.to_owned())
}

/// Every text is the command line's.
fn writes_as(page: &WebDriver, model: &Path) -> Result<()> {
    page.click("label:has(input[name=mode][value=text])")?;
    page.set_field("#temperature", "0")?;
    page.set_field("#repetition-penalty", "1")?;
    page.set_field("#max-tokens", &TOKENS.to_string())?;
    for prompt in PROMPTS {
        let (written, native) = (reply(page, prompt)?, onebit::greedy(model, prompt, TOKENS)?);
        ensure!(
            written == native,
            "{prompt:?}\npage:   {written:?}\nnative: {native:?}"
        );
    }
    eprintln!("{}", page.text(".exchange:last-child .figures")?);
    Ok(())
}

/// The texts of two models on one thread and, where the page is isolated, on two.
fn texts(kind: Kind) -> Result<()> {
    let page = WebDriver::start(kind)?;
    let several = available_parallelism()?.get() > 1;
    for isolated in [false, true] {
        let server = site()?;
        if isolated {
            server.isolate();
        }
        let models = [
            ("&model=tiny.1bit", onebit::tiny_model()?),
            ("", &stage()?.shipped),
        ];
        for (query, model) in models {
            visit(&page, &server, &format!("?device=cpu&threads=2{query}"))?;
            let device = page.text(".device")?;
            eprintln!("{kind:?}: {device}");
            // Of a site that isolates nothing, the service worker does from the second visit on.
            if isolated && several {
                ensure!(device.ends_with(", 2 threads"), "{device}");
            }
            writes_as(&page, model)?;
        }
    }
    Ok(())
}

/// A file from the disk is opened and answers; a published one is imported first. WebKit's driver
/// keeps no files, as private windows don't, and there the page says what to do instead.
fn files(kind: Kind) -> Result<()> {
    let page = WebDriver::start(kind)?;
    let server = site()?;
    visit(&page, &server, "?device=cpu")?;
    let folder = scratch();
    let (own, gguf) = (folder.join("opened.1bit"), folder.join("opened.gguf"));
    fs::copy(onebit::tiny_model()?, &own)?;
    onebit::export(&own, &gguf, &[("--format", "gguf")])?;
    for (file, published) in [(&own, false), (&gguf, true)] {
        let path = file.canonicalize()?.display().to_string();
        page.type_into("input[data-for=open-file]", &path)?;
        let mut native = own.clone();
        if published && kind == Kind::WebKit {
            page.wait_for("document.body.innerText.includes('keeps no files')", START)?;
            return writes_as(&page, &native);
        }
        if published {
            let asked = "document.querySelector('#start-import')?.checkVisibility()";
            page.wait_for(asked, START)?;
            page.click("#start-import")?;
            native = onebit::import(file, "f16")?;
        }
        let opened = "document.querySelector('.model-name').innerText.includes('Tiny')";
        let over = "!document.querySelector('#import')";
        page.wait_for(&format!("{LOADED} && {over} && {opened}"), REPLY)?;
        writes_as(&page, &native)?;
    }
    Ok(())
}

/// A text is learnt.
fn learning(kind: Kind) -> Result<()> {
    let page = WebDriver::start(kind)?;
    let server = site()?;
    visit(&page, &server, "?device=cpu&model=tiny.1bit")?;
    page.click("label:has(input[name=mode][value=tune])")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    let text: String = (0..120)
        .map(|i| format!("{i:03} | cat | sees | dog {} | ok\n", i * 7 % 13))
        .collect();
    let fields = [
        ("#tune-text", text.as_str()),
        ("#tune-steps", "20"),
        ("#tune-batch", "2"),
    ];
    for (field, value) in fields {
        page.set_field(field, value)?;
    }
    page.wait_for("!document.querySelector('#tune-start').disabled", START)?;
    page.click("#tune-start")?;
    page.wait_for("document.querySelector('[data-phase=Done]')", LEARNT)?;
    let losses =
        page.evaluate("JSON.parse(document.querySelector('#tune-chart').dataset.losses)")?;
    let losses: Vec<f64> = serde_json::from_value(losses)?;
    eprintln!("{kind:?}: {losses:?}");
    let (first, last) = (losses.first(), losses.last());
    ensure!(losses.len() > 1 && last < first, "{losses:?}");
    Ok(())
}

/// The page and what was said are there at the next visit, also without a network; and so is the
/// model, where the browser keeps files.
fn visits(kind: Kind) -> Result<()> {
    let page = WebDriver::start(kind)?;
    let server = site()?;
    visit(&page, &server, "?device=cpu")?;
    page.wait_for(
        "navigator.serviceWorker.controller?.state == 'activated'",
        START,
    )?;
    reply(&page, "Tell me a story.")?;
    server.set_down(true);
    page.reload()?;
    page.wait_for(
        "document.body.innerText.includes('Tell me a story.')",
        START,
    )?;
    if kind == Kind::WebKit {
        let told = "document.body.innerText.includes('The model could not be fetched')";
        return page.wait_for(told, START);
    }
    page.wait_for(LOADED, START)?;
    reply(&page, "Tell me another story.")?;
    Ok(())
}

/// The npm package, its files on a site of their own, in a page that is isolated and in one that is
/// not.
fn packages(kind: Kind) -> Result<()> {
    let page = WebDriver::start(kind)?;
    let elsewhere = Server::start_for_all()?;
    elsewhere.add_all("/", &root().join("target/npm"))?;
    for isolated in [false, true] {
        let server = site()?;
        if isolated {
            server.isolate();
        }
        let script = format!(
            "import {{ Engine }} from '{}/index.js'; window.found = null; (async () => {{ \
             const engine = await Engine.load('tiny.1bit', {{ device: 'cpu', threads: 2 }}); \
             const {{ choices }} = await engine.completions.create({{ prompt: {:?}, max_tokens: {TOKENS}, temperature: 0 }}); \
             window.found = choices[0].text; }})().catch(e => window.found = String(e));",
            elsewhere.origin(),
            PROMPTS[0],
        );
        let html = format!("<!doctype html><script type=module>{script}</script>");
        server.add("/apart.html", html)?;
        page.open(&format!("{}/apart.html", server.origin()))?;
        page.wait_for("window.found", REPLY)?;
        let found = page.evaluate("window.found")?;
        let native = onebit::greedy(onebit::tiny_model()?, PROMPTS[0], TOKENS)?;
        ensure!(found == native.as_str(), "{found} and {native:?}");
    }
    Ok(())
}

macro_rules! in_browsers {
    ($($browser:ident: $kind:expr;)*) => {
        $(mod $browser {
            use super::*;

            #[test]
            #[ignore = "needs other browsers: `cargo xtask test-browsers`"]
            fn writes_what_the_command_line_writes() -> Result<()> {
                texts($kind)
            }

            #[test]
            #[ignore = "needs other browsers: `cargo xtask test-browsers`"]
            fn opens_files() -> Result<()> {
                files($kind)
            }

            #[test]
            #[ignore = "needs other browsers: `cargo xtask test-browsers`"]
            fn learns() -> Result<()> {
                learning($kind)
            }

            #[test]
            #[ignore = "needs other browsers: `cargo xtask test-browsers`"]
            fn comes_back_without_a_network() -> Result<()> {
                visits($kind)
            }

            #[test]
            #[ignore = "needs other browsers: `cargo xtask test-browsers`"]
            fn runs_the_package_from_another_site() -> Result<()> {
                packages($kind)
            }
        })*
    };
}

in_browsers! {
    firefox: Kind::Firefox;
    webkit: Kind::WebKit;
}
