//! How a conversation is shown: followed while it grows, leafed through, searched, in any script.

use anyhow::{Context, Result, ensure};
use page_tests::Page;
use serde_json::{Value, json};

use crate::explorer::temporary;
use crate::kept_chats::answered;
use crate::look::{picture, sound_layout};
use crate::markdown::{open_scripted, reply};
use crate::{FINISHED, LAST_REPLY, LOADED, REPLY, START, ask, open_altered, open_tiny};

/// The worker says what a test wants, ten tokens every ten milliseconds.
const PACED: &str = "{ const post = self.postMessage.bind(self); let script = null, held = null; \
     new BroadcastChannel('script').onmessage = ({ data }) => { script = data; }; \
     self.postMessage = message => { \
       const { id, response } = message?.Response ?? {}, token = response?.Event?.token; \
       if (held?.id === id && id) return void (token || held.rest.push(message)); \
       if (!token || !script) return post(message); \
       const pieces = script; script = null; held = { id, rest: [] }; \
       const timer = setInterval(() => { \
         for (const text of pieces.splice(0, 10)) post({ Response: { id, response: { Event: { token: { text } } } } }); \
         if (pieces.length) return; \
         clearInterval(timer); const { rest } = held; held = null; rest.forEach(message => post(message)); }, 10); }; }";

/// How far the end is below what is seen.
const BELOW: &str = "(() => { const e = document.querySelector('.transcript'); return e.scrollHeight - e.scrollTop - e.clientHeight; })()";

fn versions(page: &Page) -> Result<Value> {
    page.evaluate("document.querySelector('.exchange:last-child .version')?.innerText ?? null")
}

/// A reply of a thousand tokens a second is followed, and the page stays at hand.
#[test]
fn a_fast_reply_is_followed() -> Result<()> {
    let page = open_altered("paced", PACED, "device=cpu")?;
    page.set_field("#max-tokens", "2")?;
    page.evaluate(&format!(
        "new BroadcastChannel('script').postMessage(Array.from({{ length: 3000 }}, (_, i) => i % 40 == 39 ? 'end.\\n\\n' : 'word ')); \
         window.longest = 0; window.farthest = 0; window.frames_seen = 0; window.slowest = 0; let last = performance.now(), behind = 0; \
         const look = () => {{ const now = performance.now(), took = now - last; slowest = Math.max(slowest, took); last = now; frames_seen++; \
           if (took < 60) farthest = Math.max(farthest, {BELOW}); \
           behind = {BELOW} < 400 ? 0 : behind + 1; longest = Math.max(longest, behind); requestAnimationFrame(look); }}; \
         requestAnimationFrame(look); 0"
    ))?;
    ask(&page, "Quick!")?;
    page.wait_for(
        &format!("{FINISHED} && document.querySelector('{LAST_REPLY}').innerText.length > 10000"),
        REPLY,
    )?;
    let measured = page.evaluate(&format!(
        "[farthest, slowest, frames_seen, {BELOW}, longest]"
    ))?;
    eprintln!(
        "farthest from the end, slowest frame, frames, at the end, frames far from it in a row: {measured}"
    );
    let figure = |at: usize| measured[at].as_f64().context("no figure");
    ensure!(figure(3)? < 2.0, "it was lost: {measured}");
    // Where other programs make a frame late, the next ones make up for it.
    ensure!(figure(0)? < 400.0, "it lagged: {measured}");
    ensure!(figure(4)? < 4.0, "it lagged: {measured}");
    ensure!(figure(1)? < 1000.0, "the page stood still: {measured}");
    page.assert_clean()
}

#[test]
fn the_end_is_a_click_away() -> Result<()> {
    let page = open_scripted("to-end")?;
    let hidden = "document.querySelector('#to-end').hidden";
    let text = "A sentence.\n\n".repeat(80) + "The end.";
    reply(&page, &text, &format!("{BELOW} < 2"))?;
    ensure!(page.evaluate(hidden)? == true);
    page.evaluate("document.querySelector('.transcript').scrollTo(0, 100)")?;
    page.wait_for(&format!("!{hidden}"), START)?;
    picture(&page, "chat-to-end")?;
    page.assert_accessible()?;
    // Who reads further up is left there.
    ask(&page, "And more?")?;
    page.wait_for(&format!("{hidden} && {FINISHED}"), REPLY)?;
    page.evaluate("document.querySelector('.transcript').scrollTo(0, 100)")?;
    page.wait_for(&format!("!{hidden}"), START)?;
    page.click("#to-end")?;
    page.wait_for(&format!("{hidden} && {BELOW} < 2"), START)?;
    page.assert_clean()
}

