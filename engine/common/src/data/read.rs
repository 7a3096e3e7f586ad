//! Training data from disk: `.tokens` files, or texts tokenized here.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::EvalText;
use super::conversations::{marked_turns, own_template};
use super::documents::{Conversation, Document, Layout, PAIRS, Pair};
use super::files::{DataFiles, TextFile, data_files};
use super::pieces::{Piece, Pieces};
use super::text::{ending, pieces_of};
use super::{CONTEXT, FIRST, StreamedTexts, TokenData};
use crate::chat::{Message, Tool};
use crate::error::{Error, IoContext, Result};
use crate::tokenizer::{ChatTemplate, END_OF_TEXT, Part, TemplateTools, Tokenizer};
use ternary_core::config::Packing;

/// Pieces encoded at once.
const AT_ONCE: usize = 64;
/// Bytes of text encoded at once, about.
const BYTES_AT_ONCE: u64 = 8 << 20;
/// `.tokens` files up to this size are read through when they are opened: it takes milliseconds.
const VERIFIED: u64 = 64 << 20;

/// What a training reads.
#[derive(Debug)]
pub enum TrainingData {
    /// Ids in memory or mapped.
    Tokens(TokenData),
    /// Texts tokenized while training.
    Texts(StreamedTexts),
}

impl From<TokenData> for TrainingData {
    fn from(data: TokenData) -> Self {
        TrainingData::Tokens(data)
    }
}

impl TrainingData {
    /// Whether it says where documents begin, asked to or by itself.
    pub fn packing(&self) -> Packing {
        match self {
            TrainingData::Tokens(t) => t.packing(),
            TrainingData::Texts(t) => t.packing(),
        }
    }

    /// A number that other data would not have: resuming compares it.
    pub fn checksum(&self) -> u32 {
        match self {
            TrainingData::Tokens(t) => t.checksum(),
            TrainingData::Texts(t) => t.checksum(),
        }
    }
}

/// Ids of a piece of text.
#[derive(Debug)]
pub struct Encoded {
    /// Index of the file.
    pub file: usize,
    /// How the document was written down.
    pub layout: Layout,
    /// A document ends with it.
    pub ends_document: bool,
    /// The document's tokens; [`CONTEXT`] is set in those that nothing is learnt
    /// from.
    pub ids: Vec<u32>,
    /// Bytes of the file they stand for.
    pub bytes: u64,
}

/// What makes ids of texts: a tokenizer, and for conversations a chat template.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// What texts are tokenized with.
    pub tokenizer: Tokenizer,
    /// What conversations are written with; without it they are refused.
    pub template: Option<Arc<ChatTemplate>>,
    /// What it knows of tools.
    knows: TemplateTools,
    /// The tokenizer shows where a text is cut.
    whole: bool,
    /// Of conversations only the assistant's words are learnt.
    assistant_only: bool,
    /// Whether it is marked where documents begin; None = if the data begins with a conversation.
    packing: Option<Packing>,
    /// Preference pairs are encoded, not refused.
    pairs: bool,
}

impl Encoder {
    /// With `template`, or the project's own if the tokenizer has its marks.
    pub fn new(tokenizer: &Tokenizer, template: Option<ChatTemplate>) -> Self {
        let template = template.or_else(|| own_template(tokenizer));
        Encoder {
            knows: template.as_ref().map(TemplateTools::of).unwrap_or_default(),
            template: template.map(Arc::new),
            // A tokenizer that fails says so when it is used.
            whole: Pieces::whole_for(tokenizer).unwrap_or(true),
            tokenizer: tokenizer.clone(),
            assistant_only: false,
            packing: Some(Packing::Whole),
            pairs: false,
        }
    }

    /// For training: what others than the assistant say in conversations, and the marks of turns,
    /// get [`CONTEXT`].
    pub fn assistant_only(self) -> Self {
        Encoder {
            assistant_only: true,
            ..self
        }
    }

    /// For training: with [`Packing::Documents`] what a document begins with gets
    /// [`FIRST`]. That is a conversation's first token, and every `<|endoftext|>`,
    /// with which generating begins where there is no prompt; a text's first token if the tokenizer
    /// has no such mark. Those first tokens get [`CONTEXT`], too: nothing that is
    /// before them tells of them. None is for data that decides: documents are kept apart if the
    /// first of them is a conversation.
    pub fn packed(self, packing: Option<Packing>) -> Self {
        Encoder { packing, ..self }
    }

