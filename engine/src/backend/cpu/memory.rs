//! Buffers of the CPU backend: bytes aligned to a cache line, viewed as the element type an operation asks for.

use bytemuck::{Pod, Zeroable};

#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([u8; 64]);

/// Zero-initialised memory, 64-byte aligned.
#[derive(Clone, Default)]
pub struct Memory {
    lines: Vec<Line>,
    bytes: usize,
}

impl Memory {
    pub fn zeroed(bytes: usize) -> Self {
        Memory {
            lines: vec![Line([0; 64]); bytes.div_ceil(64)],
            bytes,
        }
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        // Written once: zeroing first would take a large model's load as long again.
        let (whole, rest) = bytes.as_chunks::<64>();
        let mut lines = Vec::with_capacity(bytes.len().div_ceil(64));
        lines.extend(whole.iter().map(|line| Line(*line)));
        if !rest.is_empty() {
            let mut last = Line([0; 64]);
            last.0[..rest.len()].copy_from_slice(rest);
            lines.push(last);
        }
        Memory {
            lines,
            bytes: bytes.len(),
        }
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.bytes]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.bytes]
    }

    /// The first `len` elements as `T`.
    pub fn view<T: Pod>(&self, len: usize) -> &[T] {
        &bytemuck::cast_slice::<Line, T>(&self.lines)[..len]
    }

    pub fn view_mut<T: Pod>(&mut self, len: usize) -> &mut [T] {
        &mut bytemuck::cast_slice_mut::<Line, T>(&mut self.lines)[..len]
    }
}
