//! The Markdown parser, which runs in a worker of its own and is fetched with the first reply.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use js_sys::Array;
use ternary_markdown::Block;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{ErrorEvent, MessageEvent, Worker};

use crate::ui::engine::{self, Program};

/// Told how many of a text's blocks are as before, and those after them; nothing if the parser is
/// gone.
pub type Listener = Rc<dyn Fn(Option<(usize, Vec<Block>)>)>;

#[derive(Clone)]
pub struct Reader(Rc<Inner>);

struct Inner {
    worker: Option<Worker>,
    /// It could not be fetched, or it failed.
    gone: Cell<bool>,
    /// What it is to be asked once it listens; none from then on.
    backlog: RefCell<Option<Vec<Array>>>,
    listeners: RefCell<HashMap<u32, Listener>>,
    next: Cell<u32>,
}

impl Reader {
    pub fn start() -> Self {
        let worker = engine::worker(Program::Markdown).ok();
        let reader = Reader(Rc::new(Inner {
            gone: Cell::new(worker.is_none()),
            worker,
            backlog: RefCell::new(Some(Vec::new())),
            listeners: RefCell::default(),
            // The parser's own first number is 0.
            next: Cell::new(1),
        }));
        if let Some(worker) = &reader.0.worker {
            let receiver = reader.clone();
            let on_message = Closure::<dyn Fn(_)>::new(move |event: MessageEvent| {
                if event.data().is_null() {
                    return receiver.send_backlog();
                }
                let answer = serde_wasm_bindgen::from_value(event.data());
                if let Ok((id, same, blocks)) = answer {
                    receiver.tell(id, Some((same, blocks)));
                }
            });
            let receiver = reader.clone();
            let on_error = Closure::<dyn Fn(_)>::new(move |event: ErrorEvent| {
                log::warn!("replies are shown as plain text: {}", event.message());
                receiver.0.gone.set(true);
                for id in receiver.ids() {
                    receiver.tell(id, None);
                }
            });
            // It is there as long as the page.
            worker.set_onmessage(Some(on_message.into_js_value().unchecked_ref()));
            worker.set_onerror(Some(on_error.into_js_value().unchecked_ref()));
        }
        reader
    }

    /// A number for a text, whose blocks `listener` is told.
    pub fn enter(&self, listener: Listener) -> u32 {
        let id = self.0.next.get();
        self.0.next.set(id + 1);
        self.0.listeners.borrow_mut().insert(id, listener);
        id
    }

    pub fn leave(&self, id: u32) {
        self.0.listeners.borrow_mut().remove(&id);
    }

    /// Asks for the blocks of a text as it is now.
    pub fn read(&self, id: u32, text: &str) {
        let request = Array::of2(&id.into(), &JsValue::from_str(text));
        if self.0.gone.get() {
            return self.tell(id, None);
        }
        match &mut *self.0.backlog.borrow_mut() {
            Some(backlog) => backlog.push(request),
            None => self.send(&request),
        }
    }

    fn send_backlog(&self) {
        let backlog = self.0.backlog.borrow_mut().take();
        for request in backlog.iter().flatten() {
            self.send(request);
        }
    }

    fn send(&self, request: &Array) {
        if let Some(worker) = &self.0.worker {
            // Texts and numbers can always be sent.
            worker.post_message(request).ok();
        }
    }

    fn ids(&self) -> Vec<u32> {
        self.0.listeners.borrow().keys().copied().collect()
    }

    fn tell(&self, id: u32, answer: Option<(usize, Vec<Block>)>) {
        let listener = self.0.listeners.borrow().get(&id).cloned();
        if let Some(listener) = listener {
            listener(answer);
        }
    }
}
