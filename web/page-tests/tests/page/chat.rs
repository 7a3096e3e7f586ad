//! Talking with a model.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, onebit, published};
use serde_json::json;
use ternary_scripted::reply;

use crate::import::{ASKED, OVER};
use crate::kept_chats::answered;
use crate::{
    FINISHED, LAST_REPLY, LOADED, REPLY, START, ask, continue_greedily, open, open_altered,
    open_tiny,
};

/// A keystroke must be seen within this time, whatever the engine does.
const AT_ONCE_MS: f64 = 200.0;
/// More than any reply here is allowed to reach.
const LONG: &str = "2000";

/// Asks for a reply that would take long, and waits for its beginning.
fn start_long_reply(page: &Page) -> Result<()> {
    continue_greedily(page, 4096)?;
    page.set_field("#max-tokens", LONG)?;
    ask(page, "Once upon a time")?;
    page.wait_for(
        &format!("document.querySelector('{LAST_REPLY}')?.innerText.length > 0"),
        REPLY,
    )
}

#[test]
fn a_reply_streams() -> Result<()> {
    let page = open_tiny()?;
    page.evaluate(
        "window.lengths = new Set(); new MutationObserver(() => { \
         const reply = document.querySelector('.exchange .reply'); if (reply) lengths.add(reply.textContent.length); }) \
         .observe(document.body, { subtree: true, childList: true, characterData: true })",
    )?;
    ask(&page, "Tell me about Max.")?;
    page.wait_for(FINISHED, REPLY)?;
    let updates = page.evaluate("lengths.size")?.as_u64().unwrap_or(0);
    ensure!(updates > 2, "the reply appeared in {updates} steps");
    ensure!(page.text(".exchange .figures")?.contains("token"));
    ensure!(page.text(".context")?.contains("2,048"));
    // The keyboard is still in the prompt.
    ensure!(page.evaluate("document.activeElement.id")? == "prompt");
    page.assert_clean()
}

#[test]
fn a_second_question_and_another_answer() -> Result<()> {
    let page = open_tiny()?;
    for question in ["Who is Max?", "Who is Lily?"] {
        ask(&page, question)?;
        page.wait_for(FINISHED, REPLY)?;
    }
    ensure!(page.evaluate("document.querySelectorAll('.exchange').length")? == 2);
    page.click(".regenerate")?;
    page.wait_for("document.querySelector('#stop') || document.querySelector('.exchange:last-child .reply').innerText", REPLY)?;
    page.wait_for(FINISHED, REPLY)?;
    ensure!(page.evaluate("document.querySelectorAll('.exchange').length")? == 2);
    page.click("#new-chat")?;
    page.wait_for(
        "!document.querySelector('.exchange') && document.querySelector('.welcome')",
        START,
    )?;
    page.assert_clean()
}

#[test]
fn stop_ends_a_reply() -> Result<()> {
    for by_key in [false, true] {
        let page = open_tiny()?;
        start_long_reply(&page)?;
        if by_key {
            page.press("Escape")?;
        } else {
            page.click("#stop")?;
        }
        page.wait_for(FINISHED, REPLY)?;
        let figures = page.text(".exchange .figures")?;
        eprintln!("{figures}");
        ensure!(figures.contains("stopped"), "{figures}");
        page.assert_clean()?;
    }
    Ok(())
}

#[test]
fn the_page_answers_while_a_reply_is_written() -> Result<()> {
    let page = open_tiny()?;
    start_long_reply(&page)?;
    page.click("#prompt")?;
    // From the keystroke to the frame after the text changed.
    page.evaluate(
        "window.slowest = 0; document.querySelector('#prompt').addEventListener('input', event => \
         requestAnimationFrame(() => { slowest = Math.max(slowest, performance.now() - event.timeStamp); }))",
    )?;
    for letter in ["h", "e", "l", "l", "o"] {
        page.type_text(letter)?;
        sleep(Duration::from_millis(30));
    }
    page.wait_for("document.querySelector('#prompt').value == 'hello'", START)?;
    ensure!(
        page.evaluate("Boolean(document.querySelector('#stop'))")? == true,
        "the reply ended before the typing did"
    );
    let slowest = page.evaluate("slowest")?.as_f64().context("not measured")?;
    eprintln!("slowest keystroke: {slowest:.0} ms");
    ensure!(
        slowest > 0.0 && slowest < AT_ONCE_MS,
        "a keystroke took {slowest:.0} ms"
    );
    page.click("#stop")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

/// Browsers keep a channel with a listener for good, and WebKit gets slower with each: one for
/// every token made its replies ever slower.
#[test]
fn tokens_open_no_channels() -> Result<()> {
    let counting = "const Channel = self.MessageChannel; self.channels = 0; \
         self.MessageChannel = class extends Channel { constructor() { super(); channels += 1; } };";
    let page = open_altered("channels", counting, "device=cpu")?;
    continue_greedily(&page, 32)?;
    for prompt in ["Once upon a time", "Lily and Max went"] {
        ask(&page, prompt)?;
        page.wait_for(FINISHED, REPLY)?;
        let channels = page.evaluate_in_worker("worker", "channels")?;
        ensure!(
            channels.as_u64().is_some_and(|n| n <= 1),
            "{channels} channels"
        );
    }
    Ok(())
}

#[test]
fn settings_are_kept() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#temperature", "0.25")?;
    page.set_field("#system-prompt", "Be brief.")?;
    page.reload()?;
    page.wait_for(
        "document.querySelector('#temperature')?.value == '0.25' && document.querySelector('#system-prompt').value == 'Be brief.'",
        START,
    )?;
    page.assert_clean()
}

