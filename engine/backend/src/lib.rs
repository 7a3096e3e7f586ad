//! Interpreters of [`Program`]s. The CPU (SIMD) and the GPU (wgpu) run the same operations.

#![cfg_attr(
    not(feature = "training"),
    allow(dead_code, unused_imports, reason = "what only training calls")
)]

pub mod bench;
pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(test)]
#[cfg(feature = "gpu")]
mod tests;
mod training;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

pub use ternary_common::bytes::LocalFuture;
use ternary_common::bytes::Size;
use ternary_common::platform::Mapped;
use ternary_model::program::{BufferId, Program, Role, RunParams};

/// Steps of a text that are queued while the token of an earlier one is on its way back: enough to
/// hide that, few enough that little is thrown away where the text ends.
pub const STEPS_AHEAD: usize = 2;

/// A program the backend has allocated memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramId(pub usize);

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("{device} cannot run operation `{op}`: {reason}")]
    Unsupported {
        device: &'static str,
        op: &'static str,
        reason: String,
    },
    #[error(
        "out of memory on {device}: {what} needs {bytes} bytes; close other programs, use a smaller model or context, or --device cpu"
    )]
    OutOfMemory {
        device: &'static str,
        what: String,
        bytes: u64,
    },
    #[error("buffer `{name}` has {found} bytes, expected {expected}")]
    Size {
        name: String,
        found: usize,
        expected: usize,
    },
    #[error("there is no buffer `{0}`")]
    NoBuffer(String),
    #[error(
        "no usable GPU: {0}. It takes a driver for Vulkan, Metal or DX12, or a browser with WebGPU"
    )]
    NoAdapter(String),
    #[error("the GPU was lost: {0}")]
    DeviceLost(String),
    #[error("the GPU driver reported an error: {0}")]
    Driver(String),
    #[error("ONEBIT_GPU_FORMS names `{name}`, a form that this GPU does not have; it has {known}")]
    UnknownForm { name: String, known: String },
}

/// What runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    Cpu,
    Gpu,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Gpu => "gpu",
        })
    }
}

/// What runs the model, for people to read.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DeviceInfo {
    pub kind: DeviceKind,
    /// Adapter or instruction set, e.g. "AVX-512 VNNI, 2 threads".
    pub name: String,
    /// A GPU interface in software (lavapipe, SwiftShader).
    pub software: bool,
}

/// How a backend is opened.
#[derive(Clone, Debug, Default)]
pub struct BackendOptions {
    /// CPU threads; 0 = as many as the machine has.
    pub threads: usize,
    /// On a GPU that can, round the operands of training's matrix products to f16; sums and
    /// everything else stay f32.
    pub f16_products: bool,
    /// Where a GPU's compiled pipelines, and what was found to be the fastest on it, are kept;
    /// nowhere if unset.
    pub cache_folder: Option<std::path::PathBuf>,
}

/// Bytes of memory by what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Shared buffers by name.
    pub shared: BTreeMap<String, u64>,
    /// Buffers of one program that the host reads or writes.
    pub io: u64,
    /// What lives within a run; programs never run at the same time and share it.
    pub scratch: u64,
    /// The largest single buffer.
    pub largest: u64,
}

impl MemoryUse {
    pub fn total(&self) -> u64 {
        self.shared.values().sum::<u64>() + self.io + self.scratch
    }

    /// Add the shared and Io buffers of `program`; `size(bytes)` is what a buffer of `bytes` takes.
    fn add_buffers(&mut self, program: &Program, size: impl Fn(usize) -> u64) {
        for decl in &program.buffers {
            let bytes = size(decl.bytes());
            match &decl.role {
                Role::Shared(name) | Role::Growing(name) => {
                    self.shared.insert(name.clone(), bytes);
                }
                Role::Io => self.io += bytes,
                Role::Scratch { .. } => continue,
            }
            self.largest = self.largest.max(bytes);
        }
    }

    fn add_scratch(&mut self, slots: impl IntoIterator<Item = u64>) {
        for bytes in slots {
            self.scratch += bytes;
            self.largest = self.largest.max(bytes);
        }
    }
}

/// What a backend can allocate, where it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Bytes of the largest buffer an operation can use.
    pub buffer: Option<u64>,
    /// The same of a weight matrix, which an operation may use in parts.
    pub matrix: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
}

impl fmt::Display for MemoryLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.total, self.buffer) {
            (None, None) => write!(f, "an unknown amount"),
            (Some(total), None) => write!(f, "{}", Size(total)),
            (None, Some(buffer)) => write!(f, "{} in one buffer", Size(buffer)),
            (Some(total), Some(buffer)) => {
                write!(f, "{}, of it {} in one buffer", Size(total), Size(buffer))
            }
        }
    }
}

/// A buffer's contents on their way back.
pub type Later = LocalFuture<'static, Result<Vec<u8>, BackendError>>;

/// Runs programs. Shared buffers are known by name to all programs of a backend.
pub trait Backend {
    fn info(&self) -> DeviceInfo;

