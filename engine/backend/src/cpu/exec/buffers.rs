//! The buffers that operations read and write.

use bytemuck::Pod;

use super::super::linear::WeightView;
use super::super::memory::Memory;
#[cfg(not(target_arch = "wasm32"))]
use ternary_core::config::QuantMode;
use ternary_model::program::{BufferDecl, BufferId, Role, Weight};

/// A program's view of the backend's memory. A buffer being written is taken out while its
/// operation runs, so that inputs can be borrowed beside it without `unsafe`.
pub struct Buffers<'a> {
    pub memory: &'a mut Vec<Memory>,
    pub storage: &'a [usize],
    pub decls: &'a [BufferDecl],
    /// Of a buffer whose rows are integers up to ±127 times a scale of the row, or one of all rows:
    /// those scales; else empty.
    pub scales: &'a mut Vec<Vec<f32>>,
}

impl Buffers<'_> {
    pub(super) fn take(&mut self, id: BufferId) -> Memory {
        std::mem::take(&mut self.memory[self.storage[id.index()]])
    }

    /// Whether two buffers lie in the same memory.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn same_memory(&self, a: BufferId, b: BufferId) -> bool {
        self.storage[a.index()] == self.storage[b.index()]
    }

    /// What was known of a buffer is no longer true when it has been written.
    pub(super) fn put(&mut self, id: BufferId, memory: Memory) {
        self.scales[id.index()].clear();
        self.memory[self.storage[id.index()]] = memory;
    }

    /// Elements of a buffer; of one that grows, those it has so far.
    pub(super) fn len(&self, id: BufferId) -> usize {
        let decl = &self.decls[id.index()];
        match decl.role {
            Role::Growing(_) => self.memory[self.storage[id.index()]].len() / decl.elem.bytes(),
            _ => decl.len,
        }
    }

    pub(super) fn view<T: Pod>(&self, id: BufferId) -> &[T] {
        self.memory[self.storage[id.index()]].view(self.len(id))
    }

    /// See `scales`.
    pub(super) fn known_scales(&self, id: BufferId) -> Option<&[f32]> {
        Some(&*self.scales[id.index()]).filter(|s| !s.is_empty())
    }

    pub(super) fn f32(&self, id: BufferId) -> &[f32] {
        self.view(id)
    }

    pub(super) fn u32(&self, id: BufferId) -> &[u32] {
        self.view(id)
    }

    pub(super) fn weight<'b>(&'b self, w: &Weight) -> WeightView<'b> {
        WeightView {
            mode: w.mode,
            data: &self.memory[self.storage[w.data.index()]].bytes()
                [..self.decls[w.data.index()].bytes()],
            scales: w.scales.map_or(&[], |s| self.f32(s)),
            #[cfg(not(target_arch = "wasm32"))]
            by_four: match (w.mode, w.scales) {
                (QuantMode::Ternary | QuantMode::Binary, Some(s)) => {
                    let memory = &self.memory[self.storage[s.index()]];
                    memory.by_four(self.len(s), w.in_dim / w.group)
                }
                _ => &[],
            },
            out_dim: w.out_dim,
            in_dim: w.in_dim,
            group: w.group,
        }
    }

    /// Call `f` with the buffers to write taken out (as f32), then put them back.
    pub(super) fn with<const N: usize>(
        &mut self,
        ids: [BufferId; N],
        f: impl FnOnce(&Self, [&mut [f32]; N]),
    ) {
        let lens = ids.map(|id| self.len(id));
        let mut taken = ids.map(|id| self.take(id));
        let mut i = 0;
        f(
            self,
            taken.each_mut().map(|m| {
                i += 1;
                m.view_mut(lens[i - 1])
            }),
        );
        for (id, memory) in ids.into_iter().zip(taken) {
            self.put(id, memory);
        }
    }
}
