//! The worker, seen from the page.

use serde::Serialize;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use crate::js::describe;
use crate::protocol::{Report, Request};

/// Which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Loads models and talks.
    Talk,
    /// That, and everything that changes models. Larger, so fetched when it is first wanted.
    Workshop,
    /// Reads Markdown; no engine.
    Markdown,
}

/// A running worker; dropping it ends the worker, whatever it does.
pub struct Engine {
    worker: Worker,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

impl Engine {
    /// Starts the worker; it says `Ready` when it listens.
    pub fn start(program: Program, hear: impl Fn(Report) + Copy + 'static) -> Result<Self, String> {
        let worker = worker(program)?;
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            hear(match serde_wasm_bindgen::from_value(event.data()) {
                Ok(report) => report,
                Err(problem) => {
                    Report::Panicked(format!("It said something the page can't read: {problem}"))
                }
            });
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        // Also raised when the script or the module can't be loaded.
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |event: ErrorEvent| {
            let message = event.message();
            hear(Report::Panicked(if message.is_empty() {
                "Its program could not be loaded.".to_owned()
            } else {
                message
            }));
        });
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Ok(Self {
            worker,
            _on_message: on_message,
            _on_error: on_error,
        })
    }

    pub fn send(&self, request: &Request) -> Result<(), String> {
        // Plain objects for maps, as in JSON; a file is kept as it is.
        let serializer = serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true);
        let message = request
            .serialize(&serializer)
            .map_err(|problem| problem.to_string())?;
        self.worker.post_message(&message).map_err(describe)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

/// Starts a program; its worker is to be heard.
pub fn worker(program: Program) -> Result<Worker, String> {
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    // Tells the script which program. An address that says it behind a # loses that when it comes from the kept copy.
    options.set_name(match program {
        Program::Talk => "worker",
        Program::Workshop => "workshop",
        Program::Markdown => "markdown",
    });
    Worker::new_with_options(&script(), &options).map_err(describe)
}

/// The workers' script, named after this page's own module: that name carries a hash, so a cached worker never meets a
/// newer page.
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
