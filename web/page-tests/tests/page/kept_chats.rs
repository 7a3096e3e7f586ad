//! Conversations are kept, named, changed, deleted, saved as files, and found again from every tab.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, scratch, stage};
use serde_json::{Value, json};

use crate::look::{picture, sound_layout};
use crate::{FINISHED, LAST_REPLY, LOADED, REPLY, START, ask, open, open_tiny};

/// Everything handed over was written.
pub const SAVED: &str = "document.querySelectorAll('#chat-list .chat').length";

pub fn answered(page: &Page, prompt: &str) -> Result<()> {
    let count = exchanges(page)?;
    ask(page, prompt)?;
    page.wait_for(
        &format!("document.querySelectorAll('.exchange').length > {count} && {FINISHED}"),
        REPLY,
    )
}

fn exchanges(page: &Page) -> Result<u64> {
    let count = page.evaluate("document.querySelectorAll('.exchange').length")?;
    count.as_u64().context("no count")
}

fn titles(page: &Page) -> Result<Vec<String>> {
    let titles =
        page.evaluate("[...document.querySelectorAll('#chat-list .chat')].map(e => e.innerText)")?;
    Ok(serde_json::from_value(titles)?)
}

/// Clicks the conversation with this title.
fn choose(page: &Page, title: &str) -> Result<()> {
    page.evaluate(&format!(
        "[...document.querySelectorAll('#chat-list .chat')].find(e => e.innerText == {}).click()",
        json!(title)
    ))?;
    page.wait_for(
        &format!(
            "document.querySelector('#chat-list [aria-current]')?.innerText == {}",
            json!(title)
        ),
        START,
    )
}

pub fn reload(page: &Page) -> Result<()> {
    page.reload()?;
    page.wait_for(LOADED, START)
}

fn focused(page: &Page) -> Result<String> {
    let focused = page.evaluate("document.activeElement.id || document.activeElement.className")?;
    Ok(focused.as_str().unwrap_or_default().to_owned())
}

/// What the page saves next is caught: a file's text.
pub fn catch_file(page: &Page) -> Result<()> {
    page.evaluate(
        "window.saved = null; URL.createObjectURL = blob => { blob.text().then(text => { window.saved = text; }); return 'data:,'; }",
    )
    .map(|_| ())
}

pub fn caught(page: &Page) -> Result<Value> {
    page.wait_for("window.saved", START)?;
    let text = page.evaluate("window.saved")?;
    Ok(serde_json::from_str(text.as_str().unwrap_or_default())?)
}

#[test]
fn conversations_are_kept_with_their_settings() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "12")?;
    page.set_field("#system-prompt", "Be brief.")?;
    page.set_field("#temperature", "0.25")?;
    answered(&page, "Who is Max?")?;
    let reply = page.text(LAST_REPLY)?;
    reload(&page)?;
    page.wait_for("document.querySelector('.exchange')", START)?;
    ensure!(page.text(LAST_REPLY)? == reply);
    ensure!(page.text(".exchange .figures")?.contains("first after"));

    page.click("#new-chat")?;
    page.wait_for("document.querySelector('.welcome')", START)?;
    page.set_field("#system-prompt", "Be long.")?;
    page.set_field("#temperature", "1")?;
    answered(&page, "Who is Lily?\nTell me.")?;
    // The newest first, by the first line of the first message.
    page.wait_for(&format!("{SAVED} == 2"), START)?;
    ensure!(
        titles(&page)? == ["Who is Lily?", "Who is Max?"],
        "{:?}",
        titles(&page)?
    );
    choose(&page, "Who is Max?")?;
    ensure!(page.text(LAST_REPLY)? == reply);
    let settings = "[document.querySelector('#system-prompt').value, document.querySelector('#temperature').value].join()";
    ensure!(page.evaluate(settings)? == "Be brief.,0.25");
    choose(&page, "Who is Lily?")?;
    ensure!(page.evaluate(settings)? == "Be long.,1");
    page.assert_accessible()?;
    page.assert_clean()
}

