//! Inputs and uses that broke similar programs, each tried as a new user would. The models are
//! scripted: what they say is chosen here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use page_tests::published::folder;
use page_tests::{Page, Server, Trouble, onebit, scratch, stage};
use serde_json::{Value, json};
use ternary_scripted::{CHATML, Chain, Llama, Model, Tokenizer, reply};

use crate::explorer::saved;
use crate::look::{picture, sound_layout};
use crate::{FINISHED, LAST_REPLY, LOADED, REPLY, START, ask, open, open_tiny};

const IMPORT_ASKED: &str = "document.querySelector('#start-import')?.checkVisibility()";
const NOTICE: &str = "document.querySelector('.notice')";
/// The page's files are copied and its worker is in charge.
const COPIED: &str = "navigator.serviceWorker.controller?.state == 'activated'";
/// What a reader waits at most for a page whose site says nothing.
const SOON: Duration = Duration::from_secs(20);

/// The page with a scripted model, imported natively, which answers greedily.
fn open_scripted(name: &str, model: &Model) -> Result<Page> {
    let folder = folder(name)?;
    model.write_hf(&folder);
    let imported = onebit::import(&folder, "f16")?;
    let stage = stage()?;
    stage
        .server
        .add(&format!("/{name}.1bit"), fs::read(imported)?)?;
    let page = open(&format!("?model={name}.1bit&device=cpu"))?;
    page.set_field("#temperature", "0")?;
    page.set_field("#repetition-penalty", "1")?;
    page.set_field("#max-tokens", "4096")?;
    Ok(page)
}

/// Asks, and waits for the whole reply.
fn answer(page: &Page) -> Result<()> {
    let count = page.evaluate("document.querySelectorAll('.exchange').length")?;
    ask(page, "Hello")?;
    page.wait_for(
        &format!("document.querySelectorAll('.exchange').length > {count} && {FINISHED}"),
        REPLY,
    )
}

fn exchanges(page: &Page) -> Result<Value> {
    page.evaluate("document.querySelectorAll('.exchange').length")
}

pub fn file(name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
    let path = scratch().join("cases").join(name);
    fs::create_dir_all(path.parent().context("no folder")?)?;
    fs::write(&path, content)?;
    Ok(path)
}

/// A page whose browser is another: `prelude` runs in its workers.
fn altered(name: &str, prelude: &str) -> Result<Page> {
    let address = stage()?.altered(name, prelude)?;
    let page = stage()?
        .browser
        .open(&format!("{address}?model=tiny.1bit&device=cpu"))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    Ok(page)
}

pub fn learned(page: &Page, files: &str) -> Result<(String, String)> {
    page.wait_for(
        &format!("document.querySelector('#tune-files')?.innerText.startsWith('{files}')"),
        START,
    )?;
    let text = page.evaluate("document.querySelector('#tune-text').value")?;
    let text = text.as_str().unwrap_or_default().to_owned();
    Ok((text, page.text("#tune-files")?))
}

// A model whose context does not fit.

/// 41 kB of keys and values a token: 5.4 GB in all.
fn long_context() -> Model {
    let tokenizer = Tokenizer::byte_level(&["Yes", " sir"]);
    let chain = Chain::walk(
        &tokenizer,
        &["<|assistant|>", "!"],
        &["Yes", " sir"],
        "<|end|>",
    );
    let shape = Llama {
        hidden: 64,
        heads: 4,
        kv_heads: 4,
        ffn: 64,
        layers: 80,
        context: 131_072,
        ..Llama::default()
    };
    Model::new(tokenizer, shape, chain).template(CHATML)
}

#[test]
fn a_context_that_does_not_fit_is_shortened_not_refused() -> Result<()> {
    // In a file on the site.
    let page = open_scripted("long-context", &long_context())?;
    let told = |page: &Page| -> Result<()> {
        let notice = page.text(".notice")?;
        ensure!(
            notice.contains("131,072") && notice.contains("reads 32,768"),
            "{notice}"
        );
        ensure!(!notice.contains("smaller model"), "{notice}");
        page.click("#model-info summary")?;
        let card = page.text("#panel")?;
        ensure!(card.contains("32,768 tokens, of 131,072"), "{card}");
        Ok(())
    };
    told(&page)?;
    picture(&page, "case-shorter-context")?;
    page.assert_accessible()?;
    answer(&page)?;
    ensure!(page.text(LAST_REPLY)? == "Yes sir");
    ensure!(page.text(".context")?.contains("of 32,768"));

    // In a published model that is imported, and said before it is read.
    let gguf = folder("long-context-gguf")?.join("long.gguf");
    long_context().gguf().write(&gguf);
    let page = open_tiny()?;
    page.drop_file(&gguf)?;
    page.wait_for(IMPORT_ASKED, START)?;
    let asked = page.text("#import-told")?;
    ensure!(asked.contains("context 131,072 of which 32,768"), "{asked}");
    page.click("#start-import")?;
    page.wait_for(
        &format!(
            "!document.querySelector('#import') && {LOADED} && document.querySelector('.model-name').innerText != 'Tiny'"
        ),
        REPLY,
    )?;
    told(&page)?;
    page.set_field("#temperature", "0")?;
    answer(&page)?;
    ensure!(page.text(LAST_REPLY)? == "Yes sir");
    page.assert_clean()
}

// Input methods.

