//! The buffers of a program, and how they are bound.

use super::device::{DEVICE, Gpu, storage_bytes};
use super::kernel::Slice;
use super::precision::Product;
use crate::BackendError;
use ternary_model::program::BufferId;

/// Offsets of bindings are multiples of this on every device; any 64 rows of a weight are.
const PART_ROWS: usize = 64;

/// Memory of one prepared program.
#[derive(Debug)]
pub(super) struct Memory {
    /// By buffer id; `None` for scratch that no operation touches.
    pub buffers: Vec<Option<Slice>>,
    /// Which of them hold f16.
    pub halves: Vec<bool>,
    /// For values that live within one operation of several dispatches.
    pub workspace: wgpu::Buffer,
    /// What is bound for an input that is not read, and for an output that is not written.
    pub unread: wgpu::Buffer,
    pub unwritten: wgpu::Buffer,
    /// Makes the tables of groups.
    #[cfg(not(target_arch = "wasm32"))]
    pub device: wgpu::Device,
    pub max_binding: u64,
    pub product: Product,
    /// Whether left operands of products that are not forward ones are gradients of a mean.
    pub of_gradients: bool,
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

    /// Buffers that lie one behind the other as one binding; `None` if they do not.
    pub fn bind_joined(&self, ids: &[BufferId]) -> Result<Option<Slice>, BackendError> {
        let slices = ids
            .iter()
            .map(|id| self.slice(*id))
            .collect::<Result<Vec<_>, _>>()?;
        let adjacent = slices.windows(2).all(|pair| {
            pair[0].buffer == pair[1].buffer && pair[0].offset + pair[0].size == pair[1].offset
        });
        let size: u64 = slices.iter().map(|slice| slice.size).sum();
        let first = slices.into_iter().next();
        Ok(first
            .filter(|_| adjacent && size <= self.max_binding)
            .map(|first| Slice { size, ..first }))
    }

    /// The buffer of an optional input, or what stands for a missing one.
    pub fn bind_or_unread(&self, id: Option<BufferId>) -> Result<Slice, BackendError> {
        id.map_or(Ok(Slice::whole(&self.unread)), |id| self.bind(id))
    }

    /// Whether two ids stand for the same memory.
    pub fn same(&self, a: BufferId, b: BufferId) -> bool {
        match (&self.buffers[a.index()], &self.buffers[b.index()]) {
            (Some(a), Some(b)) => a.buffer == b.buffer && a.offset == b.offset,
            _ => false,
        }
    }

    /// Whether the buffer holds f16, as operands of products may.
    #[cfg(feature = "training")]
    pub fn is_half(&self, id: BufferId) -> bool {
        super::train::products::IN_FULL && self.halves[id.index()]
    }

    pub fn slice(&self, id: BufferId) -> Result<Slice, BackendError> {
        self.buffers
            .get(id.index())
            .and_then(Option::clone)
            .ok_or_else(|| BackendError::NoBuffer(format!("#{}", id.0)))
    }

    /// A matrix of `rows` rows in as few bindings as the adapter allows; `bytes(n)` is the size of
    /// its first n rows.
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

/// Scratch buffers, which the programs of a backend have in common: they never run at the same
/// time.
#[derive(Debug, Default)]
pub(super) struct Pool {
    buffers: Vec<wgpu::Buffer>,
}

impl Pool {
    /// A buffer for every slot, new ones where none that is left over is large enough.
    pub fn take(
        &mut self,
        gpu: &Gpu,
        what: &str,
        slots: &[usize],
    ) -> Result<Vec<wgpu::Buffer>, BackendError> {
        let mut sizes: Vec<u64> = self.sizes().collect();
        let chosen = assign(&mut sizes, slots);
        for size in &sizes[self.buffers.len()..] {
            self.buffers.push(gpu.storage(what, *size as usize)?);
        }
        Ok(chosen.iter().map(|i| self.buffers[*i].clone()).collect())
    }

    pub fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.buffers.iter().map(wgpu::Buffer::size)
    }

    /// Keep the first `count` buffers.
    pub fn truncate(&mut self, count: usize) {
        self.buffers.truncate(count);
    }

    pub fn clear(&mut self) {
        self.buffers.clear();
    }
}

/// The buffer each slot takes, from among `sizes`: the largest slot first, each the smallest buffer
/// that is large enough and still free, or a new one.
pub(super) fn assign(sizes: &mut Vec<u64>, slots: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..slots.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(slots[*i]), *i));
    let mut taken = vec![false; sizes.len()];
    let mut chosen = vec![0; slots.len()];
    for slot in order {
        let need = storage_bytes(slots[slot]);
        let best = (0..sizes.len())
            .filter(|i| !taken[*i] && sizes[*i] >= need)
            .min_by_key(|i| sizes[*i]);
        chosen[slot] = best.unwrap_or_else(|| {
            sizes.push(need);
            taken.push(false);
            sizes.len() - 1
        });
        taken[chosen[slot]] = true;
    }
    chosen
}
