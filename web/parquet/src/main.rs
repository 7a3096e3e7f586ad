//! Reads data sets in Parquet for the worker that learns from them: `web/src/worker/texts.rs` calls
//! it. What goes wrong is thrown as a text; a file on which the library panics ends only this.

use ternary_common::data::parquet::{Limit, lines_of};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

/// The rows of the file called `name` as JSON lines, if their texts have at most so many bytes.
#[wasm_bindgen]
pub fn lines(name: &str, file: Vec<u8>, most: f64) -> Result<Vec<u8>, JsValue> {
    let limit = Limit {
        bytes: most as u64,
        beyond: "which is too much for a page. Train larger texts with `onebit finetune`",
    };
    lines_of(name, file, limit).map_err(|problem| JsValue::from_str(&problem.to_string()))
}

/// It only answers.
fn main() {}
