//! Requests to this page's own site, and to no other.

use std::time::Duration;

use js_sys::{Array, Promise};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response, Url};

use super::cancel::Cancel;
use super::scope;
use crate::js::describe;

/// `url`, which may be relative, as a whole address on this page's site.
pub fn address(url: &str) -> Result<String, String> {
    let scope = scope();
    let (here, origin) = (scope.location().href(), scope.location().origin());
    let target = Url::new_with_base(url, &here)
        .map_err(|_| format!("`{url}` is not an address a model could be at"))?;
    if target.origin() != origin {
        return Err(format!(
            "{url} is on another site. This page asks no other site for anything: download the file there and drop it here"
        ));
    }
    Ok(target.href())
}

pub fn options(method: &str, cancel: &Cancel) -> RequestInit {
    let options = RequestInit::new();
    options.set_method(method);
    options.set_signal(cancel.signal().as_ref());
    options
}

pub async fn request(url: &str, options: RequestInit) -> Result<Response, String> {
    request_within(url, options, None).await
}

/// An error when there is no answer within `patience`.
pub async fn request_within(
    url: &str,
    options: RequestInit,
    patience: Option<Duration>,
) -> Result<Response, String> {
    let mut answer = scope().fetch_with_str_and_init(url, &options);
    if let Some(patience) = patience {
        answer = Promise::race(&Array::of2(&answer, &timer(patience)));
    }
    let answer = JsFuture::from(answer)
        .await
        .map_err(|thrown| format!("{url} can't be fetched: {}", describe(thrown)))?;
    answer
        .dyn_into()
        .map_err(|_| format!("{url}: the server does not answer"))
}

pub fn ok<'a>(response: &'a Response, url: &str) -> Result<&'a Response, String> {
    if response.ok() {
        return Ok(response);
    }
    Err(format!(
        "{url}: the server answers {} {}",
        response.status(),
        response.status_text()
    ))
}

/// The server will not say anything else soon: the request itself is at fault, not the moment.
pub fn is_final(status: u16) -> bool {
    const TIMEOUT: u16 = 408;
    const TOO_MANY: u16 = 429;
    (400..500).contains(&status) && ![TIMEOUT, TOO_MANY].contains(&status)
}

pub fn pair(name: &str, value: &str) -> JsValue {
    Array::of2(&name.into(), &value.into()).into()
}

pub async fn sleep(time: Duration) {
    JsFuture::from(timer(time)).await.ok();
}

/// Is fulfilled after `time`.
fn timer(time: Duration) -> Promise {
    Promise::new(&mut |resolve, _| {
        let wake = Closure::once_into_js(move || resolve.call0(&JsValue::NULL));
        // Without a timer the next attempt comes at once.
        scope()
            .set_timeout_with_callback_and_timeout_and_arguments_0(
                wake.unchecked_ref(),
                time.as_millis() as i32,
            )
            .ok();
    })
}
