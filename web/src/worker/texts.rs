//! Texts to learn from, read as the command line reads them.

use js_sys::Uint8Array;
use ternary::data::{Document, read_documents};
use ternary::session::{Message, Session};
use ternary::tokenizer::{ChatTemplate, END_OF_TEXT, SPECIAL_TOKENS, Tokenizer};
use wasm_bindgen_futures::JsFuture;

use super::Responder;
use crate::js::describe;
use crate::protocol::{Handle, Response, TextFile, Texts};

/// For models that have its marks and no template of their own.
const TEMPLATE: &str = ternary::tokenizer::CHAT_TEMPLATE;

/// Reads them one after the other. One alone that can't be read is an error; of several it is left
/// out, and told of.
pub async fn read(session: &mut Session, files: Vec<TextFile>, responder: Responder) {
    let alone = files.len() == 1;
    let loaded = session.loaded().ok();
    let tokenizer = loaded.as_ref().and_then(|loaded| loaded.tokenizer.as_ref());
    let own = tokenizer.and_then(own_template);
    let turns = Turns {
        template: loaded
            .as_ref()
            .and_then(|loaded| loaded.template.as_ref())
            .or(own.as_ref()),
        end: tokenizer
            .and_then(|tokenizer| tokenizer.id(END_OF_TEXT))
            .map(|_| END_OF_TEXT),
    };
    let mut texts = Texts::default();
    for TextFile { path, file } in files {
        let read = async {
            let bytes = bytes(&path, &file).await?;
            turns.text(&path, &bytes)
        };
        match read.await {
            Ok((text, notes)) => {
                // Two files are two texts, however the first ends.
                let open = |text: &String| !text.is_empty() && !text.ends_with(['\n', '>']);
                if open(&texts.text) {
                    texts.text.push('\n');
                }
                texts.text += &text;
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

fn own_template(tokenizer: &Tokenizer) -> Option<ChatTemplate> {
    let has_marks = |mark: &&str| tokenizer.id(mark).is_some();
    let all = SPECIAL_TOKENS.iter().all(has_marks);
    all.then(|| ChatTemplate::new(TEMPLATE).ok()).flatten()
}

/// How documents become one text.
struct Turns<'a> {
    template: Option<&'a ChatTemplate>,
    /// What closes a document.
    end: Option<&'static str>,
}

impl Turns<'_> {
    /// The text of a file, and what is odd about it.
    fn text(&self, path: &str, bytes: &[u8]) -> Result<(String, Vec<String>), String> {
        let (documents, notes) = read_documents(path, bytes).map_err(|p| p.to_string())?;
        let ending = path.rsplit('.').next().unwrap_or_default();
        let closed = ["jsonl", "ndjson", "json"].contains(&ending.to_lowercase().as_str());
        let mut text = String::new();
        for document in documents {
            text += &match document {
                Document::Text(text) => text,
                Document::Chat(messages) => self
                    .conversation(&messages)
                    .map_err(|problem| format!("{path}: {problem}"))?,
            };
            text += self.end.filter(|_| closed).unwrap_or_default();
        }
        if text.trim().is_empty() {
            return Err(format!("{path}: there is no text in it"));
        }
        Ok((text, notes))
    }

    fn conversation(&self, messages: &[Message]) -> Result<String, String> {
        let template = self.template.ok_or(
            "it holds conversations (\"messages\"), and the loaded model has no chat template for them: load one that has",
        )?;
        let parts = template.conversation(messages);
        let parts = parts.map_err(|problem| problem.to_string())?;
        Ok(parts.into_iter().map(|part| part.text).collect())
    }
}
