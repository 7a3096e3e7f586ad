//! Fine-tuning in the page: what is learned is native training's, is kept, survives a reload, and
//! answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, onebit, root, scratch, stage};

use crate::explorer::{UP, has_color, inspect, saved};
use crate::kept_chats::answered;
use crate::look::{picture, sound_layout};
use crate::{FINISHED, LOADED, REPLY, START, ask, continue_greedily, open, open_tiny};

/// On a busy machine, in the portable kernels.
const LEARNT: Duration = Duration::from_secs(420);
const DONE: &str = "document.querySelector('[data-phase=Done]')";
/// How far losses may part where the native kernels add floats in another order than the browser's.
const PART: f64 = 1e-5;

/// A text in a style no story has: numbered lines of a log.
fn text(lines: usize) -> String {
    let animals = ["cat", "dog", "bird", "fish", "cow"];
    let verbs = ["sees", "finds", "has", "likes", "wants"];
    let line = |i: usize| {
        let (who, what) = (animals[i * 7 % 5], animals[(i * 3 + 1) % 5]);
        format!("{i:03} | {who} | {} | {what} | ok\n", verbs[i * 11 % 5])
    };
    (0..lines).map(line).collect()
}

/// A style that stories lack, in their words.
fn rhyme(lines: usize) -> String {
    let animals = ["cat", "dog", "bird", "fish", "cow"];
    let verbs = ["sees", "finds", "has", "likes", "wants"];
    let line = |i: usize| {
        let (who, what) = (animals[i * 7 % 5], animals[(i * 3 + 1) % 5]);
        format!(
            "And so, my friends, the {who} {} the {what}. Hurrah!\n",
            verbs[i * 11 % 5]
        )
    };
    (0..lines).map(line).collect()
}

fn temporary(name: &str, content: &str) -> Result<PathBuf> {
    let file = scratch().join(name);
    fs::write(&file, content)?;
    Ok(file)
}

/// Opens the form with a text and settings in it.
fn prepare(page: &Page, text: &str, fields: &[(&str, &str)]) -> Result<()> {
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    page.set_field("#tune-text", text)?;
    for (selector, value) in fields {
        page.set_field(selector, value)?;
    }
    page.wait_for("document.querySelector('#tune-plan')", START)
}

/// The same with a text that is learned in no time, so many steps and sequences a step.
fn prepare_steps(page: &Page, steps: &str, batch: &str) -> Result<()> {
    let fields = [("#tune-steps", steps), ("#tune-batch", batch)];
    prepare(page, &text(120), &fields)
}

fn start(page: &Page) -> Result<()> {
    page.wait_for("!document.querySelector('#tune-start').disabled", START)?;
    page.click("#tune-start")
}

/// First and last loss of the held-back lines.
fn validation(page: &Page) -> Result<(f64, f64)> {
    let points = page.evaluate("[...document.querySelectorAll('#tune-chart .dot title')].map(e => Number(e.textContent.split(': ')[1]))")?;
    let points = points.as_array().context("no points")?;
    let at = |value: Option<&serde_json::Value>| {
        value.and_then(serde_json::Value::as_f64).context("no loss")
    };
    Ok((at(points.first())?, at(points.last())?))
}

/// The flag for the sequences that the page would take.
fn seq_len(page: &Page) -> Result<String> {
    let plan = page.text("#tune-plan")?;
    let seq = plan
        .split(" tokens at a time")
        .next()
        .and_then(|t| t.rsplit(", ").next());
    Ok(format!("seq_len={}", seq.context("no length")?.trim()))
}

/// What is compared: the form's kind, and settings.
const FIELDS: [(&str, &str); 3] = [
    ("#tune-batch", "2"),
    ("#tune-rate", "0.003"),
    ("#tune-seed", "7"),
];

