//! Token ids to read from: in memory, or mapped from files and never copied.

use std::sync::Arc;

use super::source::{CONTEXT, FIRST, nothing_learnt};
use super::tokens::{HEADER_BYTES, TokenHeader, u32_at, write_tokens};
use crate::error::{Error, Result};
#[cfg(feature = "native")]
use ternary_core::config::Packing;

enum Bytes {
    Owned(Vec<u8>),
    #[cfg(feature = "native")]
    Mapped(memmap2::Mmap, std::fs::File),
}

/// One `.tokens` file.
struct Part {
    bytes: Bytes,
    header: TokenHeader,
    /// A bit for every id: set where it is not learnt from. Empty: all of them are.
    context: Vec<u64>,
    /// A bit for every id: set where a document begins. Empty: nobody knows.
    firsts: Vec<u64>,
    /// Said in errors.
    name: String,
    /// Where its ids begin in the whole.
    start: usize,
}

impl Part {
    fn new(bytes: Bytes, name: String) -> Result<Self> {
        let named = |m: String| match name.as_str() {
            "" => m,
            name => format!("{name}: {m}"),
        };
        let all = bytes.all();
        let header = TokenHeader::parse(all, all.len() as u64).map_err(|e| match e {
            Error::Data(m) => Error::Data(named(m)),
            other => other,
        })?;
        Ok(Part {
            bytes,
            header,
            context: Vec::new(),
            firsts: Vec::new(),
            name,
            start: 0,
        })
    }

    fn ids(&self) -> &[u8] {
        &self.bytes.all()[HEADER_BYTES..]
    }

    /// Ids of the part's `from..to`, wherever their bytes lie.
    fn read(&self, from: usize, to: usize, out: &mut Vec<u32>) {
        let first = out.len();
        let b = &self.ids()[from * self.header.width..to * self.header.width];
        if self.header.width == 2 {
            out.extend(
                b.as_chunks::<2>()
                    .0
                    .iter()
                    .map(|b| u32::from(u16::from_le_bytes(*b))),
            );
        } else {
            out.extend(b.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)));
        }
        for (bits, mark) in [(&self.context, CONTEXT), (&self.firsts, FIRST)] {
            if !bits.is_empty() {
                let set = |i: usize| bits[i / 64] >> (i % 64) & 1 == 1;
                for (i, id) in (from..to).zip(&mut out[first..]) {
                    *id |= if set(i) { mark } else { 0 };
                }
            }
        }
    }

    /// Pages of a map beyond the end of its file must not be touched.
    fn is_whole(&self) -> Result<()> {
        #[cfg(feature = "native")]
        if let Bytes::Mapped(map, file) = &self.bytes
            && file
                .metadata()
                .is_ok_and(|now| now.len() < map.len() as u64)
        {
            return Err(Error::Data(format!(
                "{} was cut short while it was in use; begin again when the other program has finished with it",
                self.name
            )));
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        self.is_whole()?;
        let fail = |m: String| {
            Err(Error::Data(format!(
                "{}: {m}; the file is damaged, make it again with `onebit tokenize`",
                if self.name.is_empty() {
                    ".tokens file"
                } else {
                    &self.name
                }
            )))
        };
        let (found, expected) = (crc32fast::hash(self.ids()), self.header.checksum);
        if found != expected {
            return fail(format!("checksum {found:08x}, expected {expected:08x}"));
        }
        let (vocab, width) = (self.header.vocab_size, self.header.width);
        let id = |b: &[u8]| {
            if width == 2 {
                u32::from(u16::from_le_bytes([b[0], b[1]]))
            } else {
                u32_at(b, 0)
            }
        };
        match self.ids().chunks_exact(width).position(|b| id(b) >= vocab) {
            Some(i) => fail(format!("id {i} is not below the vocabulary of {vocab}")),
            None => Ok(()),
        }
    }
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Bytes::Owned(b) => b,
            #[cfg(feature = "native")]
            Bytes::Mapped(m, _) => m,
        }
    }
}

