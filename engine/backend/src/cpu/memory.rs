//! Buffers of the CPU backend: bytes aligned to a cache line, viewed as the element type an
//! operation asks for. A large one is an anonymous mapping, which the system zeroes as it is
//! touched and backs with huge pages; smaller ones share such mappings; a weight may be part of a
//! mapped file.

#[cfg(not(target_arch = "wasm32"))]
use std::sync::OnceLock;

use bytemuck::{Pod, Zeroable};

#[cfg(not(target_arch = "wasm32"))]
use super::linear;
#[cfg(feature = "native")]
use super::simd::multiversion;
use ternary_common::platform::{Anonymous, Arena, Mapped};
#[cfg(not(target_arch = "wasm32"))]
use ternary_core::quant::tile::ROWS;

#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([u8; 64]);

/// Bytes from which on a buffer is part of an arena, if there is one.
const SMALL: usize = 16 << 10;
/// Bytes from which on a buffer is a mapping of its own, ...
const LARGE: usize = 4 << 20;
/// ... and from which on even where there is an arena: most of it is whole huge pages.
const MANY_PAGES: usize = 32 << 20;

/// A buffer, at least 64-byte aligned unless it is part of a file.
pub struct Memory {
    bytes: usize,
    store: Store,
    /// What [`Memory::by_four`] made of it; gone when the buffer is written.
    #[cfg(not(target_arch = "wasm32"))]
    by_four: OnceLock<Vec<[f32; ROWS]>>,
}

enum Store {
    Lines(Vec<Line>),
    Anonymous(Anonymous),
    File(Mapped),
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            bytes: 0,
            store: Store::Lines(Vec::new()),
            #[cfg(not(target_arch = "wasm32"))]
            by_four: OnceLock::new(),
        }
    }
}

impl Memory {
    pub fn zeroed(bytes: usize) -> Self {
        let anonymous = (bytes >= LARGE).then(|| Anonymous::new(bytes)).flatten();
        Self::of(bytes, anonymous)
    }

    /// As [`Memory::zeroed`], but beside others in `arena` if it is too small for huge pages of its
    /// own: weights that are read one after the other lie in few of them then, not in thousands of
    /// small ones whose addresses are looked up again with every token.
    pub fn in_arena(bytes: usize, arena: &mut Arena) -> Self {
        Self::of(bytes, huge_pages(bytes, arena))
    }

    /// An empty buffer that [`Memory::grow`] makes longer, to `most` bytes at most. But for a short
    /// one it is only addresses, to which the system gives memory as they are written; nothing
    /// moves.
    pub fn growing(most: usize, arena: &mut Arena) -> Self {
        Self::of(0, huge_pages(most, arena))
    }

    fn of(bytes: usize, anonymous: Option<Anonymous>) -> Self {
        let store = match anonymous {
            Some(map) => Store::Anonymous(map),
            None => Store::Lines(vec![Line([0; 64]); bytes.div_ceil(64)]),
        };
        Memory {
            bytes,
            store,
            #[cfg(not(target_arch = "wasm32"))]
            by_four: OnceLock::new(),
        }
    }

    /// Make the buffer at least so long; whether there is memory for it.
    pub fn grow(&mut self, bytes: usize) -> bool {
        match &mut self.store {
            Store::Lines(lines) => {
                let needed = bytes.div_ceil(size_of::<Line>()).max(lines.len());
                if lines.try_reserve_exact(needed - lines.len()).is_err() {
                    return false;
                }
                lines.resize(needed, Line([0; 64]));
            }
            Store::Anonymous(map) if bytes <= map.bytes().len() => {}
            Store::Anonymous(_) | Store::File(_) => return false,
        }
        self.bytes = self.bytes.max(bytes);
        true
    }

