//! Nothing is lost: the model in use is there again after a reload, what was made here is kept,
//! conversations know their models, and messages that can't be sent stay.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use page_tests::{Page, Served, onebit, scratch, stage};
use serde_json::{Value, json};

use crate::explorer::saved;
use crate::kept_chats::{answered, reload};
use crate::look::{picture, sound_layout};
use crate::{FINISHED, LOADED, REPLY, START, ask, open_tiny};

pub const NAME: &str = "document.querySelector('.model-name')?.innerText";
const KEPT_NAMES: &str = "[...document.querySelectorAll('#kept .kept-name')].map(e => e.innerText)";

pub fn loaded(page: &Page, name: &str) -> Result<()> {
    page.wait_for(&format!("{LOADED} && {NAME} == {}", json!(name)), START)
}

/// The shipped model, in a file called so.
fn other_model(file: &str) -> Result<PathBuf> {
    let copy = scratch().join(file);
    fs::copy(&stage()?.shipped, &copy)?;
    Ok(copy)
}

/// What was fine-tuned is a kept model from the moment it is chatted with.
#[test]
fn what_was_learnt_is_there_after_a_reload() -> Result<()> {
    let page = open_tiny()?;
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    page.set_field(
        "#tune-text",
        &"The dog sees the cat. The cat runs.\n".repeat(80),
    )?;
    page.set_field("#tune-steps", "3")?;
    page.wait_for("document.querySelector('#tune-plan')", START)?;
    page.wait_for("!document.querySelector('#tune-start').disabled", START)?;
    page.click("#tune-start")?;
    page.wait_for("document.querySelector('[data-phase=Done]')", REPLY)?;
    page.click("#tune-keep")?;
    loaded(&page, "Tiny, fine-tuned")?;
    page.wait_for(
        &format!(
            "{KEPT_NAMES}.includes('Tiny, fine-tuned.1bit') && !document.querySelector('#keep')"
        ),
        START,
    )?;
    answered(&page, "Who is Max?")?;
    reload(&page)?;
    loaded(&page, "Tiny, fine-tuned")?;
    // Its conversation is with it, and says nothing of another.
    page.wait_for("document.querySelector('.exchange')", START)?;
    ensure!(
        page.evaluate("document.querySelector('#model-change')")?
            .is_null()
    );
    page.assert_clean()
}

/// What was only opened says so, and is there again only if it was kept.
#[test]
fn an_opened_file_is_offered_to_be_kept() -> Result<()> {
    let page = open_tiny()?;
    ensure!(page.text("#unkept-model")?.is_empty());
    page.drop_file(&other_model("opened.1bit")?)?;
    page.wait_for("document.querySelector('#keep')", START)?;
    let told = page.text("#unkept-model")?;
    ensure!(told.contains("this visit only"), "{told}");
    for (device, width) in [("desktop", 1440), ("phone", 390), ("narrow", 320)] {
        page.emulate(width, 900, "light")?;
        picture(&page, &format!("unkept-{device}-light"))?;
        sound_layout(&page)?;
    }
    page.emulate(1280, 800, "light")?;
    page.assert_accessible()?;
    // Not kept: the model before it is opened.
    reload(&page)?;
    ensure!(page.text("#unkept-model")?.is_empty());
    page.drop_file(&other_model("opened.1bit")?)?;
    page.wait_for("document.querySelector('#keep')", START)?;
    let name = page.text(".model-name")?;
    page.click("#keep")?;
    page.wait_for(
        &format!("{KEPT_NAMES}.includes('opened.1bit') && !document.querySelector('#keep')"),
        START,
    )?;
    reload(&page)?;
    ensure!(page.text(".model-name")? == name);
    ensure!(page.text("#unkept-model")?.is_empty());
    // The same file once more is what is kept already.
    page.drop_file(&scratch().join("opened.1bit"))?;
    page.wait_for(LOADED, START)?;
    ensure!(page.evaluate("document.querySelector('#keep')")?.is_null());
    page.assert_clean()
}

