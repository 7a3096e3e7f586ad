//! Texts as people have them, read from any reader: UTF-8, or UTF-16 and UTF-32 by their byte order
//! mark; plain, JSON lines, or JSON values one after another (an array, say). What is no text is
//! refused with its name, the line and what to do; U+FFFD never takes the place of anything without
//! a word.

use std::io::{ErrorKind, Read};

use super::documents::{self, Document, Layout};
use super::listed;
use crate::error::{Error, Result};
use ternary_core::kind::{FileKind, found};

/// Bytes read at once.
const CHUNK: usize = 1 << 16;
/// The longest JSON value that is taken for a document.
const LONGEST_VALUE: usize = 1 << 28;
/// Bytes that are looked at to tell an encoding and a shape.
pub(super) const HEAD: usize = 4096;
/// A text no longer than this that begins like a hub's error is one.
const SHORT: usize = 200;

/// Ending of texts in columns, which are read as JSON lines.
pub(super) const PARQUET: &str = "parquet";
/// Endings of tables, which are no texts to learn from.
pub(super) const TABLES: [&str; 2] = ["csv", "tsv"];

/// How characters are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16 { big: bool },
    Utf32 { big: bool },
}

impl Encoding {
    /// The encoding of a text that begins with `head`, and the length of its byte order mark.
    fn of(head: &[u8]) -> (Encoding, usize) {
        match head {
            [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
            [0xff, 0xfe, 0, 0, ..] => (Encoding::Utf32 { big: false }, 4),
            [0, 0, 0xfe, 0xff, ..] => (Encoding::Utf32 { big: true }, 4),
            [0xff, 0xfe, ..] => (Encoding::Utf16 { big: false }, 2),
            [0xfe, 0xff, ..] => (Encoding::Utf16 { big: true }, 2),
            _ => (Encoding::Utf8, 0),
        }
    }

    /// Bytes of a unit.
    #[cfg(feature = "native")]
    pub(super) fn unit(self) -> usize {
        match self {
            Encoding::Utf8 => 1,
            Encoding::Utf16 { .. } => 2,
            Encoding::Utf32 { .. } => 4,
        }
    }

    /// Whether a unit ends a line.
    #[cfg(feature = "native")]
    pub(super) fn is_line_end(self, unit: &[u8]) -> bool {
        let (end, zeros) = match self {
            Encoding::Utf16 { big: true } | Encoding::Utf32 { big: true } => {
                (unit.last(), &unit[..unit.len() - 1])
            }
            _ => (unit.first(), &unit[1..]),
        };
        end == Some(&b'\n') && zeros.iter().all(|b| *b == 0)
    }

    /// Bytes of a text in this encoding.
    fn bytes_of(self, text: &str) -> u64 {
        let units = match self {
            Encoding::Utf8 => text.len(),
            Encoding::Utf16 { .. } => 2 * text.encode_utf16().count(),
            Encoding::Utf32 { .. } => 4 * text.chars().count(),
        };
        units as u64
    }

    /// Decode as much of `raw` as is whole; what is left stays in it.
    ///
    /// # Errors
    /// Bytes that are no character, once `out` has everything before them.
    fn decode(self, raw: &mut Vec<u8>, ended: bool, out: &mut String) -> Result<(), &'static str> {
        let (used, bad) = match self {
            Encoding::Utf8 => match std::str::from_utf8(raw) {
                Ok(text) => {
                    out.push_str(text);
                    (raw.len(), false)
                }
                Err(e) => {
                    let valid = e.valid_up_to();
                    out.push_str(std::str::from_utf8(&raw[..valid]).unwrap_or_default());
                    // Half a character may be made whole by what comes next.
                    (valid, e.error_len().is_some() || ended)
                }
            },
            Encoding::Utf16 { big } => {
                let unit = |b: &[u8; 2]| match big {
                    true => u16::from_be_bytes(*b),
                    false => u16::from_le_bytes(*b),
                };
                let (units, rest) = raw.as_chunks::<2>();
                let (mut used, mut bad) = (0, ended && !rest.is_empty());
                let mut i = 0;
                while i < units.len() {
                    let first = unit(&units[i]);
                    let pair = match first {
                        0xd800..0xdc00 if i + 1 == units.len() && !ended => break,
                        0xd800..0xdc00 => units.get(i + 1).map(|b| [first, unit(b)]),
                        _ => None,
                    };
                    let found = match &pair {
                        Some(pair) => char::decode_utf16(*pair).next(),
                        None => char::decode_utf16([first]).next(),
                    };
                    let Some(Ok(c)) = found else {
                        bad = true;
                        break;
                    };
                    out.push(c);
                    i += c.len_utf16();
                    used = 2 * i;
                }
                (used, bad)
            }
            Encoding::Utf32 { big } => {
                let (units, rest) = raw.as_chunks::<4>();
                let (mut used, mut bad) = (0, ended && !rest.is_empty());
                for b in units {
                    let code = match big {
                        true => u32::from_be_bytes(*b),
                        false => u32::from_le_bytes(*b),
                    };
                    let Some(c) = char::from_u32(code) else {
                        bad = true;
                        break;
                    };
                    out.push(c);
                    used += 4;
                }
                (used, bad)
            }
        };
        raw.drain(..used);
        match (bad, self) {
            (false, _) => Ok(()),
            (true, Encoding::Utf8) => Err("UTF-8"),
            (true, Encoding::Utf16 { .. }) => Err("UTF-16"),
            (true, Encoding::Utf32 { .. }) => Err("UTF-32"),
        }
    }
}

