//! The DevTools protocol over Chromium's `--remote-debugging-pipe`: JSON messages, each ended by a
//! zero byte.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

/// Longer than any single command takes, shorter than anyone waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Lets a worker go on that waits to be watched; does nothing where none waits.
const RUN: &str = "Runtime.runIfWaitingForDebugger";

/// Has the workers of a page, or of another worker, wait until they are watched.
pub fn watched() -> Value {
    json!({ "autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true })
}

/// One event: what happened, in which session.
#[derive(Clone, Debug)]
pub struct Event {
    pub session: String,
    pub method: String,
    pub params: Value,
}

#[derive(Default)]
struct State {
    answers: HashMap<u64, Value>,
    events: Vec<Event>,
    closed: bool,
}

/// The connection to one browser.
pub struct DevTools {
    child: Mutex<Child>,
    input: Mutex<(ChildStdin, u64)>,
    state: Mutex<State>,
    changed: Condvar,
}

impl DevTools {
    pub fn new(mut child: Child) -> Result<Arc<Self>> {
        let input = child
            .stdin
            .take()
            .context("the browser has no input pipe")?;
        let output = child
            .stdout
            .take()
            .context("the browser has no output pipe")?;
        let devtools = Arc::new(Self {
            child: Mutex::new(child),
            input: Mutex::new((input, 0)),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let reader = Arc::clone(&devtools);
        thread::spawn(move || reader.read(output));
        Ok(devtools)
    }

    /// Sends a command and waits for its answer; `session` is empty for the browser itself.
    pub fn call(&self, session: &str, method: &str, params: Value) -> Result<Value> {
        let id = self.send(session, method, params)?;
        let deadline = Instant::now() + ANSWER_WITHIN;
        let mut state = self.state();
        loop {
            if let Some(mut answer) = state.answers.remove(&id) {
                if let Some(error) = answer.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(answer["result"].take());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                bail!(
                    "{method}: {}",
                    if state.closed {
                        "the browser has gone"
                    } else {
                        "no answer"
                    }
                );
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .map_err(|_| anyhow!("the reader died"))?
                .0;
        }
    }

    /// Every event so far of the sessions that `belongs` accepts.
    pub fn events(&self, belongs: impl Fn(&str) -> bool) -> Vec<Event> {
        self.state()
            .events
            .iter()
            .filter(|event| belongs(&event.session))
            .cloned()
            .collect()
    }

    fn send(&self, session: &str, method: &str, params: Value) -> Result<u64> {
        let mut input = self.input.lock().map_err(|_| anyhow!("a sender died"))?;
        input.1 += 1;
        let id = input.1;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            message["sessionId"] = session.into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        input
            .0
            .write_all(&bytes)
            .with_context(|| format!("{method}: the browser does not listen"))?;
        input.0.flush()?;
        Ok(id)
    }

    fn read(&self, output: ChildStdout) {
        let mut output = BufReader::new(output);
        let mut message = Vec::new();
        while output
            .read_until(0, &mut message)
            .is_ok_and(|length| length > 0)
        {
            message.pop();
            if let Ok(value) = serde_json::from_slice(&message) {
                self.accept(value);
            }
            message.clear();
        }
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn accept(&self, mut message: Value) {
        if let Some(id) = message["id"].as_u64() {
            self.state().answers.insert(id, message);
        } else {
            let event = Event {
                session: message["sessionId"].as_str().unwrap_or_default().to_owned(),
                method: message["method"].as_str().unwrap_or_default().to_owned(),
                params: message["params"].take(),
            };
            if event.method == "Target.attachedToTarget"
                && event.params["waitingForDebugger"] == true
            {
                self.watch_new_session(event.params["sessionId"].as_str().unwrap_or_default());
            }
            // A service worker that was stopped waits again when it is started again, in the same
            // session; nothing else is told of it.
            if event.method == "Runtime.executionContextCreated" {
                self.send(&event.session, RUN, json!({})).ok();
            }
            self.state().events.push(event);
        }
        self.changed.notify_all();
    }

    /// A worker has started and waits: record what it does from its first request on, then let it
    /// run.
    fn watch_new_session(&self, session: &str) {
        for (method, params) in [
            ("Network.enable", json!({})),
            ("Runtime.enable", json!({})),
            ("Log.enable", json!({})),
            // Those that it starts itself.
            ("Target.setAutoAttach", watched()),
            (RUN, json!({})),
        ] {
            // A worker that is already gone has nothing to record.
            self.send(session, method, params).ok();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for DevTools {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            child.kill().and_then(|()| child.wait()).ok();
        }
    }
}
