//! The user interface: one component a file, all of them around one [`AppState`](state::AppState).

mod chat;
mod engine;
mod explorer;
mod models;
mod shell;
mod state;
mod tuner;
mod widgets;

use leptos::{ev, prelude::*};

use crate::ui::widgets::erased::live;
use ternary::session::DeviceChoice;
use web_sys::UrlSearchParams;

use crate::protocol::Source;
use state::{AppState, Tab};

/// Mounts the page and starts the engine's worker.
pub fn start() {
    mount_to_body(App);
}

#[component]
fn App() -> impl IntoView {
    let (source, device, problem) = from_address();
    let state = AppState::start(source, device);
    if let Some(problem) = problem {
        state.fail("This page's address names no known device", problem);
    }
    provide_context(state);
    let escape = window_event_listener(ev::keydown, move |event| {
        if event.key() != "Escape" || widgets::keys::is_taken(&event) {
            return;
        }
        if state.running.with_untracked(Option::is_some) {
            state.stop();
        } else if state.panel_open.get_untracked() || state.chats_open.get_untracked() {
            state.panel_open.set(false);
            state.chats_open.set(false);
            state.focus_prompt.notify();
        }
    });
    on_cleanup(move || escape.remove());
    // Chat and text are one part of the page.
    let shown = Memo::new(move |_| match state.tab.get() {
        Tab::Text => Tab::Chat,
        tab => tab,
    });
    view! {
        <shell::header::Header />
        <chat::chat_list::ChatList />
        <main>
            <shell::notice::NoticeBar />
            <models::load_progress::LoadProgress />
            <models::import_panel::ImportPanel />
            {live(move || (match shown.get() {
                Tab::Chat | Tab::Text => view! {
                    <chat::transcript::Transcript />
                    <chat::composer::Composer />
                }.into_any(),
                Tab::Map => view! { <explorer::Explorer /> }.into_any(),
                Tab::Tune => view! { <tuner::Tuner /> }.into_any(),
            }).into_any())}
        </main>
        <aside id="panel" aria-label="Model and settings" class:open=state.panel_open>
            <models::model_card::ModelCard />
            <models::kept_models::KeptModels />
            <shell::device_picker::DevicePicker />
            <shell::settings_panel::SettingsPanel />
        </aside>
        <chat::undo_bar::UndoBar />
        <chat::announcer::Announcer />
        <shell::drop_zone::DropZone />
    }
}

/// The page's state, for its components.
fn use_app() -> AppState {
    expect_context()
}

/// `?model=URL` and `?device=auto|cpu|gpu`.
fn from_address() -> (Source, DeviceChoice, Option<String>) {
    let query = window().location().search().unwrap_or_default();
    let parameter = |name: &str| {
        let parameters = UrlSearchParams::new_with_str(&query).ok()?;
        parameters.get(name).filter(|value| !value.is_empty())
    };
    let source = parameter("model").map_or(Source::Shipped, Source::Url);
    match parameter("device").unwrap_or_default().as_str() {
        "" => (source, DeviceChoice::Auto, None),
        device => match device.parse() {
            Ok(device) => (source, device, None),
            Err(problem) => (source, DeviceChoice::Auto, Some(problem)),
        },
    }
}
