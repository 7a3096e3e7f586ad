//! Texts to learn from, read as the command line reads them.

use js_sys::Uint8Array;
use ternary::data::{Conversation, Document, PAIRS, read_documents};
use ternary::session::Session;
use ternary::tokenizer::END_OF_TEXT;
use wasm_bindgen_futures::JsFuture;

use super::Responder;
use crate::js::describe;
use crate::protocol::{Handle, Response, TextFile, Texts};

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
            contents(&path, &bytes, end)
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

/// What a file holds; `end` closes the documents of a JSON file.
fn contents(path: &str, bytes: &[u8], end: Option<&str>) -> Result<Contents, String> {
    let (documents, notes) = read_documents(path, bytes).map_err(|p| p.to_string())?;
    let ending = path.rsplit('.').next().unwrap_or_default();
    let closed = ["jsonl", "ndjson", "json"].contains(&ending.to_lowercase().as_str());
    let (mut text, mut conversations) = (String::new(), Vec::new());
    for document in documents {
        match document {
            Document::Text(more) => {
                text += &more;
                text += end.filter(|_| closed).unwrap_or_default();
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