/// How a file holds its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Plain,
    /// A JSON value on every line.
    Lines,
    /// JSON values one after another, in an array or not.
    Values,
}

/// What the first bytes of a file tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub encoding: Encoding,
    pub shape: Shape,
    /// Bytes of the byte order mark.
    pub mark: usize,
}

impl Start {
    /// Of the file called `name`, which begins with `head`. `named`: its name tells its shape;
    /// otherwise its contents do.
    ///
    /// # Errors
    /// A file that is no text.
    pub fn of(name: &str, head: &[u8], named: bool) -> Result<Self> {
        let (encoding, mark) = Encoding::of(head);
        // A marked encoding is one, whatever its bytes remind of.
        let kind = match encoding {
            Encoding::Utf8 => FileKind::of(&head[mark..]),
            _ => FileKind::Other,
        };
        let ending = ending(name);
        if named && TABLES.contains(&ending.as_str()) {
            return Err(Error::Data(format!(
                "{name} is a table (.{ending}), whose separators and quotes would be learnt; expected texts (.txt, .md, .jsonl, .json, .parquet): \
                 make a .jsonl with an object for each row, such as {{\"text\": …}} or {{\"prompt\": …, \"completion\": …}}, or rename it to .txt to \
                 learn it as it stands"
            )));
        }
        let text = match kind {
            FileKind::Empty => true,
            // A page saved as a text may be meant.
            FileKind::Html | FileKind::Xml => named && ending != "json" && ending != "jsonl",
            // A text may tell of such answers; a short one is one.
            FileKind::ErrorText => head.len() > SHORT,
            _ => false,
        };
        if let (false, Some(what)) = (text, kind.described()) {
            return Err(Error::Data(format!(
                "{name} is no text but {}",
                what.replace("FILE", if named { name } else { "FILE" })
            )));
        }
        if encoding == Encoding::Utf8
            && let Some(order) = unmarked_utf16(head)
        {
            return Err(Error::Data(format!(
                "{name} looks like UTF-16 without a byte order mark; convert it: {}",
                iconv(order, name)
            )));
        }
        let mut text = String::new();
        // What cannot be decoded is told of with its line when it is read.
        let _ = encoding.decode(&mut head[mark..].to_vec(), false, &mut text);
        let text = text.trim_start();
        let shape = match ending.as_str() {
            "jsonl" | "ndjson" if text.starts_with('[') => Shape::Values,
            // Lines that end by CR alone, as on old systems: values one after another.
            "jsonl" | "ndjson" if text.contains('\r') && !text.contains('\n') => Shape::Values,
            // Objects spread over lines.
            "jsonl" | "ndjson" if text.lines().next() == Some("{") => Shape::Values,
            "jsonl" | "ndjson" => Shape::Lines,
            "json" => Shape::Values,
            _ if !named => told(text),
            _ => Shape::Plain,
        };
        Ok(Start {
            encoding,
            shape,
            mark,
        })
    }
}

/// The shape of what begins with `text` and has no name to tell it: JSON if an object and its first
/// key begin it, in lists or not, or a list of texts.
fn told(text: &str) -> Shape {
    let inner = text.trim_start_matches(|c: char| c == '[' || c.is_whitespace());
    let (object, first) = match inner.strip_prefix('{') {
        Some(fields) => (true, fields.trim_start()),
        None => (false, inner),
    };
    let follows = first.strip_prefix('"').and_then(|string| {
        let end = string.match_indices('"').find(|(at, _)| {
            let before = string[..*at].bytes().rev();
            before.take_while(|b| *b == b'\\').count() % 2 == 0
        });
        string[end?.0 + 1..].trim_start().chars().next()
    });
    let line = text
        .split_once('\n')
        .map(|(line, _)| line.trim_end().trim_end_matches(','));
    match (text.starts_with('['), object, follows) {
        (true, true, Some(':')) | (true, false, Some(',' | ']')) => Shape::Values,
        // The first line may be longer than what is looked at.
        (false, true, Some(':')) if line.is_none_or(|line| line.ends_with('}')) => Shape::Lines,
        (false, true, Some(':')) => Shape::Values,
        _ => Shape::Plain,
    }
}

/// The ending of a file's name, in small letters.
pub(super) fn ending(name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
    match file.rsplit_once('.') {
        Some((_, ending)) => ending.to_ascii_lowercase(),
        None => String::new(),
    }
}