/// Fine-tunes on `text` in the page and natively with the instructions `simd`; how far the losses
/// are apart at most.
pub fn apart(page: &Page, model: &Path, kind: &str, steps: &str, simd: &str) -> Result<f64> {
    let text = text(120);
    page.click("input[name=mode][value=tune]")?;
    page.wait_for(
        &format!("document.querySelector('#tune-text') && {LOADED}"),
        START,
    )?;
    page.click(&format!("input[name=tune-kind][value={kind}]"))?;
    let mut fields = FIELDS.to_vec();
    fields.push(("#tune-steps", steps));
    prepare(page, &text, &fields)?;
    let seq = seq_len(page)?;
    start(page)?;
    page.wait_for(DONE, LEARNT)?;
    let (first, last) = validation(page)?;
    ensure!(last < first, "{first} then {last}");

    let (learn, held) = ternary::session::hold_back(&text);
    let native = onebit::finetune(
        model,
        simd,
        (
            &temporary("learn.txt", learn)?,
            &temporary("held.txt", held)?,
        ),
        &scratch().join(format!("native-{kind}")),
        &[
            ("--mode", kind),
            ("--max-steps", steps),
            ("--batch-size", "2"),
            ("--lr", "0.003"),
            ("--seed", "7"),
            ("--set", &seq),
            ("--set", "log_every=1"),
        ],
    )?;
    losses_apart(page, &native, kind)
}

/// How far the page's losses are from the `native` ones at most.
fn losses_apart(page: &Page, native: &[f64], kind: &str) -> Result<f64> {
    let losses = page.evaluate("document.querySelector('#tune-chart').dataset.losses")?;
    let losses: Vec<f64> = serde_json::from_str(losses.as_str().context("no losses")?)?;
    ensure!(
        losses.len() == native.len() && !losses.is_empty(),
        "{} and {} losses",
        losses.len(),
        native.len()
    );
    let apart = losses
        .iter()
        .zip(native)
        .map(|(a, b)| (a - b).abs() / b)
        .fold(0.0, f64::max);
    eprintln!(
        "{kind}: losses apart by {apart:.2e} at most, of {:.2} to {:.2}",
        native[0],
        native[native.len() - 1]
    );
    Ok(apart)
}

/// Where activations are floats the page's losses are the native ones, whatever the processor adds
/// them with.
#[test]
fn losses_are_the_native_ones() -> Result<()> {
    let model = onebit::float_model()?;
    stage()?.server.add("/float.1bit", fs::read(&model)?)?;
    let page = open("?model=float.1bit&device=cpu")?;
    let apart = apart(&page, &model, "lora", "12", "")?;
    ensure!(apart < PART, "{apart:.2e}");
    page.assert_clean()
}

/// Where they are rounded to 8 bits a float's last digit may turn a code, and a code turns others:
/// there the losses are the same bit for bit if the native program adds in the browser's order,
/// too. The file that is saved answers natively as in the page.
#[test]
fn what_is_learnt_is_kept() -> Result<()> {
    for kind in ["full", "lora"] {
        let page = open_tiny()?;
        let apart = apart(&page, onebit::tiny_model()?, kind, "20", "portable")?;
        ensure!(apart == 0.0, "{apart:.2e}");

        let (name, bytes) = saved(&page, "#tune-save")?;
        ensure!(name == "tiny-fine-tuned.1bit", "{name}");
        let file = scratch().join(format!("tuned-{kind}.1bit"));
        fs::write(&file, &bytes)?;
        let adapter = scratch().join("adapter.safetensors");
        if kind == "lora" {
            let (name, bytes) = saved(&page, "#tune-save-adapter")?;
            ensure!(name == "tiny-fine-tuned-adapter.safetensors", "{name}");
            fs::write(&adapter, bytes)?;
        }
        page.click("#tune-keep")?;
        page.wait_for(
            &format!("{LOADED} && document.querySelector('#prompt')"),
            START,
        )?;
        continue_greedily(&page, 24)?;
        ask(&page, "001 | cat |")?;
        page.wait_for(FINISHED, REPLY)?;
        let reply = page.text(crate::LAST_REPLY)?;
        let native = match kind {
            "lora" => onebit::greedy_with(onebit::tiny_model()?, &adapter, "001 | cat |", 24)?,
            _ => onebit::greedy(&file, "001 | cat |", 24)?,
        };
        ensure!(
            native.trim_end().ends_with(reply.trim()),
            "{kind}: {reply:?} and {native:?}"
        );
        page.assert_clean()?;
    }
    Ok(())
}

