//! Models: loading one, those that the browser keeps, importing published ones.

pub mod bit_map;
pub mod import;
pub mod import_panel;
pub mod kept;
pub mod kept_models;
pub mod load_progress;
pub mod loading;
pub mod model_card;
pub mod open_file;