/// The speed is always seen, the rest when one asks for it.
#[test]
fn figures_are_there_when_one_asks() -> Result<()> {
    let page = open_tiny()?;
    answered(&page, "Who is Max?")?;
    let shown = "getComputedStyle(document.querySelector('.figures .more')).opacity";
    page.hover("header h1")?;
    page.wait_for(&format!("{shown} == '0'"), START)?;
    ensure!(page.evaluate(shown)? == "0");
    ensure!(
        page.text(".figures")?.contains("tokens/s"),
        "{}",
        page.text(".figures")?
    );
    ensure!(
        !page
            .text(".figures")?
            .split('·')
            .next()
            .unwrap_or_default()
            .contains("prompt")
    );
    page.hover(LAST_REPLY)?;
    page.wait_for(&format!("{shown} == '1'"), START)?;
    ensure!(page.text(".figures .more")?.contains("first after"));
    page.assert_clean()
}

#[test]
fn replies_are_leafed_through() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#temperature", "1.5")?;
    page.set_field("#max-tokens", "12")?;
    answered(&page, "Who is Max?")?;
    ensure!(versions(&page)?.is_null());
    let mut texts = vec![page.text(LAST_REPLY)?];
    for count in [2, 3] {
        page.click(".regenerate")?;
        page.wait_for(
            &format!("{FINISHED} && document.querySelector('.version')?.innerText == '{count} of {count}'"),
            REPLY,
        )?;
        texts.push(page.text(LAST_REPLY)?);
    }
    ensure!(texts[0] != texts[1] || texts[1] != texts[2], "{texts:?}");
    let shows = |place: usize| -> Result<()> {
        page.wait_for(
            &format!(
                "{FINISHED} && document.querySelector('.version')?.innerText == '{} of 3' && document.querySelector('{LAST_REPLY}').innerText == {}",
                place + 1,
                json!(texts[place])
            ),
            START,
        )
    };
    page.click(".version-before")?;
    shows(1)?;
    page.click(".version-before")?;
    shows(0)?;
    ensure!(page.evaluate("document.querySelector('.version-before').disabled")? == true);
    picture(&page, "chat-versions")?;
    page.assert_accessible()?;
    // Kept with the conversation.
    page.reload()?;
    page.wait_for(LOADED, START)?;
    shows(0)?;
    page.click(".version-after")?;
    shows(1)?;
    // What goes on goes on from the one that is shown.
    page.set_field("#max-tokens", "4")?;
    answered(&page, "And Lily?")?;
    ensure!(versions(&page)?.is_null());
    let first = page.text(".exchange .reply")?;
    ensure!(first == texts[1], "{first}");
    page.assert_clean()
}

/// A version of an earlier reply brings back what was said after it; the other conversation waits
/// with its own version.
#[test]
fn earlier_replies_are_leafed_through() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#temperature", "1.5")?;
    page.set_field("#max-tokens", "6")?;
    let prompts = |expected: Value| -> Result<()> {
        page.wait_for(
            &format!("{FINISHED} && JSON.stringify([...document.querySelectorAll('p.prompt')].map(e => e.innerText.replace('You:', '').trim())) == {}", json!(expected.to_string())),
            START,
        )
    };
    answered(&page, "Who is Max?")?;
    page.click(".regenerate")?;
    page.wait_for(
        &format!("{FINISHED} && document.querySelector('.version')?.innerText == '2 of 2'"),
        REPLY,
    )?;
    answered(&page, "And Lily?")?;
    answered(&page, "And the dog?")?;
    let replies = "JSON.stringify([...document.querySelectorAll('.reply')].map(e => e.innerText))";
    let second = page.evaluate(replies)?;
    page.click(".exchange:first-child .version-before")?;
    prompts(json!(["Who is Max?"]))?;
    ensure!(page.text(".went-on")?.contains("from version 2"));
    picture(&page, "chat-earlier-version")?;
    page.assert_accessible()?;
    answered(&page, "And the cat?")?;
    ensure!(
        page.evaluate("document.querySelector('.went-on')")?
            .is_null()
    );
    let first = page.evaluate(replies)?;
    page.click(".exchange:first-child .version-after")?;
    prompts(json!(["Who is Max?", "And Lily?", "And the dog?"]))?;
    ensure!(page.evaluate(replies)? == second);
    picture(&page, "chat-middle-version")?;
    page.assert_accessible()?;
    // Both are kept.
    page.reload()?;
    page.wait_for(LOADED, START)?;
    prompts(json!(["Who is Max?", "And Lily?", "And the dog?"]))?;
    page.wait_for(
        "!document.querySelector('.exchange:first-child .version-before').disabled",
        START,
    )?;
    page.click(".exchange:first-child .version-before")?;
    prompts(json!(["Who is Max?", "And the cat?"]))?;
    ensure!(page.evaluate(replies)? == first);
    // The model reads what is shown.
    answered(&page, "Good night.")?;
    prompts(json!(["Who is Max?", "And the cat?", "Good night."]))?;
    page.assert_clean()
}