/// A kept model that is gone, in another tab say, is told of, and the page's own is opened.
#[test]
fn a_model_in_use_that_is_gone_is_told() -> Result<()> {
    let page = open_tiny()?;
    page.drop_file(&other_model("gone.1bit")?)?;
    page.wait_for("document.querySelector('#keep')", START)?;
    page.click("#keep")?;
    page.wait_for(&format!("{KEPT_NAMES}.includes('gone.1bit')"), START)?;
    // Chromium frees a file only a moment after it was closed.
    page.evaluate(
        "(async () => { const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('models'); \
           for await (const [name] of folder) for (let tries = 0; ; tries++) \
             try { await folder.removeEntry(name); break; } \
             catch (thrown) { if (tries == 40) throw thrown; await new Promise(done => setTimeout(done, 50)); } })()",
    )?;
    // Adapters that were beside it are none of the other model's.
    page.evaluate(
        "(() => { const kept = JSON.parse(localStorage['ternary-core.model']); kept.adapters = [['gone', 'beside']]; \
           localStorage['ternary-core.model'] = JSON.stringify(kept); })()",
    )?;
    page.reload()?;
    loaded(&page, "Tiny")?;
    // Long enough for them to be refused.
    page.evaluate("new Promise(done => setTimeout(done, 1500))")?;
    let told = page.text(".notice")?;
    ensure!(told.contains("gone.1bit was in use"), "{told}");
    picture(&page, "gone-desktop-light")
}

/// Another address is another wish: what it asks for is opened.
#[test]
fn another_address_opens_what_it_asks_for() -> Result<()> {
    let page = open_tiny()?;
    page.drop_file(&other_model("wish.1bit")?)?;
    page.wait_for("document.querySelector('#keep')", START)?;
    page.click("#keep")?;
    page.wait_for(&format!("{KEPT_NAMES}.includes('wish.1bit')"), START)?;
    let origin = stage()?.server.origin();
    let other = page.another(&format!("{origin}/?model=tiny.1bit&device=cpu&other"))?;
    other.emulate(1280, 800, "light")?;
    other.wait_for(LOADED, START)?;
    // The same wish as before: what was in use.
    other.wait_for(&format!("{KEPT_NAMES}.includes('wish.1bit')"), START)?;
    ensure!(other.text(".model-name")? == "Stories");
    let another = page.another(&format!("{origin}/?model=./tiny.1bit&device=cpu"))?;
    another.emulate(1280, 800, "light")?;
    another.wait_for(LOADED, START)?;
    ensure!(another.text(".model-name")? == "Tiny");
    Ok(())
}

/// Kept models have names one can change, never two alike, in every tab at once.
#[test]
fn kept_models_are_renamed_in_every_tab() -> Result<()> {
    // The tab that was opened last is the one in front.
    let other = open_tiny()?;
    let origin = stage()?.server.origin();
    let page = other.another(&format!("{origin}/?model=tiny.1bit&device=cpu"))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for(LOADED, START)?;
    for file in ["first.1bit", "second.1bit"] {
        page.drop_file(&other_model(file)?)?;
        page.wait_for("document.querySelector('#keep')", START)?;
        page.click("#keep")?;
        page.wait_for(&format!("{KEPT_NAMES}.includes('{file}')"), START)?;
    }
    other.wait_for(&format!("{KEPT_NAMES}.includes('second.1bit')"), START)?;
    let rename = |from: &str, to: &str| -> Result<()> {
        page.click(&format!("[aria-label='Rename {from}']"))?;
        page.wait_for("document.activeElement.className == 'naming'", START)?;
        page.evaluate("document.activeElement.value = ''")?;
        page.type_text(to)?;
        page.press("Enter")
    };
    rename("first.1bit", "Novels")?;
    page.wait_for(&format!("{KEPT_NAMES}.includes('Novels')"), START)?;
    page.assert_accessible()?;
    rename("second.1bit", "Novels")?;
    page.wait_for(&format!("{KEPT_NAMES}.includes('Novels (2)')"), START)?;
    other.wait_for(
        &format!("{KEPT_NAMES}.includes('Novels') && {KEPT_NAMES}.includes('Novels (2)')"),
        START,
    )?;
    // It is loaded under its new name, here and after a reload.
    page.click("[aria-label='Load: Novels']")?;
    page.wait_for(LOADED, START)?;
    reload(&page)?;
    ensure!(
        page.evaluate("document.querySelector('.notice')")?
            .is_null()
    );
    page.assert_clean()
}

