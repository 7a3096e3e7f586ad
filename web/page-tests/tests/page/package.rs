//! The engine in another page, by its npm package.

use std::fs;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, Server, onebit, published, root, stage};
use serde_json::{Value, json};

use crate::{REPLY, START};

/// A site with the package, the models and the example page.
pub fn site() -> Result<Server> {
    let server = Server::start(root().join("web/example"))?;
    let package = root().join("target/npm");
    let files = fs::read_dir(&package).with_context(|| {
        format!(
            "{} is not there: run `cargo xtask package`",
            package.display()
        )
    })?;
    for file in files {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        server.add(&format!("/ternary-core/{name}"), fs::read(file.path())?)?;
    }
    server.add("/stories.1bit", fs::read(&stage()?.shipped)?)?;
    server.add("/tiny.1bit", fs::read(onebit::tiny_model()?)?)?;
    server.add(
        "/blank.html",
        "<!doctype html><title>blank</title><link rel=icon href='data:,'><script type=module>\
         import { Engine } from './ternary-core/index.js'; window.Engine = Engine;</script>",
    )?;
    Ok(server)
}

pub fn blank(server: &Server) -> Result<Page> {
    let page = stage()?
        .browser
        .open(&format!("{}/blank.html", server.origin()))?;
    page.wait_for("window.Engine", START)?;
    Ok(page)
}

#[test]
fn the_example_streams_and_stops() -> Result<()> {
    let server = site()?;
    let page = stage()?.browser.open(&format!("{}/", server.origin()))?;
    page.wait_for(
        "!document.querySelector('button').disabled && document.querySelector('p').childNodes.length > 8",
        REPLY,
    )?;
    page.click("button")?;
    page.wait_for(
        "document.querySelector('p').textContent.endsWith('(stopped)')",
        REPLY,
    )?;
    eprintln!("{}", page.text("p")?);
    page.assert_clean()
}

/// The whole interface, on both devices: greedy text equals the command line's, chunks have
/// OpenAI's shape.
#[test]
fn completions_in_openai_s_shape() -> Result<()> {
    let server = site()?;
    let page = blank(&server)?;
    let expected = onebit::greedy(onebit::tiny_model()?, "Once upon a time", 12)?;
    for device in ["cpu", "gpu"] {
        // Begun here and waited for: a GPU in software takes longer than one evaluation may.
        page.evaluate(&format!(
            "window.found = null; (async () => {{ \
               const steps = []; \
               const engine = await Engine.load('tiny.1bit', {{ device: '{device}', onProgress: step => steps.push(step) }}); \
               const prompt = 'Once upon a time'; \
               const greedy = {{ temperature: 0, repetition_penalty: 1, max_tokens: 12 }}; \
               const whole = await engine.completions.create({{ prompt, ...greedy }}); \
               const chunks = []; \
               for await (const chunk of await engine.completions.create({{ prompt, ...greedy, stream: true }})) chunks.push(chunk); \
               const messages = [{{ role: 'user', content: 'Who is Max?' }}]; \
               const chat = await engine.chat.completions.create({{ messages, max_tokens: 5, seed: 1 }}); \
               const again = await engine.chat.completions.create({{ messages, max_tokens: 5, seed: 1 }}); \
               engine.close(); \
               return {{ device: engine.model.device.kind, steps, whole, chunks, chat, again }}; }})() \
               .then(found => {{ window.found = found; }}, problem => {{ window.found = {{ problem: String(problem) }}; }}); 0"
        ))?;
        page.wait_for("window.found", REPLY)?;
        let found = page.evaluate("found")?;
        ensure!(found["problem"].is_null(), "{}", found["problem"]);
        ensure!(found["device"] == device);
        let steps = found["steps"].as_array().context("no steps")?;
        ensure!(
            steps.iter().any(|step| step["phase"] == "load"),
            "{steps:?}"
        );
        ensure!(
            found["whole"]["choices"][0]["text"] == expected.as_str(),
            "{found:#}"
        );
        ensure!(found["whole"]["usage"]["completion_tokens"] == 12);
        ensure!(found["whole"]["choices"][0]["finish_reason"] == "length");
        let chunks = found["chunks"].as_array().context("no chunks")?;
        let text: String = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["text"].as_str())
            .collect();
        ensure!(chunks.len() > 2 && text == expected, "{chunks:?}");
        ensure!(
            chunks
                .iter()
                .rev()
                .skip(1)
                .all(|chunk| chunk["choices"][0]["finish_reason"].is_null())
        );
        ensure!(found["chat"]["object"] == "chat.completion");
        ensure!(found["chat"]["choices"][0]["message"]["role"] == "assistant");
        ensure!(
            found["chat"]["choices"] == found["again"]["choices"],
            "a seed gives one reply"
        );
    }
    page.assert_clean()
}

