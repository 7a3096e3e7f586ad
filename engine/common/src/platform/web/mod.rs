//! Browser platform: an event loop that must be let through, and helpers where the page may have
//! them.

mod threads;
pub use threads::{
    Allocator, failed_place, help, helper_panicked, is_helper, on, start_helpers, threads,
};
pub(super) use threads::{at_work, pieces, pieces2};

use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use wasm_bindgen_futures::JsFuture;

/// Browsers do not tell.
pub fn processor() -> Option<String> {
    None
}

/// Nor this.
pub fn available_memory() -> Option<u64> {
    None
}

/// The memory of this worker's program: it never shrinks.
pub fn peak_memory() -> Option<u64> {
    const PAGE: usize = 1 << 16;
    Some((core::arch::wasm32::memory_size(0) * PAGE) as u64)
}

/// The browser keeps compiled shaders itself.
pub fn cache_folder() -> Option<std::path::PathBuf> {
    None
}

/// Seconds that this machine's clocks are ahead of UTC at a moment, given in seconds since 1970.
pub fn utc_offset(seconds: i64) -> i64 {
    let date = js_sys::Date::new(&wasm_bindgen::JsValue::from_f64(1e3 * seconds as f64));
    -60 * date.get_timezone_offset() as i64
}

/// Browsers map no files.
#[derive(Clone, Debug)]
pub enum Mapped {}

impl Mapped {
    /// The mapped part of the file.
    pub fn bytes(&self) -> &[u8] {
        match *self {}
    }
}

/// The memory of a page has no mappings.
#[derive(Debug)]
pub enum Anonymous {}

impl Anonymous {
    /// None: a page has no such memory.
    pub fn new(_bytes: usize) -> Option<Self> {
        None
    }

    /// The whole memory.
    pub fn bytes(&self) -> &[u8] {
        match *self {}
    }

    /// The whole memory, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match *self {}
    }
}

/// Return to the event loop once, so that messages (a stop, say) are handled. A message channel is
/// not slowed down like nested timeouts are.
pub async fn yield_now() {
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        let Ok(channel) = web_sys::MessageChannel::new() else {
            // Without a channel the promise still resolves, only without yielding.
            let _ = resolve.call0(&wasm_bindgen::JsValue::NULL);
            return;
        };
        let callback = Closure::once_into_js(move || resolve.call0(&wasm_bindgen::JsValue::NULL));
        channel
            .port1()
            .set_onmessage(Some(callback.unchecked_ref()));
        let _ = channel.port2().post_message(&wasm_bindgen::JsValue::NULL);
    });
    let _ = JsFuture::from(promise).await;
}
