//! The CPU backend: SIMD kernels chosen at run time, threads by rayon or a page's helpers, the same
//! results for any number of threads.

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod dots;
mod exec;
mod forward;
mod int;
#[cfg(all(feature = "training", not(target_arch = "wasm32")))]
mod integers;
mod linear;
mod matmul;
mod memory;
mod portable;
mod preference;
mod relations;
mod sample;
pub mod simd;
mod training;
mod vectors;

use exec::Buffers;
use std::collections::HashMap;
use std::ops::Range;

use super::training::training;
use super::{
    Backend, BackendError, DeviceInfo, Later, LocalFuture, MemoryLimits, MemoryUse, ProgramId,
};
pub(crate) use memory::Memory;
#[cfg(feature = "native")]
pub(crate) use memory::sum_words;
use simd::Level;
use ternary_common::platform::par;
use ternary_common::platform::{Arena, Mapped};
use ternary_model::program::{BufferId, Op, Program, Role, RunParams};

/// A program with the storage index of each of its buffers.
struct Prepared {
    program: Program,
    storage: Vec<usize>,
    /// Of every buffer that holds codes times scales, see [`exec::Buffers`].
    scales: Vec<Vec<f32>>,
}

/// Runs programs on this machine's processor.
pub struct CpuBackend {
    level: Level,
    threads: usize,
    #[cfg(feature = "native")]
    pool: Option<rayon::ThreadPool>,
    memory: Vec<Memory>,
    /// Where parameters, keys and values, and what training computes lie together if they are too
    /// small for huge pages of their own. What inference computes gains nothing by that.
    arena: Arena,
    shared: HashMap<String, usize>,
    /// Scratch slots are common to all programs, which never run at the same time.
    slots: Vec<usize>,
    programs: Vec<Prepared>,
}

impl CpuBackend {
    /// `threads`: 0 = as many as the machine has.
    pub fn new(threads: usize) -> Self {
        let threads = if threads == 0 {
            ternary_common::platform::threads()
        } else {
            threads
        };
        let threads = ternary_common::platform::start_helpers(threads);
        CpuBackend {
            level: Level::best(),
            threads,
            #[cfg(feature = "native")]
            // A pool of one, too: without it work would spread over rayon's global pool.
            pool: rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .map_err(|e| log::warn!("threads cannot be limited to {threads}: {e}"))
                .ok(),
            memory: Vec::new(),
            arena: Arena::default(),
            shared: HashMap::new(),
            slots: Vec::new(),
            programs: Vec::new(),
        }
    }

    /// Where it is kept.
    fn keep(&mut self, memory: Memory) -> usize {
        self.memory.push(memory);
        self.memory.len() - 1
    }

    fn locate(&self, program: ProgramId, buffer: BufferId) -> (usize, usize) {
        let prepared = &self.programs[program.0];
        (
            prepared.storage[buffer.index()],
            prepared.program.buffers[buffer.index()].bytes(),
        )
    }

    /// Contents of a shared buffer, without a copy.
    pub fn shared(&self, name: &str) -> Option<&[u8]> {
        self.shared.get(name).map(|i| self.memory[*i].bytes())
    }
}