/// Chooses a character in Safari: the composition has ended when Enter comes.
fn choose_character(page: &Page, selector: &str) -> Result<()> {
    let taken = page.evaluate(&format!(
        "(() => {{ const field = document.querySelector({selector:?}); field.focus(); \
         field.dispatchEvent(new CompositionEvent('compositionend', {{ data: '日本', bubbles: true }})); \
         const of = {{ key: 'Enter', code: 'Enter', keyCode: 229, which: 229, isComposing: false, bubbles: true, cancelable: true }}; \
         const down = new KeyboardEvent('keydown', of); field.dispatchEvent(down); field.dispatchEvent(new KeyboardEvent('keyup', of)); \
         return down.isComposing; }})()"
    ))?;
    ensure!(taken == false, "the event is not what Safari sends");
    Ok(())
}

#[test]
fn an_input_methods_enter_does_not_send() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "4")?;
    page.click("#prompt")?;
    page.type_text("日本")?;
    choose_character(&page, "#prompt")?;
    ensure!(exchanges(&page)? == 0, "the composer sent");
    ensure!(page.evaluate("document.querySelector('#prompt').value")? == "日本");
    // An Enter of the reader's does.
    page.press("Enter")?;
    page.wait_for(FINISHED, REPLY)?;

    page.click(".edit")?;
    page.wait_for("document.querySelector('.edit-prompt textarea')", START)?;
    page.set_field(".edit-prompt textarea", "東京")?;
    choose_character(&page, ".edit-prompt textarea")?;
    ensure!(
        page.evaluate("Boolean(document.querySelector('.edit-prompt'))")? == true,
        "the edit field asked"
    );
    page.click(".give-up")?;

    page.wait_for("document.querySelector('.rename')", START)?;
    page.click(".rename")?;
    page.wait_for("document.querySelector('.naming')", START)?;
    choose_character(&page, ".naming")?;
    ensure!(
        page.evaluate("Boolean(document.querySelector('.naming'))")? == true,
        "the name was taken"
    );
    page.press("Escape")?;

    page.click("#switcher")?;
    page.wait_for("document.querySelector('#address')", START)?;
    page.set_field("#address", "nowhere.1bit")?;
    choose_character(&page, "#address")?;
    ensure!(page.evaluate("document.querySelector('#address').value")? == "nowhere.1bit");
    page.assert_clean()
}

// Replies.

#[test]
fn prices_line_breaks_and_links_are_shown_as_they_were_meant() -> Result<()> {
    let pieces = [
        "Copy",
        " \"~/notes\"",
        " to",
        " \"~/backup\"",
        ".\n\n",
        "| a ",
        "| b |",
        "\n|---|",
        "---|\n",
        "| one<br>two ",
        "| x |\n\n",
        "Price ~$5",
        " (was ~$10)",
        ", ~~no~~",
        "<br/>done.\n\n",
        "[x](javascript:alert(1)) ",
        "[y](https://example.org/~me)",
    ];
    let page = open_scripted("markdown-reply", &reply(&pieces))?;
    answer(&page)?;
    let shown = page.text(LAST_REPLY)?;
    for part in [
        "\"~/notes\" to \"~/backup\".",
        "one\ntwo",
        "Price ~$5 (was ~$10), no\ndone.",
    ] {
        ensure!(shown.contains(part), "{part:?} is not in {shown:?}");
    }
    ensure!(!shown.contains("<br"), "{shown:?}");
    let found = page.evaluate(&format!(
        "(() => {{ const all = s => [...document.querySelectorAll('{LAST_REPLY} ' + s)]; \
         return [all('del').map(e => e.innerText), all('td br').length, all('a').map(e => e.href)]; }})()"
    ))?;
    ensure!(
        found == json!([["no"], 1, ["https://example.org/~me"]]),
        "{found}"
    );
    picture(&page, "case-markdown")?;
    page.assert_clean()
}

#[test]
fn what_a_model_thinks_is_folded() -> Result<()> {
    let folded = |page: &Page| {
        page.evaluate(&format!(
            "[...document.querySelectorAll('{LAST_REPLY} details')].map(e => [e.open, e.querySelector('div').textContent])"
        ))
    };
    let pieces = [
        "<think>",
        "\nThe user",
        " greets me.",
        " I should",
        " be *brief*.\n",
        "</think>",
        "\n\n**Hello!**",
        " How are you?",
    ];
    let page = open_scripted("think", &reply(&pieces))?;
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: { writeText: text => { window.copied = text; return Promise.resolve(); } } })")?;
    answer(&page)?;
    let found = folded(&page)?;
    ensure!(
        found == json!([[false, "The user greets me. I should be brief."]]),
        "{found}"
    );
    let shown = page.text(LAST_REPLY)?;
    ensure!(
        shown == "Thoughts\n\nHello! How are you?" || shown == "Thoughts\nHello! How are you?",
        "{shown:?}"
    );
    // Copied without it.
    page.click(".exchange-foot .copy")?;
    page.wait_for("window.copied", START)?;
    ensure!(page.evaluate("copied")? == "**Hello!** How are you?");
    picture(&page, "case-thoughts-folded")?;
    page.click(&format!("{LAST_REPLY} summary"))?;
    ensure!(folded(&page)?[0][0] == true);
    picture(&page, "case-thoughts-open")?;
    sound_layout(&page)?;
    page.assert_accessible()?;
    page.assert_clean()?;

    // Cut before it ends, and opened while it grows: it stays folded, and stays open.
    let sentences: Vec<String> = (0..400).map(|i| format!("Thought {i}.\n\n")).collect();
    let mut pieces = vec!["<THINKING>"];
    pieces.extend(sentences.iter().map(String::as_str));
    let tokenizer = Tokenizer::byte_level(&pieces);
    let chain = Chain::walk(&tokenizer, &["<|assistant|>"], &pieces, "<|end|>");
    let shape = Llama {
        context: 1024,
        ..Llama::default()
    };
    let model = Model::new(tokenizer, shape, chain).template(CHATML);
    let page = open_scripted("unfinished-thought", &model)?;
    page.set_field("#max-tokens", "300")?;
    ask(&page, "Hello")?;
    page.wait_for(
        &format!("document.querySelector('{LAST_REPLY} details')"),
        REPLY,
    )?;
    page.evaluate(&format!(
        "document.querySelector('{LAST_REPLY} details').open = true"
    ))?;
    page.wait_for(FINISHED, REPLY)?;
    let found = folded(&page)?;
    let text = found[0][1].as_str().unwrap_or_default();
    ensure!(
        found[0][0] == true && text.starts_with("Thought 0.") && text.ends_with("Thought 298."),
        "{found}"
    );
    ensure!(!page.text(LAST_REPLY)?.contains("THINKING"));
    page.assert_clean()
}

