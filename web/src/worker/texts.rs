//! Texts to learn from, read as the command line reads them.

use std::fmt::Display;

use js_sys::Uint8Array;
use ternary::data::{Conversation, Document, PAIRS, read_documents, read_lines};
use ternary::format::FileKind;
use ternary::session::Session;
use ternary::tokenizer::END_OF_TEXT;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::{Responder, part};
use crate::js::describe;
use crate::protocol::{Handle, LARGEST_TEXT, Response, TextFile, Texts};

#[wasm_bindgen]
extern "C" {
    /// `web/parquet`.
    type Program;
    #[wasm_bindgen(method, catch)]
    fn lines(this: &Program, name: &str, file: Vec<u8>, most: f64) -> Result<Vec<u8>, JsValue>;
}

/// Reads them one after the other. One alone that can't be read is an error; of several it is left
/// out, and told of.
pub async fn read(session: &mut Session, files: Vec<TextFile>, responder: Responder) {
    let alone = files.len() == 1;
    let loaded = session.loaded().ok();
    let tokenizer = loaded.as_ref().and_then(|loaded| loaded.tokenizer.as_ref());
    let end = tokenizer
        .and_then(|tokenizer| tokenizer.id(END_OF_TEXT))
        .map(|_| END_OF_TEXT);
    let mut texts = Texts::default();
    for TextFile { path, file } in files {
        let read = async {
            let bytes = bytes(&path, &file).await?;
            match FileKind::of(&bytes) == FileKind::Parquet {
                true => {
                    let lines = rows(&path, bytes).await?;
                    contents(&path, read_lines(&path, &lines), end)
                }
                false => {
                    let ending = path.rsplit('.').next().unwrap_or_default().to_lowercase();
                    let closed = ["jsonl", "ndjson", "json"].contains(&ending.as_str());
                    let end = end.filter(|_| closed);
                    contents(&path, read_documents(&path, &bytes), end)
                }
            }
        };
        match read.await {
            Ok(Contents {
                text,
                conversations,
                notes,
            }) => {
                // Two files are two texts, however the first ends.
                let open = |text: &String| !text.is_empty() && !text.ends_with(['\n', '>']);
                if open(&texts.text) {
                    texts.text.push('\n');
                }
                texts.text += &text;
                texts.conversations.extend(conversations);
                texts.taken.push(path);
                texts.notes.extend(notes);
            }
            Err(problem) if alone => return responder.error(problem),
            Err(problem) => texts.left_out.push(problem),
        }
    }
    responder.send(Response::Texts(texts));
}

async fn bytes(path: &str, Handle(file): &Handle) -> Result<Vec<u8>, String> {
    let buffer = JsFuture::from(file.array_buffer()).await;
    let buffer = buffer.map_err(|thrown| format!("{path}: {}", describe(thrown)))?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

/// What a file holds to learn from.
struct Contents {
    /// Its texts, one after the other.
    text: String,
    conversations: Vec<Conversation>,
    /// What is odd about it.
    notes: Vec<String>,
}

/// The rows of a Parquet file as JSON lines.
async fn rows(path: &str, file: Vec<u8>) -> Result<Vec<u8>, String> {
    let program = part("parquet").await.map_err(|thrown| {
        format!(
            "{path}: what reads Parquet could not be fetched: {}",
            describe(thrown)
        )
    })?;
    let program = program.unchecked_into::<Program>();
    program.lines(path, file, LARGEST_TEXT).map_err(|thrown| {
        let said = thrown.as_string();
        // On some files the program fails.
        said.unwrap_or_else(|| {
            format!("{path} cannot be read as Parquet: it is damaged. Download it again, or write it anew")
        })
    })
}

/// What a file holds that is read; `end` closes its documents.
fn contents(
    path: &str,
    read: Result<(Vec<Document>, Vec<String>), impl Display>,
    end: Option<&str>,
) -> Result<Contents, String> {
    let (documents, notes) = read.map_err(|p| p.to_string())?;
    let (mut text, mut conversations) = (String::new(), Vec::new());
    for document in documents {
        match document {
            Document::Text(more) => {
                text += &more;
                text += end.unwrap_or_default();
            }
            Document::Chat(talk) => conversations.push(talk),
            Document::Pair(_) => return Err(format!("{path}: {PAIRS}")),
        }
    }
    if text.trim().is_empty() && conversations.is_empty() {
        return Err(format!("{path}: there is no text in it"));
    }
    Ok(Contents {
        text,
        conversations,
        notes,
    })
}
