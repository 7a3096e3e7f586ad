//! What a page is asked in any browser, whatever protocol carries it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

/// Whether `condition` comes to hold `within` that time.
pub fn holds(evaluate: impl Fn(&str) -> Result<Value>, condition: &str, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    let asked = format!("Boolean({condition})");
    while Instant::now() < deadline {
        // A page that is still being replaced can't be asked; ask again.
        if evaluate(&asked).is_ok_and(|value| value == true) {
            return true;
        }
        sleep(Duration::from_millis(50));
    }
    false
}

/// The text that `selector`'s first element shows.
pub fn text(evaluate: impl Fn(&str) -> Result<Value>, selector: &str) -> Result<String> {
    let expression = format!("document.querySelector({}).innerText", json!(selector));
    Ok(evaluate(&expression)?
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Sets a form field as if it had been typed or moved there.
pub fn set_field(
    evaluate: impl Fn(&str) -> Result<Value>,
    selector: &str,
    value: &str,
) -> Result<()> {
    evaluate(&format!(
        "(() => {{ const e = document.querySelector({}); e.value = {}; \
         for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})()",
        json!(selector),
        json!(value)
    ))
    .map(|_| ())
}
