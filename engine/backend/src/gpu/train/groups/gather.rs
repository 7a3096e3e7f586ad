//! Where parameters, gradients and moments lie.

use super::super::super::device::storage_bytes;
use super::super::super::fuse::BINDING_ALIGNMENT;
use super::super::super::kernel::Slice;
use super::super::super::{GpuBackend, Shared};
use crate::BackendError;
use ternary_model::program::{BufferId, Op, Program, Role};

/// Bytes of buffers that lie together, at most: those that move are twice in memory meanwhile.
const MOST_BYTES: u64 = 1 << 30;

/// Parameters, gradients, first and second moments, in the order in which groups go through them.
fn columns(program: &Program) -> [Vec<BufferId>; 4] {
    let mut columns: [Vec<BufferId>; 4] = Default::default();
    let [params, grads, means, squares] = &mut columns;
    for op in &program.ops {
        match *op {
            Op::AdamW {
                param, grad, m, v, ..
            } => {
                params.push(param);
                grads.push(grad);
                means.push(m);
                squares.push(v);
            }
            Op::Momentum { grad, m, .. } => {
                grads.push(grad);
                means.push(m);
            }
            Op::TakeStep { param, .. } => params.push(param),
            _ => {}
        }
    }
    columns
}

impl GpuBackend {
    /// Lay the buffers that an optimizer's step goes through one behind the other, each kind for
    /// itself. They keep their names and contents; what other programs have bound is bound anew.
    pub(in super::super::super) fn gather(
        &mut self,
        program: &Program,
    ) -> Result<(), BackendError> {
        let most = MOST_BYTES
            .min(self.gpu.max_binding)
            .min(self.gpu.max_buffer);
        for column in columns(program) {
            let mut together: Vec<(&str, usize)> = Vec::new();
            let mut bytes = 0;
            for id in column {
                let decl = &program.buffers[id.index()];
                let Role::Shared(name) = &decl.role else {
                    continue;
                };
                let own = room(decl.bytes());
                if bytes + own > most {
                    self.lay_together(&std::mem::take(&mut together))?;
                    bytes = 0;
                }
                together.push((name.as_str(), decl.bytes()));
                bytes += own;
            }
            self.lay_together(&together)?;
        }
        Ok(())
    }

    /// Make one buffer of those of these names and bytes, unless some are part of another already.
    fn lay_together(&mut self, names: &[(&str, usize)]) -> Result<(), BackendError> {
        let old = names.iter().map(|(name, bytes)| {
            let is_there = self.shared.contains_key(*name);
            let slice = is_there.then(|| self.shared(name, *bytes).cloned());
            slice.transpose()
        });
        let old = old.collect::<Result<Vec<Option<Slice>>, _>>()?;
        let is_part = |slice: &Slice| slice.size != slice.buffer.size();
        if names.len() < 2 || old.iter().flatten().any(is_part) {
            return Ok(());
        }
        let total: u64 = names.iter().map(|(_, bytes)| room(*bytes)).sum();
        let what = format!("{} to {}", names[0].0, names[names.len() - 1].0);
        let buffer = self.gpu.storage(&what, total as usize)?;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let mut offset = 0;
        for ((name, bytes), old) in names.iter().zip(&old) {
            if let Some(old) = old {
                encoder.copy_buffer_to_buffer(&old.buffer, 0, &buffer, offset, old.size);
            }
            let bytes = *bytes;
            let slice = Slice {
                buffer: buffer.clone(),
                offset,
                size: storage_bytes(bytes),
            };
            let shared = Shared { slice, bytes };
            self.shared.insert((*name).to_owned(), shared);
            offset += room(bytes);
        }
        self.gpu.queue.submit([encoder.finish()]);
        if old.iter().all(Option::is_none) {
            return Ok(());
        }
        drop(old);
        self.rebind()?;
        // More is allocated when the old ones are gone.
        self.gpu.poll(wgpu::PollType::wait_indefinitely())
    }
}

/// What a buffer of `bytes` takes beside others.
fn room(bytes: usize) -> u64 {
    storage_bytes(bytes).next_multiple_of(BINDING_ALIGNMENT as u64)
}
