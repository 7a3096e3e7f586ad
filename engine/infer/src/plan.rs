//! What loading a model takes, known before any weight of it is read.

use serde::{Deserialize, Serialize};
use ternary_model::program::BufferKind;

use crate::error::{Error, Result};
use ternary_backend::{Backend, DeviceInfo, DeviceKind, MemoryLimits};
use ternary_common::platform::available_memory;
use ternary_core::config::{CachePrecision, ModelConfig, QuantMode};
use ternary_core::params::{self, ParamKind};
use ternary_model::{Logits, record_infer};

/// A context that is no longer than this is planned whole where there is memory for it: the cache
/// grows with the text.
const USUAL_CONTEXT: usize = 1 << 17;
/// Beyond, or where nothing is known of the memory, keys and values may take this, or so many
/// times the weights, without being asked for.
const LEAST_CACHE: u64 = 128 << 20;
const CACHE_PER_WEIGHT: u64 = 4;
/// A context that is cut to the memory there is, is a multiple of this.
const WHOLE: usize = 64;
/// Tokens that a context has at least, if the model's own has.
const LEAST_CONTEXT: usize = 512;

/// Bytes that a model takes on a backend, by what they are for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadPlan {
    /// Bytes of the `.1bit` file.
    pub file_bytes: u64,
    /// Weights in the run-time layout.
    pub weight_bytes: u64,
    /// Keys and values of a full context.
    pub cache_bytes: u64,
    /// Their precision.
    pub cache_precision: CachePrecision,
    /// Activations, tables, logits.
    pub work_bytes: u64,
    /// The largest matrix, and the largest buffer of anything else: what the limits of a GPU are
    /// about.
    pub largest_matrix: u64,
    /// The same of anything that is no matrix.
    pub largest_other: u64,
    /// Where the model would run.
    pub device: DeviceInfo,
    /// Why there, for people.
    pub device_reason: String,
}

impl LoadPlan {
    /// The plan of a model of this shape on an empty backend of this kind.
    ///
    /// # Errors
    /// A tensor that is larger than this program can address (2 GiB in a browser).
    pub fn new(
        backend: &dyn Backend,
        device_reason: &str,
        config: &ModelConfig,
        file_bytes: u64,
        cache: CachePrecision,
    ) -> Result<Self> {
        let cache = cache.of(config);
        addressable(config)?;
        let programs = [1, backend.prefill_rows().min(config.max_seq_len)]
            .map(|rows| record_infer(config, rows, Logits::Last, None, cache).program);
        let used = backend.plan(&[&programs[0], &programs[1]]);
        let mut plan = LoadPlan {
            file_bytes,
            weight_bytes: 0,
            cache_bytes: 0,
            work_bytes: used.io + used.scratch,
            largest_matrix: 0,
            largest_other: 0,
            device: backend.info(),
            device_reason: device_reason.to_owned(),
            cache_precision: cache,
        };
        for (name, bytes) in &used.shared {
            let kind = BufferKind::of(name);
            let largest = match kind {
                Some(BufferKind::Weight) => &mut plan.largest_matrix,
                _ => &mut plan.largest_other,
            };
            *largest = (*largest).max(*bytes);
            *match kind {
                Some(BufferKind::Weight | BufferKind::Scale) => &mut plan.weight_bytes,
                Some(BufferKind::CachedKeys | BufferKind::CachedValues) => &mut plan.cache_bytes,
                _ => &mut plan.work_bytes,
            } += bytes;
        }
        if used.largest > plan.largest_matrix {
            plan.largest_other = used.largest;
        }
        Ok(plan)
    }

