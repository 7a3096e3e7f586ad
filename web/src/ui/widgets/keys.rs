//! Keys that are pressed in text fields.

use web_sys::KeyboardEvent;

/// What browsers say of a key that an input method takes.
const TAKEN: u32 = 229;

/// Whether an input method takes the key: its Enter chooses a character and is no Enter of the
/// page's. Safari ends the composition before it tells of the key, which then has only its code to
/// show for it.
pub fn is_taken(event: &KeyboardEvent) -> bool {
    event.is_composing() || event.key_code() == TAKEN
}
