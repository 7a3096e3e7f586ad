//! Published models, imported in the page: the same bytes as `onebit import` writes, and nothing
//! left of what ends early.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use page_tests::published::{self, Shape};
use page_tests::{Page, onebit, stage};
use serde_json::json;

use crate::explorer::saved;
use crate::look::{picture, sound_layout};
use crate::{FINISHED, LAST_REPLY, LOADED, REPLY, START, ask, continue_greedily, open_tiny};

pub const ASKED: &str = "document.querySelector('#start-import')?.checkVisibility()";
pub const OVER: &str = "!document.querySelector('#import')";
const TOKENS: usize = 24;
const PROMPT: &str = "Once upon a time";
/// Models in the store.
pub const STORED: &str = "(async () => { const names = []; \
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('models', { create: true }); \
    for await (const name of folder.keys()) if (!name.includes('.')) names.push(name); return names.length; })()";
/// Every read of a published file waits, in the full worker alone.
const SLOWLY: &str = "if (self.name == 'full-worker') { const read = Blob.prototype.arrayBuffer; \
    Blob.prototype.arrayBuffer = async function () { await new Promise(wake => setTimeout(wake, 400)); return read.call(this); }; }";
/// Every read tells how large the importer's memory is by then.
const MEASURED: &str = "if (self.name == 'full-worker') { const start = WebAssembly.instantiate; \
    WebAssembly.instantiate = async (...given) => { const found = await start(...given); \
      const { memory } = found.exports, channel = new BroadcastChannel('memory'), read = Blob.prototype.arrayBuffer; \
      Blob.prototype.arrayBuffer = function () { channel.postMessage(memory.buffer.byteLength); return read.call(this); }; return found; }; }";
const SMALL: Shape = Shape {
    hidden: 128,
    ffn: 256,
    layers: 2,
    vocab: 400,
};

/// Starts the import that the page asks about, and waits for its model.
fn import(page: &Page, name: &str) -> Result<()> {
    page.wait_for(ASKED, START)?;
    page.click("#start-import")?;
    page.wait_for(
        &format!(
            "{OVER} && {LOADED} && document.querySelector('#kept').innerText.includes('{name}.1bit')"
        ),
        REPLY,
    )
}

/// The bytes of a kept model, saved as a reader would.
fn kept(page: &Page, name: &str) -> Result<Vec<u8>> {
    let (saved_as, bytes) = saved(page, &format!("[aria-label='Save {name}.1bit as a file']"))?;
    ensure!(saved_as == format!("{name}.1bit"), "{saved_as}");
    Ok(bytes)
}

pub fn equal(page: &Page, name: &str, native: &Path) -> Result<()> {
    let (page, native) = (kept(page, name)?, fs::read(native)?);
    let apart = page.iter().zip(&native).position(|(a, b)| a != b);
    ensure!(
        page == native,
        "{name}: {} bytes in the page, {} natively, first other at {apart:?}",
        page.len(),
        native.len()
    );
    Ok(())
}

/// What is loaded writes what the command line does with `model`.
fn writes_as(page: &Page, model: &Path) -> Result<()> {
    continue_greedily(page, TOKENS)?;
    ask(page, PROMPT)?;
    page.wait_for(FINISHED, REPLY)?;
    let written = page.evaluate(&format!(
        "document.querySelector('{LAST_REPLY}').textContent"
    ))?;
    let native = onebit::greedy(model, PROMPT, TOKENS)?;
    ensure!(written == native.as_str(), "{written} and {native:?}");
    Ok(())
}

#[test]
fn a_gguf_file_is_imported() -> Result<()> {
    let gguf = published::folder("gguf")?.join("from-gguf.gguf");
    onebit::export(onebit::tiny_model()?, &gguf, &[("--format", "gguf")])?;
    let page = open_tiny()?;
    page.drop_file(&gguf)?;
    page.wait_for(ASKED, START)?;
    let found = page.text("#import-told")?;
    ensure!(
        found.contains("Found qwen3") && found.contains("ternary"),
        "{found}"
    );
    for (device, width, height) in [("desktop", 1280, 800), ("phone", 390, 844)] {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            picture(&page, &format!("import-{device}-{scheme}"))?;
            page.assert_accessible()?;
        }
        sound_layout(&page)?;
    }
    page.emulate(1280, 800, "light")?;
    // The old model answers while the question stands.
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    import(&page, "from-gguf")?;
    let native = onebit::import(&gguf, "f16")?;
    equal(&page, "from-gguf", &native)?;
    writes_as(&page, &native)?;

    // It is there after a reload, and its head may be another.
    page.reload()?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('#kept li')"),
        START,
    )?;
    let before = page.text("#kept")?;
    page.choose_file("input[data-for=open-file]", &gguf)?;
    page.wait_for(ASKED, START)?;
    page.set_field("#import-head", "eightbit")?;
    let told = page.text("#import-told")?;
    page.click("#start-import")?;
    page.wait_for(
        &format!(
            "{OVER} && {LOADED} && document.querySelector('#kept').innerText != {}",
            json!(before)
        ),
        REPLY,
    )?;
    let native = onebit::import(&gguf, "eightbit")?;
    eprintln!("{told} {} bytes natively", fs::metadata(&native)?.len());
    writes_as(&page, &native)?;
    page.assert_clean()
}

