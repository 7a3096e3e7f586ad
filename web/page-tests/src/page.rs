//! One open page: looking at it, using it as a person would, and what went wrong in it.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use serde_json::{Value, json};

use crate::devtools::{DevTools, Event, watched};
use crate::shown;

/// Long enough on a busy machine.
const RELOADED: Duration = Duration::from_secs(60);
/// How long something to be clicked may take to appear.
const APPEARS: Duration = Duration::from_secs(10);
/// How long it may move after that; what moves for longer is clicked where it is.
const COMES_TO_REST: Duration = Duration::from_secs(1);

/// How often an element is clicked that moves away.
const CLICKS: usize = 5;

pub struct Page {
    devtools: Arc<DevTools>,
    profile: Arc<Profile>,
    target: String,
    session: String,
    origin: String,
    /// Other origins that the reader allowed.
    allowed: Mutex<Vec<String>>,
}

/// What tabs share: files, caches, settings. Gone with the last of them.
struct Profile {
    devtools: Arc<DevTools>,
    context: String,
}

/// What should not have happened.
#[derive(Debug, Default)]
pub struct Findings {
    /// Requests to another origin, from the page or its workers.
    pub external_requests: Vec<String>,
    /// Content-Security-Policy violations.
    pub violations: Vec<String>,
    /// Uncaught exceptions and messages logged as errors.
    pub errors: Vec<String>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        self.external_requests.is_empty() && self.violations.is_empty() && self.errors.is_empty()
    }
}

impl Page {
    pub(crate) fn open(devtools: Arc<DevTools>, url: &str) -> Result<Self> {
        let context = devtools.call("", "Target.createBrowserContext", json!({}))?;
        let profile = Arc::new(Profile {
            devtools,
            context: identifier(&context["browserContextId"])?,
        });
        Self::open_in(profile, url)
    }

    /// Another tab of the same profile.
    pub fn another(&self, url: &str) -> Result<Self> {
        Self::open_in(Arc::clone(&self.profile), url)
    }

    fn open_in(profile: Arc<Profile>, url: &str) -> Result<Self> {
        let devtools = Arc::clone(&profile.devtools);
        let target = devtools.call(
            "",
            "Target.createTarget",
            json!({ "url": "about:blank", "browserContextId": profile.context }),
        )?;
        let target = identifier(&target["targetId"])?;
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = devtools.call("", "Target.attachToTarget", attach)?;
        let session = identifier(&attached["sessionId"])?;
        let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let page = Self {
            devtools,
            profile,
            target,
            session,
            origin,
            allowed: Mutex::default(),
        };
        for domain in [
            "Page.enable",
            "Runtime.enable",
            "Log.enable",
            "Network.enable",
        ] {
            page.call(domain, json!({}))?;
        }
        page.call("Target.setAutoAttach", watched())?;
        // Violations are kept in the page: the log's wording changes between browser versions, the
        // event does not.
        let listener = "window.violations = []; addEventListener('securitypolicyviolation', \
             e => window.violations.push(`${e.violatedDirective}: ${e.blockedURI} (${e.sourceFile}:${e.lineNumber})`));";
        page.call(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": listener }),
        )?;
        let answer = page.call("Page.navigate", json!({ "url": url }))?;
        ensure!(
            answer["errorText"].is_null(),
            "{url}: {}",
            answer["errorText"]
        );
        Ok(page)
    }

    /// The value of a JavaScript expression; promises are awaited.
    pub fn evaluate(&self, expression: &str) -> Result<Value> {
        evaluate(&self.devtools, &self.session, expression)
    }

    /// Runs a script that leaves the page. Not at once: the answer would be lost with the page.
    pub fn leave(&self, script: &str) -> Result<()> {
        self.evaluate(&format!("void setTimeout(() => {{ {script} }})"))?;
        Ok(())
    }

    /// Loads the page again; returns when the old document is gone.
    pub fn reload(&self) -> Result<()> {
        self.evaluate("window.old = true")?;
        self.leave("location.reload()")?;
        self.wait_for("!window.old", RELOADED)
    }

