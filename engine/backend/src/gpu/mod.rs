//! The wgpu backend: Vulkan, Metal and DX12 natively, WebGPU in the browser. It runs inference and
//! training.
//!
//! `prepare` turns every operation into dispatches (lower) with buffers, pipelines and bind groups
//! made once; a run writes the run_params and submits one compute pass; a read (read) is one copy
//! and one map. WGSL is in the `ternary-shaders` crate.

mod attention;
mod cache;
pub(crate) mod cooperative;
pub(crate) mod device;
pub(crate) mod forms;
pub(crate) mod fuse;
mod kernel;
mod linear;
mod lower;
mod memory;
pub(crate) mod precision;
mod read;
#[cfg(feature = "training")]
mod train;
mod tune;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

pub use self::device::Adapter;

use futures_channel::oneshot;

use self::device::{Gpu, storage_bytes};
use self::forms::{Form, Heads};
use self::fuse::Fused;
use self::kernel::{Kernels, Slice, Step};
use self::memory::{Memory, Pool};
use self::precision::Product;
use self::read::{Read, Staging};
#[cfg(all(feature = "training", not(target_arch = "wasm32")))]
use self::train::groups;
#[cfg(feature = "training")]
use self::train::products::Multiplied;
use super::{
    Backend, BackendError, BackendOptions, DeviceInfo, Later, LocalFuture, MemoryLimits, MemoryUse,
    ProgramId,
};
use ternary_common::platform::Instant;
use ternary_model::program::{BufferId, Elem, Op, Program, Role, RunParams, Weight};

/// See the [module documentation](self).
#[derive(Debug)]
pub struct GpuBackend {
    pub(crate) gpu: Gpu,
    run_params: wgpu::Buffer,
    kernels: Kernels,
    shared: HashMap<String, Shared>,
    pub(crate) programs: Vec<Prepared>,
    pool: Pool,
    /// Bound where a shader declares an input that this use of it does not read, or an output that
    /// it does not write: one buffer may not be both in a dispatch.
    unread: wgpu::Buffer,
    unwritten: wgpu::Buffer,
    staging: Staging,
    read_bytes: u64,
    last_submission: Option<wgpu::SubmissionIndex>,
    in_flight: VecDeque<InFlight>,
    pub(crate) product: Product,
    /// What [`Backend::upload_part`] had filled last, to be filled again.
    part: Vec<u8>,
}

/// Calls of [`Backend::throttle`] whose runs may be unfinished.
const MAX_IN_FLIGHT: usize = 2;

/// What had been queued at one [`Backend::throttle`].
#[derive(Debug)]
struct InFlight {
    last: wgpu::SubmissionIndex,
    done: oneshot::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    /// A buffer of its own, or a part of one where matrices lie one behind the other.
    slice: Slice,
    /// Without the padding to whole words.
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Prepared {
    program: Program,
    /// Operations of every fused unit.
    units: Vec<Range<usize>>,
    memory: Memory,
    pub(crate) steps: Vec<Step>,
}

/// Which buffers of a program hold f16.
fn halves(program: &Program) -> Vec<bool> {
    let all = program.buffers.iter();
    all.map(|decl| decl.elem == Elem::F16).collect()
}

/// A program with the buffers and slots of its fused units, behind these the workspace of its
/// operations; `halves`: see [`fuse::fuse`].
fn fused(mut program: Program, halves: bool) -> (Program, Vec<Range<usize>>, Vec<u64>) {
    #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
    let grouped = groups::regroup(&mut program);
    #[cfg(not(all(feature = "training", not(target_arch = "wasm32"))))]
    let grouped = None;
    let Fused {
        units,
        buffers,
        offsets,
        mut slots,
    } = fuse::fuse(&program, grouped, halves);
    let workspaces = units
        .iter()
        .map(|unit| lower::workspace_bytes(&program.ops[unit.clone()]));
    slots.push(workspaces.max().unwrap_or(0));
    program.buffers = buffers;
    program.slots = slots;
    (program, units, offsets)
}

impl GpuBackend {
    /// What takes the device away, as a driver that crashes does: for tests.
    #[doc(hidden)]
    pub fn device_destroyer(&self) -> impl Fn() + use<> {
        let device = self.gpu.device.clone();
        move || device.destroy()
    }