    /// Encodes preference pairs, too: the chosen conversation, then the rejected one. Each begins
    /// with [`FIRST`], and [`CONTEXT`] is set in all but the answers.
    pub fn with_pairs(self) -> Self {
        Encoder {
            pairs: true,
            ..self
        }
    }

    pub(super) fn packing(&self) -> Option<Packing> {
        self.packing
    }

    /// With the packing that `files` decide if nobody else does.
    pub(super) fn for_files(&self, files: &[TextFile]) -> Result<Self> {
        let packing = match self.packing {
            Some(packing) => packing,
            None => {
                // A file's first value may be none.
                let nothing = |piece: &Result<Piece>| {
                    let piece = piece.as_ref();
                    piece.is_ok_and(|p| p.document == Document::Text(String::new()))
                };
                let mut pieces = Pieces::new(files, false).skip_while(nothing);
                match pieces.next().transpose()? {
                    Some(piece) if matches!(piece.document, Document::Chat(_)) => {
                        Packing::Documents
                    }
                    _ => Packing::Whole,
                }
            }
        };
        Ok(self.clone().packed(Some(packing)))
    }

    /// Tells data apart that is learnt from otherwise.
    pub(super) fn is_assistant_only(&self) -> bool {
        self.assistant_only
    }

    /// The ids of a document, closed by `<|endoftext|>` if it `ends` and the tokenizer has it. In a
    /// conversation, special tokens that somebody typed are letters.
    pub fn encode(&self, document: &Document, ends: bool) -> Result<Vec<u32>> {
        let mut ids = self.unmarked(document, ends)?;
        if self.packing == Some(Packing::Documents) {
            self.mark_documents(&mut ids, matches!(document, Document::Chat(_)), ends);
        }
        Ok(ids)
    }

    /// Both conversations of a pair, the chosen one first; each begins with
    /// [`FIRST`], and [`CONTEXT`] is set in all but the answer.
    fn encode_pair(&self, pair: &Pair) -> Result<Vec<u32>> {
        let (template, prompt) = self.prepared(&pair.prompt, &pair.tools)?;
        let prompt = self.tokenizer.encode_turns(&template, &prompt)?;
        let earlier = prompt.iter().filter(|token| token.assistant).count();
        let mut both = Vec::new();
        for messages in pair.conversations() {
            let (template, messages) = self.prepared(&messages, &pair.tools)?;
            let mut ids = marked_turns(&self.tokenizer, &template, &messages, true)?;
            // What the assistant said before it was asked is the same in both.
            let learnt = ids.iter_mut().filter(|id| **id & CONTEXT == 0);
            learnt.take(earlier).for_each(|id| *id |= CONTEXT);
            if let Some(first) = ids.first_mut() {
                *first |= FIRST | CONTEXT;
            }
            both.extend(ids);
        }
        Ok(both)
    }

    fn mark_documents(&self, ids: &mut [u32], chat: bool, ends: bool) {
        let separator = self.tokenizer.id(END_OF_TEXT);
        // Inside a conversation a template may close every message with it.
        let from = if chat { ids.len().saturating_sub(1) } else { 0 };
        let separators = ids[from..].iter_mut();
        separators
            .filter(|id| Some(**id & !CONTEXT) == separator)
            .for_each(|id| *id |= FIRST);
        if let Some(first) = ids.first_mut()
            && (chat || (ends && separator.is_none()))
        {
            *first |= FIRST | CONTEXT;
        }
    }

    /// The ids without marks of where documents begin.
    fn unmarked(&self, document: &Document, ends: bool) -> Result<Vec<u32>> {
        let mut ids = match document {
            Document::Text(text) if self.whole => self.tokenizer.encode(text)?,
            // In pieces, whose ids are those of the whole: encoding a text takes many times its
            // length.
            Document::Text(text) => {
                let mut ids = Vec::new();
                for piece in pieces_of(text) {
                    ids.extend(self.tokenizer.encode(piece)?);
                }
                ids
            }
            Document::Chat(talk) if self.assistant_only => {
                let (template, messages) = self.prepared(&talk.messages, &talk.tools)?;
                return marked_turns(&self.tokenizer, &template, &messages, ends);
            }
            Document::Chat(talk) => self.tokenizer.encode_parts(&self.conversation(talk)?)?,
            Document::Pair(pair) if self.pairs => return self.encode_pair(pair),
            Document::Pair(_) => return Err(Error::Data(PAIRS.into())),
        };
        ids.extend(self.tokenizer.id(END_OF_TEXT).filter(|_| ends));
        Ok(ids)
    }