    /// Waits until `condition` holds; on failure tells what the page shows instead.
    pub fn wait_for(&self, condition: &str, within: Duration) -> Result<()> {
        if shown::holds(|asked| self.evaluate(asked), condition, within) {
            return Ok(());
        }
        let text = self.evaluate("document.body.innerText").unwrap_or_default();
        let findings = self.findings();
        bail!(
            "`{condition}` did not hold within {within:?}. The page shows:\n{}\n{findings:#?}",
            text.as_str().unwrap_or_default()
        )
    }

    /// The text that `selector`'s first element shows.
    pub fn text(&self, selector: &str) -> Result<String> {
        shown::text(|asked| self.evaluate(asked), selector)
    }

    /// A real mouse click in the middle of `selector`'s first element; it may have yet to appear.
    /// Clicks again if the element was moved away in between.
    pub fn click(&self, selector: &str) -> Result<()> {
        let watch = format!(
            "window.hit = null; addEventListener('pointerdown', ({{ clientX, clientY }}) => {{ \
             const r = document.querySelector({})?.getBoundingClientRect(); \
             hit = Boolean(r) && clientX >= r.left && clientX <= r.right && clientY >= r.top && clientY <= r.bottom; \
             }}, {{ capture: true, once: true }}); 0",
            json!(selector)
        );
        for _ in 0..CLICKS {
            let (x, y) = self.middle_of(selector)?;
            self.evaluate(&watch)?;
            self.click_at(x, y)?;
            // A page that is left by the click can't be asked.
            if !self.evaluate("window.hit").is_ok_and(|hit| hit == false) {
                return Ok(());
            }
        }
        bail!("`{selector}` moved away from {CLICKS} clicks")
    }

