//! Conversations with the model, and where the browser keeps them.

pub mod announcer;
pub mod chat_list;
pub mod composer;
pub mod conversation;
pub mod database;
pub mod kept_chats;
pub mod message;
pub mod pending_writes;
pub mod reader;
pub mod record;
pub mod rendered;
pub mod settings;
pub mod transcript;
pub mod undo_bar;