    /// The context that keys and values are kept for unless another is asked for: the model's
    /// where `limits` and the memory that is left allow it, and a very long one as far as it is in
    /// proportion to the model.
    pub fn context(&self, config: &ModelConfig, limits: &MemoryLimits) -> usize {
        // Learned positions are weights, and as many as the file has.
        if !config.use_rope {
            return config.max_seq_len;
        }
        let position = self.cache_precision.position_bytes(config);
        let cached = 2 * position * config.num_layers;
        let token = (cached + 4 * config.rotary_dim()).max(1) as u64;
        let in_proportion = LEAST_CACHE.max(CACHE_PER_WEIGHT * self.weight_bytes) / token;
        let rest = |all: u64| all.saturating_sub(self.weight_bytes);
        // Tables and staging pass through this program's memory, whatever the device.
        let free = available_memory().map(|free| rest(free) / 2);
        let device = limits.total.map(rest);
        let most = free.into_iter().chain(device).min();
        let known = device.is_some() || self.device.kind == DeviceKind::Cpu && most.is_some();
        let mut tokens = if known {
            in_proportion.max(USUAL_CONTEXT as u64)
        } else {
            in_proportion
        };
        if let Some(most) = most {
            tokens = tokens.min(most / token);
        }
        if let Some(most) = limits.buffer {
            tokens = tokens.min(most / position.max(1) as u64);
        }
        let tokens = usize::try_from(tokens).unwrap_or(usize::MAX) / WHOLE * WHOLE;
        tokens.max(LEAST_CONTEXT).min(config.max_seq_len)
    }

    /// Bytes of everything together.
    pub fn total(&self) -> u64 {
        self.weight_bytes + self.cache_bytes + self.work_bytes
    }

    /// An error if the device can't hold it, before anything was read.
    pub fn check(&self, limits: &MemoryLimits) -> Result<()> {
        let device = &self.device;
        let refuse = |what, needed, available| {
            Err(Error::DeviceMemory {
                what,
                needed,
                available,
                device: Box::new(device.clone()),
            })
        };
        if let Some(most) = limits.matrix.filter(|most| self.largest_matrix > *most) {
            return refuse("its largest matrix", self.largest_matrix, most);
        }
        if let Some(most) = limits.buffer.filter(|most| self.largest_other > *most) {
            return refuse("its largest buffer", self.largest_other, most);
        }
        if let Some(most) = limits.total.filter(|most| self.total() > *most) {
            return refuse("it", self.total(), most);
        }
        // On the way to a GPU only bands of rows pass through this program's own memory.
        if device.kind != DeviceKind::Cpu || can_allocate(self.total()) {
            return Ok(());
        }
        Err(Error::ProgramMemory {
            needed: self.total(),
        })
    }
}

/// Refuses tensors whose sizes would not even fit a `usize` (32 bits in a browser).
fn addressable(config: &ModelConfig) -> Result<()> {
    let most = isize::MAX as u64;
    let cache = 4 * config.max_seq_len as u64 * config.kv_dim() as u64;
    let of_matrix = |rows: usize, cols: usize, mode: QuantMode| {
        let bytes = match mode {
            QuantMode::F32 => 4,
            QuantMode::F16 => 2,
            _ => 1,
        };
        rows as u64 * cols as u64 * bytes
    };
    let largest = params::all(config)
        .iter()
        .filter_map(|p| match &p.kind {
            ParamKind::Matrix(m) => Some(of_matrix(m.rows, m.cols, m.mode)),
            _ => None,
        })
        .fold(cache, u64::max);
    if largest <= most {
        return Ok(());
    }
    Err(Error::TensorTooLarge {
        needed: largest,
        largest: most,
    })
}

/// Whether so much memory can be had, by asking for it: running out later would end the program.
fn can_allocate(bytes: u64) -> bool {
    // In pieces: one allocation is at most half of what 32 bits address.
    const PIECE: usize = 64 << 20;
    if usize::try_from(bytes).is_err() {
        return false;
    }
    let mut left = bytes;
    let mut held: Vec<Vec<u8>> = Vec::new();
    while left > 0 {
        let mut piece = Vec::new();
        let size = left.min(PIECE as u64);
        if held.try_reserve(1).is_err() || piece.try_reserve_exact(size as usize).is_err() {
            return false;
        }
        held.push(piece);
        left -= size;
    }
    true
}

