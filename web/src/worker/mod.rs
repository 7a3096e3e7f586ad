//! The worker: the engine behind messages.

mod adapter;
mod beginning;
mod cancel;
mod fetch;
mod grammar;
mod http;
mod hub;
mod import;
mod journal;
mod kept;
mod load;
mod remote;
mod served;
mod source;
mod store;
mod suite;
mod texts;
mod tuning;

use std::cell::Cell;
use std::rc::Rc;

use futures_channel::mpsc::{self, UnboundedReceiver};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use ternary::platform;
use ternary::session::{Command, Event, ModelTask, Session};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::protocol::{
    CACHE, CACHE_LIMIT, FromWorker, Notification, Request, RequestId, Response, Source, Task,
    ToWorker,
};
use cancel::Cancel;
use served::Served;

#[wasm_bindgen]
extern "C" {
    /// Of `worker-start.js`: fetches a program that is a part of this one.
    #[wasm_bindgen(js_namespace = self, catch)]
    async fn part(name: &str) -> Result<JsValue, JsValue>;
}

/// What a worker can do besides loading models and chatting.
pub trait Program: 'static {
    /// Tells of what an earlier visit left.
    fn begin() -> impl Future<Output = ()>;
    /// What it understands of what changes models.
    type Task: DeserializeOwned;

    /// Answers that.
    fn run_task(session: &mut Session, task: Self::Task, job: &Job) -> impl Future<Output = ()>;
}

/// Nothing: a page that only chats does without the code of all the rest.
pub struct ChatOnly;

impl Program for ChatOnly {
    async fn begin() {}

    type Task = IgnoredAny;

    async fn run_task(_: &mut Session, _: IgnoredAny, job: &Job) {
        let problem = "models are changed in the full worker, and this is not it";
        job.responder.error(problem.to_owned());
    }
}

/// Everything.
pub struct Full;

impl Program for Full {
    async fn begin() {
        tuning::tell_unfinished().await;
    }

    type Task = Task;

    async fn run_task(session: &mut Session, task: Task, job: &Job) {
        let responder = job.responder;
        match task {
            Task::Model(task) => {
                if let ModelTask::Tune { .. } = task {
                    tuning::begin(session).await;
                }
                session.run_task(task, &mut tuning::emit(responder)).await;
            }
            Task::ReadTexts(files) => texts::read(session, files, responder).await,
            Task::Adapt { adapters, device } => {
                adapter::adapt(session, &adapters, device, responder).await;
            }
            Task::AddAdapter { name, adapter } => {
                adapter::add(session, name, &adapter, responder).await;
            }
            Task::KeepAdapter { adapter, name } => {
                kept::tell(adapter::keep(session, &adapter, &name).await, responder).await;
            }
            Task::Compare { source } => load::compare(session, source, responder).await,
            Task::RestoreTune => tuning::restore(session, responder).await,
            Task::ForgetTune => tuning::forget().await,
            Task::Keep { name } => kept::keep_loaded(session, &name, responder).await,
            Task::Find { hub, repository } => {
                job.begin();
                hub::find(&hub, &repository, job).await;
            }
            Task::Survey(files) => {
                job.begin();
                import::survey(&files, job).await;
            }
            Task::Measure {
                part,
                options,
                rates,
            } => suite::run(part, options, &rates, job).await,
            Task::Import {
                files,
                choices,
                finishes,
            } => {
                job.begin();
                import::import(&files, choices, finishes, job).await;
            }
        }
    }
}

/// Answers one request.
#[derive(Clone, Copy)]
pub struct Responder(RequestId);

impl Responder {
    pub fn send(self, response: Response) {
        let id = self.0;
        post(&FromWorker::Response { id, response });
    }

    pub fn event(self, event: Event) {
        self.send(Response::Event(event));
    }

    pub fn error(self, message: String) {
        self.event(Event::Error { message });
    }
}

/// The request being served: who is answered, and whether it was given up.
pub struct Job {
    pub responder: Responder,
    pub cancel: Cancel,
}

impl Job {
    /// From here on it can be given up.
    fn begin(&self) {
        self.cancel.begin(self.responder.0);
    }
}

/// Takes part in the engine's work, in a thread that its script started for that.
#[wasm_bindgen]
pub fn help() {
    platform::help();
}

/// Where such a thread's script tells that it failed, in 32-bit words from the memory's beginning.
#[wasm_bindgen]
pub fn failed_place() -> u32 {
    platform::failed_place()
}

