//! Where the keyboard goes when what it was at is gone.

use leptos::{html, prelude::*};

/// Whether the keyboard is nowhere.
pub fn is_lost() -> bool {
    document()
        .active_element()
        .is_none_or(|element| element.tag_name() == "BODY")
}

/// Once `button` is drawn it gets the keyboard, if that was at something which went; not if it is
/// somewhere else by now.
pub fn catch(button: NodeRef<html::Button>) {
    button.on_load(|button| {
        request_animation_frame(move || {
            if is_lost() {
                button.focus().ok();
            }
        });
    });
}