#[test]
fn a_reply_of_many_paragraphs_leaves_the_page_responsive() -> Result<()> {
    const COUNT: usize = 1500;
    let paragraphs: Vec<String> = (0..COUNT)
        .map(|i| {
            format!("Paragraph {i} with *some* `code` and a [link](https://example.org/{i}).\n\n")
        })
        .collect();
    let pieces: Vec<&str> = paragraphs.iter().map(String::as_str).collect();
    let tokenizer = Tokenizer::byte_level(&pieces);
    let chain = Chain::walk(&tokenizer, &["<|assistant|>"], &pieces, "<|end|>");
    let shape = Llama {
        context: 2048,
        ..Llama::default()
    };
    let page = open_scripted(
        "very-long",
        &Model::new(tokenizer, shape, chain).template(CHATML),
    )?;
    // How often a timer is served, and how long it ever waited. On a busy machine it waits for
    // others, too.
    page.evaluate(
        "window.longest = 0; window.served = 0; window.begun = performance.now(); { let last = begun; setInterval(() => { \
         const now = performance.now(); longest = Math.max(longest, now - last); last = now; served += 1; }, 20); }",
    )?;
    answer(&page)?;
    let count = page.evaluate(&format!(
        "document.querySelectorAll('{LAST_REPLY} > p').length"
    ))?;
    ensure!(count == COUNT, "{count} paragraphs");
    let often = page.evaluate("served * 1000 / (performance.now() - begun)")?;
    let longest = page.evaluate("longest")?;
    eprintln!("a timer was served {often} times a second, after {longest} ms at most");
    ensure!(
        often.as_f64().is_some_and(|often| often > 4.0)
            && longest.as_f64().is_some_and(|ms| ms < 10_000.0),
        "served {often} times a second, after {longest} ms at most"
    );
    // What is typed meanwhile is seen.
    page.click("#prompt")?;
    page.type_text("still here")?;
    ensure!(page.evaluate("document.querySelector('#prompt').value")? == "still here");
    page.assert_clean()
}

// Browsers and sites that fail.

#[test]
fn a_browser_that_keeps_no_files_chats_and_says_so_before_an_import() -> Result<()> {
    let gguf = folder("nowhere-to-keep")?.join("model.gguf");
    reply(&["Yes", " sir"]).gguf().write(&gguf);
    let storage = |of: &str| {
        format!(
            "Object.defineProperty(Object.getPrototypeOf(navigator), 'storage', {{ get: () => ({of}), configurable: true }});"
        )
    };
    let refuses = "{ const root = StorageManager.prototype; \
         root.getDirectory = async () => { throw new DOMException('Security error when calling GetDirectory', 'SecurityError'); }; }";
    let browsers = [
        ("refuses", refuses.to_owned()),
        (
            "no-directory",
            "delete StorageManager.prototype.getDirectory;".to_owned(),
        ),
        ("no-storage", storage("undefined")),
        (
            "no-writing",
            "delete FileSystemFileHandle.prototype.createSyncAccessHandle;".to_owned(),
        ),
    ];
    for (name, prelude) in browsers {
        let counts = "new BroadcastChannel('reads').onmessage = () => {}; { const read = Blob.prototype.arrayBuffer, \
             channel = new BroadcastChannel('reads'); Blob.prototype.arrayBuffer = function () { channel.postMessage(name); return read.call(this); }; }";
        let page = altered(
            &format!("keeps-nothing-{name}"),
            &format!("{prelude}\n{counts}"),
        )?;
        page.set_field("#max-tokens", "4")?;
        ask(&page, "Who is Max?")?;
        page.wait_for(FINISHED, REPLY)?;
        let kept = page.text("section[aria-labelledby=kept-title]")?;
        ensure!(kept.contains("Nothing is kept"), "{name}: {kept}");
        ensure!(
            page.evaluate("document.querySelector('#keep') === null")? == true,
            "{name}: keeping is offered"
        );
        page.evaluate("window.reads = 0; new BroadcastChannel('reads').onmessage = ({ data }) => { if (data == 'full-worker') reads += 1; }; 0")?;
        page.drop_file(&gguf)?;
        page.wait_for(NOTICE, START)?;
        let told = page.text(".notice")?;
        ensure!(
            told.contains("keeps no files") && told.contains("private window"),
            "{name}: {told}"
        );
        ensure!(page.evaluate("reads")? == 0, "{name}: it was read");
        ensure!(page.evaluate("document.querySelector('#import') === null")? == true);
        picture(&page, &format!("case-keeps-nothing-{name}"))?;
        // A file of one's own answers all the same.
        let own = file("own.1bit", fs::read(onebit::tiny_model()?)?)?;
        page.click("#dismiss")?;
        page.drop_file(&own)?;
        page.wait_for(
            &format!("{LOADED} && document.querySelector('#load-progress') === null"),
            START,
        )?;
        ask(&page, "And then?")?;
        page.wait_for(FINISHED, REPLY)?;
        page.assert_accessible()?;
        page.assert_clean()?;
    }
    Ok(())
}