    /// Dispatches of one run of a program.
    pub fn dispatches(&self, program: ProgramId) -> Result<usize, BackendError> {
        Ok(self.prepared(program)?.steps.len())
    }

    /// Use only these forms of products where they apply, whatever was found to be the fastest: a
    /// list of names with commas, those of [`Adapter::forms`]; all again if it is empty.
    ///
    /// # Errors
    /// A name that this GPU has no form of.
    pub fn force_forms(&mut self, names: &str) -> Result<(), BackendError> {
        self.gpu.forms.force(names)
    }

    /// Names of the forms that a program's first product, or its attention, may have; none where
    /// there is no choice.
    pub(crate) fn forms_of(&self, program: &Program) -> Vec<&'static str> {
        let forms = &self.gpu.forms;
        let (program, units, _) = fused(program.clone(), self.keeps_halves());
        let mut offered = units.iter().filter_map(|unit| {
            let ops = &program.ops[unit.clone()];
            let product = lower::product(ops).map(|product| forms.offered(&product.shape()));
            let attention = ops.iter().find_map(Heads::of).map(|_| forms.of_attention());
            product.or(attention).or(self.of_training(&program, ops))
        });
        let offered = offered.next().unwrap_or_default();
        offered.into_iter().map(Form::name).collect()
    }

    /// Forms of a unit that is a product of training.
    fn of_training(&self, program: &Program, unit: &[Op]) -> Option<Vec<Form>> {
        #[cfg(feature = "training")]
        if let [op] = unit {
            let halves = halves(program);
            let multiplied = Multiplied::of(op, self.product, |id| halves[id.index()]);
            return multiplied.map(|multiplied| multiplied.offered(&self.gpu.forms));
        }
        let _ = (program, unit);
        None
    }

    /// What the GPU is and can do.
    pub fn adapter(&self) -> Adapter {
        Adapter {
            forms: self.gpu.forms.names(),
            ..self.gpu.adapter.clone()
        }
    }

    /// How long it takes to copy a buffer of `bytes` so many times.
    pub(crate) async fn copy_seconds(
        &mut self,
        bytes: usize,
        runs: usize,
    ) -> Result<f64, BackendError> {
        let from = self.gpu.storage("a copy's source", bytes)?;
        let to = self.gpu.storage("a copy's target", bytes)?;
        let mut took = 0.0;
        // The first is not counted: memory is touched.
        for runs in [1, runs] {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            for _ in 0..runs {
                encoder.copy_buffer_to_buffer(&from, 0, &to, 0, from.size());
            }
            let commands = encoder.finish();
            let start = Instant::now();
            self.gpu.queue.submit([commands]);
            self.finished().await?;
            took = start.elapsed().as_secs_f64();
        }
        Ok(took)
    }

    /// Open the adapter the system prefers. It may be a software one: see [`Backend::info`].
    pub async fn new(options: &BackendOptions) -> Result<GpuBackend, BackendError> {
        GpuBackend::within(options, |limits| limits).await
    }

    /// The same within `limits` of the adapter's.
    pub(crate) async fn within(
        options: &BackendOptions,
        limits: impl FnOnce(wgpu::Limits) -> wgpu::Limits,
    ) -> Result<GpuBackend, BackendError> {
        let gpu = Gpu::open(options, limits).await?;
        let run_params = gpu.buffer(
            "run_params",
            size_of::<RunParams>(),
            wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        )?;
        let mut backend = GpuBackend {
            kernels: Kernels::new(run_params.clone()),
            run_params,
            shared: HashMap::new(),
            programs: Vec::new(),
            pool: Pool::default(),
            unread: gpu.storage("unread input", 0)?,
            unwritten: gpu.storage("unwritten output", 0)?,
            gpu,
            staging: Staging::default(),
            read_bytes: 0,
            last_submission: None,
            in_flight: VecDeque::new(),
            product: Product::F32,
            part: Vec::new(),
        };
        if options.f16_products {
            backend.choose_product().await?;
            #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
            backend.choose_operands().await?;
        }
        Ok(backend)
    }

