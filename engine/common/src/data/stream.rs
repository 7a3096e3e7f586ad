//! Texts too large to tokenize beforehand: read from beginning to end, again and again, tokenized
//! by a thread of its own, cut into windows and shuffled in blocks.
//!
//! **Order.** A pass over the files begins with a random phase of up to `seq` tokens and is cut
//! into windows of `seq + 1` tokens that share one; what is left at its end is dropped. `shuffle`
//! windows are a block, whose windows come in the order of a permutation that depends on the seed
//! and the block's number.
//!
//! **Resuming** needs the place where the current block begins (file, byte offset of a piece,
//! tokens of that piece that belong to the block before) and how many of its windows have been
//! used: at most one block is tokenized again, and everything after is the same, bit for bit.

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::background::Background;
use super::files::{TextFile, text_files};
use super::pieces::Pieces;
use super::read::Encoder;
use super::source::{BatchSource, CONTEXT, Windows, nothing_learnt, push_window, too_short};
use crate::error::{Error, Result};
use ternary_core::config::Packing;
use ternary_core::rng::{Rng, permute};

/// Names the stream of random numbers of blocks, apart from that of passes.
const BLOCKS: u64 = 1 << 63;

/// Texts and how to tokenize them.
#[derive(Clone, Debug)]
pub struct StreamedTexts {
    files: Vec<TextFile>,
    encoder: Encoder,
    checksum: u32,
    bytes: u64,
}

/// Where a streamed training is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlace {
    /// Passes over all files before the one the block begins in.
    pub pass: u64,
    /// File the block begins in.
    pub file: usize,
    /// Byte at which its first piece of text begins.
    pub offset: u64,
    /// Tokens of that piece that are not the block's any more.
    pub skip: usize,
    /// Number of the block.
    pub block: u64,
    /// Windows in the block.
    pub shuffle: usize,
    /// Windows of the block already used.
    pub used: usize,
}

impl StreamedTexts {
    /// The text files of `path`, a file or a folder.
    ///
    /// # Errors
    /// A path that cannot be read, or has no text files.
    pub fn open(path: &Path, encoder: &Encoder) -> Result<Self> {
        let files = text_files(path)?;
        let (mut hash, mut bytes) = (crc32fast::Hasher::new(), 0);
        for file in &files {
            if file.is_tokens()? {
                return Err(Error::Data(format!(
                    "{} is tokenized already: leave --streaming out, or give the texts that it was made of",
                    file.name()
                )));
            }
            let len = file.bytes()?;
            // What was unpacked or came through a pipe has another temporary name each time.
            let name = Path::new(file.name());
            let name = name.strip_prefix(path).unwrap_or(name).to_string_lossy();
            hash.update(name.as_bytes());
            hash.update(&len.to_le_bytes());
            bytes += len;
        }
        if encoder.is_assistant_only() {
            hash.update(b"assistant only");
        }
        Ok(StreamedTexts {
            encoder: encoder.for_files(&files)?,
            files,
            checksum: hash.finalize(),
            bytes,
        })
    }

    pub(super) fn packing(&self) -> Packing {
        self.encoder.packing().unwrap_or_default()
    }

    /// CRC-32 of the files' names and sizes. Their contents are too much to read.
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }
}

/// The tokens of the texts, in order, and where they come from.
struct Feed {
    texts: StreamedTexts,
    seq: usize,
    seed: u64,
    whole: bool,
    pieces: Pieces,
    pass: u64,
    /// Tokens read but not used up: of each piece where it begins, its ids, and how many of them
    /// are used up.
    queue: VecDeque<(usize, u64, Vec<u32>, usize)>,
    /// Tokens in `queue` that are not used up.
    ready: usize,
    /// Windows and tokens of this pass so far.
    windows: u64,
    tokens: usize,
    /// Something is learnt of what was read; of a pass that was begun before, perhaps.
    learnt: bool,
}

impl Feed {
    fn new(texts: StreamedTexts, seq: usize, seed: u64, from: &StreamPlace) -> Result<Self> {
        let whole = Pieces::whole_for(&texts.encoder.tokenizer)?;
        let begun = *from
            != StreamPlace {
                shuffle: from.shuffle,
                used: from.used,
                ..StreamPlace::default()
            };
        let mut feed = Feed {
            pieces: Pieces::starting_at(&texts.files, whole, from.file, from.offset),
            texts,
            seq,
            seed,
            whole,
            pass: from.pass,
            queue: VecDeque::new(),
            ready: 0,
            // A pass that was begun before has had windows.
            windows: u64::from((from.file, from.offset, from.skip) != (0, 0, 0)),
            tokens: 0,
            learnt: begun,
        };
        if feed.windows == 0 {
            feed.phase()?;
        } else if feed.have(from.skip)? {
            feed.consume(from.skip);
        }
        Ok(feed)
    }

