//! What the browser gives and takes.

use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, HtmlAnchorElement, Url};

/// The message of an error, or whatever else was thrown.
pub fn describe(thrown: JsValue) -> String {
    if let Some(error) = thrown.dyn_ref::<js_sys::Error>() {
        return String::from(error.message());
    }
    thrown.as_string().unwrap_or_else(|| format!("{thrown:?}"))
}

/// The text of a file.
pub async fn text(file: &Blob) -> Result<String, String> {
    let text = JsFuture::from(file.text()).await.map_err(describe)?;
    Ok(text.as_string().unwrap_or_default())
}

/// Hands `bytes` to the reader as a download called `name`.
pub fn save(name: &str, bytes: &[u8]) -> Result<(), String> {
    let parts = Array::of1(&Uint8Array::from(bytes));
    let blob = Blob::new_with_u8_array_sequence(&parts).map_err(describe)?;
    save_blob(name, &blob)
}

/// The same of bytes that stay where they are.
pub fn save_blob(name: &str, blob: &Blob) -> Result<(), String> {
    let url = Url::create_object_url_with_blob(blob).map_err(describe)?;
    let document = web_sys::window().and_then(|window| window.document());
    let anchor = document
        .ok_or("there is no page")?
        .create_element("a")
        .map_err(describe)?
        .unchecked_into::<HtmlAnchorElement>();
    anchor.set_href(&url);
    anchor.set_download(name);
    anchor.click();
    // The download has taken hold of the bytes by then.
    Url::revoke_object_url(&url).map_err(describe)
}

/// The kind of an error as browsers name it, e.g. "AbortError".
pub fn kind(thrown: &JsValue) -> String {
    field(thrown, "name").as_string().unwrap_or_default()
}

/// A field of an object; undefined where there is none.
pub fn field(object: &JsValue, name: &str) -> JsValue {
    js_sys::Reflect::get(object, &JsValue::from_str(name)).unwrap_or_default()
}
