//! The worker: the engine behind messages.

mod adapter;
mod cancel;
mod fetch;
mod import;
mod load;
mod shelf;
mod source;
mod store;
mod texts;
mod tuning;

use futures_channel::mpsc::{self, UnboundedReceiver};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use ternary::session::{Command, Event, Session, Work};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::protocol::{CACHE_LIMIT, Report, Request, Task};
use cancel::Cancel;

/// What a worker can do besides loading models and talking.
pub trait Program: 'static {
    /// Tells of what an earlier visit left.
    fn begin() -> impl Future<Output = ()>;
    /// What it understands of what changes models.
    type Task: DeserializeOwned;

    /// Answers that.
    fn work(session: &mut Session, task: Self::Task, cancel: &Cancel) -> impl Future<Output = ()>;
}

/// Nothing: a page that only talks does without the code of all the rest.
pub struct Talk;

impl Program for Talk {
    async fn begin() {}

    type Task = IgnoredAny;

    async fn work(_: &mut Session, _: IgnoredAny, _: &Cancel) {
        error("models are changed in the workshop, and this is not it".to_owned());
    }
}

/// Everything.
pub struct Workshop;

impl Program for Workshop {
    async fn begin() {
        tuning::tell().await;
    }

    type Task = Task;

    async fn work(session: &mut Session, task: Task, cancel: &Cancel) {
        match task {
            Task::Work(work) => {
                if let Work::Tune { .. } = work {
                    tuning::begin(session).await;
                }
                session.work(work, &mut tuning::emit).await;
            }
            Task::ReadTexts(files) => texts::read(session, files).await,
            Task::Adapt { files, device } => adapter::adapt(session, &files, device).await,
            Task::Compare { source } => load::compare(session, source).await,
            Task::RestoreTune => tuning::restore(session).await,
            Task::ForgetTune => tuning::forget().await,
            Task::Survey(files) => {
                cancel.begin();
                import::survey(&files, cancel).await;
            }
            Task::Import { files, head } => {
                cancel.begin();
                import::import(&files, head, cancel).await;
            }
        }
    }
}

/// Listens to the page and reports that it does.
pub fn start<P: Program>() {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        post(&Report::Panicked(info.to_string()));
    }));
    let mut session = Session::new();
    session.limit_cache(CACHE_LIMIT);
    let stop = session.stop_handle();
    let cancel = Cancel::default();
    let given_up = cancel.clone();
    let (requests, queue) = mpsc::unbounded();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        match serde_wasm_bindgen::from_value::<Request<P::Task>>(event.data()) {
            Ok(Request::Stop) => stop.stop(),
            Ok(Request::Cancel) => given_up.cancel(),
            Ok(Request::Shelf(request)) => {
                wasm_bindgen_futures::spawn_local(shelf::handle(request))
            }
            Ok(request) => {
                if let Request::Load { .. } | Request::Run(Command::Move { .. }) = request {
                    given_up.expect();
                }
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
    wasm_bindgen_futures::spawn_local(serve::<P>(session, queue, cancel));
    post(&Report::Ready);
    wasm_bindgen_futures::spawn_local(P::begin());
}

/// One request after the other.
async fn serve<P: Program>(
    mut session: Session,
    mut queue: UnboundedReceiver<Request<P::Task>>,
    cancel: Cancel,
) {
    while let Ok(request) = queue.recv().await {
        match request {
            Request::Load { source, device } => {
                cancel.begin();
                load::load(&mut session, source, device, &cancel).await;
            }
            Request::Run(Command::Move { device }) => {
                cancel.begin();
                load::move_to(&mut session, device, &cancel).await;
                tell_of_loss(&mut session);
            }
            Request::Run(command) => {
                session.handle(command, &mut emit).await;
                tell_of_loss(&mut session);
            }
            Request::Task(task) => {
                P::work(&mut session, task, &cancel).await;
                tell_of_loss(&mut session);
            }
            // Handled on arrival: they must not wait for what runs.
            Request::Stop | Request::Cancel | Request::Shelf(_) => {}
        }
        cancel.end();
    }
}

fn tell_of_loss(session: &mut Session) {
    if session.loaded().is_ok_and(|loaded| loaded.model.is_lost()) {
        post(&Report::DeviceLost);
    }
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