/// A conversation knows its model, and offers to load it.
#[test]
fn a_conversation_offers_its_model() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "6")?;
    answered(&page, "Who is Max?")?;
    page.drop_file(&other_model("own-stories.1bit")?)?;
    loaded(&page, "Stories")?;
    page.wait_for("document.querySelector('#load-its-model')", START)?;
    let told = page.text("#model-change")?;
    ensure!(told.contains("Tiny") && told.contains("Stories"), "{told}");
    // The gauge is the present model's.
    let gauge = page.text(".context")?;
    picture(&page, "other-model-desktop-light")?;
    page.assert_accessible()?;
    page.click("#load-its-model")?;
    loaded(&page, "Tiny")?;
    page.wait_for("!document.querySelector('#model-change')", START)?;
    ensure!(page.text(".context")? != gauge, "{gauge}");
    page.assert_clean()
}

/// A message that can't be read, or not yet, stays where it was written, and the page says why.
#[test]
fn messages_that_are_not_sent_stay() -> Result<()> {
    let page = open_tiny()?;
    let chats = "document.querySelectorAll('#chat-list .chat').length";
    let long = "the dog and the cat ran ".repeat(400);
    page.set_field("#prompt", &long)?;
    page.click("#prompt")?;
    page.press("Enter")?;
    page.wait_for("document.querySelector('.notice')", START)?;
    eprintln!("{}", page.text(".notice")?);
    let typed = "document.querySelector('#prompt').value";
    ensure!(
        page.evaluate(typed)? == long.as_str(),
        "the message is gone"
    );
    // Nothing was said: there is no conversation.
    ensure!(page.evaluate("document.querySelectorAll('.exchange').length")? == 0);
    page.wait_for(&format!("{chats} == 0"), START)?;
    page.click("#dismiss")?;
    page.set_field("#prompt", "")?;
    page.set_field("#max-tokens", "6")?;
    answered(&page, "Who is Max?")?;
    page.set_field("#prompt", &long)?;
    page.click("#prompt")?;
    page.press("Enter")?;
    page.wait_for("document.querySelector('.notice')", START)?;
    ensure!(page.evaluate(typed)? == long.as_str());
    ensure!(page.evaluate("document.querySelectorAll('.exchange').length")? == 1);
    reload(&page)?;
    page.wait_for("document.querySelector('.exchange')", START)?;
    ensure!(page.evaluate("document.querySelectorAll('.exchange').length")? == 1);

    // While a model loads.
    let server = &stage()?.server;
    server.serve(
        "/late.1bit",
        Served {
            content: fs::read(onebit::tiny_model()?)?,
            pause: Duration::from_millis(200),
            ..Default::default()
        },
    )?;
    let page = stage()?
        .browser
        .open(&format!("{}/?model=late.1bit&device=cpu", server.origin()))?;
    page.emulate(1280, 800, "light")?;
    page.wait_for("document.querySelector('#load-progress')", START)?;
    ask(&page, "Who is Lily?")?;
    page.wait_for("document.querySelector('#held').innerText", START)?;
    let told = page.text("#held")?;
    ensure!(told.contains("No model is loaded yet"), "{told}");
    ensure!(page.evaluate(typed)? == "Who is Lily?");
    picture(&page, "held-desktop-light")?;
    page.assert_accessible()?;
    page.wait_for(
        &format!("{LOADED} && !document.querySelector('#held').innerText"),
        REPLY,
    )?;
    page.click("#send")?;
    page.wait_for(FINISHED, REPLY)?;
    ensure!(page.evaluate(typed)? == "");
    page.assert_clean()
}

