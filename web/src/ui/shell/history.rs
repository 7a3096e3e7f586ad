//! Where the reader is, in the page's address: back and forward go there again.

use leptos::{ev, prelude::*};
use wasm_bindgen::JsValue;

use crate::ui::state::{AppState, Tab};

const CHAT: &str = "#chat";

impl AppState {
    /// Goes where the address says, and keeps both the same from now on.
    pub(crate) fn follow_history(self) {
        self.go_to(&address());
        window_event_listener(ev::popstate, move |_| self.go_to(&address()));
        Effect::new(move |_| {
            let place = self.place();
            let moved = self.moved.get_value();
            self.moved.set_value(false);
            if place == address() {
                return;
            }
            let Ok(history) = window().history() else {
                return;
            };
            // A browser that refuses does without.
            if moved {
                history
                    .push_state_with_url(&JsValue::NULL, "", Some(&place))
                    .ok();
            } else {
                history
                    .replace_state_with_url(&JsValue::NULL, "", Some(&place))
                    .ok();
            }
        });
    }

    pub(crate) fn place(self) -> String {
        match self.tab.get() {
            Tab::Chat => {
                let open = self.chats.record.with(|record| record.id.clone());
                match self.chats.opening.get().unwrap_or(open).as_str() {
                    "" => CHAT.to_owned(),
                    id => format!("{CHAT}/{id}"),
                }
            }
            Tab::Text => "#write".to_owned(),
            Tab::Map => "#map".to_owned(),
            Tab::Tune => "#tune".to_owned(),
        }
    }

    pub(crate) fn go_to(self, place: &str) {
        let open = self.chats.record.with_untracked(|record| record.id.clone());
        match place {
            "#write" => self.show(Tab::Text),
            "#map" => self.show(Tab::Map),
            "#tune" => self.show(Tab::Tune),
            _ => {
                if self.tab.get_untracked() != Tab::Chat {
                    self.show(Tab::Chat);
                }
                match place
                    .strip_prefix(CHAT)
                    .and_then(|rest| rest.strip_prefix('/'))
                {
                    Some(id) if id != open => self.open_chat(id.to_owned()),
                    None if !open.is_empty() => self.new_chat(),
                    _ => {}
                }
            }
        }
        // It is where the address is already.
        self.moved.set_value(false);
    }
}

fn address() -> String {
    match window().location().hash().unwrap_or_default() {
        none if none.is_empty() => CHAT.to_owned(),
        hash => hash,
    }
}