/// The command that makes UTF-8 of a file. The new one keeps the ending: it says how the text is
/// read.
fn iconv(from: &str, name: &str) -> String {
    #[cfg(feature = "native")]
    if is_pipe(name) {
        return format!("… | iconv -f {from} -t UTF-8 | onebit …");
    }
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !ending.contains('/') => (stem, ending),
        _ => (name, "txt"),
    };
    #[cfg(feature = "native")]
    let (name, stem) = (&quoted(name), &quoted(stem));
    format!("iconv -f {from} -t UTF-8 '{name}' > '{stem}.utf8.{ending}'")
}

/// What messages call the texts that are typed or come through a pipe.
pub const STANDARD_INPUT: &str = "standard input";

/// Whether a text cannot be read a second time under its name.
#[cfg(feature = "native")]
fn is_pipe(name: &str) -> bool {
    let is_other = |found: std::fs::Metadata| !found.is_file();
    ["-", STANDARD_INPUT].contains(&name) || std::fs::metadata(name).is_ok_and(is_other)
}

/// A name as a shell takes it between single quotes.
#[cfg(feature = "native")]
fn quoted(name: &str) -> String {
    let name = name.replace('\'', r"'\''");
    match name.starts_with('-') {
        true => format!("./{name}"),
        false => name,
    }
}

/// Every second byte of Latin text in UTF-16 is zero.
fn unmarked_utf16(head: &[u8]) -> Option<&'static str> {
    let zeros = |odd: usize| {
        head.iter()
            .skip(odd)
            .step_by(2)
            .filter(|b| **b == 0)
            .count()
    };
    let (even, odd, half) = (zeros(0), zeros(1), head.len() / 2);
    match half >= 8 {
        true if odd * 10 >= half * 4 && even * 20 < half => Some("UTF-16LE"),
        true if even * 10 >= half * 4 && odd * 20 < half => Some("UTF-16BE"),
        _ => None,
    }
}

/// An encoding that bytes which are no UTF-8 may be in.
fn likely(bytes: &[u8]) -> Option<&'static str> {
    if is_shift_jis(bytes) {
        return Some("SHIFT_JIS");
    }
    // Runs of such bytes: their lengths, and whether a letter of ASCII stands beside them.
    let (mut runs, mut touching, mut odd) = (0, 0, 0);
    let mut at = 0;
    while let Some(start) = bytes[at..].iter().position(|b| *b >= 0x80).map(|i| at + i) {
        let len = bytes[start..].iter().take_while(|b| **b >= 0x80).count();
        let letter = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphabetic);
        let before = start.checked_sub(1).and_then(|i| bytes.get(i));
        runs += 1;
        touching += usize::from(letter(before) || letter(bytes.get(start + len)));
        odd += len % 2;
        at = start + len;
    }
    let letters = bytes.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let high = bytes.iter().filter(|b| **b >= 0x80).count();
    // European languages have such letters inside words of others.
    if 2 * touching > runs && high < 2 * letters {
        return Some("WINDOWS-1252");
    }
    // Words of an alphabet of their own are of any length, two bytes a character make even ones.
    // Cyrillic letters are the upper half.
    let upper = bytes.iter().filter(|b| **b >= 0xc0).count();
    if 4 * odd > runs && 10 * upper > 9 * high {
        return Some("WINDOWS-1251");
    }
    // Two bytes a character, the first of them one that GB18030, Big5 and the EUC encodings begin
    // one with.
    let pair = |w: &&[u8]| matches!(w, [0x81..=0xfe, 0x40..=0xfe]);
    (bytes.windows(2).filter(pair).count() > 0).then_some("GB18030")
}

/// Whether bytes are characters of Shift JIS, many among few letters, and some begin as in no other
/// encoding. Their second bytes may be letters of ASCII.
fn is_shift_jis(bytes: &[u8]) -> bool {
    let (mut at, mut pairs, mut low, mut letters) = (0, 0, 0, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [
                first @ (0x81..=0x9f | 0xe0..=0xfc),
                0x40..=0x7e | 0x80..=0xfc,
                ..,
            ] => {
                (pairs, low) = (pairs + 1, low + usize::from(*first < 0xa0));
                at += 1;
            }
            // The last one may be cut off; half-width kana are single.
            [0x81..=0x9f | 0xe0..=0xfc] | [0xa1..=0xdf, ..] => {}
            [0x80..=0xff, ..] => return false,
            [c, ..] => letters += usize::from(c.is_ascii_alphabetic()),
            [] => {}
        }
        at += 1;
    }
    4 * low > pairs && 3 * pairs > letters
}

/// A piece of a text.
#[derive(Debug)]
pub(super) struct TextPiece {
    pub document: Option<Document>,
    pub layout: Layout,
    /// It is a document of its own, which the next one does not go on with.
    pub ends: bool,
    /// Bytes of the file it stands for.
    #[cfg_attr(
        not(feature = "native"),
        expect(dead_code, reason = "only files are read again from a place in them")
    )]
    pub bytes: u64,
}

