//! The page that `onebit serve` hands out: the server's model answers, and the reader may take one
//! of this browser instead.

use std::net::UdpSocket;

use anyhow::{Result, ensure};
use page_tests::{Page, onebit, stage};

use crate::kept_chats::answered;
use crate::look::picture;
use crate::{FINISHED, LAST_REPLY, LOADED, REPLY, START, ask};

/// A model of the server answers.
const SERVED: &str = "document.querySelector('.device')?.innerText.includes('on the server')";

fn open(origin: &str) -> Result<Page> {
    let page = stage()?.browser.open(&format!("{origin}/"))?;
    page.emulate(1280, 800, "light")?;
    Ok(page)
}

fn set_greedy(page: &Page, tokens: usize) -> Result<()> {
    page.set_field("#temperature", "0")?;
    page.set_field("#repetition-penalty", "1")?;
    page.set_field("#max-tokens", &tokens.to_string())
}

/// The same text as from the model in the browser, a reply that is stopped, a form, and back.
#[test]
fn the_server_s_model_answers() -> Result<()> {
    let serve = onebit::Serve::start(&[])?;
    let page = open(serve.origin())?;
    page.wait_for(&format!("{LOADED} && {SERVED}"), START)?;
    ensure!(
        page.evaluate("document.querySelector('input[name=device][value=server]').checked")?
            == true
    );
    set_greedy(&page, 24)?;
    let reply = |page: &Page| -> Result<String> {
        answered(page, "Who is Max?")?;
        page.text(LAST_REPLY)
    };
    let of_server = reply(&page)?;
    ensure!(!of_server.is_empty());
    let figures = page.text(".exchange:last-child .figures")?;
    ensure!(
        figures.contains("tok/s") || figures.contains("token"),
        "{figures}"
    );
    ensure!(page.text(".context")?.contains("2,048"));
    page.assert_accessible()?;
    picture(&page, "served")?;

    // A long one ends when it is stopped.
    page.set_field("#max-tokens", "1500")?;
    ask(&page, "Tell me a very long story.")?;
    page.wait_for(
        &format!("document.querySelector('{LAST_REPLY}')?.innerText.length > 0"),
        REPLY,
    )?;
    page.click("#stop")?;
    page.wait_for(FINISHED, REPLY)?;
    let figures = page.text(".exchange:last-child .figures")?;
    ensure!(figures.contains("stopped"), "{figures}");

    // A form is held there, too.
    page.set_field("#max-tokens", "60")?;
    page.set_field("#reply-form", "object")?;
    answered(&page, "Who is Lily?")?;
    ensure!(page.text(LAST_REPLY)?.starts_with('{'));
    page.set_field("#reply-form", "free")?;

    // Its weights are not here.
    page.click("input[name=mode][value=map]")?;
    page.wait_for("document.querySelector('.on-server')", START)?;
    page.click("input[name=mode][value=chat]")?;

    // The same model in this browser says the same.
    page.drop_file(onebit::tiny_model()?)?;
    page.wait_for(&format!("{LOADED} && !({SERVED})"), START)?;
    page.click("#new-chat")?;
    set_greedy(&page, 24)?;
    ensure!(reply(&page)? == of_server);
    page.click("input[name=device][value=server]")?;
    page.wait_for(&format!("{LOADED} && {SERVED}"), START)?;
    page.click("#new-chat")?;
    set_greedy(&page, 24)?;
    ensure!(reply(&page)? == of_server);
    page.assert_clean()
}

/// Of several models the reader chooses, and has the same one at the next visit.
#[test]
fn one_of_a_server_s_models_is_chosen() -> Result<()> {
    let second = format!("second={}", onebit::tiny_model()?.display());
    let serve = onebit::Serve::start(&[("model", &second)])?;
    let page = open(serve.origin())?;
    page.wait_for(&format!("{LOADED} && {SERVED}"), START)?;
    let names =
        "[...document.querySelectorAll('#server-model option')].map(option => option.value).join()";
    ensure!(page.evaluate(names)? == "tiny,second" || page.evaluate(names)? == "model,second");
    page.set_field("#server-model", "second")?;
    let shown = format!(
        "{LOADED} && {SERVED} && document.querySelector('.model-name').innerText == 'second'"
    );
    page.wait_for(&shown, START)?;
    set_greedy(&page, 8)?;
    answered(&page, "Who is Max?")?;
    page.reload()?;
    page.wait_for(&shown, START)?;
    ensure!(page.evaluate("document.querySelector('#server-model').value")? == "second");
    page.assert_accessible()?;
    page.assert_clean()
}

/// On a phone of the same network: an address that browsers do not call secure.
#[test]
fn a_phone_on_the_network_chats() -> Result<()> {
    // Nothing is sent: only the own address is asked for.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let own = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr());
    let Some(own) = own.ok().filter(|own| !own.ip().is_loopback()) else {
        eprintln!("SKIPPED: this machine is on no network");
        return Ok(());
    };
    let file = page_tests::scratch().join("phone-key");
    std::fs::write(&file, "open-sesame\n")?;
    let flags = [
        ("host", "0.0.0.0"),
        ("api-key-file", &file.to_string_lossy()),
    ];
    let serve = onebit::Serve::start(&flags)?;
    let port = serve.origin().rsplit(':').next().unwrap_or_default();
    let page = open(&format!("http://{}:{port}", own.ip()))?;
    page.emulate(390, 844, "dark")?;
    ensure!(page.evaluate("isSecureContext")? == false);
    page.wait_for("document.querySelector('.notice')", START)?;
    page.set_field("#server-key", "open-sesame")?;
    page.wait_for(&format!("{LOADED} && {SERVED}"), START)?;
    set_greedy(&page, 24)?;
    answered(&page, "Who is Max?")?;
    ensure!(!page.text(LAST_REPLY)?.is_empty());
    picture(&page, "served-phone-dark")
}

/// A server with a key says that it wants one, and takes it.
#[test]
fn a_server_s_key_is_asked_for() -> Result<()> {
    let file = page_tests::scratch().join("server-key");
    std::fs::write(&file, "open-sesame\n")?;
    let serve = onebit::Serve::start(&[("api-key-file", &file.to_string_lossy())])?;
    let page = open(serve.origin())?;
    page.wait_for("document.querySelector('.notice')", START)?;
    let notice = page.text(".notice")?;
    ensure!(notice.contains("key"), "{notice}");
    page.set_field("#server-key", "open-sesame")?;
    page.wait_for(&format!("{LOADED} && {SERVED}"), START)?;
    set_greedy(&page, 8)?;
    answered(&page, "Who is Max?")?;
    ensure!(!page.text(LAST_REPLY)?.is_empty());
    // At the next visit it is known.
    page.reload()?;
    page.wait_for(&format!("{LOADED} && {SERVED}"), START)?;
    Ok(())
}
