//! The adapter and its device, buffers, and the faults wgpu reports out of band.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::PipelineCache;
use super::cooperative::Matrices;
use super::forms::{self, Forms};
use super::precision::Product;
use crate::BackendError;
use crate::BackendOptions;
use crate::DeviceInfo;

pub(crate) const DEVICE: &str = "gpu";

/// Bytes handed to the queue before it is flushed: wgpu keeps a second copy of what is waiting.
const UPLOAD_PIECE: usize = 32 << 20;

const STORAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// Errors arrive through callbacks, in the browser some time after the call that caused them; they
/// are kept here until the backend's next call returns them.
#[derive(Debug, Default)]
struct Faults {
    /// The first error since the last check; later ones are usually its consequences.
    error: Option<BackendError>,
    /// Final: every later call fails with it.
    lost: Option<String>,
    /// What was last allocated, to name it when memory runs out.
    allocation: (String, u64),
}

/// What a GPU is and can do, for people to read.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Adapter {
    pub name: String,
    pub backend: String,
    pub driver: String,
    pub kind: String,
    /// The smallest and the largest.
    pub subgroup_sizes: [u32; 2],
    /// Whether WGSL has dot products of packed bytes.
    pub packed_dot: bool,
    pub features: Vec<String>,
    pub limits: BTreeMap<&'static str, u64>,
    /// Ways to compute a product that it has, by name.
    pub forms: Vec<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: DeviceInfo,
    /// But for the forms.
    pub adapter: Adapter,
    /// WGSL has `dot4I8Packed`.
    pub packed_dot: bool,
    /// The most bytes one storage binding may have.
    pub max_binding: u64,
    pub max_buffer: u64,
    pub pipeline_cache: Option<PipelineCache>,
    pub forms: Forms,
    /// The f16 products this device may be able to compute, the fastest first; none unless asked
    /// for.
    pub products: Vec<Product>,
    /// What shaders are compiled as.
    #[cfg(test)]
    pub rewrite: Option<fn(&str) -> String>,
    faults: Arc<Mutex<Faults>>,
    /// Bytes written since the queue was last flushed for them.
    queued: Cell<usize>,
}