/// Something about a text that its owner should know: how often, and the line where it is first
/// met.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    times: u64,
    line: u64,
}

impl Count {
    fn add(&mut self, times: u64, line: u64) {
        if self.times == 0 {
            self.line = line;
        }
        self.times += times;
    }
}

/// Reads texts piece by piece.
#[derive(Debug)]
pub(super) struct TextReader<R> {
    reader: R,
    name: String,
    start: Start,
    /// Read, but not yet whole characters.
    raw: Vec<u8>,
    /// Decoded, but not yet part of a piece.
    ahead: String,
    ended: bool,
    /// Bytes of the file that have been given out.
    offset: u64,
    /// Line ends that have been given out.
    lines: u64,
    nuls: Count,
    half_surrogates: Count,
    silent: Count,
    other_parts: Count,
    odd_tools: Count,
    alike: Count,
    bad: Count,
    without_text: Count,
}

impl<R: Read> TextReader<R> {
    /// Read on from byte `offset` of the file called `name`, before which there are `lines` line
    /// ends; `reader` stands behind the byte order mark if `offset` is 0.
    pub fn new(reader: R, name: &str, start: Start, offset: u64, lines: u64) -> Self {
        TextReader {
            reader,
            name: name.to_owned(),
            start,
            raw: Vec::new(),
            ahead: String::new(),
            ended: false,
            offset,
            lines,
            nuls: Count::default(),
            half_surrogates: Count::default(),
            silent: Count::default(),
            other_parts: Count::default(),
            odd_tools: Count::default(),
            alike: Count::default(),
            bad: Count::default(),
            without_text: Count::default(),
        }
    }

