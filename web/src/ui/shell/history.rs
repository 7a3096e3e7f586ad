//! Where the reader is, in the page's address: back and forward go there again.

use leptos::{ev, prelude::*};
use wasm_bindgen::JsValue;

use super::Shell;
use crate::ui::page::Tab;

const CHAT: &str = "#chat";
const MAP: &str = "#map";

impl Shell {
    /// Goes where the address says, and keeps both the same from now on.
    pub(super) fn follow_history(self) {
        self.go_to(&address());
        window_event_listener(ev::popstate, move |_| self.go_to(&address()));
        Effect::new(move |_| {
            let place = self.place();
            let moved = self.page.take_moved();
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

    fn place(self) -> String {
        match self.page.tab.get() {
            Tab::Chat => match self.chat.open_id().as_str() {
                "" => CHAT.to_owned(),
                id => format!("{CHAT}/{id}"),
            },
            Tab::Text => "#write".to_owned(),
            Tab::Map => match self.explorer.place() {
                None => MAP.to_owned(),
                Some(place) => format!("{MAP}/{place}"),
            },
            Tab::Tune => "#tune".to_owned(),
            Tab::Models => "#models".to_owned(),
        }
    }

    fn go_to(self, place: &str) {
        let open = self.chat.shown_id();
        match place {
            "#write" => self.show(Tab::Text),
            map if map.starts_with(MAP) => {
                self.show(Tab::Map);
                self.explorer
                    .go_to(map[MAP.len()..].trim_start_matches('/'));
            }
            "#tune" => self.show(Tab::Tune),
            "#models" => self.show(Tab::Models),
            _ => {
                if self.page.tab.get_untracked() != Tab::Chat {
                    self.show(Tab::Chat);
                }
                match place
                    .strip_prefix(CHAT)
                    .and_then(|rest| rest.strip_prefix('/'))
                {
                    Some(id) if id != open => self.chat.open_chat(id.to_owned()),
                    None if !open.is_empty() => self.chat.new_chat(),
                    _ => {}
                }
            }
        }
        // It is where the address is already.
        self.page.set_moved(false);
    }
}

fn address() -> String {
    match window().location().hash().unwrap_or_default() {
        none if none.is_empty() => CHAT.to_owned(),
        hash => hash,
    }
}