fn visit(server: &Server, path: &str) -> Result<Page> {
    let page = stage()?
        .browser
        .open(&format!("{}/{path}?device=cpu", server.origin()))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(&format!("{LOADED} && {COPIED}"), START)?;
    Ok(page)
}

#[test]
fn a_site_in_trouble_is_answered_for_by_the_kept_page() -> Result<()> {
    for trouble in [
        Trouble::Status(503),
        Trouble::Status(500),
        Trouble::Status(404),
        Trouble::Silent,
        Trouble::Stalled,
    ] {
        let server = Server::start(stage()?.dist.clone())?;
        let page = visit(&server, "")?;
        server.set_trouble(trouble);
        let start = Instant::now();
        page.reload()?;
        page.wait_for(LOADED, SOON)?;
        eprintln!("{trouble:?}: there after {:.1?}", start.elapsed());
        page.set_field("#max-tokens", "4")?;
        ask(&page, "Say hello.")?;
        page.wait_for(FINISHED, REPLY)?;
        ensure!(page.evaluate("document.querySelector('.reply.plain') === null")? == true);
        // Parts that were not there yet are fetched from the copy, too.
        page.click("input[name=mode][value=map]")?;
        page.wait_for("document.querySelector('.cell')", START)?;
        page.click(".cell.ternary")?;
        page.wait_for("document.querySelector('.shares')", SOON)?;
        server.set_trouble(Trouble::None);
    }
    Ok(())
}

fn serve_folder(server: &Server, folder: &Path, path: &str) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        match entry.file_type()?.is_dir() {
            true => serve_folder(server, &entry.path(), &path)?,
            false => server.add(&path, fs::read(entry.path())?)?,
        }
    }
    Ok(())
}

#[test]
fn two_copies_of_the_page_on_one_site_keep_their_own_files() -> Result<()> {
    let server = Server::start(stage()?.dist.clone())?;
    for copy in ["/one", "/two"] {
        serve_folder(&server, &stage()?.dist, copy)?;
        // A folder's own address.
        server.add(
            &format!("{copy}/"),
            fs::read(stage()?.dist.join("index.html"))?,
        )?;
    }
    // The second copy is of another build.
    let index = fs::read_to_string(stage()?.dist.join("index.html"))?;
    let module = index
        .split(['"', '/'])
        .find(|part| part.starts_with("app-") && part.ends_with(".wasm"))
        .context("no module in the page")?;
    let newer = index.replace(module, "app-newer_bg.wasm");
    for page in ["/two/", "/two/index.html"] {
        server.add(page, newer.clone())?;
    }
    server.add(
        "/two/app-newer_bg.wasm",
        fs::read(stage()?.dist.join(module))?,
    )?;
    let page = visit(&server, "one/")?;
    let other = page.another(&format!("{}/two/?device=cpu", server.origin()))?;
    other.emulate(1280, 800, "light")?;
    other.wait_for(&format!("{LOADED} && {COPIED}"), START)?;
    let names = other.evaluate("caches.keys()")?;
    ensure!(
        names.as_array().is_some_and(|names| names.len() == 2),
        "{names}"
    );
    server.set_down(true);
    for page in [&page, &other] {
        page.reload()?;
        page.wait_for(LOADED, START)?;
    }
    Ok(())
}

#[test]
fn the_address_of_a_saved_file_stays_for_a_minute() -> Result<()> {
    let page = open_tiny()?;
    page.evaluate(
        "window.revoked = []; window.timers = []; URL.revokeObjectURL = url => revoked.push(url); \
         { const set = window.setTimeout; window.setTimeout = (what, time, ...more) => { timers.push([time, what]); return set(what, time, ...more); }; } \
         HTMLAnchorElement.prototype.click = function () { window.address = this.href; }",
    )?;
    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('.cell')", START)?;
    page.click("#save-map")?;
    page.wait_for("window.address", START)?;
    page.wait_for("timers.some(([time]) => time >= 60000)", START)?;
    ensure!(
        page.evaluate("revoked.length")? == 0,
        "it was revoked at once"
    );
    let text = page.evaluate("fetch(address).then(answer => answer.text(), String)")?;
    // The page's own policy may forbid the fetch; the address is there all the same.
    eprintln!(
        "{}",
        text.as_str()
            .unwrap_or_default()
            .chars()
            .take(60)
            .collect::<String>()
    );
    page.evaluate("timers.find(([time]) => time >= 60000)[1]()")?;
    ensure!(page.evaluate("revoked.length == 1 && revoked[0] == address")? == true);
    Ok(())
}

