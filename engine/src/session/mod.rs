//! The only door for the page and the command line.

mod protocol;

pub use protocol::{Command, DeviceChoice, Event, FinishReason, Message, ModelInfo, Stats};