/// Versions that an earlier page kept: pairs, of the last prompt only.
#[test]
fn versions_of_earlier_pages_are_read() -> Result<()> {
    let page = open_tiny()?;
    let messages =
        json!([{ "role": "user", "content": "Who?" }, { "role": "assistant", "content": "Lily." }]);
    let versions = json!({ "all": [["Max.", null], ["Lily.", null]], "at": 1 });
    let chat = json!({ "messages": messages, "replies": [null], "versions": versions });
    let file = temporary("earlier-versions.json", chat.to_string().as_bytes())?;
    page.drop_file(&file)?;
    let shows = |reply: &str, place: &str| {
        page.wait_for(
            &format!("{FINISHED} && document.querySelector('{LAST_REPLY}').innerText == '{reply}' && document.querySelector('.version').innerText == '{place}'"),
            START,
        )
    };
    shows("Lily.", "2 of 2")?;
    page.click(".version-before")?;
    shows("Max.", "1 of 2")?;
    page.assert_clean()
}

/// Conversations stand under the days they were on, and are found by what was said.
#[test]
fn conversations_are_found() -> Result<()> {
    let page = open_tiny()?;
    page.evaluate("window.days = n => new Date(Date.now() - n * 864e5).toISOString()")?;
    let mut all = Vec::new();
    for (days, question, answer) in [
        (0, "Who is Max?", "A dog."),
        (1, "Where is the boat?", "On the river."),
        (5, "Tell me more", "The Bear ate honey."),
        (20, "And then?", "They went home."),
        (90, "Good night", "Sleep well."),
    ] {
        let time = page.evaluate(&format!("days({days})"))?;
        all.push(json!({
            "updated": time, "created": time,
            "messages": [{ "role": "user", "content": question }, { "role": "assistant", "content": answer }],
        }));
    }
    let file = temporary(
        "several-chats.json",
        json!({ "conversations": all }).to_string().as_bytes(),
    )?;
    page.choose_file("[data-for=import-chats]", &file)?;
    page.wait_for(
        "document.querySelectorAll('#chat-list .chat').length == 5",
        START,
    )?;
    let groups =
        page.evaluate("[...document.querySelectorAll('#chat-list .group')].map(e => e.innerText)")?;
    ensure!(
        groups
            == json!([
                "Today",
                "Yesterday",
                "The last 7 days",
                "The last 30 days",
                "Earlier"
            ]),
        "{groups}"
    );
    picture(&page, "chats-grouped")?;
    page.assert_accessible()?;
    let listed = |query: &str, titles: Value| -> Result<()> {
        page.set_field("#chat-search", query)?;
        page.wait_for(
            &format!("JSON.stringify([...document.querySelectorAll('#chat-list .chat')].map(e => e.innerText)) == '{titles}'"),
            START,
        )
    };
    // In a name, in a reply, whatever the case.
    listed("boat", json!(["Where is the boat?"]))?;
    listed("bear", json!(["Tell me more"]))?;
    listed("zebra", json!([]))?;
    ensure!(page.text("#chats-found")? == "No conversation has that.");
    page.assert_accessible()?;
    page.set_field("#chat-search", "")?;
    page.wait_for(
        "document.querySelectorAll('#chat-list .chat').length == 5",
        START,
    )?;
    page.assert_clean()
}

/// Right-to-left scripts, bold without spaces, and code in colors.
#[test]
fn any_script_and_code() -> Result<()> {
    let page = open_scripted("scripts")?;
    let text = "مرحبا بالعالم\n\n- שלום\n\nHello\n\n这是**“重点”**内容，**注意：**请看。\n\n\
         ```python\ndef f(x):  # a comment\n    return \"text\" + 42\n```\n\nThe end.";
    reply(
        &page,
        text,
        "document.querySelector('.reply').innerText.endsWith('The end.')",
    )?;
    let direction = |selector: &str| {
        page.evaluate(&format!(
            "getComputedStyle(document.querySelector('{selector}')).direction"
        ))
    };
    ensure!(direction(".reply p")? == "rtl" && direction(".reply li")? == "rtl");
    ensure!(direction(".reply > p:last-child")? == "ltr");
    let bold =
        page.evaluate("[...document.querySelectorAll('.reply strong')].map(e => e.innerText)")?;
    ensure!(bold == json!(["“重点”", "注意："]), "{bold}");
    let spans = page.evaluate("[...document.querySelectorAll('.reply pre span')].map(e => e.className + ' ' + e.innerText)")?;
    ensure!(
        spans
            == json!([
                "keyword def",
                "comment # a comment",
                "keyword return",
                "literal \"text\"",
                "number 42"
            ]),
        "{spans}"
    );
    page.set_field("#prompt", "مرحبا")?;
    ensure!(direction("#prompt")? == "rtl");
    for scheme in ["light", "dark"] {
        page.emulate(1280, 800, scheme)?;
        picture(&page, &format!("chat-scripts-{scheme}"))?;
        page.assert_accessible()?;
    }
    sound_layout(&page)?;
    page.assert_clean()
}