#[test]
fn pickers_grey_no_file_out() -> Result<()> {
    let page = open_tiny()?;
    for part in ["chat", "map", "tune"] {
        page.click(&format!("input[name=mode][value={part}]"))?;
        page.wait_for(
            match part {
                "chat" => "document.querySelector('#prompt')",
                "map" => "document.querySelector('[data-for=compare]')",
                _ => "document.querySelector('[data-for=tune-file]')",
            },
            START,
        )?;
        let pickers = page.evaluate("[...document.querySelectorAll('input[type=file]')].map(e => [e.dataset.for, e.accept])")?;
        let pickers = pickers.as_array().context("no pickers")?;
        ensure!(pickers.len() >= 3, "{pickers:?}");
        ensure!(pickers.iter().all(|picker| picker[1] == ""), "{pickers:?}");
    }
    page.assert_clean()
}

// What is dropped.

#[test]
fn several_texts_and_folders_are_learned_from_as_a_whole() -> Result<()> {
    let texts = folder("several-texts")?;
    for name in ["a", "b", "c"] {
        fs::write(
            texts.join(format!("{name}.txt")),
            format!("file {name}: the {name} text is about {name}.\n").repeat(40),
        )?;
    }
    fs::create_dir_all(texts.join("sub/deeper"))?;
    fs::write(texts.join("sub/d.md"), "in a folder inside\n".repeat(40))?;
    fs::write(texts.join("sub/deeper/e.txt"), "deeper still\n".repeat(40))?;
    fs::write(texts.join(".hidden.txt"), "nobody's business\n")?;
    fs::write(texts.join("picture.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;

    let page = open_tiny()?;
    let [a, b, c] = ["a.txt", "b.txt", "c.txt"].map(|name| texts.join(name));
    page.drop_files(&[&c, &a, &b])?;
    let (text, told) = learned(&page, "3 files: a.txt, b.txt, c.txt.")?;
    let expected = [&a, &b, &c].map(fs::read_to_string);
    let expected: String = expected.into_iter().collect::<Result<_, _>>()?;
    ensure!(text == expected, "{told}");
    page.wait_for("document.querySelector('#tune-plan')", START)?;
    picture(&page, "case-several-texts")?;
    page.assert_accessible()?;

    // A folder, with what is in it and its folders; what is no text is named.
    page.drop_file(&texts)?;
    let (text, told) = learned(&page, "5 files")?;
    ensure!(
        told.contains("a.txt, b.txt, c.txt, sub/d.md, sub/deeper/e.txt"),
        "{told}"
    );
    ensure!(
        told.contains("Left out") && told.contains("picture.png"),
        "{told}"
    );
    ensure!(
        text.starts_with(&expected) && text.ends_with("deeper still\n"),
        "{told}"
    );
    ensure!(!text.contains("nobody's business"));
    picture(&page, "case-folder-of-texts")?;

    // Chosen instead of dropped, the same.
    page.choose_file("input[data-for=open-folder]", &texts)?;
    page.wait_for(
        "document.querySelector('#tune-files').innerText == 'Reading' || true",
        START,
    )?;
    let (again, _) = learned(&page, "5 files")?;
    ensure!(again == text);
    page.assert_clean()
}

#[test]
fn an_adapter_where_a_model_is_expected_is_called_one() -> Result<()> {
    // One that fits the loaded model, saved by the page, and in PEFT's layout.
    let page = open_tiny()?;
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    page.click("input[name=tune-kind][value=lora]")?;
    for (selector, value) in [
        (
            "#tune-text",
            "The dog says woof to the cat, again and again.\n"
                .repeat(60)
                .as_str(),
        ),
        ("#tune-steps", "3"),
        ("#tune-batch", "1"),
        ("#tune-rate", "0.05"),
    ] {
        page.set_field(selector, value)?;
    }
    page.wait_for(
        "document.querySelector('#tune-start')?.disabled === false",
        START,
    )?;
    page.click("#tune-start")?;
    page.wait_for("document.querySelector('[data-phase=Done]')", REPLY)?;
    let (_, bytes) = saved(&page, "#tune-save-adapter")?;
    let single = file("woof.safetensors", &bytes)?;
    let (length, rest) = bytes.split_first_chunk().context("no header")?;
    let header = rest.get(..u64::from_le_bytes(*length) as usize);
    let header: Value = serde_json::from_slice(header.context("a short header")?)?;
    let config = header["__metadata__"]["adapter_config.json"]
        .as_str()
        .context("no configuration")?;
    let peft = folder("woof-adapter")?;
    fs::write(
        peft.join("adapter_config.json"),
        format!("\u{feff}{config}"),
    )?;
    fs::write(peft.join("adapter_model.safetensors"), &bytes)?;
    fs::write(peft.join("README.md"), "# An adapter\n")?;

    // Beside the model it answers as the command line has it.
    let adapted = onebit::greedy_with(onebit::tiny_model()?, &single, "Once upon", 12)?;
    for path in [&single, &peft] {
        let page = open_tiny()?;
        page.drop_file(path)?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        page.wait_for(
            &format!("{LOADED} && document.querySelector('#panel').innerText.includes('{name}')"),
            START,
        )?;
        ensure!(page.evaluate(NOTICE)?.is_null());
        crate::continue_greedily(&page, 12)?;
        ask(&page, "Once upon")?;
        page.wait_for(FINISHED, REPLY)?;
        let written = page.evaluate(&format!(
            "document.querySelector('{LAST_REPLY}').textContent"
        ))?;
        ensure!(written == adapted.as_str(), "{written} and {adapted:?}");
        picture(&page, "case-adapter-beside")?;
        page.assert_clean()?;
    }

    // Dropped together with its model.
    let page = open("?device=cpu")?;
    let model = file("together.1bit", fs::read(onebit::tiny_model()?)?)?;
    page.drop_files(&[&peft, &model])?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('#panel').innerText.includes('woof-adapter')"),
        START,
    )?;
    ensure!(page.text(".model-name")? == "Tiny");
    page.assert_clean()?;

    // One of another model.
    let other = folder("other-adapter")?;
    let weights = [
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
            vec![8, 128],
        ),
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
            vec![128, 8],
        ),
    ];
    let weights = ternary_scripted::Weights(
        weights
            .map(|(name, shape)| (name.to_owned(), ternary_scripted::Tensor::zeros(&shape)))
            .to_vec(),
    );
    ternary_scripted::write_safetensors(
        &other.join("adapter_model.safetensors"),
        &weights,
        &[("format", "pt")],
    );
    fs::write(
        other.join("adapter_config.json"),
        json!({ "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"],
            "base_model_name_or_path": "meta-llama/Llama-3.2-1B" })
        .to_string(),
    )?;
    let page = open_tiny()?;
    page.drop_file(&other)?;
    page.wait_for(NOTICE, START)?;
    let told = page.text(".notice")?;
    ensure!(
        told.contains("an adapter, not a model") && told.contains("meta-llama/Llama-3.2-1B"),
        "{told}"
    );
    ensure!(!told.contains("config.json is missing"), "{told}");
    picture(&page, "case-adapter-of-another")?;
    // The model answers as before.
    page.set_field("#max-tokens", "4")?;
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    // Without any model, too.
    let without_model = stage()?.browser.open(&format!(
        "{}/?model=nowhere.1bit&device=cpu",
        stage()?.server.origin()
    ))?;
    without_model.emulate(1280, 800, "light")?;
    without_model.wait_for(NOTICE, START)?;
    without_model.drop_file(&peft)?;
    without_model.wait_for(
        &format!("{NOTICE}?.innerText.includes('an adapter, not a model')"),
        START,
    )?;
    // Its weights alone are known, too.
    page.drop_file(&other.join("adapter_model.safetensors"))?;
    page.wait_for(
        &format!("{NOTICE}?.innerText.includes('an adapter, not a model')"),
        START,
    )?;
    page.assert_clean()
}