/// A model begins with what its makers recommend, and keeps what the reader made of it.
#[test]
fn every_model_has_its_own_settings() -> Result<()> {
    let folder = published::folder("recommended")?;
    let mut model = reply(&["Yes", " sir"]);
    model.generation = Some(json!({ "temperature": 0.3, "top_p": 0.7, "do_sample": true }));
    model.write_hf(&folder);
    let page = open_tiny()?;
    page.set_field("#temperature", "0.45")?;
    page.drop_file(&folder)?;
    page.wait_for(ASKED, START)?;
    page.click("#start-import")?;
    let shows = |temperature: &str, top_p: &str| {
        page.wait_for(
            &format!(
                "{OVER} && {LOADED} && document.querySelector('#temperature').value == '{temperature}' \
                 && document.querySelector('#top-p').value == '{top_p}'"
            ),
            START,
        )
    };
    shows("0.3", "0.7")?;
    page.set_field("#temperature", "0.9")?;
    page.click("[aria-label='Load: tiny.1bit']")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('.model-name').innerText == 'Tiny'"),
        START,
    )?;
    page.wait_for(
        "document.querySelector('#temperature').value == '0.45'",
        START,
    )?;
    page.click("[aria-label='Load: recommended.1bit']")?;
    shows("0.9", "0.7")?;
    page.assert_clean()
}

/// Each does what its flag does natively, and something.
#[test]
fn settings_do_what_they_do_natively() -> Result<()> {
    let page = open_tiny()?;
    let prompt = "Once upon a time";
    page.click("input[name=mode][value=text]")?;
    let usual = [
        ("temperature", "1.5"),
        ("top-p", "1"),
        ("top-k", "256"),
        ("repetition-penalty", "1"),
        ("max-tokens", "24"),
        ("seed", "7"),
    ];
    let changes = [
        ("temperature", "0.5"),
        ("top-p", "0.5"),
        ("top-k", "2"),
        ("repetition-penalty", "2"),
        ("max-tokens", "6"),
        ("seed", "8"),
        ("stop", "e"),
    ];
    let reply = |settings: &[(&str, &str)]| -> Result<String> {
        for (name, value) in settings {
            let field = if *name == "stop" {
                "stop-strings"
            } else {
                name
            };
            page.set_field(&format!("#{field}"), value)?;
        }
        answered(&page, prompt)?;
        let reply = page.evaluate(&format!(
            "document.querySelector('{LAST_REPLY}').textContent"
        ))?;
        let reply = reply.as_str().context("no reply")?;
        let native = onebit::sampled(onebit::tiny_model()?, prompt, settings)?;
        ensure!(
            reply == native,
            "{settings:?}: {reply:?}, natively {native:?}"
        );
        Ok(native)
    };
    let unchanged = reply(&usual)?;
    for change in changes {
        let mut settings = usual.to_vec();
        settings.retain(|(name, _)| *name != change.0);
        settings.push(change);
        ensure!(reply(&settings)? != unchanged, "{change:?} changes nothing");
    }
    page.assert_clean()
}

/// The system prompt is the first thing the model reads, in its template.
#[test]
fn a_system_prompt_is_read() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#temperature", "0")?;
    page.set_field("#repetition-penalty", "1")?;
    page.set_field("#max-tokens", "24")?;
    page.set_field("#system-prompt", "The bear is old.")?;
    answered(&page, "Who is Max?")?;
    let reply = page.text(LAST_REPLY)?;
    let asked = "<|user|>Who is Max?<|end|><|assistant|>";
    let native = |prompt: &str| onebit::greedy(onebit::tiny_model()?, prompt, 24);
    let with = native(&format!("<|system|>The bear is old.<|end|>{asked}"))?;
    ensure!(reply.trim() == with.trim(), "{reply:?}, natively {with:?}");
    ensure!(native(asked)? != with);
    page.assert_clean()
}

/// What a model or a reader writes stays text.
#[test]
fn markup_in_a_prompt_is_text() -> Result<()> {
    let page = open_tiny()?;
    ask(&page, "<img src=x onerror=alert(1)><b>bold</b>")?;
    page.wait_for(FINISHED, REPLY)?;
    ensure!(
        page.evaluate("document.querySelector('.exchange img, .exchange b') === null")? == true
    );
    ensure!(page.text(".exchange p.prompt")?.contains("<b>bold</b>"));
    page.assert_clean()
}

/// What was said before stays in the KV cache: a later turn reads only what is new.
#[test]
fn a_later_turn_reads_only_what_is_new() -> Result<()> {
    let page = open("?device=cpu")?;
    page.set_field("#max-tokens", "40")?;
    page.set_field("#seed", "5")?;
    let mut waits = Vec::new();
    for prompt in [
        "Tell me a story about a dog and a ball in the park.",
        "And then?",
        "What did the dog say?",
    ] {
        ask(&page, prompt)?;
        page.wait_for(FINISHED, REPLY)?;
        let figures = page.text(".exchange:last-child .figures")?;
        let cached =
            page.evaluate("Number(document.querySelector('.exchange:last-child').dataset.cached)")?;
        let read =
            page.evaluate("Number(document.querySelector('.exchange:last-child').dataset.read)")?;
        eprintln!("{figures}; {read} tokens read, {cached} from the cache");
        ensure!(figures.contains("prompt of"), "{figures}");
        ensure!(
            figures.contains("of them read before") != waits.is_empty(),
            "{figures}"
        );
        waits.push((
            cached.as_u64().context("no figure")?,
            read.as_u64().context("no figure")?,
        ));
    }
    let [first, second, third] = waits[..] else {
        unreachable!("three prompts were asked")
    };
    ensure!(
        first.0 == 0 && second.0 >= first.1 && third.0 > second.0,
        "{waits:?}"
    );
    ensure!(
        third.1 < second.0,
        "the third turn read the history again: {waits:?}"
    );
    page.assert_clean()
}
