//! Texts read piece by piece, however large they are.
//!
//! A piece of a `.txt`, `.md` or `.text` file ends where no token can lie across the cut; a piece of a `.jsonl` file is the `text` of
//! one line. Pieces are functions of the bytes from their first one on, so reading can begin again at any piece's offset.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, IoContext, Result};
use crate::tokenizer::Tokenizer;

/// Bytes of a piece, if the text has a good place to cut there.
const PIECE: usize = 1 << 16;
/// The longest piece: a text without a line end or a single space is cut here all the same.
const LONGEST: usize = 1 << 20;

/// Extensions of text files.
const TEXTS: [&str; 4] = ["txt", "md", "text", "jsonl"];

/// The files of `path` (itself, or everything inside a folder and its folders) with one of `extensions`, sorted. Names that begin
/// with a dot are left out.
pub(super) fn files(path: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    if !std::fs::metadata(path).at("open", path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).at("read the folder", &folder)? {
            let entry = entry.at("read the folder", &folder)?;
            let p = entry.path();
            let extension = p.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // The entry's own type: links to folders are not followed, so a circle of them cannot trap us.
            if entry.file_type().at("read", &p)?.is_dir() {
                folders.push(p);
            } else if extensions.contains(&extension) && p.is_file() {
                found.push(p);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Text files of a folder and its folders (`.txt`, `.md`, `.text`, `.jsonl`), or the one file.
///
/// # Errors
/// A path that cannot be read, or a folder without text files.
pub fn text_files(path: &Path) -> Result<Vec<PathBuf>> {
    let found = files(path, &TEXTS)?;
    if found.is_empty() {
        return Err(Error::Data(format!(
            "{} has no text files; expected .txt, .md, .text or .jsonl",
            path.display()
        )));
    }
    Ok(found)
}

/// A piece of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub text: String,
    /// A document ends with it (a line of a `.jsonl` file).
    pub ends_document: bool,
    /// Index of its file.
    pub file: usize,
    /// Where its bytes begin and end in the file.
    pub offset: u64,
    pub end: u64,
}

/// The pieces of text files, in order; each file gives one at least.
#[derive(Debug)]
pub struct Pieces {
    files: Vec<PathBuf>,
    file: usize,
    offset: u64,
    open: Option<Open>,
    whole: bool,
}

#[derive(Debug)]
struct Open {
    reader: BufReader<File>,
    lines: bool,
    /// Read, but not yet part of a piece.
    ahead: Vec<u8>,
    line: usize,
}

/// A line of a `.jsonl` file; its other fields do not matter.
#[derive(Deserialize)]
struct Line {
    text: String,
}

impl Pieces {
    /// All pieces of `files`. A tokenizer that shows where a text was cut (see [`Pieces::whole_for`]) wants them `whole`.
    pub fn new(files: &[PathBuf], whole: bool) -> Self {
        Self::starting_at(files, whole, 0, 0)
    }

    /// From the piece that begins at byte `offset` of file number `file`.
    pub(super) fn starting_at(files: &[PathBuf], whole: bool, file: usize, offset: u64) -> Self {
        Pieces {
            files: files.to_vec(),
            file,
            offset,
            open: None,
            whole,
        }
    }

    /// File and byte at which the next piece begins.
    pub(super) fn position(&self) -> (usize, u64) {
        (self.file, self.offset)
    }

    /// Whether `tokenizer` gives a text other ids than its pieces, because it treats the beginning of a text in a special way (a
    /// space in front of the first word, say): then a file must be read whole.
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
        while let Some(path) = self.files.get(self.file).cloned() {
            let first = self.open.is_none() && self.offset == 0;
            if self.open.is_none() {
                let mut file = File::open(&path).at("open", &path)?;
                file.seek(SeekFrom::Start(self.offset)).at("read", &path)?;
                self.open = Some(Open {
                    reader: BufReader::with_capacity(PIECE, file),
                    lines: path.extension().is_some_and(|e| e == "jsonl"),
                    ahead: Vec::new(),
                    line: 0,
                });
            }
            let Some(open) = &mut self.open else { continue };
            let longest = if self.whole { usize::MAX } else { LONGEST };
            let (text, bytes) = if open.lines {
                open.document(&path, self.offset)?
            } else {
                open.text(&path, self.offset, longest)?
            };
            let piece = Piece {
                ends_document: open.lines && text.is_some(),
                text: text.unwrap_or_default(),
                file: self.file,
                offset: self.offset,
                end: self.offset + bytes as u64,
            };
            self.offset = piece.end;
            if bytes == 0 {
                (self.file, self.offset, self.open) = (self.file + 1, 0, None);
            }
            // An empty file is told of, the end of another is not; a blank line only moves on.
            if first || piece.ends_document || !piece.text.is_empty() {
                return Ok(Some(piece));
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

impl Open {
    /// The next document of a `.jsonl` file and the bytes it took; 0 at the end, no text for a blank line.
    fn document(&mut self, path: &Path, offset: u64) -> Result<(Option<String>, usize)> {
        let mut line = Vec::new();
        let bytes = self.reader.read_until(b'\n', &mut line).at("read", path)?;
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok((None, bytes));
        }
        let parsed: Line = serde_json::from_slice(&line).map_err(|e| {
            Error::Data(format!(
                "{}: the line at byte {offset}: {e}; expected an object with a \"text\" field on every line",
                path.display()
            ))
        })?;
        Ok((Some(parsed.text), bytes))
    }

    /// Have at least `want` bytes ahead, or all there are; says whether the file has ended.
    fn read_ahead(&mut self, want: usize, path: &Path) -> Result<bool> {
        let missing = want.saturating_sub(self.ahead.len());
        let got = self
            .reader
            .by_ref()
            .take(missing as u64)
            .read_to_end(&mut self.ahead)
            .at("read", path)?;
        Ok(got < missing)
    }

    /// The next piece of a plain text and its bytes; 0 at the end.
    fn text(
        &mut self,
        path: &Path,
        offset: u64,
        longest: usize,
    ) -> Result<(Option<String>, usize)> {
        for want in [2 * PIECE, longest] {
            let ended = self.read_ahead(want, path)?;
            let window = &self.ahead[..want.min(self.ahead.len())];
            let text = match std::str::from_utf8(window) {
                Ok(text) => text,
                // Half a character at the end of the window.
                Err(e)
                    if e.error_len().is_none() && !(ended && window.len() == self.ahead.len()) =>
                {
                    std::str::from_utf8(&window[..e.valid_up_to()]).unwrap_or_default()
                }
                Err(e) => {
                    return Err(Error::Data(format!(
                        "{} is not UTF-8 text (byte {}); convert it first, e.g. with iconv",
                        path.display(),
                        offset + e.valid_up_to() as u64
                    )));
                }
            };
            let all = ended && window.len() == self.ahead.len();
            let cut = if longest == usize::MAX {
                None
            } else if all && text.len() <= PIECE {
                Some(text.len())
            } else {
                cut(text, '\n', 1)
            };
            let cut = match cut {
                Some(cut) => cut,
                None if all => text.len(),
                None if want == longest => cut_anywhere(text),
                None => continue,
            };
            let piece = text[..cut].to_owned();
            self.ahead.drain(..cut);
            return Ok((Some(piece), cut));
        }
        Ok((None, 0))
    }
}

/// The first place after [`PIECE`] bytes where `separator` stands between visible characters, `keep` bytes of it before the cut. The
/// pre-tokenisers of the GPT-2 family never join across a line end there, nor a word to the space after it, while a run of several
/// white-space characters is parted differently at the end of a text than inside it.
fn cut(text: &str, separator: char, keep: usize) -> Option<usize> {
    let visible = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let at = text.ceil_char_boundary(PIECE.min(text.len()));
    text[at..]
        .match_indices(separator)
        .map(|(i, _)| at + i)
        .find(|i| visible(text[..*i].chars().next_back()) && visible(text[i + 1..].chars().next()))
        .map(|i| i + keep)
}

/// Where to cut a text without line ends.
fn cut_anywhere(text: &str) -> usize {
    cut(text, ' ', 0).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn texts(files: &[PathBuf]) -> Vec<Piece> {
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
            assert!(
                pieces
                    .iter()
                    .all(|p| p.text.len() <= LONGEST && p.end - p.offset == p.text.len() as u64)
            );
            assert_eq!(
                pieces.iter().map(|p| p.text.as_str()).collect::<String>(),
                **text
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
            .map(|p| (p.file, p.text, p.ends_document))
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
            e.contains("bad.jsonl") && e.contains("byte 14") && e.contains("`text`"),
            "{e}"
        );
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