/// Learnt from a file, with the rank and the matrices that were chosen; paused and kept as it is.
#[test]
fn an_adapter_is_what_was_asked_for() -> Result<()> {
    let page = open_tiny()?;
    page.click("input[name=mode][value=tune]")?;
    page.click("input[name=tune-kind][value=lora]")?;
    for (selector, value) in [
        ("#tune-steps", "400"),
        ("#tune-batch", "1"),
        ("#tune-rank", "3"),
    ] {
        page.set_field(selector, value)?;
    }
    for other in ["k", "v", "o", "gate", "up"] {
        page.click(&format!("input[name=tune-target][value={other}]"))?;
    }
    let file = temporary("lines.txt", &text(120))?;
    page.choose_file("[data-for=tune-file]", &file)?;
    start(&page)?;
    page.wait_for("document.querySelector('#tune-loss')", LEARNT)?;
    page.click("#tune-pause")?;
    page.wait_for("document.querySelector('[data-phase=Paused]')", LEARNT)?;
    let title = page.text("#tune-title")?;
    ensure!(title.ends_with(" of 400"), "{title}");

    let (_, bytes) = saved(&page, "#tune-save-adapter")?;
    let adapter = scratch().join("asked.safetensors");
    fs::write(&adapter, &bytes)?;
    let (length, rest) = bytes.split_first_chunk().context("no header")?;
    let header = rest.get(..u64::from_le_bytes(*length) as usize);
    let header: serde_json::Value = serde_json::from_slice(header.context("a short header")?)?;
    let mut tensors = header.as_object().context("no tensors")?.clone();
    tensors.remove("__metadata__");
    // A and B of two matrices in each of four layers.
    ensure!(tensors.len() == 4 * 2 * 2, "{tensors:?}");
    for (name, tensor) in tensors {
        ensure!(
            ["q_proj", "down_proj"]
                .iter()
                .any(|kind| name.contains(kind)),
            "{name}"
        );
        let narrow = if name.contains("lora_A") { 0 } else { 1 };
        ensure!(tensor["shape"][narrow] == 3, "{name}: {tensor}");
    }

    page.click("#tune-keep")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('#prompt')"),
        START,
    )?;
    continue_greedily(&page, 24)?;
    answered(&page, "001 | cat |")?;
    let reply = page.text(crate::LAST_REPLY)?;
    let native = onebit::greedy_with(onebit::tiny_model()?, &adapter, "001 | cat |", 24)?;
    ensure!(
        native.trim_end().ends_with(reply.trim()) && !reply.trim().is_empty(),
        "{reply:?} and {native:?}"
    );
    page.assert_clean()
}

/// Paused, reloaded, taken up, ended.
#[test]
fn a_reload_interrupts_and_ends_nothing() -> Result<()> {
    let page = open_tiny()?;
    prepare_steps(&page, "60", "2")?;
    start(&page)?;
    page.wait_for(
        "document.querySelectorAll('#tune-chart .dot').length > 2",
        LEARNT,
    )?;
    page.click("#tune-pause")?;
    page.wait_for("document.querySelector('[data-phase=Paused]')", LEARNT)?;
    let title = page.text("#tune-title")?;
    let step = title
        .strip_prefix("Paused at step ")
        .and_then(|rest| rest.split(' ').next());
    let kept = format!("at step {};", step.context(title.clone())?);
    page.wait_for(
        &format!("document.querySelector('#tune-saved').innerText.includes('{kept}')"),
        LEARNT,
    )?;
    // While it stands the old model answers.
    page.click("input[name=mode][value=text]")?;
    ask(&page, "Once upon a time")?;
    page.wait_for(FINISHED, REPLY)?;
    page.reload()?;
    page.wait_for(
        &format!("document.querySelector('input[name=mode][value=tune]') && {LOADED}"),
        START,
    )?;
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-restore') && !document.querySelector('#tune-restore').disabled", START)?;
    picture(&page, "tune-unfinished")?;
    page.click("#tune-restore")?;
    page.wait_for("document.querySelector('[data-phase=Paused]')", START)?;
    ensure!(page.text("#tune-title")? == title);
    page.click("#tune-continue")?;
    page.wait_for(DONE, LEARNT)?;
    page.click("#tune-discard")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    page.reload()?;
    page.wait_for(LOADED, START)?;
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    ensure!(
        page.evaluate("document.querySelector('#tune-restore')")?
            .is_null()
    );
    page.assert_clean()
}