#[test]
fn named_deleted_and_had_back_with_the_keyboard() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "6")?;
    answered(&page, "Who is Max?")?;
    page.wait_for(&format!("{SAVED} == 1"), START)?;
    let name = |name: &str, key: &str| -> Result<()> {
        page.evaluate("document.querySelector('.rename').focus()")?;
        page.press("Enter")?;
        page.wait_for("document.activeElement.className == 'naming'", START)?;
        page.assert_accessible()?;
        page.evaluate("document.activeElement.select()")?;
        page.type_text(name)?;
        page.press(key)?;
        page.wait_for("document.activeElement.classList.contains('rename')", START)
    };
    name("The dog", "Enter")?;
    page.wait_for(
        "document.querySelector('#chat-list .chat').innerText == 'The dog'",
        START,
    )?;
    name("Not this", "Escape")?;
    ensure!(titles(&page)? == ["The dog"]);
    reload(&page)?;
    page.wait_for(&format!("{SAVED} == 1"), START)?;
    ensure!(titles(&page)? == ["The dog"]);

    page.evaluate("document.querySelector('.delete').focus()")?;
    page.press("Enter")?;
    page.wait_for("document.activeElement.id == 'undo'", START)?;
    ensure!(exchanges(&page)? == 0 && titles(&page)?.is_empty());
    page.assert_accessible()?;
    page.press("Enter")?;
    page.wait_for(
        &format!("{SAVED} == 1 && document.querySelector('.exchange')"),
        START,
    )?;
    page.wait_for("document.activeElement.id == 'prompt'", START)?;
    ensure!(focused(&page)? == "prompt" && titles(&page)? == ["The dog"]);
    reload(&page)?;
    page.wait_for("document.querySelector('.exchange')", START)?;

    // For good.
    page.click(".delete")?;
    page.wait_for("document.querySelector('#undo')", START)?;
    reload(&page)?;
    page.wait_for("document.querySelector('.welcome')", START)?;
    ensure!(titles(&page)?.is_empty());
    page.assert_clean()
}

#[test]
fn two_tabs_lose_nothing() -> Result<()> {
    let one = open_tiny()?;
    one.set_field("#max-tokens", "6")?;
    let address = one.evaluate("location.href")?;
    answered(&one, "Who is Max?")?;
    let two = one.another(address.as_str().unwrap_or_default())?;
    two.emulate(1280, 800, "light")?;
    two.wait_for(LOADED, START)?;
    answered(&two, "Who is Lily?")?;
    for page in [&one, &two] {
        page.wait_for(&format!("{SAVED} == 2"), START)?;
    }

    // What is said in one tab is seen in the other that has the same open.
    choose(&two, "Who is Max?")?;
    answered(&one, "And then?")?;
    two.wait_for("document.querySelectorAll('.exchange').length == 2", START)?;
    let reply = one.text(LAST_REPLY)?;
    two.wait_for(
        &format!(
            "document.querySelector('{LAST_REPLY}').innerText == {}",
            json!(reply)
        ),
        START,
    )?;

    // Both write in it at once, and neither hears of the other.
    // Long enough to be under way until the other has answered, however fast.
    two.set_field("#max-tokens", "1800")?;
    ask(&two, "What did two say?")?;
    two.wait_for("document.querySelector('#stop')", START)?;
    answered(&one, "What did one say?")?;
    two.press("Escape")?;
    two.wait_for(FINISHED, REPLY)?;
    // Whoever kept it later is told.
    let told = "document.querySelector('.notice')?.innerText.includes('Two tabs')";
    let is_told = |page: &Page| page.wait_for(told, Duration::from_secs(10)).is_ok();
    ensure!(is_told(&two) || is_told(&one), "nobody was told");
    // Where both found the other's, each goes on in a conversation of its own.
    for page in [&one, &two] {
        page.wait_for(&format!("{SAVED} >= 3"), START)?;
    }
    let mut last = BTreeSet::new();
    let count = one.evaluate("document.querySelectorAll('#chat-list .chat').length")?;
    for i in 0..count.as_u64().unwrap_or_default() {
        let item = format!("document.querySelectorAll('#chat-list .chat')[{i}]");
        one.evaluate(&format!("{item}.click()"))?;
        one.wait_for(
            &format!("{item}.matches('[aria-current], [aria-current] *')"),
            START,
        )?;
        last.insert(one.text(".exchange:nth-last-child(1 of .exchange) p.prompt")?);
    }
    let said = ["What did one say?", "What did two say?"];
    let kept = |said: &&str| last.iter().any(|prompt| prompt.ends_with(*said));
    ensure!(said.iter().all(kept), "{last:?}");
    one.assert_clean()?;
    two.assert_clean()
}