    /// Read until `count` tokens are ready; false when the pass has fewer.
    fn have(&mut self, count: usize) -> Result<bool> {
        while self.ready < count {
            let Some(piece) = self.pieces.next().transpose()? else {
                if self.pass == 0 {
                    self.pieces
                        .notes()
                        .iter()
                        .for_each(|note| log::warn!("{note}"));
                }
                return Ok(false);
            };
            let ids = self
                .texts
                .encoder
                .encode(&piece.document, piece.ends_document)?;
            self.ready += ids.len();
            self.tokens += ids.len();
            self.learnt |= ids.iter().any(|id| id & CONTEXT == 0);
            self.queue.push_back((piece.file, piece.offset, ids, 0));
        }
        Ok(true)
    }

    fn consume(&mut self, count: usize) {
        self.ready -= count;
        let mut left = count;
        while let Some((_, _, ids, used)) = self.queue.front_mut() {
            let step = left.min(ids.len() - *used);
            *used += step;
            left -= step;
            if *used < ids.len() {
                return;
            }
            self.queue.pop_front();
        }
    }

    /// Skip the phase of a new pass.
    fn phase(&mut self) -> Result<()> {
        let phase = Rng::counted(self.seed, &[self.pass]).below(self.seq as u64) as usize;
        if self.have(phase)? {
            self.consume(phase);
        }
        Ok(())
    }

    /// File, byte offset and tokens to skip of the next window.
    fn position(&self) -> (usize, u64, usize) {
        match self.queue.front() {
            Some((file, offset, _, used)) => (*file, *offset, *used),
            None => {
                let (file, offset) = self.pieces.position();
                (file, offset, 0)
            }
        }
    }

    /// Append the next window to `out`.
    fn window(&mut self, out: &mut Vec<u32>) -> Result<()> {
        while !self.have(self.seq + 1)? {
            if self.windows == 0 {
                return Err(too_short(self.tokens, self.seq));
            }
            if !self.learnt {
                return Err(nothing_learnt());
            }
            self.pass += 1;
            self.pieces = Pieces::new(&self.texts.files, self.whole);
            self.queue.clear();
            (self.ready, self.windows, self.tokens) = (0, 0, 0);
            self.phase()?;
        }
        let ready = self
            .queue
            .iter()
            .flat_map(|(_, _, ids, used)| &ids[*used..]);
        out.extend(ready.take(self.seq + 1));
        self.consume(self.seq);
        self.windows += 1;
        Ok(())
    }
}

/// Windows to be shuffled together.
struct Block {
    /// Where it begins, with none of its windows used.
    place: StreamPlace,
    windows: Vec<u32>,
}

/// Batches out of texts that are being read.
pub struct Stream {
    blocks: Background<Block>,
    current: Option<Block>,
    used: usize,
    seq: usize,
    seed: u64,
    vocab: u32,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({:?})", self.place())
    }
}

impl Stream {
    /// Windows of `seq` tokens for a model with `vocab` tokens, `shuffle` of them shuffled
    /// together, from the beginning or from `place` on.
    ///
    /// # Errors
    /// A buffer of no windows; texts that cannot be read are told of by
    /// [`fill`](BatchSource::fill).
    pub fn new(
        texts: &StreamedTexts,
        seq: usize,
        seed: u64,
        vocab: usize,
        shuffle: usize,
        place: Option<StreamPlace>,
    ) -> Result<Self> {
        let from = place.unwrap_or(StreamPlace {
            shuffle,
            ..StreamPlace::default()
        });
        if from.shuffle == 0 || shuffle == 0 {
            return Err(Error::Data(
                "a shuffle buffer of 0 windows; it must hold at least 1".into(),
            ));
        }
        // Three blocks are held at once.
        let bytes = 3 * 4 * (shuffle.max(from.shuffle) as u128) * (seq as u128 + 1);
        if bytes > u128::from(crate::platform::available_memory().unwrap_or(u64::MAX / 2)) {
            return Err(Error::Data(format!(
                "a shuffle buffer of {shuffle} windows of {seq} tokens takes {:.1} GB of memory, more than there is; make it smaller",
                bytes as f64 / 1e9
            )));
        }
        let texts = texts.clone();
        let (mut feed, mut number, mut size) = (None, from.block, from.shuffle);
        // One block waits while the next is made: with the current one, three are in memory.
        let blocks = Background::new("tokenize", 0, move || {
            let feed = match &mut feed {
                Some(feed) => feed,
                none => none.insert(Feed::new(texts.clone(), seq, seed, &from)?),
            };
            let (file, offset, skip) = feed.position();
            let mut block = Block {
                place: StreamPlace {
                    pass: feed.pass,
                    file,
                    offset,
                    skip,
                    block: number,
                    shuffle: size,
                    used: 0,
                },
                windows: Vec::with_capacity(size * (seq + 1)),
            };
            for _ in 0..size {
                feed.window(&mut block.windows)?;
            }
            // A resumed block has the size it had; the next ones have the size asked for.
            (number, size) = (number + 1, shuffle);
            Ok(block)
        })?;
        Ok(Stream {
            blocks,
            current: None,
            used: from.used,
            seq,
            seed,
            vocab: vocab as u32,
        })
    }
}

