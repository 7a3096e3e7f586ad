//! What can fail under a page: too large a model, a GPU that is lost or full, none at all, history.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use page_tests::{FORGOTTEN, Page, huge, onebit, scratch, stage};
use serde_json::json;

use crate::look::picture;
use crate::{
    FEW, FINISHED, LAST_REPLY, LOADED, REPLY, START, ask, continue_greedily, open, open_altered,
    open_tiny,
};

/// Keeps the GPU devices of the worker, so that a test can take them away: `lose` in a broadcast.
const LOSING: &str = "{ const devices = []; const request = GPUAdapter.prototype.requestDevice; \
     GPUAdapter.prototype.requestDevice = async function(...wanted) { \
       if (self.refused) throw new Error('no device any more'); \
       const device = await request.apply(this, wanted); devices.push(device); return device; }; \
     new BroadcastChannel('gpu').onmessage = ({ data }) => { \
       self.refused = data == 'refuse'; for (const device of devices.splice(0)) device.destroy(); }; }";

fn device(page: &Page) -> Result<String> {
    let kind = page.evaluate("document.querySelector('.device').dataset.kind")?;
    Ok(kind.as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_lost_gpu_is_replaced() -> Result<()> {
    let page = open_altered("losing", LOSING, "device=gpu")?;
    page.set_field("#max-tokens", FEW)?;
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    for (how, then) in [("lose", "gpu"), ("refuse", "cpu")] {
        ensure!(device(&page)? == "gpu");
        page.evaluate(&format!("new BroadcastChannel('gpu').postMessage('{how}')"))?;
        let before = page.evaluate("document.querySelectorAll('.exchange').length")?;
        ask(&page, "Who is Lily?")?;
        page.wait_for(
            &format!(
                "document.querySelector('.notice')?.innerText.includes('The GPU was lost') && {LOADED}"
            ),
            REPLY,
        )?;
        eprintln!("{how}: {}", page.text(".notice .detail")?);
        picture(&page, &format!("gpu-{how}-desktop-light"))?;
        ensure!(device(&page)? == then, "runs on {}", device(&page)?);
        // The conversation is there, and the question that got no answer in the field again.
        let exchanges = page.evaluate("document.querySelectorAll('.exchange').length")?;
        ensure!(exchanges == before, "{exchanges} after {before}");
        ensure!(page.evaluate("document.querySelector('#prompt').value")? == "Who is Lily?");
        page.click("#send")?;
        page.wait_for(
            &format!("{FINISHED} && document.querySelector('{LAST_REPLY}').innerText"),
            REPLY,
        )?;
        page.assert_accessible()?;
    }
    Ok(())
}

/// Running out of memory on the GPU while a model loads leaves the one that was there.
#[test]
fn a_full_gpu_leaves_the_old_model() -> Result<()> {
    // What WebGPU does when there is no memory: a buffer that is none, and an error that comes
    // later.
    let full = "new BroadcastChannel('gpu').onmessage = () => { \
         const create = GPUDevice.prototype.createBuffer; \
         GPUDevice.prototype.createBuffer = function(wanted) { \
           const buffer = create.call(this, wanted); \
           if (wanted.label?.startsWith('weight.model.layers.1.')) setTimeout(() => \
             this.dispatchEvent(new GPUUncapturedErrorEvent('uncapturederror', \
               { error: new GPUOutOfMemoryError('no more memory'), cancelable: true }))); \
           return buffer; }; };";
    let page = open_altered("full", full, "device=gpu")?;
    page.set_field("#max-tokens", FEW)?;
    page.evaluate("new BroadcastChannel('gpu').postMessage('')")?;
    let file = scratch().join("another.1bit");
    fs::copy(onebit::tiny_model()?, &file)?;
    page.drop_file(&file)?;
    page.wait_for(
        "document.querySelector('.notice')?.innerText.includes('out of memory')",
        START,
    )?;
    eprintln!("{}", page.text(".notice .detail")?);
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    ensure!(!page.text(LAST_REPLY)?.is_empty());
    Ok(())
}

/// A load can be given up wherever it stands, and what is loaded can be read on after that.
#[test]
fn loads_are_given_up() -> Result<()> {
    let slow = "{ const read = Blob.prototype.arrayBuffer; let late = 0; \
         new BroadcastChannel('late').onmessage = ({ data }) => { late = data; }; \
         Blob.prototype.arrayBuffer = async function() { \
           if (late || name == 'full-worker' && !self.hurried) await new Promise(on => setTimeout(on, 1500)); \
           return read.call(this); }; \
         new BroadcastChannel('hurry').onmessage = () => { self.hurried = true; }; }";
    let page = open_altered("slow", slow, "device=cpu")?;
    page.set_field("#max-tokens", FEW)?;
    let given_up = || -> Result<()> {
        page.wait_for("document.querySelector('#cancel-load')", START)?;
        page.click("#cancel-load")?;
        page.wait_for("!document.querySelector('#load-progress')", START)
    };
    // On its way to another device: the model stays where it is.
    page.evaluate("new BroadcastChannel('late').postMessage(1)")?;
    page.click("input[name=device][value=gpu]")?;
    given_up()?;
    page.evaluate("new BroadcastChannel('late').postMessage(0)")?;
    ensure!(
        page.evaluate("document.querySelector('.notice')")?
            .is_null()
    );
    ensure!(device(&page)? == "cpu");
    ensure!(page.evaluate("document.querySelector('input[name=device]:checked').value")? == "cpu");
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;

    // On its way into the full worker: there is no model then, and none is claimed.
    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('.cell')", START)?;
    page.click(".cell.ternary")?;
    given_up()?;
    page.wait_for("document.querySelector('#again')", START)?;
    let told = page.text(".notice")?;
    ensure!(
        told.contains("No model is loaded") && !told.contains("still"),
        "{told}"
    );
    picture(&page, "given-up-desktop-light")?;
    page.assert_accessible()?;
    page.evaluate("new BroadcastChannel('hurry').postMessage('')")?;
    page.click("#again")?;
    page.wait_for(LOADED, START)?;
    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('.cell')", START)?;
    page.click(".cell.ternary")?;
    page.wait_for("document.querySelector('.shares')", START)?;
    ensure!(
        page.evaluate("document.querySelector('.notice')")?
            .is_null()
    );
    page.click("input[name=mode][value=chat]")?;
    ask(&page, "And then?")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

#[test]
fn what_will_not_fit_is_refused_before_it_is_read() -> Result<()> {
    let file = scratch().join("huge.1bit");
    let bits =
        json!({ "embedding": "f16", "layer_modes": ["eightbit", "eightbit"], "lm_head": "f16" });
    let claims = json!({
        "hidden_size": 15360, "num_heads": 120, "num_layers": 2, "intermediate_size": 131_072, "layer_bit_map": bits,
    });
    let claims = claims.as_object().context("no claims")?.clone();
    huge::write(&file, &fs::read(onebit::tiny_model()?)?, claims)?;
    for device in ["cpu", "gpu"] {
        let page = open(&format!("?model=tiny.1bit&device={device}"))?;
        page.drop_file(&file)?;
        page.wait_for("document.querySelector('.notice')", START)?;
        let told = page.text(".notice .detail")?;
        eprintln!("{device}: {told}");
        ensure!(told.contains("needs") && told.contains("MB"), "{told}");
        picture(&page, &format!("too-large-{device}-desktop-light"))?;
        page.assert_accessible()?;
        ensure!(page.text(".model-name")? == "Tiny");
        page.set_field("#max-tokens", FEW)?;
        ask(&page, "Who is Max?")?;
        page.wait_for(FINISHED, REPLY)?;
        page.assert_clean()?;
    }
    Ok(())
}

#[test]
fn what_it_takes_is_told_before_it_is_read() -> Result<()> {
    let page = open_tiny()?;
    page.evaluate(
        "window.plans = []; new MutationObserver(() => { \
         const plan = document.querySelector('#load-plan')?.innerText; if (plan) plans.push(plan); }) \
         .observe(document.body, { subtree: true, childList: true, characterData: true })",
    )?;
    page.click("input[name=device][value=gpu]")?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('.device').dataset.kind == 'gpu'"),
        START,
    )?;
    let plan = page.evaluate("plans.at(-1)")?;
    let plan = plan.as_str().unwrap_or_default();
    eprintln!("{plan}");
    ensure!(
        plan.contains("weights") && plan.contains("GPU") && plan.contains("software"),
        "{plan}"
    );
    Ok(())
}

#[test]
fn without_webgpu_the_cpu_answers() -> Result<()> {
    let page = open_altered(
        "no-gpu",
        "Object.defineProperty(navigator, 'gpu', { value: undefined });",
        "",
    )?;
    let told = page.text("section[aria-labelledby=device-title]")?;
    eprintln!("{told}");
    ensure!(
        device(&page)? == "cpu" && told.contains("no usable GPU") | told.contains("No usable GPU"),
        "{told}"
    );
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    // Asked for, it is refused in words, and the CPU goes on.
    page.click("input[name=device][value=gpu]")?;
    page.wait_for(
        "document.querySelector('.notice')?.innerText.includes('GPU')",
        START,
    )?;
    ensure!(
        page.evaluate("document.querySelector('input[name=device][value=auto]').checked")? == true
    );
    page.assert_accessible()?;
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}

/// A page that the browser kept in memory goes on where it was, in the middle of a reply, too; one
/// that it did not is loaded again.
#[test]
fn back_and_forward() -> Result<()> {
    stage()?
        .server
        .add("/elsewhere.html", "<title>elsewhere</title>")?;
    for device in ["cpu", "gpu"] {
        for end in ["", FORGOTTEN] {
            let page = open(&format!("?model=tiny.1bit&device={device}{end}"))?;
            page.set_field("#max-tokens", FEW)?;
            ask(&page, "Who is Max?")?;
            page.wait_for(FINISHED, REPLY)?;
            leave_and_return(&page, end.is_empty())?;
            ask(&page, "Who is Lily?")?;
            page.wait_for(FINISHED, REPLY)?;
            if end.is_empty() {
                // More than is written before it is left.
                let many = if device == "cpu" { 1900 } else { 40 };
                continue_greedily(&page, many)?;
                ask(&page, "Once upon a time")?;
                page.wait_for(
                    "document.querySelector('.exchange:last-child .reply')?.textContent.length > 4",
                    REPLY,
                )?;
                let under_way = leave_and_return(&page, true)?;
                ensure!(under_way, "{device}: the reply was finished before");
                page.wait_for(FINISHED, REPLY)?;
                let reply = page.evaluate(&format!(
                    "document.querySelector('{LAST_REPLY}').textContent"
                ))?;
                let written = reply.as_str().unwrap_or_default();
                let expected = onebit::greedy(onebit::tiny_model()?, "Once upon a time", many)?;
                ensure!(
                    device == "gpu" || written == expected,
                    "{written:?}, expected {expected:?}"
                );
            }
            page.leave("history.forward()")?;
            page.wait_for("document.title == 'elsewhere'", START)?;
        }
    }
    Ok(())
}

/// Follows a link away and goes back; whether a reply was under way when the page was left.
fn leave_and_return(page: &Page, kept: bool) -> Result<bool> {
    let under_way = page.evaluate(&format!(
        "addEventListener('pageshow', event => {{ window.wasKept = event.persisted; }}, {{ once: true }}); \
         (() => {{ const finished = Boolean({FINISHED}); setTimeout(() => {{ location.href = 'elsewhere.html'; }}); return !finished; }})()"
    ))?;
    page.wait_for("document.title == 'elsewhere'", START)?;
    page.leave("history.back()")?;
    page.wait_for(
        &format!("document.title == 'Ternary-Core' && {LOADED}"),
        START,
    )?;
    let was_kept = page.evaluate("Boolean(window.wasKept)")?;
    ensure!(
        was_kept == kept,
        "kept in memory: {was_kept}, expected {kept}"
    );
    Ok(under_way == true)
}

/// What went wrong comes with a button for what can be done about it.
#[test]
fn failures_offer_the_next_step() -> Result<()> {
    let page = open_tiny()?;
    let temporary = |name: &str, content: &[u8]| -> Result<PathBuf> {
        let file = scratch().join(name);
        fs::write(&file, content)?;
        Ok(file)
    };
    let failed = |title: &str, button: &str| {
        page.wait_for(
            &format!("document.querySelector('.notice strong')?.innerText == {} && document.querySelector('.notice {button}')", json!(title)),
            START,
        )
    };
    // Another file, whatever was wanted of the first.
    let broken = temporary("broken-step.1bit", b"1BITnothing of a model")?;
    page.drop_file(&broken)?;
    failed("The model could not be loaded", "#another-file")?;
    page.assert_accessible()?;
    for scheme in ["light", "dark"] {
        page.emulate(1280, 800, scheme)?;
        picture(&page, &format!("next-step-{scheme}"))?;
    }
    page.emulate(1280, 800, "light")?;
    let again = temporary("good-step.1bit", &fs::read(onebit::tiny_model()?)?)?;
    page.choose_file("[data-for=another-file]", &again)?;
    page.wait_for(
        &format!("{LOADED} && document.querySelector('#keep')"),
        START,
    )?;
    ensure!(
        page.evaluate("document.querySelector('.notice')")?
            .is_null()
    );
    page.drop_file(&temporary("broken-step.gguf", b"GGUF????")?)?;
    failed("The model could not be imported", "#another-file")?;
    page.drop_file(&temporary(
        "broken-step.json",
        b"{\"messages\":[{\"role\":\"poet\"}]}",
    )?)?;
    failed("The conversations could not be imported", "#another-file")?;
    page.drop_file(&temporary("broken-map.json", b"{\"layers\":1}")?)?;
    failed("The bit-map could not be taken", "#another-file")?;
    // A map chosen there is one all the same.
    page.choose_file("[data-for=another-file]", &broken)?;
    failed("The model could not be loaded", "#another-file")?;
    page.click("#dismiss")?;

    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('[data-for=compare]')", START)?;
    page.choose_file("[data-for=compare]", &broken)?;
    failed("The files can't be compared", "#another-compared")?;
    // What is on no server is in the catalogue, or nowhere.
    let page = stage()?.browser.open(&format!(
        "{}/?model=nowhere.1bit&device=cpu",
        stage()?.server.origin()
    ))?;
    page.wait_for("document.querySelector('#to-models')", START)?;
    page.click("#to-models")?;
    page.wait_for("location.hash == '#models'", START)?;
    ensure!(
        page.evaluate("document.querySelector('.notice')")?
            .is_null()
    );
    Ok(())
}

/// A reply that failed is asked for again, a fine-tuning goes on, with one click each.
#[test]
fn what_stopped_goes_on() -> Result<()> {
    // The worker fails when it is told to.
    let prelude = "if (self.name != 'markdown') { let fail = ''; const told = new BroadcastChannel('fail'); \
         told.onmessage = ({ data }) => { fail = data; told.postMessage('heard'); }; \
         let listener = null; const post = self.postMessage.bind(self); \
         Object.defineProperty(self, 'onmessage', { set: f => { listener = f; }, get: () => listener }); \
         self.addEventListener('message', event => { \
           const { id, request } = event.data ?? {}; \
           if (fail && JSON.stringify(request ?? '').includes(fail)) { \
             fail = ''; \
             post({ Response: { id, response: { Event: { error: { message: 'out of order' } } } } }); \
             return post({ Response: { id, response: 'Done' } }); } \
           listener?.(event); }); }";
    let page = open_altered("failing", prelude, "device=cpu")?;
    page.set_field("#max-tokens", FEW)?;
    let fail = |what: &str| {
        page.evaluate(&format!(
            "new Promise(heard => {{ const told = new BroadcastChannel('fail'); told.onmessage = heard; told.postMessage('{what}'); }}).then(() => 1)"
        ))
    };
    fail("chat")?;
    ask(&page, "Who is Max?")?;
    page.wait_for("document.querySelector('.notice #again')", START)?;
    ensure!(page.text("#again")? == "Send it again");
    ensure!(page.evaluate("document.querySelector('#prompt').value")? == "Who is Max?");
    page.click("#again")?;
    page.wait_for(FINISHED, REPLY)?;
    ensure!(page.text(".exchange p.prompt")?.contains("Who is Max?"));

    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-text')", START)?;
    page.set_field("#tune-steps", "4")?;
    page.click("#tune-example")?;
    page.wait_for("document.querySelector('#tune-plan')", START)?;
    page.wait_for("!document.querySelector('#tune-start').disabled", START)?;
    fail("\"tune\"")?;
    page.click("#tune-start")?;
    page.wait_for("document.querySelector('.notice #again')", START)?;
    ensure!(page.text("#again")? == "Start it again");
    page.click("#again")?;
    page.wait_for("document.querySelector('[data-phase=Done]')", REPLY)?;
    fail("exportTune")?;
    page.click("#tune-save")?;
    page.wait_for("document.querySelector('.notice #again')", START)?;
    page.evaluate("window.named = []; HTMLAnchorElement.prototype.click = function () { named.push(this.download); }")?;
    page.click("#again")?;
    page.wait_for("named.length == 1", START)?;
    ensure!(
        page.evaluate("document.querySelector('.notice')")?
            .is_null()
    );
    Ok(())
}