    /// Whether operands of products that round to f16 are kept in f16.
    pub(crate) fn keeps_halves(&self) -> bool {
        #[cfg(feature = "training")]
        if !train::products::IN_FULL {
            return false;
        }
        self.product != Product::F32 && self.gpu.forms.operands() == Form::OperandsF16
    }

    fn prepared(&self, id: ProgramId) -> Result<&Prepared, BackendError> {
        self.programs
            .get(id.0)
            .ok_or_else(|| BackendError::NoBuffer(format!("program {}", id.0)))
    }

    /// A program's buffer to read from, and its bytes.
    fn source(&self, program: ProgramId, id: BufferId) -> Result<(Slice, usize), BackendError> {
        let prepared = self.prepared(program)?;
        let slice = prepared.memory.slice(id)?;
        Ok((slice, prepared.program.buffers[id.index()].bytes()))
    }

    /// Move the weights of joined products one behind the other, once, so that one binding holds
    /// them. Where that cannot be, they stay and are multiplied one by one.
    fn join_weights(&mut self, program: &Program, unit: Range<usize>) -> Result<(), BackendError> {
        let weights = fuse::weights_and_outs(&program.ops[unit]).map(|(weight, _)| weight);
        let weights: Vec<Weight> = weights.collect();
        if weights.len() < 2 {
            return Ok(());
        }
        let data: Vec<_> = weights.iter().map(|w| w.data).collect();
        let scales: Vec<_> = weights.iter().filter_map(|w| w.scales).collect();
        for ids in [data, scales] {
            let names = ids
                .iter()
                .map(|id| match &program.buffers[id.index()].role {
                    Role::Shared(name) => Some(name.as_str()),
                    _ => None,
                });
            if let Some(names) = names.collect::<Option<Vec<_>>>() {
                for (name, id) in names.iter().zip(&ids) {
                    self.shared(name, program.buffers[id.index()].bytes())?;
                }
                self.join(&names)?;
            }
        }
        Ok(())
    }

    fn join(&mut self, names: &[&str]) -> Result<(), BackendError> {
        let old: Vec<Slice> = names
            .iter()
            .map(|n| self.shared[*n].slice.clone())
            .collect();
        let total: u64 = old.iter().map(|slice| slice.size).sum();
        let aligned = fuse::BINDING_ALIGNMENT as u64;
        // What other programs have bound stays where it is.
        let bound = |slice: &Slice| {
            self.programs.iter().any(|prepared| {
                let mut buffers = prepared.memory.buffers.iter().flatten();
                buffers.any(|bound| bound.buffer == slice.buffer)
            })
        };
        let whole = old
            .iter()
            .all(|s| s.size.is_multiple_of(aligned) && s.size == s.buffer.size());
        let distinct = (1..names.len()).all(|i| !names[..i].contains(&names[i]));
        if old.is_empty()
            || !whole
            || !distinct
            || total > self.gpu.max_binding
            || old.iter().any(bound)
        {
            return Ok(());
        }
        let joined = self.gpu.storage(&names.join(" and "), total as usize)?;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let mut offset = 0;
        for (name, slice) in names.iter().zip(&old) {
            encoder.copy_buffer_to_buffer(&slice.buffer, 0, &joined, offset, slice.size);
            if let Some(shared) = self.shared.get_mut(*name) {
                shared.slice.buffer = joined.clone();
                shared.slice.offset = offset;
            }
            offset += slice.size;
        }
        self.gpu.queue.submit([encoder.finish()]);
        // Lets the driver free what was copied: a model is never twice in memory.
        drop(old);
        self.gpu.poll(wgpu::PollType::Poll)
    }