/// A browser that keeps nothing says so, and nothing is gone while the tab is there.
#[test]
fn a_full_disk_is_told_and_loses_nothing() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "6")?;
    page.evaluate(
        "window.put = IDBObjectStore.prototype.put; \
         IDBObjectStore.prototype.put = () => { throw new DOMException('The disk is full.', 'QuotaExceededError'); }",
    )?;
    answered(&page, "Who is Max?")?;
    page.wait_for(
        "document.querySelector('.notice') && document.querySelector('#unkept')",
        START,
    )?;
    let told = page.text(".notice")?;
    ensure!(
        told.contains("not kept") && told.contains("disk is full") && told.contains("export"),
        "{told}"
    );
    page.assert_accessible()?;
    page.click("#new-chat")?;
    answered(&page, "Who is Lily?")?;
    choose(&page, "Who is Max?")?;
    ensure!(exchanges(&page)? == 1);
    // There is room again: both are kept with the next word.
    page.evaluate("IDBObjectStore.prototype.put = window.put")?;
    answered(&page, "And then?")?;
    page.wait_for("!document.querySelector('#unkept')", START)?;
    reload(&page)?;
    page.wait_for(&format!("{SAVED} == 2"), START)?;
    choose(&page, "Who is Lily?")?;
    choose(&page, "Who is Max?")?;
    ensure!(exchanges(&page)? == 2);
    Ok(())
}

#[test]
fn damage_breaks_one_conversation_only() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "6")?;
    answered(&page, "Who is Max?")?;
    page.wait_for(&format!("{SAVED} == 1"), START)?;
    page.evaluate(
        "new Promise((done, failed) => { const request = indexedDB.open('ternary-core'); request.onerror = failed; \
         request.onsuccess = () => { const all = ['heads', 'conversations']; \
           const transaction = request.result.transaction(all, 'readwrite'); \
           transaction.objectStore('heads').put('{no json', 'a'); \
           transaction.objectStore('heads').put(7, 'b'); \
           transaction.objectStore('heads').put(JSON.stringify({ title: 'Hollow' }), 'c'); \
           transaction.objectStore('conversations').put('{\"messages\": 5}', 'c'); \
           transaction.oncomplete = () => { request.result.close(); done(); }; }; })",
    )?;
    reload(&page)?;
    page.wait_for(
        &format!("{SAVED} == 4 && document.querySelector('.exchange')"),
        START,
    )?;
    page.evaluate(
        "[...document.querySelectorAll('.chat')].find(e => e.innerText == 'Hollow').click()",
    )?;
    page.wait_for(
        "document.querySelector('.notice')?.innerText.includes('damaged')",
        START,
    )?;
    // The one that was open still is.
    ensure!(exchanges(&page)? == 1);
    page.assert_accessible()?;
    for left in [3, 2] {
        page.evaluate("document.querySelector('li:has(.chat:disabled) .delete').click()")?;
        page.wait_for(&format!("{SAVED} == {left}"), START)?;
    }
    answered(&page, "Who is Lily?")?;
    page.assert_clean()
}

