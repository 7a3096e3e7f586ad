//! The worker: the engine behind messages.

use wasm_bindgen::{JsCast, JsValue};

/// Reports that the engine can be spoken to.
pub fn start() {
    let scope = js_sys::global().unchecked_into::<web_sys::DedicatedWorkerGlobalScope>();
    if let Err(error) = scope.post_message(&JsValue::from_str("Ready")) {
        log::error!("the page can't be reached: {error:?}");
    }
}