    /// Have at least `want` bytes of text ahead, or all there are.
    fn fill(&mut self, want: usize) -> Result<()> {
        let mut chunk = [0; CHUNK];
        while self.ahead.len() < want && !self.ended {
            let got = match self.reader.read(&mut chunk) {
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::Data(format!("cannot read {}: {e}", self.name))),
            };
            self.ended = got == 0;
            self.raw.extend_from_slice(&chunk[..got]);
            let from = self.ahead.len();
            let decoded = self
                .start
                .encoding
                .decode(&mut self.raw, self.ended, &mut self.ahead);
            let line = |at: usize| self.lines + 1 + newlines(&self.ahead[..at]);
            if let Err(expected) = decoded {
                let at = self.offset
                    + if self.offset == 0 {
                        self.start.mark as u64
                    } else {
                        0
                    }
                    + self.start.encoding.bytes_of(&self.ahead);
                // With the letters before the first of them.
                let letters = self.ahead.bytes().rev().take_while(u8::is_ascii).take(64);
                let mut near: Vec<u8> = letters.collect();
                near.reverse();
                near.extend(self.raw.iter().take(HEAD));
                let convert = match (self.start.encoding, likely(&near)) {
                    (Encoding::Utf8, Some(found)) => format!(
                        "perhaps it is {found}; try: {} (`iconv -l` lists other encodings)",
                        iconv(found, &self.name)
                    ),
                    (Encoding::Utf8, None) => format!(
                        "convert it, for example: {} (`iconv -l` lists encodings)",
                        iconv("WINDOWS-1252", &self.name)
                    ),
                    _ => "the file is damaged, or cut off".to_owned(),
                };
                return Err(Error::Data(format!(
                    "{}: line {} is not {expected} text (byte {at}): {convert}",
                    self.name,
                    line(self.ahead.len())
                )));
            }
            let nuls = self.ahead[from..].bytes().filter(|b| *b == 0).count();
            if nuls > 0 {
                let first = from + self.ahead[from..].find('\0').unwrap_or_default();
                let line = line(first);
                self.nuls.add(nuls as u64, line);
            }
        }
        Ok(())
    }

    /// Give out the first `len` bytes of what is ahead: the bytes of the file, and the line they
    /// begin in.
    fn take(&mut self, len: usize) -> (String, u64, u64) {
        let rest = self.ahead.split_off(len);
        let text = std::mem::replace(&mut self.ahead, rest);
        let mark = if self.offset == 0 { self.start.mark } else { 0 };
        let bytes = self.start.encoding.bytes_of(&text) + mark as u64;
        let line = self.lines + 1;
        self.offset += bytes;
        self.lines += newlines(&text);
        (text, bytes, line)
    }

    /// The next piece: of a plain text at most `longest` bytes of UTF-8; none at the end.
    pub fn next_piece(&mut self, longest: usize) -> Result<Option<TextPiece>> {
        match self.start.shape {
            Shape::Plain => self.plain(longest),
            Shape::Lines => {
                let line = self.line()?;
                self.document(line)
            }
            Shape::Values => {
                let value = self.value()?;
                self.document(value)
            }
        }
    }

    fn plain(&mut self, longest: usize) -> Result<Option<TextPiece>> {
        for want in [2 * PIECE, longest] {
            self.fill(want)?;
            let window = &self.ahead[..self.ahead.floor_char_boundary(want.min(self.ahead.len()))];
            let all = self.ended && window.len() == self.ahead.len();
            let cut = if longest == usize::MAX {
                None
            } else if all && window.len() <= PIECE {
                Some(window.len())
            } else {
                cut(window, '\n', 1)
            };
            let cut = match cut {
                Some(cut) => cut,
                None if all => window.len(),
                None if want == longest => cut_anywhere(window),
                None => continue,
            };
            let (text, bytes, _) = self.take(cut);
            if bytes == 0 {
                break;
            }
            return Ok(Some(TextPiece {
                document: Some(Document::Text(text)),
                layout: Layout::Plain,
                ends: false,
                bytes,
            }));
        }
        Ok(None)
    }

    /// Length of the next line, its end included; 0 at the end of the file.
    fn line(&mut self) -> Result<usize> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.ahead[searched..].find('\n') {
                return Ok(searched + at + 1);
            }
            if self.ended {
                return Ok(self.ahead.len());
            }
            searched = self.ahead.len();
            self.bounded(searched)?;
            self.fill(searched + CHUNK)?;
        }
    }

    fn bounded(&self, len: usize) -> Result<()> {
        if len > LONGEST_VALUE {
            return Err(self.bad_line(
                self.lines + 1,
                &format!(
                    "longer than {} MB; is it one document a line?",
                    LONGEST_VALUE >> 20
                ),
            ));
        }
        Ok(())
    }

    /// Length of the next JSON value with what parts it from the one before; 0 at the end of the
    /// file.
    fn value(&mut self) -> Result<usize> {
        let (mut at, mut depth, mut text, mut escaped) = (0, 0usize, false, false);
        let mut begun = false;
        loop {
            while let Some(byte) = self.ahead.as_bytes().get(at) {
                at += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if text => escaped = true,
                    b'"' if text => {
                        text = false;
                        if depth == 0 {
                            return Ok(at);
                        }
                    }
                    _ if text => {}
                    b'"' => (text, begun) = (true, true),
                    b'{' => (depth, begun) = (depth + 1, true),
                    b'[' if begun => depth += 1,
                    b'}' | b']' if depth > 0 => {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(at);
                        }
                    }
                    // A number or a word between values: given out with the next end of line, and
                    // refused.
                    b'\n' | b',' if begun && depth == 0 => return Ok(at),
                    b'[' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
                    _ => begun = true,
                }
            }
            if self.ended {
                return Ok(self.ahead.len());
            }
            self.bounded(at)?;
            self.fill(at + CHUNK)?;
        }
    }

    fn bad_line(&self, line: u64, what: &str) -> Error {
        Error::Data(format!("{}: line {line}: {what}", self.name))
    }

    /// The document of the next `len` bytes.
    fn document(&mut self, len: usize) -> Result<Option<TextPiece>> {
        let (text, bytes, first) = self.take(len);
        if bytes == 0 {
            return Ok(None);
        }
        let before = text.len() - text.trim_start_matches(documents::between).len();
        let line = first + newlines(&text[..before]);
        let value = text.trim_matches(documents::between);
        let mut piece = TextPiece {
            document: None,
            layout: Layout::Text,
            ends: false,
            bytes,
        };
        if value.is_empty() {
            return Ok(Some(piece));
        }
        let found = documents::parse(value).map_err(|e| {
            let list = documents::list(&text);
            self.bad_line(line, &list.unwrap_or(e))
        })?;
        self.half_surrogates.add(found.half_surrogates, line);
        self.silent.add(found.heard.silent, line);
        self.other_parts.add(found.heard.other_parts, line);
        self.odd_tools.add(found.odd_tools.into(), line);
        piece.layout = found.layout;
        match found.document {
            Some(document) => (piece.document, piece.ends) = (Some(document), true),
            None if found.alike => self.alike.add(1, line),
            None if found.bad => self.bad.add(1, line),
            None => self.without_text.add(1, line),
        }
        Ok(Some(piece))
    }

    /// What the owner of the texts should know of what has been read.
    pub fn notes(&self) -> Vec<String> {
        // The page, where code is dear, has one wording for one and for many.
        let says = |count: Count, one: &'static str, many: &'static str| {
            let single = count.times == 1;
            (count, if single { one } else { many })
        };
        let all = [
            says(
                self.nuls,
                "NUL byte, kept as it is",
                "NUL bytes, kept as they are",
            ),
            says(
                self.half_surrogates,
                "character cut in half (a surrogate without its other half), replaced by U+FFFD",
                "characters cut in half (surrogates without their other half), replaced by U+FFFD",
            ),
            says(
                self.silent,
                "reply without a text or a call, which is not learnt (but in .tokens files and with --train-on all)",
                "replies without a text or a call, which are not learnt (but in .tokens files and with --train-on all)",
            ),
            says(
                self.other_parts,
                "part of a message that is no text (a picture, a file, …), left out",
                "parts of messages that are not texts (pictures, files, …), left out",
            ),
            says(
                self.odd_tools,
                "list of tools with something that is no function with a name, left out",
                "lists of tools with something that is no function with a name, left out",
            ),
            says(
                self.alike,
                "pair of two answers that are the same, left out",
                "pairs of two answers that are the same, left out",
            ),
            says(
                self.bad,
                "answer labelled as bad (\"label\": false), left out: it would be learnt like a good one; `onebit finetune --preference dpo` learns from \
                 pairs of a chosen and a rejected answer",
                "answers labelled as bad (\"label\": false), left out: they would be learnt like good ones; `onebit finetune --preference dpo` learns from \
                 pairs of a chosen and a rejected answer",
            ),
            says(
                self.without_text,
                "document without a text, left out",
                "documents without a text, left out",
            ),
        ];
        let some = all.iter().filter(|(count, _)| count.times > 0);
        some.map(|(count, what)| {
            format!(
                "{}: {} {what} (the first in line {})",
                self.name, count.times, count.line
            )
        })
        .collect()
    }
}

