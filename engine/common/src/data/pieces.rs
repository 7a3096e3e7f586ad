//! Texts read piece by piece, however large they are.
//!
//! A piece of a plain text ends where no token can lie across the cut; a piece of JSON lines or of
//! a JSON array is a document. Pieces are functions of the bytes from their first one on, so
//! reading can begin again at any piece's offset.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use super::documents::{Document, Layout};
use super::files::TextFile;
use super::text::{PIECE, Start, TextReader};
use crate::error::IoContext;
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// The longest piece of a plain text: one without a line end or a single space is cut here all the
/// same.
const LONGEST: usize = 1 << 20;

/// A piece of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// What the piece is tokenized from.
    pub document: Document,
    /// How it was written down.
    pub layout: Layout,
    /// A document ends with it.
    pub ends_document: bool,
    /// Index of its file.
    pub file: usize,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// Where they end.
    pub end: u64,
}

/// The pieces of text files, in order; each file gives one at least.
#[derive(Debug)]
pub struct Pieces {
    files: Vec<TextFile>,
    file: usize,
    offset: u64,
    open: Option<TextReader<File>>,
    whole: bool,
    notes: Vec<String>,
}

impl Pieces {
    /// All pieces of `files`. A tokenizer that shows where a text was cut (see
    /// [`Pieces::whole_for`]) wants them `whole`.
    pub fn new(files: &[TextFile], whole: bool) -> Self {
        Self::starting_at(files, whole, 0, 0)
    }

    /// From the piece that begins at byte `offset` of file number `file`.
    pub(super) fn starting_at(files: &[TextFile], whole: bool, file: usize, offset: u64) -> Self {
        Pieces {
            files: files.to_vec(),
            file,
            offset,
            open: None,
            whole,
            notes: Vec::new(),
        }
    }

    /// File and byte at which the next piece begins.
    pub(super) fn position(&self) -> (usize, u64) {
        (self.file, self.offset)
    }