impl BatchSource for Stream {
    fn fill(&mut self, _first: u64, count: usize, out: &mut Windows) -> Result<()> {
        for _ in 0..count {
            let mut block = match self.current.take() {
                Some(block) => block,
                None => self.blocks.next()?,
            };
            // Also where a resumed place is the very end of its block.
            if self.used >= block.place.shuffle {
                block = self.blocks.next()?;
                self.used = 0;
            }
            let block = self.current.insert(block);
            let key = Rng::counted(self.seed, &[BLOCKS | block.place.block]).next_u64();
            let index = permute(self.used as u64, block.place.shuffle as u64, key) as usize;
            let len = self.seq + 1;
            let window = &block.windows[index * len..(index + 1) * len];
            push_window(window, self.vocab, out)?;
            self.used += 1;
        }
        Ok(())
    }

    fn place(&self) -> Option<StreamPlace> {
        self.current.as_ref().map(|b| StreamPlace {
            used: self.used,
            ..b.place
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;

    fn open(path: &Path, tokenizer: &Tokenizer) -> StreamedTexts {
        StreamedTexts::open(path, &Encoder::new(tokenizer, None)).unwrap()
    }

    /// Two files of numbered words, a tokenizer, and the ids of the whole.
    fn texts(dir: &Path) -> (StreamedTexts, Tokenizer) {
        let words = |from: usize, to: usize| {
            (from..to)
                .map(|i| format!("w{i} and\n"))
                .collect::<String>()
        };
        std::fs::write(dir.join("a.txt"), words(0, 20_000)).unwrap();
        std::fs::write(dir.join("b.txt"), words(20_000, 23_000)).unwrap();
        let tokenizer = Tokenizer::train(std::iter::once("w1 and\nw2 and\n"), 261).unwrap();
        (open(dir, &tokenizer), tokenizer)
    }

    fn take(stream: &mut Stream, count: usize) -> Vec<u32> {
        let mut windows = Windows::default();
        stream.fill(0, count, &mut windows).unwrap();
        let Windows { ids, targets, .. } = windows;
        for (i, t) in ids.chunks(32).zip(targets.chunks(32)) {
            assert_eq!(i[1..], t[..31]);
        }
        ids
    }

    #[test]
    fn a_pass_gives_the_text_once_shuffled_and_resumes_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let (texts, tokenizer) = texts(dir.path());
        let stream = |seed, place| Stream::new(&texts, 32, seed, 300, 500, place).unwrap();
        let mut all = Vec::new();
        for name in ["a.txt", "b.txt"] {
            all.extend(
                tokenizer
                    .encode(&std::fs::read_to_string(dir.path().join(name)).unwrap())
                    .unwrap(),
            );
        }
        let phase = Rng::counted(7, &[0]).below(32) as usize;
        let windows = (all.len() - phase - 1) / 32;
        let mut one = stream(7, None);
        // Almost three passes.
        let order = take(&mut one, 3 * windows - 10);
        let mut pass: Vec<&[u32]> = order[..windows * 32].chunks(32).collect();
        let mut text: Vec<&[u32]> = all[phase..].chunks(32).take(windows).collect();
        assert_ne!(pass, text);
        // Blocks of 500 windows do not end where the pass does: compare what both certainly have.
        let whole = windows / 500 * 500;
        pass.truncate(whole);
        text.truncate(whole);
        pass.sort_unstable();
        text.sort_unstable();
        assert!(pass == text);
        assert_ne!(order[..320], take(&mut stream(8, None), 10));

        for used in [
            1usize,
            499,
            500,
            501,
            1234,
            windows - 1,
            windows,
            windows + 3,
            2 * windows + 7,
        ] {
            let mut first = stream(7, None);
            take(&mut first, used);
            let place = first.place().unwrap();
            let json = serde_json::to_string(&place).unwrap();
            let mut resumed = stream(7, Some(serde_json::from_str(&json).unwrap()));
            let next = take(&mut resumed, 700);
            assert!(next == order[used * 32..(used + 700) * 32], "after {used}");
            assert_eq!(resumed.place(), {
                take(&mut first, 700);
                first.place()
            });
        }
    }

    #[test]
    fn texts_that_cannot_be_streamed_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        std::fs::write(&file, "short").unwrap();
        let tokenizer = Tokenizer::train(std::iter::once("w1"), 261).unwrap();
        let texts = open(&file, &tokenizer);
        let fill = |stream: Result<Stream>| {
            stream
                .and_then(|mut s| s.fill(0, 1, &mut Windows::default()))
                .unwrap_err()
                .to_string()
        };
        let e = fill(Stream::new(&texts, 32, 1, 300, 10, None));
        assert!(e.contains("5 tokens") && e.contains("at least 65"), "{e}");
        assert!(fill(Stream::new(&texts, 32, 1, 300, 0, None)).contains("shuffle buffer"));
        assert!(fill(Stream::new(&texts, 32, 1, 300, 1 << 58, None)).contains("GB of memory"));
        assert!(fill(Stream::new(&texts, 2, 1, 50, 10, None)).contains("vocab_size is 50"));
    }
}