    /// Part of a file, used where it lies. It is copied if it is ever written.
    pub fn mapped(file: Mapped) -> Self {
        Memory {
            bytes: file.bytes().len(),
            store: Store::File(file),
            #[cfg(not(target_arch = "wasm32"))]
            by_four: OnceLock::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn bytes(&self) -> &[u8] {
        let all = match &self.store {
            Store::Lines(lines) => bytemuck::cast_slice(lines),
            Store::Anonymous(map) => map.bytes(),
            Store::File(file) => file.bytes(),
        };
        &all[..self.bytes]
    }

    /// The buffer as scales of weights with `spans` spans, see [`linear::by_four`]; made once.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn by_four(&self, len: usize, spans: usize) -> &[[f32; ROWS]] {
        self.by_four
            .get_or_init(|| linear::by_four(self.view(len), spans))
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        #[cfg(not(target_arch = "wasm32"))]
        self.by_four.take();
        if let Store::File(file) = &self.store {
            let mut copy = Memory::zeroed(self.bytes);
            copy.bytes_mut().copy_from_slice(file.bytes());
            *self = copy;
        }
        let all = match &mut self.store {
            Store::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Store::Anonymous(map) => map.bytes_mut(),
            Store::File(_) => &mut [],
        };
        &mut all[..self.bytes]
    }

    /// The first `len` elements as `T`.
    pub fn view<T: Pod>(&self, len: usize) -> &[T] {
        bytemuck::cast_slice(&self.bytes()[..len * size_of::<T>()])
    }

    pub fn view_mut<T: Pod>(&mut self, len: usize) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.bytes_mut()[..len * size_of::<T>()])
    }
}

/// None for a buffer that is too small, and where the system has none.
fn huge_pages(bytes: usize, arena: &mut Arena) -> Option<Anonymous> {
    match bytes {
        ..SMALL => None,
        SMALL..MANY_PAGES => arena.take(bytes),
        MANY_PAGES.. => Anonymous::new(bytes),
    }
}

#[cfg(feature = "native")]
multiversion! {
    /// The sum of all words, read in order.
    pub fn sum_words(words: &[u64]) -> u64 {
        words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_buffers_are_zeroed_aligned_and_writable() {
        for bytes in [0, 1, 63, 64, 1000, LARGE, LARGE + 3] {
            let mut memory = Memory::zeroed(bytes);
            assert_eq!(memory.len(), bytes);
            assert!(memory.bytes().iter().all(|b| *b == 0));
            assert!(memory.bytes().as_ptr().align_offset(64) == 0);
            memory.bytes_mut().fill(7);
            assert!(memory.bytes().iter().all(|b| *b == 7));
            assert_eq!(memory.view::<u16>(bytes / 2).len(), bytes / 2);
        }
    }

    /// More than one mapping of the arena holds.
    #[test]
    fn buffers_of_an_arena_are_zeroed_aligned_and_apart() {
        let mut arena = Arena::default();
        let sizes = [
            1000,
            SMALL,
            SMALL + 1,
            3 * LARGE,
            MANY_PAGES - 1,
            LARGE + 7,
            MANY_PAGES,
        ];
        let mut buffers = Vec::new();
        for (n, bytes) in sizes.into_iter().enumerate() {
            let mut memory = Memory::in_arena(bytes, &mut arena);
            assert_eq!(memory.len(), bytes);
            assert!(memory.bytes().iter().all(|b| *b == 0));
            assert!(memory.bytes().as_ptr().align_offset(64) == 0);
            memory.bytes_mut().fill(n as u8 + 1);
            buffers.push(memory);
        }
        drop(arena);
        for (n, memory) in buffers.iter().enumerate() {
            assert!(memory.bytes().iter().all(|b| *b == n as u8 + 1), "{n}");
        }
    }

    #[test]
    fn a_buffer_that_grows_keeps_what_it_holds() {
        for most in [1000, 2 * LARGE] {
            let mut memory = Memory::growing(most, &mut Arena::default());
            assert_eq!(memory.len(), 0);
            let mut written = 0;
            for bytes in [1, 100, 64, most / 2, most] {
                assert!(memory.grow(bytes));
                assert!(memory.len() >= bytes);
                assert!(memory.bytes()[..written].iter().all(|b| *b == 7));
                written = memory.len();
                memory.bytes_mut().fill(7);
            }
            assert_eq!(memory.len(), most);
        }
    }

    #[test]
    #[cfg(feature = "native")]
    fn part_of_a_file_is_copied_when_written() {
        use ternary_common::bytes::ByteSource;
        let path = std::path::Path::new("../tests/fixtures/v1.1bit");
        let source = ternary_common::bytes::FileSource::open(path).unwrap();
        let mapped = || source.mapped(64, 128).unwrap();
        let mut memory = Memory::mapped(mapped());
        let before = mapped().bytes().to_vec();
        assert_eq!(memory.bytes(), before);
        assert_eq!(memory.bytes().as_ptr(), mapped().bytes().as_ptr());
        memory.bytes_mut()[0] ^= 1;
        assert_ne!(memory.bytes()[0], before[0]);
        assert_eq!(memory.bytes()[1..], before[1..]);
        assert_eq!(mapped().bytes(), before);
    }
}
