//! Measurements, run when asked for: the engine beside others in one page.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, Server, onebit, published, stage};

use crate::package::{blank, site};
use crate::{LOADED, START, open};

const ROUNDS: usize = 7;
const TOKENS: usize = 64;
const LOADING: std::time::Duration = std::time::Duration::from_secs(300);

/// Tokens a second of both on the CPU, one thread each, for one GGUF file; the engine has it
/// imported with an 8-bit head. They decode by turns, so that a machine busy with other work slows
/// both.
#[test]
#[ignore = "a measurement: `cargo xtask bench-wllama MODEL.gguf`"]
fn beside_wllama() -> Result<()> {
    let path = |variable: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .with_context(|| format!("{variable} is not set: `cargo xtask bench-wllama` sets it"))
    };
    let (gguf, wllama) = (
        path("TERNARY_BENCH_GGUF")?,
        path("TERNARY_WLLAMA")?.join("esm"),
    );
    let server = site()?;
    server.add("/bench.gguf", fs::read(&gguf)?)?;
    server.add("/bench.1bit", fs::read(onebit::import(&gguf, "eightbit")?)?)?;
    for file in ["index.js", "wasm/wllama.wasm"] {
        server.add(&format!("/wllama/{file}"), fs::read(wllama.join(file))?)?;
    }
    let page = ready(&server)?;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let ours = decode(&page, "ours")?;
        let theirs = decode(&page, "theirs")?;
        // The first warms both up.
        if round > 0 {
            eprintln!(
                "round {round}: {ours:.2} and {theirs:.2} tokens/s, {:.2} times",
                ours / theirs
            );
            rounds.push((ours, theirs));
        }
    }
    tell("the engine, tokens/s", rounds.iter().map(|(ours, _)| *ours));
    tell("wllama, tokens/s", rounds.iter().map(|(_, theirs)| *theirs));
    tell("times", rounds.iter().map(|(ours, theirs)| ours / theirs));
    Ok(())
}

/// Frames a second of a matrix of 6912 × 2560 weights while it is moved and zoomed.
#[test]
#[ignore = "a measurement: `cargo test -p page-tests -- --ignored --nocapture frames`, on a built page"]
fn frames() -> Result<()> {
    const WHEEL: &str = "clientX: 400 + left, clientY: 200 + top, bubbles: true, cancelable: true";
    let folder = published::folder("frames")?;
    onebit::random_bitnet(&folder, 1, 400)?;
    let model = onebit::import(&folder, "eightbit")?;
    stage()?.server.add("/frames.1bit", fs::read(model)?)?;
    let page = open("?model=frames.1bit&device=cpu")?;
    page.emulate(1280, 900, "light")?;
    page.click("input[name=mode][value=map]")?;
    page.wait_for(
        &format!("document.querySelector('.grid') && {LOADED}"),
        START,
    )?;
    page.click("[data-parameter='model.layers.0.mlp.gate_proj.weight']")?;
    page.wait_for("document.querySelector('#weights')", START)?;
    page.evaluate(&format!(
        "window.frame = () => new Promise(requestAnimationFrame); \
         window.wheel = deltaY => {{ const {{ left, top }} = weights.getBoundingClientRect(); \
           weights.dispatchEvent(new WheelEvent('wheel', {{ {WHEEL}, deltaY }})); }}; \
         window.pointer = (type, x, y) => {{ const {{ left, top }} = weights.getBoundingClientRect(); \
           weights.dispatchEvent(new PointerEvent(type, {{ bubbles: true, pointerId: 1, clientX: left + x, clientY: top + y }})); }}; \
         window.measure = async each => {{ await frame(); const times = [await frame()]; \
           for (let i = 0; i < 150; i++) {{ each(i); times.push(await frame()); }} \
           const apart = times.slice(1).map((time, i) => time - times[i]); \
           return {{ perSecond: 150_000 / (times[150] - times[0]), longest: Math.max(...apart) }}; }}; 0"
    ))?;
    for (what, before, each) in [
        (
            "the whole, zoomed in and out",
            "0",
            "wheel(i % 60 < 30 ? -20 : 20)",
        ),
        (
            "moved, a weight a pixel or so",
            "for (let i = 0; i < 12; i++) wheel(-60); pointer('pointerdown', 300, 200)",
            "pointer('pointermove', 300 + i % 40 * 4, 200 + i % 40 * 2)",
        ),
        (
            "moved, weights with their values",
            "for (let i = 0; i < 40; i++) wheel(-60); 0",
            "pointer('pointermove', 300 + i % 40 * 4, 200 + i % 40 * 2)",
        ),
    ] {
        page.evaluate(before)?;
        let found = page.evaluate(&format!("measure(i => {{ {each}; }})"))?;
        let figure = |name: &str| found[name].as_f64().context("no figure");
        eprintln!(
            "{what}: {:.1} frames/s, {:.1} ms between two at most",
            figure("perSecond")?,
            figure("longest")?
        );
    }
    page.assert_clean()
}

/// Both loaded, and a function `decode(which)` that gives tokens a second, the first token not
/// counted.
fn ready(server: &Server) -> Result<Page> {
    let page = blank(server)?;
    page.evaluate(&format!(
        "window.ready = null; (async () => {{ \
           const {{ Wllama }} = await import('/wllama/index.js'); \
           const theirs = new Wllama({{ default: '/wllama/wasm/wllama.wasm' }}, {{ suppressNativeLog: true }}); \
           await theirs.loadModel([await (await fetch('/bench.gguf')).blob()], {{ n_threads: 1, n_ctx: 512, n_gpu_layers: 0, warmup: false }}); \
           const ours = await Engine.load('bench.1bit', {{ device: 'cpu' }}); \
           const asked = {{ prompt: 'hello', max_tokens: {TOKENS}, temperature: 0, stream: true }}; \
           const chunks = {{ ours: () => ours.completions.create({{ ...asked, repetition_penalty: 1 }}), \
             theirs: () => theirs.createCompletion({{ ...asked, n_predict: {TOKENS}, ignore_eos: true }}) }}; \
           window.decode = async which => {{ let first, last, count = 0; \
             for await (const chunk of await chunks[which]()) {{ \
               if (chunk.choices[0].finish_reason) continue; \
               last = performance.now(); first ??= last; count++; }} \
             return {{ count, perSecond: (count - 1) / (last - first) * 1000 }}; }}; \
           return 'ready'; }})().then(done => {{ window.ready = done; }}, problem => {{ window.ready = String(problem?.stack ?? problem); }}); 0"
    ))?;
    page.wait_for("window.ready", LOADING)?;
    let ready = page.evaluate("ready")?;
    ensure!(ready == "ready", "{ready}");
    Ok(page)
}

fn decode(page: &Page, which: &str) -> Result<f64> {
    // Awaited in the page: asking it again and again would take time from both.
    let found = page.evaluate(&format!(
        "decode('{which}').catch(problem => String(problem?.stack ?? problem))"
    ))?;
    // A token may be told with its neighbor.
    ensure!(
        found["count"].as_u64() >= Some(TOKENS as u64 - 2),
        "{which}: {found}"
    );
    found["perSecond"]
        .as_f64()
        .with_context(|| format!("{which}: {found}"))
}

/// Prints least, most and median.
fn tell(what: &str, values: impl Iterator<Item = f64>) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    eprintln!(
        "{what}: {:.2} to {:.2}, median {:.2}",
        values[0],
        values[values.len() - 1],
        values[values.len() / 2]
    );
}