#[cfg(test)]
#[cfg(feature = "native")]
mod tests {
    use super::*;
    use crate::Model;
    use ternary_backend::cpu::CpuBackend;
    use ternary_common::bytes::FileSource;
    use ternary_formats::onebit::OneBit;

    fn plan(config: &ModelConfig) -> Result<LoadPlan> {
        LoadPlan::new(&CpuBackend::new(1), "", config, 0, CachePrecision::F32)
    }

    fn fixture() -> (FileSource, OneBit) {
        let source = FileSource::open("../tests/fixtures/v1.1bit".as_ref()).unwrap();
        let file = pollster::block_on(OneBit::open(&source)).unwrap();
        (source, file)
    }

    #[test]
    fn the_plan_is_what_is_allocated() {
        let (source, file) = fixture();
        let plan = plan(&file.metadata.config).unwrap();
        let backend = Box::new(CpuBackend::new(1));
        let model = pollster::block_on(Model::load(backend, &file, &source, &mut |_| {})).unwrap();
        assert_eq!(plan.weight_bytes, model.weight_bytes() as u64);
        assert_eq!(plan.cache_bytes, model.cache_bytes() as u64);
        // Keys and values get memory when they come.
        assert_eq!(plan.total() - plan.cache_bytes, model.memory().total());
    }

    #[test]
    fn the_cache_grows_with_the_text_in_blocks() {
        let (source, file) = fixture();
        let mut file = file;
        file.metadata.config.max_seq_len = 1000;
        let load = || {
            let backend = Box::new(CpuBackend::new(1));
            pollster::block_on(Model::load(backend, &file, &source, &mut |_| {})).unwrap()
        };
        let mut model = load();
        let empty = model.memory().total();
        let token = (model.cache_bytes() / 1000) as u64;
        let ids: Vec<u32> = (0..1000).map(|i| i % 50).collect();
        let mut at = 0;
        // Of 1000 tokens: a block, the same one, two (twice as many), and all there are.
        for (upto, room) in [(1, 256), (256, 256), (257, 512), (1000, 1000)] {
            pollster::block_on(model.feed(&ids[at..upto], &[], 1.0)).unwrap();
            at = upto;
            assert_eq!(model.cache_room(), room);
            assert_eq!(model.memory().total() - empty, room as u64 * token);
        }
        // What was read before it grew is still there.
        model.truncate(999);
        let grown = pollster::block_on(model.feed(&ids[999..], &[], 1.0)).unwrap();
        let mut whole = load();
        pollster::block_on(whole.feed(&ids[..999], &[], 1.0)).unwrap();
        let at_once = pollster::block_on(whole.feed(&ids[999..], &[], 1.0)).unwrap();
        assert_eq!(grown, at_once);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (_, file) = fixture();
        let plan = plan(&file.metadata.config).unwrap();
        let refused = |limits: MemoryLimits| plan.check(&limits).unwrap_err().to_string();
        let exactly = MemoryLimits {
            buffer: Some(plan.largest_other),
            matrix: Some(plan.largest_matrix),
            total: Some(plan.total()),
        };
        plan.check(&exactly).unwrap();
        let less = |bytes: Option<u64>| bytes.map(|bytes| bytes - 1);
        let message = refused(MemoryLimits {
            matrix: less(exactly.matrix),
            ..exactly
        });
        assert!(message.contains("largest matrix"), "{message}");
        let message = refused(MemoryLimits {
            buffer: less(exactly.buffer),
            ..exactly
        });
        assert!(message.contains("largest buffer"), "{message}");
        let message = refused(MemoryLimits {
            total: less(exactly.total),
            ..exactly
        });
        assert!(message.contains("smaller model"), "{message}");
    }
}
