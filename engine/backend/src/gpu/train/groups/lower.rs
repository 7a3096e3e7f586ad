//! The dispatches of a group.

use ternary_shaders as shaders;
use wgpu::util::DeviceExt;

use super::super::super::forms::Forms;
use super::super::super::fuse::BINDING_ALIGNMENT;
use super::super::super::kernel::{Call, Slice};
use super::super::super::memory::Memory;
use super::super::products::{self, apart};
use super::super::{Lowered, stretches, workspace};
use super::tensors;
use crate::BackendError;
use ternary_model::program::{BufferId, Op};

/// Workgroups in one dimension of a grid.
const MAX_GRID: usize = 65_535;

pub(in super::super::super) fn lower(unit: &[Op], memory: &Memory, forms: &Forms) -> Lowered {
    let mut calls = Vec::new();
    let mut rest = unit;
    while !rest.is_empty() {
        let run = Run::at_start(rest, memory)?;
        let (ops, behind) = rest.split_at(run.len);
        calls.extend(match ops {
            [op] => alone(op, memory, forms)?,
            _ => run.calls(ops, memory, forms)?,
        });
        rest = behind;
    }
    Ok(calls)
}

fn alone(op: &Op, memory: &Memory, forms: &Forms) -> Lowered {
    super::super::lower(op, memory, forms)
        .unwrap_or_else(|| unreachable!("groups are of training's operations"))
}

/// The buffers of an operation that those of the next have to lie behind.
fn columns(op: &Op) -> Vec<BufferId> {
    // A sum may go anywhere.
    if let Op::SquaredNorm { grad, .. } = op {
        return vec![*grad];
    }
    let mut op = op.clone();
    let ids = tensors(&mut op).unwrap_or_default();
    ids.into_iter().map(|id| *id).collect()
}

/// Operations of a group whose buffers lie one behind the other.
struct Run {
    len: usize,
    /// By column.
    slices: Vec<Slice>,
}

impl Run {
    /// Of as many of the first operations as one binding holds.
    fn at_start(ops: &[Op], memory: &Memory) -> Result<Run, BackendError> {
        let slices = |op: &Op| -> Result<Vec<Slice>, BackendError> {
            let ids = columns(op).into_iter();
            ids.map(|id| memory.slice(id)).collect()
        };
        let mut run = Run {
            len: 0,
            slices: slices(&ops[0])?,
        };
        for slice in &mut run.slices {
            slice.size = 0;
        }
        for op in ops {
            let own = slices(op)?;
            let both = run.slices.iter().zip(&own);
            let longer = both.map(|(slice, own)| extended(slice, own, memory));
            let Some(longer) = longer.collect::<Option<Vec<_>>>() else {
                break;
            };
            run.slices = longer;
            run.len += 1;
        }
        // One that is too large for a binding says so when it is alone.
        run.len = run.len.max(1);
        Ok(run)
    }

    fn calls(&self, ops: &[Op], memory: &Memory, forms: &Forms) -> Lowered {
        // What lies between two tensors is computed, too, and read by nobody.
        let floats = self.slices[0].size as usize / size_of::<f32>();
        let mut op = ops[0].clone();
        let calls = match &mut op {
            Op::SquaredNorm { .. } => return self.squared_norms(ops, memory, forms),
            Op::MatMul { .. } => products::matmul(&op, memory, forms, ops.len())?,
            Op::Normalize { len, .. } => {
                let own = std::mem::replace(len, floats);
                let calls = alone(&op, memory, forms)?.into_iter();
                calls.map(|call| call.size("APART", apart(own))).collect()
            }
            Op::SteBackward { len, .. }
            | Op::AdamW { len, .. }
            | Op::Momentum { len, .. }
            | Op::Scale { len, .. }
            | Op::TakeStep { len, .. } => {
                *len = floats;
                alone(&op, memory, forms)?
            }
            other => unreachable!("{} is in no group", other.name()),
        };
        let calls = calls.into_iter();
        Ok(calls.map(|call| call.widened(&self.slices)).collect())
    }

