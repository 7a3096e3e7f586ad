//! The kept conversations: to open, name, save and delete.

use leptos::{html, prelude::*};

use super::dates;
use super::record::Head;
use super::search::Search;
use super::use_chat;
use crate::ui::page::{Tab, use_page};

use crate::ui::widgets::erased::{When, live, on_click};
use crate::ui::widgets::focus;
use crate::ui::widgets::naming::Naming;
use crate::ui::widgets::picker::Picker;

#[component]
pub fn ChatList() -> impl IntoView {
    let (chat, page) = (use_chat(), use_page());
    let kept = chat.kept;
    let empty = move || kept.heads.with(Vec::is_empty);
    let search = Search::new();
    let listed = Memo::new(move |_| search.heads());
    let unkept = move || {
        kept.unkept
            .with(|all| (!all.is_empty()).then_some(all.len()))
    };
    view! {
        <nav
            id="chats"
            aria-labelledby="chats-title"
            class:open=page.chats_open
            hidden=Signal::derive(move || page.tab.get() != Tab::Chat)
        >
            <h2 id="chats-title">"Conversations"</h2>
            <When when=Signal::derive(empty)>
                <p class="hint">
                    {live(move || (match kept.nowhere.get() {
                        false => "Your conversations stay in this browser.",
                        true => "This browser keeps no conversations for this page: they are gone when it is closed.",
                    }).into_any())}
                </p>
            </When>
            {live(move || (unkept().map(|count| view! {
                <p class="hint problem" id="unkept">
                    {format!("The browser did not keep {count} of these. Export them before you close this tab.")}
                </p>
            })).into_any())}
            <When when=Signal::derive(move || !empty())>
                <input
                    type="search"
                    id="chat-search"
                    aria-label="Search the conversations"
                    placeholder="Search"
                    dir="auto"
                    prop:value=search.query
                    on:input:target=move |event| search.query.set(event.target().value())
                />
            </When>
            <ul class="chats" id="chat-list">
                <For each=move || listed.get() key=|head| (head.id.clone(), head.damaged) let:head>
                    <ChatItem head listed />
                </For>
            </ul>
            <p class="hint" id="chats-found" role="status">
                {move || (listed.with(Vec::is_empty) && !empty()).then_some("No conversation has that.")}
            </p>
            <div class="row">
                <button
                    type="button"
                    id="export-chats"
                    class="quiet"
                    disabled=empty
                    on:click=on_click(move || chat.export_all_chats())
                >
                    "Export all"
                </button>
                <Picker
                    id="import-chats"
                    class="quiet"
                    label="Import"
                    on_files=move |picked| picked.first(|file| chat.import_chat_file(file))
                />
            </div>
        </nav>
    }
}

#[component]
fn ChatItem(head: Head, listed: Memo<Vec<Head>>) -> impl IntoView {
    let (chat, page) = (use_chat(), use_page());
    let naming = RwSignal::new(false);
    let damaged = head.damaged;
    let id = StoredValue::new(head.id);
    let title = Memo::new(move |before: Option<&String>| {
        let title = |heads: &Vec<Head>| {
            let own = heads.iter().find(|head| id.with_value(|id| *id == head.id));
            own.map(|own| own.title.clone())
        };
        let before = before.cloned().unwrap_or_default();
        chat.kept.heads.with(title).unwrap_or(before)
    });
    // Of the first of those that were on such a day.
    let group = Memo::new(move |_| {
        listed.with(|heads| {
            let place = heads
                .iter()
                .position(|head| id.with_value(|id| *id == head.id))?;
            let own = dates::group(&heads[place].updated);
            let before = place.checked_sub(1).and_then(|before| heads.get(before));
            (before.map(|before| dates::group(&before.updated)) != Some(own)).then_some(own)
        })
    });
    let is_open = move || id.with_value(|id| chat.kept.is_open(id));
    let rename = NodeRef::<html::Button>::new();
    let done = move |name: Option<String>| {
        if !naming.get_untracked() {
            return;
        }
        naming.set(false);
        let name = name.map(|name| name.trim().to_owned());
        let changed = |name: &String| !name.is_empty() && *name != title.get_untracked();
        if let Some(name) = name.filter(changed) {
            chat.rename_chat(id.get_value(), name);
        }
        // The button is there again in the next frame.
        request_animation_frame(move || {
            let button = rename.try_get_untracked().flatten();
            if let Some(button) = button.filter(|_| focus::is_lost()) {
                button.focus().ok();
            }
        });
    };
    let open = move |_| {
        page.chats_open.set(false);
        if !untrack(is_open) {
            chat.open_chat(id.get_value());
        }
        page.focus_prompt.notify();
    };
    view! {
        <li class:current=is_open>
            {live(move || group.get().map(|group| view! { <h3 class="group">{group}</h3> }).into_any())}
            <When
                when=Signal::derive(move || naming.get())
                fallback=move || view! {
                    <button
                        type="button"
                        class="chat"
                        dir="auto"
                        disabled=damaged
                        aria-current=move || is_open().then_some("page")
                        title=title
                        on:click=open
                    >
                        {title}
                    </button>
                }
            >
                <Naming label="Name of the conversation" name=title.get_untracked() done />
            </When>
            <When when=Signal::derive(move || (is_open() || damaged) && !naming.get())>
                <span class="chat-buttons">
                    <When when=Signal::derive(move || !damaged)>
                        <button
                            type="button"
                            class="quiet rename"
                            node_ref=rename
                            aria-label=Signal::derive(move || format!("Rename “{}”", title.get()))
                            on:click=on_click(move || naming.set(true))
                        >
                            "Rename"
                        </button>
                        <button
                            type="button"
                            class="quiet export"
                            aria-label=Signal::derive(move || format!("Export “{}”", title.get()))
                            on:click=on_click(move || chat.export_chat())
                        >
                            "Export"
                        </button>
                    </When>
                    <button
                        type="button"
                        class="quiet delete"
                        aria-label=Signal::derive(move || format!("Delete “{}”", title.get()))
                        on:click=on_click(move || chat.delete_chat(id.get_value()))
                    >
                        "Delete"
                    </button>
                </span>
            </When>
        </li>
    }
}