    fn template(&self) -> Result<&ChatTemplate> {
        self.template.as_deref().ok_or_else(|| {
            Error::Data(
                "a conversation (\"messages\") needs a chat template: give one with --chat-template, or texts with a \"text\" field".into(),
            )
        })
    }

    /// The template, and the messages as it can take them: where tools are called or offered, both
    /// are written as a chat writes them.
    fn prepared<'a>(
        &'a self,
        messages: &'a [Message],
        tools: &[Tool],
    ) -> Result<(Cow<'a, ChatTemplate>, Cow<'a, [Message]>)> {
        Ok(self.knows.written(self.template()?, tools, messages))
    }

    fn conversation(&self, talk: &Conversation) -> Result<Vec<Part>> {
        let (template, messages) = self.prepared(&talk.messages, &talk.tools)?;
        self.tokenizer
            .conversation_parts(&template, &messages, false)
    }

    /// The text of a document, written out by the template if it is a conversation.
    fn text<'a>(&self, document: &'a Document) -> Result<Cow<'a, str>> {
        Ok(match document {
            Document::Text(text) => text.into(),
            Document::Chat(talk) => {
                let parts = self.conversation(talk)?;
                parts.iter().map(|part| part.text.as_str()).collect()
            }
            Document::Pair(_) => return Err(Error::Data(PAIRS.into())),
        })
    }
}

/// What `path` holds, to be evaluated: texts, conversations as the chat template writes them out,
/// or `.tokens` made with this tokenizer (`tokenizer_crc`, as for [`load`]).
///
/// # Errors
/// As for [`load`].
pub fn evaluation(path: &Path, encoder: &Encoder, tokenizer_crc: u32) -> Result<EvalText> {
    let mut text = EvalText::new(&encoder.tokenizer);
    match data_files(path)? {
        DataFiles::Texts(files) => encode_files(encoder, &files, &mut |piece, document| {
            text.push(&piece.ids, &encoder.text(document)?);
            Ok(())
        })?,
        DataFiles::Tokens(files) => {
            let data = open(&files, tokenizer_crc)?;
            let mut ids = Vec::new();
            data.read(0, data.len(), &mut ids)?;
            text.push(&ids, &encoder.tokenizer.decode(&ids)?);
        }
    }
    Ok(text)
}

/// Encode text files piece by piece, in parallel and in constant memory; `sink` gets the pieces in
/// order, one of each file at least. The ids are those of the whole texts. Documents of JSON files
/// are closed by `<|endoftext|>` if the tokenizer has it. What the files' owner should know is
/// logged.
///
/// # Errors
/// What reading, the tokenizer or `sink` say.
pub fn encode_files(
    encoder: &Encoder,
    files: &[TextFile],
    sink: &mut dyn FnMut(Encoded, &Document) -> Result<()>,
) -> Result<()> {
    use rayon::prelude::*;
    let mut pieces = Pieces::new(files, encoder.whole);
    loop {
        let mut some: Vec<Piece> = Vec::new();
        let mut bytes = 0;
        while some.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(piece) = pieces.next().transpose()? else {
                break;
            };
            bytes += piece.end - piece.offset;
            some.push(piece);
        }
        if some.is_empty() {
            pieces.notes().iter().for_each(|note| log::warn!("{note}"));
            return Ok(());
        }
        let encoded: Vec<Encoded> = some
            .par_iter()
            .map(|p| {
                let name = |e| match e {
                    Error::Data(m) if m == PAIRS => {
                        Error::Data(format!("{}: {m}", files[p.file].name()))
                    }
                    other => other,
                };
                Ok(Encoded {
                    file: p.file,
                    layout: p.layout,
                    ends_document: p.ends_document,
                    ids: encoder.encode(&p.document, p.ends_document).map_err(name)?,
                    bytes: p.end - p.offset,
                })
            })
            .collect::<Result<_>>()?;
        for (ids, piece) in encoded.into_iter().zip(&some) {
            sink(ids, &piece.document)?;
        }
    }
}