fn newlines(text: &str) -> u64 {
    text.bytes().filter(|b| *b == b'\n').count() as u64
}

/// Bytes of a piece, if the text has a good place to cut there.
pub(super) const PIECE: usize = 1 << 16;

/// The first place after [`PIECE`] bytes where `separator` stands between visible characters,
/// `keep` bytes of it before the cut. The pre-tokenizers of the GPT-2 family never join across a
/// line end there, nor a word to the space after it, while a run of several white-space characters
/// is parted differently at the end of a text than inside it.
fn cut(text: &str, separator: char, keep: usize) -> Option<usize> {
    let visible = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let at = text.ceil_char_boundary(PIECE.min(text.len()));
    text[at..]
        .match_indices(separator)
        .map(|(i, _)| at + i)
        .find(|i| visible(text[..*i].chars().next_back()) && visible(text[i + 1..].chars().next()))
        .map(|i| i + keep)
}

/// A text in pieces, cut as [`cut`] does, or where nothing better is in reach.
#[cfg(feature = "native")]
pub(super) fn pieces_of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let near = &rest[..rest.floor_char_boundary((2 * PIECE).min(rest.len()))];
        let far = &rest[..rest.floor_char_boundary((16 * PIECE).min(rest.len()))];
        let at = match rest.len() <= PIECE {
            true => rest.len(),
            false => cut(near, '\n', 1)
                .or_else(|| cut(far, '\n', 1))
                .unwrap_or_else(|| cut_anywhere(far)),
        };
        let (piece, after) = rest.split_at(at);
        rest = after;
        Some(piece)
    })
}

/// Where to cut a text without line ends.
fn cut_anywhere(text: &str) -> usize {
    cut(text, ' ', 0).unwrap_or(text.len())
}

/// The text in `bytes`, whatever the ending of `name` says.
///
/// # Errors
/// As for [`read_documents`].
pub fn read_plain(name: &str, bytes: &[u8]) -> Result<String> {
    let start = Start::of(name, &bytes[..bytes.len().min(HEAD)], true)?;
    let start = Start {
        shape: Shape::Plain,
        ..start
    };
    let mut reader = TextReader::new(&bytes[start.mark..], name, start, 0, 0);
    let mut text = String::new();
    while let Some(piece) = reader.next_piece(usize::MAX)? {
        text.extend(piece.document.iter().map(Document::plain));
    }
    Ok(text)
}

/// # Errors
/// A file that is called Parquet and is something else that would be learnt as it stands.
pub(super) fn refuse_other_parquet(name: &str, head: &[u8]) -> Result<()> {
    match FileKind::of(head) {
        FileKind::Other | FileKind::Html | FileKind::Xml if ending(name) == PARQUET => {
            Err(Error::Data(format!(
                "{name} is no Parquet file: {}; expected \"PAR1\". Name it after what it holds (.jsonl, .txt), or download it again",
                found(head)
            )))
        }
        _ => Ok(()),
    }
}

/// All documents of a file in memory, and what its owner should know of them.
///
/// # Errors
/// A file that is no text, with the line where it ceases to be one; an object with several lists.
pub fn read_documents(name: &str, bytes: &[u8]) -> Result<(Vec<Document>, Vec<String>)> {
    let head = &bytes[..bytes.len().min(HEAD)];
    refuse_other_parquet(name, head)?;
    let start = Start::of(name, head, true)?;
    let list = match ending(name).as_str() {
        "json" => listed::within(name, bytes)?,
        _ => None,
    };
    read_from(name, list.as_deref().unwrap_or(bytes), start)
}

/// As [`read_documents`], of JSON lines, whatever the name.
///
/// # Errors
/// A line that is no document.
pub fn read_lines(name: &str, bytes: &[u8]) -> Result<(Vec<Document>, Vec<String>)> {
    let start = Start {
        encoding: Encoding::Utf8,
        shape: Shape::Lines,
        mark: 0,
    };
    read_from(name, bytes, start)
}

