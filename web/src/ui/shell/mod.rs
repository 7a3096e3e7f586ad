//! The frame of the page: tabs, settings, what is dropped on it, what went wrong.

pub mod device_picker;
pub mod drop_zone;
pub mod header;
pub mod history;
pub mod notice;
pub mod routing;
pub mod settings_panel;
pub mod welcome;
