//! Texts to learn from, read as the command line reads them.

use js_sys::Uint8Array;
use ternary_core::session::Session;
use wasm_bindgen_futures::JsFuture;

use super::{error, post};
use crate::js::describe;
use crate::protocol::{Handle, Report, TextFile, Texts};

/// Reads them one after the other. One alone that can't be read is an error; of several it is left out, and told of.
pub async fn read(session: &mut Session, files: Vec<TextFile>) {
    let alone = files.len() == 1;
    let mut texts = Texts::default();
    for TextFile { path, file } in files {
        match one(session, &path, &file, &mut texts.notes).await {
            Ok(text) => {
                // A file that does not end its last line is a text of its own all the same.
                if !texts.text.is_empty() && !texts.text.ends_with('\n') {
                    texts.text.push('\n');
                }
                texts.text += &text;
                texts.taken.push(path);
            }
            Err(problem) if alone => return error(problem),
            Err(problem) => texts.left_out.push(problem),
        }
    }
    post(&Report::Texts(texts));
}

async fn one(
    _session: &mut Session,
    path: &str,
    Handle(file): &Handle,
    _notes: &mut Vec<String>,
) -> Result<String, String> {
    let buffer = JsFuture::from(file.array_buffer()).await;
    let bytes = Uint8Array::new(&buffer.map_err(|thrown| format!("{path}: {}", describe(thrown)))?)
        .to_vec();
    String::from_utf8(bytes).map_err(|_| format!("{path}: it is no text"))
}