/// An edited map makes another model, which is kept like any other.
#[test]
fn an_edited_map_is_offered_to_be_kept() -> Result<()> {
    let page = open_tiny()?;
    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('.cell')", START)?;
    let (_, map) = saved(&page, "#save-map")?;
    let mut map: Value = serde_json::from_slice(&map)?;
    map["layer_modes"][1] = "binary".into();
    let file = scratch().join("half-binary.json");
    fs::write(&file, map.to_string())?;
    page.drop_file(&file)?;
    page.wait_for("!document.querySelector('#apply-map').disabled", START)?;
    page.click("#apply-map")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('#keep')"),
        REPLY,
    )?;
    let modes = page.text(".modes")?;
    page.click("#keep")?;
    page.wait_for("!document.querySelector('#keep')", START)?;
    page.wait_for(&format!("{KEPT_NAMES}.includes('Tiny.1bit')"), START)?;
    reload(&page)?;
    page.wait_for("document.querySelector('.modes')", START)?;
    ensure!(page.text(".modes")? == modes);
    page.assert_clean()
}

/// What was trained as adapters is kept, used again after a reload, and switched with a click,
/// alone and together.
#[test]
fn adapters_are_kept_and_switched() -> Result<()> {
    let page = open_tiny()?;
    let listed =
        "[...document.querySelectorAll('#adapters li')].map(e => e.innerText.trim()).join()";
    for (round, text) in ["The dog sees the cat. ", "Hurrah, said the bird! "]
        .iter()
        .enumerate()
    {
        page.click("input[name=mode][value=tune]")?;
        page.wait_for("document.querySelector('#tune-text')", START)?;
        page.set_field("#tune-text", &text.repeat(120))?;
        page.click("input[name=tune-kind][value=lora]")?;
        page.set_field("#tune-steps", "12")?;
        page.wait_for("document.querySelector('#tune-plan')", START)?;
        page.wait_for("!document.querySelector('#tune-start').disabled", START)?;
        page.click("#tune-start")?;
        page.wait_for("document.querySelector('[data-phase=Done]')", REPLY)?;
        page.click("#tune-keep")?;
        let count = round + 1;
        page.wait_for(
            &format!(
                "{LOADED} && document.querySelector('#prompt') && document.querySelectorAll('#adapters li').length == {count} \
                 && !document.querySelector('.keep-adapter')"
            ),
            REPLY,
        )?;
        // The next is trained on the model alone.
        page.click(&format!("#adapters li:nth-child({count}) input"))?;
        page.wait_for(
            &format!("{LOADED} && !document.querySelector('#adapters input:checked')"),
            REPLY,
        )?;
    }
    eprintln!("{}", page.evaluate(listed)?);
    let answer = |page: &Page| -> Result<String> {
        crate::continue_greedily(page, 24)?;
        answered(page, "The dog")?;
        page.text(crate::LAST_REPLY)
    };
    let choose = |first: bool, second: bool| -> Result<String> {
        for (index, wanted) in [(1, first), (2, second)] {
            let input = format!("#adapters li:nth-child({index}) input");
            if page.evaluate(&format!("document.querySelector('{input}').checked"))? != wanted {
                page.click(&input)?;
                page.wait_for(
                    &format!("{LOADED} && document.querySelector('{input}').checked == {wanted} && !document.querySelector('{input}').disabled"),
                    REPLY,
                )?;
            }
        }
        answer(&page)
    };
    let replies = [
        choose(false, false)?,
        choose(true, false)?,
        choose(true, true)?,
        choose(false, true)?,
    ];
    eprintln!("{replies:#?}");
    for (index, reply) in replies.iter().enumerate() {
        ensure!(!replies[..index].contains(reply), "{reply} came twice");
    }
    page.emulate(390, 844, "light")?;
    page.click("#panel-toggle")?;
    picture(&page, "adapters-phone-light")?;
    sound_layout(&page)?;
    page.assert_accessible()?;
    page.emulate(1280, 800, "light")?;

    page.reload()?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('#adapters li:nth-child(2) input')?.checked"),
        REPLY,
    )?;
    ensure!(answer(&page)? == replies[3]);
    page.assert_clean()
}
