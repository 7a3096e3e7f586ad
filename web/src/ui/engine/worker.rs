//! A worker, seen from the page: it is asked, and what it responds goes to who asked.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use serde::Serialize;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use super::requests::Requests;
use crate::js::describe;
use crate::protocol::{FromWorker, Notification, Request, RequestId, Response, ToWorker};

/// Which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Loads models and chats.
    Chat,
    /// That, and everything that changes models. Larger, so fetched when it is first wanted.
    Full,
    /// Reads Markdown; no engine.
    Markdown,
}

/// Takes the responses to the request with this id.
type Handler = Rc<dyn Fn(RequestId, Response)>;

/// A running worker; when the last handle is dropped it ends, whatever it does.
#[derive(Clone)]
pub struct Connection(Rc<Inner>);

struct Inner {
    worker: Worker,
    requests: RefCell<Requests<Handler>>,
    /// Messages for a worker that does not listen yet; none once it does.
    backlog: RefCell<Option<Vec<ToWorker>>>,
    on_notification: Rc<dyn Fn(Notification)>,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

impl Connection {
    /// Starts the worker.
    pub fn start(
        program: Program,
        on_notification: impl Fn(Notification) + 'static,
    ) -> Result<Self, String> {
        let worker = worker(program)?;
        let on_notification: Rc<dyn Fn(Notification)> = Rc::new(on_notification);
        let inner = Rc::new_cyclic(|inner: &Weak<Inner>| {
            let receiver = inner.clone();
            let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
                if let Some(inner) = receiver.upgrade() {
                    inner.receive(&event);
                }
            });
            worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
            // Also raised when the script or the module can't be loaded.
            let notify = Rc::clone(&on_notification);
            let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |event: ErrorEvent| {
                let message = event.message();
                notify(Notification::Panicked(if message.is_empty() {
                    "Its program could not be loaded.".to_owned()
                } else {
                    message
                }));
            });
            worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
            Inner {
                worker,
                requests: RefCell::default(),
                backlog: RefCell::new(Some(Vec::new())),
                on_notification,
                _on_message: on_message,
                _on_error: on_error,
            }
        });
        Ok(Self(inner))
    }

    /// Asks the worker, which need not listen yet. `on_response` takes what answers, the last of it
    /// `Done`.
    pub fn request(
        &self,
        request: Request,
        on_response: impl Fn(RequestId, Response) + 'static,
    ) -> Result<RequestId, String> {
        let id = self.0.requests.borrow_mut().enter(Rc::new(on_response));
        let message = ToWorker { id, request };
        if let Some(backlog) = &mut *self.0.backlog.borrow_mut() {
            backlog.push(message);
            return Ok(id);
        }
        self.0.send(&message).map(|()| id)
    }

    /// Nobody waits for what answers this any more.
    pub fn forget(&self, id: RequestId) {
        self.0.requests.borrow_mut().forget(id);
    }
}

impl Inner {
    fn receive(&self, event: &MessageEvent) {
        match serde_wasm_bindgen::from_value(event.data()) {
            Ok(FromWorker::Response { id, response }) => self.respond(id, response),
            Ok(FromWorker::Notification(notification)) => {
                if let Notification::Ready = notification {
                    self.send_backlog();
                }
                (self.on_notification)(notification);
            }
            Err(problem) => (self.on_notification)(Notification::Panicked(format!(
                "It said something the page can't read: {problem}"
            ))),
        }
    }

    fn respond(&self, id: RequestId, response: Response) {
        let handler = self.requests.borrow().handler(id);
        if let Response::Done = response {
            self.requests.borrow_mut().forget(id);
        }
        if let Some(handler) = handler {
            handler(id, response);
        }
    }

    fn send_backlog(&self) {
        let backlog = self.backlog.borrow_mut().take();
        for message in backlog.into_iter().flatten() {
            if let Err(problem) = self.send(&message) {
                (self.on_notification)(Notification::Panicked(problem));
            }
        }
    }

    fn send(&self, message: &ToWorker) -> Result<(), String> {
        // Plain objects for maps, as in JSON; a file is kept as it is.
        let serializer = serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true);
        let message = message
            .serialize(&serializer)
            .map_err(|problem| problem.to_string())?;
        self.worker.post_message(&message).map_err(describe)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

/// Starts a program; its worker is to be listened to.
pub fn worker(program: Program) -> Result<Worker, String> {
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    // Tells the script which program. An address that says it behind a # loses that when it comes
    // from the kept copy.
    options.set_name(match program {
        Program::Chat => "worker",
        Program::Full => "full-worker",
        Program::Markdown => "markdown",
    });
    Worker::new_with_options(&script(), &options).map_err(describe)
}

/// The workers' script, named after this page's own module: that name carries a hash, so a cached
/// worker never meets a newer page.
fn script() -> String {
    format!("worker-start.js?{}", document_module().unwrap_or_default())
}

fn document_module() -> Option<String> {
    let script = web_sys::window()?
        .document()?
        .query_selector("script[data-wasm]")
        .ok()??;
    let path = script.get_attribute("data-wasm")?;
    path.rsplit('/').next().map(str::to_owned)
}
