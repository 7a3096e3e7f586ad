//! The user interface.

use leptos::prelude::*;
use wasm_bindgen::{JsCast, closure::Closure};

/// Mounts the page and starts the engine's worker.
pub fn start() {
    mount_to_body(|| {
        let (status, set_status) = signal(String::from("Starting the engine"));
        start_worker(set_status);
        view! {
            <main>
                <h1>"Ternary-Core"</h1>
                <p role="status">{status}</p>
            </main>
        }
    });
}

fn start_worker(status: WriteSignal<String>) {
    let options = web_sys::WorkerOptions::new();
    options.set_type(web_sys::WorkerType::Module);
    let worker = match web_sys::Worker::new_with_options("worker-start.js", &options) {
        Ok(worker) => worker,
        Err(error) => {
            status.set(format!("The engine's worker can't be started: {error:?}"));
            return;
        }
    };
    let on_message =
        Closure::<dyn Fn(web_sys::MessageEvent)>::new(move |event: web_sys::MessageEvent| {
            status.set(event.data().as_string().unwrap_or_default());
        });
    worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // The page and its worker live equally long.
    on_message.forget();
}
