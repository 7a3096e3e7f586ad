//! What is known of an import besides the tensors that are written, so that a later visit goes on
//! with it: what was read of its sources before the first tensor, and a line for every step since.
//! Lines are only appended. One that was cut short ends what is read of them.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use ternary::import::Written;

use super::store::{Store, Writer};

/// Endings of an import's two files, in the store.
pub const LINES: &str = ".lines";
pub const PIECES: &str = ".pieces";
/// Of what is read before the first tensor, so much is kept: heads of files and tokenizers are
/// smaller, and what is not kept is fetched again.
const MOST_KEPT: u64 = 64 << 20;
/// Bytes between two lines about tensors: of the smallest there are many.
const STEP: u64 = 1 << 20;

/// How far a source was read, and the state of its checksum there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadState {
    pub blocks: u64,
    pub checksum: Vec<u8>,
}

/// Bytes of a source as they came; in the file of pieces they stand behind those of the lines
/// before.
#[derive(Serialize, Deserialize)]
struct Piece {
    source: usize,
    from: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Piece(Piece),
    /// The checksum of what is to be written, and its bytes. What was written by another plan is
    /// void.
    Plan(u32, u64),
    Tensors(Tensors),
}

#[derive(Serialize, Deserialize)]
struct Tensors {
    written: Vec<Written>,
    /// Bytes of the `.1bit` that are there by then.
    done: u64,
    /// Of each source.
    read: Vec<ReadState>,
}

/// What the lines tell.
#[derive(Default)]
struct Told {
    /// Each with its place in the file of pieces.
    pieces: Vec<(u64, Piece)>,
    kept: u64,
    plan: Option<u32>,
    total: u64,
    written: Vec<Written>,
    done: u64,
    read: Vec<ReadState>,
}

impl Told {
    /// What `text` tells, and how many bytes of it are whole lines.
    fn of(text: &[u8]) -> (Self, u64) {
        let (mut told, mut whole) = (Self::default(), 0);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Ok(read) = serde_json::from_slice(line) else {
                break;
            };
            if !line.ends_with(b"\n") {
                break;
            }
            told.take(read);
            whole += line.len() as u64;
        }
        (told, whole)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Piece(piece) => {
                let at = self.kept;
                self.kept += piece.bytes;
                self.pieces.push((at, piece));
            }
            Line::Plan(plan, total) => {
                (self.plan, self.total) = (Some(plan), total);
                self.written.clear();
                self.done = 0;
            }
            Line::Tensors(tensors) => {
                self.written.extend(tensors.written);
                self.done = tensors.done;
                self.read = tensors.read;
            }
        }
    }
}

/// Bytes of the `.1bit` that an interrupted import has written, and of all of it, as its lines
/// tell.
pub fn progress(lines: &[u8]) -> (u64, u64) {
    let (told, _) = Told::of(lines);
    (told.done, told.total)
}

/// The journal of an import, held by it alone.
pub struct Journal {
    lines: Writer,
    pieces: Writer,
    told: Told,
    /// Nothing is written yet in this visit.
    before_tensors: bool,
    /// Written since the last line.
    recent: Vec<Written>,
}

impl Journal {
    pub async fn open(store: &Store, id: &str, name: &str) -> Result<Self, String> {
        let mut lines = store.writer(&format!("{id}{LINES}"), name).await?;
        let mut pieces = store.writer(&format!("{id}{PIECES}"), name).await?;
        let text = lines.read(0, lines.len() as usize)?;
        let (mut told, mut whole) = Told::of(&text);
        if told.kept > pieces.len() {
            (told, whole) = Default::default();
        }
        lines.cut(whole)?;
        pieces.cut(told.kept)?;
        Ok(Self {
            lines,
            pieces,
            told,
            before_tensors: true,
            recent: Vec::new(),
        })
    }

    /// Bytes of the `.1bit` that are there.
    pub fn done(&self) -> u64 {
        self.told.done
    }

    /// How far a source was read.
    pub fn read_state(&self, source: usize) -> Option<&ReadState> {
        self.told.read.get(source)
    }

    /// A part of a source, if that was kept.
    pub fn piece(&self, source: usize, wanted: &Range<u64>) -> Option<Vec<u8>> {
        let holds = |piece: &Piece| {
            piece.source == source
                && piece.from <= wanted.start
                && wanted.end <= piece.from + piece.bytes
        };
        let (at, piece) = self.told.pieces.iter().find(|(_, piece)| holds(piece))?;
        let len = (wanted.end - wanted.start) as usize;
        self.pieces.read(at + wanted.start - piece.from, len).ok()
    }

    /// Keeps what came of a source, as long as no tensor was written.
    pub fn keep(&mut self, source: usize, from: u64, bytes: &[u8]) -> Result<(), String> {
        let piece = Piece {
            source,
            from,
            bytes: bytes.len() as u64,
        };
        if !self.before_tensors || self.told.kept + piece.bytes > MOST_KEPT {
            return Ok(());
        }
        self.pieces.put(self.told.kept, bytes)?;
        self.tell(Line::Piece(piece))
    }

    /// Tensors come from here on; gives those of this plan that are there.
    pub fn begin(&mut self, plan: u32, total: u64) -> Result<Vec<Written>, String> {
        self.before_tensors = false;
        self.recent.clear();
        if self.told.plan != Some(plan) {
            self.pieces.flush();
            self.tell(Line::Plan(plan, total))?;
        }
        Ok(self.told.written.clone())
    }

    /// A tensor was written, with which so many bytes are there. Whether a line should tell of it.
    pub fn written(&mut self, tensor: Written, done: u64) -> bool {
        self.recent.push(tensor);
        done >= self.told.done + STEP
    }

    /// Tells of what was written since the last line; its bytes must be in the file.
    pub fn tell_written(&mut self, done: u64, read: Vec<ReadState>) -> Result<(), String> {
        let written = std::mem::take(&mut self.recent);
        self.tell(Line::Tensors(Tensors {
            written,
            done,
            read,
        }))
    }

    fn tell(&mut self, line: Line) -> Result<(), String> {
        let mut text = serde_json::to_vec(&line).map_err(|problem| problem.to_string())?;
        text.push(b'\n');
        self.lines.put(self.lines.len(), &text)?;
        self.lines.flush();
        self.told.take(line);
        Ok(())
    }
}