impl Gpu {
    /// `limits`: those to work within, of the adapter's.
    pub async fn open(
        options: &BackendOptions,
        limits: impl FnOnce(wgpu::Limits) -> wgpu::Limits,
    ) -> Result<Gpu, BackendError> {
        let instance =
            wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..Default::default()
            })
            .await
            .map_err(|e| BackendError::NoAdapter(first_part(&e.to_string())))?;
        let limits = limits(adapter.limits());
        let halves = adapter.features().contains(wgpu::Features::SHADER_F16);
        let mut matrices = cooperative_matrices(&adapter).filter(|_| halves);
        let opened = request_device(&adapter, &limits, halves, matrices).await;
        let (device, queue) = match opened {
            // What is experimental may be refused; all works without it.
            Err(e) if matrices.is_some() => {
                log::warn!("no cooperative matrices on this GPU: {e}");
                matrices = None;
                request_device(&adapter, &limits, halves, matrices).await
            }
            opened => opened,
        }
        .map_err(|e| BackendError::NoAdapter(e.to_string()))?;

        let forms = Forms::open(
            &adapter.get_info(),
            device.features(),
            matrices,
            &limits,
            options.cache_folder.as_deref(),
            std::env::var(forms::VARIABLE).ok().as_deref(),
        )?;
        let faults = Arc::new(Mutex::new(Faults::default()));
        let on_error = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error| {
            let mut faults = lock(&on_error);
            let error = match error {
                wgpu::Error::OutOfMemory { .. } => BackendError::OutOfMemory {
                    device: DEVICE,
                    what: faults.allocation.0.clone(),
                    bytes: faults.allocation.1,
                },
                wgpu::Error::Validation { description, .. }
                | wgpu::Error::Internal { description, .. } => BackendError::Driver(description),
            };
            faults.error.get_or_insert(error);
        }));
        let on_loss = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            lock(&on_loss).lost = Some(format!("{message} ({reason:?})"));
        });

        let packed_dot = instance
            .wgsl_language_features()
            .contains(wgpu::WgslLanguageFeatures::Packed4x8IntegerDotProduct);
        Ok(Gpu {
            info: describe(&adapter.get_info()),
            adapter: describe_fully(&adapter, &limits, packed_dot),
            packed_dot,
            // The limit may be 4 GiB − 1; bindings are whole words.
            max_binding: limits.max_storage_buffer_binding_size / 4 * 4,
            max_buffer: limits.max_buffer_size,
            pipeline_cache: options
                .cache_folder
                .as_ref()
                .and_then(|folder| PipelineCache::open(&device, &adapter.get_info(), folder)),
            forms,
            products: if options.f16_products && halves {
                f16_products(matrices)
            } else {
                Vec::new()
            },
            #[cfg(test)]
            rewrite: None,
            device,
            queue,
            faults,
            queued: Cell::new(0),
        })
    }

    /// What went wrong since the last call.
    pub fn check(&self) -> Result<(), BackendError> {
        check(&self.faults)
    }

    /// What is needed to wait for the device.
    pub fn waiting(&self) -> Waiting {
        Waiting {
            device: self.device.clone(),
            faults: Arc::clone(&self.faults),
        }
    }

    pub fn is_lost(&self) -> bool {
        lock(&self.faults).lost.is_some()
    }

    /// A zeroed storage buffer, its size rounded up to whole words.
    pub fn storage(&self, what: &str, bytes: usize) -> Result<wgpu::Buffer, BackendError> {
        self.buffer(what, bytes, STORAGE)
    }

    pub fn buffer(
        &self,
        what: &str,
        bytes: usize,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, BackendError> {
        let size = storage_bytes(bytes);
        if size > self.max_buffer {
            return Err(BackendError::OutOfMemory {
                device: DEVICE,
                what: format!(
                    "{what} (buffers of this adapter have at most {} bytes)",
                    self.max_buffer
                ),
                bytes: size,
            });
        }
        self.check()?;
        lock(&self.faults).allocation = (what.to_owned(), size);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        });
        self.check()?;
        Ok(buffer)
    }

    /// Queue writing `bytes` from byte `offset` of `buffer` on, a multiple of 4; a last partial
    /// word is filled with zeros.
    pub fn write(
        &self,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), BackendError> {
        let (words, rest) = bytes.split_at(bytes.len() / 4 * 4);
        let mut at = offset;
        for piece in words.chunks(UPLOAD_PIECE) {
            let queued = self.queued.get() + piece.len();
            if queued > UPLOAD_PIECE {
                // Lets the driver free what it has copied.
                self.queue.submit([]);
                self.poll(wgpu::PollType::Poll)?;
                self.queued.set(piece.len());
            } else {
                self.queued.set(queued);
            }
            self.queue.write_buffer(buffer, at, piece);
            at += piece.len() as u64;
        }
        if !rest.is_empty() {
            let mut word = [0u8; 4];
            word[..rest.len()].copy_from_slice(rest);
            self.queue.write_buffer(buffer, at, &word);
        }
        self.check()
    }

    /// See [`Waiting::poll`].
    pub fn poll(&self, poll: wgpu::PollType) -> Result<(), BackendError> {
        self.waiting().poll(poll)
    }
}

/// A device to wait for, with what goes wrong meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    device: wgpu::Device,
    faults: Arc<Mutex<Faults>>,
}

impl Waiting {
    /// What went wrong since the last call.
    pub fn check(&self) -> Result<(), BackendError> {
        check(&self.faults)
    }

    /// Let callbacks run; in the browser they run by themselves and this does nothing.
    pub fn poll(&self, poll: wgpu::PollType) -> Result<(), BackendError> {
        self.device
            .poll(poll)
            .map_err(|e| BackendError::DeviceLost(e.to_string()))?;
        self.check()
    }
}