fn read_from(name: &str, bytes: &[u8], start: Start) -> Result<(Vec<Document>, Vec<String>)> {
    let mut reader = TextReader::new(&bytes[start.mark..], name, start, 0, 0);
    let mut documents = Vec::new();
    while let Some(piece) = reader.next_piece(usize::MAX)? {
        documents.extend(piece.document);
    }
    Ok((documents, reader.notes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let unit = |u: u16| {
            if big {
                u.to_be_bytes()
            } else {
                u.to_le_bytes()
            }
        };
        std::iter::once(0xfeff)
            .chain(text.encode_utf16())
            .flat_map(unit)
            .collect()
    }

    fn utf32(text: &str, big: bool) -> Vec<u8> {
        let unit = |u: u32| {
            if big {
                u.to_be_bytes()
            } else {
                u.to_le_bytes()
            }
        };
        let all = std::iter::once(0xfeff).chain(text.chars().map(u32::from));
        all.flat_map(unit).collect()
    }

    fn text_of(name: &str, bytes: &[u8]) -> Result<String> {
        let (documents, _) = read_documents(name, bytes)?;
        Ok(documents.iter().map(Document::plain).collect())
    }

    proptest! {
        #[test]
        fn every_marked_encoding_gives_the_same_text(text in "[^\0]{1,80}", big in any::<bool>()) {
            let marked = ["\u{feff}", &text].concat().into_bytes();
            for bytes in [utf16(&text, big), utf32(&text, big), marked] {
                let found = text_of("a.txt", &bytes);
                // What begins like another kind of file is refused.
                if found.is_ok() || FileKind::of(text.as_bytes()).described().is_none() {
                    prop_assert_eq!(found.unwrap(), text.as_str());
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), name in "a\\.(txt|jsonl|json)") {
            let _ = read_documents(&name, &bytes);
        }
    }

    #[test]
    fn what_is_no_text_is_refused_with_the_line_and_the_command() {
        let latin = b"first\nsecond\ncaf\xe9 au lait\n";
        let e = text_of("notes.txt", latin).unwrap_err().to_string();
        for part in ["notes.txt", "line 3", "byte 16", "iconv -f WINDOWS-1252"] {
            assert!(e.contains(part), "{e}");
        }
        for (bytes, encoding) in [
            (&b"Gr\xfc\xdfe aus K\xf6ln"[..], "WINDOWS-1252"),
            (b"fa\xe7ade, na\xefve, \x80 5", "WINDOWS-1252"),
            (
                b"they don\x92t say \x93no\x94, we won\x92t ask",
                "WINDOWS-1252",
            ),
            // As much Japanese as ASCII, with second bytes that are letters.
            (
                b"\x83e\x83X\x83g test\n\x93\xfa\x96\x7b\x8c\xea",
                "SHIFT_JIS",
            ),
            // "Привет, как дела" in Windows-1251.
            (
                b"\xcf\xf0\xe8\xe2\xe5\xf2, \xea\xe0\xea \xe4\xe5\xeb\xe0",
                "WINDOWS-1251",
            ),
            // A sentence in Chinese in GB18030, and one in Japanese in Shift JIS.
            (
                b"\xc4\xe3\xba\xc3\xa3\xac\xca\xc0\xbd\xe7\xa1\xa3\n\xce\xd2\xba\xdc\xba\xc3",
                "GB18030",
            ),
            (
                b"\x82\xb1\x82\xf1\x82\xc9\x82\xbf\x82\xcd\x90\xa2\x8a\x45",
                "SHIFT_JIS",
            ),
        ] {
            let e = text_of("e.txt", bytes).unwrap_err().to_string();
            assert!(e.contains(&format!("iconv -f {encoding} ")), "{e}");
        }
        let sjis = b"ok\n\x93\xfa\x96\x7b\x8c\xea\x82\xcc\x95\xb6\x8f\x91\n";
        let e = text_of("j.txt", sjis).unwrap_err().to_string();
        assert!(e.contains("line 2") && e.contains("SHIFT_JIS"), "{e}");
        let e = text_of("cut.txt", b"caf\xc3").unwrap_err().to_string();
        assert!(e.contains("line 1") && e.contains("byte 3"), "{e}");
        for (bytes, order) in [
            (utf16("plain words, many", false), "LE"),
            (utf16("plain words, many", true), "BE"),
        ] {
            let e = text_of("u.txt", &bytes[2..]).unwrap_err().to_string();
            assert!(e.contains(&format!("iconv -f UTF-16{order}")), "{e}");
        }
        // What cannot be read twice goes through a pipe; names are what a shell takes.
        let pipe = "… | iconv -f A -t UTF-8 | onebit …";
        for (name, command) in [
            (STANDARD_INPUT, pipe),
            ("-", pipe),
            ("/dev/null", pipe),
            ("a.b/c", "iconv -f A -t UTF-8 'a.b/c' > 'a.b/c.utf8.txt'"),
            (
                "it's.md",
                r"iconv -f A -t UTF-8 'it'\''s.md' > 'it'\''s.utf8.md'",
            ),
            ("-a.txt", "iconv -f A -t UTF-8 './-a.txt' > './-a.utf8.txt'"),
        ] {
            assert_eq!(iconv("A", name), command);
        }
        let mut lone = utf16("ab\nc", false);
        lone.extend([0x3d, 0xd8, b'x', 0]);
        let e = text_of("l.txt", &lone).unwrap_err().to_string();
        assert!(e.contains("line 2") && e.contains("UTF-16"), "{e}");
        let e = text_of("x.txt", b"\x1f\x8b\x08\0\0")
            .unwrap_err()
            .to_string();
        assert!(e.contains("gzip") && e.contains("zcat x.txt"), "{e}");
    }

    #[test]
    fn tables_are_refused_unless_they_are_called_texts() {
        let table = b"question,answer\nHi,Hello\n";
        for name in ["t.csv", "T.TSV"] {
            let e = text_of(name, table).unwrap_err().to_string();
            for word in [
                name,
                "is a table",
                "expected texts",
                ".jsonl",
                "rename it to .txt",
            ] {
                assert!(e.contains(word), "{e}");
            }
        }
        assert_eq!(text_of("t.csv.txt", table).unwrap().as_bytes(), table);
    }

    #[test]
    fn what_has_no_name_is_json_if_it_begins_as_json() {
        let long = format!("{{\"id\": \"{}", "x".repeat(9000));
        for (text, shape) in [
            ("{\"text\": NaN}\n{\"text\": \"a\"}", Shape::Lines),
            ("{\"a\\\"\": 1},\n", Shape::Lines),
            (&long, Shape::Lines),
            ("{\n \"a\": 1}", Shape::Values),
            ("[\n{\"a\": 1}]", Shape::Values),
            ("[[{ \"a\": 1}]]", Shape::Values),
            ("[\"a\", \"b\"]", Shape::Values),
            ("[\"a\" said she", Shape::Plain),
            ("[1] The cat", Shape::Plain),
            ("{\"a\", 1}", Shape::Plain),
            ("{ int a; }", Shape::Plain),
            ("\"a\": 1", Shape::Plain),
            ("", Shape::Plain),
        ] {
            let start =
                Start::of("-", text.as_bytes(), false).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(start.shape, shape, "{text:.40}");
        }
    }

    #[test]
    fn what_is_only_called_parquet_is_refused() {
        for (content, what) in [
            ("<!doctype html><title>Log in</title>", "web page"),
            ("a cat sat", "expected \"PAR1\""),
            ("version https://git-lfs.github.com/spec/v1\n", "LFS"),
        ] {
            let e = text_of("a.PARQUET", content.as_bytes()).unwrap_err();
            assert!(e.to_string().contains(what), "{e}");
        }
        assert!(text_of("a.html", b"<!doctype html>").is_ok());
    }

    #[test]
    fn zero_bytes_are_told_of() {
        let (_, notes) = read_documents("n.txt", b"one\ntwo\0\0 and words enough\n").unwrap();
        assert!(
            notes[0].contains("2 NUL bytes") && notes[0].contains("line 2"),
            "{notes:?}"
        );
    }

    #[test]
    fn json_is_read_in_lines_and_arrays_in_any_encoding() {
        let lines =
            "{\"text\": \"one\"}\r\n\r\n{\"text\": \"two\", \"score\": NaN}\n{\"text\": null}\n";
        let array = "[\n {\"text\": \"one\"},\n {\"text\": \"two\", \"n\": [1, {\"]\": -Infinity}]},\n null\n]\n";
        for text in [lines, array] {
            for bytes in [
                text.as_bytes().to_vec(),
                utf16(text, true),
                utf32(text, false),
            ] {
                for name in ["a.jsonl", "A.JSONL", "a.ndjson"] {
                    let (found, notes) = read_documents(name, &bytes).unwrap();
                    let found: Vec<String> = found.iter().map(Document::plain).collect();
                    assert_eq!(found, ["one", "two"], "{name} {text}");
                    assert!(notes[0].contains("1 document without a text"), "{notes:?}");
                }
            }
        }
        let (found, notes) =
            read_documents("a.jsonl", br#"{"text": "cut: \ud83d", "more": "\udc00"}"#).unwrap();
        assert_eq!(found[0].plain(), "cut: \u{fffd}");
        assert!(notes[0].contains("U+FFFD"), "{notes:?}");
        for (name, text, line) in [
            ("b.jsonl", "{\"text\": \"x\"}\n\n{\"txt\": 1}\n", "line 3"),
            ("b.jsonl", "{\"text\": \"x\"}\n{\"text\": 7}\n", "line 2"),
            (
                "b.json",
                "[{\"text\": \"x\"},\n\n {\"text\": \"y\"},\n 7]",
                "line 4",
            ),
            ("b.json", "[{\"text\": \"x\"},\n {\"text\": \"y", "line 2"),
        ] {
            let e = read_documents(name, text.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(e.contains(name) && e.contains(line), "{e}");
        }
    }
}