    /// A real mouse click there.
    pub fn click_at(&self, x: f64, y: f64) -> Result<()> {
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params)?;
        }
        Ok(())
    }

    /// Sets a form field as if it had been typed or moved there.
    pub fn set_field(&self, selector: &str, value: &str) -> Result<()> {
        shown::set_field(|asked| self.evaluate(asked), selector, value)
    }

    /// Puts `text` where the keyboard focus is.
    pub fn type_text(&self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({ "text": text }))
            .map(|_| ())
    }

    /// Presses and releases a key: "Enter", "Tab", "Escape".
    pub fn press(&self, key: &str) -> Result<()> {
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => bail!("no key code known for {key}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", params)?;
        }
        Ok(())
    }

    /// Chooses a file in the picker that `selector` finds.
    pub fn choose_file(&self, selector: &str, file: &Path) -> Result<()> {
        let expression = format!("document.querySelector({})", json!(selector));
        let picker = self.call("Runtime.evaluate", json!({ "expression": expression }))?;
        let file = file
            .canonicalize()
            .with_context(|| format!("{} can't be chosen", file.display()))?;
        let params = json!({ "files": [file], "objectId": picker["result"]["objectId"] });
        self.call("DOM.setFileInputFiles", params).map(|_| ())
    }

    /// Drags a file over the middle of the page.
    pub fn drag_over(&self, file: &Path) -> Result<()> {
        self.drag("dragEnter", &[file])?;
        self.drag("dragOver", &[file])
    }

    /// Drops the file that was dragged over the page.
    pub fn drop_file(&self, file: &Path) -> Result<()> {
        self.drop_files(&[file])
    }

    /// The same of several at once.
    pub fn drop_files(&self, files: &[&Path]) -> Result<()> {
        for kind in ["dragEnter", "dragOver", "drop"] {
            self.drag(kind, files)?;
        }
        Ok(())
    }

    /// Sets the size of the window and the color scheme the system asks for.
    pub fn emulate(&self, width: u32, height: u32, scheme: &str) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics)?;
        self.prefer("prefers-color-scheme", scheme)
    }

    /// Sets what the system asks of pages, e.g. "prefers-reduced-motion".
    pub fn prefer(&self, feature: &str, value: &str) -> Result<()> {
        let features = json!([{ "name": feature, "value": value }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .map(|_| ())
    }

    /// Why the page could not be installed as an app.
    pub fn manifest_problems(&self) -> Result<Vec<String>> {
        let manifest = self.call("Page.getAppManifest", json!({}))?;
        ensure!(
            !manifest["data"].as_str().unwrap_or_default().is_empty(),
            "no manifest: {manifest}"
        );
        let errors = manifest["errors"].as_array().into_iter().flatten();
        let mut problems: Vec<String> = errors.map(Value::to_string).collect();
        let answer = self.call("Page.getInstallabilityErrors", json!({}))?;
        let reasons = answer["installabilityErrors"].as_array();
        for reason in reasons.into_iter().flatten() {
            // Every page of these tests is in a profile that leaves nothing behind.
            if reason["errorId"] != "in-incognito" {
                problems.push(reason.to_string());
            }
        }
        Ok(problems)
    }

    pub fn screenshot(&self, file: &Path) -> Result<()> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }))?;
        let data = answer["data"].as_str().context("no picture")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(data)?;
        fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
    }

    /// Fails on any request to another origin, policy violation or error since the page was opened.
    pub fn assert_clean(&self) -> Result<()> {
        let findings = self.findings();
        ensure!(
            findings.is_clean(),
            "the page did what it must not: {findings:#?}"
        );
        Ok(())
    }

    /// Fails on what axe-core finds serious or critical in the page as it is now.
    pub fn assert_accessible(&self) -> Result<()> {
        if self.evaluate("typeof axe")? != "object" {
            self.evaluate(&fs::read_to_string(crate::axe()?)?)?;
        }
        let found = self.evaluate(
            "axe.run(document, { resultTypes: ['violations'] }).then(found => found.violations \
             .filter(rule => ['serious', 'critical'].includes(rule.impact)) \
             .flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html}\\n${node.failureSummary}`)))",
        )?;
        let found = found.as_array().context("axe-core gave no answer")?;
        let lines: Vec<&str> = found.iter().filter_map(Value::as_str).collect();
        ensure!(found.is_empty(), "not accessible:\n{}", lines.join("\n"));
        Ok(())
    }

    /// Requests to this origin are none that should not have been made.
    pub fn allow(&self, origin: &str) -> Result<()> {
        let allowed = self.allowed.lock();
        let mut allowed = allowed.map_err(|_| anyhow!("a thread died"))?;
        allowed.push(origin.to_owned());
        Ok(())
    }

    pub fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        if let Ok(Value::Array(violations)) = self.evaluate("window.violations") {
            findings.violations = violations
                .iter()
                .map(|text| text.as_str().unwrap_or_default().to_owned())
                .collect();
        }
        for event in self.events() {
            self.judge(&event, &mut findings);
        }
        findings
    }

    fn judge(&self, event: &Event, findings: &mut Findings) {
        let params = &event.params;
        match event.method.as_str() {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                let local = [self.origin.as_str(), "data:", "blob:", "about:"]
                    .iter()
                    .any(|start| url.starts_with(start));
                let allowed = self.allowed.lock();
                let allowed = allowed.is_ok_and(|all| all.iter().any(|one| url.starts_with(one)));
                if !local && !allowed {
                    findings.external_requests.push(url.to_owned());
                }
            }
            "Log.entryAdded" if params["entry"]["source"] == "security" => {
                findings
                    .violations
                    .push(params["entry"]["text"].to_string());
            }
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                let entry = &params["entry"];
                findings
                    .errors
                    .push(format!("{} {}", entry["text"], entry["url"]));
            }
            "Runtime.exceptionThrown" => {
                let details = &params["exceptionDetails"];
                findings.errors.push(format!(
                    "{} {}",
                    details["text"], details["exception"]["description"]
                ));
            }
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                findings.errors.push(params["args"][0]["value"].to_string());
            }
            _ => {}
        }
    }

    /// The events of the page and of the workers it started, and of those that they started.
    fn events(&self) -> Vec<Event> {
        let mut sessions = vec![self.session.clone()];
        let mut next = 0;
        while let Some(of) = sessions.get(next).cloned() {
            next += 1;
            for event in self.devtools.events(|session| session == of) {
                if event.method == "Target.attachedToTarget" {
                    sessions.extend(event.params["sessionId"].as_str().map(str::to_owned));
                }
            }
        }
        self.devtools
            .events(|session| sessions.iter().any(|known| known == session))
    }

    /// The names of the workers that are there, with the sessions that reach them.
    fn present_workers(&self) -> Vec<(String, String)> {
        let mut workers: Vec<(String, String)> = Vec::new();
        for Event { method, params, .. } in self.events() {
            let session = params["sessionId"].as_str().unwrap_or_default();
            match method.as_str() {
                "Target.attachedToTarget" if params["targetInfo"]["type"] == "worker" => {
                    let name = params["targetInfo"]["title"].as_str().unwrap_or_default();
                    workers.push((name.to_owned(), session.to_owned()));
                }
                "Target.detachedFromTarget" => workers.retain(|(_, gone)| gone != session),
                _ => {}
            }
        }
        workers
    }

    /// How many workers of that name are there.
    pub fn workers(&self, name: &str) -> usize {
        let all = self.present_workers();
        all.iter().filter(|(of, _)| of == name).count()
    }

    /// Waits until no worker of that name is left: the browser ends one, and says so, some time
    /// after the page asked for it.
    pub fn wait_for_no_worker(&self, name: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while self.workers(name) > 0 {
            ensure!(
                Instant::now() < deadline,
                "the worker {name} was still there after {within:?}"
            );
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// As [`Page::evaluate`], in the worker of that name.
    pub fn evaluate_in_worker(&self, name: &str, expression: &str) -> Result<Value> {
        let workers = self.present_workers();
        let (_, session) = (workers.iter().find(|(of, _)| of == name))
            .with_context(|| format!("there is no worker {name}"))?;
        evaluate(&self.devtools, session, expression)
    }

    fn drag(&self, kind: &str, files: &[&Path]) -> Result<()> {
        let (x, y) = self.middle_of("body")?;
        let whole = |file: &&Path| {
            file.canonicalize()
                .with_context(|| format!("{} can't be dragged", file.display()))
        };
        let files = files.iter().map(whole).collect::<Result<Vec<_>>>()?;
        let data = json!({ "items": [], "files": files, "dragOperationsMask": 1 });
        self.call(
            "Input.dispatchDragEvent",
            json!({ "type": kind, "x": x, "y": y, "data": data }),
        )
        .map(|_| ())
    }

    /// In the viewport, in CSS pixels; waits, as people do, for an element that is about to appear
    /// and for one that is being moved by what appears above it.
    pub(crate) fn middle_of(&self, selector: &str) -> Result<(f64, f64)> {
        let place = format!(
            "(() => {{ const e = document.querySelector({}); if (!e?.checkVisibility()) return null; \
             e.scrollIntoView({{ block: 'nearest' }}); const r = e.getBoundingClientRect(); \
             return [r.x + r.width / 2, r.y + Math.min(r.height, innerHeight) / 2]; }})()",
            json!(selector)
        );
        let start = Instant::now();
        let (mut last, mut seen) = (None, None);
        loop {
            let place = self.evaluate(&place)?;
            let place = place[0].as_f64().zip(place[1].as_f64());
            match place {
                Some(place) => {
                    let seen = *seen.get_or_insert_with(Instant::now);
                    if last == Some(place) || seen.elapsed() > COMES_TO_REST {
                        return Ok(place);
                    }
                }
                None if start.elapsed() > APPEARS => {
                    bail!("nothing visible matches `{selector}`")
                }
                None => {}
            }
            last = place;
            sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.devtools.call(&self.session, method, params)
    }
}

fn evaluate(devtools: &DevTools, session: &str, expression: &str) -> Result<Value> {
    let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
    let mut answer = devtools.call(session, "Runtime.evaluate", params)?;
    if let Some(error) = answer.get("exceptionDetails") {
        bail!(
            "`{expression}` throws: {}",
            error["exception"]["description"]
        );
    }
    Ok(answer["result"]["value"].take())
}

fn identifier(value: &Value) -> Result<String> {
    let text = value.as_str().context("an identifier is missing")?;
    Ok(text.to_owned())
}

impl Drop for Page {
    fn drop(&mut self) {
        let target = json!({ "targetId": self.target });
        // The browser may be gone already.
        self.devtools.call("", "Target.closeTarget", target).ok();
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let context = json!({ "browserContextId": self.context });
        self.devtools
            .call("", "Target.disposeBrowserContext", context)
            .ok();
    }
}
