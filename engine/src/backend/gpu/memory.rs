//! The buffers of a program, and how they are bound.

use super::device::{DEVICE, Gpu};
use super::kernel::Slice;
use crate::backend::BackendError;
use crate::program::{BufferId, Program};

/// Offsets of bindings are multiples of this on every device; any 64 rows of a weight are.
const PART_ROWS: usize = 64;

/// Memory of one prepared program.
#[derive(Debug)]
pub(super) struct Memory {
    /// By buffer id; `None` for scratch that no operation touches.
    pub buffers: Vec<Option<Slice>>,
    /// For values that live within one operation of several dispatches.
    pub workspace: wgpu::Buffer,
    /// Bound where a shader declares an input that this use of it does not read.
    pub unread: wgpu::Buffer,
    /// The same for an output that is not written: one buffer may not be both in a dispatch.
    pub unwritten: wgpu::Buffer,
    pub max_binding: u64,
}

/// Some rows of a matrix that is too large for one binding.
#[derive(Debug)]
pub(super) struct Part {
    pub first_row: usize,
    pub rows: usize,
    pub slice: Slice,
}

impl Memory {
    /// The buffer as one binding.
    pub fn bind(&self, id: BufferId) -> Result<Slice, BackendError> {
        let slice = self.slice(id)?;
        if slice.size > self.max_binding {
            return Err(BackendError::OutOfMemory {
                device: DEVICE,
                what: format!(
                    "buffer {} (this adapter binds at most {} bytes at once)",
                    id.0, self.max_binding
                ),
                bytes: slice.size,
            });
        }
        Ok(slice)
    }

    /// The buffer of an optional input, or what stands for a missing one.
    pub fn bind_or_unread(&self, id: Option<BufferId>) -> Result<Slice, BackendError> {
        id.map_or(Ok(Slice::whole(&self.unread)), |id| self.bind(id))
    }

    /// Whether two ids stand for the same memory.
    pub fn same(&self, a: BufferId, b: BufferId) -> bool {
        match (&self.buffers[a.index()], &self.buffers[b.index()]) {
            (Some(a), Some(b)) => a.buffer == b.buffer,
            _ => false,
        }
    }

    pub fn slice(&self, id: BufferId) -> Result<Slice, BackendError> {
        self.buffers
            .get(id.index())
            .and_then(Option::clone)
            .ok_or_else(|| BackendError::NoBuffer(format!("#{}", id.0)))
    }

    /// A matrix of `rows` rows in as few bindings as the adapter allows; `bytes(n)` is the size of its first n rows.
    pub fn parts(
        &self,
        id: BufferId,
        rows: usize,
        bytes: impl Fn(usize) -> usize,
    ) -> Result<Vec<Part>, BackendError> {
        let whole = self.slice(id)?;
        if whole.size <= self.max_binding {
            return Ok(vec![Part {
                first_row: 0,
                rows,
                slice: whole,
            }]);
        }
        let step = self.max_binding as usize / bytes(PART_ROWS) * PART_ROWS;
        if step == 0 {
            return Err(BackendError::OutOfMemory {
                device: DEVICE,
                what: format!(
                    "{PART_ROWS} rows of buffer {} (this adapter binds at most {} bytes at once)",
                    id.0, self.max_binding
                ),
                bytes: bytes(PART_ROWS) as u64,
            });
        }
        Ok((0..rows)
            .step_by(step)
            .map(|first_row| {
                let rows = step.min(rows - first_row);
                let offset = bytes(first_row) as u64;
                Part {
                    first_row,
                    rows,
                    slice: Slice {
                        offset: whole.offset + offset,
                        size: bytes(first_row + rows) as u64 - offset,
                        buffer: whole.buffer.clone(),
                    },
                }
            })
            .collect())
    }
}

/// Scratch slots of a program.
pub(super) fn slots(gpu: &Gpu, program: &Program) -> Result<Vec<wgpu::Buffer>, BackendError> {
    program
        .slots
        .iter()
        .map(|bytes| gpu.storage(&format!("scratch of {}", program.label), *bytes))
        .collect()
}