#[test]
fn aborting_and_failing() -> Result<()> {
    let server = site()?;
    let page = blank(&server)?;
    page.evaluate("(async () => { window.engine = await Engine.load(await (await fetch('tiny.1bit')).blob(), { device: 'cpu' }); })()")?;
    // The reply that runs and one that waits are aborted, one between them is answered.
    let found = page.evaluate(
        "(async () => { \
           const abort = new AbortController(), waiting = new AbortController(); \
           const long = { prompt: 'Once upon a time', max_tokens: 2000, temperature: 0 }; \
           const why = promise => promise.then(() => 'answered', problem => problem.name + ': ' + problem.message); \
           const first = (async () => { let count = 0; \
             for await (const chunk of await engine.completions.create({ ...long, stream: true, signal: abort.signal })) \
               if (++count == 3) abort.abort(); })(); \
           const second = engine.completions.create({ prompt: 'The', max_tokens: 3 }); \
           const third = engine.completions.create({ ...long, signal: waiting.signal }); \
           waiting.abort(new Error('no longer wanted')); \
           const results = [await why(first), await why(second), await why(third)]; \
           let seen = 0; \
           for await (const chunk of await engine.completions.create({ ...long, stream: true })) if (++seen == 2) break; \
           results.push(await why(engine.completions.create({ prompt: 'The', max_tokens: 2 }))); \
           results.push(await why(engine.completions.create({ prompt: 'The', temperature: -1 }))); \
           results.push(await why(Engine.load('nowhere.1bit'))); \
           results.push(await why(Engine.load(new Blob(['no model'])))); \
           results.push(await why(Engine.load('tiny.1bit', { signal: AbortSignal.abort(new Error('not now')) }))); \
           engine.close(); \
           results.push(await why(engine.completions.create({ prompt: 'The' }))); \
           return results; })()",
    )?;
    let results: Vec<&str> = found
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    eprintln!("{results:#?}");
    let expected = [
        "AbortError: ",
        "answered",
        "Error: no longer wanted",
        "answered",
        "Error: ",
        "Error: ",
        "Error: ",
        "Error: not now",
        "Error: the engine is gone",
    ];
    ensure!(results.len() == expected.len());
    for (result, start) in results.iter().zip(expected) {
        ensure!(result.starts_with(start), "{result}, expected {start}");
    }
    Ok(())
}