    /// Token rows of a prefill step: enough to make the most of every weight that is read, few
    /// enough that a run can be stopped soon.
    fn prefill_rows(&self) -> usize {
        64
    }

    /// Create or overwrite the shared buffer `name` with `bytes` (little-endian elements).
    fn upload(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackendError> {
        self.reserve(name, bytes.len())?;
        self.upload_part(name, 0, bytes.len(), &mut |part| {
            part.copy_from_slice(bytes)
        })
    }

    /// Create the shared buffer `name` of `bytes` zeros; one that exists must have this size and
    /// keeps its contents.
    fn reserve(&mut self, name: &str, bytes: usize) -> Result<(), BackendError>;

    /// Have `fill` write the `len` bytes at `offset` (multiples of 4) of a reserved buffer, in
    /// place where that is possible: what is uploaded in parts is never in memory twice. The bytes
    /// that `fill` gets are arbitrary.
    fn upload_part(
        &mut self,
        name: &str,
        offset: usize,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), BackendError>;

    /// Make part of a mapped file the new shared buffer `name`, without a copy. Returns whether
    /// this backend can.
    fn adopt(&mut self, _name: &str, _bytes: Mapped) -> Result<bool, BackendError> {
        Ok(false)
    }

    /// Allocate what `program` needs. Shared buffers that do not exist yet are created and zeroed;
    /// existing ones must have the declared size.
    fn prepare(&mut self, program: Program) -> Result<ProgramId, BackendError>;

    /// Where an operation can be computed in several ways, find the fastest for what is prepared.
    /// It takes some milliseconds for every shape that is new to this device. Results stay the
    /// same.
    fn tune(&mut self) -> LocalFuture<'_, Result<(), BackendError>> {
        Box::pin(async { Ok(()) })
    }

    /// Make growing buffers of prepared programs at least so many bytes long. What they hold stays;
    /// what is new is arbitrary.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`], after which every buffer keeps its contents and has at least
    /// the length it had.
    fn grow<'a>(
        &'a mut self,
        sizes: &'a [(String, usize)],
    ) -> LocalFuture<'a, Result<(), BackendError>>;

    /// Write an Io buffer of a program, from its start; `bytes` may be shorter than the buffer.
    fn write(
        &mut self,
        program: ProgramId,
        buffer: BufferId,
        bytes: &[u8],
    ) -> Result<(), BackendError>;

    /// Queue one run. The GPU returns before it has finished.
    fn run(&mut self, program: ProgramId, run_params: &RunParams) -> Result<(), BackendError>;

    /// Queue the operations `ops` of one run: a caller goes through a program's in order, part by
    /// part. A backend that cannot stop within a run makes all of it with the first part.
    fn run_part(
        &mut self,
        program: ProgramId,
        ops: Range<usize>,
        run_params: &RunParams,
    ) -> Result<(), BackendError> {
        match ops.start {
            0 => self.run(program, run_params),
            _ => Ok(()),
        }
    }

    /// Whether runs are queued, so that a read waits for all of them; otherwise each is over when
    /// [`Backend::run`] returns.
    fn queues(&self) -> bool {
        false
    }

    /// Wait until no more than the last few queued runs are unfinished: a loop that never reads
    /// must not queue without bound.
    fn throttle(&mut self) -> LocalFuture<'_, Result<(), BackendError>> {
        Box::pin(async { Ok(()) })
    }

    /// The contents of one or more buffers of a program (Io or shared), after all queued runs; one
    /// round trip.
    fn read<'a>(
        &'a mut self,
        program: ProgramId,
        buffers: &'a [BufferId],
    ) -> LocalFuture<'a, Result<Vec<Vec<u8>>, BackendError>>;

    /// The contents of a buffer of a program as they are, where the host can look at them without a
    /// copy; `None` where they must be read.
    fn look_at(&self, _program: ProgramId, _buffer: BufferId) -> Option<&[u8]> {
        None
    }

    /// The contents of one buffer after the runs queued so far, to be waited for later: others may
    /// be queued meanwhile.
    fn read_later(&mut self, program: ProgramId, buffer: BufferId) -> Result<Later, BackendError>;

    /// Bytes that have been copied back from a device.
    fn read_bytes(&self) -> u64 {
        0
    }

    /// The contents of a shared buffer.
    fn download<'a>(&'a mut self, name: &'a str) -> LocalFuture<'a, Result<Vec<u8>, BackendError>>;

    /// What preparing `programs`, in this order, allocates on an empty backend.
    fn plan(&self, programs: &[&Program]) -> MemoryUse;

    /// What is allocated.
    fn memory(&self) -> MemoryUse;

    fn limits(&self) -> MemoryLimits;

    /// Whether the device is gone, so that every later call fails.
    fn is_lost(&self) -> bool {
        false
    }

    /// Forget all programs and shared buffers.
    fn clear(&mut self);
}

/// Bytes read back from a backend as elements.
pub fn elements<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    let mut all = vec![T::zeroed(); bytes.len() / size_of::<T>()];
    let copied: &mut [u8] = bytemuck::cast_slice_mut(&mut all);
    copied.copy_from_slice(&bytes[..copied.len()]);
    all
}