#[test]
fn exported_and_imported() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "6")?;
    page.set_field("#system-prompt", "Be brief.")?;
    answered(&page, "Who is Max?")?;
    page.click("#new-chat")?;
    answered(&page, "Who is Lily?")?;
    page.wait_for(&format!("{SAVED} == 2"), START)?;

    catch_file(&page)?;
    page.click(".current .export")?;
    let one = caught(&page)?;
    let roles: Vec<&str> = one["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| message["role"].as_str())
        .collect();
    ensure!(roles == ["system", "user", "assistant"], "{one}");
    ensure!(one["messages"][0] == json!({ "role": "system", "content": "Be brief." }));
    let words = |text: &str| text.split_whitespace().collect::<String>();
    let reply = one["messages"][2]["content"].as_str().unwrap_or_default();
    ensure!(
        !reply.is_empty() && words(reply) == words(&page.text(LAST_REPLY)?),
        "{one}"
    );
    ensure!(
        one["model"] == "Tiny" && one["settings"]["sampling"]["maxTokens"] == 6,
        "{one}"
    );
    let is_time = |key: &str| one[key].as_str().is_some_and(|time| time.ends_with('Z'));
    ensure!(is_time("created") && is_time("updated"), "{one}");

    catch_file(&page)?;
    page.click("#export-chats")?;
    let all = caught(&page)?;
    ensure!(
        all["conversations"].as_array().map(Vec::len) == Some(2),
        "{all}"
    );

    // Into another browser: the picker takes all, a drop takes one that only has messages.
    let other = open_tiny()?;
    let file = scratch().join("conversations.json");
    fs::write(&file, all.to_string())?;
    other.choose_file("[data-for=import-chats]", &file)?;
    other.wait_for(
        &format!("{SAVED} == 2 && document.querySelector('.exchange')"),
        START,
    )?;
    let messages = json!({ "messages": [
        { "role": "user", "content": "Hello <b>you</b>" }, { "role": "assistant", "content": "I am **bold**." },
    ] });
    fs::write(&file, messages.to_string())?;
    other.drop_file(&file)?;
    other.wait_for(
        "document.querySelector('.reply strong')?.innerText == 'bold'",
        START,
    )?;
    other.wait_for(&format!("{SAVED} == 3"), START)?;
    answered(&other, "And then?")?;

    for (text, wanted) in [
        (
            "{\"messages\": [{\"role\": \"wizard\", \"content\": \"x\"}]}",
            "`wizard`",
        ),
        ("{\"messages\": 5}", "line 1"),
        ("{\"conversations\": [{\"messages\": []}]}", "no message"),
    ] {
        fs::write(&file, text)?;
        other.choose_file("[data-for=import-chats]", &file)?;
        other.wait_for(
            &format!(
                "document.querySelector('.notice')?.innerText.includes({})",
                json!(wanted)
            ),
            START,
        )?;
        ensure!(titles(&other)?.len() == 3);
        other.click("#dismiss")?;
    }
    page.assert_clean()?;
    other.assert_clean()
}

/// A changed message is asked from there, what was before it stays in the KV cache, and the old way
/// can be had back.
#[test]
fn a_message_is_changed() -> Result<()> {
    let page = open("?device=cpu")?;
    page.set_field("#max-tokens", "24")?;
    page.set_field("#temperature", "0")?;
    for prompt in [
        "Tell me a story about a dog and a ball.",
        "And then?",
        "What did the dog say?",
    ] {
        answered(&page, prompt)?;
    }
    let second = ".exchange:nth-child(2 of .exchange)";
    let edit = |text: &str, key: &str| -> Result<()> {
        page.evaluate(&format!("document.querySelector('{second} .edit').focus()"))?;
        page.press("Enter")?;
        page.wait_for(
            "document.activeElement.matches('.edit-prompt textarea')",
            START,
        )?;
        page.evaluate("document.activeElement.select()")?;
        page.type_text(text)?;
        page.press(key)
    };
    edit("Never asked", "Escape")?;
    page.wait_for("document.activeElement.classList.contains('edit')", START)?;
    ensure!(exchanges(&page)? == 3);
    edit("What did the ball do?", "Enter")?;
    page.wait_for(
        &format!("document.querySelectorAll('.exchange').length == 2 && {FINISHED}"),
        REPLY,
    )?;
    ensure!(focused(&page)? == "prompt");
    ensure!(
        page.text(&format!("{second} p.prompt"))?
            .contains("the ball do")
    );
    let figure = |name: &str| -> Result<u64> {
        let figure = page.evaluate(&format!(
            "Number(document.querySelector('{second}').dataset.{name})"
        ))?;
        figure.as_u64().context("no figure")
    };
    let (cached, read) = (figure("cached")?, figure("read")?);
    eprintln!(
        "{}; {read} tokens read, {cached} from the cache",
        page.text(&format!("{second} .figures"))?
    );
    ensure!(cached > read, "{read} read, {cached} from the cache");
    page.assert_accessible()?;

    page.click("#undo")?;
    page.wait_for("document.querySelectorAll('.exchange').length == 3", START)?;
    reload(&page)?;
    page.wait_for("document.querySelectorAll('.exchange').length == 3", START)?;
    ensure!(
        page.text(&format!("{second} p.prompt"))?
            .contains("And then?")
    );
    page.assert_clean()
}