/// Training or validation data from `path`: the folder's `.tokens` files if it has any, otherwise
/// its texts tokenized in memory. `tokenizer_crc` is the CRC-32 of the tokenizer.json.
///
/// # Errors
/// Files that cannot be read, are damaged or were made with another tokenizer.
pub fn load(path: &Path, encoder: &Encoder, tokenizer_crc: u32) -> Result<TokenData> {
    let tokens = match data_files(path)? {
        DataFiles::Tokens(tokens) => tokens,
        DataFiles::Texts(files) => {
            let mut ids = Vec::new();
            let encoder = encoder.for_files(&files)?;
            encode_files(&encoder, &files, &mut |piece, _| {
                ids.extend(piece.ids);
                Ok(())
            })?;
            return TokenData::from_marked(&ids, encoder.tokenizer.vocab_size() as u32);
        }
    };
    let data = open(&tokens, tokenizer_crc)?;
    match (encoder.packing, encoder.tokenizer.id(END_OF_TEXT)) {
        (Some(Packing::Documents), Some(separator)) => Ok(data.separated_at(separator)),
        (Some(Packing::Documents), None) => Err(Error::Data(format!(
            "{}: .tokens files hold ids alone, and the tokenizer has no {END_OF_TEXT} to tell where documents begin; keep documents apart in the texts themselves, or pack them whole",
            path.display()
        ))),
        _ => Ok(data),
    }
}

/// A number that other data than that of `path` would not have, before it is tokenized: of what
/// its text files hold, or of the checksums that `.tokens` files carry.
///
/// # Errors
/// As for [`load`].
pub fn files_checksum(path: &Path) -> Result<u32> {
    let files = match data_files(path)? {
        DataFiles::Texts(files) => files,
        DataFiles::Tokens(files) => {
            let paths: Vec<&Path> = files.iter().map(TextFile::path).collect();
            return Ok(TokenData::open(&paths)?.checksum());
        }
    };
    let mut hash = crc32fast::Hasher::new();
    let mut chunk = vec![0; 1 << 20];
    for file in &files {
        // What cannot be read is refused here already.
        file.start()?;
        // Its ending says how it is read.
        hash.update(ending(file.name()).as_bytes());
        hash.update(&file.bytes()?.to_le_bytes());
        let mut opened = File::open(file.path()).at("open", file.path())?;
        loop {
            match opened.read(&mut chunk).at("read", file.path())? {
                0 => break,
                count => hash.update(&chunk[..count]),
            }
        }
    }
    Ok(hash.finalize())
}