    /// What the owner of the files that have been read to their end should know of them.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether `tokenizer` gives a text other ids than its pieces, because it treats the beginning
    /// of a text in a special way (a space in front of the first word, say): then a file must be
    /// read whole.
    pub fn whole_for(tokenizer: &Tokenizer) -> Result<bool> {
        for (head, tail) in [
            ("a line\n", "The next"),
            ("one,\n", "two"),
            ("1\n", "<2>"),
            ("words", " and words"),
        ] {
            let whole = tokenizer.encode(&format!("{head}{tail}"))?;
            if whole != [tokenizer.encode(head)?, tokenizer.encode(tail)?].concat() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next_piece(&mut self) -> Result<Option<Piece>> {
        while let Some(file) = self.files.get(self.file) {
            let first = self.open.is_none() && self.offset == 0;
            let reader = match &mut self.open {
                Some(reader) => reader,
                none => none.insert(open(file, self.offset)?),
            };
            let longest = if self.whole { usize::MAX } else { LONGEST };
            let found = reader.next_piece(longest)?;
            let bytes = found.as_ref().map_or(0, |piece| piece.bytes);
            let (file, offset) = (self.file, self.offset);
            self.offset += bytes;
            if found.is_none() {
                self.notes.extend(reader.notes());
                (self.file, self.offset, self.open) = (self.file + 1, 0, None);
            }
            let ends_document = found.as_ref().is_some_and(|piece| piece.ends);
            let layout = found.as_ref().map_or(Layout::Plain, |piece| piece.layout);
            let document = found.and_then(|piece| piece.document);
            // An empty file is told of, the end of another is not; a blank line only moves on.
            if first || document.is_some() {
                return Ok(Some(Piece {
                    document: document.unwrap_or_else(|| Document::Text(String::new())),
                    layout,
                    ends_document,
                    file,
                    offset,
                    end: offset + bytes,
                }));
            }
        }
        Ok(None)
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        let piece = self.next_piece();
        if piece.is_err() {
            // Nothing can be said of what comes after.
            self.file = self.files.len();
        }
        piece.transpose()
    }
}

/// A reader of `file` from byte `offset` on.
fn open(file: &TextFile, offset: u64) -> Result<TextReader<File>> {
    let start = file.start()?;
    let path = file.path();
    let mut opened = File::open(path).at("open", path)?;
    let lines = match offset {
        0 => 0,
        _ => line_ends(&opened, offset, &start).at("read", path)?,
    };
    let from = offset.max(start.mark as u64);
    opened.seek(SeekFrom::Start(from)).at("read", path)?;
    Ok(TextReader::new(opened, file.name(), start, offset, lines))
}

/// Line ends before byte `offset`: messages count lines from the file's beginning.
fn line_ends(file: &File, offset: u64, start: &Start) -> std::io::Result<u64> {
    let mut reader = BufReader::with_capacity(PIECE, file).take(offset);
    let unit = start.encoding.unit();
    let mut lines = 0;
    loop {
        let bytes = reader.fill_buf()?;
        let whole = bytes.len() - bytes.len() % unit;
        if whole == 0 {
            return Ok(lines);
        }
        lines += bytes[..whole]
            .chunks_exact(unit)
            .filter(|c| start.encoding.is_line_end(c))
            .count() as u64;
        reader.consume(whole);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::text_files;
    use super::*;

    fn write(dir: &Path, name: &str, bytes: &[u8]) -> TextFile {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        TextFile::new(path)
    }

    fn texts(files: &[TextFile]) -> Vec<Piece> {
        Pieces::new(files, false).collect::<Result<_>>().unwrap()
    }

    #[test]
    fn pieces_are_the_text_and_begin_anywhere_again() {
        let dir = tempfile::tempdir().unwrap();
        let lines = "The cat sat.\n\nThe dog\n\n\n  ran <|endoftext|>\nOne day, \n she saw\r\nit\tthere. é漢\n".repeat(4000);
        let words = "wörd ".repeat(500_000);
        let blob = "漢".repeat(500_000);
        for text in [&lines, &words, &blob] {
            let file = [write(dir.path(), "a.txt", text.as_bytes())];
            let pieces = texts(&file);
            assert!(pieces.len() > 1);
            assert!(pieces.iter().all(|p| p.document.plain().len() <= LONGEST
                && p.end - p.offset == p.document.plain().len() as u64));
            assert_eq!(
                pieces
                    .iter()
                    .map(|p| p.document.plain())
                    .collect::<String>(),
                *text
            );
            for (i, p) in pieces.iter().enumerate() {
                let again: Vec<Piece> = Pieces::starting_at(&file, false, 0, p.offset)
                    .take(2)
                    .map(Result::unwrap)
                    .collect();
                assert!(again == pieces[i..(i + 2).min(pieces.len())]);
            }
            // A tokenizer that shows cuts gets the file in one piece.
            assert_eq!(Pieces::new(&file, true).count(), 1);
        }
    }

    #[test]
    fn jsonl_lines_are_documents_and_every_file_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("deep/er")).unwrap();
        std::fs::create_dir_all(dir.path().join(".git")).unwrap();
        write(dir.path(), ".git/no.txt", b"no");
        write(dir.path(), "deep/no.bin", b"no");
        write(
            dir.path(),
            "a.jsonl",
            b"{\"text\": \"one\\n\", \"id\": 1}\n\n{\"text\":\"\"}\r\n{\"text\":\"two\"}",
        );
        write(dir.path(), "deep/empty.txt", b"");
        write(dir.path(), "deep/er/b.md", b"three");
        let files = text_files(dir.path()).unwrap();
        let found: Vec<_> = texts(&files)
            .into_iter()
            .map(|p| (p.file, p.document.plain(), p.ends_document))
            .collect();
        let doc = |text: &str| (0, text.to_owned(), true);
        assert_eq!(
            found,
            [
                doc("one\n"),
                doc(""),
                doc("two"),
                (1, String::new(), false),
                (2, "three".into(), false)
            ]
        );
        let bad = write(
            dir.path(),
            "bad.jsonl",
            b"{\"text\": \"x\"}\n{\"txt\": 1}\n",
        );
        let e = Pieces::new(&[bad], false)
            .nth(1)
            .unwrap()
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("bad.jsonl") && e.contains("line 2") && e.contains("\"text\""),
            "{e}"
        );
    }

    #[test]
    fn marked_texts_begin_anywhere_again_and_count_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let text = "Grüße aus Köln 🦀\r\nnächste Zeile\n".repeat(6000);
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        let mut bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
        let file = [write(dir.path(), "a.txt", &bytes)];
        let pieces = texts(&file);
        assert!(pieces.len() > 2);
        let all: String = pieces.iter().map(|p| p.document.plain()).collect();
        assert_eq!(all, text);
        for (i, p) in pieces.iter().enumerate() {
            let again = Pieces::starting_at(&file, false, 0, p.offset)
                .next()
                .unwrap();
            assert_eq!(&again.unwrap(), &pieces[i]);
        }
        // Half a pair at the very end, met after beginning in the middle.
        bytes.extend([0x3d, 0xd8, b'x', 0]);
        let file = [write(dir.path(), "b.txt", &bytes)];
        let last = pieces.last().unwrap().offset;
        let e = Pieces::starting_at(&file, false, 0, last)
            .find_map(Result::err)
            .unwrap();
        assert!(e.to_string().contains("line 12001"), "{e}");
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = "line é\n".repeat(40_000).into_bytes();
        bytes[250_003] = 0xff;
        for (bytes, at) in [(bytes, "byte 250003"), (b"caf\xc3".to_vec(), "byte 3")] {
            let file = write(dir.path(), "x.txt", &bytes);
            let e = Pieces::new(&[file], false)
                .find_map(Result::err)
                .unwrap()
                .to_string();
            assert!(e.contains("x.txt") && e.contains(at), "{e}");
        }
    }
}