#[test]
fn a_model_is_known_by_its_first_bytes() -> Result<()> {
    let blob = folder("blobs")?
        .join("sha256-6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa");
    reply(&["Yes", " sir"]).gguf().write(&blob);
    let page = open_tiny()?;
    page.drop_file(&blob)?;
    page.wait_for(IMPORT_ASKED, START)?;
    page.click("#start-import")?;
    page.wait_for(
        &format!(
            "!document.querySelector('#import') && {LOADED} && document.querySelector('.model-name').innerText != 'Tiny'"
        ),
        REPLY,
    )?;
    page.set_field("#temperature", "0")?;
    answer(&page)?;
    ensure!(page.text(LAST_REPLY)? == "Yes sir");
    // Whatever the ending says.
    let page = open_tiny()?;
    let misnamed = file("weights.txt", fs::read(&blob)?)?;
    page.drop_file(&misnamed)?;
    page.wait_for(IMPORT_ASKED, START)?;
    // A .1bit, too.
    let page = open("?device=cpu")?;
    let renamed = file("download", fs::read(onebit::tiny_model()?)?)?;
    page.drop_file(&renamed)?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('.model-name').innerText == 'Tiny'"),
        START,
    )?;
    page.assert_clean()
}

#[test]
fn a_folder_whose_json_has_byte_order_marks_is_imported() -> Result<()> {
    let folder = folder("marked")?;
    reply(&["Yes", " sir"])
        .setting("eos_token", json!("<|end|>"))
        .write_hf(&folder);
    for name in ["config.json", "tokenizer_config.json"] {
        let text = fs::read_to_string(folder.join(name))?;
        fs::write(folder.join(name), format!("\u{feff}{text}"))?;
    }
    let page = open_tiny()?;
    page.drop_file(&folder)?;
    page.wait_for(IMPORT_ASKED, START)?;
    page.assert_clean()
}

// Texts.

pub fn notice_of(page: &Page, path: &Path) -> Result<String> {
    page.drop_file(path)?;
    page.wait_for(NOTICE, START)?;
    let told = page.text(".notice")?;
    page.click("#dismiss")?;
    Ok(told)
}