impl Backend for CpuBackend {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            kind: crate::DeviceKind::Cpu,
            name: format!(
                "{}, {} thread{}",
                self.level.name(),
                self.threads,
                if self.threads == 1 { "" } else { "s" }
            ),
            software: false,
        }
    }

    fn prefill_rows(&self) -> usize {
        // Weights are unpacked once a step; a page answers to its reader between two.
        if cfg!(feature = "native") { 256 } else { 64 }
    }

    fn reserve(&mut self, name: &str, bytes: usize) -> Result<(), BackendError> {
        let index = match self.shared.get(name) {
            Some(index) => *index,
            None => {
                let memory = Memory::in_arena(bytes, &mut self.arena);
                let index = self.keep(memory);
                self.shared.insert(name.to_owned(), index);
                index
            }
        };
        let expected = self.memory[index].len();
        if bytes == expected {
            Ok(())
        } else {
            Err(BackendError::Size {
                name: name.to_owned(),
                found: bytes,
                expected,
            })
        }
    }

    fn upload_part(
        &mut self,
        name: &str,
        offset: usize,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), BackendError> {
        let memory = self
            .shared
            .get(name)
            .map(|index| &mut self.memory[*index])
            .ok_or_else(|| BackendError::NoBuffer(name.to_owned()))?;
        let expected = memory.len();
        match memory.bytes_mut().get_mut(offset..offset + len) {
            Some(part) => {
                fill(part);
                Ok(())
            }
            None => Err(BackendError::Size {
                name: name.to_owned(),
                found: offset + len,
                expected,
            }),
        }
    }

    fn adopt(&mut self, name: &str, bytes: Mapped) -> Result<bool, BackendError> {
        // The kernels read elements of up to four bytes.
        if self.shared.contains_key(name) || bytes.bytes().as_ptr().align_offset(4) != 0 {
            return Ok(false);
        }
        let index = self.keep(Memory::mapped(bytes));
        self.shared.insert(name.to_owned(), index);
        Ok(true)
    }

    fn prepare(&mut self, program: Program) -> Result<ProgramId, BackendError> {
        for op in &program.ops {
            crate::training::check(op, "the CPU")?;
        }
        let trains = |op: &Op| matches!(op, training!());
        let trains = program.ops.iter().any(trains);
        for (slot, bytes) in program.slots.iter().enumerate() {
            let memory = match self.slots.get(slot) {
                Some(index) if self.memory[*index].len() >= *bytes => continue,
                _ if trains => Memory::in_arena(*bytes, &mut self.arena),
                _ => Memory::zeroed(*bytes),
            };
            match self.slots.get(slot) {
                Some(index) => self.memory[*index] = memory,
                None => {
                    let index = self.keep(memory);
                    self.slots.push(index);
                }
            }
        }
        let mut storage = Vec::with_capacity(program.buffers.len());
        for decl in &program.buffers {
            let index = match &decl.role {
                Role::Scratch { slot } => self.slots.get(*slot).copied().unwrap_or(usize::MAX),
                Role::Io => self.keep(Memory::zeroed(decl.bytes())),
                Role::Shared(name) => {
                    self.reserve(name, decl.bytes())?;
                    self.shared[name]
                }
                Role::Growing(name) => match self.shared.get(name) {
                    Some(index) => *index,
                    None => {
                        let memory = Memory::growing(decl.bytes(), &mut self.arena);
                        let index = self.keep(memory);
                        self.shared.insert(name.clone(), index);
                        index
                    }
                },
            };
            storage.push(index);
        }
        self.programs.push(Prepared {
            scales: vec![Vec::new(); program.buffers.len()],
            program,
            storage,
        });
        Ok(ProgramId(self.programs.len() - 1))
    }

    fn grow<'a>(
        &'a mut self,
        sizes: &'a [(String, usize)],
    ) -> LocalFuture<'a, Result<(), BackendError>> {
        let grown = sizes.iter().try_for_each(|(name, bytes)| {
            let index = *self
                .shared
                .get(name)
                .ok_or_else(|| BackendError::NoBuffer(name.clone()))?;
            if self.memory[index].grow(*bytes) {
                return Ok(());
            }
            Err(BackendError::OutOfMemory {
                device: "CPU",
                what: name.clone(),
                bytes: *bytes as u64,
            })
        });
        Box::pin(async move { grown })
    }

    fn write(
        &mut self,
        program: ProgramId,
        buffer: BufferId,
        bytes: &[u8],
    ) -> Result<(), BackendError> {
        let (index, expected) = self.locate(program, buffer);
        if bytes.len() > expected {
            return Err(BackendError::Size {
                name: format!("{buffer:?}"),
                found: bytes.len(),
                expected,
            });
        }
        self.memory[index].bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        self.programs[program.0].scales[buffer.index()].clear();
        Ok(())
    }

    fn run(&mut self, program: ProgramId, run_params: &RunParams) -> Result<(), BackendError> {
        let all = 0..self.programs[program.0].program.ops.len();
        self.run_part(program, all, run_params)
    }

    fn run_part(
        &mut self,
        program: ProgramId,
        ops: Range<usize>,
        run_params: &RunParams,
    ) -> Result<(), BackendError> {
        let prepared = &mut self.programs[program.0];
        let level = self.level;
        let mut buffers = Buffers {
            memory: &mut self.memory,
            storage: &prepared.storage,
            decls: &prepared.program.buffers,
            scales: &mut prepared.scales,
        };
        let run = || {
            let ops = &prepared.program.ops[ops.clone()];
            exec::run(ops, &mut buffers, run_params, level);
        };
        #[cfg(feature = "native")]
        if let Some(pool) = &self.pool {
            pool.install(|| par::awake(run));
            return Ok(());
        }
        par::on(self.threads, run);
        Ok(())
    }

    fn read<'a>(
        &'a mut self,
        program: ProgramId,
        buffers: &'a [BufferId],
    ) -> LocalFuture<'a, Result<Vec<Vec<u8>>, BackendError>> {
        let read = buffers
            .iter()
            .map(|b| {
                let (index, len) = self.locate(program, *b);
                self.memory[index].bytes()[..len].to_vec()
            })
            .collect();
        Box::pin(async move { Ok(read) })
    }

    fn look_at(&self, program: ProgramId, buffer: BufferId) -> Option<&[u8]> {
        let (index, len) = self.locate(program, buffer);
        Some(&self.memory[index].bytes()[..len])
    }

    fn read_later(&mut self, program: ProgramId, buffer: BufferId) -> Result<Later, BackendError> {
        let (index, len) = self.locate(program, buffer);
        let read = self.memory[index].bytes()[..len].to_vec();
        Ok(Box::pin(async move { Ok(read) }))
    }

    fn download<'a>(&'a mut self, name: &'a str) -> LocalFuture<'a, Result<Vec<u8>, BackendError>> {
        let found = self
            .shared(name)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| BackendError::NoBuffer(name.to_owned()));
        Box::pin(async move { found })
    }

    fn plan(&self, programs: &[&Program]) -> MemoryUse {
        let mut used = MemoryUse::default();
        let mut slots: Vec<u64> = Vec::new();
        for program in programs {
            used.add_buffers(program, |bytes| bytes as u64);
            for (slot, bytes) in program.slots.iter().enumerate() {
                if slot == slots.len() {
                    slots.push(0);
                }
                slots[slot] = slots[slot].max(*bytes as u64);
            }
        }
        used.add_scratch(slots);
        used
    }

    fn memory(&self) -> MemoryUse {
        let mut used = MemoryUse::default();
        for prepared in &self.programs {
            used.add_buffers(&prepared.program, |bytes| bytes as u64);
        }
        let bytes = |index: &usize| self.memory[*index].len() as u64;
        used.shared = self
            .shared
            .iter()
            .map(|(name, index)| (name.clone(), bytes(index)))
            .collect();
        used.add_scratch(self.slots.iter().map(bytes));
        used
    }

    fn limits(&self) -> MemoryLimits {
        MemoryLimits {
            total: ternary_common::platform::available_memory(),
            ..MemoryLimits::default()
        }
    }

    fn clear(&mut self) {
        self.memory.clear();
        self.arena = Arena::default();
        self.shared.clear();
        self.slots.clear();
        self.programs.clear();
    }
}

#[cfg(test)]
#[cfg(feature = "native")]
mod tests {
    #[test]
    fn threads_are_limited_to_what_was_asked() {
        for threads in [1, 3] {
            let pool = super::CpuBackend::new(threads).pool.unwrap();
            assert_eq!(pool.install(rayon::current_num_threads), threads);
        }
    }
}
