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

/// Tokens a second of both on the CPU for one GGUF file, with one thread each and with two:
/// decoding after a short prompt, and reading prompts. The engine has the file imported with an
/// 8-bit head. They take turns, so that a machine busy with other work slows both.
#[test]
#[ignore = "a measurement: `cargo xtask bench-wllama`"]
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
    server.isolate();
    server.add("/bench.gguf", fs::read(&gguf)?)?;
    server.add("/bench.1bit", fs::read(onebit::import(&gguf, "eightbit")?)?)?;
    for file in ["index.js", "wasm/wllama.wasm"] {
        server.add(&format!("/wllama/{file}"), fs::read(wllama.join(file))?)?;
    }
    let processor = ternary::platform::processor();
    eprintln!("{}", processor.as_deref().unwrap_or("an unknown processor"));
    let most = std::thread::available_parallelism()?.get();
    for threads in [1, 2].into_iter().filter(|threads| *threads <= most) {
        let page = ready(&server, threads)?;
        for (what, measured) in [
            ("decode", "decode"),
            ("prefill of about 128", "prefill_128"),
            ("prefill of about 512", "prefill_512"),
        ] {
            let mut rounds = Vec::new();
            for round in 0..=ROUNDS {
                let ours = measure(&page, measured, "ours")?;
                let theirs = measure(&page, measured, "theirs")?;
                // The first warms both up.
                if round > 0 {
                    rounds.push((ours, theirs));
                }
            }
            eprintln!("threads: {threads}; {what}:");
            tell(
                "  the engine, tokens/s",
                rounds.iter().map(|(ours, _)| *ours),
            );
            tell(
                "  wllama, tokens/s",
                rounds.iter().map(|(_, theirs)| *theirs),
            );
            tell("  times", rounds.iter().map(|(ours, theirs)| ours / theirs));
        }
    }
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

/// Both loaded, and a function `measure(what, which)` that gives tokens, and tokens a second: of a
/// reply, its first not counted, or of a prompt (as the engine counts them), until the first of a
/// reply.
fn ready(server: &Server, threads: usize) -> Result<Page> {
    let page = blank(server)?;
    page.evaluate(&format!(
        "window.ready = null; (async () => {{ \
           const {{ Wllama }} = await import('/wllama/index.js'); \
           const theirs = new Wllama({{ default: '/wllama/wasm/wllama.wasm' }}, {{ suppressNativeLog: true }}); \
           await theirs.loadModel([await (await fetch('/bench.gguf')).blob()], {{ n_threads: {threads}, n_ctx: 2048, n_gpu_layers: 0, warmup: false }}); \
           const ours = await Engine.load('bench.1bit', {{ device: 'cpu', threads: {threads} }}); \
           const asked = {{ temperature: 0, stream: true }}; \
           const chunks = {{ ours: (more) => ours.completions.create({{ ...asked, repetition_penalty: 1, ...more }}), \
             theirs: (more) => theirs.createCompletion({{ ...asked, n_predict: more.max_tokens, ignore_eos: true, ...more }}) }}; \
           let prompts = 0; \
           const prompt = tokens => {{ let words = ''; \
             for (let i = 0; i < tokens; i++) words += ` w${{100 + (i * 7 + prompts * 13) % 800}}`; prompts++; return words; }}; \
           window.measure = async (what, which) => {{ \
             const [kind, tokens] = what.split('_'); \
             const more = kind === 'decode' ? {{ prompt: 'hello', max_tokens: {TOKENS} }} : {{ prompt: prompt(tokens / 5), max_tokens: 2 }}; \
             const start = performance.now(); let first, last, count = 0; \
             for await (const chunk of await chunks[which](more)) {{ \
               if (chunk.choices[0].finish_reason) {{ if (which == 'ours') window.length = chunk.usage.prompt_tokens - chunk.usage.prompt_tokens_details.cached_tokens; continue; }} \
               last = performance.now(); first ??= last; count++; }} \
             return kind === 'decode' ? {{ count, perSecond: (count - 1) / (last - first) * 1000 }} \
               : {{ count: length, perSecond: length / (first - start) * 1000 }}; }}; \
           return ours.model.device.name; }})().then(done => {{ window.ready = done; }}, problem => {{ window.ready = String(problem?.stack ?? problem); }}); 0"
    ))?;
    page.wait_for("window.ready", LOADING)?;
    let ready = page.evaluate("ready")?;
    let ready = ready.as_str().unwrap_or_default();
    let expected = if threads == 1 {
        "1 thread"
    } else {
        "2 threads"
    };
    ensure!(ready.ends_with(expected), "{ready}");
    Ok(page)
}

fn measure(page: &Page, what: &str, which: &str) -> Result<f64> {
    // Awaited in the page: asking it again and again would take time from both.
    let found = page.evaluate(&format!(
        "measure('{what}', '{which}').catch(problem => String(problem?.stack ?? problem))"
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
