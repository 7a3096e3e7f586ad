//! Several requests in flight: each response goes to who asked, whatever comes first.

use std::fs;

use anyhow::{Result, ensure};
use page_tests::{Page, onebit, published, scratch};

use crate::{FINISHED, LOADED, REPLY, START, ask, open_altered};

const QUERY: &str = "[data-parameter='model.layers.0.self_attn.q_proj.weight']";
const UP: &str = "[data-parameter='model.layers.1.mlp.up_proj.weight']";
const FIGURES: &str = ".matrix > .figures";

/// Asked to, the worker holds the next answer back until it gave one to another request.
const SWAPPING: &str = "{ const post = self.postMessage.bind(self), held = []; let swaps = false; \
     const channel = new BroadcastChannel('swap'); \
     channel.onmessage = () => { swaps = true; channel.postMessage('swaps'); }; \
     self.postMessage = message => { \
       const { id, response } = message?.Response ?? {}, { weights, measured, error } = response?.Event ?? {}; \
       const answers = Boolean(weights || measured || error); \
       if (held[0]?.Response.id === id && id) return void held.push(message); \
       if (swaps && answers && !held.length) return void held.push(message); \
       post(message); \
       if (!answers || !held.length) return; \
       held.splice(0).forEach(message => post(message)); \
       swaps = false; channel.postMessage('swapped'); }; }";

/// Reading is slow in the worker that loads, once it was asked to be.
const SLOW: &str = "{ const read = Blob.prototype.arrayBuffer; let late = 0; \
     new BroadcastChannel('late').onmessage = ({ data }) => { late = data; }; \
     Blob.prototype.arrayBuffer = async function() { \
       if (late && name == 'worker') await new Promise(on => setTimeout(on, late)); \
       return read.call(this); }; }";

/// The figures of a matrix, which tell it from others.
fn inspect(page: &Page, cell: &str) -> Result<String> {
    page.click(cell)?;
    page.wait_for(
        &format!(
            "document.querySelector(\"{cell}\").classList.contains('selected') \
             && document.querySelector('{FIGURES}')"
        ),
        START,
    )?;
    page.text(FIGURES)
}

fn swap(page: &Page) -> Result<()> {
    page.evaluate(
        "window.heard = ''; window.channel ??= new BroadcastChannel('swap'); \
         channel.onmessage = ({ data }) => { heard = data; }; channel.postMessage(0); 0",
    )?;
    page.wait_for("heard == 'swaps'", START)
}

#[test]
fn swapped_responses_reach_their_askers() -> Result<()> {
    let page = open_altered("swapping", SWAPPING, "device=cpu")?;
    page.click("input[name=mode][value=map]")?;
    page.wait_for(
        &format!("document.querySelector('.grid') && {LOADED}"),
        START,
    )?;
    let up = inspect(&page, UP)?;
    let query = inspect(&page, QUERY)?;
    ensure!(up != query, "both are {up}");

    // The reader goes on to another matrix; the weights of the first come after those of the other.
    swap(&page)?;
    page.click(QUERY)?;
    page.click(UP)?;
    page.wait_for(
        &format!("heard == 'swapped' && document.querySelector('{FIGURES}')"),
        START,
    )?;
    let shown = page.text(FIGURES)?;
    ensure!(shown == up, "{shown}, not {up}");

    // A file that can't be compared fails before the text that was measured first is.
    let broken = scratch().join("no-model.1bit");
    fs::write(&broken, "not a model")?;
    swap(&page)?;
    page.set_field("#measure-text", "Once upon a time there was a little dog.")?;
    page.click("#measure")?;
    page.choose_file("[data-for=compare]", &broken)?;
    page.wait_for(
        "heard == 'swapped' && document.querySelectorAll('#measured tbody tr').length == 1",
        REPLY,
    )?;
    let told = page.text(".notice")?;
    ensure!(
        told.contains("The files can't be compared") && told.contains("no-model.1bit"),
        "{told}"
    );
    page.wait_for("!document.querySelector('#measure').disabled", START)?;
    page.assert_clean()
}

#[test]
fn a_published_model_is_surveyed_while_another_loads() -> Result<()> {
    let gguf = published::folder("surveyed")?.join("surveyed.gguf");
    onebit::export(onebit::tiny_model()?, &gguf, &[("--format", "gguf")])?;
    let another = scratch().join("loaded-slowly.1bit");
    fs::copy(onebit::tiny_model()?, &another)?;
    let page = open_altered("slow-load", SLOW, "device=cpu")?;
    page.evaluate("new BroadcastChannel('late').postMessage(1000)")?;
    page.drop_file(&another)?;
    page.wait_for("document.querySelector('#load-progress')", START)?;
    page.drop_file(&gguf)?;
    page.wait_for(
        "document.querySelector('#start-import') && !document.querySelector('#start-import').hidden",
        START,
    )?;
    let found = page.text("#import-told")?;
    ensure!(found.contains("parameters"), "{found}");
    ensure!(
        !page
            .evaluate("document.querySelector('#load-progress')")?
            .is_null(),
        "the model was there before the survey"
    );
    page.click("#cancel-import")?;
    page.evaluate("new BroadcastChannel('late').postMessage(0)")?;
    page.wait_for(LOADED, REPLY)?;
    page.set_field("#max-tokens", "8")?;
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    page.assert_clean()
}
