//! Builds a [`Program`].

use std::collections::HashMap;

use super::{BufferDecl, BufferId, Elem, Op, Program, Role, plan_slots};

/// Collects buffers and operations in the order the model records them.
///
/// ```
/// use ternary_backend::{Backend, cpu::CpuBackend, elements};
/// use ternary_model::program::{Elem, RunParams, Op, Recorder};
///
/// let mut rec = Recorder::new();
/// let (x, out) = (rec.io(Elem::F32, 3), rec.io(Elem::F32, 3));
/// rec.push(Op::Scale { x, out, scale: 2.0, len: 3, accumulate: false });
/// let mut backend = CpuBackend::new(1);
/// let program = backend.prepare(rec.finish("twice"))?;
/// let values: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// backend.write(program, x, &values)?;
/// backend.run(program, &RunParams::default())?;
/// let read = pollster::block_on(backend.read(program, &[out]))?;
/// assert_eq!(elements::<f32>(&read[0]), [2.0, 4.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Recorder {
    buffers: Vec<BufferDecl>,
    ops: Vec<Op>,
    shared: HashMap<String, BufferId>,
}

impl Recorder {
    pub fn new() -> Self {
        Self::default()
    }

    fn declare(&mut self, role: Role, elem: Elem, len: usize) -> BufferId {
        self.buffers.push(BufferDecl { role, elem, len });
        BufferId((self.buffers.len() - 1) as u32)
    }

    /// The backend-wide buffer of this name; asking twice gives the same id.
    pub fn shared(&mut self, name: &str, elem: Elem, len: usize) -> BufferId {
        self.named(Role::Shared, name, elem, len)
    }

    /// The same for a buffer that grows to `len` elements.
    pub fn growing(&mut self, name: &str, elem: Elem, len: usize) -> BufferId {
        self.named(Role::Growing, name, elem, len)
    }

    fn named(&mut self, role: fn(String) -> Role, name: &str, elem: Elem, len: usize) -> BufferId {
        if let Some(id) = self.shared.get(name) {
            debug_assert_eq!(self.buffers[id.index()].len, len, "{name}");
            return *id;
        }
        let id = self.declare(role(name.to_owned()), elem, len);
        self.shared.insert(name.to_owned(), id);
        id
    }

    /// A buffer the host reads or writes between runs.
    pub fn io(&mut self, elem: Elem, len: usize) -> BufferId {
        self.declare(Role::Io, elem, len)
    }

    pub fn scratch(&mut self, elem: Elem, len: usize) -> BufferId {
        self.declare(Role::Scratch { slot: usize::MAX }, elem, len)
    }

    pub fn f32(&mut self, len: usize) -> BufferId {
        self.scratch(Elem::F32, len)
    }

    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    pub fn finish(mut self, label: &str) -> Program {
        let slots = plan_slots(&mut self.buffers, &self.ops);
        Program {
            label: label.to_owned(),
            buffers: self.buffers,
            ops: self.ops,
            slots,
        }
    }
}