    /// All stretches of all tensors in one dispatch, and what joins those of each in another.
    fn squared_norms(&self, ops: &[Op], memory: &Memory, forms: &Forms) -> Lowered {
        let sums = ops.iter().map(|op| match *op {
            Op::SquaredNorm {
                grad,
                out,
                slot,
                len,
            } => Ok((memory.slice(grad)?, memory.slice(out)?, slot, len)),
            _ => unreachable!("a group is of one kind"),
        });
        let sums = sums.collect::<Result<Vec<_>, BackendError>>()?;
        let (_, first, ..) = &sums[0];
        if sums.iter().any(|(_, out, ..)| out.buffer != first.buffer) {
            let calls = ops.iter().map(|op| alone(op, memory, forms));
            return Ok(calls
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect());
        }
        let ends = sums.iter().map(|(_, out, ..)| out.offset + out.size);
        let begin = sums.iter().map(|(_, out, ..)| out.offset).min();
        let begin = begin.unwrap_or(first.offset);
        let out = Slice {
            offset: begin,
            size: ends.max().unwrap_or(begin) - begin,
            ..first.clone()
        };
        let grads = &self.slices[0];
        let floats = |bytes: u64| bytes as usize / size_of::<f32>();
        let (mut parts, mut tensors) = (Vec::new(), Vec::new());
        for (grad, own, slot, len) in &sums {
            let start = floats(grad.offset - grads.offset);
            let (count, stretch) = stretches(*len);
            let index = floats(own.offset - begin) + slot;
            tensors.push([parts.len(), parts.len() + count, index]);
            for at in (0..*len).step_by(stretch) {
                let end = (at + stretch).min(*len);
                parts.push([start + at, start + end, parts.len()]);
            }
        }
        if parts.len() == tensors.len() {
            for (part, [.., index]) in parts.iter_mut().zip(&tensors) {
                part[2] = *index;
            }
            return Ok(vec![sum(grads.clone(), out, &parts, true, memory)]);
        }
        let space = workspace(memory, parts.len());
        Ok(vec![
            sum(grads.clone(), space.clone(), &parts, true, memory),
            sum(space, out, &tensors, false, memory),
        ])
    }
}

/// `slice` with what lies behind it, if that is `own` and one binding holds both.
fn extended(slice: &Slice, own: &Slice, memory: &Memory) -> Option<Slice> {
    let size = slice.size + own.size.next_multiple_of(BINDING_ALIGNMENT as u64);
    let fits = own.buffer == slice.buffer
        && own.offset == slice.offset + slice.size
        && size <= memory.max_binding
        && slice.offset + size <= slice.buffer.size();
    fits.then(|| Slice {
        size,
        ..slice.clone()
    })
}

/// Sums over stretches of `x`, of each its begin, its end, and where in `out` it goes.
fn sum(x: Slice, out: Slice, table: &[[usize; 3]], squared: bool, memory: &Memory) -> Call {
    // Some at the end are summed twice where the grid is not quite full.
    let rows = table.len().div_ceil(MAX_GRID);
    let width = table.len().div_ceil(rows);
    let padded = (0..rows * width).map(|i| table[i.min(table.len() - 1)]);
    let words: Vec<u32> = padded
        .flat_map(|[begin, end, index]| [begin, end, index, 0].map(|word| word as u32))
        .collect();
    let table = memory
        .device
        .create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("stretches"),
            contents: bytemuck::cast_slice(&words),
            usage: wgpu::BufferUsages::STORAGE,
        });
    Call::new(&shaders::SUM_STRETCHES)
        .bind("x", x)
        .bind("out", out)
        .bind("table", Slice::whole(&table))
        .set("SQUARED", squared)
        .grid([width, rows, 1])
}