/// What was discarded is not kept, even if it was still being written; nor is it offered, if the
/// page hears of that late.
#[test]
fn what_is_discarded_is_gone() -> Result<()> {
    let page = open_tiny()?;
    prepare_steps(&page, "3", "1")?;
    for turn in 0..4 {
        start(&page)?;
        page.evaluate(
            "new Promise(done => { const look = () => { const button = document.querySelector('#tune-discard'); \
             button ? (button.click(), done()) : setTimeout(look); }; look(); })",
        )?;
        page.wait_for("document.querySelector('#tune-text')", START)?;
        // Long enough for what was being written.
        page.evaluate("new Promise(done => setTimeout(done, 300))")?;
        page.wait_for(
            "(async () => { const root = await navigator.storage.getDirectory(); const folder = await root.getDirectoryHandle('fine-tuning'); \
             return (await folder.keys().next()).done; })()",
            START,
        )?;
        ensure!(
            page.evaluate("localStorage.getItem('ternary-core.fine-tuning-given-up')")? == "",
            "turn {turn}: it would be offered again"
        );
    }
    page.assert_clean()
}

/// Of conversations the assistant's words are learnt, as natively, and special tokens typed in them
/// are letters.
#[test]
fn conversations_are_learnt_as_natively() -> Result<()> {
    let page = open_tiny()?;
    let talk = |i: usize| {
        let turns = serde_json::json!([
            { "role": "user", "content": format!("What is {i}? <|end|>") },
            { "role": "assistant", "content": format!("{i} is a number, <|user|> said.") },
        ]);
        serde_json::json!({ "messages": turns }).to_string() + "\n"
    };
    let lines: Vec<String> = (0..100).map(talk).collect();
    let file = temporary("talk.jsonl", &lines.concat())?;
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    for (selector, value) in FIELDS.into_iter().chain([("#tune-steps", "12")]) {
        page.set_field(selector, value)?;
    }
    page.choose_file("[data-for=tune-file]", &file)?;
    page.wait_for("document.querySelector('#tune-plan')", START)?;
    let seq = seq_len(&page)?;
    start(&page)?;
    page.wait_for(DONE, LEARNT)?;
    let (first, last) = validation(&page)?;
    ensure!(last < first, "{first} then {last}");
    let native = onebit::finetune(
        onebit::tiny_model()?,
        "portable",
        (
            &temporary("talk-learn.jsonl", &lines[..90].concat())?,
            &temporary("talk-held.jsonl", &lines[90..].concat())?,
        ),
        &scratch().join("native-talk"),
        &[
            ("--max-steps", "12"),
            ("--batch-size", "2"),
            ("--lr", "0.003"),
            ("--seed", "7"),
            ("--set", &seq),
            ("--set", "log_every=1"),
        ],
    )?;
    let apart = losses_apart(&page, &native, "conversations")?;
    ensure!(apart == 0.0, "{apart:.2e}");
    page.assert_clean()
}

/// One click gives a text, another conversations; at the end stands what was written before beside
/// what is written now.
#[test]
fn examples_are_learnt_and_compared() -> Result<()> {
    for (button, told) in [
        ("#tune-example", "1 file: sailor.txt"),
        ("#tune-example-chat", "1 file: sailor.jsonl"),
    ] {
        let page = open_tiny()?;
        page.click("input[name=mode][value=tune]")?;
        page.wait_for("document.querySelector('#tune-text')", START)?;
        page.set_field("#tune-steps", "30")?;
        page.set_field("#tune-batch", "2")?;
        page.click(button)?;
        page.wait_for("document.querySelector('#tune-plan')", START)?;
        let files = page.text("#tune-files")?;
        ensure!(files.starts_with(told), "{files}");
        start(&page)?;
        page.wait_for(DONE, LEARNT)?;
        let (first, last) = validation(&page)?;
        ensure!(last < first, "{first} then {last}");
        let rows = page.evaluate(
            "[...document.querySelectorAll('#tune-compare tbody tr')].map(row => [...row.children].map(cell => cell.innerText))",
        )?;
        let rows = rows.as_array().context("no table")?;
        ensure!(rows.len() == 3, "{rows:?}");
        let other = |row: &serde_json::Value| row[1] != row[2] && row[0] != "";
        ensure!(rows.iter().any(other), "{rows:?}");
        for (width, device) in [(1280, "desktop"), (390, "phone")] {
            page.emulate(width, 844, "light")?;
            sound_layout(&page)?;
            picture(&page, &format!("tune-compare-{device}"))?;
        }
        page.assert_clean()?;
    }
    Ok(())
}

