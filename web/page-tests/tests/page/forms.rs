//! Replies that must have a form, and functions that a reply calls.

use anyhow::{Context, Result, ensure};
use page_tests::{Page, onebit, published};
use serde_json::{Value, json};
use ternary_scripted::reply;

use crate::import::{ASKED, OVER};
use crate::kept_chats::{SAVED, answered, catch_file, caught};
use crate::look::picture;
use crate::package::{blank, site};
use crate::{FINISHED, LAST_REPLY, LOADED, REPLY, START, ask, continue_greedily, open_tiny};

const SCHEMA: &str = r#"{"type":"object","properties":{"name":{"enum":["Max","Lily"]},"age":{"type":"integer","minimum":1,"maximum":99}},"required":["name","age"],"additionalProperties":false}"#;
/// What the engine's worker has fetched.
const FETCHED: &str = "performance.getEntriesByType('resource').map(entry => entry.name).join()";

fn last_reply(page: &Page) -> Result<String> {
    let text = page.evaluate(&format!(
        "document.querySelector('{LAST_REPLY}').textContent"
    ))?;
    Ok(text.as_str().context("no reply")?.to_owned())
}

fn fits(text: &str) -> Result<()> {
    let value: Value =
        serde_json::from_str(text).with_context(|| format!("{text:?} is no JSON"))?;
    let age = value["age"].as_i64().unwrap_or_default();
    ensure!(value["name"] == "Max" || value["name"] == "Lily", "{value}");
    ensure!((1..100).contains(&age), "{value}");
    Ok(())
}

/// What compiles schemas comes with the first reply that needs it, and the reply is the command
/// line's.
#[test]
fn a_reply_fits_a_schema() -> Result<()> {
    let page = open_tiny()?;
    continue_greedily(&page, 64)?;
    answered(&page, "The bear is called")?;
    let fetched = |page: &Page| -> Result<bool> {
        let all = page.evaluate_in_worker("worker", FETCHED)?;
        Ok(all.as_str().unwrap_or_default().contains("grammar_bg.wasm"))
    };
    ensure!(!fetched(&page)?, "it was fetched for a reply of no form");
    page.set_field("#reply-form", "schema")?;
    page.wait_for("document.querySelector('#schema')", START)?;
    page.set_field("#schema", SCHEMA)?;
    answered(&page, "The bear is called")?;
    ensure!(fetched(&page)?, "nothing was fetched for it");
    let text = last_reply(&page)?;
    fits(&text)?;
    let file = page_tests::scratch().join("schema.json");
    std::fs::write(&file, SCHEMA)?;
    let file = file.to_string_lossy().into_owned();
    let settings = [
        ("temperature", "0"),
        ("repetition-penalty", "1"),
        ("max-tokens", "64"),
        ("json-schema", &file),
    ];
    let native = onebit::sampled(onebit::tiny_model()?, "The bear is called", &settings)?;
    ensure!(text == native, "{text:?}, natively {native:?}");

    // In a conversation as well, and any object.
    page.click("input[name=mode][value=chat]")?;
    page.set_field("#temperature", "1")?;
    for _ in 0..3 {
        answered(&page, "Who is it?")?;
        fits(&last_reply(&page)?)?;
    }
    page.set_field("#reply-form", "object")?;
    page.wait_for("!document.querySelector('#schema')", START)?;
    answered(&page, "Who is it?")?;
    ensure!(last_reply(&page)?.starts_with('{'));
    page.set_field("#reply-form", "free")?;
    answered(&page, "Who is it?")?;
    ensure!(!last_reply(&page)?.starts_with('{'));
    page.assert_clean()
}