    /// Buffers of a program: shared ones by name, scratch from the pool, the others new.
    fn allocate(&mut self, program: &Program, offsets: &[u64]) -> Result<Memory, BackendError> {
        let what = format!("scratch of {}", program.label);
        let mut slots = self.pool.take(&self.gpu, &what, &program.slots)?;
        let workspace = slots.pop().unwrap_or_else(|| self.unwritten.clone());
        let mut buffers = Vec::with_capacity(program.buffers.len());
        for (i, decl) in program.buffers.iter().enumerate() {
            let bytes = decl.bytes();
            buffers.push(match &decl.role {
                Role::Shared(name) => Some(self.shared(name, bytes)?.clone()),
                Role::Growing(name) => {
                    let so_far = self.shared.get(name).map_or(0, |shared| shared.bytes);
                    Some(self.shared(name, so_far)?.clone())
                }
                Role::Io => {
                    let what = format!("buffer {i} of {}", program.label);
                    Some(Slice::whole(&self.gpu.storage(&what, bytes)?))
                }
                Role::Scratch { slot } => slots.get(*slot).map(|buffer| Slice {
                    buffer: buffer.clone(),
                    offset: offsets[i],
                    // Smaller than the slot, but a binding holds at least one vec4.
                    size: storage_bytes(bytes).min(buffer.size() - offsets[i]),
                }),
            });
        }
        Ok(Memory {
            buffers,
            halves: halves(program),
            workspace,
            unread: self.unread.clone(),
            unwritten: self.unwritten.clone(),
            #[cfg(not(target_arch = "wasm32"))]
            device: self.gpu.device.clone(),
            max_binding: self.gpu.max_binding,
            product: self.product,
            // Muon's are momenta of norm 1 and what is made of them.
            of_gradients: !program
                .ops
                .iter()
                .any(|op| matches!(op, Op::Normalize { .. })),
        })
    }

    /// The dispatches of a program whose buffers are `memory`.
    fn lower(
        &mut self,
        program: &Program,
        units: &[Range<usize>],
        memory: &Memory,
    ) -> Result<Vec<Step>, BackendError> {
        let mut steps = Vec::new();
        for unit in units {
            for call in lower::lower(&program.ops[unit.clone()], memory, &self.gpu.forms)? {
                steps.push(self.kernels.step(&mut self.gpu, call));
            }
        }
        self.gpu.check()?;
        Ok(steps)
    }

    /// Programs bind what they use once; those that use an old buffer bind the new one.
    fn rebind(&mut self) -> Result<(), BackendError> {
        let mut programs = std::mem::take(&mut self.programs);
        let renewed = programs.iter_mut().try_for_each(|prepared| {
            let mut stale = false;
            for (decl, slice) in prepared
                .program
                .buffers
                .iter()
                .zip(&mut prepared.memory.buffers)
            {
                let (Role::Growing(name) | Role::Shared(name)) = &decl.role else {
                    continue;
                };
                let now = self.shared[name].slice.clone();
                stale |= slice.as_ref().is_none_or(|old| old.buffer != now.buffer);
                *slice = Some(now);
            }
            if stale {
                let Prepared {
                    program,
                    units,
                    memory,
                    ..
                } = &*prepared;
                prepared.steps = self.lower(program, units, memory)?;
            }
            Ok(())
        });
        self.programs = programs;
        renewed
    }

    /// Buffers for those of `sizes` that are too short, or none of them.
    async fn longer(
        &self,
        sizes: &[(String, usize)],
    ) -> Result<Vec<(String, Shared)>, BackendError> {
        let scope = self
            .gpu
            .device
            .push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let mut longer = Vec::new();
        for (name, bytes) in sizes {
            let shared = self
                .shared
                .get(name)
                .ok_or_else(|| BackendError::NoBuffer(name.clone()))?;
            if shared.bytes < *bytes {
                let buffer = self.gpu.storage(name, *bytes)?;
                let slice = Slice::whole(&buffer);
                let bytes = *bytes;
                longer.push((name.clone(), Shared { slice, bytes }));
            }
        }
        match scope.pop().await {
            None => Ok(longer),
            Some(_) => Err(BackendError::OutOfMemory {
                device: device::DEVICE,
                what: "longer buffers".to_owned(),
                bytes: longer.iter().map(|(_, new)| new.slice.size).sum(),
            }),
        }
    }

    /// The shared buffer `name`, created zeroed if it does not exist.
    fn shared(&mut self, name: &str, bytes: usize) -> Result<&Slice, BackendError> {
        if !self.shared.contains_key(name) {
            let slice = Slice::whole(&self.gpu.storage(name, bytes)?);
            self.shared.insert(name.to_owned(), Shared { slice, bytes });
        }
        let shared = &self.shared[name];
        if shared.bytes == bytes {
            Ok(&shared.slice)
        } else {
            Err(BackendError::Size {
                name: name.to_owned(),
                found: shared.bytes,
                expected: bytes,
            })
        }
    }