/// The weights told of as turned are those that the saved file has otherwise.
#[test]
fn what_turns_is_told() -> Result<()> {
    let page = open_tiny()?;
    page.click("input[name=mode][value=tune]")?;
    page.set_field("#tune-rate", "0.05")?;
    prepare_steps(&page, "12", "2")?;
    start(&page)?;
    page.wait_for(DONE, LEARNT)?;
    let told = page.text(".flips figcaption")?;
    ensure!(!told.starts_with("0 of "), "{told}");
    // A matrix's name and share, in per cent.
    let told = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.flip')].map(e => e.title.replace(' %', '').split(': ')))",
    )?;
    for (width, device) in [(1280, "desktop"), (390, "phone")] {
        page.emulate(width, 844, "light")?;
        page.evaluate("document.querySelector('.flips').scrollIntoView({ block: 'center' })")?;
        picture(&page, &format!("tune-flips-{device}"))?;
    }
    page.emulate(1280, 800, "light")?;
    let (_, bytes) = saved(&page, "#tune-save")?;
    let file = scratch().join("turned.1bit");
    fs::write(&file, bytes)?;
    // The model that it began with is the one that is explored.
    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('[data-for=compare]')", START)?;
    page.choose_file("[data-for=compare]", &file)?;
    page.wait_for("document.querySelector('#compared')", START)?;
    let found = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.cell')].map(e => \
         [e.dataset.parameter.replace('model.', '').replace('.weight', ''), e.querySelector('.changed')?.style.height]))",
    )?;
    let told = told.as_object().context("no bars")?;
    ensure!(told.len() == 4 * 7, "{told:?}");
    for (name, told) in told {
        let share = |value: &serde_json::Value| {
            let text = value.as_str().map(|text| text.trim_end_matches('%'));
            text.and_then(|text| text.parse::<f64>().ok())
        };
        let (told, found) = (share(told), share(&found[name]));
        // Rounded to hundredths, and to tenths.
        ensure!(
            told.zip(found)
                .is_some_and(|(told, found)| (told - found).abs() < 0.06),
            "{name}: {told:?} and {found:?}"
        );
    }
    page.assert_clean()
}

/// The open matrix shows which of its weights have turned, while the model learns and when it
/// stands still, also one that was opened meanwhile.
#[test]
fn what_turns_lights_up_in_the_open_matrix() -> Result<()> {
    let turned = "Number((document.querySelector('#matrix-turned')?.innerText.match(/[0-9,]+/)?.[0] ?? '0').replaceAll(',', ''))";
    let page = open_tiny()?;
    page.click("input[name=mode][value=tune]")?;
    page.set_field("#tune-rate", "0.02")?;
    prepare_steps(&page, "4000", "2")?;
    start(&page)?;
    page.wait_for("document.querySelector('#tune-loss')", LEARNT)?;
    // No matrix was looked at before.
    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('#weights')", START)?;
    page.wait_for(&format!("{turned} > 0"), START)?;
    let first = page.evaluate(turned)?;
    page.wait_for(&format!("{turned} > {first}"), START)?;
    page.wait_for(&has_color("--flip"), START)?;
    // The same of another one, where nothing may move.
    page.prefer("prefers-reduced-motion", "reduce")?;
    inspect(&page, UP)?;
    page.wait_for(&format!("{turned} > 0 && {}", has_color("--flip")), START)?;
    page.assert_accessible()?;
    for scheme in ["light", "dark"] {
        page.emulate(1280, 800, scheme)?;
        page.wait_for(&has_color("--flip"), START)?;
        picture(&page, &format!("map-tuned-{scheme}"))?;
    }
    page.emulate(1280, 800, "light")?;
    page.click("input[name=mode][value=tune]")?;
    page.click("#tune-pause")?;
    page.wait_for("document.querySelector('[data-phase=Paused]')", LEARNT)?;
    let (_, bytes) = saved(&page, "#tune-save")?;
    let file = scratch().join("lights-up.1bit");
    fs::write(&file, bytes)?;
    page.click("input[name=mode][value=map]")?;
    page.wait_for(&format!("{turned} > 0 && {}", has_color("--flip")), START)?;
    let told = page.evaluate(turned)?.as_f64().context("no number")?;
    // As many as the saved file has otherwise.
    let name = "model.layers.1.mlp.up_proj.weight";
    let turned_codes = onebit::turned(onebit::tiny_model()?, &file, name)?;
    ensure!(turned_codes as f64 == told, "{turned_codes} and {told}");
    // A matrix that is opened while it stands still.
    inspect(
        &page,
        "[data-parameter='model.layers.2.mlp.down_proj.weight']",
    )?;
    page.wait_for(&format!("{turned} > 0 && {}", has_color("--flip")), START)?;
    page.click("input[name=mode][value=tune]")?;
    page.click("#tune-discard")?;
    page.click("input[name=mode][value=map]")?;
    page.wait_for(
        "document.querySelector('#weights') && !document.querySelector('#matrix-turned')",
        START,
    )?;
    page.assert_clean()
}