#[test]
fn a_schema_that_cannot_be_used_says_why() -> Result<()> {
    let page = open_tiny()?;
    page.set_field("#reply-form", "schema")?;
    page.wait_for("document.querySelector('#schema')", START)?;
    // What is no JSON is not taken, and the one before is used.
    page.set_field("#schema", SCHEMA)?;
    page.set_field("#schema", "{\"type\":")?;
    let told = page.text("#schema-problem")?;
    ensure!(told.starts_with("Not used: this is not JSON"), "{told}");
    answered(&page, "Who is it?")?;
    fits(&last_reply(&page)?)?;
    page.assert_accessible()?;
    // It stays in the field whatever else is set, and goes with what takes its place.
    page.set_field("#temperature", "0.5")?;
    let field = "document.querySelector('#schema').value";
    ensure!(page.evaluate(field)? == "{\"type\":");
    ensure!(page.text("#schema-problem")?.starts_with("Not used"));
    page.set_field("#reply-form", "object")?;
    page.set_field("#reply-form", "schema")?;
    page.wait_for(
        "document.querySelector('#schema')?.value.includes('integer')",
        START,
    )?;
    ensure!(!page.text("#schema-problem")?.starts_with("Not used"));
    // What the compiler refuses is told with its place, and the message is not lost.
    let refused =
        r#"{"type":"object","properties":{"a":{"type":"string","format":"no-such-format"}}}"#;
    page.set_field("#schema", refused)?;
    ask(&page, "And who is this?")?;
    page.wait_for("document.querySelector('.notice')", REPLY)?;
    let notice = page.text(".notice")?;
    ensure!(
        notice.contains("JSON schema") && notice.contains("#/properties/a"),
        "{notice}"
    );
    ensure!(page.evaluate("document.querySelector('#prompt').value")? == "And who is this?");
    page.set_field("#schema", SCHEMA)?;
    page.press("Enter")?;
    page.wait_for(FINISHED, REPLY)?;
    fits(&last_reply(&page)?)?;
    page.assert_clean()
}

/// A call is folded and its result asked for; both are kept, and go back in as messages.
#[test]
fn a_function_is_called_and_its_result_goes_back_in() -> Result<()> {
    let folder = published::folder("caller")?;
    let call = "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bonn\"}}";
    let mut model = reply(&[
        "Let",
        " me",
        " look.",
        "\n<tool_call>\n",
        call,
        "\n</tool_call>",
    ]);
    model.config["max_position_embeddings"] = 2048.into();
    model.write_hf(&folder);
    let page = open_tiny()?;
    page.click("#example-tools")?;
    page.wait_for(
        "document.querySelector('#tools').value.includes('get_weather') && !document.querySelector('#example-tools')",
        START,
    )?;
    page.set_field("#tools", "[{\"name\": \"two words\"}]")?;
    let told = page.text("#tools-problem")?;
    ensure!(told.contains("function 1"), "{told}");
    page.set_field(
        "#tools",
        "[{\"type\": \"function\", \"function\": {\"name\": \"get_weather\"}}]",
    )?;
    page.drop_file(&folder)?;
    page.wait_for(ASKED, START)?;
    page.click("#start-import")?;
    page.wait_for(
        &format!("{OVER} && {LOADED} && document.querySelector('.model-name').innerText != 'Tiny'"),
        START,
    )?;
    ask(&page, "Is it raining in Bonn?")?;
    page.wait_for("document.querySelector('.results')", REPLY)?;
    // It is drawn a moment later than it is there.
    page.wait_for(
        &format!("document.querySelector('{LAST_REPLY}').textContent == 'Let me look.'"),
        START,
    )?;
    ensure!(page.text(".called summary")? == "Calls get_weather");
    ensure!(page.evaluate("document.querySelector('.called').open")? == false);
    page.click(".called summary")?;
    ensure!(page.text(".called pre")?.contains("\"city\": \"Bonn\""));
    for (width, height, name) in [(1440, 900, "wide"), (390, 844, "phone")] {
        page.emulate(width, height, "light")?;
        page.assert_accessible()?;
        picture(&page, &format!("tools-{name}"))?;
    }
    page.emulate(1280, 800, "light")?;
    page.click(".results textarea")?;
    page.type_text("rain, 9 degrees")?;
    page.click(".send-results")?;
    let again = format!("{FINISHED} && document.querySelectorAll('.exchange').length == 2");
    page.wait_for(&again, REPLY)?;
    ensure!(page.evaluate("document.querySelectorAll('.results').length")? == 1);
    // What the call gave was read: in the form of a model whose template knows no tools.
    page.wait_for(&format!("{SAVED} == 1"), START)?;
    let check = |page: &Page| -> Result<()> {
        catch_file(page)?;
        page.click(".current .export")?;
        let kept = caught(page)?;
        let messages = &kept["messages"];
        ensure!(messages[1]["content"] == "Let me look.", "{messages}");
        let call = &messages[1]["tool_calls"][0];
        ensure!(call["function"]["name"] == "get_weather", "{messages}");
        ensure!(call["function"]["arguments"] == json!({"city": "Bonn"}));
        ensure!(messages[2]["role"] == "tool" && messages[2]["content"] == "rain, 9 degrees");
        ensure!(messages[2]["tool_call_id"] == call["id"], "{messages}");
        Ok(())
    };
    check(&page)?;
    page.reload()?;
    page.wait_for(
        &format!("{LOADED} && document.querySelectorAll('.exchange').length == 2"),
        START,
    )?;
    page.wait_for("document.querySelectorAll('.called').length == 3", START)?;
    ensure!(
        page.text(".exchange:last-child .called summary")?
            .starts_with("Result")
    );
    check(&page)?;
    page.assert_clean()
}

