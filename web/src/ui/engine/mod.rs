//! The engine and its model, as all parts of the page share them: asking it, and listening to
//! what becomes of it.

mod requests;
mod worker;

use std::rc::Rc;
use std::sync::Arc;

use leptos::prelude::*;
use ternary::session::{Command, ModelInfo, ModelTask, Weights};

use crate::protocol::{Notification, Origin, Request, RequestId, Response, Source, Task};
pub use worker::{Connection, Program, worker};

/// What happens to the engine and its model. Listeners are called at once.
pub enum EngineEvent {
    /// The larger worker took the place of the one that ran: what was asked is not answered, and no
    /// model is loaded.
    Replaced,
    /// It ended by itself, and says why. What was asked is not answered.
    Died(String),
    Notification(Notification),
    /// A part of the page wants another model.
    ModelRequested(ModelRequest),
    /// The model is about to be this one.
    ModelLoaded {
        model: Box<ModelInfo>,
        /// It is another than before, not the same in another worker or on another device.
        changed: bool,
    },
    /// A fine-tuning tells of the matrix that is looked at: how the loaded model has it.
    Watched(Arc<Weights>),
    /// The same as it is by now; nothing when there is no fine-tuning any more.
    Tuned(Option<Arc<Weights>>),
}

/// What brings another model.
pub enum ModelRequest {
    Load(Source),
    /// What is answered as a load is.
    Task(ModelTask),
    /// An adapter that was made of the model, in one file.
    Adapter {
        name: String,
        bytes: Vec<u8>,
    },
}

type Listener = Rc<dyn Fn(&EngineEvent)>;

/// The engine: a handle, copied freely.
#[derive(Clone, Copy)]
pub struct Engine {
    /// The loaded model. The one of the worker before, while another worker loads it.
    pub model: RwSignal<Option<ModelInfo>>,
    /// Where a later visit finds it, if one does.
    pub origin: RwSignal<Option<Origin>>,
    /// Of the model's last reply, in tokens a second.
    pub speed: RwSignal<Option<f64>>,
    /// It died, and was not started again.
    dead: RwSignal<bool>,
    /// Each holds while the engine is not to be asked for anything else.
    busy: StoredValue<Vec<Signal<bool>>>,
    program: StoredValue<Program>,
    connection: StoredValue<Option<Connection>, LocalStorage>,
    listeners: StoredValue<Vec<Listener>, LocalStorage>,
    /// The request for the reply that is being written.
    reply: StoredValue<Option<RequestId>>,
}

pub fn use_engine() -> Engine {
    expect_context()
}

impl Engine {
    pub fn new() -> Self {
        Self {
            model: RwSignal::new(None),
            origin: RwSignal::new(None),
            speed: RwSignal::new(None),
            dead: RwSignal::new(false),
            busy: StoredValue::new(Vec::new()),
            program: StoredValue::new(Program::Chat),
            connection: StoredValue::new_local(None),
            listeners: StoredValue::new_local(Vec::new()),
            reply: StoredValue::new(None),
        }
    }

    pub fn listen(self, listener: impl Fn(&EngineEvent) + 'static) {
        self.listeners
            .update_value(|all| all.push(Rc::new(listener)));
    }

    pub fn emit(self, event: &EngineEvent) {
        for listener in self.listeners.get_value() {
            listener(event);
        }
    }

    /// While `busy` holds the engine is not ready.
    pub fn busy_while(self, busy: Signal<bool>) {
        self.busy.update_value(|all| all.push(busy));
    }

    /// A model is there and nothing is under way.
    pub fn ready(self) -> bool {
        self.model.with(Option::is_some)
            && !self.dead.get()
            && self
                .busy
                .with_value(|all| all.iter().all(|busy| !busy.get()))
    }

    pub fn has_model(self) -> bool {
        self.model.with_untracked(Option::is_some)
    }

    /// A new worker in place of the one that runs, if one does.
    pub fn start(self) {
        self.reply.set_value(None);
        self.dead.set(false);
        let on_notification = move |notification| match notification {
            Notification::Panicked(message) => self.died(message),
            notification => self.emit(&EngineEvent::Notification(notification)),
        };
        match Connection::start(self.program.get_value(), on_notification) {
            Ok(connection) => self.connection.set_value(Some(connection)),
            Err(problem) => self.died(problem),
        }
    }

    /// Sees to it that the larger worker runs, which changes models.
    pub fn use_full_worker(self) {
        if self.program.get_value() == Program::Full || !self.is_running() {
            return;
        }
        self.program.set_value(Program::Full);
        self.start();
        self.emit(&EngineEvent::Replaced);
    }

    pub fn is_running(self) -> bool {
        self.connection.with_value(Option::is_some)
    }

    /// Asks; `on_response` takes what answers. None if the engine can't be asked, which is its end.
    pub fn request(
        self,
        request: Request,
        on_response: impl Fn(RequestId, Response) + 'static,
    ) -> Option<RequestId> {
        let asked = match self.connection.get_value() {
            Some(connection) => connection.request(request, on_response),
            None => Err("it is not running".to_owned()),
        };
        match asked {
            Ok(id) => Some(id),
            Err(problem) => {
                self.died(format!("The engine can't be asked: {problem}"));
                None
            }
        }
    }

    /// The same of what only the larger worker does.
    pub fn task(
        self,
        task: Task,
        on_response: impl Fn(RequestId, Response) + 'static,
    ) -> Option<RequestId> {
        self.use_full_worker();
        self.request(Request::Task(task), on_response)
    }

    /// Asks for a reply, which can be stopped.
    pub fn reply(
        self,
        command: Command,
        on_response: impl Fn(RequestId, Response) + 'static,
    ) -> Option<RequestId> {
        let id = self.request(Request::Run(command), on_response);
        self.reply.set_value(id);
        id
    }

    /// Ends the reply that is being written, if one is.
    pub fn stop_reply(self) {
        if let Some(id) = self.reply.get_value() {
            self.stop(id);
        }
    }

    /// The reply is complete.
    pub fn reply_ended(self) {
        self.reply.set_value(None);
    }

    pub fn stop(self, id: RequestId) {
        self.request(Request::Stop(id), |_, _| {});
    }

    pub fn cancel(self, id: RequestId) {
        self.request(Request::Cancel(id), |_, _| {});
    }

    /// Nobody waits for what answers this any more.
    pub fn forget(self, id: RequestId) {
        self.connection.with_value(|connection| {
            if let Some(connection) = connection {
                connection.forget(id);
            }
        });
    }

    fn died(self, message: String) {
        self.connection.set_value(None);
        self.reply.set_value(None);
        self.dead.set(true);
        self.emit(&EngineEvent::Died(message));
    }
}
