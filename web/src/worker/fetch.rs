//! Models from this page's own site.

use js_sys::{Array, Reflect, Uint8Array};
use serde::Deserialize;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, ReadableStreamDefaultReader, Response, Url};

use super::source::BlobSource;
use super::{post, scope};
use crate::js::describe;
use crate::protocol::{Report, Source};

const FOLDER: &str = "models/";
const NOT_FOUND: u16 = 404;

/// `models/index.json`.
#[derive(Deserialize)]
struct Index {
    /// File name, in the same folder.
    default: String,
}

/// The address of the model that comes with this page, if one does.
pub async fn shipped() -> Result<Option<String>, String> {
    let url = format!("{FOLDER}index.json");
    let response = request(&url).await?;
    if response.status() == NOT_FOUND {
        return Ok(None);
    }
    let text = JsFuture::from(ok(&response, &url)?.text().map_err(describe)?)
        .await
        .map_err(describe)?
        .as_string()
        .unwrap_or_default();
    let index: Index =
        serde_json::from_str(&text).map_err(|problem| format!("{url}: {problem}"))?;
    Ok(Some(format!("{FOLDER}{}", index.default)))
}

/// Downloads a model. The browser keeps the bytes, on disk where they are many.
pub async fn model(url: &str) -> Result<BlobSource, String> {
    let name = Source::Url(url.to_owned()).name();
    let response = request(url).await?;
    ok(&response, url)?;
    let total = response
        .headers()
        .get("content-length")
        .ok()
        .flatten()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let parts = Array::new();
    let mut done = 0;
    if let Some(body) = response.body() {
        let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
        while let Some(part) = next(&reader)
            .await
            .map_err(|problem| format!("{url}: the download broke off: {problem}"))?
        {
            done += u64::from(part.byte_length());
            parts.push(&part);
            post(&Report::Fetched { done, total });
        }
    }
    let blob = Blob::new_with_u8_array_sequence(&parts).map_err(describe)?;
    Ok(BlobSource::new(name, blob))
}

async fn next(reader: &ReadableStreamDefaultReader) -> Result<Option<Uint8Array>, String> {
    let result = JsFuture::from(reader.read()).await.map_err(describe)?;
    let field = |name: &str| Reflect::get(&result, &JsValue::from_str(name)).map_err(describe);
    if field("done")?.is_truthy() {
        return Ok(None);
    }
    Ok(field("value")?.dyn_into().ok())
}

async fn request(url: &str) -> Result<Response, String> {
    let scope = scope();
    let (here, origin) = (scope.location().href(), scope.location().origin());
    let target = Url::new_with_base(url, &here)
        .map_err(|_| format!("`{url}` is not an address a model could be at"))?;
    if target.origin() != origin {
        return Err(format!(
            "{url} is on another site. This page asks no other site for anything: download the file there and drop it here"
        ));
    }
    let answer = JsFuture::from(scope.fetch_with_str(&target.href()))
        .await
        .map_err(|thrown| format!("{url} can't be fetched: {}", describe(thrown)))?;
    answer
        .dyn_into()
        .map_err(|_| format!("{url}: the browser's answer is no response"))
}

fn ok<'a>(response: &'a Response, url: &str) -> Result<&'a Response, String> {
    if response.ok() {
        return Ok(response);
    }
    Err(format!(
        "{url}: the server answers {} {}",
        response.status(),
        response.status_text()
    ))
}