/// Token ids of one or several `.tokens` files, as one sequence. Clones share them.
///
/// ```
/// use ternary_common::data::{Batches, TokenData, Windows};
///
/// let ids: Vec<u32> = (0..100).collect();
/// let data = TokenData::from_ids(&ids, 100)?;
/// let batches = Batches::new(&data, 8, 1, 100)?;
/// let mut windows = Windows::default();
/// batches.fill(0, 2, &mut windows)?;
/// assert_eq!(windows.ids.len(), 2 * 8);
/// assert_eq!(windows.targets[0], windows.ids[0] + 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokenData {
    parts: Arc<[Part]>,
    header: TokenHeader,
    /// The token that a document begins with, in data without marks.
    separator: Option<u32>,
}

impl std::fmt::Debug for TokenData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.header.fmt(f)
    }
}

impl TokenData {
    /// Ids already in memory.
    pub fn from_ids(ids: &[u32], vocab_size: u32) -> Result<Self> {
        Self::from_bytes(write_tokens(ids, vocab_size, 0, 0))
    }

    /// Ids already in memory, of which those with [`CONTEXT`] are not learnt from and those with
    /// [`FIRST`] begin a document.
    ///
    /// # Errors
    /// Ids of which none is learnt from.
    pub fn from_marked(marked: &[u32], vocab_size: u32) -> Result<Self> {
        let is_context = |id: &u32| id & CONTEXT != 0;
        if !marked.is_empty() && marked.iter().all(is_context) {
            return Err(nothing_learnt());
        }
        let bits = |mark: u32| -> Vec<u64> {
            if marked.iter().all(|id| id & mark == 0) {
                return Vec::new();
            }
            let bits = marked.chunks(64).map(|ids| {
                let bits = ids.iter().enumerate();
                bits.fold(0, |all, (i, id)| all | u64::from(id & mark != 0) << i)
            });
            bits.collect()
        };
        let (context, firsts) = (bits(CONTEXT), bits(FIRST));
        if context.is_empty() && firsts.is_empty() {
            return Self::from_ids(marked, vocab_size);
        }
        let ids: Vec<u32> = marked.iter().map(|id| id & !(CONTEXT | FIRST)).collect();
        let bytes = write_tokens(&ids, vocab_size, 0, 0);
        let part = Part::new(Bytes::Owned(bytes), String::new())?;
        Self::of(vec![Part {
            context,
            firsts,
            ..part
        }])
    }

    /// The same ids, of which every `separator` begins a document.
    pub fn separated_at(self, separator: u32) -> Self {
        TokenData {
            separator: Some(separator),
            ..self
        }
    }

    /// Whether it says where documents begin.
    #[cfg(feature = "native")]
    pub(super) fn packing(&self) -> Packing {
        let marked = self.parts.iter().any(|part| !part.firsts.is_empty());
        match self.separator.is_some() || marked {
            true => Packing::Documents,
            false => Packing::Whole,
        }
    }

    /// A number that other ids, or others to learn from, would not have. Where documents begin is
    /// no part of it: `packing` says whether that matters.
    pub fn checksum(&self) -> u32 {
        let mut hash = crc32fast::Hasher::new_with_initial(self.header.checksum);
        for part in self.parts.iter() {
            for bits in &part.context {
                hash.update(&bits.to_le_bytes());
            }
        }
        hash.finalize()
    }