/// Listens to the page and reports that it does.
pub fn start<P: Program>() {
    if platform::is_helper() {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        if platform::is_helper() {
            return platform::helper_panicked(&info.to_string());
        }
        console_error_panic_hook::hook(info);
        notify(&Notification::Panicked(info.to_string()));
    }));
    let mut session = Session::new();
    session.limit_cache(CACHE_LIMIT);
    session.set_cache_precision(CACHE);
    let (stop, watch) = (session.stop_handle(), session.watch_handle());
    let cancel = Cancel::default();
    let running = Rc::new(Cell::new(None));
    let (requests, queue) = mpsc::unbounded();
    let server = Server {
        session,
        served: None,
        cancel: cancel.clone(),
        running: Rc::clone(&running),
    };
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let message = match serde_wasm_bindgen::from_value::<ToWorker<P::Task>>(event.data()) {
            Ok(message) => message,
            Err(problem) => {
                return failed(format!("the worker got a message it can't read: {problem}"));
            }
        };
        let responder = Responder(message.id);
        match message.request {
            Request::Stop(id) => {
                if running.get() == Some(id) {
                    stop.stop();
                    cancel.stop(id);
                }
                responder.send(Response::Done);
            }
            Request::Cancel(id) => {
                cancel.cancel(id);
                responder.send(Response::Done);
            }
            Request::Watch(name) => {
                watch.watch(name);
                responder.send(Response::Done);
            }
            Request::Store(request) => wasm_bindgen_futures::spawn_local(async move {
                kept::handle(request, responder).await;
                responder.send(Response::Done);
            }),
            _ => {
                if requests.unbounded_send(message).is_err() {
                    failed("the engine no longer takes requests; reload the page".to_owned());
                }
            }
        }
    });
    scope().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // It listens as long as the worker lives.
    on_message.forget();
    wasm_bindgen_futures::spawn_local(server.serve::<P>(queue));
    notify(&Notification::Ready);
    wasm_bindgen_futures::spawn_local(P::begin());
}

struct Server {
    session: Session,
    /// What answers in place of the session.
    served: Option<Served>,
    cancel: Cancel,
    /// What is being answered.
    running: Rc<Cell<Option<RequestId>>>,
}

impl Server {
    /// One request after the other.
    async fn serve<P: Program>(mut self, mut queue: UnboundedReceiver<ToWorker<P::Task>>) {
        while let Ok(ToWorker { id, request }) = queue.recv().await {
            self.running.set(Some(id));
            let job = Job {
                responder: Responder(id),
                cancel: self.cancel.clone(),
            };
            self.answer::<P>(request, &job).await;
            self.cancel.end();
            self.running.set(None);
            job.responder.send(Response::Done);
        }
    }

    async fn answer<P: Program>(&mut self, request: Request<P::Task>, job: &Job) {
        let session = &mut self.session;
        match request {
            Request::Load {
                source,
                device,
                kv,
                threads,
            } => {
                job.begin();
                if let Source::Server { model, key } = &source {
                    if let Some(served) = served::load(model, key, job).await {
                        self.served = Some(served);
                        // It would only hold memory, and take part in nothing that is shown.
                        session.unload();
                    }
                    return;
                }
                session.set_cache_precision(kv);
                session.limit_threads(threads);
                if load::load(session, source, device, job).await {
                    self.served = None;
                }
                return;
            }
            Request::Run(command) if self.served.is_some() => {
                job.begin();
                if let Some(served) = &self.served {
                    served.answer(command, job).await;
                }
            }
            Request::Run(Command::Move { device }) => {
                job.begin();
                load::move_to(session, device, job).await;
            }
            Request::Run(command) => {
                if command.has_form()
                    && let Err(problem) = grammar::provide(session).await
                {
                    return job.responder.error(problem);
                }
                let mut emit = |event| job.responder.event(event);
                session.handle(command, &mut emit).await;
            }
            Request::Task(task) => P::run_task(session, task, job).await,
            // Handled on arrival: they must not wait for what runs.
            Request::Stop(_) | Request::Cancel(_) | Request::Watch(_) | Request::Store(_) => {}
        }
        if session.loaded().is_ok_and(|loaded| loaded.model.is_lost()) {
            notify(&Notification::DeviceLost);
        }
    }
}

fn failed(message: String) {
    notify(&Notification::Failed(message));
}

fn notify(notification: &Notification) {
    post(&FromWorker::Notification(notification.clone()));
}

fn post(message: &FromWorker) {
    // Plain objects for maps, as in JSON: a bit-map is read back through its JSON form.
    let serializer = serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true);
    let message = match message.serialize(&serializer) {
        Ok(message) => message,
        Err(problem) => return log::error!("a message can't be sent: {problem}"),
    };
    if let Err(problem) = scope().post_message(&message) {
        log::error!("the page can't be reached: {problem:?}");
    }
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}
