//! The worker: the engine behind messages.

mod fetch;
mod source;

use std::rc::Rc;

use futures_channel::mpsc::{self, UnboundedReceiver};
use serde::Serialize;
use ternary_core::session::{DeviceChoice, Event, Session};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::protocol::{Report, Request, Source};
use source::BlobSource;

/// Listens to the page and reports that it does.
pub fn start() {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        post(&Report::Panicked(info.to_string()));
    }));
    let session = Session::new();
    let stop = session.stop_handle();
    let (requests, queue) = mpsc::unbounded();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        match serde_wasm_bindgen::from_value(event.data()) {
            Ok(Request::Stop) => stop.stop(),
            Ok(request) => {
                if requests.unbounded_send(request).is_err() {
                    error("the engine no longer takes requests; reload the page".to_owned());
                }
            }
            Err(problem) => error(format!("the worker got a message it can't read: {problem}")),
        }
    });
    scope().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // It listens as long as the worker lives.
    on_message.forget();
    wasm_bindgen_futures::spawn_local(serve(session, queue));
    post(&Report::Ready);
}

/// One request after the other.
async fn serve(mut session: Session, mut queue: UnboundedReceiver<Request>) {
    while let Ok(request) = queue.recv().await {
        match request {
            Request::Load { source, device } => load(&mut session, source, device).await,
            Request::Run(command) => session.handle(command, &mut emit).await,
            Request::Compare { source } => match open(source).await {
                Ok(Some(file)) => session.compare(Rc::new(file), &mut emit).await,
                Ok(None) => post(&Report::NothingShipped),
                Err(problem) => error(problem),
            },
            Request::ForgetTune => {}
            // Handled on arrival: it must not wait for what it ends.
            Request::Stop => {}
        }
    }
}

async fn load(session: &mut Session, source: Source, device: DeviceChoice) {
    match open(source).await {
        Ok(Some(file)) => session.load(Rc::new(file), device, &mut emit).await,
        Ok(None) => post(&Report::NothingShipped),
        Err(problem) => error(problem),
    }
}

/// The file of a source; none where the page ships none.
async fn open(source: Source) -> Result<Option<BlobSource>, String> {
    Ok(Some(match source {
        Source::File(file) => BlobSource::new(file.name(), file.into()),
        Source::Url(url) => fetch::model(&url).await?,
        Source::Shipped => match fetch::shipped().await? {
            Some(url) => fetch::model(&url).await?,
            None => return Ok(None),
        },
    }))
}

fn emit(event: Event) {
    post(&Report::Event(event));
}

fn error(message: String) {
    emit(Event::Error { message });
}

fn post(report: &Report) {
    // Plain objects for maps, as in JSON: a bit-map is read back through its JSON form.
    let serializer = serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true);
    let message = match report.serialize(&serializer) {
        Ok(message) => message,
        Err(problem) => return log::error!("a report can't be sent: {problem}"),
    };
    if let Err(problem) = scope().post_message(&message) {
        log::error!("the page can't be reached: {problem:?}");
    }
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}