#[test]
fn texts_are_decoded_by_their_mark_or_refused_with_the_line() -> Result<()> {
    let words = "Grüße aus Köln – naïve café €5\r\n".repeat(40);
    let units = |of: fn(u16) -> [u8; 2], mark: u16| -> Vec<u8> {
        std::iter::once(mark)
            .chain(words.encode_utf16())
            .flat_map(of)
            .collect()
    };
    let page = open_tiny()?;
    let marked: [(&str, Vec<u8>); 3] = [
        ("utf16le.txt", units(u16::to_le_bytes, 0xfeff)),
        ("utf16be.txt", units(u16::to_be_bytes, 0xfeff)),
        ("utf8-mark.txt", ["\u{feff}", &words].concat().into_bytes()),
    ];
    // A field of a page has its line ends as the page has them.
    let shown = words.replace("\r\n", "\n");
    for (name, bytes) in marked {
        page.drop_file(&file(name, bytes)?)?;
        let (text, told) = learned(&page, &format!("1 file: {name}"))?;
        ensure!(
            text == shown,
            "{name}: {}",
            text.chars().take(60).collect::<String>()
        );
        ensure!(!told.contains("Note"), "{told}");
        ensure!(page.evaluate(NOTICE)?.is_null());
    }
    // Windows-1252, Shift JIS, and UTF-16 without a mark.
    let windows = b"first line\nGr\xfc\xdfe aus K\xf6ln\n".repeat(20);
    let japanese =
        b"one\ntwo\n\x93\xfa\x96\x7b\x8c\xea\x82\xcc\x83\x65\x83\x4c\x83\x58\x83\x67\n".to_vec();
    let unmarked = units(u16::to_le_bytes, 0x20);
    for (name, bytes, expected) in [
        ("windows.txt", windows, ["line 2", "iconv -f WINDOWS-1252"]),
        ("japanese.txt", japanese, ["line 3", "iconv -f SHIFT_JIS"]),
        ("unmarked.txt", unmarked, ["UTF-16", "iconv -f UTF-16LE"]),
    ] {
        let told = notice_of(&page, &file(name, bytes)?)?;
        ensure!(told.contains(name), "{told}");
        for part in expected {
            ensure!(told.contains(part), "{part:?} is not in {told}");
        }
    }
    let kept = page.evaluate("document.querySelector('#tune-text').value")?;
    ensure!(
        kept == shown.as_str() && !kept.as_str().unwrap_or_default().contains('\u{fffd}'),
        "what was refused is learned from"
    );
    // NULs are told of. Beside others, what is refused is left out and told of.
    page.drop_file(&file("nuls.txt", "a line\nnul \0 here\n".repeat(40))?)?;
    let (_, told) = learned(&page, "1 file: nuls.txt")?;
    ensure!(
        told.contains("Note") && told.contains("NUL") && told.contains("line 2"),
        "{told}"
    );
    page.drop_files(&[
        &file("good.txt", "good words\n".repeat(80))?,
        &file("windows.txt", b"Gr\xfc\xdfe\n".repeat(9))?,
    ])?;
    let (text, told) = learned(&page, "1 file: good.txt")?;
    ensure!(told.contains("Left out: windows.txt: line 1"), "{told}");
    ensure!(text == "good words\n".repeat(80));
    picture(&page, "case-encodings")?;
    page.assert_clean()
}

#[test]
fn json_lines_and_arrays_are_read_as_documents() -> Result<()> {
    let page = open_tiny()?;
    let text_of = |name: &str, content: String| -> Result<String> {
        page.drop_file(&file(name, content)?)?;
        Ok(learned(&page, &format!("1 file: {name}"))?.0)
    };
    let end = "<|endoftext|>";
    let expected: String = (0..50).map(|i| format!("line {i}{end}")).collect();
    let lines = |between: &str| -> String {
        (0..50)
            .map(|i| format!("{{\"text\": \"line {i}\"}}{between}"))
            .collect()
    };
    ensure!(text_of("lines.jsonl", lines("\n"))? == expected);
    ensure!(text_of("CAPITALS.JSONL", lines("\r\n"))? == expected);
    let array: Vec<Value> = (0..50)
        .map(|i| json!({ "text": format!("line {i}") }))
        .collect();
    ensure!(text_of("array.json", format!("{:#}", json!(array)))? == expected);
    ensure!(text_of("marked.json", format!("\u{feff} {}", json!(array)))? == expected);

    // Conversations are no text.
    let turns: String = (0..50)
        .map(|i| {
            json!({ "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": format!("Hello {i}") }] }).to_string() + "\n"
        })
        .collect();
    let text = text_of("messages.jsonl", turns)?;
    let told = page.text("#tune-conversations")?;
    ensure!(
        text.is_empty() && told.starts_with("50 conversations"),
        "{text:?} {told}"
    );
    picture(&page, "case-json-lines")?;

    // Half a character is told of, a line that is none refused by its number.
    let half = lines("\n") + "{\"text\": \"cut in half: \\ud83d\"}\n";
    page.drop_file(&file("surrogate.jsonl", half)?)?;
    let (text, told) = learned(&page, "1 file: surrogate.jsonl")?;
    ensure!(
        text.contains("cut in half: \u{fffd}") && told.contains("line 51"),
        "{told}"
    );
    let bad = lines("\n") + "{\"txt\": 1}\n";
    let told = notice_of(&page, &file("bad.jsonl", bad)?)?;
    ensure!(
        told.contains("bad.jsonl") && told.contains("line 51"),
        "{told}"
    );
    page.assert_clean()
}