fn check(faults: &Mutex<Faults>) -> Result<(), BackendError> {
    let mut faults = lock(faults);
    if let Some(lost) = &faults.lost {
        return Err(BackendError::DeviceLost(lost.clone()));
    }
    faults.error.take().map_or(Ok(()), Err)
}

/// What a buffer for `bytes` takes: whole words, and bindings of vec4 arrays need at least one
/// element.
pub(crate) fn storage_bytes(bytes: usize) -> u64 {
    bytes.next_multiple_of(4).max(16) as u64
}

/// Behind the first part wgpu lists every interface that this program was built without.
fn first_part(message: &str) -> String {
    message.split(';').next().unwrap_or(message).to_owned()
}

fn lock(faults: &Mutex<Faults>) -> std::sync::MutexGuard<'_, Faults> {
    faults.lock().unwrap_or_else(PoisonError::into_inner)
}

fn describe_fully(adapter: &wgpu::Adapter, limits: &wgpu::Limits, packed_dot: bool) -> Adapter {
    let info = adapter.get_info();
    Adapter {
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info),
        kind: format!("{:?}", info.device_type),
        subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
        packed_dot,
        features: adapter
            .features()
            .iter_names()
            .map(|(name, _)| name.to_owned())
            .collect(),
        limits: BTreeMap::from([
            ("buffer", limits.max_buffer_size),
            ("storage binding", limits.max_storage_buffer_binding_size),
            (
                "storage buffers",
                limits.max_storage_buffers_per_shader_stage.into(),
            ),
            (
                "workgroup memory",
                limits.max_compute_workgroup_storage_size.into(),
            ),
            (
                "workgroup invocations",
                limits.max_compute_invocations_per_workgroup.into(),
            ),
            (
                "workgroups in a dimension",
                limits.max_compute_workgroups_per_dimension.into(),
            ),
        ]),
        name: info.name,
        forms: Vec::new(),
    }
}

/// A device with the features that its f16 products take.
async fn request_device(
    adapter: &wgpu::Adapter,
    limits: &wgpu::Limits,
    halves: bool,
    matrices: Option<Matrices>,
) -> Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError> {
    let wanted = wgpu::Features::PIPELINE_CACHE | wgpu::Features::SUBGROUP;
    let mut features = wanted & adapter.features();
    let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
    if halves {
        features |= wgpu::Features::SHADER_F16;
    }
    if matrices.is_some() {
        features |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        // SAFETY: nothing is touched but cooperative matrices, in shaders that validate, stay
        // inside their workgroup's memory, and are compared with plain products before they are
        // used.
        experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    }
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("ternary-core"),
        required_limits: limits.clone(),
        required_features: features,
        experimental_features,
        ..Default::default()
    };
    adapter.request_device(&descriptor).await
}

/// The cooperative matrices that an adapter may be able to multiply.
fn cooperative_matrices(adapter: &wgpu::Adapter) -> Option<Matrices> {
    let features = adapter.features();
    // A page is without the code, too.
    let asked = cfg!(not(target_arch = "wasm32"))
        && features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
    asked
        .then(|| adapter.cooperative_matrix_properties())
        .and_then(|offered| Matrices::of(&adapter.get_info(), &offered))
}

/// The f16 products that a device may be able to compute, the fastest first.
pub(crate) fn f16_products(matrices: Option<Matrices>) -> Vec<Product> {
    let cooperative = matrices.map(|matrices| Product::Cooperative(matrices.side));
    cooperative.into_iter().chain([Product::F16]).collect()
}

fn describe(info: &wgpu::AdapterInfo) -> DeviceInfo {
    let text = format!("{} {} {}", info.name, info.driver, info.driver_info).to_lowercase();
    let software = info.device_type == wgpu::DeviceType::Cpu
        || ["llvmpipe", "lavapipe", "swiftshader"]
            .iter()
            .any(|s| text.contains(s));
    // Browsers may keep the name to themselves.
    let name = if info.name.is_empty() {
        "unnamed adapter"
    } else {
        &info.name
    };
    DeviceInfo {
        kind: crate::DeviceKind::Gpu,
        name: format!("{name} ({})", info.backend),
        software,
    }
}
