//! Files that are read from the reader's disk, or saved there.

use std::time::Duration;

use js_sys::{Array, Uint8Array};
use leptos::prelude::set_timeout;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, HtmlAnchorElement, Url};

use crate::js::describe;

/// By when a browser has taken hold of what it is to save.
const SAVED_BY: Duration = Duration::from_secs(60);

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
    // A browser may ask where to save first, and takes hold of the bytes after that.
    set_timeout(
        move || {
            // An address that is not there any more is what is wanted.
            Url::revoke_object_url(&url).ok();
        },
        SAVED_BY,
    );
    Ok(())
}
