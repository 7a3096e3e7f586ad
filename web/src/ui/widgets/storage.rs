//! The browser's storage of small texts.

use web_sys::Storage;

/// None where the browser keeps nothing for this page.
pub fn storage() -> Option<Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}
