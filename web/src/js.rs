//! What JavaScript throws and holds.

use wasm_bindgen::{JsCast, JsValue};

/// The message of an error, or whatever else was thrown.
pub fn describe(thrown: JsValue) -> String {
    if let Some(error) = thrown.dyn_ref::<js_sys::Error>() {
        return String::from(error.message());
    }
    thrown.as_string().unwrap_or_else(|| format!("{thrown:?}"))
}

/// A field of an object; undefined where there is none.
pub fn field(object: &JsValue, name: &str) -> JsValue {
    js_sys::Reflect::get(object, &JsValue::from_str(name)).unwrap_or_default()
}