/// The `.tokens` files, which must have been made with the tokenizer of this checksum.
fn open(files: &[TextFile], tokenizer_crc: u32) -> Result<TokenData> {
    for file in files {
        let data = TokenData::open(&[file.path()])?;
        let header = data.header();
        if header.tokenizer != tokenizer_crc {
            return Err(Error::Data(format!(
                "{} was made with another tokenizer (checksum {:08x}, yours has {tokenizer_crc:08x}); tokenize again",
                file.name(),
                header.tokenizer
            )));
        }
        if header.count * header.width as u64 <= VERIFIED {
            data.verify()?;
        }
    }
    let paths: Vec<&Path> = files.iter().map(TextFile::path).collect();
    TokenData::open(&paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        std::fs::write(&file, text).unwrap();
        let mut ids = Vec::new();
        let encoder = Encoder::new(tokenizer, None);
        encode_files(&encoder, &[TextFile::new(file)], &mut |e, _| {
            ids.extend(e.ids);
            Ok(())
        })
        .unwrap();
        ids
    }

    #[test]
    fn documents_begin_at_conversations_and_at_marks_between_texts() {
        let tokenizer = Tokenizer::train(std::iter::once("one two three"), 280).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let firsts = |name: &str, text: &str, packing: Option<Packing>| -> Vec<usize> {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            let encoder = Encoder::new(&tokenizer, None).packed(packing);
            let data = load(&file, &encoder, 0).unwrap();
            let mut ids = Vec::new();
            data.read(0, data.len(), &mut ids).unwrap();
            let is_first = |i: &usize| ids[*i] & FIRST != 0;
            (0..ids.len()).filter(is_first).collect()
        };
        let len = |text: &str| tokenizer.encode(text).unwrap().len();
        let (one, two) = (len("one"), len("two two"));
        let separate = Some(Packing::Documents);
        // `<|endoftext|>` is the first token of what comes behind it.
        let plain = "one<|endoftext|>two two<|endoftext|>";
        assert_eq!(firsts("a.txt", plain, separate), [one, one + 1 + two]);
        let texts = "{\"text\": \"one\"}\n{\"text\": \"two two\"}\n";
        assert_eq!(firsts("a.jsonl", texts, separate), [one, one + 1 + two]);
        let chat = "{\"prompt\": \"one\", \"completion\": \"two\"}\n";
        let chats = firsts("b.jsonl", &chat.repeat(3), separate);
        // A conversation's first token, and the mark that closes it.
        assert_eq!(chats.len(), 6);
        assert!(chats[0] == 0 && chats.chunks(2).skip(1).all(|c| chats.contains(&(c[0] - 1))));
        // By itself only what begins with a conversation is kept apart.
        assert_eq!(firsts("c.jsonl", &chat.repeat(3), None), chats);
        let late = format!("\n{{\"text\": null}}\n{}", chat.repeat(3));
        assert_eq!(firsts("f.jsonl", &late, None), chats);
        assert!(firsts("d.jsonl", texts, None).is_empty());
        assert!(firsts("e.jsonl", &chat.repeat(3), Some(Packing::Whole)).is_empty());
    }

    /// Calls of tools are learnt as a chat writes them, whatever the template knows of them.
    #[test]
    fn calls_of_tools_are_learnt_and_weights_heeded() {
        let tokenizer = Tokenizer::train(std::iter::once("weather Bern sunny"), 280).unwrap();
        let turn = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}CALLS<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
        let calls = "{% for c in m.tool_calls %}CALL {{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}";
        let tools = "{% for t in tools %}TOOL {{ t.function.name }}\n{% endfor %}";
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("calls.jsonl");
        let talk = r#"{"tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
            "messages": [{"role": "user", "content": "Bern?"},
            {"role": "assistant", "content": "not this", "weight": 0},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": null, "tool_calls":
            [{"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Bern\"}"}}]},
            {"role": "tool", "tool_call_id": "call00001", "content": "sunny"},
            {"role": "assistant", "content": "It is."}, {"role": "user", "content": "Go."},
            {"role": "assistant", "content": null}]}"#;
        std::fs::write(&file, talk.replace('\n', " ")).unwrap();
        let hermes = "<tool_call>\n{";
        for (template, all, learnt) in [
            (
                format!("{tools}{}", turn.replace("CALLS", calls)),
                "TOOL weather",
                r#"CALL weather {"city": "Bern"}"#,
            ),
            (
                format!("{tools}{}", turn.replace("CALLS", "")),
                "TOOL weather",
                hermes,
            ),
            (turn.replace("CALLS", ""), "You may call functions", hermes),
        ] {
            let template = ChatTemplate::new(&template).unwrap();
            let encoder = Encoder::new(&tokenizer, Some(template)).assistant_only();
            let mut ids = Vec::new();
            encode_files(&encoder, &[TextFile::new(file.clone())], &mut |e, _| {
                ids.extend(e.ids);
                Ok(())
            })
            .unwrap();
            let text = |ids: Vec<u32>| tokenizer.decode(&ids).unwrap();
            let said = text(ids.iter().map(|id| id & !CONTEXT).collect());
            for word in [all, "not this", "sunny", learnt] {
                assert!(said.contains(word), "no {word} in {said}");
            }
            let end = tokenizer.id("<|end|>").unwrap();
            let own: Vec<u32> = ids.into_iter().filter(|id| id & CONTEXT == 0).collect();
            assert_eq!(own.iter().filter(|id| **id == end).count(), 2);
            let own = text(own);
            assert!(own.contains(learnt) && own.ends_with("It is."), "{own}");
            assert!(!own.contains("not this") && !own.contains("sunny"), "{own}");
        }
    }

    #[test]
    fn pieces_have_the_ids_of_the_whole_text() {
        let text = "The cat sat.\n\nThe dog\n\n\n  ran <|endoftext|>\nOne day, \n she saw\r\nit\tthere. é漢\n"
            .repeat(4000);
        let tokenizer = Tokenizer::train(std::iter::once(&text[..4000]), 400).unwrap();
        assert!(!Pieces::whole_for(&tokenizer).unwrap());
        for text in [text, "many words without a line end, ".repeat(50_000)] {
            assert!(ids(&tokenizer, &text) == tokenizer.encode(&text).unwrap());
        }
        // A tokenizer that marks the beginning of a text gets it whole.
        let json = tokenizer.to_json().unwrap();
        let space_first = json.replace("\"add_prefix_space\":false", "\"add_prefix_space\":true");
        assert_ne!(json, space_first);
        let space_first = Tokenizer::from_json(&space_first).unwrap();
        assert!(Pieces::whole_for(&space_first).unwrap());
        let text = "a line\nnext\n".repeat(20_000);
        assert!(ids(&space_first, &text) == space_first.encode(&text).unwrap());
    }
}
