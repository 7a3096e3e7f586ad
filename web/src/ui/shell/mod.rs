//! The frame of the page: tabs, settings, what is dropped on it, what went wrong.

mod device_picker;
mod drop_zone;
mod header;
mod history;
mod notice;
mod reply_fields;
mod routing;
mod settings_panel;
mod welcome;

use leptos::{ev, html, prelude::*};
use ternary::session::DeviceChoice;
use web_sys::UrlSearchParams;

use super::chat::{self, Chat};
use super::engine::{Engine, EngineEvent};
use super::explorer::{Explorer, ExplorerView};
use super::models::{self, Models};
use super::page::{Page, Tab};
use super::tuner::{Tuner, TunerView};
use super::widgets::erased::{live, on_click};
use super::widgets::keys;
use crate::protocol::Notification;

/// All parts of the page, for what concerns several of them.
#[derive(Clone, Copy)]
pub struct Shell {
    engine: Engine,
    page: Page,
    chat: Chat,
    models: Models,
    explorer: Explorer,
    tuner: Tuner,
}

pub fn use_shell() -> Shell {
    expect_context()
}

impl Shell {
    /// Starts the engine and loads what the page's address asks for.
    fn start() -> Self {
        let Asked {
            model,
            device,
            threads,
            problem,
        } = from_address();
        let (engine, page) = (Engine::new(), Page::new());
        engine.listen(move |event| match event {
            EngineEvent::Died(message) => page.engine_died(message.clone()),
            EngineEvent::Notification(Notification::Failed(message)) => {
                page.fail("The engine reports a failure", message.clone());
            }
            _ => {}
        });
        let explorer = Explorer::new(engine, page);
        let tuner = Tuner::new(engine, page);
        let chat = Chat::start(engine, page);
        let models = Models::start(engine, page, model, (device, threads));
        let shell = Self {
            engine,
            page,
            chat,
            models,
            explorer,
            tuner,
        };
        shell.follow_history();
        if let Some(problem) = problem {
            page.fail("Part of this page's address was ignored", problem);
        }
        provide_context(engine);
        provide_context(page);
        provide_context(chat);
        provide_context(models);
        provide_context(explorer);
        provide_context(tuner);
        provide_context(shell);
        shell
    }

    /// Shows a part of the page.
    fn show(self, tab: Tab) {
        if matches!(tab, Tab::Map | Tab::Tune) && !untrack(|| self.models.is_served()) {
            self.engine.use_full_worker();
        }
        self.page.show(tab);
    }

    /// Escape ends a reply, or else closes what is open.
    fn on_escape(self) {
        if self.chat.is_replying() {
            self.engine.stop_reply();
        } else if self.page.panel_open.get_untracked() || self.page.chats_open.get_untracked() {
            self.page.panel_open.set(false);
            self.page.chats_open.set(false);
            self.page.focus_prompt.notify();
        }
    }
}

#[component]
pub fn App() -> impl IntoView {
    let shell = Shell::start();
    let page = shell.page;
    let escape = window_event_listener(ev::keydown, move |event| {
        if event.key() == "Escape" && !keys::is_taken(&event) {
            untrack(|| shell.on_escape());
        }
    });
    on_cleanup(move || escape.remove());
    let main = NodeRef::<html::Main>::new();
    // Chat and text are one part of the page.
    let shown = Memo::new(move |_| match page.tab.get() {
        Tab::Text => Tab::Chat,
        tab => tab,
    });
    let skip = move || {
        if let Some(main) = main.get_untracked() {
            // Fails only for an element that is not in the page.
            main.focus().ok();
        }
    };
    view! {
        <button type="button" class="skip" on:click=on_click(skip)>"Skip to the content"</button>
        <header::Header />
        <chat::ChatList />
        <main node_ref=main tabindex="-1">
            <notice::NoticeBar />
            <models::KeepBar />
            <models::LoadProgress />
            <models::HubQuestion />
            <models::ImportPanel />
            <models::UnfinishedImport />
            {live(move || (match shown.get() {
                Tab::Chat | Tab::Text => view! {
                    <chat::Transcript>
                        <welcome::Welcome />
                    </chat::Transcript>
                    <chat::Composer />
                }.into_any(),
                Tab::Map | Tab::Tune if shell.models.is_served() => view! { <OnServer /> }.into_any(),
                Tab::Map => view! { <ExplorerView /> }.into_any(),
                Tab::Tune => view! { <TunerView /> }.into_any(),
                Tab::Models => view! { <models::ModelsView /> }.into_any(),
            }).into_any())}
        </main>
        <aside id="panel" aria-label="Model and settings" class:open=page.panel_open>
            <models::ModelCard on_files=move |picked| shell.take(picked) />
            <device_picker::DevicePicker />
            <settings_panel::SettingsPanel />
            <models::KeptModelList />
        </aside>
        <chat::UndoBar />
        <chat::Announcer />
        <drop_zone::DropZone />
    }
}

/// In place of what needs the model's weights, which the server does not hand out.
#[component]
fn OnServer() -> impl IntoView {
    let shell = use_shell();
    view! {
        <div class="on-server">
            <p>"This model runs on the server. To look at weights, or to fine-tune, open a model in this browser."</p>
            <button type="button" id="open-here" on:click=on_click(move || shell.show(Tab::Models))>"Choose a model"</button>
        </div>
    }
}

/// What the page's address asks for.
#[derive(Default)]
struct Asked {
    model: Option<String>,
    device: DeviceChoice,
    /// 0 for as many as there are.
    threads: usize,
    problem: Option<String>,
}

/// `?model=URL`, `?device=auto|cpu|gpu` and `?threads=COUNT`.
fn from_address() -> Asked {
    let query = window().location().search().unwrap_or_default();
    let parameter = |name: &str| {
        let parameters = UrlSearchParams::new_with_str(&query).ok()?;
        parameters.get(name).filter(|value| !value.is_empty())
    };
    let mut asked = Asked {
        model: parameter("model"),
        ..Asked::default()
    };
    match parameter("device").unwrap_or_default().as_str() {
        "" => {}
        device => match device.parse() {
            Ok(device) => asked.device = device,
            Err(problem) => asked.problem = Some(problem),
        },
    }
    match parameter("threads").map(|threads| (threads.parse(), threads)) {
        None => {}
        Some((Ok(threads), _)) => asked.threads = threads,
        Some((Err(_), threads)) => {
            asked.problem = Some(format!(
                "`threads={threads}` is not a number of threads; expected something like `threads=2`"
            ));
        }
    }
    asked
}