#[test]
fn a_folder_is_imported() -> Result<()> {
    let page = open_tiny()?;
    // With a tokenizer: it writes.
    let folder = published::folder("from-folder")?;
    let flags = [("--format", "hf"), ("--pack-mode", "dense")];
    onebit::export(onebit::tiny_model()?, &folder, &flags)?;
    page.drop_file(&folder)?;
    import(&page, "from-folder")?;
    let native = onebit::import(&folder, "f16")?;
    equal(&page, "from-folder", &native)?;
    writes_as(&page, &native)?;

    // As others publish: packed and float masters, ternary and float.
    for name in published::FIXTURES {
        let Some(folder) = published::fixture(name) else {
            eprintln!("{name} is left out: it is not in ONEBIT_SHARED");
            continue;
        };
        page.choose_file("input[data-for=open-folder]", &folder)?;
        page.wait_for(ASKED, START)?;
        ensure!(page.text("#import")?.contains("no tokenizer.json"));
        import(&page, name)?;
        equal(&page, name, &onebit::import(&folder, "f16")?)?;
    }
    page.assert_clean()
}

/// Context and precisions are asked for, with what they cost, and what is chosen is what comes.
#[test]
fn choices_make_another_model() -> Result<()> {
    let folder = published::folder("chosen")?;
    published::write(&folder, SMALL, json!({ "max_position_embeddings": 4096 }))?;
    let page = open_tiny()?;
    page.drop_file(&folder)?;
    page.wait_for(ASKED, START)?;
    let options = |field: &str| {
        page.evaluate(&format!(
            "[...document.querySelectorAll('#{field} option')].map(e => e.innerText).join('; ')"
        ))
    };
    let contexts = options("import-context")?;
    let contexts = contexts.as_str().context("no contexts")?;
    ensure!(
        contexts.starts_with("4,096 tokens, up to ")
            && contexts.contains("; 1,024 tokens, up to ")
            && contexts.ends_with("of memory"),
        "{contexts}"
    );
    let becomes = |page: &Page| -> Result<String> {
        let told = page.text("#import-told")?;
        let size = told.split("become a .1bit of ").nth(1);
        let size = size.and_then(|rest| rest.split(',').next());
        Ok(size.context(told.clone())?.to_owned())
    };
    let mut sizes = vec![becomes(&page)?];
    for (field, value) in [
        ("import-body", "f16"),
        ("import-head", "eightbit"),
        ("import-context", "1024"),
    ] {
        page.set_field(&format!("#{field}"), value)?;
        sizes.push(becomes(&page)?);
    }
    eprintln!("{sizes:?}");
    // The context changes no size.
    ensure!(
        sizes[0] != sizes[1] && sizes[1] != sizes[2] && sizes[2] == sizes[3],
        "{sizes:?}"
    );
    picture(&page, "import-choices-desktop-light")?;
    import(&page, "chosen")?;
    page.click("#model-info summary")?;
    let card = page.text("#panel")?;
    ensure!(card.contains("1,024 tokens"), "{card}");
    let native = onebit::import_with(
        &folder,
        &[
            ("--head", "eightbit"),
            ("--body", "f16"),
            ("--context", "1024"),
        ],
    )?;
    equal(&page, "chosen", &native)?;
    page.assert_clean()
}