#[test]
fn looking_into_a_model_and_fine_tuning_it() -> Result<()> {
    let server = site()?;
    let page = blank(&server)?;
    let text = fs::read_to_string(root().join("web/page-tests/fixtures/story.txt"))?;
    page.evaluate(&format!(
        "window.found = null; (async () => {{ \
           const engine = await Engine.load('tiny.1bit', {{ device: 'cpu' }}); \
           const text = {}; \
           const bitmap = engine.bitmap(); \
           const weights = await bitmap.weights('model.layers.0.mlp.up_proj.weight'); \
           const before = await bitmap.measure(text); \
           const whole = await bitmap.export(); \
           const points = []; \
           const tuned = await engine.finetune({{ text, rank: 4, steps: 6, batch_size: 2, seq_len: 32, onPoint: point => points.push(point) }}); \
           const adapter = await tuned.file('adapter'), model = await tuned.file(); \
           const kept = await tuned.keep(); \
           const again = await Engine.load(model, {{ device: 'cpu' }}); \
           const stop = new AbortController(); \
           const early = await again.finetune({{ text, steps: 500, batch_size: 2, seq_len: 32, signal: stop.signal, onPoint: () => stop.abort() }}); \
           engine.close(); again.close(); \
           return {{ mode: weights.mode, codes: weights.codes.length == weights.rows * weights.columns, loss: before.loss, \
             whole: whole.size, steps: tuned.step, done: tuned.done, points: points.length, adapter: adapter.size, kept: kept.name, \
             early: early.step, unfinished: !early.done }}; }})() \
           .then(found => {{ window.found = found; }}, problem => {{ window.found = {{ problem: String(problem) }}; }}); 0",
        json!(text)
    ))?;
    page.wait_for("window.found", REPLY)?;
    let found = page.evaluate("found")?;
    eprintln!("{found}");
    ensure!(found["problem"].is_null(), "{}", found["problem"]);
    ensure!(found["mode"] == "ternary" && found["codes"] == true);
    ensure!(found["loss"].as_f64().is_some_and(|loss| loss > 0.0));
    ensure!(found["whole"].as_u64() > Some(100_000) && found["adapter"].as_u64() > Some(1000));
    ensure!(found["steps"] == 6 && found["done"] == true && found["points"].as_u64() > Some(1));
    ensure!(found["kept"] == "Tiny");
    ensure!(found["early"].as_u64() < Some(500) && found["unfinished"] == true);
    page.assert_clean()
}

/// A published model becomes one kept in the browser: imported once, then found there.
#[test]
fn importing_a_published_model() -> Result<()> {
    let server = site()?;
    let gguf = published::folder("package-gguf")?.join("published.gguf");
    onebit::export(onebit::tiny_model()?, &gguf, &[("--format", "gguf")])?;
    server.add("/published.gguf", fs::read(&gguf)?)?;
    let native = onebit::import(&gguf, "eightbit")?;
    let expected = onebit::greedy(&native, "Once upon a time", 12)?;
    let page = blank(&server)?;
    page.evaluate(
        "window.found = null; (async () => { \
           const bytes = await (await fetch('published.gguf')).blob(); \
           const file = new File([bytes], 'published.gguf', { lastModified: 1 }); \
           const greedy = { prompt: 'Once upon a time', temperature: 0, repetition_penalty: 1, max_tokens: 12 }; \
           const phases = []; \
           for (const round of [1, 2]) { \
             const seen = new Set(); \
             const engine = await Engine.import(file, { head: 'eightbit', device: 'cpu', onProgress: ({ phase }) => seen.add(phase) }); \
             phases.push([...seen].join()); \
             window.text = (await engine.completions.create(greedy)).choices[0].text; \
             window.measured = await engine.bitmap().measure('Once upon a time there was a dog.'); \
             engine.close(); \
           } \
           const why = promise => promise.then(() => 'imported', problem => problem.message); \
           const refused = await why(Engine.import([new File(['nothing'], 'notes.txt')])); \
           const aborted = await why(Engine.import(file, { signal: AbortSignal.abort(new Error('not now')) })); \
           return { phases, text, measured: measured.loss > 0, refused, aborted }; })() \
           .then(found => { window.found = found; }, problem => { window.found = { problem: String(problem) }; }); 0",
    )?;
    page.wait_for("window.found", REPLY)?;
    let found = page.evaluate("found")?;
    eprintln!("{found}");
    ensure!(found["problem"].is_null(), "{}", found["problem"]);
    ensure!(found["phases"] == json!(["import,load", "load"]));
    ensure!(found["text"] == expected.as_str(), "{expected}");
    ensure!(
        found["refused"]
            .as_str()
            .is_some_and(|why| why.contains("notes.txt"))
    );
    ensure!(found["aborted"] == "not now" && found["measured"] == true);
    page.assert_clean()
}
