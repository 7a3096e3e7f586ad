//! The parser's thread: texts in, blocks out.

use std::cell::RefCell;

use ternary_markdown::{Block, parse};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

/// Says that it listens; then hears `(id, text)` and answers `(id, blocks as before, the blocks
/// after them)`: of a text that grows only its end is sent.
fn main() {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let last = RefCell::new((0u32, Vec::<Block>::new()));
    let answering = scope.clone();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let Ok((id, text)) = serde_wasm_bindgen::from_value::<(u32, String)>(event.data()) else {
            return;
        };
        let blocks = parse(&text);
        let mut last = last.borrow_mut();
        let both = last.1.iter().zip(&blocks);
        let same = match last.0 == id {
            true => both.take_while(|(before, now)| before == now).count(),
            false => 0,
        };
        if let Ok(answer) = serde_wasm_bindgen::to_value(&(id, same, &blocks[same..])) {
            // Fails when the page is gone.
            answering.post_message(&answer).ok();
        }
        *last = (id, blocks);
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // It listens as long as the worker lives, and what was said before is lost: it says when it
    // does.
    on_message.forget();
    scope.post_message(&JsValue::NULL).ok();
}