/// What was asked of the database just before the page is left is written, however slow the disk.
#[test]
fn what_is_done_last_is_kept() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#temperature", "0")?;
    page.set_field("#max-tokens", "12")?;
    answered(&page, "Who is Max?")?;
    answered(&page, "Who is Lily?")?;
    let shows = |what: &str, reply: &str| -> Result<()> {
        let reply = json!(reply);
        let last = format!("document.querySelector('{LAST_REPLY}')?.innerText {what} {reply}");
        page.wait_for(&format!("{LOADED} && {FINISHED} && {last}"), REPLY)
    };
    let before = page.text(LAST_REPLY)?;
    // Another reply that is never the same one by chance: the beginning of it.
    page.set_field("#max-tokens", "6")?;
    page.click(".regenerate")?;
    shows("!=", &before)?;
    let other = page.another(&format!("{}/app.webmanifest", stage()?.server.origin()))?;
    // While this transaction lasts no other begins.
    let hold = || -> Result<()> {
        other.evaluate(
            "new Promise(held => { indexedDB.open('ternary-core').onsuccess = opened => { \
             const stores = ['heads', 'conversations']; window.free = false; \
             const heads = opened.target.result.transaction(stores, 'readwrite').objectStore('heads'); \
             const again = () => { held(); window.free || (heads.count().onsuccess = again); }; again(); }; })",
        )?;
        Ok(())
    };
    let free = || other.evaluate("window.free = true");
    hold()?;
    page.click("#undo")?;
    shows("==", &before)?;
    page.reload()?;
    free()?;
    shows("==", &before)?;
    ensure!(exchanges(&page)? == 2);

    hold()?;
    page.click(".delete")?;
    page.wait_for("document.querySelector('#undo')", START)?;
    page.reload()?;
    free()?;
    page.wait_for(LOADED, START)?;
    ensure!(titles(&page)?.is_empty(), "{:?}", titles(&page)?);
    page.assert_clean()
}

/// What a page that was left wanted to write replaces its own earlier words, and not another tab's.
#[test]
fn what_was_left_spares_what_another_tab_wrote() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "6")?;
    answered(&page, "Who is Max?")?;
    page.wait_for(&format!("{SAVED} == 1"), START)?;
    // As if it had been left with this to write, when the database had the revision before.
    let leave = |change: &str| -> Result<()> {
        page.evaluate(&format!(
            "new Promise(left => {{ indexedDB.open('ternary-core').onsuccess = opened => {{ \
             const all = opened.target.result.transaction('conversations').objectStore('conversations').getAll(); \
             all.onsuccess = () => {{ const record = JSON.parse(all.result[0]); record.revision -= 1; {change}; \
             const key = 'ternary-core.left.' + record.id; const text = JSON.stringify(record); \
             addEventListener('pagehide', () => localStorage.setItem(key, text)); left(); }}; }}; }})"
        ))
        .map(|_| ())
    };
    leave("record.messages[1].content += ' and more'")?;
    reload(&page)?;
    page.wait_for(
        &format!("document.querySelector('{LAST_REPLY}')?.innerText.includes('and more')"),
        START,
    )?;
    ensure!(titles(&page)?.len() == 1);
    leave("record.messages[1].content = 'Something else.'")?;
    reload(&page)?;
    page.wait_for(&format!("{SAVED} == 2"), START)?;
    ensure!(titles(&page)?.contains(&"Who is Max? (2)".to_owned()));
    ensure!(page.text(".notice")?.contains("Two tabs"));
    ensure!(page.text(LAST_REPLY)?.contains("and more"));
    page.wait_for(
        "!Object.keys(localStorage).some(key => key.includes('left'))",
        START,
    )?;
    page.assert_clean()
}

/// What was written before a reply was cut or stopped stays, and can be written on.
#[test]
fn a_cut_reply_is_written_on() -> Result<()> {
    let page = open("?device=cpu")?;
    page.set_field("#max-tokens", "10")?;
    page.set_field("#temperature", "0")?;
    answered(&page, "Tell me a story about a dog.")?;
    let begun = page.text(LAST_REPLY)?;
    ensure!(page.text(".exchange .figures")?.contains("cut"));
    page.click(".write-on")?;
    page.wait_for(
        &format!(
            "{FINISHED} && document.querySelector('{LAST_REPLY}').innerText.length > {}",
            begun.len()
        ),
        REPLY,
    )?;
    let more = page.text(LAST_REPLY)?;
    ensure!(more.starts_with(&begun), "{begun} | {more}");
    ensure!(exchanges(&page)? == 1);

    page.set_field("#max-tokens", "2000")?;
    ask(&page, "And then?")?;
    page.wait_for(&format!("document.querySelectorAll('.exchange').length == 2 && document.querySelector('{LAST_REPLY}').innerText.length > 20"), REPLY)?;
    page.press("Escape")?;
    page.wait_for(FINISHED, REPLY)?;
    let stopped = page.text(LAST_REPLY)?;
    ensure!(stopped.len() > 20);
    reload(&page)?;
    page.wait_for("document.querySelectorAll('.exchange').length == 2", START)?;
    ensure!(page.text(LAST_REPLY)? == stopped);
    page.assert_clean()
}

