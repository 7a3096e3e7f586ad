//! Browsers besides Chromium, driven by the WebDriver protocol (W3C): JSON over HTTP.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::browser::program;
use crate::shown;

/// A driver and a browser start in less.
const START: Duration = Duration::from_secs(60);
/// What an element's reference is called in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The engines of browsers that are not made of Chromium.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Gecko, by geckodriver: `$TERNARY_GECKODRIVER`, or the one on PATH.
    Firefox,
    /// Safari's engine, by WebKitGTK's own driver and small browser, on a screen of its own.
    WebKit,
}

/// What ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A browser of its own with one page.
pub struct WebDriver {
    agent: ureq::Agent,
    /// The session's address.
    session: String,
    // In this order they end.
    _driver: Running,
    _screen: Option<Running>,
}

impl WebDriver {
    pub fn start(kind: Kind) -> Result<Self> {
        // Free, or was so a moment ago: neither driver tells what it would choose by itself.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut screen = None;
        let (mut command, wanted) = match kind {
            Kind::Firefox => {
                let named = env::var_os("TERNARY_GECKODRIVER");
                let mut command = Command::new(named.unwrap_or_else(|| "geckodriver".into()));
                command.args(["--port", &port.to_string()]);
                let firefox = program(&["firefox", "firefox-esr"]).context("no Firefox on PATH")?;
                let options = json!({ "args": ["-headless"], "binary": firefox });
                (command, json!({ "moz:firefoxOptions": options }))
            }
            Kind::WebKit => {
                let (started, display) = start_screen()?;
                screen = Some(started);
                let mut command = Command::new("WebKitWebDriver");
                command
                    .arg(format!("--port={port}"))
                    .env("DISPLAY", display)
                    // As root, and in containers, it can't make its own; pages here are ours.
                    .env("WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS", "1")
                    .env("WEBKIT_DISABLE_COMPOSITING_MODE", "1");
                let browser = json!({ "binary": mini_browser()?, "args": ["--automation"] });
                (command, json!({ "webkitgtk:browserOptions": browser }))
            }
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Running(
            command
                .spawn()
                .with_context(|| format!("starting {}", command.get_program().display()))?,
        );
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = ureq::Agent::new_with_config(config.build());
        let address = format!("http://127.0.0.1:{port}/session");
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let deadline = Instant::now() + START;
        let begun = loop {
            match ask(&agent, &address, &body) {
                Ok(begun) => break begun,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)),
            }
        };
        let id = begun["sessionId"].as_str().context("no session")?;
        Ok(WebDriver {
            session: format!("{address}/{id}"),
            agent,
            _driver: driver,
            _screen: screen,
        })
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        ask(&self.agent, &format!("{}/{path}", self.session), body)
    }

    pub fn open(&self, url: &str) -> Result<()> {
        self.post("url", &json!({ "url": url })).map(|_| ())
    }

    /// Loads the page again, as a reader does: the protocol's own way passes service workers by.
    pub fn reload(&self) -> Result<()> {
        self.evaluate("(window.old = true, setTimeout(() => location.reload()), 0)")?;
        self.wait_for("!window.old", START)
    }

    /// The value of a JavaScript expression.
    pub fn evaluate(&self, expression: &str) -> Result<Value> {
        let script = format!("return ({expression})");
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until `condition` holds; on failure tells what the page shows instead.
    pub fn wait_for(&self, condition: &str, within: Duration) -> Result<()> {
        if shown::holds(|asked| self.evaluate(asked), condition, within) {
            return Ok(());
        }
        let text = self.evaluate("document.body.innerText").unwrap_or_default();
        bail!(
            "`{condition}` did not hold within {within:?}. The page shows:\n{}",
            text.as_str().unwrap_or_default()
        )
    }

    /// The text that `selector`'s first element shows.
    pub fn text(&self, selector: &str) -> Result<String> {
        shown::text(|asked| self.evaluate(asked), selector)
    }

    /// A field of a form, set as if it had been typed or moved there.
    pub fn set_field(&self, selector: &str, value: &str) -> Result<()> {
        shown::set_field(|asked| self.evaluate(asked), selector, value)
    }

    /// Types into `selector`'s first element; a file's path into one that takes files.
    pub fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.find(selector)?;
        self.post(
            &format!("element/{element}/value"),
            &json!({ "text": text }),
        )
        .map(|_| ())
    }

    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.find(selector)?;
        self.post(&format!("element/{element}/click"), &json!({}))
            .map(|_| ())
    }

    fn find(&self, selector: &str) -> Result<String> {
        let query = json!({ "using": "css selector", "value": selector });
        let found = self.post("element", &query)?;
        let id = found[ELEMENT].as_str().context("no reference")?;
        Ok(id.to_owned())
    }
}

impl Drop for WebDriver {
    fn drop(&mut self) {
        // The driver ends the browser with the session.
        let _ = self.agent.delete(&self.session).call();
    }
}

/// What the driver answers to a POST.
fn ask(agent: &ureq::Agent, address: &str, body: &Value) -> Result<Value> {
    let mut response = agent
        .post(address)
        .header("content-type", "application/json")
        .send(body.to_string())?;
    let text = response.body_mut().read_to_string()?;
    let mut answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(
        response.status().is_success(),
        "{address}: {}",
        answer["value"]["message"].as_str().unwrap_or(&text)
    );
    Ok(answer["value"].take())
}

/// WebKitGTK's small browser, which its driver drives: Debian's folders and Fedora's.
fn mini_browser() -> Result<PathBuf> {
    let arch = env::consts::ARCH;
    let folders = [
        format!("/usr/lib/{arch}-linux-gnu"),
        "/usr/libexec".to_owned(),
        "/usr/lib64".to_owned(),
        "/usr/lib".to_owned(),
    ];
    for folder in &folders {
        for version in ["webkitgtk-6.0", "webkit2gtk-4.1", "webkit2gtk-4.0"] {
            let browser = Path::new(folder).join(version).join("MiniBrowser");
            if browser.is_file() {
                return Ok(browser);
            }
        }
    }
    bail!("no MiniBrowser in {}", folders.join(", "))
}

/// A screen that nobody sees, and its name.
fn start_screen() -> Result<(Running, OsString)> {
    let mut command = Command::new("Xvfb");
    command
        .args(["-displayfd", "1", "-screen", "0", "1400x1000x24"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut screen = Running(command.spawn().context("starting Xvfb")?);
    let output = screen.0.stdout.take().context("Xvfb has no output")?;
    let mut number = String::new();
    BufReader::new(output).read_line(&mut number)?;
    ensure!(!number.trim().is_empty(), "Xvfb names no display");
    Ok((screen, format!(":{}", number.trim()).into()))
}
