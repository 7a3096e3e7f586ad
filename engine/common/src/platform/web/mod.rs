//! Browser platform: an event loop that must be let through, and helpers where the page may have
//! them.

mod threads;
pub use threads::{
    Allocator, failed_place, help, helper_panicked, is_helper, on, start_helpers, threads,
};
pub(super) use threads::{at_work, pieces, pieces2};

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use js_sys::Function;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::MessagePort;
use web_time::Instant;

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
    let date = js_sys::Date::new(&JsValue::from_f64(1e3 * seconds as f64));
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

/// Nothing to take parts of, either.
#[derive(Debug, Default)]
pub struct Arena {}

impl Arena {
    /// None: a page has no such memory.
    pub fn take(&mut self, _bytes: usize) -> Option<Anonymous> {
        None
    }
}

/// Messages that have come wait no longer than so.
const SLICE: Duration = Duration::from_millis(8);

/// A message that this thread sends itself; unlike nested timeouts, such are not slowed down. There
/// is one channel for all of them: browsers keep one that has a listener for good, and in WebKit
/// each that is kept slows every later message down.
struct Channel {
    sender: MessagePort,
    /// What resolves the promises that wait, in order.
    waiting: Rc<RefCell<VecDeque<Function>>>,
    /// Listens for as long as the thread lives.
    _listener: Closure<dyn Fn()>,
}

impl Channel {
    fn new() -> Option<Self> {
        let channel = web_sys::MessageChannel::new().ok()?;
        let waiting = Rc::new(RefCell::new(VecDeque::<Function>::new()));
        let listener = {
            let waiting = Rc::clone(&waiting);
            Closure::<dyn Fn()>::new(move || {
                let first = waiting.borrow_mut().pop_front();
                let _ = first.map(|resolve| resolve.call0(&JsValue::NULL));
            })
        };
        channel
            .port1()
            .set_onmessage(Some(listener.as_ref().unchecked_ref()));
        Some(Channel {
            sender: channel.port2(),
            waiting,
            _listener: listener,
        })
    }

    fn send(&self, resolve: Function) -> Option<()> {
        self.sender.post_message(&JsValue::NULL).ok()?;
        self.waiting.borrow_mut().push_back(resolve);
        Some(())
    }
}

thread_local! {
    static CHANNEL: Option<Channel> = Channel::new();
    /// When the event loop was last let through.
    static LET_THROUGH: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Return to the event loop, so that messages (a stop, say) are handled; not more often than they
/// need it, as it takes as long as some tokens do.
pub async fn yield_now() {
    if LET_THROUGH.get().is_some_and(|last| last.elapsed() < SLICE) {
        return;
    }
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        let sent = CHANNEL.with(|channel| channel.as_ref()?.send(resolve.clone()));
        if sent.is_none() {
            // Without a channel the promise still resolves, only without yielding.
            let _ = resolve.call0(&JsValue::NULL);
        }
    });
    let _ = JsFuture::from(promise).await;
    LET_THROUGH.set(Some(Instant::now()));
}