/// The package's engine has the same, in OpenAI's words.
#[test]
fn the_package_has_forms_and_tools() -> Result<()> {
    let server = site()?;
    let page = blank(&server)?;
    let schema: Value = serde_json::from_str(SCHEMA)?;
    let script = format!(
        "(async () => {{
            const engine = await Engine.load('tiny.1bit', {{ device: 'cpu' }});
            const ask = (more) => engine.chat.completions.create({{ messages: [{{ role: 'user', content: 'Who is it?' }}], max_tokens: 120, seed: 5, ...more }});
            const formed = await ask({{ response_format: {{ type: 'json_schema', json_schema: {{ name: 'who', schema: {schema} }} }} }});
            const tool = {{ type: 'function', function: {{ name: 'look', parameters: {schema} }} }};
            const called = await ask({{ tools: [tool], tool_choice: 'required' }});
            const message = called.choices[0].message;
            const result = {{ role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'sunny' }};
            const after = await engine.chat.completions.create({{ messages: [{{ role: 'user', content: 'Who is it?' }}, message, result], tools: [tool], max_tokens: 4 }});
            const wrong = await ask({{ response_format: {{ type: 'xml' }} }}).catch((problem) => problem.message);
            const text = await engine.completions.create({{ prompt: 'A', response_format: {{ type: 'json_object' }}, max_tokens: 8 }});
            engine.close();
            return JSON.stringify({{ formed, called, after, wrong, text }});
        }})()"
    );
    let answer = page.evaluate(&script)?;
    let answer: Value = serde_json::from_str(answer.as_str().context("no answer")?)?;
    let choice = &answer["formed"]["choices"][0];
    fits(choice["message"]["content"].as_str().unwrap_or_default())?;
    ensure!(choice["finish_reason"] == "stop", "{choice}");
    let choice = &answer["called"]["choices"][0];
    ensure!(choice["finish_reason"] == "tool_calls", "{choice}");
    let call = &choice["message"]["tool_calls"][0];
    ensure!(
        call["type"] == "function" && call["function"]["name"] == "look",
        "{call}"
    );
    fits(call["function"]["arguments"].as_str().unwrap_or_default())?;
    ensure!(
        answer["after"]["usage"]["prompt_tokens"].as_u64() > Some(20),
        "{answer}"
    );
    let wrong = answer["wrong"].as_str().unwrap_or_default();
    ensure!(
        wrong.contains("response_format") && wrong.contains("xml"),
        "{wrong}"
    );
    ensure!(
        answer["text"]["choices"][0]["text"]
            .as_str()
            .unwrap_or_default()
            .starts_with('{')
    );
    page.assert_clean()
}
