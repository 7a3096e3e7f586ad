//! The state of a recording: what the model's parts share while they record themselves.

use crate::program::{BufferId, BufferKind, Elem, Op, Places, Recorder, Weight};
use ternary_core::config::{CachePrecision, LoraConfig, ModelConfig};
use ternary_core::quant::tile;

use super::remap::Remap;
use ternary_core::params::{Matrix, Param};

/// What is being recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `rows` tokens of one sequence at `run_params.pos`, through the KV cache, with packed
    /// weights.
    Infer { rows: usize },
    /// `batch` whole sequences of `seq` tokens, with f32 latents and fake quantization;
    /// intermediate values are kept for the backward.
    Train { batch: usize, seq: usize },
}

/// Where a recording of training takes its model's parameters from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// `param.NAME`: latents, quantized in every forward; they have gradients.
    Trained,
    /// `PREFIX.NAME`: values to multiply by as they are, quantized once beforehand; no gradients.
    Frozen(BufferKind),
    /// A model in a bit-map that it was not trained in: latents where this says so, restored values
    /// elsewhere, quantized in every forward; no gradients.
    Remapped(&'a Remap),
}

/// A recording in progress.
pub struct Graph<'a> {
    pub config: &'a ModelConfig,
    pub phase: Phase,
    pub rec: Recorder,
    /// Adapters beside the matrices.
    pub lora: Option<&'a LoraConfig>,
    /// Which of several adapters that is, where there are several.
    pub adapter: Option<usize>,
    pub source: Source<'a>,
    /// How inference keeps keys and values.
    pub cache: CachePrecision,
    /// Where inference's rows stand, if they belong to several sequences.
    pub places: Option<Places>,
    /// Positions of training's rows in their documents, u32 `[rows]`, if these are kept apart.
    pub positions: Option<BufferId>,
}

impl<'a> Graph<'a> {
    /// A recording of `config`; with `lora`, its matrices are frozen and have adapters.
    pub fn new(config: &'a ModelConfig, phase: Phase, lora: Option<&'a LoraConfig>) -> Self {
        Graph {
            config,
            phase,
            rec: Recorder::new(),
            lora,
            adapter: None,
            source: if lora.is_some() {
                Source::Frozen(BufferKind::Frozen)
            } else {
                Source::Trained
            },
            cache: CachePrecision::F32,
            places: None,
            positions: None,
        }
    }

    pub fn training(&self) -> bool {
        matches!(self.phase, Phase::Train { .. })
    }

    /// Token rows of this recording.
    pub fn rows(&self) -> usize {
        match self.phase {
            Phase::Infer { rows } => rows,
            Phase::Train { batch, seq } => batch * seq,
        }
    }

    /// Rows of one sequence.
    pub fn seq(&self) -> usize {
        match self.phase {
            Phase::Infer { rows } => rows,
            Phase::Train { seq, .. } => seq,
        }
    }

    /// Scratch `[rows, dim]` f32.
    pub fn activations(&mut self, dim: usize) -> BufferId {
        let len = self.rows() * dim;
        self.rec.f32(len)
    }

    /// A float parameter as the forward reads it: the trained or frozen value, or the loaded one.
    pub fn float_param(&mut self, name: &str, len: usize) -> BufferId {
        let kind = match self.source {
            _ if !self.training() => BufferKind::Weight,
            Source::Trained | Source::Remapped(_) => BufferKind::Param,
            Source::Frozen(kind) => kind,
        };
        self.rec.shared(&kind.named(name), Elem::F32, len)
    }

    /// A or B of an adapter, which are trained whatever the model is.
    pub fn adapter_param(&mut self, p: &Param) -> BufferId {
        let kind = match self.training() {
            true => BufferKind::Param,
            false => BufferKind::Weight,
        };
        let name = adapter_buffer(kind, &p.name, self.adapter);
        self.rec.shared(&name, Elem::F32, p.len())
    }

    /// The gradient of a parameter that is trained; persists so that micro-batches add up.
    pub fn grad(&mut self, name: &str, len: usize) -> BufferId {
        self.rec
            .shared(&BufferKind::Grad.named(name), Elem::F32, len)
    }

    /// The gradient of one of the model's own parameters; none if they are frozen.
    pub fn model_grad(&mut self, name: &str, len: usize) -> Option<BufferId> {
        self.has_gradients().then(|| self.grad(name, len))
    }

    /// Whether the model's own parameters are trained.
    pub fn has_gradients(&self) -> bool {
        matches!(self.source, Source::Trained)
    }

    /// What the forward quantizes a matrix from, or multiplies by as it is.
    pub fn latent(&mut self, m: &Matrix) -> BufferId {
        let len = m.rows * m.cols;
        match self.source {
            Source::Remapped(remap) => {
                let name = remap.origin(m).kind().named(&m.name);
                self.rec.shared(&name, Elem::F32, len)
            }
            _ => self.float_param(&m.name, len),
        }
    }

    /// A packed weight for inference.
    pub fn packed(&mut self, m: &Matrix) -> Weight {
        let (elem, len) = tile::data_len(m.mode, m.rows, m.cols);
        let data = self
            .rec
            .shared(&BufferKind::Weight.named(&m.name), elem, len);
        let group = m.run_time_group();
        let scales = m.mode.is_quantized().then(|| {
            self.rec.shared(
                &BufferKind::Scale.named(&m.name),
                Elem::F32,
                m.rows * (m.cols / group),
            )
        });
        Weight {
            mode: m.mode,
            data,
            scales,
            out_dim: m.rows,
            in_dim: m.cols,
            group,
        }
    }

    /// `out += scale · x`, or `out = scale · x`.
    pub fn add(&mut self, x: BufferId, out: BufferId, scale: f32, len: usize, accumulate: bool) {
        self.rec.push(Op::Scale {
            x,
            out,
            scale,
            len,
            accumulate,
        });
    }
}

/// The shared buffer of an adapter's matrix; `number` says of which adapter where there are
/// several.
pub fn adapter_buffer(kind: BufferKind, name: &str, number: Option<usize>) -> String {
    match number {
        Some(number) => kind.named(format_args!("{name}@{number}")),
        None => kind.named(name),
    }
}