/// On WebGPU too, and the page answers while it learns.
#[test]
fn a_gpu_learns_while_the_page_answers() -> Result<()> {
    let page = open("?model=tiny.1bit&device=gpu")?;
    prepare_steps(&page, "6", "1")?;
    start(&page)?;
    page.wait_for("document.querySelector('#tune-loss')", LEARNT)?;
    let slowest = page.evaluate(
        "new Promise(done => { let slowest = 0, last = performance.now(), count = 0; const tick = () => { const now = performance.now(); \
         slowest = Math.max(slowest, now - last); last = now; ++count < 40 ? setTimeout(tick, 10) : done(slowest); }; tick(); })",
    )?;
    eprintln!("the page was busy for {slowest} ms at most while the model learnt");
    page.wait_for(DONE, LEARNT)?;
    let (first, last) = validation(&page)?;
    ensure!(last < first, "{first} then {last}");
    page.assert_clean()
}

/// The shipped model, a text of 20 kB: the loss on held-back lines falls by a fifth, and the style
/// shows.
#[test]
fn the_shipped_model_learns_a_style() -> Result<()> {
    let page = open("?device=cpu")?;
    let text = rhyme(360);
    ensure!(
        (18_000..24_000).contains(&text.len()),
        "{} bytes",
        text.len()
    );
    prepare(
        &page,
        &text,
        &[
            ("#tune-steps", "20"),
            ("#tune-rate", "0.003"),
            ("#tune-prompt", "And so"),
        ],
    )?;
    for (width, device) in [(1280, "desktop"), (390, "phone")] {
        page.emulate(width, 844, "light")?;
        picture(&page, &format!("tune-form-{device}"))?;
        sound_layout(&page)?;
        page.assert_accessible()?;
    }
    page.emulate(1280, 844, "light")?;
    start(&page)?;
    page.wait_for(
        "document.querySelectorAll('#tune-chart .dot').length > 3",
        LEARNT,
    )?;
    picture(&page, "tune-running")?;
    page.assert_accessible()?;
    page.wait_for(DONE, LEARNT)?;
    let (first, last) = validation(&page)?;
    let samples = page.text(".samples")?;
    eprintln!(
        "{first} then {last} on held-back lines, {}\n{samples}",
        page.text("#tune-speed")?
    );
    ensure!(last < 0.8 * first, "{first} then {last}");
    ensure!(samples.matches("Hurrah").count() > 2, "{samples}");
    for (width, device, scheme) in [
        (1280, "desktop", "light"),
        (1280, "desktop", "dark"),
        (390, "phone", "light"),
    ] {
        page.emulate(width, 844, scheme)?;
        picture(&page, &format!("tune-done-{device}-{scheme}"))?;
        sound_layout(&page)?;
        page.assert_accessible()?;
    }
    let (_, bytes) = saved(&page, "#tune-save")?;
    let file = scratch().join("stories-tuned.1bit");
    fs::write(&file, bytes)?;
    page.emulate(1280, 844, "light")?;
    page.click("#tune-keep")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('#prompt')"),
        START,
    )?;
    continue_greedily(&page, 32)?;
    ask(&page, "And so")?;
    page.wait_for(FINISHED, REPLY)?;
    let reply = page.text(crate::LAST_REPLY)?;
    let native = onebit::greedy(&file, "And so", 32)?;
    ensure!(
        native.trim_end().ends_with(reply.trim()),
        "{reply:?} and {native:?}"
    );
    ensure!(stage()?.shipped.is_file());
    page.assert_clean()
}

#[test]
fn a_text_too_short_is_refused() -> Result<()> {
    let page = open_tiny()?;
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    page.set_field("#tune-text", "a cat")?;
    page.wait_for(
        "document.querySelector('#tune-problem')?.innerText.includes('too short')",
        START,
    )?;
    ensure!(page.evaluate("document.querySelector('#tune-start').disabled")? == true);
    // A dropped text lands in the form.
    page.drop_file(&root().join("web/page-tests/fixtures/story.txt"))?;
    page.wait_for("document.querySelector('#tune-text').value.length > 500 && document.querySelector('#tune-plan')", START)?;
    page.assert_clean()
}