/// A prompt that takes long to read can be given up while it is read.
#[test]
fn stop_works_while_a_prompt_is_read() -> Result<()> {
    // Every run of the model takes its time.
    let shape = Llama {
        hidden: 256,
        heads: 8,
        kv_heads: 8,
        ffn: 1024,
        layers: 6,
        context: 8192,
        real: true,
        ..Llama::default()
    };
    let tokenizer = Tokenizer::byte_level(&["Yes", " sir"]);
    let model = Model::new(tokenizer, shape, Chain::default()).template(CHATML);
    let page = open_scripted("slow-prompt", &model)?;
    let prompt = "One of many words, again and again. ".repeat(200);
    page.set_field("#prompt", &prompt)?;
    page.click("#send")?;
    page.wait_for("document.querySelector('.thinking')", START)?;
    let start = Instant::now();
    page.click("#stop")?;
    page.wait_for(FINISHED, REPLY)?;
    let took = start.elapsed();
    let told = page.text(".exchange:last-child .figures")?;
    eprintln!("stopped after {took:.1?}: {told}");
    ensure!(
        told.contains("0 tokens") && told.contains("stopped"),
        "{told}"
    );
    // And the page goes on.
    ask(&page, "Hi")?;
    page.wait_for(&format!("document.querySelectorAll('.exchange').length == 2 && document.querySelector('{LAST_REPLY}').textContent"), REPLY)?;
    page.press("Escape")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

/// Special tokens that somebody types are letters: they end no turn.
#[test]
fn special_tokens_in_a_message_are_letters() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "4")?;
    let read = |prompt: &str| -> Result<i64> {
        page.click("#new-chat")?;
        page.wait_for("!document.querySelector('.exchange')", START)?;
        page.set_field("#prompt", prompt)?;
        page.click("#send")?;
        page.wait_for(FINISHED, REPLY)?;
        let told = page.text(".exchange:last-child .figures")?;
        let tokens = told.split("prompt of ").nth(1);
        let tokens = tokens.and_then(|rest| rest.split(' ').next());
        Ok(tokens.context("no figure")?.replace(',', "").parse()?)
    };
    let (with, without) = (read("What does <|end|> mean?")?, read("What does  mean?")?);
    // As a special token it would be one.
    eprintln!("{with} and {without} tokens");
    ensure!(with > without + 1, "{with} and {without} tokens");
    page.assert_clean()
}

// Chat templates of others.

#[test]
fn templates_that_want_a_date_parts_or_no_system_message_are_answered() -> Result<()> {
    let generation = "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|end|>{% endgeneration %}\
        {% else %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    let date = format!(
        "{{%- set today = strftime_now(\"%Y-%m-%d\") %}}<|system|>Today is {{{{ today }}}}.<|end|>{CHATML}"
    );
    let parts = "{% for m in messages %}<|{{ m['role'] }}|>{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}\
        {% endif %}{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    let no_system = "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('user and assistant must take turns') }}{% endif %}{% if message['role'] == 'user' %}\
        {{ '<|user|>' + message['content'] + '<|end|><|assistant|>' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + '<|end|>' }}\
        {% else %}{{ raise_exception('this template knows no such role') }}{% endif %}{% endfor %}";
    for (name, template) in [
        ("generation-tags", generation),
        ("strftime", date.as_str()),
        ("parts", parts),
        ("no-system", no_system),
    ] {
        let model = reply(&["I do", " hear", " you"]).template(template);
        let page = open_scripted(&format!("template-{name}"), &model)?;
        let read = |page: &Page| -> Result<usize> {
            answer(page)?;
            ensure!(
                page.text(LAST_REPLY)? == "I do hear you",
                "{name}: {}",
                page.text(LAST_REPLY)?
            );
            ensure!(page.evaluate(NOTICE)?.is_null(), "{name}");
            let figures = page.text(".exchange:last-child .figures")?;
            let tokens = figures
                .split("prompt of ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            Ok(tokens.context("no figure")?.parse()?)
        };
        let plain = read(&page)?;
        // What the system says is read, wherever the template has room for it.
        page.click("#new-chat")?;
        page.wait_for("!document.querySelector('.exchange')", START)?;
        page.set_field("#system-prompt", "Be kind.")?;
        let with_system = read(&page)?;
        eprintln!("{name}: {plain} and {with_system} tokens");
        ensure!(
            with_system >= plain + "Be kind.".len(),
            "{name}: {plain} and {with_system} tokens"
        );
        page.assert_clean()?;
    }
    Ok(())
}

/// A template is a stranger's program: one that never ends costs a message, not the page.
#[test]
fn a_template_that_never_ends_is_given_up() -> Result<()> {
    let endless = "{% for i in range(100000) %}{% for j in range(100000) %}{{ '' }}{% endfor %}{% endfor %}<|assistant|>";
    let page = open_scripted("endless-template", &reply(&["Yes", " sir"]))?;
    let model = reply(&["Yes", " sir"]).template(endless);
    let folder = folder("endless-template-import")?;
    model.write_hf(&folder);
    page.drop_file(&folder)?;
    page.wait_for(&format!("{IMPORT_ASKED} || {NOTICE}"), SOON)?;
    if page.evaluate(IMPORT_ASKED)? == true {
        eprintln!("{}", page.text("#import-told")?);
        page.click("#start-import")?;
        page.wait_for(
            &format!("!document.querySelector('#import') && {LOADED} && document.querySelector('#kept').innerText.includes('import.1bit')"),
            REPLY,
        )?;
        page.set_field("#prompt", "Hello")?;
        // Where it has no chat any more, a text is continued.
        let chats =
            page.evaluate("document.querySelector('input[name=mode][value=chat]').checked")?;
        page.click("#send")?;
        page.wait_for(&format!("{NOTICE} || {FINISHED}"), SOON)?;
        if chats == true {
            let told = page.text(".notice")?;
            ensure!(
                told.contains("does not end") || told.contains("steps"),
                "{told}"
            );
        }
    }
    page.assert_accessible()?;
    page.assert_clean()
}
