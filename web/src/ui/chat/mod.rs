//! Conversations with the model, and where the browser keeps them.

mod announcer;
mod away;
mod called;
mod chat_list;
mod composer;
mod conversation;
mod database;
mod dates;
mod kept_chats;
mod message;
mod pending_writes;
mod reader;
mod record;
mod rendered;
mod reply_foot;
mod search;
mod settings;
mod tools;
mod transcript;
mod undo_bar;
mod versions;
mod write_queue;

use leptos::prelude::*;

use super::engine::{Engine, EngineEvent};
use super::page::{Mode, Page};
pub use announcer::Announcer;
pub use chat_list::ChatList;
pub use composer::Composer;
use conversation::{Exchange, Outcome, Running};
use kept_chats::KeptChats;
use reader::Reader;
pub use record::is_export;
pub use settings::{MAX_SEED, ReplyForm, Settings};
pub use tools::{EXAMPLE as EXAMPLE_TOOLS, check_schema, read as read_tools};
pub use transcript::Transcript;
pub use undo_bar::UndoBar;

/// What is said to the model and what it replies: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Chat {
    engine: Engine,
    page: Page,
    pub settings: RwSignal<Settings>,
    /// The exchanges of the open conversation.
    conversation: RwSignal<Vec<Exchange>>,
    /// Those of plain continuation.
    texts: RwSignal<Vec<Exchange>>,
    draft: RwSignal<String>,
    /// The draft was to be sent when that was not possible.
    held: RwSignal<bool>,
    running: RwSignal<Option<Running>>,
    /// Raised when a reply was drawn.
    drawn: Trigger,
    /// The transcript is to stay where it is when its exchanges change.
    stay: StoredValue<bool>,
    exchange_count: StoredValue<usize>,
    kept: KeptChats,
    /// Started with the first reply.
    reader: StoredValue<Option<Reader>, LocalStorage>,
}

pub fn use_chat() -> Chat {
    expect_context()
}

impl Chat {
    /// Lists the kept conversations, and keeps what changes from now on.
    pub fn start(engine: Engine, page: Page) -> Self {
        let chat = Self {
            engine,
            page,
            settings: RwSignal::new(Settings::restore()),
            conversation: RwSignal::new(Vec::new()),
            texts: RwSignal::new(Vec::new()),
            draft: RwSignal::new(String::new()),
            held: RwSignal::new(false),
            running: RwSignal::new(None),
            drawn: Trigger::new(),
            stay: StoredValue::new(false),
            exchange_count: StoredValue::new(0),
            kept: KeptChats::new(),
            reader: StoredValue::new_local(None),
        };
        let opening = move || chat.kept.opening.with(Option::is_some);
        engine.busy_while(Signal::derive(move || chat.is_replying()));
        engine.busy_while(Signal::derive(opening));
        engine.listen(move |event| chat.on_event(event));
        Effect::new(move |_| chat.settings.with(|settings| chat.keep_settings(settings)));
        chat.begin_keeping();
        chat
    }

    pub fn is_replying(self) -> bool {
        self.running.with(Option::is_some)
    }

    /// The conversation that is open or being opened; empty if nothing is said in it yet.
    pub fn open_id(self) -> String {
        let open = self.kept.record.with(|record| record.id.clone());
        self.kept.opening.get().unwrap_or(open)
    }

    /// The conversation that is shown, as [`Chat::open_id`].
    pub fn shown_id(self) -> String {
        self.kept.record.with_untracked(|record| record.id.clone())
    }

    fn keep_settings(self, settings: &Settings) {
        settings.keep();
        let name = self
            .engine
            .model
            .with_untracked(|model| model.as_ref().map(|model| model.name.clone()));
        if let Some(name) = name {
            settings.keep_of(&name);
        }
    }

    fn on_event(self, event: &EngineEvent) {
        match event {
            EngineEvent::Replaced => self.end_reply(Outcome::Interrupted),
            EngineEvent::Died(_) => self.end_reply(Outcome::Failed),
            EngineEvent::ModelLoaded { model, changed } => {
                // A conversation has settings of its own.
                if *changed && self.conversation.with_untracked(Vec::is_empty) {
                    self.settings.update(|settings| settings.suit(model));
                }
                if !model.chat {
                    self.page.set_mode(Mode::Text);
                }
            }
            _ => {}
        }
    }

    fn reader(self) -> Reader {
        if let Some(reader) = self.reader.get_value() {
            return reader;
        }
        let reader = Reader::start();
        self.reader.set_value(Some(reader.clone()));
        reader
    }
}
