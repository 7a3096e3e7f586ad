//! The way back after something was changed or deleted.

use leptos::{html, prelude::*};

use super::use_chat;
use crate::ui::page::use_page;
use crate::ui::widgets::erased::{live, on_click};
use crate::ui::widgets::focus;

#[component]
pub fn UndoBar() -> impl IntoView {
    let chat = use_chat();
    // The region exists from the start: screen readers announce what is put into it.
    view! {
        <div role="status" class="undo-region">
            {live(move || (chat.kept.undo.get().map(|offer| view! { <Offer told=offer.told /> })).into_any())}
        </div>
    }
}

#[component]
fn Offer(told: String) -> impl IntoView {
    let (chat, page) = (use_chat(), use_page());
    let button = NodeRef::<html::Button>::new();
    // A keyboard whose button went with what was deleted goes where it can be had back.
    focus::catch(button);
    let dismiss = move || {
        chat.kept.undo.set(None);
        page.focus_prompt.notify();
    };
    view! {
        <div class="undo">
            <span>{told}</span>
            <button type="button" id="undo" node_ref=button on:click=on_click(move || chat.undo())>"Undo"</button>
            <button type="button" class="quiet" id="no-undo" on:click=on_click(dismiss)>"Dismiss"</button>
        </div>
    }
}