    /// The bytes of a `.tokens` file; the checksum is verified.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let data = Self::of(vec![Part::new(Bytes::Owned(bytes), String::new())?])?;
        data.verify()?;
        Ok(data)
    }

    /// Map files; their ids follow one another. Only the headers are read, so that files of any
    /// size open at once: ids are checked against the vocabulary as batches take them, and all of a
    /// file by [`verify`](Self::verify).
    ///
    /// # Errors
    /// A file that cannot be mapped, a header that does not fit it, no file at all.
    #[cfg(feature = "native")]
    pub fn open(paths: &[impl AsRef<std::path::Path>]) -> Result<Self> {
        use crate::error::IoContext;
        let parts = paths.iter().map(|path| {
            let path = path.as_ref();
            let file = std::fs::File::open(path).at("open", path)?;
            let map = crate::platform::map_for_random_reads(&file).at("map", path)?;
            Part::new(Bytes::Mapped(map, file), path.display().to_string())
        });
        Self::of(parts.collect::<Result<_>>()?)
    }

    fn of(mut parts: Vec<Part>) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(Error::Data("no token files; expected at least one".into()));
        };
        let mut header = first.header;
        let bytes_of = |h: &TokenHeader| h.count * h.width as u64;
        let mut checksum =
            crc32fast::Hasher::new_with_initial_len(header.checksum, bytes_of(&header));
        for part in &mut parts[1..] {
            let h = &part.header;
            part.start = header.count as usize;
            header.count += h.count;
            header.vocab_size = header.vocab_size.max(h.vocab_size);
            header.width = header.width.max(h.width);
            // What the files do not agree on is said by none.
            if header.seq_len != h.seq_len {
                header.seq_len = 0;
            }
            if header.tokenizer != h.tokenizer {
                header.tokenizer = 0;
            }
            // As if all ids were in one file.
            checksum.combine(&crc32fast::Hasher::new_with_initial_len(
                h.checksum,
                bytes_of(h),
            ));
        }
        header.checksum = checksum.finalize();
        Ok(TokenData {
            parts: parts.into(),
            header,
            separator: None,
        })
    }

    /// Read everything: the checksums, and every id against the vocabulary.
    ///
    /// # Errors
    /// The first file that is damaged.
    pub fn verify(&self) -> Result<()> {
        self.parts.iter().try_for_each(Part::verify)
    }

    /// The header of the whole: that of the file, or what several files have in common, with their
    /// ids counted together.
    pub fn header(&self) -> &TokenHeader {
        &self.header
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.header.count as usize
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `at` ids, which stay where they are, and a copy of the rest.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and a rest of which nothing is learnt.
    pub fn split(&self, at: usize) -> Result<(TokenData, TokenData)> {
        let at = at.min(self.len());
        let mut rest = Vec::new();
        self.read(at, self.len() - at, &mut rest)?;
        let rest = Self::from_marked(&rest, self.header.vocab_size)?;
        let mut header = self.header;
        header.count = at as u64;
        // Of another cut it would be another.
        let mut hash = crc32fast::Hasher::new_with_initial(header.checksum);
        hash.update(&header.count.to_le_bytes());
        header.checksum = hash.finalize();
        let first = TokenData {
            header,
            ..self.clone()
        };
        Ok((first, rest))
    }

    /// Append the ids `at..at + count`, which must be below [`len`](Self::len), with [`CONTEXT`]
    /// those that are not learnt from and with [`FIRST`] those that begin a document.
    ///
    /// # Errors
    /// A mapped file that another program has cut short.
    pub fn read(&self, at: usize, count: usize, out: &mut Vec<u32>) -> Result<()> {
        let (mut at, end) = (at, at + count);
        let begin = out.len();
        let mut index = self
            .parts
            .partition_point(|p| p.start <= at)
            .saturating_sub(1);
        while at < end {
            let part = &self.parts[index];
            let to = (end - part.start).min(part.header.count as usize);
            part.is_whole()?;
            part.read(at - part.start, to, out);
            at = part.start + to;
            index += 1;
        }
        if let Some(separator) = self.separator {
            let found = out[begin..].iter_mut().filter(|id| **id == separator);
            found.for_each(|id| *id |= FIRST);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(data: &TokenData) -> Vec<u32> {
        let mut out = Vec::new();
        data.read(0, data.len(), &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn ids_survive(ids in prop::collection::vec(0u32..200_000, 0..300), wide in any::<bool>()) {
            let vocab = if wide { 200_000 } else { 65_536 };
            let ids: Vec<u32> = ids.into_iter().map(|i| i % vocab).collect();
            let data = TokenData::from_bytes(write_tokens(&ids, vocab, 128, 7)).unwrap();
            prop_assert_eq!(data.header().width, if wide { 4 } else { 2 });
            prop_assert_eq!(all(&data), ids);
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in 0usize..100) {
            let _ = TokenData::from_bytes(bytes);
            let mut good = write_tokens(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18], 100, 0, 0);
            good[flip] ^= 0x41;
            // Every byte matters but the sequence length, the vocabulary, the tokenizer's checksum
            // and the reserved tail.
            let free = (16..24).contains(&flip) || (36..64).contains(&flip);
            prop_assert!(TokenData::from_bytes(good).is_err() || free, "byte {}", flip);
        }
    }

    #[test]
    fn several_files_read_as_their_concatenation() {
        let ids: Vec<u32> = (0..100).collect();
        let part = |range: std::ops::Range<usize>| {
            Part::new(
                Bytes::Owned(write_tokens(&ids[range], 100, 8, 5)),
                String::new(),
            )
            .unwrap()
        };
        let joined =
            TokenData::of(vec![part(0..30), part(30..30), part(30..31), part(31..100)]).unwrap();
        let one = TokenData::of(vec![part(0..100)]).unwrap();
        assert_eq!(joined.header(), one.header());
        joined.verify().unwrap();
        for (at, count) in [
            (0, 100),
            (29, 1),
            (29, 2),
            (30, 1),
            (31, 3),
            (25, 70),
            (99, 1),
            (100, 0),
        ] {
            let mut found = Vec::new();
            joined.read(at, count, &mut found).unwrap();
            assert_eq!(found, ids[at..at + count]);
        }
    }

    #[test]
    fn what_is_not_learnt_is_marked_and_counts_in_the_checksum() {
        let marked: Vec<u32> = (0..200u32)
            .map(|i| i | if i % 7 < 3 { CONTEXT } else { 0 })
            .collect();
        let data = TokenData::from_marked(&marked, 300).unwrap();
        assert_eq!(all(&data), marked);
        let mut some = Vec::new();
        data.read(60, 9, &mut some).unwrap();
        assert_eq!(some, marked[60..69]);
        let ids: Vec<u32> = (0..200).collect();
        let plain = TokenData::from_marked(&ids, 300).unwrap();
        let firsts: Vec<u32> = marked
            .iter()
            .map(|id| id | if id % 9 == 0 { FIRST } else { 0 })
            .collect();
        let apart = TokenData::from_marked(&firsts, 300).unwrap();
        assert_eq!(all(&apart), firsts);
        assert_eq!(apart.checksum(), data.checksum());
        let separated = plain.clone().separated_at(7);
        assert_eq!(
            all(&separated).iter().position(|id| id & FIRST != 0),
            Some(7)
        );
        assert_eq!(plain.checksum(), plain.header().checksum);
        assert_ne!(plain.checksum(), data.checksum());
        assert!(TokenData::from_marked(&[CONTEXT; 9], 300).is_err());
    }

    #[test]
    fn the_parts_of_a_split_are_those_of_the_whole() {
        let ids: Vec<u32> = (0..100).collect();
        let data = TokenData::from_ids(&ids, 100).unwrap();
        let (first, rest) = data.split(73).unwrap();
        assert_eq!(
            (all(&first), all(&rest)),
            (ids[..73].into(), ids[73..].into())
        );
        let (other, _) = data.split(74).unwrap();
        assert_ne!(first.checksum(), other.checksum());
        assert_ne!(first.checksum(), data.checksum());
        // A cut beyond the end leaves no rest.
        assert!(data.split(200).unwrap().1.is_empty());
    }

    #[test]
    fn an_id_beyond_the_vocabulary_is_damage() {
        let mut bytes = write_tokens(&[1, 99], 100, 0, 0);
        bytes[16] = 99;
        let e = TokenData::from_bytes(bytes).unwrap_err().to_string();
        assert!(e.contains("id 1 ") && e.contains("vocabulary of 99"), "{e}");
    }
}