    /// Wait for everything queued so far.
    async fn finished(&self) -> Result<(), BackendError> {
        let (sender, done) = oneshot::channel();
        self.gpu.queue.on_submitted_work_done(move || {
            // The receiver is gone only if the caller dropped the wait.
            let _ = sender.send(());
        });
        self.gpu.poll(wgpu::PollType::wait_indefinitely())?;
        let done = done.await;
        self.gpu.check()?;
        done.map_err(|e| BackendError::DeviceLost(e.to_string()))
    }

    /// Of the first bytes of each source, after everything queued so far.
    fn queue_read(&mut self, sources: &[(Slice, usize)]) -> Result<Read, BackendError> {
        let read = Read::queue(&self.gpu, &self.staging, sources)?;
        self.read_bytes += read.bytes();
        Ok(read)
    }

    async fn fetch(&mut self, sources: &[(Slice, usize)]) -> Result<Vec<Vec<u8>>, BackendError> {
        self.queue_read(sources)?.contents().await
    }
}

impl Backend for GpuBackend {
    fn info(&self) -> DeviceInfo {
        self.gpu.info.clone()
    }

    fn upload(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackendError> {
        let slice = self.shared(name, bytes.len())?.clone();
        self.gpu.write(&slice.buffer, slice.offset, bytes)
    }

    fn reserve(&mut self, name: &str, bytes: usize) -> Result<(), BackendError> {
        self.shared(name, bytes).map(|_| ())
    }

    fn upload_part(
        &mut self,
        name: &str,
        offset: usize,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), BackendError> {
        let shared = self
            .shared
            .get(name)
            .ok_or_else(|| BackendError::NoBuffer(name.to_owned()))?;
        if offset + len > shared.bytes {
            return Err(BackendError::Size {
                name: name.to_owned(),
                found: offset + len,
                expected: shared.bytes,
            });
        }
        self.part.resize(len, 0);
        fill(&mut self.part);
        let Slice {
            buffer,
            offset: begin,
            ..
        } = &shared.slice;
        self.gpu.write(buffer, begin + offset as u64, &self.part)
    }

    fn prepare(&mut self, program: Program) -> Result<ProgramId, BackendError> {
        let (program, units, offsets) = fused(program, self.keeps_halves());
        for unit in &units {
            self.join_weights(&program, unit.clone())?;
        }
        #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
        self.gather(&program)?;
        let memory = self.allocate(&program, &offsets)?;
        let steps = self.lower(&program, &units, &memory)?;
        if let Some(cache) = &mut self.gpu.pipeline_cache {
            cache.save();
        }
        self.programs.push(Prepared {
            program,
            units,
            memory,
            steps,
        });
        Ok(ProgramId(self.programs.len() - 1))
    }

    fn tune(&mut self) -> LocalFuture<'_, Result<(), BackendError>> {
        // A software adapter has other things to do, and its programs are not for speed.
        let real = !self.gpu.info.software;
        Box::pin(async move {
            if real {
                self.choose_forms().await
            } else {
                Ok(())
            }
        })
    }