/// The page is left in the middle of a reply.
#[test]
fn a_reply_under_way_is_kept() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "2000")?;
    ask(&page, "Who is Max?")?;
    page.wait_for(
        "document.querySelector('.reply')?.innerText.length > 200",
        REPLY,
    )?;
    ensure!(
        page.evaluate("Boolean(document.querySelector('#stop'))")? == true,
        "the reply ended too early"
    );
    reload(&page)?;
    page.wait_for(
        "document.querySelector('.reply')?.innerText.length > 50",
        START,
    )?;
    ensure!(page.text(".exchange .figures")?.contains("not finished"));
    // Another conversation is opened while one is written in: the reply goes on.
    ask(&page, "And then?")?;
    page.wait_for(
        "document.querySelector('#stop') && document.querySelector('.exchange:last-child .reply')?.innerText.length > 20",
        REPLY,
    )?;
    let before = page.text(LAST_REPLY)?.len();
    page.click("#new-chat")?;
    page.wait_for(
        "document.querySelector('.welcome') && document.querySelector('#stop')",
        REPLY,
    )?;
    let told = page.text("#held")?;
    ensure!(told.contains("“Who is Max?”"), "{told}");
    picture(&page, "reply-elsewhere-desktop-light")?;
    page.assert_accessible()?;
    choose(&page, "Who is Max?")?;
    page.wait_for(
        &format!(
            "document.querySelector('.exchange:last-child .reply')?.innerText.length > {}",
            before + 100
        ),
        REPLY,
    )?;
    ensure!(page.evaluate("Boolean(document.querySelector('#stop'))")? == true);
    ensure!(page.text("#held")?.is_empty());
    // Left again, it ends there, and nothing of it is lost.
    page.click("#new-chat")?;
    page.wait_for("document.querySelector('.welcome')", START)?;
    page.click("#stop")?;
    page.wait_for("!document.querySelector('#stop')", REPLY)?;
    answered(&page, "Who is Lily?")?;
    choose(&page, "Who is Max?")?;
    ensure!(exchanges(&page)? == 2);
    let length = page.text(LAST_REPLY)?.len();
    ensure!(length > before + 100, "{length} after {before}");
    page.assert_clean()
}

/// Warned before, told after: the oldest turns are left out, and a turn after that reads only what
/// is new.
#[test]
fn a_full_context_loses_its_oldest_turns() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "8")?;
    let long = "the dog and the cat ran ".repeat(16);
    let mut warned = false;
    let mut turns = 0;
    while page.evaluate("Boolean(document.querySelector('#forgotten'))")? == false {
        ensure!(turns < 40, "the context never fills");
        warned = page.evaluate("Boolean(document.querySelector('.context-warning'))")? == true;
        answered(&page, &format!("{turns} {long}"))?;
        turns += 1;
        if page.evaluate("Boolean(document.querySelector('.context-warning'))")? == true {
            page.assert_accessible()?;
            picture(&page, "context-nearly-full-desktop-light")?;
        }
    }
    eprintln!("left out with turn {turns}: {}", page.text(".context")?);
    ensure!(warned, "it was not told before");
    picture(&page, "context-full-desktop-light")?;
    page.assert_accessible()?;
    let left_out = "document.querySelectorAll('.exchange.forgotten').length";
    let count = page.evaluate(left_out)?;
    answered(&page, "And then?")?;
    ensure!(page.evaluate(left_out)? == count);
    let cached =
        page.evaluate("Number([...document.querySelectorAll('.exchange')].at(-1).dataset.cached)")?;
    let read =
        page.evaluate("Number([...document.querySelectorAll('.exchange')].at(-1).dataset.read)")?;
    eprintln!("the turn after: {read} read, {cached} from the cache");
    ensure!(
        cached.as_u64() > read.as_u64(),
        "{read} read, {cached} from the cache"
    );
    reload(&page)?;
    page.wait_for("document.querySelector('.exchange')", START)?;
    ensure!(page.evaluate(left_out)? == count);

    // A single message that does not fit says so, and can be shortened.
    ask(&page, &long.repeat(20))?;
    page.wait_for("document.querySelector('.notice')", REPLY)?;
    let told = page.text(".notice")?;
    ensure!(told.contains("Shorten it"), "{told}");
    page.evaluate("[...document.querySelectorAll('.edit')].at(-1).click()")?;
    page.wait_for("document.querySelector('.edit-prompt textarea')", START)?;
    page.set_field(".edit-prompt textarea", "Short.")?;
    page.click(".ask-instead")?;
    page.wait_for(
        &format!("!document.querySelector('.notice') && {FINISHED}"),
        REPLY,
    )?;
    page.assert_clean()
}

