//! The top line: what this is, what the prompt does, a fresh start.

use leptos::prelude::*;

use super::use_shell;
use crate::ui::chat::use_chat;
use crate::ui::engine::use_engine;
use crate::ui::page::{Mode, Tab, use_page};
use crate::ui::widgets::erased::{live, on_click};
use crate::ui::widgets::segmented::{Choice, Segmented};

#[component]
pub fn Header() -> impl IntoView {
    let (engine, page) = (use_engine(), use_page());
    let (chat, shell) = (use_chat(), use_shell());
    let chat_possible = move || {
        engine
            .model
            .with(|model| model.as_ref().is_none_or(|model| model.chat))
    };
    let tabs = move || {
        [
            Choice::new(Tab::Chat, "chat", "Chat").enabled_if(chat_possible()),
            Choice::new(Tab::Text, "text", "Write"),
            Choice::new(Tab::Map, "map", "Bit-map"),
            Choice::new(Tab::Tune, "tune", "Fine-tune"),
        ]
    };
    let talking = move || matches!(page.tab.get(), Tab::Chat | Tab::Text);
    let busy = Signal::derive(move || chat.is_replying());
    let model_name = move || {
        let name = engine
            .model
            .with(|model| model.as_ref().map(|model| model.name.clone()));
        name.unwrap_or_else(|| "Models".to_owned())
    };
    view! {
        <header>
            <div class="brand">
                <h1>
                    <Mark />
                    <span>"Ternary-Core"</span>
                </h1>
                <button
                    type="button"
                    id="switcher"
                    aria-current=move || (page.tab.get() == Tab::Models).then_some("page")
                    title="Models"
                    disabled=busy
                    on:click=on_click(move || shell.show(match page.tab.get_untracked() {
                        Tab::Models => Tab::Chat,
                        _ => Tab::Models,
                    }))
                >
                    <span class="unseen">"Models: "</span>
                    <span class="switcher-name">{model_name}</span>
                    <svg class="chevron" viewBox="0 0 12 12" aria-hidden="true"><path d="M2.5 4.5 6 8l3.5-3.5" /></svg>
                </button>
            </div>
            <Segmented
                legend="What to do with the model"
                name="mode"
                choices=tabs
                selected=page.tab
                disabled=busy
                on_select=move |tab| shell.show(tab)
            />
            <div class="actions">
                <button
                    type="button"
                    id="chats-toggle"
                    hidden=Signal::derive(move || page.tab.get() != Tab::Chat)
                    aria-controls="chats"
                    aria-expanded=Signal::derive(move || page.chats_open.get().to_string())
                    on:click=on_click(move || {
                        page.panel_open.set(false);
                        page.chats_open.update(|open| *open = !*open);
                    })
                >
                    {live(move || (if page.chats_open.get() { "Close" } else { "Chats" }).into_any())}
                </button>
                <button
                    type="button"
                    id="new-chat"
                    hidden=Signal::derive(move || !talking())
                    disabled=Signal::derive(move || chat.exchanges().with(Vec::is_empty))
                    on:click=on_click(move || {
                        page.chats_open.set(false);
                        chat.clear();
                    })
                >
                    {live(move || (match page.mode.get() {
                        Mode::Chat => "New chat",
                        Mode::Text => "Clear",
                    }).into_any())}
                </button>
                <button
                    type="button"
                    id="panel-toggle"
                    aria-controls="panel"
                    aria-expanded=Signal::derive(move || page.panel_open.get().to_string())
                    on:click=on_click(move || {
                        page.chats_open.set(false);
                        page.panel_open.update(|open| *open = !*open);
                    })
                >
                    {live(move || (if page.panel_open.get() { "Close" } else { "Model" }).into_any())}
                </button>
            </div>
        </header>
    }
}

/// −, 0, +: the three weights.
#[component]
fn Mark() -> impl IntoView {
    view! {
        <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
            <rect class="mark-ground" width="32" height="32" rx="7" />
            <rect class="mark-minus" x="4.5" y="14.25" width="7" height="3.5" rx="1.75" />
            <circle class="mark-zero" cx="15.4" cy="16" r="2.4" />
            <path class="mark-plus" d="M24.25 12.75v6.5M21 16h6.5" />
        </svg>
    }
}