    fn grow<'a>(
        &'a mut self,
        sizes: &'a [(String, usize)],
    ) -> LocalFuture<'a, Result<(), BackendError>> {
        Box::pin(async move {
            let longer = self.longer(sizes).await?;
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            for (name, new) in &longer {
                let old = &self.shared[name];
                if old.bytes > 0 {
                    let (from, to) = (&old.slice, &new.slice);
                    encoder.copy_buffer_to_buffer(&from.buffer, 0, &to.buffer, 0, from.size);
                }
            }
            self.gpu.queue.submit([encoder.finish()]);
            self.shared.extend(longer);
            self.rebind()
        })
    }

    fn write(
        &mut self,
        program: ProgramId,
        buffer: BufferId,
        bytes: &[u8],
    ) -> Result<(), BackendError> {
        let slice = self.prepared(program)?.memory.slice(buffer)?;
        if bytes.len() as u64 > slice.size {
            return Err(BackendError::Size {
                name: format!("#{}", buffer.0),
                found: bytes.len(),
                expected: slice.size as usize,
            });
        }
        self.gpu.write(&slice.buffer, slice.offset, bytes)
    }

    fn run(&mut self, program: ProgramId, run_params: &RunParams) -> Result<(), BackendError> {
        self.gpu.check()?;
        self.gpu
            .queue
            .write_buffer(&self.run_params, 0, bytemuck::bytes_of(run_params));
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for step in &self.prepared(program)?.steps {
                step.encode(&mut pass);
            }
        }
        self.last_submission = Some(self.gpu.queue.submit([encoder.finish()]));
        self.gpu.check()
    }

    fn queues(&self) -> bool {
        true
    }

    fn throttle(&mut self) -> LocalFuture<'_, Result<(), BackendError>> {
        Box::pin(async {
            let Some(last) = self.last_submission.take() else {
                return Ok(());
            };
            let (sender, done) = oneshot::channel();
            self.gpu.queue.on_submitted_work_done(move || {
                // The receiver is gone only if the backend is.
                let _ = sender.send(());
            });
            self.in_flight.push_back(InFlight { last, done });
            while self.in_flight.len() > MAX_IN_FLIGHT
                && let Some(oldest) = self.in_flight.pop_front()
            {
                self.gpu.poll(wgpu::PollType::Wait {
                    submission_index: Some(oldest.last),
                    timeout: None,
                })?;
                let done = oldest.done.await;
                self.gpu.check()?;
                done.map_err(|e| BackendError::DeviceLost(e.to_string()))?;
            }
            Ok(())
        })
    }

    fn read<'a>(
        &'a mut self,
        program: ProgramId,
        buffers: &'a [BufferId],
    ) -> LocalFuture<'a, Result<Vec<Vec<u8>>, BackendError>> {
        Box::pin(async move {
            let sources = buffers.iter().map(|id| self.source(program, *id));
            let sources = sources.collect::<Result<Vec<_>, _>>()?;
            self.fetch(&sources).await
        })
    }

    fn read_later(&mut self, program: ProgramId, buffer: BufferId) -> Result<Later, BackendError> {
        let read = self.queue_read(&[self.source(program, buffer)?])?;
        Ok(Box::pin(async move { Ok(read.contents().await?.concat()) }))
    }

    fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    fn download<'a>(&'a mut self, name: &'a str) -> LocalFuture<'a, Result<Vec<u8>, BackendError>> {
        Box::pin(async move {
            let shared = self
                .shared
                .get(name)
                .ok_or_else(|| BackendError::NoBuffer(name.to_owned()))?;
            let source = (shared.slice.clone(), shared.bytes);
            let contents = self.fetch(&[source]).await?;
            Ok(contents.concat())
        })
    }

    fn plan(&self, programs: &[&Program]) -> MemoryUse {
        let mut used = MemoryUse::default();
        let mut pool = Vec::new();
        for program in programs {
            let (program, ..) = fused((*program).clone(), self.keeps_halves());
            used.add_buffers(&program, storage_bytes);
            memory::assign(&mut pool, &program.slots);
        }
        used.add_scratch(pool);
        used
    }

    fn memory(&self) -> MemoryUse {
        let mut used = MemoryUse::default();
        for prepared in &self.programs {
            used.add_buffers(&prepared.program, storage_bytes);
        }
        used.shared = self
            .shared
            .iter()
            .map(|(name, shared)| (name.clone(), shared.slice.size))
            .collect();
        used.add_scratch(self.pool.sizes());
        used
    }

    fn limits(&self) -> MemoryLimits {
        MemoryLimits {
            buffer: Some(self.gpu.max_binding.min(self.gpu.max_buffer)),
            matrix: Some(self.gpu.max_buffer),
            // A software adapter has the machine's memory; others do not tell how much they have.
            total: self
                .gpu
                .info
                .software
                .then(ternary_common::platform::available_memory)
                .flatten(),
        }
    }

    fn is_lost(&self) -> bool {
        self.gpu.is_lost()
    }

    fn clear(&mut self) {
        self.programs.clear();
        self.part = Vec::new();
        self.pool.clear();
        self.shared.clear();
        self.staging.clear();
    }
}