#[test]
fn back_and_forward_between_conversations_and_parts() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#max-tokens", "6")?;
    answered(&page, "Who is Max?")?;
    page.click("#new-chat")?;
    answered(&page, "Who is Lily?")?;
    page.click("input[name=mode][value=text]")?;
    page.wait_for("location.hash == '#write'", START)?;
    let shows = |what: &str| {
        format!("document.querySelector('.exchange p.prompt')?.innerText.includes('{what}')")
    };
    let write = "document.querySelector('input[value=text]').checked".to_owned();
    // The new conversation's place became its own with its first message.
    for (way, condition) in [
        ("back", shows("Lily")),
        ("back", shows("Max")),
        ("forward", shows("Lily")),
        ("forward", write),
    ] {
        page.evaluate(&format!("history.{way}()"))?;
        page.wait_for(&condition, START)?;
    }
    // The address alone leads there, in another tab too.
    page.evaluate("history.back()")?;
    page.wait_for(&shows("Lily"), START)?;
    let address = page.evaluate("location.href")?;
    let other = page.another(address.as_str().unwrap_or_default())?;
    other.wait_for(&shows("Lily"), START)?;
    let other = page.another(&format!(
        "{}/?model=tiny.1bit&device=cpu#map",
        stage()?.server.origin()
    ))?;
    other.wait_for("document.querySelector('#explorer .grid')", START)?;
    let other = page.another(&format!(
        "{}/?model=tiny.1bit&device=cpu#chat/none",
        stage()?.server.origin()
    ))?;
    other.wait_for("document.querySelector('.notice')?.innerText.includes('could not be opened') && document.querySelector('.welcome')", START)?;
    page.assert_clean()
}

#[test]
fn looks() -> Result<()> {
    let page = open("?device=cpu")?;
    page.set_field("#max-tokens", "60")?;
    page.set_field("#seed", "3")?;
    for prompt in [
        "Tell me a story about a dog and a very long walk through the town.",
        "What is a good name for a cat?",
        "Say hello.",
    ] {
        page.click("#new-chat:enabled, #prompt")?;
        answered(&page, prompt)?;
    }
    answered(&page, "And then?")?;
    let views = [
        ("desktop", 1280, 800),
        ("tablet", 900, 800),
        ("phone", 390, 844),
    ];
    for (device, width, height) in views {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            let show = |name: &str| -> Result<()> {
                picture(&page, &format!("chats-{name}-{device}-{scheme}"))?;
                sound_layout(&page)?;
                page.assert_accessible()
            };
            if device != "desktop" {
                page.click("#chats-toggle")?;
            }
            show("list")?;
            page.click(".rename")?;
            page.wait_for("document.activeElement.className == 'naming'", START)?;
            show("rename")?;
            page.press("Escape")?;
            page.wait_for("!document.querySelector('.naming')", START)?;
            page.click(".current .delete")?;
            page.wait_for("document.querySelector('#undo')", START)?;
            show("undo")?;
            page.click("#undo")?;
            page.wait_for("document.querySelectorAll('.exchange').length == 2", START)?;
            if device != "desktop" {
                page.press("Escape")?;
                page.wait_for(
                    "getComputedStyle(document.querySelector('#chats')).display == 'none'",
                    START,
                )?;
            }
            page.click(".edit:enabled")?;
            page.wait_for("document.querySelector('.edit-prompt textarea')", START)?;
            show("edit")?;
            page.press("Escape")?;
            page.wait_for("!document.querySelector('.edit-prompt')", START)?;
        }
    }
    page.assert_clean()
}