/// What can't be imported is told with what it is and what could be, and changes nothing.
#[test]
fn what_is_not_supported_is_refused() -> Result<()> {
    let page = open_tiny()?;
    page.wait_for("document.querySelectorAll('#kept li').length == 1", START)?;
    let bloom = published::folder("refused-architecture")?;
    published::write(
        &bloom,
        SMALL,
        json!({ "architectures": ["BloomForCausalLM"] }),
    )?;
    let empty = published::folder("refused-empty")?;
    fs::write(empty.join("pytorch_model.bin"), "no model")?;
    let broken = published::folder("refused-gguf")?.join("broken.gguf");
    fs::write(&broken, "GGUF and then something else altogether")?;
    // Found out while it is written.
    let late = published::folder("refused-late")?;
    published::write(&late, SMALL, json!({}))?;
    let weights = late.join("model.safetensors");
    let mut bytes = fs::read(&weights)?;
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes)?;

    let cases: [(&Path, &[&str]); 4] = [
        (&bloom, &["BloomForCausalLM", "LlamaForCausalLM"]),
        (&empty, &["pytorch_model.bin", "config.json is missing"]),
        (&broken, &["broken.gguf", "GGUF version"]),
        (&late, &["NaN"]),
    ];
    for (path, expected) in cases {
        page.drop_file(path)?;
        page.wait_for(
            &format!("document.querySelector('.notice') || {ASKED}"),
            START,
        )?;
        if path == late {
            page.click("#start-import")?;
        }
        page.wait_for("document.querySelector('.notice')", START)?;
        let notice = page.text(".notice")?;
        eprintln!("{notice}\n");
        for part in expected {
            ensure!(notice.contains(part), "{part} is not in {notice}");
        }
        ensure!(page.evaluate(OVER)? == true);
        ensure!(page.evaluate(STORED)? == 1, "something is left of {path:?}");
        if path == bloom {
            picture(&page, "import-refused-desktop-light")?;
            page.assert_accessible()?;
        }
        page.click("#dismiss")?;
    }
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

#[test]
fn an_import_can_be_given_up() -> Result<()> {
    let folder = published::folder("given-up")?;
    published::write(&folder, SMALL, json!({}))?;
    let address = stage()?.altered("slow-import", SLOWLY)?;
    let page = stage()?
        .browser
        .open(&format!("{address}?model=tiny.1bit&device=cpu"))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    for after in [
        "document.querySelector('#import')",
        ASKED,
        "document.querySelector('#import-progress')?.value > 0.3",
    ] {
        page.drop_file(&folder)?;
        if after.contains("progress") {
            page.wait_for(ASKED, START)?;
            page.click("#start-import")?;
        }
        page.wait_for(after, START)?;
        if after.contains("progress") {
            ensure!(page.evaluate(STORED)? == 2);
            // Its matrices fill one after the other.
            let filled = page.evaluate(
                "[...document.querySelectorAll('#import .part')].map(e => parseInt(e.style.getPropertyValue('--here')))",
            )?;
            let filled: Vec<u64> = serde_json::from_value(filled)?;
            ensure!(
                filled.len() == 15 && filled.contains(&100) && filled.contains(&0),
                "{filled:?}"
            );
            for (device, width) in [("desktop", 1280), ("phone", 390)] {
                page.emulate(width, 844, "light")?;
                picture(&page, &format!("importing-{device}-light"))?;
                sound_layout(&page)?;
            }
            page.emulate(1280, 800, "light")?;
            page.assert_accessible()?;
        }
        page.click("#cancel-import")?;
        page.wait_for(OVER, START)?;
        ensure!(
            page.evaluate("document.querySelector('.notice')")?
                .is_null()
        );
        page.wait_for("document.querySelectorAll('#kept li').length == 1", START)?;
        ensure!(page.evaluate(STORED)? == 1, "something is left");
    }
    // A visit that ends in the middle leaves nothing either.
    page.drop_file(&folder)?;
    page.wait_for(ASKED, START)?;
    page.click("#start-import")?;
    page.wait_for(
        "document.querySelector('#import-progress')?.value > 0.3",
        START,
    )?;
    page.reload()?;
    page.wait_for(
        &format!("{LOADED} && document.querySelectorAll('#kept li').length == 1"),
        START,
    )?;
    ensure!(
        page.evaluate(STORED)? == 1,
        "something is left of the visit before"
    );
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

/// Memory is for a tensor, not for the model.
#[test]
fn the_importer_needs_memory_for_one_tensor() -> Result<()> {
    const LARGE: Shape = Shape {
        hidden: 512,
        ffn: 1408,
        layers: 10,
        vocab: 400,
    };
    // The program itself, and some pieces of the largest tensor.
    const MOST: f64 = 48e6;
    let folder = published::folder("large")?;
    published::write(&folder, LARGE, json!({}))?;
    let bytes = fs::metadata(folder.join("model.safetensors"))?.len();
    let address = stage()?.altered("measured-import", MEASURED)?;
    let page = stage()?
        .browser
        .open(&format!("{address}?model=tiny.1bit&device=cpu"))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    page.evaluate("window.sizes = []; new BroadcastChannel('memory').onmessage = ({ data }) => sizes.push(data); 0")?;
    page.drop_file(&folder)?;
    import(&page, "large")?;
    let most = page.evaluate("Math.max(...sizes)")?;
    let most = most.as_f64().context("no read was seen")?;
    eprintln!("{bytes} bytes imported in {most} bytes of memory");
    ensure!(
        most < MOST && bytes as f64 > 2.0 * MOST,
        "{most} bytes of memory"
    );
    page.assert_clean()
}
